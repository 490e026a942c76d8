"""From what ExternalSecrets ask for to what a config of our own says: exactly the same, or the reason why not.

`data` has such a form: a value, or a property of it, is a file. What renames keys or makes new texts has none that is
the same whatever AWS holds, and is left to the manifest, which is a config as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.config.document import Mapping, Node, Scalar, Sequence
from agent.config.kubernetes import entry, word_of
from agent.core.errors import Problem
from agent.core.external_secret import TargetTemplate
from agent.core.model import Bundle, ExternalSecretData, Output, Projection, Property
from agent.core.record import replace
from agent.render.external_secret import rules

_KEPT = "keep this ExternalSecret as it is, which is a config, too"

# Types whose rules are about keys alone, and not about what AWS holds.
_TYPES = frozenset({"Opaque", "kubernetes.io/tls", "kubernetes.io/basic-auth"})

_STRICT = {
    "decodingStrategy": ("None", "a config decodes base64 less strictly, and never by trying"),
    "metadataPolicy": ("None", "a config reads values, and no tags"),
    "nullBytePolicy": ("Ignore", "a config takes any byte"),
}


def converted(bundle: Bundle, documents: Iterable[Node]) -> tuple[Bundle, list[Problem]]:
    """The bundle with files in place of the ExternalSecrets, and without those that cannot become files: why and where
    is a problem each. `documents` are those that the bundle was read from."""
    outputs: list[Output] = []
    problems: list[Problem] = []
    of_target = {_target(document): document for document in documents if _is_external_secret(document)}
    for output in bundle.outputs:
        if not isinstance(output.renderer, ExternalSecretData):
            outputs.append(output)
        elif found := list(_problems(output.renderer, of_target[output.path])):
            problems += found
        else:
            outputs += _files(output, output.renderer)
    used = {name for output in outputs for name in output.inputs}
    secrets = tuple(secret for secret in bundle.secrets if secret.name in used)
    return replace(bundle, secrets=secrets, outputs=tuple(outputs)), problems


def _is_external_secret(document: Node) -> bool:
    return word_of(entry(document, "kind")) == "ExternalSecret"


def _at(node: Node | None, *keys: str) -> Node | None:
    """What stands beneath keys."""
    for key in keys:
        node = entry(node, key) if node is not None else None
    return node


def _target(document: Node) -> str:
    return word_of(_at(document, "spec", "target", "name")) or word_of(_at(document, "metadata", "name"))


def _files(output: Output, how: ExternalSecretData) -> Iterator[Output]:
    """A file for each key."""
    for each in how.entries:
        wanted = each.remote.property
        renderer = Property(wanted) if wanted else Projection(missing="empty")
        yield Output(f"{output.path}/{each.key}", (each.remote.secret,), renderer, output.mode)


# -- what has no form in a config --------------------------------------------------------------------------------------


def _problems(how: ExternalSecretData, document: Node) -> Iterator[Problem]:
    for item in _items(_at(document, "spec", "dataFrom")):
        for key, what in _keys(item):
            if key.text in ("extract", "find"):
                yield from _extracted(key, what)
    seen: set[str] = set()
    for item in _items(_at(document, "spec", "data")):
        name = word_of(entry(item, "secretKey"))
        if name in seen:
            said = f"secretKey {name} is there twice, of which a config has one"
            yield Problem(item.line, item.column, f"{said}; remove one, or {_KEPT}")
        seen.add(name)
        for key, value in _keys(_at(item, "remoteRef")):
            usual, why = _STRICT.get(key.text, ("", ""))
            if usual and word_of(value) not in ("", usual):
                yield Problem(key.line, key.column, f"{key.text} {word_of(value)}: {why}; {_KEPT}")
    if how.template is not None:
        yield from _template(how.template, document)
    yield from _type(how, document)


def _extracted(key: Scalar, what: Node) -> Iterator[Problem]:
    name = word_of(entry(what, "key"))
    if key.text == "extract":
        instead = f"name each key in data, as property, with remoteRef.key {name}"
    else:
        instead = "write a secret with find and a directory, and compare the names of its files"
    said = f"{key.text}: its keys are renamed and its values written in ESO's own way, which a config has not"
    yield Problem(key.line, key.column, f"{said}; {instead}, or {_KEPT}")


def _template(template: TargetTemplate, document: Node) -> Iterator[Problem]:
    at = _at(document, "spec", "target", "template")
    for key, value in _keys(at):
        if key.text in ("data", "templateFrom") and not (isinstance(value, Scalar) and value.empty):
            said = f"template.{key.text}: ESO's templates print null and numbers in another way than those of a config"
            yield Problem(key.line, key.column, f"{said}; write it as template of a file, or {_KEPT}")
    if any("{{" in text.text for _, text in (*template.labels, *template.annotations)):
        where = _at(at, "metadata") or document
        said = "a label or an annotation is a template, and files have neither"
        yield Problem(where.line, where.column, f"{said}; write it as a text, or {_KEPT}")


def _type(how: ExternalSecretData, document: Node) -> Iterator[Problem]:
    """The rules of Kubernetes, which a file does not have to meet."""
    own = how.template
    home = document if own is None else _at(document, "spec", "target", "template")
    at = _at(document, "spec", "target", "template", "type") or _at(home, "metadata") or document
    labels = dict(how.labels) if own is None else {name: text.text for name, text in own.labels}
    annotations = dict(how.annotations) if own is None else {name: text.text for name, text in own.annotations}
    if how.type not in _TYPES and how.type.startswith("kubernetes.io/"):
        yield Problem(at.line, at.column, f"type {how.type}: a config does not check its values; {_KEPT}")
        return
    for problem in rules.problems(how.type, {each.key: b"" for each in how.entries}, labels, annotations):
        yield Problem(at.line, at.column, f"{problem}, so ESO makes no Secret of it; correct it, or {_KEPT}")


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Sequence) else ()


def _keys(node: Node | None) -> tuple[tuple[Scalar, Node], ...]:
    return node.entries if isinstance(node, Mapping) else ()
