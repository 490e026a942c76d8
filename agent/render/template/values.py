"""What values are to a template: their types in Go, true or empty, and how they print by %v of Go's fmt.

They are what JSON has: str, int, float, bool, None, list and dict. A number with a `literal` is one of a JSON text: it
prints as it was written there. Where functions of sprig return another type of Go, a class here stands for it, since
`typeOf`, `deepEqual` and the types of arguments tell them apart.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Iterable, Iterator
from typing import Any

from agent.render.template.errors import Unfit
from agent.render.template.quoted import encoded

_SHOWN = 20  # keys that an error lists

_AS_GO = contextvars.ContextVar("_AS_GO", default=False)


@contextlib.contextmanager
def as_go() -> Iterator[None]:
    """Within it, what Go goes on with is no error: null prints, a number of JSON is a float64, and what cannot be read
    is nothing. ESO's templates are such, and what a manifest makes there it must make here."""
    before = _AS_GO.set(True)
    try:
        yield
    finally:
        _AS_GO.reset(before)


def are_as_go() -> bool:
    """Whether it is so now."""
    return _AS_GO.get()


class Int64(int):
    """What arithmetic comes to."""


class Byte(int):
    """A text by index."""


class Strings(list[Any]):
    """[]string"""


class Ints(list[Any]):
    """[]int"""


class Lists(list[Any]):
    """[][]interface {}"""


class Texts(dict[str, Any]):
    """map[string]string"""


class Whole(int):
    """A whole number of a JSON text, which is an int to functions, and a float64 where one is needed."""

    literal: str


class Real(float):
    """Another number of a JSON text."""

    literal: str


_KINDS: dict[type, str] = {
    bool: "bool", str: "string", Int64: "int64", Byte: "uint8", int: "int", float: "float64",
    list: "slice", dict: "map",
}  # fmt: skip
_TYPES: dict[type, str] = {Strings: "[]string", Ints: "[]int", Lists: "[][]interface {}", Texts: "map[string]string"}
_NAMES = {
    "bool": "a boolean", "string": "a text", "float64": "a number", "slice": "a list", "map": "an object",
    "invalid": "null",
}  # fmt: skip


def kind(value: Any) -> str:
    """Go's kind of it."""
    exact = _KINDS.get(type(value))
    return exact or next((name for of, name in _KINDS.items() if isinstance(value, of)), "invalid")


def type_of(value: Any) -> str:
    """Go's %T of it."""
    found = kind(value)
    if found == "slice":
        return _TYPES.get(type(value), "[]interface {}")
    if found == "map":
        return _TYPES.get(type(value), "map[string]interface {}")
    return "<nil>" if found == "invalid" else found


def article(value: Any) -> str:
    """Its kind in a sentence."""
    found = kind(value)
    return _NAMES.get(found) or f"a whole number ({found})"


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_written(value: Any) -> bool:
    """Whether it is a number of a JSON text, which may be taken for an int or for a float."""
    return hasattr(value, "literal")


def truth(value: Any) -> bool:
    """Not false, 0, null, nor empty."""
    return bool(value)


def ordered(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """The entries by the bytes of their keys."""
    return sorted(value.items(), key=lambda pair: encoded(pair[0]))


def shown_keys(keys: Iterable[str]) -> str:
    """The keys that exist, for who named another."""
    known = sorted(keys)
    if not known:
        return "the object is empty"
    shown = ", ".join(ascii(key if len(key) <= 60 else key[:57] + "...") for key in known[:_SHOWN])
    return f"its keys are {shown}" + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")


def digits(value: float) -> tuple[str, str, int]:
    """The sign, the fewest digits that read back as the float, and how many of them stand before the point."""
    mantissa, _, power = float.__repr__(abs(value)).partition("e")
    whole, _, part = mantissa.partition(".")
    held = (whole + part).lstrip("0")
    point = len(whole) + int(power or 0) - (len(whole + part) - len(held))
    return "-" if math.copysign(1, value) < 0 else "", held.rstrip("0") or "0", point


def decimal(value: float) -> str:
    """The float without an exponent."""
    sign, held, point = digits(value)
    if not value:
        return f"{sign}0"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{held}"
    held = held.ljust(point, "0")
    return f"{sign}{held[:point]}" + (f".{held[point:]}" if len(held) > point else "")


def scientific(value: float) -> str:
    """The float with an exponent of at least two digits."""
    sign, held, point = digits(value)
    tail = f".{held[1:]}" if len(held) > 1 else ""
    return f"{sign}{held[0]}{tail}e{'-' if point < 1 else '+'}{abs(point - 1):02d}"


def real(value: float) -> str:
    """A float64 by %v: the fewest digits, with an exponent for less than 1e-4 and from 1e6 on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return decimal(value) if not value or -4 <= digits(value)[2] - 1 < 6 else scientific(value)


def plain(value: Any) -> str:
    """By %v. Raises Unfit for null, also in a list or an object, except in `as_go`, where it prints as `<nil>`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        literal = getattr(value, "literal", None)
        return literal if literal is not None else real(value) if isinstance(value, float) else int.__repr__(value)
    if isinstance(value, list):
        return f"[{' '.join(map(plain, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{plain(item)}' for key, item in ordered(value))}]"
    if are_as_go():
        return "<nil>"
    raise Unfit("there is null, which Go prints as <nil> or <no value>; give it a value, or use default")


def printed(value: Any) -> str:
    """The same where the value stands by itself: Go has another word for null then."""
    return "<no value>" if value is None and are_as_go() else plain(value)
