"""ExternalSecrets in a cluster: the real controller on a real API server, with stand-ins for AWS."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from lightkube.resources.core_v1 import Secret
from lightkube.types import PatchType

from tests.apiserver.controlled import (
    LEASES,
    RULES,
    Controller,
    ExternalSecret,
    SecretStore,
    Space,
    controlling,
    least,
    permitted,
    store,
    until,
    wanting,
)
from tests.apiserver.server import ApiServer
from tests.support.answers import Answer
from tests.support.services import Services, denied


@pytest.fixture(scope="module")
def controller(installed: ApiServer, aws: tuple[Services, str]) -> Iterator[Controller]:
    with permitted(installed, aws[1], "controller") as running:
        yield running


@pytest.fixture
def space(controller: Controller, installed: ApiServer, aws: tuple[Services, str]) -> Space:
    return Space(installed, aws[0])


def test_a_secret_is_made_and_tells_what_it_is_made_of(space: Space, controller: Controller) -> None:
    version = space.services.put("prod/db", '{"user": "CANARY-u", "pass": "CANARY-p"}')
    space.apply(store() + "---" + wanting())
    assert space.wait_for("web", "True", "SecretSynced") == "secret synced"
    secret, external = space.secret("web"), space.external_secret("web")
    assert space.data("web") == {"user": "CANARY-u", "pass": "CANARY-p"}
    assert secret.type == "Opaque"
    assert secret.metadata.labels == {"freshmount.dev/managed": "true"}
    assert version in secret.metadata.annotations["freshmount.dev/versions"]
    (owner,) = secret.metadata.ownerReferences
    assert (owner.kind, owner.name, owner.uid) == ("ExternalSecret", "web", external["metadata"]["uid"])
    assert owner.controller
    assert {each.manager for each in secret.metadata.managedFields} == {"freshmount"}
    status = external["status"]
    assert status["binding"] == {"name": "web"}
    assert status["syncedResourceVersion"].startswith("1-")
    assert status["refreshTime"]
    assert until(lambda: space.events("web")) == [("Normal", "Created", "secret created")]
    labels = f'{{name="web",namespace="{space.name}"}}'
    assert controller.metric(f"freshmount_controller_external_secret_ready{labels}") == 1.0
    assert "CANARY" not in space.everything()
    assert "CANARY" not in controller.get("/metrics")[1]


def test_nothing_is_fetched_or_written_while_no_version_moves(space: Space) -> None:
    space.services.put("quiet/db", "CANARY-1")
    spec = "data: [{secretKey: a, remoteRef: {key: quiet/db}}]"
    space.apply(store() + "---" + wanting(spec=spec, interval="1s"))
    space.wait_for("web", "True", "SecretSynced")
    first, refreshed = (
        space.secret("web").metadata.resourceVersion,
        space.external_secret("web")["status"]["refreshTime"],
    )

    def counted(operation: str) -> int:
        return sum(call.operation == operation and "quiet/db" in call.names for call in space.services.calls)

    fetched = counted("GetSecretValue")
    until(lambda: counted("DescribeSecret") >= 3)
    assert counted("GetSecretValue") == fetched
    until(lambda: space.external_secret("web")["status"]["refreshTime"] != refreshed)
    assert space.secret("web").metadata.resourceVersion == first
    moved = space.services.put("quiet/db", "CANARY-2")
    until(lambda: space.data("web") == {"a": "CANARY-2"})
    assert moved in space.secret("web").metadata.annotations["freshmount.dev/versions"]
    assert counted("GetSecretValue") > fetched


def test_what_people_do_to_the_secret_is_put_right(space: Space) -> None:
    space.services.put("prod/db", '{"user": "CANARY-u", "pass": "CANARY-p"}')
    space.apply(store() + "---" + wanting())
    space.wait_for("web", "True", "SecretSynced")
    right = {"user": "CANARY-u", "pass": "CANARY-p"}
    other = base64.b64encode(b"other").decode()
    for change in ({"data": {"pass": other}}, {"data": {"user": None}}, {"data": {"more": other}}):
        before = space.patch(Secret, "web", change).metadata.resourceVersion
        until(lambda: space.data("web") == right)
        assert space.secret("web").metadata.resourceVersion != before
    space.patch(Secret, "web", {"metadata": {"labels": {"freshmount.dev/managed": None}}})
    until(lambda: (space.secret("web").metadata.labels or {}).get("freshmount.dev/managed") == "true")
    space.delete(Secret, "web")
    until(lambda: space.data("web") == right)
    space.patch(Secret, "web", {"metadata": {"labels": {"mine": "stays"}}})
    space.patch(ExternalSecret, "web", {"metadata": {"labels": {"team": "red"}}})
    until(lambda: space.secret("web").metadata.labels.get("team") == "red")
    assert space.secret("web").metadata.labels["mine"] == "stays"


def test_an_error_keeps_the_secret_whole_and_says_why(space: Space) -> None:
    space.services.put("a", "CANARY-a1")
    space.services.put("b", "CANARY-b1")
    spec = "data: [{secretKey: a, remoteRef: {key: a}}, {secretKey: b, remoteRef: {key: b}}]"
    space.apply(store() + "---" + wanting(spec=spec, interval="1s"))
    space.wait_for("web", "True", "SecretSynced")
    space.services.faults[None, "b"] = denied("secretsmanager:DescribeSecret", "b")
    try:
        space.services.put("a", "CANARY-a2")
        message = space.wait_for("web", "False", "SecretSyncedError")
        assert "secretsmanager:DescribeSecret on b" in message
        assert space.data("web") == {"a": "CANARY-a1", "b": "CANARY-b1"}
        assert ("Warning", "UpdateFailed") in [each[:2] for each in space.events("web")]
    finally:
        del space.services.faults[None, "b"]
    until(lambda: space.data("web") == {"a": "CANARY-a2", "b": "CANARY-b1"})
    space.wait_for("web", "True", "SecretSynced")
    assert "CANARY" not in space.everything()


def test_a_store_asks_with_the_access_key_of_its_own_namespace(space: Space) -> None:
    space.services.put("prod/db", '{"user": "CANARY-u", "pass": "CANARY-p"}')
    keys = """
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {id: TENANT, key: CANARY-key}
"""
    auth = (
        ", auth: {secretRef: {accessKeyIDSecretRef: {name: keys, key: id}, "
        "secretAccessKeySecretRef: {name: keys, key: key}}}"
    )
    space.apply(store(more=auth) + "---" + wanting())
    message = space.wait_for("web", "False", "SecretSyncedError")
    assert f"Secret {space.name}/keys does not exist" in message
    space.apply(keys)
    space.wait_for("web", "True", "SecretSynced")
    by = {call.by for call in space.services.calls if call.operation == "GetSecretValue"}
    assert "TENANT" in by
    space.apply(store("other", more=auth.replace("name: keys", "name: keys, namespace: kube-system")))
    space.apply(wanting("thief", ref="{name: other}"))
    assert "only use its own" in space.wait_for("thief", "False", "SecretSyncedError")
    assert space.secret("thief") is None


# -- policies


def one(key: str, more: str = "") -> str:
    """The spec that takes the secret `key` as `v`."""
    return f"{more}\ndata: [{{secretKey: v, remoteRef: {{key: {key}}}}}]"


def test_a_shared_secret_keeps_what_is_others(space: Space) -> None:
    space.services.put("m/one", "CANARY-1")
    space.services.put("m/two", "CANARY-2")
    target = "target: {name: shared, creationPolicy: Merge}"
    space.apply(store() + "---" + wanting("first", spec=one("m/one", target)))
    second = target + "\ndata: [{secretKey: w, remoteRef: {key: m/two}}]"
    space.apply(wanting("second", spec=second))
    assert "Merge" in space.wait_for("first", "True", "SecretMissing")
    assert space.secret("shared") is None
    space.apply("{apiVersion: v1, kind: Secret, metadata: {name: shared}, stringData: {theirs: keep, v: old}}")
    whole = {"theirs": "keep", "v": "CANARY-1", "w": "CANARY-2"}
    until(lambda: space.data("shared") == whole)
    for name in ("first", "second"):
        space.wait_for(name, "True", "SecretSynced")
    assert not space.secret("shared").metadata.ownerReferences
    space.patch(Secret, "shared", {"data": {"v": None, "theirs": base64.b64encode(b"new").decode()}})
    until(lambda: space.data("shared") == {**whole, "theirs": "new"})
    space.services.put("m/one", "CANARY-3")
    space.patch(ExternalSecret, "first", {"metadata": {"annotations": {"force-sync": "1"}}})
    until(lambda: space.data("shared") == {**whole, "theirs": "new", "v": "CANARY-3"})


def test_a_secret_of_another_is_not_taken(space: Space) -> None:
    space.services.put("o/one", "CANARY-1")
    space.apply(store() + "---" + wanting("first", spec=one("o/one", "target: {name: mine}")))
    space.wait_for("first", "True", "SecretSynced")
    before = space.secret("mine").metadata.resourceVersion
    space.apply(wanting("second", spec=one("o/one", "target: {name: mine}").replace("secretKey: v", "secretKey: w")))
    assert "owned by another" in space.wait_for("second", "False", "SecretSyncedError")
    assert space.secret("mine").metadata.resourceVersion == before
    space.patch(ExternalSecret, "first", {"spec": {"target": {"name": "renamed"}}})
    until(lambda: space.data("renamed") == {"v": "CANARY-1"})
    until(lambda: space.data("mine") != {"v": "CANARY-1"})


def test_a_secret_that_is_gone_from_aws(space: Space) -> None:
    for name in ("retain", "delete"):
        space.services.put(f"g/{name}", "CANARY-1")
    space.apply(store() + "---" + wanting("retain", spec=one("g/retain"), interval="1s"))
    space.apply(wanting("delete", spec=one("g/delete", "target: {deletionPolicy: Delete}"), interval="1s"))
    for name in ("retain", "delete"):
        space.wait_for(name, "True", "SecretSynced")
        space.services.secrets.pop(("eu-west-1", f"g/{name}"))
    assert "g/retain" in space.wait_for("retain", "False", "SecretSyncedError")
    assert space.data("retain") == {"v": "CANARY-1"}
    space.wait_for("delete", "True", "SecretDeleted")
    until(lambda: space.secret("delete") is None)
    assert ("Normal", "Deleted", "secret deleted") in until(lambda: space.events("delete"))
    space.services.put("g/delete", "CANARY-2")
    until(lambda: space.data("delete") == {"v": "CANARY-2"})


def test_what_does_not_follow_stays_until_it_is_asked(space: Space) -> None:
    specs = {
        "zero": (one("r/x"), "0s"),
        "once": (one("r/x", "refreshPolicy: CreatedOnce"), "1s"),
        "change": (one("r/x", "refreshPolicy: OnChange"), "1s"),
        "fixed": (one("r/x", "target: {immutable: true}"), "1s"),
        "follows": (one("r/x"), "1s"),
    }
    space.services.put("r/x", "CANARY-1")
    space.apply(store())
    for name, (spec, interval) in specs.items():
        space.apply(wanting(name, spec=spec, interval=interval))
    for name in specs:
        space.wait_for(name, "True", "SecretSynced")
    space.services.put("r/x", "CANARY-2")
    until(lambda: space.data("follows") == {"v": "CANARY-2"})
    assert [space.data(name) for name in list(specs)[:4]] == [{"v": "CANARY-1"}] * 4
    until(lambda: "immutable" in space.condition("fixed")[2])
    space.patch(ExternalSecret, "change", {"metadata": {"annotations": {"again": "1"}}})
    until(lambda: space.data("change") == {"v": "CANARY-2"})
    for name in ("zero", "once", "fixed"):
        assert space.data(name) == {"v": "CANARY-1"}
        space.delete(Secret, name)
        until(lambda name=name: space.data(name) == {"v": "CANARY-2"})  # type: ignore[misc]
    assert space.secret("fixed").immutable


def test_templates_of_config_maps_and_secrets(space: Space) -> None:
    space.services.put("prod/db", '{"user": "CANARY-u", "pass": "CANARY-p"}')
    space.apply(
        """
