"""What a plain YAML scalar means to programs written in Go (kubectl, the API server, AWS's provider), and as which text
a field for text takes it.

They read YAML 1.1's numbers and booleans, but neither its dates nor its times: `0600` is 384, `no` is false and `1e3`
is 1000, while `2026-01-01` and `12:30` stay as they are written.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Literal

Kind = Literal["text", "null", "boolean", "number"]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})

_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})

_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})

_INTEGER = re.compile(r"([-+]?)(0[xX][0-9A-Fa-f]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

_INFINITE = {".inf": "+Inf", "+.inf": "+Inf", "-.inf": "-Inf", ".nan": "NaN"}


def read(text: str) -> tuple[Kind, str]:
    """What the plain scalar is, and the text that a field for text gets of it."""
    if text in _NULL:
        return "null", ""
    if text in _TRUE or text in _FALSE:
        return "boolean", "true" if text in _TRUE else "false"
    if text in _INFINITE or (text.lower() in _INFINITE and text[-3:] in ("Inf", "INF", "NaN", "NAN")):
        return "number", _INFINITE[text.lower()]
    if text[0] not in "+-.0123456789" or not text.isascii():
        return "text", text
    bare = text.replace("_", "")
    if found := _INTEGER.fullmatch(bare):
        number = _integer(found[1], found[2])
        if -(1 << 63) <= number < 1 << 64:
            return "number", str(number)
    if _FLOAT.fullmatch(bare) and not math.isinf(value := float(bare)):
        return "number", _shortest(value)
    return "text", text


def _integer(sign: str, digits: str) -> int:
    number = int(digits, 8 if digits[1:2].isdigit() and digits[0] == "0" else 0)
    return -number if sign == "-" else number


def _shortest(value: float) -> str:
    """As Go's `strconv.FormatFloat(value, 'g', -1, 32)`: sigs.k8s.io/yaml keeps no more digits than a float32 has."""
    sign = "-" if math.copysign(1, value) < 0 else ""
    single = _single(abs(value))
    if math.isinf(single):
        return "-Inf" if sign else "+Inf"
    if single == 0:
        return sign + "0"
    tries = (f"{single:.{places}e}" for places in range(9))
    mantissa, _, exponent = next(text for text in tries if _single(float(text)) == single).partition("e")
    digits, power = mantissa.replace(".", "").rstrip("0"), int(exponent)
    if -4 <= power < 6:
        return sign + _plain(digits, power)
    point = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{point}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _single(value: float) -> float:
    """The float32 that is nearest."""
    try:
        found: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.inf
    return found


def _plain(digits: str, power: int) -> str:
    if power < 0:
        return "0." + "0" * (-power - 1) + digits
    whole = digits.ljust(power + 1, "0")
    return whole[: power + 1] + ("." + whole[power + 1 :] if whole[power + 1 :] else "")
