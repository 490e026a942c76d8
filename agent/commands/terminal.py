"""The streams of a command: what they can show, and what happens when nothing reads them."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from agent.observe.layout import Screen

_WIDTH = 80  # columns where the width is unknown

_LEAST = 20  # columns; a smaller width is ignored

_ASCII = {"✓": "+", "✗": "x", "…": "...", "→": "->", "–": "-", "’": "'"}  # for streams that cannot encode these


def screen(stream: TextIO, environ: Mapping[str, str]) -> Screen:
    """What the reader of the stream has. COLUMNS overrides the width; NO_COLOR and TERM=dumb are honoured."""
    from agent.observe.layout import Screen  # only for what a person reads

    terminal = stream.isatty()
    columns = environ.get("COLUMNS", "")
    width = int(columns) if columns.isascii() and columns.isdigit() else 0
    if not width and terminal:
        with contextlib.suppress(OSError):  # this terminal has no size
            width = os.get_terminal_size(stream.fileno()).columns
    colour = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    return Screen(max(width or _WIDTH, _LEAST), terminal, colour)


class OutputFailed(Exception):
    """Standard output cannot be written any more; `error` is why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error

    @property
    def reader_gone(self) -> bool:
        """Whether the reader has simply ended, like `head`."""
        return isinstance(self.error, BrokenPipeError)


class _Guarded:
    """Standard output that raises OutputFailed, to distinguish its failures from all others."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise OutputFailed(error) from None

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise OutputFailed(error) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare() -> None:
    """Make the standard streams safe to write to, however the process was started. After this, a failed write to
    standard output raises OutputFailed, and a character that it cannot encode is replaced.

    1. Connect closed streams to /dev/null. Otherwise the next file that is opened gets their number.
    2. Guard standard output.
    """
    # 1.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number, which is this one
    # Python has None for a stream that was closed.
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    # 2.
    codecs.register_error("freshmount", _replaced)
    cast(Any, sys.stdout).reconfigure(errors="freshmount")
    sys.stdout = cast(TextIO, _Guarded(sys.stdout))


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(char, "?") for char in error.object[error.start : error.end]), error.end
