"""A value that must not be found anywhere but in the files, and how to look for it."""

from __future__ import annotations

import base64
import json
import urllib.parse
import uuid

# Whatever escapes or encodes changes it: a quote, a backslash, a line's end, a slash, a letter beyond ASCII.
CANARY = f'c"a\\n/ä{uuid.uuid4().hex}\n{uuid.uuid4().hex}'


def _forms(value: str) -> dict[str, str]:
    """The value as it would look in a stream, by the way it was written."""
    raw = value.encode()
    forms = {
        "raw": value,
        "JSON": json.dumps(value)[1:-1],
        "JSON in UTF-8": json.dumps(value, ensure_ascii=False)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(value))[2:-2],
        "repr": repr(value)[1:-1],
        "bytes": repr(raw)[2:-1],
        "URL": urllib.parse.quote(value),
        "URL with slashes": urllib.parse.quote(value, safe=""),
        "form": urllib.parse.quote_plus(value),
        "hex": raw.hex(),
        "first line": value.split("\n", maxsplit=1)[0],
        "last line": value.rsplit("\n", maxsplit=1)[-1],
    }
    for offset in range(3):  # the same bytes look different at each of three places
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        whole = encoded[4 if offset else 0 : -4]
        forms[f"base64 +{offset}"] = whole
        forms[f"base64url +{offset}"] = whole.translate(str.maketrans("+/", "-_"))
    return forms


FORMS = _forms(CANARY)


def leaks(text: str) -> list[str]:
    """The ways in which the canary is in the text."""
    return [how for how, form in FORMS.items() if form in text]


def sealed(value: str) -> str:
    """A secret with that value under `v`, and the canary beside it."""
    return json.dumps({"v": value, "canary": CANARY})
