"""A hostile tenant, who may write stores, ExternalSecrets and what belongs to them in a namespace, and wants more.

0 successes: each of them ends in a condition that says why, and what is others' is neither read nor written.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from lightkube import ApiError, codecs
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.core_v1 import Namespace, Secret

from tests.apiserver.between import Between
from tests.apiserver.controlled import (
    RULES,
    TOKENS,
    Controller,
    ExternalSecret,
    Space,
    controlling,
    least,
    store,
    until,
    wanting,
)
from tests.apiserver.server import ApiServer
from tests.support.answers import Answer, Answers, Asked
from tests.support.services import Services, denied

OWN = "hostile"  # the class of this module's controller


class Aws(Services):
    """Lets the tenant's key read nothing of others."""

    def __call__(self, asked: Asked) -> Answer | None:
        answer = super().__call__(asked)
        call = self.calls[-1]
        others = any("victim" in name for name in call.names)
        return denied(f"secretsmanager:{call.operation}", "it") if call.by == "TENANT" and others else answer


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[Aws, str]]:
    services = Aws()
    services.put("victim/x", "CANARY-victim")
    services.put("own/x", '{"a": "own-1", "b": {"c": "own-2"}}')
    with Answers(services) as server:
        yield services, server.url


@pytest.fixture(scope="module")
def controller(installed: ApiServer, aws: tuple[Aws, str]) -> Iterator[Controller]:
    kubeconfig = least(installed, "hostile", RULES, TOKENS)
    arguments = ("--service-account-tokens", "--controller-class", OWN)
    with controlling(installed, aws[1], *arguments, kubeconfig=kubeconfig) as running:
        running.ready()
        yield running
        assert running.process.poll() is None, running.said
        assert running.get("/livez")[0] == 200
        assert "CANARY" not in running.said
        assert "by a bug" not in running.said


KEYS = """
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {id: %s, key: CANARY-key}
"""

AUTH = (
    ", auth: {secretRef: {accessKeyIDSecretRef: {name: keys, key: id}, "
    "secretAccessKeySecretRef: {name: keys, key: key}}}"
)


def owned(name: str = "aws", more: str = AUTH, kind: str = "SecretStore") -> str:
    return store(name, controller=OWN, more=more, kind=kind)


@pytest.fixture(scope="module")
def victim(controller: Controller, installed: ApiServer, aws: tuple[Aws, str]) -> Space:
    """A namespace with a store that only it may use, in each way that a store can be its own."""
    space = Space(installed, aws[0])
    space.apply(KEYS % "VICTIM" + "---" + owned() + "---" + wanting(spec=one("victim/x")))
    account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, annotations: {%s}}}"
    space.apply(account % "eks.amazonaws.com/role-arn: 'arn:aws:iam::111122223333:role/victim'")
    mine = f"  conditions: [{{namespaces: [{space.name}]}}]\n"
    space.apply(owned(f"css-{space.name}", "", "ClusterSecretStore") + mine)
    space.wait_for("web", "True", "SecretSynced")
    return space


@pytest.fixture
def tenant(victim: Space, installed: ApiServer, aws: tuple[Aws, str]) -> Space:
    space = Space(installed, aws[0])
    space.apply(KEYS % "TENANT" + "---" + owned())
    return space


def one(key: str, more: str = "") -> str:
    return f"{more}\ndata: [{{secretKey: v, remoteRef: {{key: '{key}'}}}}]"


def took(space: Space) -> list[str]:
    """The Secrets of the namespace that hold what is the victim's."""
    found = []
    for secret in space.client.list(Secret, namespace=space.name):
        assert secret.metadata
        if "CANARY-victim" in "".join((space.data(str(secret.metadata.name)) or {}).values()):
            found.append(str(secret.metadata.name))
    return found


def tried(space: Space, attempts: dict[str, str]) -> dict[str, str]:
    """Apply each, and wait until it is refused: by the API server, or by the controller in a condition."""
    said = {}
    for name, text in attempts.items():
        try:
            space.apply(text)
        except ApiError as error:
            assert error.status.code in (400, 422, 500), error
            said[name] = f"the API server: {error.status.message}"
    for name in attempts:
        if name not in said:
            said[name] = space.wait_for(name, "False", "SecretSyncedError")
    return said


