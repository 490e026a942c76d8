"""Render one secret into a file, or into one file for each key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from agent.core.errors import ProjectionError, shown
from agent.core.model import Missing, Projection
from agent.render.attempts import every
from agent.render.input import Input
from agent.render.json import compact
from agent.render.raw import as_object, encode, filled, kind, plain
from agent.render.select import pick

_NAME_LIMIT = 255  # bytes of a file's name


def contents(path: str, how: Projection, input_: Input) -> list[tuple[str, bytes]]:
    """Path and content of each file that is made of one secret. Raises ProjectionError."""
    where = f"directory {path}" if how.directory else f"file {path}"
    if not how.directory and how.format == "raw" and how.jmes_path is None:
        return [(path, _decoded(input_.value.reveal(), how, where, None))]
    tree = pick(input_.tree(), how.jmes_path, where, missing=how.missing != "error")
    if tree is None and how.missing != "error":
        return [(path, b"")] if how.missing == "empty" and not how.directory else []
    if how.directory:
        entries = _present(tree, where, how.missing)
        if input_.nested:
            _apart([key for key, _ in entries], where)
        return every(partial(_file_of, path, how, where, input_.nested), entries)
    if how.format == "text":
        return [(path, _scalar(tree, how, where))]
    if how.format == "json":
        return [(path, encode(compact(tree), where))]
    if line := _line(how):
        lines = every(partial(line, where), _present(tree, where, how.missing))
        return [(path, encode("".join(lines), where))]
    return [(path, _text(tree, how, where, None))]


def _present(tree: Any, where: str, missing: Missing) -> list[tuple[str, Any]]:
    """The entries of an object. Null ones stay, and are an error later, or are left out, or empty."""
    entries = as_object(tree, where).items()
    if missing == "error":
        return list(entries)
    return [(key, "" if item is None else item) for key, item in entries if item is not None or missing == "empty"]


def _text(item: Any, how: Projection, where: str, key: str | None) -> bytes:
    """The content of a file of one value."""
    if how.encoding != "none" and not isinstance(item, str):
        at = f" key {shown(key)}" if key is not None else ""
        raise ProjectionError(f"{where}:{at} is not a text, so it cannot be decoded from {how.encoding}")
    content = _decoded(encode(plain(item, where, key), where), how, where, key)
    return content if how.missing == "empty" else filled(content, where, key)


def _scalar(item: Any, how: Projection, where: str) -> bytes:
    """The text of a string, which may be empty, or of a number or a boolean."""
    if isinstance(item, (dict, list)):
        picked = f"jmesPath {how.jmes_path!r} finds {kind(item)}" if how.jmes_path else f"the JSON is {kind(item)}"
        mended = f"; write jmesPath: to_string({how.jmes_path or '@'}) for its JSON, or pick one of its values"
        raise ProjectionError(f"{where}: {picked}, not a text{mended}")
    return encode(plain(item, where, None), where)


def _decoded(content: bytes, how: Projection, where: str, key: str | None) -> bytes:
    if how.encoding == "none":
        return content
    from agent.render.encodings import decode  # few configs need it

    return decode(content, how.encoding, where, key)


def _apart(keys: list[str], where: str) -> None:
    """No name lies below another: one path cannot be a file and a directory."""
    names = set(keys)
    for key in sorted(names):
        parts = key.split("/")
        if above := next((n for n in ("/".join(parts[:end]) for end in range(1, len(parts))) if n in names), None):
            raise ProjectionError(
                f"{where}: {shown(above)} is a file and the directory of {shown(key)}; rename one, or set a format"
            )


def _file_of(directory: str, how: Projection, where: str, nested: bool, entry: tuple[str, Any]) -> tuple[str, bytes]:
    """Path and content of the file for one key of the object; with `nested` each slash in it begins a directory."""
    key, item = entry
    name = "/".join(_file_name(part, where) for part in key.split("/")) if nested else _file_name(key, where)
    return f"{directory}/{name}", _text(item, how, where, key)


def _file_name(key: str, where: str) -> str:
    """The key, if it can be a file's name. Raises ProjectionError if not."""
    encoded = key.encode("utf-8", "surrogatepass")
    control = any(ord(char) < 0x20 or ord(char) == 0x7F for char in key)
    if not key or key == "." or key.startswith("..") or "/" in key or control or len(encoded) > _NAME_LIMIT:
        raise ProjectionError(f"{where}: key {shown(key)} cannot be a file's name; rename it, or pick keys by jmesPath")
    return key


def _line(how: Projection) -> Callable[[str, tuple[str, Any]], str] | None:
    """The function that renders one line, for formats that consist of lines; None for others. Imported only for configs
    that need it."""
    match how.format, how.quoting:
        case "dotenv", "sh":
            from agent.render.dotenv import sh_line

            return sh_line
        case "dotenv", _:
            from agent.render.dotenv import dotenv_line

            return dotenv_line
        case "properties", _:
            from agent.render.properties import property_line

            return property_line
    return None