apiVersion: v1
kind: ConfigMap
metadata: {name: forms}
data: {url: "postgres://{{ .user }}:{{ .pass }}@db"}
---
apiVersion: v1
kind: Secret
metadata: {name: forms}
stringData: {line: "{{ .user | upper }}"}
"""
    )
    template = """
target:
  template:
    type: example.com/thing
    metadata: {labels: {app: web}, annotations: {by: "{{ .user | len }}"}}
    data: {own: "{{ .pass }}"}
    templateFrom:
    - configMap: {name: forms, items: [{key: url}]}
    - secret: {name: forms, items: [{key: line}]}
dataFrom: [{extract: {key: prod/db}}]"""
    space.apply(store() + "---" + wanting(spec=template))
    space.wait_for("web", "True", "SecretSynced")
    secret = space.secret("web")
    assert space.data("web") == {"own": "CANARY-p", "url": "postgres://CANARY-u:CANARY-p@db", "line": "CANARY-U"}
    assert secret.type == "example.com/thing"
    assert secret.metadata.labels["app"] == "web"
    assert secret.metadata.annotations["by"] == "8"
    space.apply(wanting("bad", spec=template.replace("{{ .pass }}", "{{ .missing }}")))
    assert "template.data.own, line 1" in space.wait_for("bad", "False", "SecretSyncedError")
    assert "CANARY" not in space.everything().replace("postgres", "")


# -- stores


def test_whose_stores_are_ours_and_whom_they_serve(space: Space) -> None:
    space.services.put("s/x", "CANARY-x")
    name = f"css-{space.name}"
    conditions = "  conditions: [{namespaceSelector: {matchLabels: {team: red}}}]\n"
    space.apply(store(name, kind="ClusterSecretStore") + conditions)
    space.apply(store("theirs", controller="other"))
    ref = f"{{kind: ClusterSecretStore, name: {name}}}"
    space.apply(wanting("theirs", spec=one("s/x"), ref="{name: theirs}"))
    space.apply(wanting("web", spec=one("s/x"), ref=ref))
    assert "does not serve namespace" in space.wait_for("web", "False", "SecretSyncedError")
    space.apply(store(name, kind="ClusterSecretStore") + conditions.replace("red", "blue"))
    space.wait_for("web", "True", "SecretSynced")
    assert space.data("web") == {"v": "CANARY-x"}
    assert space.condition("theirs") == ("", "", ""), "another controller's is left alone"
    assert space.secret("theirs") is None


def test_beside_another_controller_its_external_secrets_are_left_alone(space: Space) -> None:
    """One of generators alone, and one whose store has gone, on which the other has said so. A typing error of ours is
    said."""
    space.services.put("beside/x", "CANARY-x")
    space.apply(store("known", controller="other") + "---" + store() + "---" + wanting("ours", spec=one("beside/x")))
    space.wait_for("ours", "True", "SecretSynced")  # by now it has seen both stores
    generator = "dataFrom: [{sourceRef: {generatorRef: {apiVersion: g/v1, kind: Password, name: p}}}]"
    made = wanting("generated", spec=generator).replace("  secretStoreRef: {name: aws}\n", "")
    space.apply(made)
    status = {"conditions": [{"type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "theirs"}]}
    other = space.server.client(field_manager="external-secrets")
    other.patch(
        ExternalSecret.Status, "generated", {"status": status}, namespace=space.name, patch_type=PatchType.MERGE
    )
    space.apply(wanting("orphan", ref="{name: known}"))
    other.patch(ExternalSecret.Status, "orphan", {"status": status}, namespace=space.name, patch_type=PatchType.MERGE)
    space.delete(SecretStore, "known")
    space.patch(ExternalSecret, "orphan", {"metadata": {"annotations": {"look": "again"}}})
    space.apply(wanting("typing", ref="{name: awz}"))
    assert "SecretStore awz does not exist" in space.wait_for("typing", "False", "SecretSyncedError")
    assert {space.condition(name)[2] for name in ("generated", "orphan")} == {"theirs"}


def test_roles_are_assumed_as_the_store_says(space: Space) -> None:
    space.services.put("role/x", "CANARY-x")
    roles = (
        ", role: 'arn:aws:iam::111122223333:role/last', additionalRoles: ['arn:aws:iam::111122223333:role/first'], "
        "externalID: ext, sessionTagsPolicy: Simple"
    )
    space.apply(store(more=roles) + "---" + wanting(spec=one("role/x")))
    space.wait_for("web", "True", "SecretSynced")
    assert {call.by for call in space.services.calls if call.names == ("role/x",)} == {"last"}
    first, last = [call for call in space.services.calls if call.operation == "AssumeRole"][-2:]
    assert [call.names[0].rpartition("/")[2] for call in (first, last)] == ["first", "last"]
    assert (first.by, last.by, last.sent["ExternalId"]) == ("pod", "first", "ext")
    assert "ExternalId" not in first.sent
    assert space.name in last.sent.values(), "the namespace is a tag of the session"


def test_a_store_asks_as_a_service_account(space: Space) -> None:
    space.services.put("jwt/x", "CANARY-x")
    account = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, annotations: {eks.amazonaws.com/role-arn: 'arn:aws:iam::111122223333:role/irsa'}}
"""
    more = ", auth: {jwt: {serviceAccountRef: {name: reader}}}"
    space.apply(account + "---" + store(more=more) + "---" + wanting(spec=one("jwt/x")))
    space.wait_for("web", "True", "SecretSynced")
    assert {call.by for call in space.services.calls if call.names == ("jwt/x",)} == {"irsa"}
    web = [call for call in space.services.calls if call.operation == "AssumeRoleWithWebIdentity"][-1]
    claims = web.sent["WebIdentityToken"].split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert said["sub"] == f"system:serviceaccount:{space.name}:reader"
    assert said["aud"] == ["sts.amazonaws.com"]


