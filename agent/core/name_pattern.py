"""Patterns that names are chosen by: the part of RE2's syntax that `re`, too, looks for in no time.

`re` tries one way after the other. So what could make it try many is refused: a repeated group, and more than three
unbounded repetitions. Names have 512 characters at most.
"""

from __future__ import annotations

import re

_MOST = 3  # unbounded repetitions

# One piece of a pattern, as far as it is known here: what stands for one character, and what else there is.
_PIECE = re.compile(
    r"(?P<one>\\[dDwWsS]|\\[^A-Za-z0-9]|\[\^?\]?(?:\\[dDwWsS]|\\[^A-Za-z0-9]|[^\]\\\[])*\]|[^\\\[\](){}*+?|^$])"
    r"|(?P<open>\((?:\?:)?(?!\?))|(?P<close>\))|(?P<else>[|^$]|\\b)"
)

_REPEAT = re.compile(r"(?P<unbounded>[*+]|\{\d{1,3},\})\??|\?\??|\{\d{1,3}(?:,\d{1,3})?\}\??")


class BadPattern(ValueError):
    """A pattern that is not taken; says why."""


class Pattern:
    """A pattern that is looked for anywhere in a name."""

    def __init__(self, text: str) -> None:
        self._found = _compiled(text)

    def matches(self, text: str) -> bool:
        """Whether it is in the text."""
        return self._found.search(text) is not None


def compile(pattern: str) -> Pattern:
    """The pattern, ready to be looked for. Raises BadPattern."""
    return Pattern(pattern)


def _compiled(text: str) -> re.Pattern[str]:
    at, unbounded = 4 if text.startswith("(?i)") else 0, 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            raise BadPattern(f"{text[at:][:20]!r} in it is not understood")
        repeat = _REPEAT.match(text, piece.end())
        if repeat and piece["one"] is None:
            raise BadPattern(
                f"{repeat[0]!r} in it repeats a group or nothing; repeat single characters or sets of them"
            )
        unbounded += bool(repeat and repeat["unbounded"])
        at = repeat.end() if repeat else piece.end()
    if unbounded > _MOST:
        raise BadPattern(f"it has more than {_MOST} unbounded repetitions (* and +); write it more narrowly")
    try:
        return re.compile(text, re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        problem = str(error)
    raise BadPattern(problem)
