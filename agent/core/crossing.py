"""Values as text, to cross from one process of the agent to another.

Only records that both sides name may cross, and what JSON has. A value of a secret is neither, and bytes are not: they
cannot cross by mistake.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from agent.core.record import Record

_TUPLE, _DICT, _SET = "()", "{}", "{.}"  # what stands first in a list, in place of a record's name


class NotUnderstood(ValueError):
    """The text was not written by `dump` with these records and this version; says nothing of what is in it."""


class OtherVersion(NotUnderstood):
    """Another version of the agent wrote the text: its files were replaced while it ran."""


def dump(value: Record, known: Iterable[type[Record]], version: str) -> str:
    """The value as one line of text. Raises TypeError for a class that is not among the known ones."""
    tree = _tree(value, {each.__name__: each for each in known})
    return json.dumps({"version": version, "value": tree}, separators=(",", ":"))


def load(text: str | bytes, known: Iterable[type[Record]], version: str) -> Any:
    """What `dump` was given. Raises OtherVersion, or NotUnderstood for any other text."""
    foreign = False
    try:
        found = json.loads(text)
        foreign = found["version"] != version
        if not foreign:
            return _value(found["value"], {each.__name__: each for each in known})
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        pass
    if foreign:
        raise OtherVersion("another version of the agent wrote this")
    raise NotUnderstood("this was not written by the agent, or is cut short")


def _tree(value: Any, known: Mapping[str, type[Record]]) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Record() if known.get(type(value).__name__) is type(value):
            return [type(value).__name__, *(_tree(getattr(value, name), known) for name in type(value).__match_args__)]
        case tuple():
            return [_TUPLE, *(_tree(each, known) for each in value)]
        case dict():
            return [_DICT, *([_tree(key, known), _tree(each, known)] for key, each in value.items())]
        case frozenset():
            return [_SET, *(_tree(each, known) for each in value)]
    raise TypeError(f"a {type(value).__name__} does not cross")


def _value(tree: Any, known: Mapping[str, type[Record]]) -> Any:
    if not isinstance(tree, list):
        return tree
    kind, *rest = tree
    if kind == _DICT:
        return {_value(key, known): _value(each, known) for key, each in rest}
    values = [_value(each, known) for each in rest]
    if kind == _TUPLE:
        return tuple(values)
    if kind == _SET:
        return frozenset(values)
    cls = known[kind]
    if len(values) != len(cls.__match_args__):
        raise ValueError("another record of that name")
    return cls(*values)
