"""Making something of each of many things, and collecting why it cannot be made of some."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from agent.core.errors import ProjectionError

_T = TypeVar("_T")

_Made = TypeVar("_Made")


def every(make: Callable[[_T], _Made], things: Iterable[_T]) -> list[_Made]:
    """What is made of each thing. Raises ProjectionError with the problems of all of them, not of the first alone."""
    problems: list[str] = []
    made = attempts(make, things, problems)
    if problems:
        raise ProjectionError(*problems)
    return made


def attempts(make: Callable[[_T], _Made], things: Iterable[_T], problems: list[str]) -> list[_Made]:
    """What can be made of the things; why the others cannot is added to the problems."""
    made = []
    for thing in things:
        try:
            made.append(make(thing))
        except ProjectionError as error:
            problems += error.problems
    return made
