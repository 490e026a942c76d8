"""sprig's functions on lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.render.template import values
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.numbers import to_int
from agent.render.template.quoted import encoded

Spend = Callable[[int], None]

_COMPARING = 4  # units for two items that are compared

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def same(a: Any, b: Any) -> bool:
    """reflect.DeepEqual: an int and an int64, a list of texts and one of anything are different things."""
    if values.type_of(a) != values.type_of(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(item, b[key]) for key, item in a.items())
    return bool(a == b)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit(f"needs a list, not {values.article(value)}")
    return value


def _anything(value: Any) -> list[Any]:
    """A list as []interface{}."""
    return list(_list(value))


def strings(value: Any) -> values.Strings:
    """As sprig takes it for texts: null is left out, and what is no list is one text."""
    if isinstance(value, list):
        return values.Strings(values.plain(item) for item in value if item is not None)
    return values.Strings([] if value is None else [values.plain(value)])


def _split(mark: str, text: str, most: int = -1) -> values.Strings:
    if mark:
        return values.Strings(text.split(mark, most - 1 if most > 0 else -1) if most else [])
    chars = list(text)
    if 0 < most < len(chars):
        chars = [*chars[: most - 1], "".join(chars[most - 1 :])]
    return values.Strings(chars if most else [])


def _numbered(parts: values.Strings) -> values.Texts:
    return values.Texts((f"_{number}", part) for number, part in enumerate(parts))


def _unique(spend: Spend, value: Any) -> list[Any]:
    found: list[Any] = []
    for item in _list(value):
        spend(_COMPARING * len(found))
        if not any(same(item, other) for other in found):
            found.append(item)
    return found


def _without(spend: Spend, value: Any, *omitted: Any) -> list[Any]:
    spend(_COMPARING * len(_list(value)) * len(omitted))
    return [item for item in value if not any(same(item, other) for other in omitted)]


def _has(needle: Any, value: Any) -> bool:
    return value is not None and any(same(needle, item) for item in _list(value))


def _slice(value: Any, *indices: Any) -> Any:
    found = _list(value)
    if not found:
        return None
    start = to_int(indices[0]) if indices else 0
    end = to_int(indices[1]) if len(indices) > 1 else len(found)
    if not 0 <= start <= end <= len(found):
        raise Unfit(f"the bounds are out of range: the list has {len(found)} items")
    return type(found)(found[start:end])


def _chunk(size: int, value: Any) -> values.Lists:
    if size < 1:
        raise Unfit("the size must be at least 1")
    found = _anything(value)
    return values.Lists(found[at : at + size] for at in range(0, len(found), size))


def _sorted(value: Any) -> values.Strings:
    if not isinstance(value, list):
        return values.Strings([values.plain(value)])
    return values.Strings(sorted(strings(value), key=encoded))


def _joined(spend: Spend, mark: str, value: Any) -> str:
    parts = strings(value)
    spend(len(mark) * len(parts))
    return mark.join(parts)


_add("list tuple", lambda *given: list(given), "", "any", cost="one")
_add("first mustFirst", lambda value: _list(value)[0] if _list(value) else None, "any", cost="one")
_add("last mustLast", lambda value: _list(value)[-1] if _list(value) else None, "any", cost="one")
_add("rest mustRest", lambda value: _anything(value)[1:], "any", cost="items")
_add("initial mustInitial", lambda value: _anything(value)[:-1], "any", cost="items")
_add("append push mustAppend mustPush", lambda value, item: [*_list(value), item], "any any", cost="items")
_add("prepend mustPrepend", lambda value, item: [item, *_list(value)], "any any", cost="items")
_add("concat", lambda *given: [item for value in given for item in _list(value)], "", "any", cost="items")
_add("reverse mustReverse", lambda value: _anything(value)[::-1], "any", cost="items")
_add("uniq mustUniq", _unique, "any", metered=True)
_add("without mustWithout", _without, "any", "any", metered=True)
_add("has mustHas", _has, "any any")
_add("compact mustCompact", lambda value: [i for i in _list(value) if values.truth(i)], "any", cost="items")
_add("slice mustSlice", _slice, "any", "any", cost="items")
_add("chunk mustChunk", _chunk, "int any", cost="items")
_add("sortAlpha", _sorted, "any")
_add("join", _joined, "string any", metered=True)
_add("split", lambda mark, text: _numbered(_split(mark, text)), "string string")
_add("splitn", lambda mark, most, text: _numbered(_split(mark, text, most)), "string int string")
_add("splitList", _split, "string string")
_add("toStrings", strings, "any")
