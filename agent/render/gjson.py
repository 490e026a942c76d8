"""Paths of gjson, as ESO's `property` has them: `a.b`, `list.0`, `list.#.name`, `list.#(name=="x").port`, `a|@keys`.

Nothing is an error: what cannot be found is not there, and of a text that is no JSON what looks like it is read. Held
against gjson 1.18 with texts and paths by chance.

https://github.com/tidwall/gjson/blob/master/SYNTAX.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from agent.render import gjson_modifiers as modifiers
from agent.render import gjson_scan as scan
from agent.render.gjson_scan import NOTHING, Result

_BEGIN = re.compile(r"[{\[]")
_STATIC = frozenset('{["+-0123456789')
_COMPLEX = frozenset("[]{}()#|!")
_SPACE = "".join(map(chr, range(33)))


def lookup(json: str, prop: str) -> str | None:
    """The text of what ESO finds for a `property`, or None if there is nothing.

    A property with dots is first taken for one key of the top level, and only then for a path.
    """
    try:
        found = get(json, prop.replace(".", "\\.")) if "." in prop else NOTHING
        if not found.exists:
            found = get(json, prop)
    except RecursionError:
        return None
    return found.shown if found.exists else None


def get(json: str, path: str) -> Result:
    """What a path finds."""
    if len(path) > 1:
        special = None
        if path[0] in "@!":
            special = _modified(json, path) if path[0] == "@" else _static(path)
        elif path[0] in "[{":
            special = _selected(json, path)
        if special is not None:
            return special
    if path.startswith(".."):
        hit = _array(json, 0, path[2:])
    else:
        begin = _BEGIN.search(json)
        if begin is None:
            return NOTHING
        hit = (_object if begin[0] == "{" else _array)(json, begin.end(), path)
    return get(hit.value.raw, hit.pipe) if hit.pipe is not None else hit.value


class _Hit(NamedTuple):
    """What was found, whether it ends the search, where reading stopped, and the path that goes on with what was
    found."""

    value: Result
    ends: bool
    at: int
    pipe: str | None = None


# -- what a path may begin with ----------------------------------------------------------------------------------------


def _onward(json: str, rest: str) -> Result:
    return get(json, rest[1:]) if rest[:1] in ("|", ".") and rest else scan.parsed(json)


def _modified(json: str, path: str) -> Result | None:
    """`@name`, `@name:argument`; None if there is no such modifier."""
    end = next((at for at in range(1, len(path)) if path[at] in ":|."), len(path))
    modifier = modifiers.MODIFIERS.get(path[1:end])
    if modifier is None:
        return None
    rest, argument = path[end:], ""
    if rest.startswith(":"):
        rest = rest[1:]
        argument = _argument(rest)
        rest = rest[len(argument) :]
    made = modifier(json, argument, get)
    return _onward(made, rest)


def _argument(text: str) -> str:
    if text[:1] in ("{", "[", '"') and text:
        return _squash(text)
    at = 0
    while at < len(text) and text[at] != "|":
        at += len(_squash(text[at:])) if text[at] in '{["(' else 1
    return text[:at]


def _squash(text: str) -> str:
    if text.startswith('"'):
        return scan.string(text, 1)[1]
    return scan.squashed(text, 0)[1] if text else ""


def _static(path: str) -> Result | None:
    """`!` and a constant."""
    name = path[1:]
    if name and name[0] in _STATIC:
        raw = scan.squashed(name, 0)[1]
        return _onward(raw, name[len(raw) :])
    end = next((at for at in range(1, len(path)) if path[at] in "|."), None)
    word = path[1:end] if end else name
    if word.lower() not in ("true", "false", "null", "nan", "inf"):
        return None
    return _onward(word, path[end:] if end else "")


def _selected(json: str, path: str) -> Result | None:
    """`{a,"b":c}` and `[a,c]`: a new object or list; None if it is no such path."""
    found = _selectors(path)
    if found is None:
        return None
    selectors, rest = found
    if rest and rest[0] not in "|.":
        return None
    parts = []
    for name, each in selectors:
        item = get(json, each)
        if not item.exists:
            continue
        raw = item.raw or item.shown or "null"
        parts.append(f"{_name(name, each)}:{raw}" if path[0] == "{" else raw)
    made = Result("json", path[0] + ",".join(parts) + ("}" if path[0] == "{" else "]"))
    return get(made.raw, rest[1:]) if rest else made


def _name(name: str, path: str) -> str:
    if name:
        return name if name[0] == '"' and modifiers.valid(name) else modifiers.quoted(name)
    last = path
    for at in range(len(path) - 1, -1, -1):
        if path[at] in "|." and not (at > 0 and path[at - 1] == "\\"):
            last = path[at + 1 :]
            break
    simple = not any(char < " " or char in _COMPLEX for char in last)
    return modifiers.quoted(last if simple else "_")


def _selectors(path: str) -> tuple[list[tuple[str, str]], str] | None:
    """The names and paths of a selection, and what stands behind it."""
    found: list[tuple[str, str]] = []
    depth, start, at = 1, 1, 1
    colon = modifier = 0
    while at < len(path):
        char = path[at]
        if char == "\\":
            at += 1
        elif char == "@" and not modifier and path[at - 1] in ".|":
            modifier = at
        elif char == ":" and not modifier and not colon and depth == 1:
            colon = at
        elif char == '"':
            at = _quoted_end(path, at)
        elif char in "[({":
            depth += 1
        elif char in "])}" or (char == "," and depth == 1):
            depth -= char != ","
            if char == "," or not depth:
                found.append((path[start:colon], path[colon + 1 : at]) if colon else ("", path[start:at]))
                colon = modifier = 0
                start = at + 1
            if not depth:
                return found, path[at + 1 :]
        at += 1
    return None


def _quoted_end(text: str, at: int) -> int:
    """Where the string that begins at a quote ends."""
    at += 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at


# -- objects -----------------------------------------------------------------------------------------------------------


class _Step(NamedTuple):
    """The first part of a path, and what follows: more of the path, or a path for what was found."""

    part: str
    more: str | None = None
    pipe: str | None = None
    wild: bool = False


def _pipes(path: str) -> bool:
    """Whether what follows a dot is a path of its own, as behind `|`."""
    if path[:1] == "@":
        end = next((at for at in range(1, len(path)) if path[at] in ".|:"), len(path))
        return path[1:end] in modifiers.MODIFIERS
    return path[:1] in ("[", "{")


def _object_step(path: str) -> _Step:
    part: list[str] = []
    wild, at = False, 0
    while at < len(path):
        char = path[at]
        if char == "\\":
            at += 1
            part += path[at : at + 1]
        elif char == "|":
            return _Step("".join(part), pipe=path[at + 1 :], wild=wild)
        elif char == ".":
            rest = path[at + 1 :]
            if _pipes(rest):
                return _Step("".join(part), pipe=rest, wild=wild)
            return _Step("".join(part), more=rest, wild=wild)
        else:
            wild = wild or char in "*?"
            part.append(char)
        at += 1
    return _Step("".join(part), wild=wild)


def _object(json: str, at: int, path: str) -> _Hit:
    """What a path finds in an object, of which the brace was read. The first key that leads to something wins."""
    step = _object_step(path)
    pipe, more = step.pipe, step.more
    held = NOTHING
    while at < len(json):
        while at < len(json) and json[at] not in '"}':
            at += 1
        if at >= len(json) or json[at] == "}":
            return _Hit(held, False, min(at + 1, len(json)), pipe)
        at, raw, ended = scan.string(json, at + 1)
        if not ended:
            return _Hit(held, False, at, pipe)
        key = scan.unquoted(raw)
        fits = matches(key, step.part) if step.wild else key == step.part
        while at < len(json) and not scan.begins_value(json[at]):
            at += 1
        if at >= len(json):
            break
        if fits and more is not None and json[at] in "{[":
            inner = (_object if json[at] == "{" else _array)(json, at + 1, more)
            pipe = inner.pipe if inner.pipe is not None else pipe
            if inner.value.exists:
                held = inner.value
            if inner.ends:
                return _Hit(inner.value, True, inner.at, pipe)
            at = inner.at
            continue
        found = scan.value(json, at)
        if found is None:
            return _Hit(held, False, len(json), pipe)
        if fits and more is None:
            return _Hit(found[1], True, found[0], pipe)
        at = found[0]
    return _Hit(held, False, at, pipe)


def matches(text: str, pattern: str) -> bool:
    """Whether the whole text fits: `*` is any text, `?` one character, a backslash takes the next as it is."""
    wanted: list[str | None] = []  # None: any text; "": any character
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
            if at >= len(pattern):
                return False
            wanted.append(pattern[at])
        else:
            wanted.append(None if char == "*" else "" if char == "?" else char)
        at += 1
    place = here = 0
    star, mark = -1, 0
    while place < len(text):
        if here < len(wanted) and wanted[here] is None:
            star, mark = here, place
            here += 1
        elif here < len(wanted) and wanted[here] in ("", text[place]):
            place, here = place + 1, here + 1
        elif star >= 0:
            mark += 1
            place, here = mark, star + 1
        else:
            return False
    return all(each is None for each in wanted[here:])


# -- lists -------------------------------------------------------------------------------------------------------------


class _Query(NamedTuple):
    path: str
    operator: str
    value: str
    all: bool


class _Place(NamedTuple):
    """The first part of a path in a list: an index, `#`, `#.key`, or a query."""

    part: str
    more: str | None = None
    pipe: str | None = None
    counts: bool = False
    each: str | None = None
    query: _Query | None = None
    broken: bool = False


def _array_place(path: str) -> _Place:
    counts, each, query, queried = False, None, None, False
    at = 0
    while at < len(path):
        char = path[at]
        if char == "|":
            return _Place(path[:at], None, path[at + 1 :], counts, each, query, queried and query is None)
        if char == ".":
            rest = path[at + 1 :]
            broken = queried and query is None
            if not counts and _pipes(rest):
                return _Place(path[:at], None, rest, counts, each, query, broken)
            return _Place(path[:at], rest, None, counts, each, query, broken)
        if char == "#":
            counts = True
            if at == 0 and path[1:2] == ".":
                each = path[2:]
            elif at == 0 and path[1:2] in ("[", "("):
                queried = True
                found = _query(path)
                if found is not None:
                    query, end = found
                    at = end - 1
        at += 1
    return _Place(path, None, None, counts, each, query, queried and query is None)


def _query(path: str) -> tuple[_Query, int] | None:
    """A query such as `#(name=="x")#`, and where it ends, before a second `#`."""
    depth, operator_at, at = 1, 0, 2
    escaped = False
    while at < len(path):
        char = path[at]
        if depth == 1 and not operator_at and char in "!=<>%":
            operator_at = at
        elif char == "\\":
            at += 1
        elif char in "[(":
            depth += 1
        elif char in "])":
            depth -= 1
            if not depth:
                break
        elif char == '"':
            escaped = escaped or "\\" in path[at : _quoted_end(path, at)]
            at = _quoted_end(path, at)
        at += 1
    if depth:
        return None
    of_all = path[at + 1 : at + 2] == "#"
    if not operator_at:
        return _Query(path[2:at].strip(_SPACE), "", "", of_all), at + 1
    compared = path[operator_at:at].strip(_SPACE)
    operator = next((two for two in ("!=", "!%", "<=", ">=", "==") if compared.startswith(two)), compared[:1])
    if operator == "!" and len(compared) > 1:
        operator = ""
    value = compared[len(operator) :].strip(_SPACE)
    operator = "=" if operator == "==" else operator
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = scan.unescaped(value[1:-1]) if escaped else value[1:-1]
    return _Query(path[2:operator_at].strip(_SPACE), operator, value, of_all), at + 1


def _array(json: str, at: int, path: str) -> _Hit:
    """What a path finds in a list, of which the bracket was read, or in lines."""
    place = _array_place(path)
    index = -1
    if not place.counts and place.part.isascii() and place.part.isdecimal() and len(place.part) < 19:
        index = int(place.part)
    return _List(json, place, index).read(at)


class _List:
    """One reading of a list."""

    def __init__(self, json: str, place: _Place, index: int) -> None:
        self.json, self.place, self.index = json, place, index
        self.pipe = place.pipe
        self.more = place.more
        self.held = NOTHING
        self.found: list[str] = []

    def read(self, at: int) -> _Hit:
        place, json = self.place, self.json
        count = 0
        items: list[Result] = []
        while True:
            while at < len(json) and json[at] != "]" and not scan.begins_value(json[at]):
                at += 1
            if at >= len(json) or json[at] == "]":
                return self._ended(min(at + 1, len(json)), count, items)
            wanted = count == self.index and not place.counts
            count += 1
            if wanted and self.more is not None and json[at] in "{[":
                inner = (_object if json[at] == "{" else _array)(json, at + 1, self.more)
                self.pipe = inner.pipe if inner.pipe is not None else self.pipe
                if inner.value.exists:
                    self.held = inner.value
                if inner.ends:
                    return _Hit(inner.value, True, inner.at, self.pipe)
                at = inner.at
                continue
            found = scan.value(json, at)
            if found is None:
                return _Hit(self.held, False, len(json), self.pipe)
            at, item = found
            if place.query or place.broken:
                if (hit := self._queried(item)) is not None:
                    return _Hit(hit, True, at, self.pipe)
            elif wanted and self.more is None:
                return _Hit(item, True, at, self.pipe)
            elif place.each is not None:
                items.append(item)

    def _queried(self, item: Result) -> Result | None:
        """The item's part that is wanted, if it fits and one is enough; else it is collected."""
        query = self.place.query or _Query("", "", "", all=False)
        if item.kind == "json":
            compared = get(item.raw, query.path)
        elif query.path:
            return None
        else:
            compared = item
        if not _fits(query, compared):
            return None
        result = item
        if self.more is not None:
            split = _split(self.more)
            if split is not None:
                self.more, self.pipe = split
            result = get(item.raw, self.more)
        if not query.all:
            return result
        if raw := result.raw or result.shown:
            self.found.append(raw)
        return None

    def _ended(self, at: int, count: int, items: list[Result]) -> _Hit:
        place = self.place
        if place.counts and place.part == "#":
            if place.each is None:
                return _Hit(Result("number", str(count)), True, at, self.pipe)
            each = place.each
            split = _split(each)
            if split is not None:
                each, self.pipe = split
            parts = [(part.raw or part.shown) for part in (get(item.raw, each) for item in items) if part.exists]
            return _Hit(Result("json", f"[{','.join(parts)}]"), True, at, self.pipe)
        value = self.held
        if not value.exists and place.query and place.query.all:
            value = Result("json", f"[{','.join(self.found)}]")
        return _Hit(value, False, at, self.pipe)


