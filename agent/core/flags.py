"""The name of a config that is no file."""

from __future__ import annotations


class Flags(str):
    """The name of a config that is no file, as errors show it; `text` is what it holds. Paths of files are plain
    strings, so what reads a config looks here first."""

    __slots__ = ("text",)

    text: str
