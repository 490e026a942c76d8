"""What an ExternalSecret asks for, its stores and its policies; and that problems name fields."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from agent.controller.external_secrets import asked, stores
from agent.controller.external_secrets.asked import Beside, Policy, Wrong
from agent.controller.external_secrets.stores import AccessKey, Account, KeyRef, Unfit
from agent.core.errors import ProjectionError
from agent.core.value import SecretValue
from agent.render import external_secret
from agent.render.input import Input

STORE: dict[str, Any] = {
    "apiVersion": "external-secrets.io/v1",
    "kind": "SecretStore",
    "metadata": {"name": "aws", "namespace": "shop", "uid": "s", "resourceVersion": "1"},
    "spec": {"controller": "freshmount", "provider": {"aws": {"service": "SecretsManager", "region": "eu-west-1"}}},
}


def external(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    given = {
        "refreshInterval": "1h0m0s",
        "secretStoreRef": {"name": "aws", "kind": "SecretStore"},
        "data": [{"secretKey": "a", "remoteRef": {"key": "prod/a"}}],
        **(spec or {}),
    }
    named = {"name": "web", "namespace": "shop", "uid": "e", "generation": 3, "resourceVersion": "9", **metadata}
    return {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": named, "spec": given}


def beside(**given: Any) -> Beside:
    return Beside(**{"stores": {("SecretStore", "aws"): STORE}, **given})


def with_auth(auth: dict[str, Any], kind: str = "SecretStore") -> dict[str, Any]:
    aws = {**STORE["spec"]["provider"]["aws"], "auth": auth}
    metadata = {"name": "aws"} if kind == "ClusterSecretStore" else STORE["metadata"]
    return {**STORE, "kind": kind, "metadata": metadata, "spec": {**STORE["spec"], "provider": {"aws": aws}}}


def test_it_is_read_as_its_manifest_is() -> None:
    found = asked.read(external(), beside())
    (secret,) = found.secrets
    assert (secret.ref.id, secret.ref.place.region, secret.ref.place.identity) == ("prod/a", "eu-west-1", None)
    assert [each.key for each in found.how.entries] == ["a"]


def test_the_credentials_of_a_store_go_where_it_is_asked_and_nowhere_else() -> None:
    other = {**STORE, "metadata": {**STORE["metadata"], "name": "own"}}
    item = {"secretKey": "b", "remoteRef": {"key": "prod/a"}, "sourceRef": {"storeRef": {"name": "own"}}}
    spec = {"data": [{"secretKey": "a", "remoteRef": {"key": "prod/a"}}, item]}
    both = {("SecretStore", "aws"): STORE, ("SecretStore", "own"): other}
    found = asked.read(external(spec), beside(stores=both, identities={("SecretStore", "own"): "key of own"}))
    identities = {secret.name: secret.ref.place.identity for secret in found.secrets}
    assert [identities[entry.remote.secret] for entry in found.how.entries] == [None, "key of own"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"data": [{"secretKey": "a", "remoteRef": {"key": "no good"}}]}, ["spec.data[0].remoteRef.key", "no good"]),
        ({"refreshInterval": "1d"}, ["spec.refreshInterval", "1d"]),
        ({"refreshInterval": "1" * 100_000}, ["spec.refreshInterval"]),
        ({"target": {"template": {"data": {"x": "one\n{{ .a "}}}}, ["spec.target.template.data.x, line 2"]),
        ({"data": [], "dataFrom": []}, ["data or dataFrom"]),
        ({"data": [{"secretKey": "a", "remoteRef": {"key": "k"}}] * 2}, ["already on spec.data[0].secretKey"]),
    ],
)
def test_a_problem_names_its_field(spec: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(Wrong) as refused:
        asked.read(external(spec), beside())
    assert [word for word in words if word not in str(refused.value)] == []


def test_a_problem_of_a_store_names_the_store() -> None:
    bad = {**STORE, "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "https://evil.example"}}}}
    with pytest.raises(Wrong) as refused:
        asked.read(external(), beside(stores={("SecretStore", "aws"): bad}))
    assert "SecretStore aws: spec.provider.aws.region" in str(refused.value)


def test_too_many_secrets_are_refused() -> None:
    many = [{"secretKey": f"k{number}", "remoteRef": {"key": f"s/{number}"}} for number in range(501)]
    with pytest.raises(Wrong, match="501"):
        asked.read(external({"data": many}), beside())


def test_what_is_asked_is_told_apart_without_what_secrets_hold() -> None:
    spec = {
        "target": {"template": {"templateFrom": [{"secret": {"name": "forms", "items": [{"key": "x"}]}}]}},
    }

    def of(text: str, version: str) -> str:
        data = {"x": base64.b64encode(text.encode()).decode()}
        form = {"metadata": {"name": "forms", "uid": "f", "resourceVersion": version}, "data": data}
        return asked.read(external(spec), beside(templates={("Secret", "forms"): form})).asked

    assert of("one", "1") == of("two", "1"), "it is made of versions, not of contents"
    assert of("one", "1") != of("one", "2")
    assert asked.read(external(), beside()).asked != asked.read(external(labels={"a": "b"}), beside()).asked


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("{{ CANARY }}", "Values"),
        ("x\n{{ .a | CANARY", "Values"),
        ("x{{ .CANARY }}", "Values"),
        ('{{ fail "CANARY" }}', "Values"),
        ("CANARY", "KeysAndValues"),
        ('CANARY: "', "KeysAndValues"),
        ("CANARY: [1]", "KeysAndValues"),
        ("CANARY with spaces: x", "KeysAndValues"),
        ("- CANARY\n- b: [", "KeysAndValues"),
    ],
)
def test_of_a_template_in_a_secret_no_error_repeats_anything(text: str, how: str) -> None:
    """Who may write an ExternalSecret may perhaps read no Secret."""
    items = [{"key": "x", "templateAs": how}]
    spec = {"target": {"template": {"templateFrom": [{"secret": {"name": "forms", "items": items}}]}}}
    data = {"x": base64.b64encode(text.encode()).decode()}
    form = {"metadata": {"name": "forms", "uid": "f", "resourceVersion": "1"}, "data": data}
    value = Input(SecretValue(b"text", text=True))
    with pytest.raises((Wrong, ProjectionError)) as refused:
        found = asked.read(external(spec), beside(templates={("Secret", "forms"): form}))
        external_secret.made(found.how, {secret.name: value for secret in found.secrets}, "Secret web")
    assert "CANARY" not in str(refused.value)
    assert "in a Secret" in str(refused.value)


def test_what_was_synced_changes_with_spec_labels_and_annotations() -> None:
    plain = asked.version(external())
    assert plain.startswith("3-")
    assert asked.version(external(annotations={asked.LAST_APPLIED: "{}"})) == plain
    assert asked.version(external(resourceVersion="10")) == plain
    assert asked.version(external(annotations={"force-sync": "1"})) != plain
    assert asked.version(external(generation=4)) != plain


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ({}, Policy()),
        ({"refreshInterval": "0"}, Policy(interval=None)),
        ({"refreshInterval": "-5m"}, Policy(interval=None)),
        ({"refreshInterval": "1ns"}, Policy(interval=1.0)),
        ({"refreshInterval": "90s"}, Policy(interval=90.0)),
        ({"refreshPolicy": "CreatedOnce"}, Policy(refresh="CreatedOnce", interval=None)),
        ({"target": {"creationPolicy": "Merge", "immutable": True}}, Policy(creation="Merge", immutable=True)),
    ],
)
def test_policies(spec: dict[str, Any], policy: Policy) -> None:
    assert asked.policy(external(spec)) == policy


def test_the_stores_and_templates_that_it_names() -> None:
    spec = {
        "data": [{"secretKey": "a", "remoteRef": {"key": "k"}, "sourceRef": {"storeRef": {"name": "aws"}}}],
        "dataFrom": [
            {"find": {"tags": {}}, "sourceRef": {"storeRef": {"name": "all", "kind": "ClusterSecretStore"}}},
            {"sourceRef": {"generatorRef": {"kind": "Password"}}},
        ],
        "target": {"template": {"templateFrom": [{"configMap": {"name": "c"}}, {"literal": "x"}]}},
    }
    found = external(spec)
    assert asked.stores(found) == (("SecretStore", "aws"), ("ClusterSecretStore", "all"))
    assert asked.templates(found) == (("ConfigMap", "c"),)


# -- stores

KEYS = {"accessKeyIDSecretRef": {"name": "n", "key": "i"}, "secretAccessKeySecretRef": {"name": "n", "key": "s"}}


def test_whose_store_it_is() -> None:
    assert stores.ours(STORE, "freshmount")
    assert not stores.ours(STORE, "other")
    assert not stores.ours({"spec": {}}, "freshmount")
    assert stores.ours(STORE, "")


def test_a_store_gives_what_its_own_namespace_has() -> None:
    assert stores.auth(STORE, "shop") is None
    assert stores.auth(with_auth({"secretRef": KEYS}), "shop") == AccessKey(
        KeyRef("shop", "n", "i"), KeyRef("shop", "n", "s"), None
    )
    jwt = {"jwt": {"serviceAccountRef": {"name": "reader", "audiences": ["more"]}}}
    account = stores.auth(with_auth(jwt), "shop")
    assert account == Account("shop", "reader", ("more",))
    assert isinstance(account, Account)
    assert stores.audiences(account, {}) == ("sts.amazonaws.com", "more")


@pytest.mark.parametrize(
    "auth",
    [
        {"jwt": {"serviceAccountRef": {"name": "reader", "namespace": "kube-system"}}},
        {"secretRef": {**KEYS, "accessKeyIDSecretRef": {"name": "n", "key": "i", "namespace": "kube-system"}}},
        {"secretRef": {}},
        {"jwt": {}},
        {"jwt": {"serviceAccountRef": {"name": "r"}}, "secretRef": KEYS},
    ],
)
def test_a_store_that_reaches_for_more_is_refused(auth: dict[str, Any]) -> None:
    with pytest.raises(Unfit):
        stores.auth(with_auth(auth), "shop")


def test_a_store_of_the_cluster_names_a_namespace_or_means_each_ones_own() -> None:
    auth = {"jwt": {"serviceAccountRef": {"name": "reader", "namespace": "platform"}}}
    assert stores.auth(with_auth(auth, "ClusterSecretStore"), "shop") == Account("platform", "reader", ())
    auth = {"jwt": {"serviceAccountRef": {"name": "reader"}}}
    assert stores.auth(with_auth(auth, "ClusterSecretStore"), "shop") == Account("shop", "reader", ())