def test_what_is_anothers_is_not_reached(tenant: Space, victim: Space, aws: tuple[Aws, str]) -> None:
    there, cluster = victim.name, f"css-{victim.name}"
    ref = f"{{kind: ClusterSecretStore, name: {cluster}}}"
    source = f"sourceRef: {{storeRef: {ref}}}"
    stolen = AUTH.replace("name: keys", f"name: keys, namespace: {there}")
    by_path = AUTH.replace("name: keys", f"name: '../../{there}/secrets/keys'")
    before = victim.secret("web").metadata.resourceVersion
    attempts = {
        "own-key": wanting("own-key", spec=one("victim/x")),
        "store-by-name": wanting("store-by-name", spec=one("victim/x"), ref="{name: missing}"),
        "store-namespace": wanting("store-namespace", spec=one("victim/x"), ref=f"{{name: awz, namespace: {there}}}"),
        "store-path": wanting("store-path", spec=one("victim/x"), ref=f"{{name: '../{there}/aws'}}"),
        "conditions": wanting("conditions", spec=one("victim/x"), ref=ref),
        "source": wanting("source", spec=f"data: [{{secretKey: v, remoteRef: {{key: victim/x}}, {source}}}]"),
        "extract": wanting("extract", spec=f"dataFrom: [{{extract: {{key: victim/x}}, {source}}}]"),
        "find": wanting("find", spec=f"dataFrom: [{{find: {{name: {{regexp: victim}}}}, {source}}}]"),
        "key": owned("key", stolen) + "---" + wanting("key", spec=one("victim/x"), ref="{name: key}"),
        "key-path": owned("key-path", by_path)
        + "---"
        + wanting("key-path", spec=one("victim/x"), ref="{name: key-path}"),
        "account": owned("account", f", auth: {{jwt: {{serviceAccountRef: {{name: reader, namespace: {there}}}}}}}")
        + "---"
        + wanting("account", spec=one("victim/x"), ref="{name: account}"),
        "account-path": owned("account-path", f", auth: {{jwt: {{serviceAccountRef: {{name: '../../{there}/x'}}}}}}")
        + "---"
        + wanting("account-path", spec=one("victim/x"), ref="{name: account-path}"),
        "template-path": wanting(
            "template-path",
            spec=one(
                "own/x",
                f"target: {{template: {{templateFrom: [{{secret: {{name: '../../{there}/secrets/web', "
                "items: [{key: v}]}}]}}",
            ),
        ),
        "target-path": wanting("target-path", spec=one("own/x", f"target: {{name: '../../{there}/secrets/web'}}")),
    }
    said = tried(tenant, attempts)
    assert took(tenant) == []
    assert "does not serve" in said["conditions"]
    assert "only use its own" in said["key"]
    assert "only use its own" in said["account"]
    assert victim.secret("web").metadata.resourceVersion == before
    by = {call.by for call in aws[0].calls if "victim/x" in call.names and call.operation == "GetSecretValue"}
    assert by <= {"VICTIM", "TENANT"}, "nobody else has asked for it"


def test_no_endpoint_and_no_role_is_believed(tenant: Space, aws: tuple[Aws, str]) -> None:
    """A host is never made of what a tenant writes, and a role is the ARN of one."""
    attempts = {}
    regions = ("eu-west-1.attacker.example", "attacker.example", "eu-west-1/x", "eu-west-1#", "x@attacker.example")
    for number, region in enumerate(regions):
        text = owned(f"region-{number}").replace("eu-west-1", f"'{region}'")
        ref = f"{{name: region-{number}}}"
        attempts[f"region-{number}"] = text + "---" + wanting(f"region-{number}", spec=one("own/x"), ref=ref)
    roles = ("http://169.254.169.254/", "arn:aws:iam::111122223333:user/x", "victim", "arn:aws:iam::1:role/x y")
    for number, role in enumerate(roles):
        text = owned(f"role-{number}", f"{AUTH}, role: '{role}'")
        ref = f"{{name: role-{number}}}"
        attempts[f"role-{number}"] = text + "---" + wanting(f"role-{number}", spec=one("own/x"), ref=ref)
    keys = (
        "arn:aws:secretsmanager:attacker.example:111122223333:secret:x-AbCdEf",
        "arn:attacker.example:secretsmanager:eu-west-1:111122223333:secret:x-AbCdEf",
        "arn:aws:s3:::bucket",
    )
    for number, key in enumerate(keys):
        attempts[f"arn-{number}"] = wanting(f"arn-{number}", spec=one(key))
    before = len(aws[0].calls)
    tried(tenant, attempts)
    assert not any(call.operation.startswith("AssumeRole") for call in aws[0].calls[before:])
    assert not any("attacker" in call.region for call in aws[0].calls)


