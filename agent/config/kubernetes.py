"""Read the manifests of Kubernetes: the documents of a config by kind, namespace and name, and their texts.

A manifest's YAML is read as Kubernetes reads it: a plain `5432`, `yes` or `n` is not a text there, and null is as if
the key were not there.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from agent.config.document import Mapping, Node, Scalar, Sequence, suggestion
from agent.config.reading import Reader, Section
from agent.core.record import Record
from agent.core.written import Written

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

_NAME_LIMIT, _LABEL_LIMIT = 253, 63

_METADATA = (
    "name", "namespace", "labels", "annotations", "generateName", "finalizers", "ownerReferences", "uid", "selfLink",
    "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation", "managedFields",
)  # fmt: skip

KEYS = {
    "metadata": _METADATA,
    "ConfigMap": ("apiVersion", "kind", "metadata", "data", "binaryData", "immutable"),
    "Secret": ("apiVersion", "kind", "metadata", "data", "stringData", "type", "immutable"),
}


class Text(Record):
    """A text of a manifest, and where it begins."""

    text: str
    written: Written


class Named(Record):
    """The name of a document, its namespace and its labels and annotations, with the node to report problems at."""

    node: Node
    name: str
    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


def entry(node: Node, key: str) -> Node | None:
    """The value of a key of a mapping, if it is one and has it."""
    if not isinstance(node, Mapping):
        return None
    return next((value for name, value in node.entries if name.text == key), None)


def word_of(node: Node | None) -> str:
    """The text of a scalar, or nothing."""
    return node.text if isinstance(node, Scalar) else ""


def written(node: Node) -> Written:
    """Where the text of a scalar begins."""
    if isinstance(node, Scalar) and node.indent is not None:
        return Written(node.line + 1, node.indent + 1, block=True)
    return Written(node.line, node.column + (isinstance(node, Scalar) and not node.plain), block=False)


def is_text(node: Scalar) -> bool:
    """Whether Kubernetes takes a scalar for a text."""
    from agent.render.template import goyaml  # few configs have manifests

    return not node.plain or goyaml.is_text(node.text)


class ManifestReader(Reader):
    """Reads the nodes of manifests into values."""

    def wrong_key(self, section: Section, key: str, message: str) -> None:
        """Record a problem at the value of a key, or where the key is missing."""
        node = section.entries.get(key) or section.node
        if node is not None:
            self.wrong(node, message)

    def part(self, section: Section, key: str, kind: str, required: tuple[str, ...] = ()) -> Section:
        """The mapping of a key; null is none."""
        return self.fields(section.entries.get(key), kind, required)

    def fields(self, node: Node | None, kind: str, required: tuple[str, ...] = ()) -> Section:
        """The keys and values of a mapping, without those that are null."""
        if node is None or (isinstance(node, Scalar) and node.empty):
            return Section(None, {})
        found = self.section(node, kind)
        present = {key: v for key, v in found.entries.items() if not (isinstance(v, Scalar) and v.empty)}
        for name in required:
            if found.node is not None and name not in present:
                self.wrong(found.node, f"key {name!r} is missing")
        return Section(found.node, present)

    def word(self, section: Section, key: str) -> str:
        """The text of a key, which may be empty; empty without the key."""
        node = section.entries.get(key)
        return "" if node is None else self.read_word(node, key)

    def read_word(self, node: Node, key: str) -> str:
        if not isinstance(node, Scalar):
            self.wrong(node, f"{key} must be a text, not {'a list' if isinstance(node, Sequence) else 'a mapping'}")
            return ""
        if not is_text(node):
            if not node.empty:
                self.wrong(node, f'{key}: {node.text} is not a text to Kubernetes; put it in quotes: "{node.text}"')
            return ""
        return node.text

    def one_of(self, section: Section, key: str, known: tuple[str, ...]) -> str:
        """One of the known words; the first if the key is missing or empty."""
        text = self.word(section, key)
        if text and text not in known:
            listed = ", ".join(known)
            self.wrong_key(section, key, f"{key}: {text!r} is not one of {listed}{suggestion(text, known)}")
        return text if text in known else known[0]

    def flag(self, section: Section, key: str) -> bool:
        """`true` or `false`, which is the default."""
        node = section.entries.get(key)
        if isinstance(node, Scalar) and node.plain and node.text in ("true", "false"):
            return node.text == "true"
        if node is not None:
            self.wrong(node, f"{key} must be true or false")
        return False

    def listed(self, section: Section, key: str) -> tuple[Node, ...]:
        """The items of a list, which may be empty."""
        node = section.entries.get(key)
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.wrong(node, f"{key} must be a list")
            return ()
        return node.items

    def words(self, section: Section, key: str) -> tuple[str, ...]:
        """The texts of a list."""
        return tuple(self.read_word(node, key) for node in self.listed(section, key))

    def texts(self, section: Section, key: str) -> tuple[tuple[str, Text], ...]:
        """The texts of a mapping by their keys."""
        node = section.entries.get(key)
        if node is None:
            return ()
        if not isinstance(node, Mapping):
            self.wrong(node, f"{key} must be a mapping of texts")
            return ()
        return tuple((name.text, self.text_at(value, f"{key}: {name.text}")) for name, value in node.entries)

    def text_at(self, node: Node, key: str) -> Text:
        return Text(self.read_word(node, key), written(node))

    def plain_texts(self, section: Section, key: str) -> tuple[tuple[str, str], ...]:
        """The same without their places."""
        return tuple((name, text.text) for name, text in self.texts(section, key))

    def dns_name(self, node: Node, name: str, what: str) -> bool:
        """Whether a name is one that Kubernetes takes; reports it if not."""
        fits = bool(NAME.fullmatch(name)) and len(name) <= _NAME_LIMIT
        if not fits and name:
            self.wrong(node, f"{name!r} is not a name of {what}: small letters, digits, '-' and '.'")
        return fits

    def named(self, document: Mapping, kind: str, *, namespaced: bool = True) -> Named:
        """The metadata of a document. Without a namespace it is in `default`."""
        top = Section(document, {key.text: value for key, value in document.entries})
        section = self.part(top, "metadata", "metadata", required=("name",))
        if section.node is None:
            self.wrong(document, f"key 'metadata' is missing, with the name of the {kind}")
        name, namespace = self.word(section, "name"), self.word(section, "namespace")
        at = section.entries.get("name", document)
        if "name" in section:
            self.dns_name(at, name, f"a {kind}")
        if namespace and not (LABEL.fullmatch(namespace) and len(namespace) <= _LABEL_LIMIT):
            self.wrong_key(section, "namespace", f"{namespace!r} is not a name of a namespace")
        return Named(
            at,
            name,
            (namespace or "default") if namespaced else "",
            self.plain_texts(section, "labels"),
            self.plain_texts(section, "annotations"),
        )


class Beside(Record):
    """The documents that others read: the texts of ConfigMaps and of Secrets by namespace and name, and the labels of
    namespaces. `passed` names those that nobody reads."""

    config_maps: dict[tuple[str, str], dict[str, Text]]
    secrets: dict[tuple[str, str], dict[str, Text]]
    namespaces: dict[str, dict[str, str]]
    passed: list[str]


def beside(reader: ManifestReader, documents: Iterable[Mapping]) -> Beside:
    """Reads ConfigMaps, Secrets and Namespaces; passes over another kind."""
    found = Beside({}, {}, {}, [])
    for document in documents:
        kind, version = entry(document, "kind"), word_of(entry(document, "apiVersion"))
        match word_of(kind) if version == "v1" else "":
            case "ConfigMap":
                named = reader.named(document, "ConfigMap")
                texts = dict(reader.texts(reader.fields(document, "ConfigMap"), "data"))
                found.config_maps[named.namespace, named.name] = texts
            case "Secret":
                named = reader.named(document, "Secret")
                found.secrets[named.namespace, named.name] = _secret(reader, document)
            case "Namespace":
                named = reader.named(document, "Namespace", namespaced=False)
                found.namespaces[named.name] = dict(named.labels)
            case _:
                found.passed.append(f"{word_of(kind) or version} on line {document.line}")
    return found


def _secret(reader: ManifestReader, document: Mapping) -> dict[str, Text]:
    section = reader.fields(document, "Secret")
    found: dict[str, Text] = {}
    for key, text in reader.texts(section, "data"):
        try:
            plain = base64.b64decode("".join(text.text.split()), validate=True)
            found[key] = Text(plain.decode("utf-8", "surrogateescape"), text.written)
        except (binascii.Error, ValueError):
            reader.wrong_key(section, "data", f"{key} is not base64; correct it, or use stringData")
    return found | dict(reader.texts(section, "stringData"))
