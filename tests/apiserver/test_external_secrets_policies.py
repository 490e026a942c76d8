"""What becomes of a Secret by each policy, when a store is ready, and what windows hold back: on a real API server.

There is nothing here that collects garbage, so what a Secret's owner takes with it is told by its reference alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lightkube.resources.core_v1 import ConfigMap, Secret

from tests.apiserver.controlled import (
    ClusterSecretStore,
    Controller,
    ExternalSecret,
    SecretStore,
    Space,
    permitted,
    store,
    until,
    wanting,
)
from tests.apiserver.server import ApiServer
from tests.support.services import Services, sts_denied


@pytest.fixture(scope="module")
def controller(installed: ApiServer, aws: tuple[Services, str]) -> Iterator[Controller]:
    with permitted(installed, aws[1], "policies") as running:
        yield running
        assert "forbidden" not in running.said


@pytest.fixture
def space(controller: Controller, installed: ApiServer, aws: tuple[Services, str]) -> Space:
    return Space(installed, aws[0])


def one(key: str, more: str = "") -> str:
    """The spec that takes the secret `key` as `v`."""
    return f"{more}\ndata: [{{secretKey: v, remoteRef: {{key: {key}}}}}]"


# -- an ExternalSecret is deleted

CREATIONS = ("Owner", "Orphan", "Merge", "CreateOrMerge")


def test_what_becomes_of_the_secret_when_its_external_secret_is_deleted(space: Space) -> None:
    """One that owns it takes it with it, and with deletionPolicy Delete without waiting for who collects. No other
    loses a key, and none is held up by a finalizer."""
    space.services.put("d/x", "CANARY-x")
    space.apply(store())
    made = {f"{creation.lower()}-retain": (creation, "Retain") for creation in CREATIONS}
    made |= {f"{creation.lower()}-delete": (creation, "Delete") for creation in ("Owner", "Orphan")}
    made |= {f"{creation.lower()}-merge": (creation, "Merge") for creation in ("Owner", "Merge")}
    for name, (creation, deletion) in made.items():
        if creation == "Merge":
            space.apply(f"{{apiVersion: v1, kind: Secret, metadata: {{name: {name}}}, stringData: {{theirs: keep}}}}")
        target = f"target: {{creationPolicy: {creation}, deletionPolicy: {deletion}}}"
        space.apply(wanting(name, spec=one("d/x", target)))
    owned = {}
    for name, (creation, _) in made.items():
        space.wait_for(name, "True", "SecretSynced")
        external = space.external_secret(name)
        assert not external["metadata"].get("finalizers")
        owners = [each.uid for each in space.secret(name).metadata.ownerReferences or []]
        assert owners == ([external["metadata"]["uid"]] if creation == "Owner" else [])
        owned[name] = owners
        space.delete(ExternalSecret, name)
    until(lambda: space.secret("owner-delete") is None)
    for name, (creation, _) in made.items():
        if name == "owner-delete":
            continue
        theirs = {"theirs": "keep"} if creation == "Merge" else {}
        assert space.data(name) == {"v": "CANARY-x", **theirs}
        assert [each.uid for each in space.secret(name).metadata.ownerReferences or []] == owned[name]


def test_delete_needs_a_secret_of_its_own(space: Space) -> None:
    """The API server refuses what would delete the Secret of others."""
    for creation in ("Merge", "CreateOrMerge", "None"):
        target = f"target: {{creationPolicy: {creation}, deletionPolicy: Delete}}"
        with pytest.raises(Exception, match="deletionPolicy"):
            space.apply(wanting("web", spec=one("d/x", target)))


# -- a secret is gone from AWS


def test_what_is_gone_from_aws_goes_as_the_policy_says(space: Space) -> None:
    for key in ("g/one", "g/two"):
        space.services.put(key, "CANARY-1")
    both = "data: [{secretKey: a, remoteRef: {key: g/one}}, {secretKey: b, remoteRef: {key: g/two}}]"
    space.apply(store())
    whole = {"a": "CANARY-1", "b": "CANARY-1"}
    for deletion in ("Retain", "Delete", "Merge"):
        target = f"target: {{deletionPolicy: {deletion}}}\n{both}"
        space.apply(wanting(deletion.lower(), spec=target, interval="1s"))
    orphan = f"target: {{deletionPolicy: Delete, creationPolicy: Orphan}}\n{both}"
    space.apply(wanting("orphan", spec=orphan, interval="1s"))
    for name in ("retain", "delete", "merge", "orphan"):
        space.wait_for(name, "True", "SecretSynced")
        assert space.data(name) == whole
    space.services.secrets.pop(("eu-west-1", "g/one"))
    assert "g/one" in space.wait_for("retain", "False", "SecretSyncedError")
    for name in ("delete", "merge", "orphan"):
        until(lambda name=name: space.data(name) == {"b": "CANARY-1"})  # type: ignore[misc]
    space.services.secrets.pop(("eu-west-1", "g/two"))
    space.wait_for("delete", "True", "SecretDeleted")
    until(lambda: space.secret("delete") is None)
    until(lambda: space.data("merge") == {})
    assert space.data("retain") == whole, "nothing is taken away from it"
    assert "creationPolicy Orphan" in space.wait_for("orphan", "False", "SecretSyncedError")
    assert space.data("orphan") == {"b": "CANARY-1"}, "it belongs to nobody"


def test_with_creation_policy_none_there_is_no_secret(space: Space) -> None:
    space.services.put("n/x", "CANARY-x")
    space.apply(store() + "---" + wanting(spec=one("n/x", "target: {creationPolicy: None}"), interval="1s"))
    space.wait_for("web", "True", "SecretSynced")
    assert space.secret("web") is None


# -- windows


def test_a_window_holds_back_the_clock_and_nothing_else(space: Space) -> None:
    windows = "syncWindows: {kind: deny, windows: [{schedule: '* * * * *', duration: 24h}]}"
    open_now = "syncWindows: {kind: allow, windows: [{schedule: '* * * * *', duration: 24h}]}"
    space.services.put("w/x", "CANARY-1")
    space.apply(store() + "---" + wanting("held", spec=one("w/x", windows), interval="1s"))
    space.apply(wanting("follows", spec=one("w/x", open_now), interval="1s"))
    for name in ("held", "follows"):
        space.wait_for(name, "True", "SecretSynced")
    space.services.put("w/x", "CANARY-2")
    until(lambda: space.data("follows") == {"v": "CANARY-2"})
    refreshed = space.external_secret("follows")["status"]["refreshTime"]
    until(lambda: space.external_secret("follows")["status"]["refreshTime"] != refreshed)
    assert space.data("held") == {"v": "CANARY-1"}
    space.delete(Secret, "held")
    until(lambda: space.data("held") == {"v": "CANARY-2"})
    space.services.put("w/x", "CANARY-3")
    until(lambda: space.data("follows") == {"v": "CANARY-3"})
    assert space.data("held") == {"v": "CANARY-2"}
    space.patch(ExternalSecret, "held", {"metadata": {"annotations": {"force-sync": "1"}}})
    until(lambda: space.data("held") == {"v": "CANARY-3"})


def test_a_schedule_that_is_none_is_said_and_the_secret_stays(space: Space) -> None:
    space.services.put("w/y", "CANARY-1")
    space.apply(store() + "---" + wanting(spec=one("w/y")))
    space.wait_for("web", "True", "SecretSynced")
    wrong = {"kind": "deny", "windows": [{"schedule": "0 25 * * *", "duration": "1h"}]}
    space.patch(ExternalSecret, "web", {"spec": {"syncWindows": wrong}})
    message = space.wait_for("web", "False", "SecretSyncedError")
    assert "spec.syncWindows.windows[0].schedule" in message
    assert "hour '25'" in message
    assert space.data("web") == {"v": "CANARY-1"}


# -- templates of others


def test_a_changed_config_map_is_followed_with_the_next_refresh(space: Space) -> None:
    space.services.put("t/x", "CANARY-x")
    forms = "\n{apiVersion: v1, kind: ConfigMap, metadata: {name: forms}, data: {line: 'one {{ .v }}'}}"
    template = "target: {template: {templateFrom: [{configMap: {name: forms, items: [{key: line}]}}]}}"
    space.apply(store() + "---" + forms)
    space.apply(wanting("soon", spec=one("t/x", template), interval="1s"))
    space.apply(wanting("later", spec=one("t/x", template)))
    for name in ("soon", "later"):
        space.wait_for(name, "True", "SecretSynced")
        assert space.data(name) == {"line": "one CANARY-x"}
    space.patch(ConfigMap, "forms", {"data": {"line": "two {{ .v }}"}})
    until(lambda: space.data("soon") == {"line": "two CANARY-x"})
    assert space.data("later") == {"line": "one CANARY-x"}
    space.patch(ExternalSecret, "later", {"metadata": {"annotations": {"force-sync": "1"}}})
    until(lambda: space.data("later") == {"line": "two CANARY-x"})
    space.delete(ConfigMap, "forms")
    assert f"ConfigMap {space.name}/forms does not exist" in space.wait_for("soon", "False", "SecretSyncedError")
    assert space.data("soon") == {"line": "two CANARY-x"}


# -- stores


class Stores:
    """The stores of a test, as `kubectl` shows them."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def status(self, name: str = "aws", kind: str = "SecretStore") -> dict[str, str]:
        """Its condition Ready, and its capabilities."""
        client = self._space.client
        if kind == "SecretStore":
            found = client.get(SecretStore, name, namespace=self._space.name)
        else:
            found = client.get(ClusterSecretStore, name)
        status = found.get("status") or {}
        ready = next((each for each in status.get("conditions") or () if each["type"] == "Ready"), {})
        return {**ready, "capabilities": status.get("capabilities", "")}

    def wait_for(self, ready: str, reason: str, name: str = "aws", kind: str = "SecretStore") -> str:
        """Until its condition says so; its message."""

        def says() -> bool:
            found = self.status(name, kind)
            return (found.get("status"), found.get("reason")) == (ready, reason)

        until(says)
        return self.status(name, kind)["message"]


