"""The modifiers of gjson's paths, such as `@keys`: from JSON to JSON."""

from __future__ import annotations

import json as strict
from collections.abc import Callable

from agent.render import gjson_pretty
from agent.render.gjson_scan import Result, entries, is_array, is_object, parsed

Get = Callable[[str, str], Result]

Modifier = Callable[[str, str, Get], str]

_SHORT = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}


def quoted(text: str) -> str:
    """A text as a string of JSON, with `<`, `>` and `&` escaped."""
    out = ['"']
    for char in text:
        if char in _SHORT:
            out.append(_SHORT[char])
        elif char < " " or char in "<>&\u2028\u2029":
            out.append(f"\\u{ord(char):04x}")
        else:
            out.append("\\ufffd" if "\ud800" <= char <= "\udfff" else char)
    return "".join([*out, '"'])


def _no_constant(_name: str) -> None:
    raise ValueError


def valid(json: str) -> bool:
    """Whether it is JSON."""
    try:
        strict.loads(json, parse_constant=_no_constant, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True


def _flag(argument: str, name: str) -> bool:
    return any(key.text == name and _true(value) for key, value in entries(parsed(argument)))


def _true(value: Result) -> bool:
    if value.kind == "string":
        return value.text.lower() in ("1", "t", "true")
    return value.kind == "true" or (value.kind == "number" and value.number != 0)


def _reverse(json: str, argument: str, get: Get) -> str:
    whole = parsed(json)
    if is_array(whole):
        return f"[{','.join(value.raw for _, value in reversed(list(entries(whole))))}]"
    if is_object(whole):
        return "{" + ",".join(f"{key.raw}:{value.raw}" for key, value in reversed(list(entries(whole)))) + "}"
    return json


def _unwrapped(json: str) -> str:
    bare = json.strip("".join(map(chr, range(33))))
    return bare[1:-1] if len(bare) >= 2 and bare[0] in "[{" else bare


def _flatten(json: str, argument: str, get: Get) -> str:
    whole = parsed(json)
    if not is_array(whole):
        return json
    deep = _flag(argument, "deep")
    parts = []
    for _, value in entries(whole):
        raw = value.raw
        if is_array(value):
            raw = _unwrapped(_flatten(raw, argument, get) if deep else raw)
        parts.append(raw.strip())
    return f"[{','.join(part for part in parts if part)}]"


def _join(json: str, argument: str, get: Get) -> str:
    whole = parsed(json)
    if not is_array(whole):
        return json
    objects = [value for _, value in entries(whole) if is_object(value)]
    if _flag(argument, "preserve"):
        return "{" + ",".join(_unwrapped(value.raw) for value in objects) + "}"
    kept: dict[str, tuple[str, str]] = {}
    for each in objects:
        for key, value in entries(each):
            kept[key.text] = kept.get(key.text, (key.raw, ""))[0], value.raw
    return "{" + ",".join(f"{key}:{value}" for key, value in kept.values()) + "}"


def _keys(json: str, argument: str, get: Get) -> str:
    whole = parsed(json)
    named = is_object(whole)
    return f"[{','.join(key.raw if named else 'null' for key, _ in entries(whole))}]"


def _values(json: str, argument: str, get: Get) -> str:
    whole = parsed(json)
    return json if is_array(whole) else f"[{','.join(value.raw for _, value in entries(whole))}]"


def _group(json: str, argument: str, get: Get) -> str:
    whole = parsed(json)
    if not is_object(whole):
        return ""
    rows: list[list[str]] = []
    for key, values in entries(whole):
        if is_array(values):
            for at, (_, value) in enumerate(entries(values)):
                rows += [[]] if at == len(rows) else []
                rows[at].append(f"{key.raw}:{value.raw}")
    return "[" + ",".join("{" + ",".join(row) + "}" for row in rows) + "]"


def _dig(json: str, argument: str, get: Get) -> str:
    found: list[str] = []

    def descend(value: Result) -> None:
        hit = get(value.raw, argument)
        if hit.exists:
            found.append(hit.raw)
        if is_array(value) or is_object(value):
            for _, inner in entries(value):
                descend(inner)

    descend(parsed(json))
    return f"[{','.join(found)}]"


def _from_text(json: str, argument: str, get: Get) -> str:
    return parsed(json).shown if valid(json) else ""


MODIFIERS: dict[str, Modifier] = {
    "this": lambda json, argument, get: json,
    "ugly": lambda json, argument, get: gjson_pretty.ugly(json),
    "pretty": lambda json, argument, get: gjson_pretty.pretty(json, argument),
    "reverse": _reverse,
    "flatten": _flatten,
    "join": _join,
    "valid": lambda json, argument, get: json if valid(json) else "",
    "keys": _keys,
    "values": _values,
    "tostr": lambda json, argument, get: quoted(json),
    "fromstr": _from_text,
    "group": _group,
    "dig": _dig,
}
