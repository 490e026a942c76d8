"""The config as a file: reading it. What it means is `config`'s, when it changes is `watch`'s."""

from __future__ import annotations

import os

from agent.config import Config, parse
from agent.errors import ConfigError, Problem

_LIMIT = 8 << 20  # bytes; more than `parse` accepts, whatever the characters, so that it can say so


def load(path: str) -> tuple[str, Config]:
    """The text of the file and what it means. Raises ConfigError, with every problem, also when it cannot be read."""
    text = read(path)
    return text, parse(text, path)


def read(path: str) -> str:
    """The text of the file. Raises ConfigError when it cannot be read as text."""
    content = b""
    try:
        with open(path, "rb") as handle:
            content = handle.read(_LIMIT)
        return content.decode("utf-8", "strict" if len(content) < _LIMIT else "replace").removeprefix("\ufeff")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        problem = Problem(1, 1, f"cannot be read: {reason}; name a readable file with --config")
    except UnicodeDecodeError as error:
        problem = _not_utf8(content, error.start)
    raise ConfigError(path, (problem,))


def _not_utf8(content: bytes, place: int) -> Problem:
    """Where the bytes stop being UTF-8, and what they may be instead."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Problem(1, 1, "is text in UTF-16, as PowerShell and some editors write it; save it as UTF-8")
    before = content[:place].decode()
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return Problem(line, column, f"has the byte 0x{content[place]:02x} here, which is not UTF-8; save it as UTF-8")
