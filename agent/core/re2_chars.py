"""Sets of characters, as regular expressions name them: ranges that are sorted and apart."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable

LAST = 0x10FFFF  # the last character there is

Range = tuple[int, int]  # its first and its last character


def united(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same characters in as few ranges as possible, sorted."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return tuple(found)


def negated(ranges: Iterable[Range]) -> tuple[Range, ...]:
    found, at = [], 0
    for low, high in united(ranges):
        if at < low:
            found.append((at, low - 1))
        at = high + 1
    if at <= LAST:
        found.append((at, LAST))
    return tuple(found)


@functools.cache
def _orbits() -> dict[int, tuple[int, ...]]:
    """For each character those that differ from it in case alone, itself among them, as unicode.SimpleFold has them."""
    groups: dict[str, list[int]] = {}
    for code in range(0x1E944):  # beyond, no letter has a case
        char = chr(code)
        upper, lower = char.upper(), char.lower()
        if code not in _OWN_CASE and (upper != char or lower != char):
            whole = upper.lower() if len(upper) == 1 else lower
            groups.setdefault(whole if len(whole) == 1 else char, []).append(code)
    return {code: tuple(group) for group in groups.values() if len(group) > 1 for code in group}


_OWN_CASE = (0x130, 0x131)  # the dotted I and the dotless i of Turkish, which fold to no other


@functools.lru_cache(maxsize=256)
def folded(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """These characters and those that differ from them in case alone."""
    orbits = _orbits()
    more: set[int] = set()
    for low, high in ranges:
        codes = range(low, high + 1) if high - low < len(orbits) else [code for code in orbits if low <= code <= high]
        for code in codes:
            more.update(orbits.get(code, ()))
    return united([*ranges, *((code, code) for code in more)])


@functools.cache
def category(name: str) -> tuple[Range, ...]:
    """The characters of a general category, or of all that begin with its letter."""
    found: list[Range] = []
    for code in range(LAST + 1):
        if unicodedata.category(chr(code)).startswith(name):
            if found and found[-1][1] == code - 1:
                found[-1] = found[-1][0], code
            else:
                found.append((code, code))
    return tuple(found)


CATEGORIES = frozenset(
    letter + more
    for letter, kinds in {
        "C": "cfos",
        "L": "lmotu",
        "M": "cen",
        "N": "dlo",
        "P": "cdefios",
        "S": "ckmo",
        "Z": "lps",
    }.items()
    for more in ("", *kinds)
)


def _spans(*pairs: str) -> tuple[Range, ...]:
    return united((ord(pair[0]), ord(pair[-1])) for pair in pairs)


PERL = {"d": _spans("09"), "s": _spans("\t\n", "\f\r", " "), "w": _spans("09", "AZ", "__", "az")}
POSIX = {
    "alnum": _spans("09", "AZ", "az"), "alpha": _spans("AZ", "az"), "ascii": ((0, 0x7F),), "blank": _spans("\t", " "),
    "cntrl": ((0, 0x1F), (0x7F, 0x7F)), "digit": _spans("09"), "graph": _spans("!~"), "lower": _spans("az"),
    "print": _spans(" ~"), "punct": _spans("!/", ":@", "[`", "{~"), "space": _spans("\t\r", " "),
    "upper": _spans("AZ"), "word": PERL["w"], "xdigit": _spans("09", "AF", "af"),
}  # fmt: skip
