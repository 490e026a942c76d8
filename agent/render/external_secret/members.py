"""The members of a JSON object, as Go's encoding/json gives them to ESO: texts, and all else as it is written."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_SPACE = re.compile(r"[ \t\n\r]*")
_HALF = re.compile("[\ud800-\udfff]")


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_int=str, parse_float=str)


def members(content: bytes) -> dict[str, bytes] | None:
    """The keys and their values: of a string its text, of null nothing, of anything else the bytes as they are. None
    if it is not one JSON object. Of a key that is there twice the last counts. `null` has no members.

    A byte that is no UTF-8 in a string, and half of a surrogate pair, become U+FFFD.
    """
    text = content.decode("utf-8", "surrogateescape")
    try:
        return _members(text)
    except (ValueError, RecursionError, IndexError):
        pass  # whose context would hold the secret
    return None


def _members(text: str) -> dict[str, bytes]:
    at = _after_space(text, 0)
    if text.startswith("null", at):
        _ended(text, at + 4)
        return {}
    at = _after_space(text, _expected(text, at, "{"))
    found: dict[str, bytes] = {}
    while text[at] != "}" or found:
        key, at = _string(text, at)
        at = _after_space(text, _expected(text, _after_space(text, at), ":"))
        value, end = _DECODER.raw_decode(text, at)
        found[key] = _bytes(value, text[at:end])
        at = _after_space(text, end)
        if text[at] != ",":
            break
        at = _after_space(text, at + 1)
    _ended(text, _expected(text, at, "}"))
    return found


def _bytes(value: Any, raw: str) -> bytes:
    if value is None:
        return b""
    if raw.startswith('"'):
        return whole(value).encode()
    return raw.encode("utf-8", "surrogateescape")


def whole(text: str) -> str:
    """The text without halves of surrogate pairs."""
    return _HALF.sub("\ufffd", text)


def _string(text: str, at: int) -> tuple[str, int]:
    if text[at] != '"':
        raise ValueError
    value, end = _DECODER.raw_decode(text, at)
    return whole(value), end


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _expected(text: str, at: int, char: str) -> int:
    if text[at] != char:
        raise ValueError
    return at + 1


def _ended(text: str, at: int) -> None:
    if _after_space(text, at) != len(text):
        raise ValueError