BLOW = {
    "nested": "{{ range untilStep 0 1000000 1 }}{{ range untilStep 0 1000000 1 }}x{{ end }}{{ end }}",
    "repeat": '{{ repeat 100000000 "x" }}',
    "recursion": '{{ define "t" }}{{ template "t" . }}{{ end }}{{ template "t" . }}',
    "width": '{{ printf "%0999999999d" 1 }}',
    "precision": '{{ printf "%.999999999f" 1.0 }}',
    "doubling": '{{ $a := "xxxxxxxxxxxxxxxx" }}{{ range untilStep 0 64 1 }}{{ $a = print $a $a }}{{ end }}{{ len $a }}',
    "lists": "{{ $a := list 1 }}{{ range untilStep 0 64 1 }}{{ $a = list $a $a $a }}{{ end }}{{ toJson $a }}",
    "base64": "{{ $a := .a }}{{ range untilStep 0 200 1 }}{{ $a = b64enc $a }}{{ end }}{{ $a }}",
    "until": "{{ until 2000000000 | len }}",
    "sequence": "{{ seq 0 2000000000 | len }}",
    "indent": "{{ indent 1000000000 .a }}",
    "split": '{{ splitList "" (repeat 1000000 "xy") | toJson | repeat 1000 }}',
}


def test_no_template_and_no_expression_hangs_anything(tenant: Space, victim: Space) -> None:
    extract = "dataFrom: [{extract: {key: own/x}}]"
    attempts = {
        name: wanting(name, spec=f"target: {{template: {{data: {{a: {json.dumps(text)}}}}}}}\n{extract}")
        for name, text in BLOW.items()
    }
    transform = f"rewrite: [{{transform: {{template: {json.dumps(BLOW['nested'])}}}}}]"
    attempts["transform"] = wanting("transform", spec=f"dataFrom: [{{extract: {{key: own/x}}, {transform}}}]")
    # What would go back and forth over a text ends, this way or that: all ways are followed at once.
    pattern = "((((a{0,1000}){0,1000}){0,1000}){0,1000})"
    regex = '{{ regexMatch "((a{0,1000}){0,1000}){0,1000}$" (repeat 1000 "a") }}'
    rewrite = f"rewrite: [{{regexp: {{source: '{pattern}', target: x}}}}]"
    ends = {
        "find": f"dataFrom: [{{find: {{name: {{regexp: '{pattern}'}}}}}}]",
        "rewrite": f"dataFrom: [{{extract: {{key: own/x}}, {rewrite}}}]",
        "regex": f"target: {{template: {{data: {{a: {json.dumps(regex)}}}}}}}\n{extract}",
    }
    for name, spec in ends.items():
        tenant.apply(wanting(name, spec=spec))
    for name in ends:
        until(lambda name=name: tenant.condition(name)[0])  # type: ignore[misc]
    tried(tenant, attempts)
    for name in attempts:
        assert tenant.secret(name) is None
    victim.apply(wanting("meanwhile", spec=one("victim/x")))
    victim.wait_for("meanwhile", "True", "SecretSynced")


def test_what_is_huge_is_refused(tenant: Space) -> None:
    many = [{"secretKey": f"k{number}", "remoteRef": {"key": f"own/{number}"}} for number in range(700)]
    stores = [{**each, "sourceRef": {"storeRef": {"name": f"s{number}"}}} for number, each in enumerate(many[:60])]
    long = {"template": {"data": {"a": "x" * 1_000_000}}}
    attempts = {
        "many": wanting("many", spec=f"data: {json.dumps(many)}"),
        "stores": wanting("stores", spec=f"data: {json.dumps(stores)}"),
        "long": wanting("long", spec=f"target: {json.dumps(long)}\ndataFrom: [{{extract: {{key: own/x}}}}]"),
        "never": wanting("never", spec=one("own/none"), interval="99999999999999999999h"),
        "negative": wanting("negative", spec=one("own/none"), interval="-5s"),
    }
    said = tried(tenant, attempts)
    assert "divide it" in said["long"]
    assert tenant.secret("many") is None


