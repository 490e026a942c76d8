"""Render a value as the content of a file, unchanged."""

from __future__ import annotations

from typing import Any

from agent.core.errors import ProjectionError, shown
from agent.render.json import compact


# -- writing -------------------------------------------------------------------------------------------------------
def plain(value: Any, where: str, key: str | None) -> str:
    """A value as the content of a file: strings unchanged, everything else as JSON. Raises ProjectionError for null."""
    if value is None:
        at = f" key {shown(key)}" if key is not None else ""
        raise ProjectionError(f"{where}:{at} is null; give it a value, or remove it")
    return value if isinstance(value, str) else compact(value)


def as_object(tree: Any, where: str) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise ProjectionError(f"{where}: needs a JSON object, not {kind(tree)}")
    if not tree:
        raise ProjectionError(f"{where}: the JSON object is empty")
    return tree


def filled(content: bytes, where: str, key: str | None) -> bytes:
    if not content:
        at = f" key {shown(key)}" if key is not None else ""
        raise ProjectionError(f"{where}:{at} would be an empty file; give it a value")
    return content


def encode(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    raise ProjectionError(f"{where}: contains half of a surrogate pair, which UTF-8 cannot hold")


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    kinds: dict[type, str] = {str: "a string", list: "an array", dict: "an object", type(None): "null"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "a number")
