"""JSON as Go's encoding/json writes it: keys in order, and `<`, `>` and `&` escaped where a page might hold it. Its
numbers stay as they are written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from agent.render.template import values
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions

_NO_CHARACTER = re.compile("[\ud800-\udfff]")
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _whole(literal: str) -> Any:
    if len(literal) > 1000:  # more digits than Python turns into an int
        return _real(literal)
    made = values.Whole(literal)
    made.literal = literal
    return made


def _real(literal: str) -> values.Real:
    made = values.Real(literal)
    made.literal = literal
    return made


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


def loads(text: str) -> Any:
    """The value of a JSON text. Raises Unfit without the text, which may be a secret."""
    if values.are_as_go():
        return _loads_as_go(text)
    try:
        found = json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        fits = False
    else:
        fits = "\\u" not in text or not _halves(found)
    if not fits:
        raise Unfit("the text is not JSON, and sprig would go on with nothing")
    return found


def _loads_as_go(text: str) -> Any:
    """The same as encoding/json has it: numbers are float64, and what is no character is U+FFFD."""
    try:
        return _whole_texts(json.loads(text, parse_int=_float64, parse_float=_float64, parse_constant=_no_constant))
    except (ValueError, RecursionError):
        pass
    raise Unfit("the text is not JSON, or has a number that is too large")


def _float64(literal: str) -> float:
    if math.isinf(made := float(literal)):
        raise ValueError
    return made


def _whole_texts(value: Any) -> Any:
    if isinstance(value, str):
        return _NO_CHARACTER.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_whole_texts(key): _whole_texts(item) for key, item in value.items()}
    return [_whole_texts(item) for item in value] if isinstance(value, list) else value


def _loads_or_nothing(text: str) -> Any:
    """sprig's fromJson, which has no error."""
    if not values.are_as_go():
        return loads(text)
    try:
        return loads(text)
    except Unfit:
        return None


def _halves(value: Any) -> bool:
    """Whether there is half of a surrogate pair anywhere, which is no character."""
    if isinstance(value, str):
        return any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return any(map(_halves, value)) or any(map(_halves, value.values()))
    return isinstance(value, list) and any(map(_halves, value))


def dumps(value: Any, *, html: bool) -> str:
    """Compact. Raises Unfit for what JSON cannot hold."""
    return _dumped(value, html, "", "", _nothing)


def pretty(spend: Callable[[int], None], value: Any) -> str:
    """A line for each item. Spends the spaces, which are more with each level."""
    return _dumped(value, True, "  ", "", spend)


def _nothing(_units: int) -> None:
    """What a compact text is charged for its spaces."""


def _dumped(value: Any, html: bool, indent: str, at: str, spend: Callable[[int], None]) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return quote(value, html=html)
    if isinstance(value, float) and not values.is_written(value):
        return _number(value)
    if not isinstance(value, list | dict):
        return values.plain(value)
    opened, closed = ("[", "]") if isinstance(value, list) else ("{", "}")
    inner, colon = at + indent, ": " if indent else ":"
    spend(len(value) * len(inner))
    if isinstance(value, list):
        parts = [_dumped(item, html, indent, inner, spend) for item in value]
    else:
        parts = [
            f"{quote(key, html=html)}{colon}{_dumped(item, html, indent, inner, spend)}"
            for key, item in values.ordered(value)
        ]
    if not parts:
        return opened + closed
    if not indent:
        return opened + ",".join(parts) + closed
    return f"{opened}\n" + ",\n".join(inner + part for part in parts) + f"\n{at}{closed}"


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise Unfit("JSON has no number without end")
    if not value or 1e-6 <= abs(value) < 1e21:
        return values.decimal(value)
    return values.scientific(value).replace("e-0", "e-")


def quote(text: str, *, html: bool) -> str:
    out = ['"']
    for char in text:
        if char in _SHORT:
            out.append(_SHORT[char])
        elif char < " " or (html and char in "<>&") or char in "\u2028\u2029":
            out.append(f"\\u{ord(char):04x}")
        elif "\udc80" <= char <= "\udcff":
            if values.are_as_go():
                out.append("\\ufffd")
                continue
            raise Unfit("JSON has no place for bytes that are no UTF-8; use b64enc")
        else:
            out.append(char)
    out.append('"')
    return "".join(out)


FUNCTIONS = Functions()
_add = FUNCTIONS.add
_add("fromJson", _loads_or_nothing, "string")
_add("mustFromJson", loads, "string")
_add("toJson mustToJson", lambda value: dumps(value, html=True), "any")
_add("toRawJson mustToRawJson", lambda value: dumps(value, html=False), "any")
_add("toPrettyJson mustToPrettyJson", pretty, "any", metered=True)