def _fits(query: _Query, item: Result) -> bool:
    wanted = query.value
    if wanted.startswith("~"):
        item, wanted = _roughly(wanted[1:], item)
    if not item.exists:
        return False
    if not query.operator:
        return True
    return _COMPARED.get(item.kind, _never)(query.operator, item, wanted)


def _roughly(word: str, item: Result) -> tuple[Result, str]:
    """`~true` and its like: the item as a boolean."""
    text = item.text.lower()
    if word == "*":
        is_so = item.exists
    elif word == "null":
        is_so = item.kind == "null"
    elif word == "true":
        said = item.kind == "string" and text in ("1", "t", "true")
        is_so = item.kind == "true" or said or (item.kind == "number" and item.number != 0)
    elif word == "false":
        said = item.kind == "string" and text in ("0", "f", "false")
        is_so = item.kind in ("null", "false") or said or (item.kind == "number" and item.number == 0)
    else:
        return NOTHING, ""
    return Result("true" if is_so else "false", ""), "true"


def _ordered(operator: str, first: str | float, second: str | float) -> bool:
    match operator:
        case "=":
            return first == second
        case "!=":
            return first != second
        case "<":
            return first < second  # type: ignore[operator]
        case "<=":
            return first <= second  # type: ignore[operator]
        case ">":
            return first > second  # type: ignore[operator]
        case ">=":
            return first >= second  # type: ignore[operator]
    return False


