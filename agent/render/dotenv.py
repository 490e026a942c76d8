"""Render files of assignments, for POSIX sh and for readers of .env files."""

from __future__ import annotations

import re
from typing import Any

from agent.core.errors import ProjectionError, shown
from agent.render.raw import encode, plain

_DOTENV_LINE = (64 << 10) - 1  # bytes; the longest line that docker reads

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _variable(key: str, where: str) -> str:
    if not _IDENTIFIER.fullmatch(key):
        raise ProjectionError(
            f"{where}: key {shown(key)} cannot be a shell variable; use a name that matches [A-Za-z_][A-Za-z0-9_]*"
        )
    return key


def sh_line(where: str, entry: tuple[str, Any]) -> str:
    """One assignment in POSIX sh quoting: between single quotes only the single quote itself is special."""
    key, text = _variable(entry[0], where), plain(entry[1], where, entry[0])
    if "\0" in text:
        raise ProjectionError(f"{where}: key {shown(key)} contains a NUL character, which a shell variable cannot hold")
    quoted = text.replace("'", "'\\''")
    return f"{key}='{quoted}'\n"


def dotenv_line(where: str, entry: tuple[str, Any]) -> str:
    """One assignment that python-dotenv, docker, podman, Node's and Go's dotenv read alike.

    Docker takes everything after the `=` literally, even quotes, so no quoting works for all. Text that all of them
    take literally is written without quotes. Any other text is refused, because they read it differently.
    """
    key, text = _variable(entry[0], where), plain(entry[1], where, entry[0])
    line = f"{key}={text}\n"
    if text.strip(" ") != text or text.startswith(("'", '"', "`")) or any(map(_read_differently, text)):
        raise ProjectionError(
            f"{where}: key {shown(key)} cannot be written so that all readers of .env files read the same: its text "
            "must be one line without #, $, a quote in front, or a space at either end; use `quoting: sh` for a shell, "
            "`format: json`, or a file of its own"
        )
    if len(encode(line, where)) > _DOTENV_LINE:
        raise ProjectionError(f"{where}: key {shown(key)} needs a longer line than docker reads; use `format: json`")
    return line


def _read_differently(char: str) -> bool:
    """Whether a character is special for one reader of .env files but not for another. Each cuts off its own kinds of
    space at the ends; for JavaScript the byte order mark is one of them."""
    return char in "#$\ufeff" or ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F or (char.isspace() and char != " ")
