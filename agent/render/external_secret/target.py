"""`target.template`: from the values of AWS to the data, labels and annotations of the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.errors import ProjectionError, shown
from agent.core.external_secret import Decoding, Item, Part, TargetTemplate, TemplateFrom, Text
from agent.render.attempts import every
from agent.render.external_secret import rules
from agent.render.external_secret.decoding import decoded
from agent.render.external_secret.keys import Values, parsed, placed
from agent.render.template import TemplateError, goyaml, values
from agent.render.template.errors import Unfit

Parts = dict[Part, Values]


def rendered(template: TargetTemplate, found: Mapping[str, bytes], where: str) -> Parts:
    """What the templates make of the values, by part of the target. What comes later wins: the values themselves,
    `templateFrom`, `data`, `metadata`. Raises ProjectionError with every problem."""
    dot = values.Texts({key: value.decode("utf-8", "surrogateescape") for key, value in found.items()})
    keeps = template.merges or not (template.data or template.sources)
    parts: Parts = {"Data": dict(found) if keeps else {}, "Labels": {}, "Annotations": {}}
    made = every(lambda source: (source.part, _from(source, dot, where)), template.sources)
    for part, made_here in made:
        parts[part] |= made_here
    parts["Data"] |= _all(template.data, dot, f"{where}: template.data")
    parts["Labels"] |= _all(template.labels, dot, f"{where}: template.metadata.labels")
    parts["Annotations"] |= _all(template.annotations, dot, f"{where}: template.metadata.annotations")
    return parts


def _all(templates: Iterable[tuple[str, Text]], dot: values.Texts, where: str) -> Values:
    return dict(every(lambda pair: (pair[0], _one(pair[1], dot, f"{where}: key {shown(pair[0])}")), templates))


def _one(text: Text, dot: values.Texts, where: str) -> bytes:
    try:
        return parsed(text.text).render(dot).encode("utf-8", "surrogateescape")
    except TemplateError as error:
        problem = placed(text, error)
    raise ProjectionError(f"{where}: {problem}")


def _from(source: TemplateFrom, dot: values.Texts, where: str) -> Values:
    made: Values = {}
    for item in source.items:
        at = f"{where}: templateFrom: {f'key {shown(item.key)}' if item.key else 'literal'}"
        made |= _privately(item, source, dot, at) if item.text.private else _item(item, source, dot, at)
    return made


def _item(item: Item, source: TemplateFrom, dot: values.Texts, at: str) -> Values:
    content = _one(item.text, dot, at)
    pairs = _pairs(content, at) if item.pairs else {item.key: content}
    return {key: _decoded(value, source.decoding, f"{at}: {shown(key)}") for key, value in pairs.items()}


def _privately(item: Item, source: TemplateFrom, dot: values.Texts, at: str) -> Values:
    """The same of what is in a Secret: no error repeats anything of it, nor a key that it makes."""
    try:
        made = _item(item, source, dot, at)
    except ProjectionError:
        made = None
    if made is not None:
        names: dict[Part, Mapping[str, str]] = {source.part: dict.fromkeys(made, "")}
        data = dict.fromkeys(names.get("Data", {}), b"")
        if not any(rules.problems("", data, names.get("Labels", {}), names.get("Annotations", {}))):
            return made
    raise ProjectionError(
        f"{at}: this template makes no keys and texts; what is wrong with it is not shown, since it is in a Secret"
    )


def _decoded(content: bytes, strategy: Decoding, where: str) -> bytes:
    found = decoded(content, strategy)
    if found is None:
        raise ProjectionError(f"{where}: is not {strategy.lower()}; correct valuesDecodingStrategy")
    return found


def _pairs(content: bytes, where: str) -> Values:
    """The keys and texts of YAML."""
    try:
        found = goyaml.loads(_free, content.decode("utf-8", "surrogateescape"))
    except Unfit as unfit:
        problem = unfit.message
    else:
        return {key: _text(value, f"{where}: {shown(key)}") for key, value in found.items()}
    raise ProjectionError(f"{where}: what it renders is no YAML of keys and texts: {problem}; put values in quotes")


def _free(_units: int) -> None:
    """The length of what a template renders is bounded already."""


def _text(value: object, where: str) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, float) and not isinstance(value, int):
        return values.real(float(value)).encode()
    if isinstance(value, int):
        return str(int(value)).encode()
    raise ProjectionError(f"{where}: is not a text in the YAML, but {values.article(value)}; put it in quotes")