def _string_fits(operator: str, item: Result, wanted: str) -> bool:
    if operator in ("%", "!%"):
        return matches(item.text, wanted) == (operator == "%")
    if operator in ("=", "!="):
        return (item.text == wanted) == (operator == "=")
    return _ordered(operator, *(text.encode("utf-8", "surrogateescape").hex() for text in (item.text, wanted)))


def _true_fits(operator: str, item: Result, wanted: str) -> bool:
    return {"=": wanted == "true", "!=": wanted != "true", ">": wanted == "false", ">=": True}.get(operator, False)


def _false_fits(operator: str, item: Result, wanted: str) -> bool:
    return {"=": wanted == "false", "!=": wanted != "false", "<": wanted == "true", "<=": True}.get(operator, False)


def _never(operator: str, item: Result, wanted: str) -> bool:
    return False


_COMPARED: dict[str, Callable[[str, Result, str], bool]] = {
    "string": _string_fits,
    "number": lambda operator, item, wanted: _ordered(operator, item.number, scan.to_float(wanted)),
    "true": _true_fits,
    "false": _false_fits,
}


def _split(path: str) -> tuple[str, str] | None:
    """A path before and behind its first `|`; None if it has none."""
    if "|" not in path:
        return None
    if path[0] == "{":
        end = len(_squash(path[1:])) + 1  # gjson begins one too late, so few of these are divided
        return (path[:end], path[end + 1 :]) if path[end : end + 1] == "|" else None
    for at in _unquoted_places(path):
        if path[at] == "|":
            return path[:at], path[at + 1 :]
    return None


def _unquoted_places(path: str) -> Iterator[int]:
    """The places of a path that stand neither behind a backslash nor in a query."""
    at = 0
    while at < len(path):
        if path[at] == "\\":
            at += 2
            continue
        if path.startswith(".#", at):
            if path[at + 2 : at + 3] not in ("[", "("):
                at += 3  # gjson looks past the next one, too
                continue
            opened = path[at + 2]
            closed = "]" if opened == "[" else ")"
            depth, at = 1, at + 3
            while at < len(path) and depth:
                if path[at] == "\\":
                    at += 1
                elif path[at] == '"':
                    at = _quoted_end(path, at)
                depth += (path[at : at + 1] == opened) - (path[at : at + 1] == closed)
                at += 1
            continue
        yield at
        at += 1