def test_a_secret_of_another_object_is_neither_written_nor_deleted(tenant: Space, victim: Space) -> None:
    """By an owner that is not its own, by the uid of another's ExternalSecret, by a name."""
    uid = victim.external_secret("web")["metadata"]["uid"]
    api = "external-secrets.io/v1"
    reference = OwnerReference(apiVersion=api, kind="ExternalSecret", name="web", uid=uid, controller=True)
    labels = {"freshmount.dev/managed": "true"}
    for name in ("planted", "taken"):
        tenant.client.create(
            Secret(
                metadata=ObjectMeta(name=name, namespace=tenant.name, labels=labels, ownerReferences=[reference]),
                stringData={"x": "mine"},
            )
        )
    assert "owned by another" in tried(tenant, {"taken": wanting("taken", spec=one("own/x"))})["taken"]
    assert tenant.data("taken") == {"x": "mine"}
    # The victim's own is renamed, whose earlier Secrets go: its own alone.
    victim.apply(wanting("renamed", spec=one("victim/x")))
    victim.wait_for("renamed", "True", "SecretSynced")
    victim.patch(ExternalSecret, "renamed", {"spec": {"target": {"name": "other"}}})
    until(lambda: victim.data("other") and victim.secret("renamed") is None)
    assert victim.secret("web") is not None
    # A token of any service account, as a Secret's type and annotation ask for it.
    account = "kubernetes.io/service-account.name: default"
    kinds = {
        "token": f"{{type: kubernetes.io/service-account-token, metadata: {{annotations: {{{account}}}}}}}",
        "token-from": "{type: kubernetes.io/service-account-token, templateFrom: [{target: Annotations, literal: x}]}",
    }
    targets = {name: f"target: {{template: {text}}}" for name, text in kinds.items()}
    tried(tenant, {name: wanting(name, spec=one("own/x", target)) for name, target in targets.items()})


NO_TEMPLATES = (
    "{{ CANARY }}",
    "x{{ .CANARY }}",
    'CANARY: "',
    '{{ required "CANARY" nil }}',
    "- CANARY\n- b: [",
    "CANARY",
)


@pytest.mark.parametrize("text", NO_TEMPLATES)
@pytest.mark.parametrize("how", ["Values", "KeysAndValues"])
def test_what_a_template_of_a_secret_says_is_not_repeated(
    tenant: Space, controller: Controller, text: str, how: str
) -> None:
    """Who may write an ExternalSecret may perhaps read no Secret: a Secret that is no template must not be quoted."""
    tenant.apply(f"{{apiVersion: v1, kind: Secret, metadata: {{name: other}}, stringData: {{k: {json.dumps(text)}}}}}")
    items = f"items: [{{key: k, templateAs: {how}}}]"
    target = f"target: {{template: {{templateFrom: [{{secret: {{name: other, {items}}}}}]}}}}"
    tenant.apply(wanting(spec=f"{target}\ndataFrom: [{{extract: {{key: own/x}}}}]"))
    until(lambda: tenant.condition("web")[0])
    assert "CANARY" not in tenant.condition("web")[2]
    assert "CANARY" not in json.dumps([tenant.events("web"), tenant.external_secret("web").get("status")])
    assert "CANARY" not in controller.said


# Each does to a value what fails.
FAIL = (
    "{{ .v.x.y }}",
    "{{ index .v 99 }}",
    "{{ fail .v }}",
    "{{ required .v nil }}",
    "{{ atoi .v | add 1 }}{{ .v | mustToDate .v }}",
    "{{ mustFromJson .v }}",
    "{{ b64dec .v | fromJson | first }}",
    "{{ template .v }}",
    "{{ get .v .v }}",
    "{{ pemCertificate .v }}",
    "{{ pkcs12key .v }}",
    "{{ jwkPrivateKeyPem .v }}",
    "{{ mustRegexMatch .v .v }}",
    "{{ dict .v .v | first }}",
)


