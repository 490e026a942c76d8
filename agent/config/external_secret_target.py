"""Read the target of an ExternalSecret: its type, its template, and the ConfigMaps and Secrets that this reads."""

from __future__ import annotations

import importlib.util

from agent.config.document import Node, Scalar, suggestion
from agent.config.kubernetes import Beside, ManifestReader, Text
from agent.config.reading import Section
from agent.core import external_secret as made
from agent.core.external_secret import Decoding, Item, Part, TargetTemplate, TemplateFrom
from agent.core.record import Record

KEYS = {
    "target": ("name", "creationPolicy", "deletionPolicy", "template", "immutable", "manifest"),
    "template": ("type", "engineVersion", "metadata", "mergePolicy", "data", "templateFrom"),
    "templateMetadata": ("labels", "annotations", "finalizers"),
    "templateFrom": ("configMap", "secret", "target", "literal", "valuesDecodingStrategy"),
    "templateRef": ("name", "items"),
    "templateItem": ("key", "templateAs"),
}

DECODINGS = ("None", "Base64", "Base64URL", "Auto")

_CREATION = ("Owner", "Orphan", "Merge", "None", "CreateOrMerge")

_DELETION = ("Retain", "Delete", "Merge")

_PARTS: dict[str, Part] = {"": "Data", "data": "Data", "labels": "Labels", "annotations": "Annotations"}

PRIVATE = "this is not a template that can be read; what is wrong with it is not shown, since it is in a Secret"

_TOKEN, _ACCOUNT = "kubernetes.io/service-account-token", "kubernetes.io/service-account.name"


class Target(Record):
    """What a manifest says of its target. `section` is for further problems."""

    name: str
    deletion: str
    type: str
    template: TargetTemplate | None
    immutable: bool
    section: Section


def decoding(text: str) -> Decoding:
    """The strategy of that name."""
    return next((known for known in ("Base64", "Base64URL", "Auto") if known == text), "None")


