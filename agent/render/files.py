"""From the values of secrets to files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from agent.core.errors import ProjectionError, SecretError, shown
from agent.core.model import SETS, Output, Projection, Secret
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
    """The files that these versions of secrets become, by output, once each meets what is required of it.

    All of them or none. Raises ProjectionError with every problem of the versions, or SecretError when the machine does
    not let them be checked now.
    """
    inputs = tuple(inputs)
    problems: tuple[str, ...] = ()
    unchecked: SecretError | None = None
    files: dict[Output, dict[str, ProjectedFile]] = {}
    for secret, fetched in inputs:
        try:
            if secret.require:
                from agent.render import require  # which brings TLS; few configs require anything

                require.check(fetched.value, secret.require)
        except ProjectionError as error:
            problems += error.problems
        except SecretError as error:
            unchecked = error
    try:
        sets = frozenset(secret.name for secret, _ in inputs if secret.ref.kind in SETS)
        files = project({secret.name: fetched.value for secret, fetched in inputs}, outputs, sets)
    except ProjectionError as error:
        problems += error.problems
    if problems:
        raise ProjectionError(*problems)
    if unchecked:
        raise unchecked
    return files


def project(
    values: Mapping[str, SecretValue], outputs: Iterable[Output], sets: frozenset[str] = frozenset()
) -> dict[Output, dict[str, ProjectedFile]]:
    """The files that these values, by secret's name, become: by output, path relative to the volume to content and
    mode. `sets` names those that are sets: their keys are names with slashes, and may become directories.

    All of them or none. Raises ProjectionError, which names path, key and what to do, never a value; the versions are
    then unusable until one of them or the spec changes.
    """
    for name, value in values.items():
        if not len(value):
            raise ProjectionError("the secret is empty; put a value into it")
        if len(value) > LIMIT and name not in sets:
            raise ProjectionError(f"the secret has {len(value)} bytes, more than the {LIMIT} that AWS allows")
    trees = {name: functools.cache(partial(parse, value)) for name, value in values.items()}

    def made(output: Output) -> tuple[Output, dict[str, ProjectedFile]]:
        (name,) = output.inputs
        contents = _contents(output.path, output.renderer, values[name], trees[name], nested=name in sets)
        return output, {path: ProjectedFile(SecretValue(c, text=True), output.mode) for path, c in contents}

    return dict(every(made, outputs))


def _contents(
    path: str, how: Projection, value: SecretValue, read: Callable[[], Any], *, nested: bool
) -> list[tuple[str, bytes]]:
    """Path and content of each file that one secret becomes."""
    if not how.directory and how.format == "raw" and how.jmes_path is None:
        return [(path, value.reveal())]
    where = f"directory {path}" if how.directory else f"file {path}"
    tree = pick(read(), how.jmes_path, where)
    if how.directory:
        keys = as_object(tree, where)
        if nested:
            _apart(keys, where)
        return every(partial(_file_of, path, where, nested), keys.items())
    if how.format == "json":
        return [(path, encode(compact(tree), where))]
    if line := _line(how):
        lines = every(partial(line, where), as_object(tree, where).items())
        return [(path, encode("".join(lines), where))]
    return [(path, filled(encode(plain(tree, where, None), where), where, None))]


def _line(how: Projection) -> Callable[[str, tuple[str, Any]], str] | None:
    """What makes one line of a file of lines; None for other formats. Imported only for configs with such a file."""
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


def _apart(keys: Iterable[str], where: str) -> None:
    """No name lies beneath another: one path cannot be a file and a directory."""
    names = set(keys)
    for key in sorted(names):
        parts = key.split("/")
        if above := next((n for n in ("/".join(parts[:end]) for end in range(1, len(parts))) if n in names), None):
            raise ProjectionError(
                f"{where}: {shown(above)} is a file and the directory of {shown(key)}; rename one, or give a format"
            )


def _file_of(directory: str, where: str, nested: bool, entry: tuple[str, Any]) -> tuple[str, bytes]:
    """The file that one key of the object becomes; with `nested` each slash in it begins a directory."""
    key, item = entry
    name = "/".join(_file_name(part, where) for part in key.split("/")) if nested else _file_name(key, where)
    return f"{directory}/{name}", filled(encode(plain(item, where, key), where), where, key)


def _file_name(key: str, where: str) -> str:
    """The key, if it can be a file's name."""
    encoded = key.encode("utf-8", "surrogatepass")
    control = any(ord(char) < 0x20 or ord(char) == 0x7F for char in key)
    if not key or key == "." or key.startswith("..") or "/" in key or control or len(encoded) > _NAME_LIMIT:
        raise ProjectionError(f"{where}: key {shown(key)} cannot be a file's name; rename it, or pick keys by jmesPath")
    return key
