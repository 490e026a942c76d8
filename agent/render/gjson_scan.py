"""Read JSON as gjson does: from left to right, and no further than is needed. It never complains.

A text stands for bytes here: a byte that is no UTF-8 is the surrogate of `surrogateescape`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["null", "false", "number", "string", "true", "json"]

_NUMBERS = frozenset("+-0123456789iIN")
_SIMPLE = {"\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"'}
_STRING_END = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NUMBER_END = re.compile(r"[\x00-\x20,\]}]")
_LITERAL_END = re.compile(r"[^a-z]")
_MARK = re.compile(r'["{(\[})\]]')
_REAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


class Result(NamedTuple):
    """A value: its kind, how it is written, and, of a string, its text. Without `raw`, null means that nothing is
    there."""

    kind: Kind
    raw: str
    text: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is a value, which may be null."""
        return self.kind != "null" or bool(self.raw)

    @property
    def number(self) -> float:
        """The number, or 0 where it is none."""
        return to_float(self.raw)

    @property
    def shown(self) -> str:
        """The value as a text: a whole number as it is written, an object as it is written, null empty."""
        match self.kind:
            case "string":
                return self.text
            case "json":
                return self.raw
            case "number" if self.raw.removeprefix("-").isdecimal() and self.raw.isascii():
                return self.raw
            case "number":
                return decimal(self.number)
            case "true" | "false":
                return self.kind
        return ""


NOTHING = Result("null", "")


def to_float(text: str) -> float:
    """As Go's ParseFloat, of which the error is left aside."""
    if _REAL.fullmatch(text):
        return float(text)
    bare = text.lower().lstrip("+-")
    if bare in ("inf", "infinity"):
        return -math.inf if text.startswith("-") else math.inf
    return math.nan if text.lower() == "nan" else 0.0