def test_parameters_and_finds(space: Space) -> None:
    space.services.put_parameter("/p/host", "CANARY-h")
    space.services.put("found/a", "CANARY-a", team=space.name)
    space.apply(store() + "---" + store("ssm").replace("SecretsManager", "ParameterStore"))
    spec = f"""
dataFrom: [{{find: {{tags: {{team: {space.name}}}}}}}]
data: [{{secretKey: host, sourceRef: {{storeRef: {{name: ssm}}}}, remoteRef: {{key: /p/host}}}}]"""
    space.apply(wanting(spec=spec, interval="1s"))
    until(lambda: space.data("web") == {"host": "CANARY-h", "found_a": "CANARY-a"})
    space.services.put("found/b", "CANARY-b", team=space.name)
    space.services.put_parameter("/p/host", "CANARY-h2")
    until(lambda: space.data("web") == {"host": "CANARY-h2", "found_a": "CANARY-a", "found_b": "CANARY-b"})


# -- trouble


def test_a_place_that_hangs_holds_up_no_other(space: Space) -> None:
    space.services.put("h/x", "CANARY-x")
    space.services.put("h/y", "CANARY-y")
    space.services.faults["eu-central-1", None] = Answer(drips=True)
    try:
        space.apply(store() + "---" + store("slow").replace("eu-west-1", "eu-central-1"))
        for number in range(20):
            space.apply(wanting(f"slow-{number}", spec=one("h/x"), ref="{name: slow}"))
        space.apply(wanting("web", spec=one("h/y")))
        space.wait_for("web", "True", "SecretSynced")
        assert [space.condition(f"slow-{number}")[0] for number in range(20)].count("True") == 0
    finally:
        del space.services.faults["eu-central-1", None]
        for number in range(20):
            space.delete(ExternalSecret, f"slow-{number}")


