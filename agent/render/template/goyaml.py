"""ESO's toYaml and fromYaml: YAML as sigs.k8s.io/yaml writes it, and as it reads it, but that nothing is mangled.

PyYAML reads and writes; what a plain text means is decided here. By YAML 1.1 `1:30` is 90, `0123` is 83 and `no` is
false, by 1.2 none of them, and Go's library lies in between. So what is written in plain is read alike by all, and what
is read follows Go.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from agent.render.template import gojson, quoted, values
from agent.render.template.budget import Exhausted
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions

if TYPE_CHECKING:
    from yaml.events import Event
    from yaml.nodes import Node, ScalarNode

Spend = Callable[[int], None]

_WRITING, _READING = 256, 32  # units for an item that is written, and for a character that is read: PyYAML is slow

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"})
_WHOLE = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# What another reader takes for a number of base 60, a date, a default or a merge.
_ELSEWHERE = re.compile(r"[-+]?\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?|\d{4}-\d\d?-\d\d?(?:[Tt\s].*)?|=|<<", re.ASCII)
_BYTE = re.compile("[\udc80-\udcff]")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


# -- writing -----------------------------------------------------------------------------------------------------------


def dumps(spend: Spend, value: Any) -> str:
    """Without a line end at its end. Raises Unfit for what YAML cannot hold."""
    import yaml

    spend(_WRITING * _size(value))
    if value == "":
        return '""'  # PyYAML would write a document's start before it

    class Dumper(yaml.SafeDumper):
        def check_simple_key(self) -> bool:
            """The empty text is one for Go."""
            return super().check_simple_key() or (isinstance(self.event, yaml.ScalarEvent) and not self.event.value)

    made = str(yaml.emit(_events(value), Dumper=Dumper, allow_unicode=True, width=80))
    return made.removesuffix("...\n").removesuffix("\n")


def _size(value: Any) -> int:
    """Items, and a sixteenth of the characters."""
    if isinstance(value, dict):
        return 1 + sum(_size(key) + _size(item) for key, item in value.items())
    if isinstance(value, list):
        return 1 + sum(map(_size, value))
    return 1 + (len(value) >> 4 if isinstance(value, str) else 0)


def _events(value: Any) -> Iterator[Event]:
    from yaml import events

    yield events.StreamStartEvent()
    yield events.DocumentStartEvent(explicit=False)
    yield from _value(value)
    yield events.DocumentEndEvent(explicit=False)
    yield events.StreamEndEvent()


def _value(value: Any) -> Iterator[Event]:
    from yaml import events

    if isinstance(value, dict):
        yield events.MappingStartEvent(None, None, implicit=True, flow_style=False)
        for key, item in sorted(value.items(), key=_natural):
            yield from _value(key)
            yield from _value(item)
        yield events.MappingEndEvent()
    elif isinstance(value, list):
        yield events.SequenceStartEvent(None, None, implicit=True, flow_style=False)
        for item in value:
            yield from _value(item)
        yield events.SequenceEndEvent()
    else:
        text, style = _scalar(value)
        yield events.ScalarEvent(None, None, (True, True), text, style=style)


def _before(first: str, second: str) -> bool:
    """Which of two keys comes first: by the numbers in them, and letters after what is none."""
    for at, (a, b) in enumerate(zip(first, second, strict=False)):
        if a == b:
            continue
        if a.isalpha() or b.isalpha():
            return a < b if a.isalpha() and b.isalpha() else b.isalpha()
        begun = "0" in (a, b) and bool(re.search(r"[1-9]\d*$", first[:at]))
        numbers = [str(int(begun)) + _digits(text, at) for text in (first, second)]
        if int(numbers[0]) != int(numbers[1]):
            return int(numbers[0]) < int(numbers[1])
        return len(numbers[0]) < len(numbers[1]) if len(numbers[0]) != len(numbers[1]) else a < b
    return len(first) < len(second)


def _digits(text: str, at: int) -> str:
    """The first digits from there on; more are no number that Go could hold."""
    found = re.compile(r"[0-9]{0,18}").match(text, at)
    return found[0] if found else ""


@functools.cmp_to_key
def _natural(first: tuple[str, Any], second: tuple[str, Any]) -> int:
    return -1 if _before(first[0], second[0]) else 1


def _scalar(value: Any) -> tuple[str, str | None]:
    """The text of a scalar, and the style that is wanted for it: None for plain, where that can be."""
    if value is None:
        return "null", None
    if isinstance(value, float) and not math.isfinite(value):
        raise Unfit("JSON has no number without end, so Go's YAML has none")
    if isinstance(value, float) and not values.is_written(value) and value.is_integer() and abs(value) < 2**63:
        return str(int(value)), None
    if not isinstance(value, str):
        return values.plain(value), None
    if any("\udc80" <= char <= "\udcff" for char in value):
        if values.are_as_go():
            return _scalar(_BYTE.sub("\ufffd", value))
        raise Unfit("YAML has no place for bytes that are no UTF-8; use b64enc")
    if any(char in "\x85\u2028\u2029\ufeff" for char in value):
        return value, '"'  # ends of lines to some, which only escapes keep
    if "\n" in value:
        return value, "|"
    return value, '"' if _means_more(value) else None


def _means_more(text: str) -> bool:
    """Whether some reader would take the text, written plain, for something else than a text."""
    bare = text.replace("_", "")
    known = text in _NULL or text in _TRUE or text in _FALSE
    return known or any(
        pattern.fullmatch(part) for pattern in (_WHOLE, _REAL, _ENDLESS, _ELSEWHERE) for part in (text, bare)
    )


# -- reading -----------------------------------------------------------------------------------------------------------


def loads(spend: Spend, text: str) -> dict[str, Any]:
    """The object of a YAML text; an empty text is an empty object. Raises Unfit without the text."""
    import yaml

    spend(_READING * len(text))

    class Loader(yaml.SafeLoader):
        def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
            """No tag for what is plain: what it means is decided here."""
            if kind is yaml.ScalarNode and implicit[0]:
                return ""
            return "tag:yaml.org,2002:str" if kind is yaml.ScalarNode else ""

    try:
        nodes = list(yaml.compose_all(text, Loader))
    except (yaml.YAMLError, RecursionError, ValueError):
        nodes = None
    if nodes is None:
        raise Unfit("the text is not YAML, and ESO would go on with the error")
    if len(nodes) > 1 and not values.are_as_go():
        raise Unfit("there is more than one document in the text")
    found = _Reading().value(nodes[0]) if nodes else {}
    if not isinstance(found, dict) and found is not None:
        raise Unfit(f"the YAML is {values.article(found)}, not an object")
    return found or {}


class _Reading:
    """From nodes to values. A node with an anchor may be in many places; it is read once."""

    def __init__(self) -> None:
        self._read: dict[int, Any] = {}
        self._open: set[int] = set()

    def value(self, node: Node) -> Any:
        known = id(node)
        if known in self._open:
            raise Unfit("an anchor in the YAML refers to itself")
        if known not in self._read:
            self._open.add(known)
            self._read[known] = self._new(node)
            self._open.discard(known)
        return self._read[known]

    def _new(self, node: Node) -> Any:
        from yaml import nodes

        if isinstance(node, nodes.ScalarNode):
            return _read_scalar(node.value, node.tag)
        if node.tag not in ("", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise Unfit("there is a tag in the YAML that is not known here")
        if isinstance(node, nodes.SequenceNode):
            return [self.value(item) for item in node.value]
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, nodes.ScalarNode):
                raise Unfit("a key in the YAML is not a text")
            if key.tag == "" and key.value == "<<":
                value = self.value(item)
                for each in value if isinstance(value, list) else [value]:
                    if not isinstance(each, dict):
                        raise Unfit("<< in the YAML needs an object")
                    merged = each | merged
            elif key.value in found and not values.are_as_go():
                raise Unfit("the YAML has a key twice, of which all but the last would be lost")
            else:
                found[_key(key) if values.are_as_go() else key.value] = self.value(item)
        return merged | found


def _key(node: ScalarNode) -> str:
    """A key as Go's library has it: one that is not a text becomes one."""
    found = _read_scalar(node.value, node.tag)
    if found is None:
        raise Unfit("a key in the YAML is null")
    return "true" if found is True else "false" if found is False else values.plain(found)


