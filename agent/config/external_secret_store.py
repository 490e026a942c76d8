"""Read the stores of the External Secrets Operator: where an ExternalSecret is asked for, and who may use it."""

from __future__ import annotations

from collections.abc import Mapping as Mapping_
from typing import Literal

from agent.config.document import Mapping, Node, Scalar
from agent.config.kubernetes import Beside, ManifestReader, Named
from agent.config.reading import Section
from agent.core import arn, re2
from agent.core.model import Place
from agent.core.record import Record, replace

STORE_KINDS = ("SecretStore", "ClusterSecretStore")

Service = Literal["SecretsManager", "ParameterStore"]

KEYS = {
    "store": ("apiVersion", "kind", "metadata", "spec", "status"),
    "storeSpec": ("controller", "provider", "retrySettings", "refreshInterval", "conditions"),
    "retrySettings": ("maxRetries", "retryInterval"),
    "aws": (
        "service", "region", "role", "additionalRoles", "externalID", "sessionTags", "sessionTagsPolicy",
        "customSessionTags", "transitiveTagKeys", "prefix", "secretsManager", "auth",
    ),
    "secretsManager": ("forceDeleteWithoutRecovery", "recoveryWindowInDays"),
    "auth": ("secretRef", "jwt"),
    "jwt": ("serviceAccountRef",),
    "serviceAccountRef": ("name", "namespace", "audiences"),
    "secretRef": ("accessKeyIDSecretRef", "secretAccessKeySecretRef", "sessionTokenSecretRef"),
    "keyRef": ("name", "namespace", "key"),
    "sessionTag": ("key", "value"),
    "condition": ("namespaceSelector", "namespaces", "namespaceRegexes"),
    "selector": ("matchLabels", "matchExpressions"),
    "expression": ("key", "operator", "values"),
}  # fmt: skip

_AWS_ONLY = "provider {} is not AWS; keep this store for the operator, and leave out what it serves"


class Condition(Record):
    """Which namespaces may use a store: those that it names, those that a pattern finds, those with labels."""

    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] | None = None
    expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


class Store(Record):
    """A store: which service is asked, where, and what stands before each key."""

    name: str
    service: Service
    place: Place
    prefix: str = ""
    conditions: tuple[Condition, ...] = ()

    def serves(self, namespace: str, labels: Mapping_[str, str]) -> bool:
        """Whether an ExternalSecret of that namespace may use it."""
        known = {"kubernetes.io/metadata.name": namespace, **labels}
        return not self.conditions or any(_meets(each, namespace, known) for each in self.conditions)


def _meets(condition: Condition, namespace: str, labels: Mapping_[str, str]) -> bool:
    if namespace in condition.names or any(re2.compile(each).matches(namespace) for each in condition.patterns):
        return True
    if condition.labels is None:
        return False
    named = all(labels.get(key) == value for key, value in condition.labels)
    return named and all(_selects(each, labels) for each in condition.expressions)


def _selects(expression: tuple[str, str, tuple[str, ...]], labels: Mapping_[str, str]) -> bool:
    key, operator, wanted = expression
    match operator:
        case "In":
            return labels.get(key) in wanted
        case "NotIn":
            return labels.get(key) not in wanted
        case "Exists":
            return key in labels
    return key not in labels


