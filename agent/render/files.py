"""Render a secret's value into its files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from agent.core.errors import ProjectionError, SecretError, shown
from agent.core.model import Output, Projection, Secret
from agent.core.value import Fetched, ProjectedFile, SecretValue
from agent.render.attempts import every
from agent.render.json import compact, parse
from agent.render.raw import as_object, encode, filled, plain
from agent.render.select import pick

LIMIT = 65_536  # bytes of a secret; https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html

_NAME_LIMIT = 255  # bytes of a file's name


def render(
    inputs: Iterable[tuple[Secret, Fetched]], outputs: Iterable[Output]
) -> dict[Output, dict[str, ProjectedFile]]:
    """The files for these versions of secrets, by output, if each version meets its secret's `require`.

    All of them or none. Raises ProjectionError with every problem of the versions, or SecretError if the machine
    prevents the check for now.
    """
    inputs = tuple(inputs)
    problems: tuple[str, ...] = ()
    unchecked: SecretError | None = None
    files: dict[Output, dict[str, ProjectedFile]] = {}
    for secret, fetched in inputs:
        try:
            if secret.require:
                from agent.render import require  # it loads TLS, which few configs need

                require.check(fetched.value, secret.require)
        except ProjectionError as error:
            problems += error.problems
        except SecretError as error:
            unchecked = error
    try:
        files = project({secret.name: fetched.value for secret, fetched in inputs}, outputs)
    except ProjectionError as error:
        problems += error.problems
    if problems:
        raise ProjectionError(*problems)
    if unchecked:
        raise unchecked
    return files


def project(values: Mapping[str, SecretValue], outputs: Iterable[Output]) -> dict[Output, dict[str, ProjectedFile]]:
    """The files for these values, by secret's name: for each output, from each path, relative to the volume, to its
    content and mode.

    All of them or none. Raises ProjectionError, which names path, key and what to do, never a value. The versions are
    then unusable until one of them or the spec changes.
    """
    for value in values.values():
        if not len(value):
            raise ProjectionError("the secret is empty; put a value into it")
        if len(value) > LIMIT:
            raise ProjectionError(f"the secret has {len(value)} bytes, more than the {LIMIT} that AWS allows")
    trees = {name: functools.cache(partial(parse, value)) for name, value in values.items()}

    def made(output: Output) -> tuple[Output, dict[str, ProjectedFile]]:
        (name,) = output.inputs
        contents = _contents(output.path, output.renderer, values[name], trees[name])
        return output, {path: ProjectedFile(SecretValue(c, text=True), output.mode) for path, c in contents}

    return dict(every(made, outputs))


def _contents(path: str, how: Projection, value: SecretValue, read: Callable[[], Any]) -> list[tuple[str, bytes]]:
    """Path and content of each file that is made of one secret."""
    if not how.directory and how.format == "raw" and how.jmes_path is None:
        return [(path, value.reveal())]
    where = f"directory {path}" if how.directory else f"file {path}"
    tree = pick(read(), how.jmes_path, where)
    if how.directory:
        return every(partial(_file_of, path, where), as_object(tree, where).items())
    if how.format == "json":
        return [(path, encode(compact(tree), where))]
    if line := _line(how):
        lines = every(partial(line, where), as_object(tree, where).items())
        return [(path, encode("".join(lines), where))]
    return [(path, filled(encode(plain(tree, where, None), where), where, None))]


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


def _file_of(directory: str, where: str, entry: tuple[str, Any]) -> tuple[str, bytes]:
    """Path and content of the file for one key of the object."""
    key, item = entry
    return f"{directory}/{_file_name(key, where)}", filled(encode(plain(item, where, key), where), where, key)


def _file_name(key: str, where: str) -> str:
    """The key, if it can be a file's name. Raises ProjectionError if not."""
    encoded = key.encode("utf-8", "surrogatepass")
    control = any(ord(char) < 0x20 or ord(char) == 0x7F for char in key)
    if not key or key == "." or key.startswith("..") or "/" in key or control or len(encoded) > _NAME_LIMIT:
        raise ProjectionError(f"{where}: key {shown(key)} cannot be a file's name; rename it, or pick keys by jmesPath")
    return key