def test_a_store_says_that_it_is_ready(space: Space) -> None:
    space.apply(store() + "---" + store("theirs", controller="other"))
    assert Stores(space).wait_for("True", "Valid") == "store validated"
    assert Stores(space).status()["capabilities"] == "ReadOnly"
    assert until(lambda: space.events("aws")) == [("Normal", "Valid", "store validated")]
    cluster = f"css-{space.name}"
    space.apply(store(cluster, kind="ClusterSecretStore"))
    Stores(space).wait_for("True", "Valid", cluster, "ClusterSecretStore")
    jwt = ", auth: {jwt: {serviceAccountRef: {name: reader}}}"
    space.apply(store(f"{cluster}-jwt", kind="ClusterSecretStore", more=jwt))
    message = Stores(space).wait_for("True", "Valid", f"{cluster}-jwt", "ClusterSecretStore")
    assert "each namespace gives its own" in message
    assert Stores(space).status("theirs") == {"capabilities": ""}, "another controller's is left alone"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (", role: reader", "spec.provider.aws.role"),
        (", auth: {jwt: {serviceAccountRef: {name: nobody}}}", "/nobody does not exist"),
        (
            ", auth: {secretRef: {accessKeyIDSecretRef: {name: keys, key: id}, "
            "secretAccessKeySecretRef: {name: keys, key: key}}}",
            "/keys does not exist",
        ),
        (
            ", auth: {secretRef: {accessKeyIDSecretRef: {name: k, key: i, namespace: kube-system}, "
            "secretAccessKeySecretRef: {name: k, key: s, namespace: kube-system}}}",
            "only use its own",
        ),
    ],
    ids=["a role that is none", "no service account", "no access key", "the key of another namespace"],
)
def test_a_store_that_cannot_be_used_says_why(space: Space, more: str, says: str) -> None:
    space.apply(store(more=more))
    assert says in Stores(space).wait_for("False", "InvalidProviderConfig")
    assert [each[:2] for each in until(lambda: space.events("aws"))] == [("Warning", "InvalidProviderConfig")]


def test_an_external_secret_says_that_its_store_is_not_ready_and_goes_on_when_it_is(space: Space) -> None:
    space.services.put("s/x", "CANARY-x")
    role = f"arn:aws:iam::111122223333:role/{space.name}"
    space.services.faults[None, role] = sts_denied(role)
    try:
        space.apply(store(more=f", role: '{role}'"))
        assert "sts:AssumeRole is denied" in Stores(space).wait_for("False", "InvalidProviderConfig")
        space.apply(wanting(spec=one("s/x")))
        message = space.wait_for("web", "False", "SecretSyncedError")
        assert message.startswith("SecretStore aws is not ready; ")
        assert "sts:AssumeRole is denied" in message
    finally:
        del space.services.faults[None, role]
    Stores(space).wait_for("True", "Valid")
    space.wait_for("web", "True", "SecretSynced")
    assert space.data("web") == {"v": "CANARY-x"}
    assert "CANARY" not in space.everything()
