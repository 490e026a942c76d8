"""The keys of a result: how ESO makes them valid, and how `rewrite` changes them."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from agent.core import re2
from agent.core.errors import ProjectionError, shown
from agent.core.external_secret import Conversion, Merge, Regexp, Rewrite, Text, Transform
from agent.render.external_secret.members import whole
from agent.render.template import Template, TemplateError, gojson, parse, values

Values = dict[str, bytes]

_LONGEST = 253  # bytes of a key


def _fits(char: str) -> bool:
    return char in "-._" or unicodedata.category(char)[0] in "LN"


def converted(found: Mapping[str, bytes], strategy: Conversion, where: str) -> Values:
    """The keys with what Kubernetes does not take replaced. Raises ProjectionError if two become one."""
    made: Values = {}
    for key, value in found.items():
        name = "".join(char if _fits(char) else "_" if strategy == "Default" else f"_U{ord(char):04x}_" for char in key)
        if name in made:
            other = "set conversionStrategy: Unicode, or " if strategy == "Default" else ""
            raise ProjectionError(f"{where}: two keys become {shown(name)}; {other}give each a name by rewrite")
        made[name] = value
    return made


def checked(found: Mapping[str, bytes], where: str) -> Values:
    """Without the empty key. Raises ProjectionError for one that cannot be a key of a Secret."""
    for key in found:
        if len(key.encode("utf-8", "surrogatepass")) > _LONGEST:
            raise ProjectionError(f"{where}: key {shown(key)} is longer than {_LONGEST} bytes; shorten it by rewrite")
        if wrong := next((char for char in key if not _fits(char)), None):
            raise ProjectionError(
                f"{where}: key {shown(key)} has {shown(wrong)}, which no key may have; replace it by another rewrite"
            )
    return {key: value for key, value in found.items() if key}


def rewritten(found: Values, rewrites: tuple[Rewrite, ...], where: str) -> Values:
    """The keys after each of the rewrites, in their order. Raises ProjectionError."""
    for rewrite in rewrites:
        match rewrite:
            case Regexp():
                found = _renamed(found, _replacing(rewrite, where), where)
            case Transform():
                found = _renamed(found, _transforming(rewrite, where), where)
            case Merge():
                found = _merged(found, rewrite, where)
    return found


def _renamed(found: Values, rename: Callable[[str], str], where: str) -> Values:
    made: Values = {}
    names: dict[str, str] = {}
    for key in sorted(found):
        name = rename(key)
        if name in made and name:
            both = f"keys {shown(names[name])} and {shown(key)}"
            raise ProjectionError(f"{where}: rewrite makes {shown(name)} of both {both}, of which ESO loses one")
        names[name], made[name] = key, found[key]
    return made


def _replacing(rewrite: Regexp, where: str) -> Callable[[str], str]:
    pattern = re2.compile(rewrite.source)

    def rename(key: str) -> str:
        try:
            return pattern.replace(key, rewrite.target)
        except re2.TooMuchWork:
            pass
        raise ProjectionError(f"{where}: rewrite: {rewrite.source!r} takes too long for key {shown(key)}; simplify it")

    return rename


def _transforming(rewrite: Transform, where: str) -> Callable[[str], str]:
    template = parsed(rewrite.template.text)

    def rename(key: str) -> str:
        try:
            return template.render(values.Texts(value=key))
        except TemplateError as error:
            problem = placed(rewrite.template, error)
        raise ProjectionError(f"{where}: rewrite: the template for key {shown(key)}: {problem}")

    return rename


@functools.lru_cache(maxsize=256)
def parsed(text: str) -> Template:
    """A template, parsed once. Raises TemplateError."""
    return parse(text, of_eso=True)


def placed(text: Text, error: TemplateError) -> str:
    """What is wrong with a template, with its place in the config's file."""
    line, column = text.written.place(error.line, error.column)
    return f"line {line}, column {column} of the config: {error.message}"


# -- merge -------------------------------------------------------------------------------------------------------------


def _merged(found: Values, rewrite: Merge, where: str) -> Values:
    """All values' objects in one. Those that are named in `priority` come last, and win."""
    others = sorted((key for key in found if key not in rewrite.priority), key=lambda key: key.encode("utf-8"))
    merged: dict[str, Any] = {}
    twice: list[str] = []
    for key in (*others, *rewrite.priority):
        if key in found:
            members = _object(found[key], key, where)
            twice += [name for name in members if name in merged]
            merged |= members
        elif rewrite.strict:
            raise ProjectionError(
                f"{where}: merge: priority names {shown(key)}, which is not there; remove it, or set priorityPolicy: "
                "IgnoreNotFound"
            )
    if twice and rewrite.exclusive:
        listed = ", ".join(map(shown, sorted(set(twice))))
        raise ProjectionError(
            f"{where}: merge: more than one secret has the key {listed}; set priority with conflictPolicy: Ignore"
        )
    if rewrite.into is not None:
        return {**found, rewrite.into: gojson.dumps(merged, html=False).encode()}
    return {name: _text(value).encode() for name, value in merged.items()}


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


_HUGE = object()  # a number that no float64 is


def _number(literal: str) -> Any:
    """The number as ESO writes it, which takes it for a float64; with its digits where that would lose some."""
    real = float(literal)
    if real in (float("inf"), float("-inf")):
        return _HUGE
    if literal.lstrip("-").isdecimal() or Decimal(literal) != Decimal(repr(real)):
        return _written(values.Real(real), literal)
    return _written(values.Real(real), gojson.dumps(real, html=False))


def _written(number: values.Real, literal: str) -> values.Real:
    number.literal = literal
    return number


def _object(content: bytes, key: str, where: str) -> dict[str, Any]:
    problem = f"is not a JSON object; leave it out, by a narrower name or path of {shown('find')}"
    try:
        text = whole(content.decode("utf-8", "surrogateescape"))
        found = json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = ()
    if huge := [name for name, value in found.items() if _is_huge(value)] if isinstance(found, dict) else []:
        problem = f"has a number at {shown(whole(huge[0]))} that is too large, as 1e999 is; write it as a text"
        found = ()
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ProjectionError(f"{where}: merge: the value of {shown(key)} {problem}")
    return {whole(name): _whole(value) for name, value in found.items()}


def _is_huge(value: Any) -> bool:
    """Whether a number that is too large is anywhere in it."""
    if isinstance(value, dict | list):
        return any(map(_is_huge, value.values() if isinstance(value, dict) else value))
    return value is _HUGE


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {whole(name): _whole(item) for name, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    """A merged value as the content of a key."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and isinstance(value, values.Real):
        return value.literal if value.literal.lstrip("-").isdecimal() else _long(value)
    return gojson.dumps(value, html=True)


def _long(value: values.Real) -> str:
    """Without an exponent, where nothing is lost by that."""
    plain = values.decimal(float(value))
    return plain if Decimal(plain) == Decimal(value.literal) else value.literal
