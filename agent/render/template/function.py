"""What a function of a template is to its caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Function(NamedTuple):
    """`takes`: the types of its arguments, and `more` that of any further ones: any, string, int, float64, bool, map.
    `cost`: what a call is charged with (Budget.spend_on). `metered`: it gets `Budget.spend` as its first argument,
    since more can come out than went in.

    `does` raises Unfit for what it cannot do. It may also raise ValueError, TypeError, ArithmeticError or LookupError,
    whose words are not shown, since they may quote a value.
    """

    does: Callable[..., Any]
    takes: tuple[str, ...]
    more: str | None
    cost: str
    metered: bool


class Functions(dict[str, Function]):
    """Functions by their names."""

    def add(
        self,
        names: str,
        does: Callable[..., Any],
        takes: str = "",
        more: str | None = None,
        *,
        cost: str = "deep",
        metered: bool = False,
    ) -> None:
        """Names and types are apart by spaces."""
        for name in names.split():
            self[name] = Function(does, tuple(takes.split()), more, cost, metered)
