"""How much one rendering may do, so that no template or value keeps the agent busy or fills its memory.

One unit is about one character or one item that is read or made. The sum is bounded, and with it time and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.render.template.errors import Unfit

WORK = 1 << 23  # units of one rendering: a few seconds at most, where a usual template takes a thousand
NODE = 16  # units for each node, and for each call of a function
LONGEST = 1 << 20  # characters that come out, or stand in one text on the way
DEEPEST = 100  # lists and objects within each other


class Exhausted(Unfit):
    """There is nothing left to spend."""


class Budget:
    """What is left of it."""

    def __init__(self, work: int = WORK) -> None:
        self._left = work

    def spend(self, units: int) -> None:
        """Raises Exhausted when there is not that much left."""
        self._left -= units
        if self._left < 0:
            raise Exhausted("the template does more than one file may take; let it do less, or over less")

    def spend_on(self, cost: str, given: Sequence[Any]) -> None:
        """For a call with these arguments. `cost`: whether the function looks at nothing in them (`one`), at their
        items (`items`), or at all that is within them (`deep`).
        """
        if cost == "items":
            self.spend(sum(len(value) for value in given if isinstance(value, str | list | dict)))
        elif cost == "deep":
            for value in given:
                self.spend_within(value)

    def spend_within(self, value: Any) -> None:
        """For each character and item of a value, over and over where it is in there more than once."""
        if isinstance(value, str):
            self.spend(len(value))
            return
        level = [value]
        for _ in range(DEEPEST):
            inner: list[Any] = []
            units = 0
            for item in level:
                if isinstance(item, str):
                    units += len(item)
                elif isinstance(item, list):
                    inner += item
                elif isinstance(item, dict):
                    inner += item.values()
                    units += sum(map(len, item))
                if units > LONGEST or len(inner) > LONGEST:
                    break
            self.spend(units + len(inner))
            if not inner:
                return
            if len(inner) > LONGEST:
                raise Exhausted("a value is far too large")
            level = inner
        raise Exhausted(f"a value has more than {DEEPEST} lists and objects within each other")


def fits(text: str) -> str:
    """The text, if it is not too long. Raises Exhausted."""
    if len(text) > LONGEST:
        raise Exhausted(f"more than {LONGEST} characters come out")
    return text
