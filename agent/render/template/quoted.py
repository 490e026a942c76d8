"""Go's literals: what stands between quotes, and numbers. And `strconv.Quote`, which writes them.

A text here stands for bytes, as in Go: a byte that is no UTF-8 is the surrogate that Python's `surrogateescape` makes.
"""

from __future__ import annotations

import re
import unicodedata

_ESCAPE = re.compile(
    r"""\\(?:(?P<simple>[abfnrtv\\'"])|(?P<octal>[0-7]{3})|x(?P<hex>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})
    |U(?P<long>[0-9a-fA-F]{8})|(?P<other>.|$))""",
    re.VERBOSE | re.DOTALL,
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_SHORT = {text: f"\\{letter}" for letter, text in _SIMPLE.items() if letter.isalpha()}
_DECIMAL = re.compile(r"[+-]?(?:0|[1-9](?:_?\d)*)")
_PREFIXED = re.compile(r"[+-]?0(?:[xX](?:_?[0-9a-fA-F])+|[oO](?:_?[0-7])+|[bB](?:_?[01])+|(?:_?[0-7])+)")
_REAL = re.compile(r"[+-]?(?:\d+\.\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)")
_BETWEEN = re.compile(r"(?<=\d)_(?=\d)")
_HEX_REAL = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?\d+")


def decoded(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """The bytes that Go would hold."""
    return text.encode("utf-8", "surrogateescape")


def unquoted(literal: str) -> str | None:
    """What a literal in double quotes or backquotes means, or None if Go would refuse it."""
    if literal.startswith("`"):
        return literal[1:-1].replace("\r", "")
    out, at, inner = bytearray(), 0, literal[1:-1]
    for found in _ESCAPE.finditer(inner):
        made = _escaped(found, '"')
        if made is None:
            return None
        out += encoded(inner[at : found.start()]) + made
        at = found.end()
    return decoded(bytes(out) + encoded(inner[at:]))


def _escaped(found: re.Match[str], quote: str) -> bytes | None:
    """The bytes of an escape between quotes of that kind."""
    if found["simple"]:
        return None if found["simple"] in "'\"" and found["simple"] != quote else _SIMPLE[found["simple"]].encode()
    if found["octal"] or found["hex"]:
        code = int(found["octal"], 8) if found["octal"] else int(found["hex"], 16)
        return bytes([code]) if code < 256 else None
    if found["short"] or found["long"]:
        code = int(found["short"] or found["long"], 16)
        return None if code > 0x10FFFF or 0xD800 <= code < 0xE000 else chr(code).encode()
    return None


def character(literal: str) -> int | None:
    """The number of the character in single quotes, or None if it is not one."""
    inner = literal[1:-1]
    if len(inner) == 1:
        return ord(inner)
    found = _ESCAPE.fullmatch(inner)
    made = _escaped(found, "'") if found else None
    if found is None or made is None:
        return None
    return made[0] if found["octal"] or found["hex"] else ord(made.decode())


def number(text: str) -> tuple[int | None, float, bool] | None:
    """The constant as a whole number (None: it is none), as a float, and whether it is written as a float. None: it is
    no number.
    """
    plain = text.replace("_", "").lower()
    if _DECIMAL.fullmatch(text):
        return (int(plain), float(int(plain)), False) if len(plain) < 25 else None
    if _PREFIXED.fullmatch(text) and len(plain) < 100:
        sign, digits = (-1 if plain.startswith("-") else 1), plain.lstrip("+-")
        whole = sign * int(digits[2:] if digits[1:2].isalpha() else digits, {"x": 16, "b": 2}.get(digits[1:2], 8))
        return whole, float(whole), plain[0] in "+-" and "e" in plain  # as there: -0x1e is a float, and 0x1e is not
    if _REAL.fullmatch(_BETWEEN.sub("", text)):
        real = float(plain)
    elif _HEX_REAL.fullmatch(text):
        try:
            real = float.fromhex(text)
        except (ValueError, OverflowError):
            return None
    else:
        return None
    if real in (float("inf"), float("-inf")):
        return None
    return (int(real) if real.is_integer() and abs(real) < 2**63 else None), real, True


def quote(text: str, *, ascii_only: bool = False, mark: str = '"') -> str:
    """As strconv.Quote writes it; `mark`: between quotes of that kind."""
    return mark + "".join(_quoted(char, ascii_only, mark) for char in text) + mark


def _quoted(char: str, ascii_only: bool, mark: str) -> str:
    code = ord(char)
    if char in ("\\", mark):
        return "\\" + char
    if " " <= char <= "~" or (code > 0x7F and not ascii_only and printable(char)):
        return char
    if char in _SHORT:
        return _SHORT[char]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable(char: str) -> bool:
    """unicode.IsPrint: letters, marks, numbers, punctuation, symbols, and of the spaces the ASCII one alone."""
    return char == " " or unicodedata.category(char)[0] in "LMNPS"
