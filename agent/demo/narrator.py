"""How the story is told: 80 columns wide, in colour on a terminal that has any."""

from __future__ import annotations

import os
import sys
import textwrap

from agent.commands import terminal

WIDTH = 80  # columns of the narrowest terminal that people use

_INDENT = "   "


class Narrator:
    """Prints the story, 80 columns wide; in colour on a terminal that has any, unless NO_COLOR is set."""

    def __init__(self) -> None:
        self._colour = terminal.screen(sys.stdout, os.environ).colour
        self._scenes = 0

    def scene(self, title: str) -> None:
        self._scenes += 1
        print(f"\n{self._styled('1;36', f'{self._scenes}. {title}')}", flush=True)

    def say(self, text: str) -> None:
        print(_wrapped(text, _INDENT), flush=True)

    def quote(self, text: str) -> None:
        for line in text.splitlines():
            print(_INDENT + self._styled("2", line), flush=True)

    def seen(self, text: str) -> None:
        print(f"{_INDENT}{self._styled('32', '✓')} {_wrapped(text, _INDENT + '  ').lstrip()}", flush=True)

    def failed(self, text: str) -> None:
        first, *rest = text.splitlines()  # the rest is quoted
        told = _wrapped(f"FAILED: {first}", _INDENT).replace("FAILED", self._styled("31", "FAILED"), 1)
        print("\n" + "\n".join((told, *rest)), flush=True)

    def _styled(self, style: str, text: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._colour else text


def _wrapped(text: str, indent: str) -> str:
    """The text with that much before each line. What is to be copied, such as a path, is never broken."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )


def series(before: str, series: str) -> list[str]:
    """The line of a series, or a line for each label where they do not fit beside its name."""
    name, _, labels = series.partition("{")
    if len(before) + len(series) + len(_INDENT) <= WIDTH:
        return [before + series]
    return [before + name, *(" " * (len(before) + 2) + label for label in labels.rstrip("}").split(","))]
