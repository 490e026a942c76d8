"""The config as a file: reading it. What it means is `config`'s, when it changes is `watch`'s."""

from __future__ import annotations

import os

from agent.config import Config, parse
from agent.errors import ConfigError, Problem

_LIMIT = 2 << 20  # bytes; more than `parse` accepts, so that it can say so


def load(path: str) -> tuple[str, Config]:
    """The text of the file and what it means. Raises ConfigError, with every problem, also when it cannot be read."""
    text = read(path)
    return text, parse(text, path)


def read(path: str) -> str:
    """The text of the file. Raises ConfigError when it cannot be read as text."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read(_LIMIT)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    raise ConfigError(path, (Problem(1, 1, f"cannot be read: {reason}; name a readable file with --config"),))