class StoreReader(ManifestReader):
    """Reads stores."""

    def store(
        self, document: Mapping, kind: str, given: Place, beside: Beside, warnings: list[str]
    ) -> tuple[Named, Store]:
        """One store, and its name. `warnings` gets what a sidecar does in another way."""
        named = self.named(document, kind, namespaced=kind == "SecretStore")
        top = self.fields(document, "store")
        spec = self.part(top, "spec", "storeSpec", required=("provider",))
        if spec.node is None:
            self.wrong(document, f"key 'spec' is missing, with the provider of the {kind}")
        aws = self.provider(spec)
        self.part(spec, "retrySettings", "retrySettings")
        service = self.one_of(aws, "service", ("SecretsManager", "ParameterStore", "CertificateManager"))
        if aws.node is not None and "service" not in aws:
            self.wrong(aws.node, "key 'service' is missing: SecretsManager or ParameterStore")
        if service == "CertificateManager":
            self.wrong_key(
                aws, "service", "service: CertificateManager is not read here; store the certificate as a secret"
            )
        self.part(aws, "secretsManager", "secretsManager")
        if "auth" in aws:
            self.auth(aws, named, kind, beside, warnings)
        place = replace(given, region=self.region(aws))
        tags, external_id = self.tags(aws, named, kind), self.word(aws, "externalID") or None
        if roles := self.roles(aws):
            place = replace(place, roles=roles, external_id=external_id, tags=tags)
        used: Service = "ParameterStore" if service == "ParameterStore" else "SecretsManager"
        return named, Store(named.name, used, place, self.word(aws, "prefix"), self.conditions(spec))

    def provider(self, spec: Section) -> Section:
        """The section of AWS."""
        node = spec.entries.get("provider")
        if node is None:
            return Section(None, {})
        if not isinstance(node, Mapping):
            self.wrong(node, "provider must be a mapping with aws")
            return Section(None, {})
        present = [(key, value) for key, value in node.entries if not (isinstance(value, Scalar) and value.empty)]
        if len(present) != 1:
            self.wrong(node, "provider must have exactly one provider, which is aws here")
        for key, value in present:
            if key.text == "aws":
                return self.fields(value, "aws")
        for key, _ in present:
            self.wrong(key, _AWS_ONLY.format(key.text))
        return Section(None, {})

    def region(self, aws: Section) -> str | None:
        text = self.word(aws, "region")
        if aws.node is not None and not text:
            self.wrong(aws.node, "key 'region' is missing, such as eu-west-1")
        if text and not arn.REGION.fullmatch(text):
            self.wrong_key(aws, "region", f"region: {text!r} is not a region such as eu-west-1")
            return None
        return text or None

    def roles(self, aws: Section) -> tuple[str, ...]:
        """The chain of roles, in the order in which they are assumed."""
        found = [(node, self.read_word(node, "additionalRoles")) for node in self.listed(aws, "additionalRoles")]
        if role := self.word(aws, "role"):
            found.append((aws.entries["role"], role))
        for node, text in found:
            if text and not arn.ROLE_ARN.fullmatch(text):
                self.wrong(node, f"{text!r} is not the ARN of a role, such as arn:aws:iam::111122223333:role/reader")
        return tuple(text for _, text in found)

    def tags(self, aws: Section, named: Named, kind: str) -> tuple[tuple[str, str], ...]:
        """The tags of the session of the last role."""
        policy = self.one_of(aws, "sessionTagsPolicy", ("None", "Simple", "Custom"))
        key = "customSessionTags" if policy == "Custom" else "sessionTags"
        given = []
        for node in self.listed(aws, key):
            entry = self.fields(node, "sessionTag", required=("key", "value"))
            given.append((self.word(entry, "key"), self.word(entry, "value")))
        if policy == "None":
            return tuple(given)
        own = [("esoNamespace", named.namespace or "default"), ("esoStoreName", named.name), ("esoStoreKind", kind)]
        return (*own, *(given if policy == "Custom" else ()))

    def auth(self, aws: Section, named: Named, kind: str, beside: Beside, warnings: list[str]) -> None:
        """Who asks: a sidecar is always itself."""
        section = self.part(aws, "auth", "auth")
        if "secretRef" in section and "jwt" in section:
            self.wrong(section.key("jwt"), "jwt and secretRef exclude each other; remove one")
        if "jwt" in section:
            jwt = self.part(section, "jwt", "jwt")
            account = self.part(jwt, "serviceAccountRef", "serviceAccountRef", required=("name",))
            self.own_namespace(account, named, kind)
            if name := self.word(account, "name"):
                warnings.append(
                    f"{kind} {named.name}: asked with the pod's own identity, not with the service account {name}: let "
                    f"the pod use {name}, or give its role the same permissions"
                )
        if "secretRef" in section:
            references = self.part(
                section, "secretRef", "secretRef", required=("accessKeyIDSecretRef", "secretAccessKeySecretRef")
            )
            for key in KEYS["secretRef"]:
                if key in references:
                    self.key_reference(references, key, named, kind, beside)
            warnings.append(
                f"{kind} {named.name}: asked with the pod's own identity, not with the access key of its Secret: give "
                "the pod a role with the same permissions"
            )

    def key_reference(self, section: Section, key: str, named: Named, kind: str, beside: Beside) -> None:
        entry = self.part(section, key, "keyRef")
        self.own_namespace(entry, named, kind)
        name, wanted = self.word(entry, "name"), self.word(entry, "key")
        namespace = self.word(entry, "namespace") or named.namespace  # "": that of each ExternalSecret
        held = [texts for (at, of), texts in beside.secrets.items() if of == name and namespace in ("", at)]
        if entry.node is not None and not any(wanted in texts for texts in held):
            self.wrong(
                entry.node,
                f"{key}: Secret {name} with the key {wanted} is not among the documents, and a sidecar reads none from "
                "Kubernetes: remove auth, and give the pod a role with the same permissions",
            )

    def own_namespace(self, entry: Section, named: Named, kind: str) -> None:
        if kind == "SecretStore" and self.word(entry, "namespace") not in ("", named.namespace):
            self.wrong_key(
                entry, "namespace", f"namespace must be {named.namespace}, the one of the SecretStore; or remove it"
            )

    def conditions(self, spec: Section) -> tuple[Condition, ...]:
        found = []
        for node in self.listed(spec, "conditions"):
            section = self.fields(node, "condition")
            patterns = tuple(self.pattern_of(item) for item in self.listed(section, "namespaceRegexes"))
            labels, expressions = self.selector(section)
            names = self.words(section, "namespaces")
            found.append(Condition(names, tuple(p for p in patterns if p is not None), labels, expressions))
        return tuple(found)

    def pattern_of(self, node: Node) -> str | None:
        """A regular expression as Go has them; None if it is not one."""
        text = self.read_word(node, "namespaceRegexes")
        try:
            re2.compile(text)
        except re2.BadPattern as error:
            self.wrong(node, f"{text!r} is not a regular expression as Go reads it: {error}")
            return None
        return text

    def selector(
        self, section: Section
    ) -> tuple[tuple[tuple[str, str], ...] | None, tuple[tuple[str, str, tuple[str, ...]], ...]]:
        if "namespaceSelector" not in section:
            return None, ()
        selector = self.part(section, "namespaceSelector", "selector")
        expressions = []
        for node in self.listed(selector, "matchExpressions"):
            entry = self.fields(node, "expression", required=("key", "operator"))
            operator = self.one_of(entry, "operator", ("In", "NotIn", "Exists", "DoesNotExist"))
            expressions.append((self.word(entry, "key"), operator, self.words(entry, "values")))
        return self.plain_texts(selector, "matchLabels"), tuple(expressions)