def test_a_tenant_names_no_other_and_hangs_nothing(space: Space) -> None:
    """Each of them fails, or asks only with what its own namespace gives."""
    space.services.put("t/x", "CANARY-x")
    endless = "{{ range untilStep 0 1000000 1 }}{{ range untilStep 0 1000000 1 }}x{{ end }}{{ end }}"
    hostile = {
        "work": f"target: {{template: {{data: {{a: '{endless}'}}}}}}",
        "length": "target: {template: {data: {a: '{{ repeat 100000000 \"x\" }}'}}}",
        "token": "target: {template: {type: kubernetes.io/service-account-token, metadata: {annotations: "
        "{kubernetes.io/service-account.name: default}}}}",
    }
    space.apply(store())
    for name, target in hostile.items():
        space.apply(wanting(name, spec=one("t/x", target)))
    stores = {
        "endpoint": store("endpoint").replace("eu-west-1", "eu-west-1.attacker.example"),
        "region": store("region").replace("eu-west-1", "'eu-west-1/x'"),
        "role": store("role", more=", role: 'http://169.254.169.254/'"),
    }
    for name, text in stores.items():
        space.apply(text + "---" + wanting(name, spec=one("t/x"), ref=f"{{name: {name}}}"))
    space.apply(wanting("web", spec=one("t/x")))
    space.wait_for("web", "True", "SecretSynced")
    for name in (*hostile, *stores):
        space.wait_for(name, "False", "SecretSyncedError")
        assert space.secret(name) is None


