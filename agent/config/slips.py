"""What is most probably wrong where a YAML parser stopped.

A parser names the token that it did not expect, often lines below the slip. This module searches the text around it for
common slips. Pure, and imported only when a config cannot be read.
"""

from __future__ import annotations

import re

from agent.core.errors import Problem
from agent.core.record import Record

_CONFLICT = re.compile(r"(<{7} |={7}$|>{7} )")

_TIGHT_KEY = re.compile(r"\s*(- +)*[A-Za-z_][\w.-]*:[^\s/]")  # key:value

_TIGHT_DASH = re.compile(r"\s*-[^\s-]")  # -item

_SEPARATOR = re.compile(r":(\s|$)")

_UNEXPECTED = re.compile(r"found character '(.+)' that cannot start any token")

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # where a line ends, as YAML counts them


class Place(Record):
    """A line and a column, both from 0, as the parser counts them."""

    line: int
    column: int


def explain(text: str, said: str, at: Place, began: Place | None) -> Problem:
    """The problem as a sentence, at the line where the slip is. `said` is the parser's sentence, `at` where it stopped,
    `began` where what it was reading began."""
    lines = _BREAK.split(text)
    line = lines[at.line]
    for number, one in enumerate(lines):
        if _CONFLICT.match(one):
            return _problem(Place(number, 0), "a merge conflict was left here; keep one of the two sides")
    if found := _UNEXPECTED.search(said):
        return _problem(at, _unexpected(found[1]))
    if "end of stream" in said and began:
        return _problem(began, "the quote that opens here is never closed")
    if "'<scalar>'" in said and (quoted := _around_quotes(lines, at)):
        return quoted
    if "{{" in line:
        return _problem(Place(at.line, line.index("{{")), TEMPLATE)
    if "mapping values are not allowed" in said:
        return _colon(lines, at)
    if "expected ':'" in said and began:
        return _problem(began, "this line is no `key: value`; give it a colon and a value, or remove it")
    if "expected ',' or" in said and began:
        return _in_brackets(lines, at, began)
    if "<block end>" in said and began:
        return _misplaced(said, line, at, began)
    if "undefined alias" in said or "expected alphabetic" in said:
        where = began or at
        sign = lines[where.line][where.column : where.column + 1]
        return _problem(where, f"a value that begins with {sign!r} needs quotes")
    if "escape character" in said:
        return _problem(at, "in double quotes a backslash begins an escape; write it twice, or use single quotes")
    return _problem(at, f"is not YAML: {said}")


TEMPLATE = "braces of a template are left here; render the template first, or put the value in quotes"


def _problem(at: Place, sentence: str) -> Problem:
    return Problem(at.line + 1, at.column + 1, sentence)


def _unexpected(char: str) -> str:
    if char == r"\t":
        return "a tab is in the indentation; YAML takes spaces alone"
    return f"a value that begins with {char!r} needs quotes"


def _around_quotes(lines: list[str], at: Place) -> Problem | None:
    """A text that stands right behind a closing quote: either a quote is missing in it, or the one that was closed here
    had been opened in a line above and forgotten there."""
    before = lines[at.line][: at.column].rstrip()
    quote = before[-1:]
    if quote not in ('"', "'"):
        return None
    if before.count(quote) % 2 == 0:
        return _problem(at, f"text stands behind the closing quote {quote}; put the whole value in quotes of one kind")
    for number in range(at.line - 1, -1, -1):
        if lines[number].count(quote) % 2:
            return _problem(Place(number, lines[number].rindex(quote)), "the quote that opens here is not closed")
    return None


def _colon(lines: list[str], at: Place) -> Problem:
    """A colon where none can be: in a plain text, or since the line above is no key, or since this one is too deep."""
    line = lines[at.line]
    if _SEPARATOR.search(line[: at.column]):
        return _problem(at, "a text with a colon and a space in it needs quotes around it")
    above = next((n for n in range(at.line - 1, -1, -1) if lines[n].strip() and lines[n].lstrip()[0] != "#"), None)
    if above is None:
        return _problem(at, "a colon cannot stand here; put the text around it in quotes")
    start = Place(above, _depth(lines[above]))
    if _TIGHT_KEY.match(lines[above]) and not _SEPARATOR.search(lines[above]):
        return _problem(start, "a space is missing behind the colon")
    if _TIGHT_DASH.match(lines[above]):
        return _problem(start, "a space is missing behind the dash")
    if not _SEPARATOR.search(lines[above]):
        return _problem(start, "this line is no `key: value`; give it a colon and a value, or remove it")
    return _problem(
        Place(at.line, _depth(line)),
        f"is indented deeper than line {above + 1}, which has a value already; indent it like its neighbours",
    )


def _in_brackets(lines: list[str], at: Place, began: Place) -> Problem:
    """In a list or mapping that is written in one line: a bracket or a comma is missing."""
    opening = lines[began.line][began.column : began.column + 1]
    closing = {"{": "}", "[": "]"}.get(opening, "}")
    if at.line != began.line and _depth(lines[at.line]) <= _depth(lines[began.line]):
        return _problem(
            began, f"the {opening!r} that opens here is not closed by {closing!r} before line {at.line + 1}"
        )
    return _problem(at, f"a comma or the closing {closing!r} is missing before this, or the text needs quotes")


def _misplaced(said: str, line: str, at: Place, began: Place) -> Problem:
    """A line that belongs to nothing above it."""
    if found := re.search(r"found '([\]}])'", said):
        return _problem(at, f"{found[1]!r} closes nothing that was opened")
    if at.column == began.column:
        what = "a list item stands among keys" if line.lstrip().startswith("-") else "a key stands among list items"
        return _problem(at, f"{what}, which began in line {began.line + 1}; indent it as what it belongs to")
    if line[: at.column].strip():
        return _problem(at, "this cannot follow what stands before it in the line; put the whole value in quotes")
    return _problem(
        at,
        f"is indented by {_spaces(at.column)}, which fits nothing above: the entries from line {began.line + 1} on are "
        f"indented by {_spaces(began.column)}",
    )


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _spaces(count: int) -> str:
    return {0: "no space", 1: "1 space"}.get(count, f"{count} spaces")
