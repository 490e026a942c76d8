"""Render a secret's value into its files."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from agent.core.errors import ProjectionError, SecretError, shown
from agent.core.model import FileSpec, Secret
from agent.core.value import Fetched, ProjectedFile, SecretValue
from agent.render.attempts import every
from agent.render.json import compact, parse
from agent.render.raw import as_object, encode, filled, plain
from agent.render.select import pick

LIMIT = 65_536  # bytes of a secret; https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html

_NAME_LIMIT = 255  # bytes of a file's name


def render(secret: Secret, fetched: Fetched) -> dict[str, ProjectedFile]:
    """The files for one version of a secret, if the version meets the secret's `require`.

    All of them or none. Raises ProjectionError with every problem of the version, or SecretError if the machine
    prevents the check for now.
    """
    problems: tuple[str, ...] = ()
    unchecked: SecretError | None = None
    files: dict[str, ProjectedFile] = {}
    try:
        if secret.require:
            from agent.render import require  # it loads TLS, which few configs need

            require.check(fetched.value, secret.require)
    except ProjectionError as error:
        problems = error.problems
    except SecretError as error:
        unchecked = error
    try:
        files = project(fetched.value, secret.files)
    except ProjectionError as error:
        problems += error.problems
    if problems:
        raise ProjectionError(*problems)
    if unchecked:
        raise unchecked
    return files


def project(value: SecretValue, files: Iterable[FileSpec]) -> dict[str, ProjectedFile]:
    """The files for one version of a secret: from each path, relative to the volume, to its content and mode.

    All of them or none. Raises ProjectionError, which names path, key and what to do, never a value. The version is
    then unusable until it or the spec changes.
    """
    if not len(value):
        raise ProjectionError("the secret is empty; put a value into it")
    if len(value) > LIMIT:
        raise ProjectionError(f"the secret has {len(value)} bytes, more than the {LIMIT} that AWS allows")
    read = functools.cache(lambda: parse(value))

    def made(spec: FileSpec) -> list[tuple[str, ProjectedFile]]:
        return [(p, ProjectedFile(SecretValue(c, text=True), spec.mode)) for p, c in _contents(spec, value, read)]

    return dict(itertools.chain.from_iterable(every(made, files)))


def _contents(spec: FileSpec, value: SecretValue, read: Callable[[], Any]) -> list[tuple[str, bytes]]:
    """Path and content of each file for one entry of `files`."""
    if not spec.directory and spec.format == "raw" and spec.jmes_path is None:
        return [(spec.path, value.reveal())]
    where = f"directory {spec.path}" if spec.directory else f"file {spec.path}"
    tree = pick(read(), spec.jmes_path, where)
    if spec.directory:
        return every(partial(_file_of, spec.path, where), as_object(tree, where).items())
    if spec.format == "json":
        return [(spec.path, encode(compact(tree), where))]
    if line := _line(spec):
        lines = every(partial(line, where), as_object(tree, where).items())
        return [(spec.path, encode("".join(lines), where))]
    return [(spec.path, filled(encode(plain(tree, where, None), where), where, None))]


def _line(spec: FileSpec) -> Callable[[str, tuple[str, Any]], str] | None:
    """The function that renders one line, for formats that consist of lines; None for others. Imported only for configs
    that need it."""
    match spec.format, spec.quoting:
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