def test_it_goes_on_when_the_api_server_comes_back_and_has_forgotten(
    space: Space, installed: ApiServer, controller: Controller
) -> None:
    space.services.put("away/x", "CANARY-1")
    space.apply(store() + "---" + wanting(spec=one("away/x"), interval="1s"))
    space.wait_for("web", "True", "SecretSynced")
    installed.stop()
    space.services.put("away/x", "CANARY-2")
    installed.compact()
    installed.start()
    until(lambda: space.data("web") == {"v": "CANARY-2"})
    space.apply(wanting("late", spec=one("away/x")))
    space.wait_for("late", "True", "SecretSynced")
    space.delete(Secret, "late")
    until(lambda: space.data("late") == {"v": "CANARY-2"})
    assert controller.process.poll() is None


def test_one_that_starts_without_an_api_server_waits_for_it(installed: ApiServer, aws: tuple[Services, str]) -> None:
    installed.stop()
    try:
        with controlling(installed, aws[1], "--controller-class", "early") as running:
            code, said = running.get("/readyz")
            assert (code, "API server" in said) == (503, True)
            assert running.get("/livez")[0] == 200
            installed.start()
            running.ready()
            assert running.stop() == 0
    finally:
        if not installed.runs:
            installed.start()


def test_killed_again_and_again_it_leaves_nothing_half(installed: ApiServer, aws: tuple[Services, str]) -> None:
    space = Space(installed, aws[0])
    spec = "data: [{secretKey: a, remoteRef: {key: k/a}}, {secretKey: b, remoteRef: {key: k/b}}]"
    space.apply(store(controller="killed") + "---" + wanting(spec=spec, interval="1s"))
    seen = set()
    for number in range(4):
        space.services.put("k/a", f"CANARY-{number}")
        space.services.put("k/b", f"CANARY-{number}")
        with controlling(installed, aws[1], "--controller-class", "killed") as running:
            before = len(space.services.calls)
            until(lambda before=before: any("k/b" in c.names for c in list(space.services.calls)[before:]))  # type: ignore[misc]
            running.kill()
        if found := space.data("web"):
            assert set(found) == {"a", "b"}
            assert len(set(found.values())) == 1
            seen.add(found["a"])
    with controlling(installed, aws[1], "--controller-class", "killed"):
        until(lambda: space.data("web") == {"a": "CANARY-3", "b": "CANARY-3"})


