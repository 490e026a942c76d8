"""The functions of Go's text/template itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_plus

from agent.render.template import printf, quoted, values
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.quoted import encoded

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _basic(value: Any) -> str:
    """The kinds that can be compared with each other: whole numbers of any size can."""
    found = values.kind(value)
    return "whole" if values.is_whole(value) else found


def _comparable(first: Any, second: Any) -> bool:
    kinds = {_basic(first), _basic(second)}
    written = values.is_written(first) or values.is_written(second)
    return len(kinds) == 1 or (written and kinds == {"whole", "float64"})


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise Unfit("missing argument for comparison")
    for other in others:
        if first is None or other is None:
            same = first is other
        elif not _comparable(first, other):
            raise Unfit(f"there is no comparison of {values.article(first)} with {values.article(other)}")
        elif isinstance(first, list | dict):
            raise Unfit(f"{values.article(first)} cannot be compared; use deepEqual")
        else:
            same = bool(first == other)
        if same:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    for value in (first, second):
        if value is None or isinstance(value, bool | list | dict):
            raise Unfit(f"{values.article(value)} has no order")
    if not _comparable(first, second):
        raise Unfit(f"there is no comparison of {values.article(first)} with {values.article(second)}")
    return bool(encoded(first) < encoded(second) if isinstance(first, str) else first < second)


def _whole(index: Any) -> int:
    if not values.is_whole(index):
        raise Unfit(f"a list or a text is indexed by a whole number, not by {values.article(index)}")
    return int(index)


def _index(value: Any, *indices: Any) -> Any:
    if value is None:
        raise Unfit("null has no items")
    for index in indices:
        if isinstance(value, dict):
            if not isinstance(index, str):
                raise Unfit(f"an object is indexed by a text, not by {values.article(index)}")
            value = value.get(index, "" if isinstance(value, values.Texts) else None)
        elif isinstance(value, list | str):
            held: Any = encoded(value) if isinstance(value, str) else value
            at = _whole(index)
            if not 0 <= at < len(held):
                raise Unfit("the index is out of range")
            value = values.Byte(held[at]) if isinstance(value, str) else held[at]
        else:
            raise Unfit(f"{values.article(value)} has no items")
    return value


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(encoded(value))
    if isinstance(value, list | dict):
        return len(value)
    raise Unfit(f"{values.article(value)} has no length")


def _joined(*given: Any) -> str:
    return values.printed(given[0]) if len(given) == 1 else printf.sprint(*given)


_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _js(*given: Any) -> str:
    out = []
    for char in _joined(*given):
        if char in _JS:
            out.append(_JS[char])
        elif char >= " " and (char <= "\x7f" or quoted.printable(char)):
            out.append(char)
        else:
            out.append(f"\\u{ord(char):04X}")
    return "".join(out)


# `and` and `or` are evaluated where they are called, no further than they must be.
_add("and or", lambda *given: given[-1], "any", "any", cost="one")
_add("not", lambda value: not values.truth(value), "any", cost="one")
_add("len", _length, "any", cost="one")
_add("index", _index, "any", "any", cost="one")
_add("print", printf.sprint, "", "any")
_add("printf", printf.sprintf, "string", "any", metered=True)
_add("println", printf.sprintln, "", "any")
_add("html", lambda *given: _joined(*given).translate(_HTML), "", "any")
_add("js", _js, "", "any")
_add("urlquery", lambda *given: quote_plus(encoded(_joined(*given)), safe=""), "", "any")
_add("eq", _equal, "any", "any", cost="items")
_add("ne", lambda a, b: not _equal(a, b), "any any", cost="items")
_add("lt", _less, "any any", cost="items")
_add("le", lambda a, b: _less(a, b) or _equal(a, b), "any any", cost="items")
_add("gt", lambda a, b: not (_less(a, b) or _equal(a, b)), "any any", cost="items")
_add("ge", lambda a, b: not _less(a, b), "any any", cost="items")
