"""The name of a config that is no file."""

from __future__ import annotations


class Flags(str):
    """The name of a config that is no file, as errors show it; `text` is what it holds. Paths of files are plain
    strings, so what reads a config looks here first."""

    __slots__ = ("text",)

    text: str


def carried(path: str) -> str:
    """The config's path, or its flags, as one text that crosses to another process of the agent. No path has a NUL."""
    return f"{path}\0{path.text}" if isinstance(path, Flags) else path


def restored(text: str) -> str:
    """What `carried` was given."""
    name, mark, held = text.partition("\0")
    if not mark:
        return text
    made = Flags(name)
    made.text = held
    return made
