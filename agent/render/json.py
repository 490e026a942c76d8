"""Read JSON strictly and write it compactly, with numbers exactly as they are written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from agent.core.errors import ProjectionError, shown
from agent.core.value import SecretValue

# Limits for one file: an expression can double what it picks over and over.
_FILE_LIMIT = 4 << 20  # characters

_PIECES_LIMIT = 1 << 17  # pieces of JSON, twice as many as a secret of 64 KiB can have; this limits the time

_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

# -- reading -------------------------------------------------------------------------------------------------------
# Errors are raised after leaving the `except` that found them: JSONDecodeError.doc and UnicodeError.object *are* the
# secret, and an exception raised inside would carry them in its __context__.
_NESTED = "the secret's JSON is nested too deeply; store less in one value, or use `format: raw` without jmesPath"


class _Unusable(Exception):
    """What a hook of the parser found. Its text names only keys."""


class _Float(float):
    literal: str


class _Integer(int):
    literal: str


_Float.__name__, _Integer.__name__ = "float", "int"  # jmespath's functions identify types by name


def _number(kind: type[_Float] | type[_Integer]) -> Callable[[str], Any]:
    def keep(literal: str) -> Any:
        try:
            number: Any = kind(literal)
        except ValueError:
            number = _Float(literal)  # it has more digits than Python converts to an int
        number.literal = literal
        return number

    return keep


def _no_constant(_name: str) -> Any:
    raise _Unusable("the secret's JSON contains NaN or Infinity, which are not valid JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in pairs:
        if key in found:
            raise _Unusable(f"the secret's JSON has the key {shown(key)} twice; remove one")
        found[key] = item
    return found


def parse(value: SecretValue) -> Any:
    """The value as JSON, with numbers as they are written. Raises ProjectionError."""
    try:
        text = value.reveal().decode()
        return json.loads(
            text,
            parse_float=_number(_Float),
            parse_int=_number(_Integer),
            parse_constant=_no_constant,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        problem = _marked(value) or "the secret is binary and not JSON; use `format: raw` without jmesPath"
    except json.JSONDecodeError:
        problem = _marked(value) or (
            "the secret is not JSON; store it as a JSON object, or use `format: raw` without jmesPath"
        )
    except RecursionError:
        problem = _NESTED
    except _Unusable as found:
        problem = str(found)
    raise ProjectionError(problem)


def _marked(value: SecretValue) -> str | None:
    """What to do about a byte order mark at the start of the value, which editors do not show. None if it has none."""
    mark = next((name for mark, name in _MARKS.items() if value.reveal().startswith(mark)), None)
    return mark and (
        f"the secret begins with a byte order mark (BOM) of {mark}, such as PowerShell writes; JSON must not have one: "
        "store the secret as UTF-8 without a BOM, or use `format: raw` without jmesPath"
    )


def compact(value: Any) -> str:
    """Compact JSON with numbers as they were written, where json.dumps would round them. Raises ProjectionError."""
    pieces: list[str] = []
    length = 0
    try:
        for piece in _pieces(value):
            pieces.append(piece)
            length += len(piece)
            if length > _FILE_LIMIT or len(pieces) > _PIECES_LIMIT:
                raise ProjectionError("one file would be far larger than a secret can be; pick less by jmesPath")
    except RecursionError:  # some versions of the parser accept deeper nesting than this can write
        pieces = []
    if not pieces:
        raise ProjectionError(_NESTED)
    return "".join(pieces)


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, (_Float, _Integer)):
        yield value.literal
    elif isinstance(value, dict):
        for mark, (key, item) in zip(itertools.chain("{", itertools.repeat(",")), value.items(), strict=False):
            yield f"{mark}{_quoted(key)}:"
            yield from _pieces(item)
        yield "}" if value else "{}"
    elif isinstance(value, list):
        for mark, item in zip(itertools.chain("[", itertools.repeat(",")), value, strict=False):
            yield mark
            yield from _pieces(item)
        yield "]" if value else "[]"
    else:
        yield _quoted(value)


def _quoted(value: Any) -> str:
    """A string, boolean or null as JSON, or a number that a jmespath function returned."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        value = int(value)  # an average of 2 is 2
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        pass
    raise ProjectionError("the result of jmesPath is an expression, or not a finite number: JSON cannot hold either")
