"""What is wrong with a template, and where in it."""

from __future__ import annotations


class TemplateError(Exception):
    """A template that cannot be parsed or rendered. `line` and `column` count characters from 1 within its text; the
    caller adds where that text begins. The message names keys, functions and kinds of values, never a value.
    """

    def __init__(self, message: str, line: int, column: int) -> None:
        self.message, self.line, self.column = message, line, column
        super().__init__(f"{line}:{column}: {message}")


class Unfit(Exception):
    """What a function cannot do with its arguments. Who calls the function adds the place, and `detail`, which quotes
    the first argument, only if that is written out in the template.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        self.message, self.detail = message, detail
        super().__init__(message)


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of an offset in a text."""
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1
