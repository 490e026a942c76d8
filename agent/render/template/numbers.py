"""sprig's functions on numbers. Where it takes what is no number for 0, or runs over, there is an error here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.render.template import quoted, values
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions

if TYPE_CHECKING:
    from decimal import Decimal

_MOST = 1 << 16  # numbers that one call makes
_EXACT = 64  # units for one calculation with all digits
_REAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _bounded(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        if values.are_as_go():
            return (number + 2**63) % 2**64 - 2**63
        raise Unfit("the number is too large for 64 bits")
    return number


def to_int(value: Any) -> int:
    """cast.ToInt64: null and the empty text are 0. A text that is no whole number is refused."""
    if value is None or value == "":
        return 0
    if isinstance(value, bool | int):
        return _bounded(int(value))
    if isinstance(value, float):
        if math.isfinite(value):
            return _bounded(int(value))
        raise Unfit("the number has no end")
    if not isinstance(value, str):
        return int(_zero(f"{values.article(value)} is not a number"))
    stripped = re.sub(r"\.0*$", "", value) if re.search(r"\.0+$", value) else value
    made = quoted.number(stripped)
    if made is None or made[2] or made[0] is None or not -(2**63) <= made[0] < 2**63:
        return int(_zero("the text is not a whole number, and sprig would take it for 0"))
    return made[0]


def _zero(problem: str) -> float:
    """What sprig makes of what is no number."""
    if values.are_as_go():
        return 0.0
    raise Unfit(problem)


def to_float(value: Any) -> float:
    """cast.ToFloat64: null is 0. A text that is no number is refused."""
    if value is None:
        return 0.0
    if isinstance(value, bool | int | float):
        return float(value)
    if not isinstance(value, str):
        return _zero(f"{values.article(value)} is not a number")
    if not _REAL.fullmatch(value):
        if value == "":
            return 0.0
        return _zero("the text is not a number, and sprig would take it for 0")
    return float(value)


def _int64(number: int) -> values.Int64:
    return values.Int64(_bounded(number))


def _sum(*given: Any) -> values.Int64:
    return _int64(sum(map(to_int, given)))


def _product(first: Any, *others: Any) -> values.Int64:
    made = to_int(first)
    for other in others:
        made = _bounded(made * to_int(other))
    return _int64(made)


def _divided(first: Any, second: Any) -> tuple[int, int]:
    """Quotient and rest as in Go: towards zero."""
    dividend, divisor = to_int(first), to_int(second)
    if divisor == 0:
        raise Unfit("division by zero")
    quotient = abs(dividend) // abs(divisor) * (1 if (dividend < 0) == (divisor < 0) else -1)
    return quotient, dividend - quotient * divisor


def _atoi(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+|", text, re.ASCII):
        return int(_zero("the text is not a whole number, and sprig would take it for 0"))
    return _bounded(int(text or "0"))


def _octal(value: Any) -> values.Int64:
    text = values.plain(value)
    if not re.fullmatch(r"[+-]?[0-7]+", text):
        return _int64(int(_zero("there is no octal number, and sprig would take it for 0")))
    return _int64(int(text, 8))


_add("int", to_int, "any", cost="items")
_add("int64", lambda value: _int64(to_int(value)), "any", cost="items")
_add("float64", to_float, "any", cost="items")
_add("atoi", _atoi, "string")
_add("toDecimal", _octal, "any")
_add("add", _sum, "", "any", cost="items")
_add("add1", lambda value: _int64(to_int(value) + 1), "any", cost="items")
_add("sub", lambda a, b: _int64(to_int(a) - to_int(b)), "any any", cost="items")
_add("mul", _product, "any", "any", cost="items")
_add("div", lambda a, b: _int64(_divided(a, b)[0]), "any any", cost="items")
_add("mod", lambda a, b: _int64(_divided(a, b)[1]), "any any", cost="items")
_add("max biggest", lambda *given: _int64(max(map(to_int, given))), "any", "any", cost="items")
_add("min", lambda *given: _int64(min(map(to_int, given))), "any", "any", cost="items")
_add("maxf", lambda *given: max(map(to_float, given)), "any", "any", cost="items")
_add("minf", lambda *given: min(map(to_float, given)), "any", "any", cost="items")

# -- fractions ---------------------------------------------------------------------------------------------------------


def _floor(value: float) -> float:
    return math.copysign(float(math.floor(value)), value)


def _ceil(value: float) -> float:
    return math.copysign(float(math.ceil(value)), value)


def _round(value: Any, places: int, *up: float) -> float:
    if not -300 <= places <= 300:
        raise Unfit("that many places cannot be rounded to")
    power = math.pow(10.0, places)
    digit = power * to_float(value)
    rounded = _ceil(digit) if math.modf(digit)[0] >= (up[0] if up else 0.5) else _floor(digit)
    return rounded / power


def _calculated(
    spend: Callable[[int], None], does: Callable[[Decimal, Decimal], Decimal], first: Any, others: tuple[Any, ...]
) -> float:
    """shopspring/decimal: exact, but that a quotient has 16 places."""
    import decimal

    spend(_EXACT * len(others))
    with decimal.localcontext(decimal.Context(prec=1_400, Emax=9_999, Emin=-9_999)) as context:
        made = decimal.Decimal(values.decimal(to_float(first)))
        for other in others:
            context.clear_flags()
            made = does(made, decimal.Decimal(values.decimal(to_float(other))))
            if context.flags[decimal.Inexact] and does is not _quotient:
                raise Unfit("the result has too many digits")
        return float(made) + 0.0  # there is no negative 0


def _plus(a: Decimal, b: Decimal) -> Decimal:
    return a + b


def _minus(a: Decimal, b: Decimal) -> Decimal:
    return a - b


def _times(a: Decimal, b: Decimal) -> Decimal:
    return a * b


def _quotient(a: Decimal, b: Decimal) -> Decimal:
    import decimal

    if not b:
        raise Unfit("division by zero")
    return (a / b).quantize(decimal.Decimal("1e-16"), rounding=decimal.ROUND_HALF_UP)


_add("floor", lambda value: _floor(to_float(value)), "any", cost="items")
_add("ceil", lambda value: _ceil(to_float(value)), "any", cost="items")
_add("round", _round, "any int", "float64", cost="items")
_add("add1f", lambda spend, value: _calculated(spend, _plus, value, (1,)), "any", cost="items", metered=True)
_add("addf", lambda spend, *given: _calculated(spend, _plus, 0, given), "", "any", cost="items", metered=True)
_add("subf", lambda spend, a, *given: _calculated(spend, _minus, a, given), "any", "any", cost="items", metered=True)
_add("mulf", lambda spend, a, *given: _calculated(spend, _times, a, given), "any", "any", cost="items", metered=True)
_add("divf", lambda spend, a, *given: _calculated(spend, _quotient, a, given), "any", "any", cost="items", metered=True)

# -- many of them ------------------------------------------------------------------------------------------------------


def _steps(start: int, stop: int, step: int) -> values.Ints:
    if step == 0 or (stop < start) == (step > 0):
        return values.Ints()
    found = range(start, stop, step)
    if len(found) > _MOST:
        raise Unfit(f"there would be more than {_MOST} numbers")
    return values.Ints(found)


def _seq(*given: int) -> str:
    if not given or len(given) > 3:
        return ""
    start, step, end = (1, 0, given[0]) if len(given) == 1 else (given[0], 0, given[1])
    if len(given) == 3:
        start, step, end = given
    towards = -1 if end < start else 1
    if len(given) == 3 and towards < 0 < step:
        return ""
    return " ".join(map(str, _steps(start, end + towards, step if len(given) == 3 else towards)))


_add("untilStep", _steps, "int int int")
_add("until", lambda count: _steps(0, count, -1 if count < 0 else 1), "int")
_add("seq", _seq, "", "int")
