"""sprig's functions on objects, on defaults, and on what kind a value is."""

from __future__ import annotations

from typing import Any

from agent.render.template import values
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.lists import same

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _object(*given: Any) -> dict[str, Any]:
    padded = [*given, ""] if len(given) % 2 else list(given)
    return {values.plain(key): value for key, value in zip(padded[::2], padded[1::2], strict=True)}


def _set(found: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    found[key] = value
    return found


def _unset(found: dict[str, Any], key: str) -> dict[str, Any]:
    found.pop(key, None)
    return found


def _dig(*given: Any) -> Any:
    if len(given) < 3:
        raise Unfit("needs at least a key, a default and an object")
    *path, default, found = given
    if not all(isinstance(key, str) for key in path):
        raise Unfit("keys must be texts")
    for key in path:
        if not isinstance(found, dict) or isinstance(found, values.Texts):
            raise Unfit(f"{values.article(found)} has no keys")
        if key not in found:
            return default
        found = found[key]
    return found


def _merged(into: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    for other in others:
        _merge(into, other, over=False)
    return into


def _merged_over(into: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    for other in others:
        _merge(into, other, over=True)
    return into


def _merge(into: dict[str, Any], other: dict[str, Any], *, over: bool) -> None:
    """mergo.Merge: what is there and not empty stays, unless `over`; objects are merged with each other."""
    for key, value in list(other.items()):
        mine = into.get(key)
        if isinstance(mine, dict) and isinstance(value, dict) and mine is not value:
            _merge(mine, value, over=over)
            if not mine:
                into[key] = value
        elif (over or not values.truth(mine)) and (value is not None or over):
            into[key] = value


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return type(value)((key, _copy(item)) for key, item in value.items())
    return type(value)(map(_copy, value)) if isinstance(value, list) else value


def _picked(found: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: found[key] for key in keys if key in found}


def _omitted(found: dict[str, Any], *keys: str) -> dict[str, Any]:
    gone = set(keys)
    return {key: item for key, item in found.items() if key not in gone}


def _keys(*found: dict[str, Any]) -> values.Strings:
    return values.Strings(key for each in found for key, _ in values.ordered(each))


_add("dict", _object, "", "any", cost="one")
_add("get", lambda found, key: found.get(key, ""), "map string", cost="one")
_add("set", _set, "map string any", cost="one")
_add("unset", _unset, "map string", cost="one")
_add("hasKey", lambda found, key: key in found, "map string", cost="one")
_add("pluck", lambda key, *found: [each[key] for each in found if key in each], "string", "map", cost="one")
_add("keys", _keys, "", "map", cost="items")
_add("values", lambda found: [item for _, item in values.ordered(found)], "map", cost="items")
_add("pick", _picked, "map", "string", cost="items")
_add("omit", _omitted, "map", "string", cost="items")
_add("merge mustMerge", _merged, "map", "map")
_add("mergeOverwrite mustMergeOverwrite", _merged_over, "map", "map")
_add("deepCopy mustDeepCopy", _copy, "any")
_add("dig", _dig, "", "any", cost="one")

# -- defaults and kinds ------------------------------------------------------------------------------------------------


def _default(other: Any, *given: Any) -> Any:
    return given[0] if given and values.truth(given[0]) else other


_add("default", _default, "any", "any", cost="one")
_add("empty", lambda value: not values.truth(value), "any", cost="one")
_add("coalesce", lambda *given: next(filter(values.truth, given), None), "", "any", cost="one")
_add("all", lambda *given: all(map(values.truth, given)), "", "any", cost="one")
_add("any", lambda *given: any(map(values.truth, given)), "", "any", cost="one")
_add("ternary", lambda yes, no, which: yes if which else no, "any any bool", cost="one")
_add("typeOf", values.type_of, "any", cost="one")
_add("kindOf", values.kind, "any", cost="one")
_add("typeIs", lambda wanted, value: values.type_of(value) == wanted, "string any", cost="one")
_add("typeIsLike", lambda wanted, value: values.type_of(value) in (wanted, "*" + wanted), "string any", cost="one")
_add("kindIs", lambda wanted, value: values.kind(value) == wanted, "string any", cost="one")
_add("deepEqual", same, "any any")
