"""Check what a version must contain, except for its certificate. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from agent.core.errors import ProjectionError, shown
from agent.core.model import Require
from agent.core.value import SecretValue
from agent.render.attempts import attempts
from agent.render.json import parse
from agent.render.raw import as_object, encode, plain
from agent.render.select import keys_of

Search = Callable[[str, str], bool | None]


def searched(pattern: str, text: str) -> bool | None:
    """Whether the text contains a match of the pattern."""
    return re.search(pattern, text) is not None


def meets(
    value: SecretValue, require: Require, search: Search = searched
) -> tuple[tuple[str, ...], tuple[SecretValue, SecretValue] | None]:
    """Check a value against its `require`, except for the certificate.

    Returns every problem found, and the certificate with its key, both PEM: None if no certificate is required, or if
    either is missing. `search` says whether a text contains a match of a pattern; it returns None if that takes too
    long. Problems name the key and the check, never a value. Raises ProjectionError for a value that is not a JSON
    object.
    """
    tree = as_object(parse(value), "require")

    def text_of(key: str) -> str:
        return plain(required(tree, key), "require", key)

    def match(check: tuple[str, str]) -> None:
        key, pattern = check
        found = search(pattern, text_of(key))
        if found is None:
            raise ProjectionError(f"require: the pattern of key {shown(key)} takes too long; simplify it")
        if not found:
            raise ProjectionError(f"require: key {shown(key)} does not match its pattern")

    def pem(key: str) -> SecretValue:
        return SecretValue(encode(text_of(key), "require"), text=True)

    problems: list[str] = []
    attempts(partial(required, tree), require.keys, problems)
    attempts(match, require.matches, problems)
    pair = attempts(pem, require.certificate or (), problems)
    return tuple(problems), (pair[0], pair[1]) if len(pair) == 2 else None


def required(tree: dict[str, Any], key: str) -> Any:
    if key not in tree:
        raise ProjectionError(f"require: key {shown(key)} is missing; {keys_of(tree, key)}")
    if tree[key] is None or tree[key] in ("", [], {}):
        raise ProjectionError(f"require: key {shown(key)} is empty; give it a value")
    return tree[key]
