"""Explain the mistake that most probably made a YAML parser stop.

A parser names the token that it did not expect, often several lines below the mistake. This module searches the
surrounding text for common mistakes. Pure, and imported only when a config cannot be read.
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
    """A line and a column, both counted from 0 like the parser's."""

    line: int
    column: int


def explain(text: str, said: str, at: Place, began: Place | None) -> Problem:
    """The problem as a sentence, at the line with the mistake. `said` is the parser's own message and `at` where it
    stopped; `began` is where the construct that it was reading starts."""
    lines = _BREAK.split(text)
    line = lines[at.line]
    for number, one in enumerate(lines):
        if _CONFLICT.match(one):
            return _problem(Place(number, 0), "this is an unresolved merge conflict; keep one of the two sides")
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
        return _problem(began, _NO_COLON)
    if "expected ',' or" in said and began:
        return _in_brackets(lines, at, began)
    if "<block end>" in said and began:
        return _misplaced(said, line, at, began)
    if "undefined alias" in said or "expected alphabetic" in said:
        where = began or at
        sign = lines[where.line][where.column : where.column + 1]
        return _problem(where, f"a value that begins with {sign!r} needs quotes")
    if "escape character" in said:
        return _problem(
            at, "a backslash in double quotes starts an escape sequence; double the backslash, or use single quotes"
        )
    return _problem(at, f"is not YAML: {said}")


TEMPLATE = "these look like the braces of a template; render the template first, or put the value in quotes"

_NO_COLON = "this line is not `key: value`; add a colon and a value, or remove the line"


def _problem(at: Place, sentence: str) -> Problem:
    return Problem(at.line + 1, at.column + 1, sentence)


def _unexpected(char: str) -> str:
    if char == r"\t":
        return "a tab is used for indentation; YAML allows only spaces"
    return f"a value that begins with {char!r} needs quotes"


def _around_quotes(lines: list[str], at: Place) -> Problem | None:
    """Text right after a closing quote. Either quotes are missing around the whole value, or the quote was opened on a
    line above and never closed there."""
    before = lines[at.line][: at.column].rstrip()
    quote = before[-1:]
    if quote not in ('"', "'"):
        return None
    if before.count(quote) % 2 == 0:
        return _problem(at, f"there is text after the closing quote {quote}; put the whole value in one pair of quotes")
    for number in range(at.line - 1, -1, -1):
        if lines[number].count(quote) % 2:
            return _problem(Place(number, lines[number].rindex(quote)), "the quote that opens here is not closed")
    return None


def _colon(lines: list[str], at: Place) -> Problem:
    """A misplaced colon: it is part of unquoted text, or the line above is not a key, or this line is too deep."""
    line = lines[at.line]
    if _SEPARATOR.search(line[: at.column]):
        return _problem(at, "text that contains a colon and a space needs quotes")
    above = next((n for n in range(at.line - 1, -1, -1) if lines[n].strip() and lines[n].lstrip()[0] != "#"), None)
    if above is None:
        return _problem(at, "a colon is not allowed here; put the text around it in quotes")
    start = Place(above, _depth(lines[above]))
    if _TIGHT_KEY.match(lines[above]) and not _SEPARATOR.search(lines[above]):
        return _problem(start, "a space is missing after the colon")
    if _TIGHT_DASH.match(lines[above]):
        return _problem(start, "a space is missing after the dash")
    if not _SEPARATOR.search(lines[above]):
        return _problem(start, _NO_COLON)
    return _problem(
        Place(at.line, _depth(line)),
        f"is indented deeper than line {above + 1}, which already has a value; indent both lines alike",
    )


def _in_brackets(lines: list[str], at: Place, began: Place) -> Problem:
    """A bracket or a comma is missing in a list or mapping that is written inline."""
    opening = lines[began.line][began.column : began.column + 1]
    closing = {"{": "}", "[": "]"}.get(opening, "}")
    if at.line != began.line and _depth(lines[at.line]) <= _depth(lines[began.line]):
        return _problem(began, f"the {opening!r} that opens here has no closing {closing!r} before line {at.line + 1}")
    return _problem(at, f"a comma or the closing {closing!r} is missing before this, or the text needs quotes")


def _misplaced(said: str, line: str, at: Place, began: Place) -> Problem:
    """A line that does not belong to anything above it."""
    if found := re.search(r"found '([\]}])'", said):
        return _problem(at, f"{found[1]!r} has no opening bracket")
    if at.column == began.column:
        is_item = line.lstrip().startswith("-")
        what, others = ("a list item", "keys") if is_item else ("a key", "list items")
        return _problem(
            at, f"this is {what} among the {others} that start on line {began.line + 1}; correct its indentation"
        )
    if line[: at.column].strip():
        return _problem(at, "this cannot follow the text before it on the line; put the whole value in quotes")
    return _problem(
        at,
        f"is indented by {_spaces(at.column)}, which matches no line above: the entries from line {began.line + 1} on "
        f"are indented by {_spaces(began.column)}",
    )


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _spaces(count: int) -> str:
    return {0: "no space", 1: "1 space"}.get(count, f"{count} spaces")