def test_no_value_is_in_a_log_an_event_a_condition_a_metric_or_the_audit_log(
    installed: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At level debug, with each way to fail that has a value at its place."""
    monkeypatch.setenv("FRESHMOUNT_LOG_LEVEL", "debug")
    services = Services()
    services.put("v/text", "CANARY[text {{ (")
    services.put("v/json", '{"user": "CANARY-u", "n": {"pass": "CANARY-p"}}')
    services.put("v/half", '{"user": "CANARY')
    services.put("v/binary", b"CANARY\xff\x00")
    space = Space(installed, services)
    label = "target: {template: {metadata: {labels: {x: '{{ .v }}'}}}}"
    tls = "target: {template: {type: kubernetes.io/tls, mergePolicy: Merge}}"
    pairs = "target: {template: {templateFrom: [{literal: '{{ .v }}', target: Data}]}}"
    auto = "target: {template: {templateFrom: [{literal: 'a: {{ .v }}', valuesDecodingStrategy: Base64}]}}"
    bad = {
        "property": "data: [{secretKey: v, remoteRef: {key: v/text, property: user}}]",
        "half": "dataFrom: [{extract: {key: v/half}}]",
        "list": "dataFrom: [{extract: {key: v/json, property: user}}]",
        "decode": "data: [{secretKey: v, remoteRef: {key: v/text, decodingStrategy: Base64}}]",
        "label": one("v/text", label),
        "tls": one("v/text", tls),
        "pairs": one("v/text", pairs),
        "auto": one("v/text", auto),
        "fixed": one("v/text", "target: {name: fixed, creationPolicy: Orphan}"),
    }
    for number, text in enumerate(FAIL):
        bad[f"fail-{number}"] = one("v/text", f"target: {{template: {{data: {{a: {json.dumps(text)}}}}}}}")
    with Answers(services) as server:
        kubeconfig = least(installed, "canary", RULES)
        with controlling(installed, server.url, "--controller-class", "canary", kubeconfig=kubeconfig) as running:
            space.apply("{apiVersion: v1, kind: Secret, metadata: {name: fixed}, immutable: true, stringData: {v: x}}")
            space.apply(store(controller="canary"))
            for name, spec in bad.items():
                space.apply(wanting(name, spec=spec))
            space.apply(wanting("web", spec="dataFrom: [{extract: {key: v/json}}]"))
            space.apply(wanting("binary", spec=one("v/binary")))
            for name in ("web", "binary"):
                space.wait_for(name, "True", "SecretSynced")
            ready = [name for name in bad if until(lambda name=name: space.condition(name)[0]) == "True"]  # type: ignore[misc]
            assert ready == [], "each of them fails"
            assert (space.data("web") or {}).get("user") == "CANARY-u"
            pages = [running.get(page)[1] for page in ("/metrics", "/livez", "/readyz")]
            assert running.stop() == 0
    audited = [line for line in installed.audit_log.read_text().splitlines() if space.name in line]
    assert any('"resource":"secrets"' in line for line in audited)
    for where, text in {
        "objects, conditions and events": space.everything(),
        "log": running.said,
        "pages": "".join(pages),
        "audit log": "".join(audited),
    }.items():
        for form in ("CANARY", base64.b64encode(b"CANARY").decode()[:8], b"CANARY".hex(), "%43ANARY"):
            place = text.find(form)
            assert place < 0, f"{where}: {text[max(0, place - 300) : place + 50]}"


def test_thousands_of_one_namespace_starve_no_other(installed: ApiServer, aws: tuple[Aws, str]) -> None:
    """All of one namespace are there first, and each has work to do: another's comes among the first."""
    number = 240
    busy = "{{ range untilStep 0 2000 1 }}{{ end }}{{ .v }}"
    with Between(installed) as between:
        first, other = Space(installed, aws[0]), Space(installed, aws[0])
        for space in (first, other):
            space.apply(store(controller="crowd"))
        made: dict[str, Any] = yaml.safe_load(
            wanting(spec=one("own/x", f"target: {{template: {{data: {{a: '{busy}'}}}}}}"), interval="1s")
        )
        for each in range(number):
            made["metadata"] = {"name": f"a-{each}", "namespace": first.name}
            first.client.create(codecs.from_dict(made))
        other.apply(wanting("web", spec=one("own/x")))
        arguments = ("--controller-class", "crowd", "--concurrency", "4")
        try:
            with controlling(installed, aws[1], *arguments, kubeconfig=between.kubeconfig()):
                other.wait_for("web", "True", "SecretSynced")
                paths = [each.path for each in between.seen if each.what == "PATCH secrets"]
                before = next(place for place, path in enumerate(paths) if f"/{other.name}/" in path)
                assert before < number // 4
        finally:
            with contextlib.suppress(ApiError):
                first.client.delete(Namespace, first.name)