class TargetReader(ManifestReader):
    """Reads targets, and says in `warnings` what is done in another way than in ESO."""

    warnings: list[str]

    def target(self, spec: Section, name: str, namespace: str, beside: Beside) -> Target:
        """The target of the ExternalSecret of that name."""
        section = self.part(spec, "target", "target")
        if "manifest" in section:
            what = "manifest makes another kind of object, which a sidecar does not; keep this one for the operator"
            self.wrong(section.key("manifest"), what)
        target = self.word(section, "name") or name
        if "name" in section:
            self.dns_name(section.entries["name"], target, "a Secret")
        creation = self.one_of(section, "creationPolicy", _CREATION)
        deletion = self.one_of(section, "deletionPolicy", _DELETION)
        if deletion == "Delete" and creation in ("Merge", "None", "CreateOrMerge"):
            self.wrong_key(
                section, "deletionPolicy", f"deletionPolicy Delete needs creationPolicy Owner, not {creation}"
            )
        if deletion == "Merge" and creation == "None":
            self.wrong_key(section, "deletionPolicy", "deletionPolicy Merge excludes creationPolicy None")
        kind, template = "Opaque", None
        if "template" in section:
            kind, template = self.template(self.part(section, "template", "template"), namespace, beside)
        return Target(target, deletion, kind, template, self.flag(section, "immutable"), section)

    def template(self, section: Section, namespace: str, beside: Beside) -> tuple[str, TargetTemplate]:
        kind = self.word(section, "type") or "Opaque"
        if (engine := self.word(section, "engineVersion")) not in ("", "v2"):
            self.wrong_key(section, "engineVersion", f"engineVersion {engine!r} is gone from ESO, too; write v2")
        merges = self.one_of(section, "mergePolicy", ("Replace", "Merge")) == "Merge"
        metadata = self.part(section, "metadata", "templateMetadata")
        sources = tuple(
            source
            for node in self.listed(section, "templateFrom")
            if (source := self.template_from(node, namespace, beside)) is not None
        )
        annotations = self.templates(metadata, "annotations")
        found = TargetTemplate(
            merges=merges,
            sources=sources,
            data=self.templates(section, "data"),
            labels=self.templates(metadata, "labels"),
            annotations=annotations,
        )
        if kind == _TOKEN and (
            any(source.part == "Annotations" for source in sources) or any(name == _ACCOUNT for name, _ in annotations)
        ):
            what = f"type {_TOKEN} with annotations of a template would be a token of any service account; remove one"
            self.wrong_key(section, "type", what)
        return kind, found

    def templates(self, section: Section, key: str) -> tuple[tuple[str, made.Text], ...]:
        """The templates of a mapping by their keys."""
        return tuple((name, self.parsed(text, f"{key}: {name}")) for name, text in self.texts(section, key))

    def parsed(self, text: Text, key: str, *, private: bool = False) -> made.Text:
        """A template, of which problems are reported where they are: of a private one without what it says."""
        from agent.render.template import TemplateError, parse

        try:
            parsed = parse(text.text, of_eso=True)
        except TemplateError as error:
            line, column = text.written.place(error.line, error.column)
            self.wrong(Scalar(line, column, "", plain=True), f"{key}: {PRIVATE if private else error.message}")
        else:
            if parsed.needs_cryptography() and importlib.util.find_spec("cryptography") is None:
                where = Scalar(text.written.line, text.written.column, "", plain=True)
                what = "a function of this template needs the library cryptography; install the extra pkcs12"
                self.wrong(where, f"{key}: {what}")
            self.warnings += [
                f"{key}: {function} makes something else in each pod, and for each version of the secret; store in AWS "
                "what all pods must share"
                for function in parsed.chances()
            ]
        return made.Text(text.text, text.written, private)

    def template_from(self, node: Node, namespace: str, beside: Beside) -> TemplateFrom | None:
        section = self.fields(node, "templateFrom")
        given = self.word(section, "target")
        part = _PARTS.get(given.lower())
        if part is None:
            self.wrong_key(section, "target", f"target {given!r} is not one of Data, Labels, Annotations")
        strategy = decoding(self.one_of(section, "valuesDecodingStrategy", DECODINGS))
        items = (
            *self.items_of(section, "configMap", "ConfigMap", beside.config_maps, namespace),
            *self.items_of(section, "secret", "Secret", beside.secrets, namespace),
        )
        if "literal" in section:
            literal = self.text_at(section.entries["literal"], "literal")
            items += (Item("", self.parsed(literal, "literal"), pairs=True),)
        return TemplateFrom(items, part or "Data", strategy)

    def items_of(
        self, section: Section, key: str, kind: str, held: dict[tuple[str, str], dict[str, Text]], namespace: str
    ) -> list[Item]:
        """The templates of a ConfigMap or a Secret."""
        entry = self.part(section, key, "templateRef", required=("name", "items"))
        if entry.node is None:
            return []
        name = self.word(entry, "name")
        texts = held.get((namespace, name))
        if texts is None:
            others = [other for at, other in held if at == namespace]
            what = f"{kind} {name!r} is not among the documents of namespace {namespace}{suggestion(name, others)}"
            self.wrong_key(entry, "name", f"{what}; add it to this config")
        found = []
        for node in self.listed(entry, "items"):
            item = self.fields(node, "templateItem", required=("key",))
            wanted = self.word(item, "key")
            pairs = self.one_of(item, "templateAs", ("Values", "KeysAndValues")) == "KeysAndValues"
            if texts is not None and wanted in texts:
                where = f"{kind} {name}: {wanted}"
                found.append(Item(wanted, self.parsed(texts[wanted], where, private=kind == "Secret"), pairs))
            elif texts is not None and wanted:
                self.wrong_key(item, "key", f"{kind} {name} has no key {wanted!r}{suggestion(wanted, texts)}")
        return found
