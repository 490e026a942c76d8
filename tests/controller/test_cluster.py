"""What is asked of Kubernetes: no name of a tenant becomes a path, nothing is written by who does not lead, and what
the API server says of a Secret is not repeated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube import ApiError
from lightkube.models.meta_v1 import Status, StatusCause, StatusDetails

from agent.controller.external_secrets.cluster import Absent, Cluster, said, text_of
from agent.controller.leader import NotLeader


class Api:
    """Records every call, and answers with an object."""

    def __init__(self, found: dict[str, Any] | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.found = found or {"metadata": {"name": "x"}}

    def __getattr__(self, name: str) -> Any:
        async def call(*given: Any, **_: Any) -> Any:
            self.calls.append((name, *given))
            return self.found

        return call


def leads() -> None: ...


def follows() -> None:
    raise NotLeader("no")


@pytest.mark.parametrize(
    "name", ["../../kube-system/secrets/x", "a/b", "x?watch=1", "x#y", "X", "", "..", "%2e%2e", "a b"]
)
def test_no_name_becomes_a_path(name: str) -> None:
    api = Api()
    cluster = Cluster(api, api, leads)
    for call in (
        cluster.secret(("shop", name)),
        cluster.values("Secret", ("shop", name)),
        cluster.values("ConfigMap", ("shop", name)),
        cluster.account(("shop", name)),
        cluster.values("Secret", (name, "keys")),
    ):
        with pytest.raises(Absent):
            asyncio.run(call)
    assert api.calls == []


def test_who_does_not_lead_writes_nothing() -> None:
    api = Api({"metadata": {"name": "web", "namespace": "shop", "ownerReferences": [{"uid": "u"}]}})
    cluster = Cluster(api, api, follows)
    at = "shop", "web"
    of = {"apiVersion": "v1", "kind": "K", "metadata": {**api.found["metadata"], "uid": "u", "resourceVersion": "1"}}

    class Kind:
        Status = None

    for call in (
        cluster.apply(at, {}, "freshmount"),
        cluster.remove_keys(at, {}),
        cluster.delete(at, "u"),
        cluster.status(Kind, at, "u", {}),
        cluster.event(of, "Updated", "m", warning=False),
    ):
        with pytest.raises(NotLeader):
            asyncio.run(call)
    assert {call[0] for call in api.calls} == {"get"}


def test_a_secret_of_another_owner_is_not_deleted() -> None:
    api = Api({"metadata": {"name": "web", "ownerReferences": [{"uid": "other"}]}})
    assert not asyncio.run(Cluster(api, api, leads).delete(("shop", "web"), "u"))
    assert [call[0] for call in api.calls] == ["get"]


def test_what_may_hold_a_value_is_not_repeated() -> None:
    details = StatusDetails(causes=[StatusCause(field="data[a]", message="CANARY")])
    invalid = ApiError(status=Status(code=422, reason="Invalid", message="CANARY is wrong", details=details))
    assert "CANARY" not in said(invalid)
    assert "data[a]" in said(invalid)
    denied = ApiError(status=Status(code=403, reason="Forbidden", message="admission webhook: CANARY"))
    assert "CANARY" not in said(denied)
    message = 'secrets "web" is forbidden: User "x" cannot patch resource'
    assert said(ApiError(status=Status(code=403, reason="Forbidden", message=message))) == message


def test_a_key_of_a_secret() -> None:
    secret = {"metadata": {"namespace": "shop", "name": "keys"}, "data": {"id": "eA==", "bad": "!"}}
    assert text_of(secret, "id").reveal() == b"x"
    for key in ("bad", "none"):
        with pytest.raises(Absent, match=f"shop/keys has no key {key}"):
            text_of(secret, key)