def test_two_replicas_and_the_leader_dies_or_is_paused(installed: ApiServer, aws: tuple[Services, str]) -> None:
    space = Space(installed, aws[0])
    space.services.put("l/x", "CANARY-1")
    space.apply(store(controller="two") + "---" + wanting(spec=one("l/x"), interval="1s"))
    arguments = ("--controller-class", "two", "--lease-namespace", space.name)
    kubeconfig = least(installed, "two", RULES, LEASES)
    with ExitStack() as stack:
        first = stack.enter_context(controlling(installed, aws[1], *arguments, kubeconfig=kubeconfig))
        first.event("leads")
        space.wait_for("web", "True", "SecretSynced")
        second = stack.enter_context(controlling(installed, aws[1], *arguments, kubeconfig=kubeconfig))
        second.ready()
        first.signal(signal.SIGSTOP)
        second.event("leads")
        space.services.put("l/x", "CANARY-2")
        until(lambda: space.data("web") == {"v": "CANARY-2"})
        first.signal(signal.SIGCONT)
        first.event("does not lead")
        assert first.metric("freshmount_controller_leader") == 0.0
        second.kill()
        first.event("leads", 2)
        space.services.put("l/x", "CANARY-3")
        until(lambda: space.data("web") == {"v": "CANARY-3"})
        third = stack.enter_context(controlling(installed, aws[1], *arguments, kubeconfig=kubeconfig))
        third.ready()
        assert first.stop() == 0
        third.event("leads")


def test_in_namespaces_of_its_own_it_needs_roles_alone(installed: ApiServer, aws: tuple[Services, str]) -> None:
    mine, other = Space(installed, aws[0]), Space(installed, aws[0])
    mine.services.put("n/x", "CANARY-x")
    for space in (mine, other):
        space.apply(store(controller="spaces") + "---" + wanting(spec=one("n/x")))
    name = f"css-{mine.name}"
    mine.apply(store(name, controller="spaces", kind="ClusterSecretStore"))
    mine.apply(wanting("cluster", spec=one("n/x"), ref=f"{{kind: ClusterSecretStore, name: {name}}}"))
    kubeconfig = least(installed, "spaces", RULES, namespace=mine.name)
    arguments = ("--controller-class", "spaces", "--namespace", mine.name)
    with controlling(installed, aws[1], *arguments, kubeconfig=kubeconfig) as running:
        running.ready()
        mine.wait_for("web", "True", "SecretSynced")
        assert "given namespaces" in mine.wait_for("cluster", "False", "SecretSyncedError")
        assert other.condition("web") == ("", "", "")
        assert "forbidden" not in running.said
        assert running.stop() == 0