def _read_scalar(text: str, tag: str) -> Any:
    kind = tag.removeprefix("tag:yaml.org,2002:")
    if kind == "str":
        return text
    if kind not in ("", "int", "float", "bool", "null"):
        raise Unfit("there is a tag in the YAML that is not known here")
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _ENDLESS.fullmatch(text):
        raise Unfit("JSON has no number without end, so Go's YAML has none")
    bare = text.replace("_", "") if text[:1] in tuple("+-0123456789") else text
    if _WHOLE.fullmatch(bare) or _REAL.fullmatch(bare):
        if _JSON_NUMBER.fullmatch(text) and not values.are_as_go():
            return gojson.loads(text)
        if values.are_as_go():
            return _float64(bare)
        made = quoted.number(bare)
        return float(bare) if made is None else made[0] if not made[2] else made[1]
    if kind:
        raise Unfit("a tag in the YAML does not fit its text")
    return text


def _float64(bare: str) -> float:
    """A number of YAML, as JSON has it."""
    made = quoted.number(bare)
    found = float(bare) if made is None else float(made[0] or 0) if not made[2] else made[1]
    if math.isinf(found):
        raise Unfit("a number in the YAML is too large")
    return found


def _loads_or_error(spend: Spend, text: str) -> dict[str, Any]:
    """ESO's fromYaml: an error is a key of what comes out. Ours holds no value."""
    if not values.are_as_go():
        return loads(spend, text)
    try:
        return loads(spend, text)
    except Exhausted:
        raise
    except Unfit as unfit:
        return {"Error": unfit.message}


def is_text(plain: str) -> bool:
    """Whether what is written in plain means a text: neither null, a boolean nor a number."""
    try:
        return isinstance(_read_scalar(plain, ""), str)
    except Unfit:  # a number without end
        return False


FUNCTIONS = Functions()
_add = FUNCTIONS.add
_add("toYaml", dumps, "any", metered=True)
_add("fromYaml", _loads_or_error, "string", metered=True)
