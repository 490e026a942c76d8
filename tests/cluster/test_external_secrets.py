"""ExternalSecrets in a cluster: the real controller on a real API server, with stand-ins for AWS."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from lightkube.resources.core_v1 import Secret

from tests.cluster.apiserver import ApiServer
from tests.cluster.controlled import Controller, ExternalSecret, Space, controlling, install, store, until, wanting
from tests.support.services import Services, denied, serving


@pytest.fixture(scope="module")
def installed(api: ApiServer) -> ApiServer:
    install(api)
    return api


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[Services, str]]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def controller(installed: ApiServer, aws: tuple[Services, str]) -> Iterator[Controller]:
    with controlling(installed, aws[1]) as running:
        running.ready()
        yield running
        assert running.stop() == 0
        assert "CANARY" not in running.said
        assert "bug" not in running.said


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

    until(lambda: counted("DescribeSecret") >= 3)
    assert counted("GetSecretValue") == 1
    until(lambda: space.external_secret("web")["status"]["refreshTime"] != refreshed)
    assert space.secret("web").metadata.resourceVersion == first
    moved = space.services.put("quiet/db", "CANARY-2")
    until(lambda: space.data("web") == {"a": "CANARY-2"})
    assert moved in space.secret("web").metadata.annotations["freshmount.dev/versions"]
    assert counted("GetSecretValue") == 2


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
        assert [each[:2] for each in space.events("web")][-1:] == [("Warning", "UpdateFailed")]
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
