"""Apply a function to many things, and collect the problems of those for which it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from agent.core.errors import ProjectionError

_T = TypeVar("_T")

_Made = TypeVar("_Made")


def every(make: Callable[[_T], _Made], things: Iterable[_T]) -> list[_Made]:
    """The result for each thing. Raises ProjectionError with the problems of all that fail, not only the first."""
    problems: list[str] = []
    made = attempts(make, things, problems)
    if problems:
        raise ProjectionError(*problems)
    return made


def attempts(make: Callable[[_T], _Made], things: Iterable[_T], problems: list[str]) -> list[_Made]:
    """The results for the things that succeed. Adds the problems of the others to `problems`."""
    made = []
    for thing in things:
        try:
            made.append(make(thing))
        except ProjectionError as error:
            problems += error.problems
    return made
