"""Lay out text for its reader: tables, wrapped sentences, colour. `Screen` describes what the reader has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from agent.core.record import Record

Mood = Literal["good", "bad", "mind", ""]

_GAP = "  "

_SHORTEST = 8  # columns; a first cell is never cut to fewer

_CODES = {"good": "32", "bad": "31", "mind": "33"}


class Screen(Record):
    """Where text is read. `width` is in columns. On a terminal, sentences are wrapped and names are cut to fit.
    Elsewhere each sentence keeps its line and each name is complete, because programs search for them."""

    width: int = 80
    terminal: bool = False
    colour: bool = False


PLAIN = Screen()


def painted(text: str, mood: Mood, screen: Screen) -> str:
    """The text in the colour of its mood, if the screen has colours."""
    return f"\033[{_CODES[mood]}m{text}\033[0m" if screen.colour and mood else text


def wrapped(text: str, screen: Screen, indent: int = 2) -> list[str]:
    """The text as lines that fit a terminal, all but the first indented; elsewhere as one line.

    Never breaks a word, so that ARNs and paths can be copied.
    """
    if not screen.terminal or len(text) <= screen.width:
        return [text]
    import textwrap  # needed only on a terminal

    return textwrap.wrap(
        text,
        max(screen.width, 2 * indent),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    screen: Screen,
    *,
    shorter: Callable[[str, str], str] = lambda _column, cell: cell,
    spare: Sequence[str] = (),
    mood: Callable[[str, str], Mood] = lambda _column, _cell: "",
) -> list[str]:
    """A table with aligned columns, its head first. `mood` gives the colour of a cell in a column.

    A table that is too wide is narrowed step by step until it fits:

    1. abbreviate the cells, with `shorter` of a column and its cell,
    2. omit the columns in `spare`, in that order; a last line names them,
    3. on a terminal, cut the cells of the first column in the middle.
    """
    lines = [list(columns), *map(list, rows)]
    # 1.
    if _width(lines) > screen.width:
        lines[1:] = [[shorter(column, cell) for column, cell in zip(columns, row, strict=True)] for row in rows]
    # 2.
    left_out: list[str] = []
    for column in spare:
        if _width(lines) > screen.width:
            place = lines[0].index(column)
            lines = [line[:place] + line[place + 1 :] for line in lines]
            left_out.append(column)
    # 3.
    if screen.terminal and (excess := _width(lines) - screen.width) > 0:
        longest = max(len(line[0]) for line in lines)
        for line in lines:
            line[0] = cut(line[0], max(_SHORTEST, longest - excess))
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    heads = lines[0]
    made = [_GAP.join(head.ljust(width) for head, width in zip(heads, widths, strict=True)).rstrip()]
    for line in lines[1:]:
        cells = zip(heads, line, widths, strict=True)
        made.append(
            _GAP.join(
                painted(cell, mood(head, cell), screen) + " " * (width - len(cell)) for head, cell, width in cells
            )
        )
        made[-1] = made[-1].rstrip()
    if left_out:
        made += wrapped(f"({', '.join(left_out)} omitted to fit {screen.width} columns; --json has all)", screen)
    return made


def cut(text: str, width: int) -> str:
    """The text in at most `width` characters. Cuts the middle: names differ at the beginning or at the end."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return text[: width - 1 - end] + "…" + text[len(text) - end :]


def _width(lines: Sequence[Sequence[str]]) -> int:
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return sum(widths) + len(_GAP) * (len(widths) - 1)