def decimal(number: float) -> str:
    """A number without exponent, with the fewest digits that read back as it."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    if number == int(number):
        text = str(abs(int(number)))
        if abs(number) >= 2**53:  # the digits behind the shortest are zeros
            mantissa, _, power = repr(abs(number)).partition("e")
            digits = mantissa.replace(".", "")
            text = digits.ljust(int(power) + 1, "0") if power else mantissa.removesuffix(".0")
        return ("-" if math.copysign(1, number) < 0 else "") + text
    mantissa, _, power = repr(number).partition("e")
    if not power:
        return mantissa
    sign, digits = ("-" if number < 0 else ""), mantissa.lstrip("-").replace(".", "")
    return f"{sign}0.{'0' * (-int(power) - 1)}{digits}"


def string(json: str, at: int) -> tuple[int, str, bool]:
    """A string from behind its opening quote: where it ends, as it is written, and whether it ends at all."""
    found = _STRING_END.match(json, at)
    return (found.end(), json[at - 1 : found.end()], True) if found else (len(json), json[at - 1 :], False)


def unquoted(raw: str) -> str:
    """The text of a string that is written with quotes."""
    inner = raw[1:-1]
    return unescaped(inner) if "\\" in inner else inner


def unescaped(inner: str) -> str:
    """The text of a string with escapes. It ends before the first that is none, and before a control character."""
    out: list[str] = []
    at = 0
    while at < len(inner):
        char = inner[at]
        if char < " ":
            break
        if char != "\\":
            out.append(char)
            at += 1
            continue
        escape = inner[at + 1 : at + 2]
        if escape == "u":
            if at + 6 > len(inner):
                break
            code = _code(inner, at + 2)
            at += 6
            if 0xD800 <= code < 0xE000 and inner.startswith("\\u", at) and len(inner) >= at + 6:
                code = _paired(code, _code(inner, at + 2))
                at += 6
            out.append("\ufffd" if 0xD800 <= code < 0xE000 else chr(code))
        elif escape in _SIMPLE and escape:
            out.append(_SIMPLE[escape])
            at += 2
        else:
            break
    return "".join(out)


def _code(text: str, at: int) -> int:
    digits = text[at : at + 4]
    return int(digits, 16) if re.fullmatch(r"[0-9a-fA-F]{4}", digits) else 0


def _paired(high: int, low: int) -> int:
    fits = high < 0xDC00 <= low < 0xE000
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00) if fits else 0xFFFD


def number(json: str, at: int) -> tuple[int, str]:
    """A number, which ends before white space, a comma or a bracket."""
    found = _NUMBER_END.search(json, at + 1)
    end = found.start() if found else len(json)
    return end, json[at:end]


def literal(json: str, at: int) -> tuple[int, str]:
    """A word of small letters."""
    found = _LITERAL_END.search(json, at + 1)
    end = found.start() if found else len(json)
    return end, json[at:end]


def squashed(json: str, at: int) -> tuple[int, str]:
    """An object, a list or what stands in parentheses, whole."""
    depth, place = 1, at + 1
    while found := _MARK.search(json, place):
        place = found.end()
        if found[0] == '"':
            place, _, ended = string(json, place)
            if not ended:
                break
        elif found[0] in "{[(":
            depth += 1
        else:
            depth -= 1
            if not depth:
                return place, json[at:place]
    return len(json), json[at:]


def value(json: str, at: int) -> tuple[int, Result] | None:
    """The value that begins at a place, and where it ends; None if none begins there."""
    char = json[at]
    if char in "{[":
        end, raw = squashed(json, at)
        return end, Result("json", raw)
    if char == '"':
        end, raw, ended = string(json, at + 1)
        return (end, Result("string", raw, unquoted(raw))) if ended else None
    if char in "tfn" and not (char == "n" and json[at + 1 : at + 2] not in ("", "u")):
        end, raw = literal(json, at)
        kinds: dict[str, Kind] = {"t": "true", "f": "false", "n": "null"}
        return end, Result(kinds[char], raw)
    if char in _NUMBERS or char == "n":
        end, raw = number(json, at)
        return end, Result("number", raw)
    return None


def begins_value(char: str) -> bool:
    """Whether a value may begin with the character."""
    return char in '{["tfn' or char in _NUMBERS


def any_value(json: str, at: int) -> tuple[int, Result] | None:
    """The first value from a place on; what is none is skipped."""
    while at < len(json):
        if json[at] > " " and begins_value(json[at]):
            return value(json, at)
        at += 1
    return None


def parsed(json: str) -> Result:
    """The value that the text begins with. Of an object or a list, all that follows is taken to belong to it."""
    bare = json.lstrip("".join(map(chr, range(33))))
    if not bare:
        return NOTHING
    if bare[0] in "{[":
        return Result("json", bare)
    if bare[0] == '"':
        _, raw, ended = string(bare, 1)
        return Result("string", raw, unquoted(raw)) if ended else Result("string", raw, raw[1:])
    found = value(bare, 0)
    return found[1] if found else NOTHING


def is_array(result: Result) -> bool:
    """Whether it is a list."""
    return result.kind == "json" and result.raw.startswith("[")


def is_object(result: Result) -> bool:
    """Whether it is an object."""
    return result.kind == "json" and result.raw.startswith("{")


def entries(of: Result) -> Iterator[tuple[Result, Result]]:
    """The keys and values of an object; the values of a list, with nothing for keys; another value by itself."""
    if not of.exists:
        return
    if of.kind != "json":
        yield NOTHING, of
        return
    json, at, key = of.raw, 1, NOTHING
    while at < len(json):
        if json[0] == "{":
            at = json.find('"', at)
            if at < 0:
                return
            at, raw, ended = string(json, at + 1)
            if not ended:
                return
            key = Result("string", raw, unquoted(raw))
        while at < len(json) and (json[at] <= " " or json[at] in ",:"):
            at += 1
        found = any_value(json, at)
        if found is None:
            return
        at, item = found
        yield key, item
