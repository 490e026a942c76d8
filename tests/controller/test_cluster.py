"""What is asked of Kubernetes: no name of a tenant becomes a path, nothing is written by who does not lead, and what
the API server says of a Secret is not repeated."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest
from lightkube import ApiError
from lightkube.models.meta_v1 import Status, StatusCause, StatusDetails

from agent.controller.external_secrets.cluster import Absent, Cluster, Trouble, Unreadable, said, text_of
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


# -- an API server that is asked too much, or is not there


class Answering(Api):
    """Raises these, one a call, before it answers."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__({"metadata": {"name": "web", "namespace": "shop"}})
        self.errors = list(errors)

    def __getattr__(self, name: str) -> Any:
        inner = super().__getattr__(name)

        async def call(*given: Any, **named: Any) -> Any:
            found = await inner(*given, **named)
            if self.errors:
                raise self.errors.pop(0)
            return found

        return call


def throttled(seconds: str | None) -> httpx2.HTTPStatusError:
    headers = {} if seconds is None else {"Retry-After": seconds}
    request = httpx2.Request("GET", "http://127.0.0.1/")
    return httpx2.HTTPStatusError("x", request=request, response=httpx2.Response(429, headers=headers))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were slept; time goes on by them alone."""
    slept: list[float] = []
    clock = time.monotonic

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("agent.controller.external_secrets.cluster.asyncio.sleep", sleep)
    monkeypatch.setattr("agent.controller.external_secrets.cluster.time.monotonic", lambda: clock() + sum(slept))
    return slept


def test_who_is_asked_to_wait_waits_and_asks_again(slept: list[float]) -> None:
    api = Answering(throttled("7"), throttled("2"))
    asked: list[str] = []
    cluster = Cluster(api, api, lambda: asked.append("who leads"))
    assert asyncio.run(cluster.apply(("shop", "web"), {}, "freshmount")) == api.found
    assert [call[0] for call in api.calls] == ["patch"] * 3
    assert len(asked) == 3, "who leads may have changed meanwhile"
    assert 9.0 <= sum(slept) <= 11.0


def test_who_is_asked_to_wait_gives_up_after_a_few_times(slept: list[float]) -> None:
    api = Answering(*[throttled("999999")] * 9)
    with pytest.raises(httpx2.HTTPStatusError):
        asyncio.run(Cluster(api, api, leads).secret(("shop", "web")))
    assert len(api.calls) == 4
    assert max(slept) <= 31.0


def test_a_refusal_that_names_no_time_is_not_repeated(slept: list[float]) -> None:
    api = Answering(throttled(None))
    with pytest.raises(httpx2.HTTPStatusError):
        asyncio.run(Cluster(api, api, leads).secret(("shop", "web")))
    assert (len(api.calls), slept) == (1, [])


def test_while_one_waits_no_other_asks(slept: list[float]) -> None:
    api = Answering(throttled("7"))

    async def test() -> None:
        cluster = Cluster(api, api, leads)
        await asyncio.gather(cluster.secret(("shop", "web")), cluster.secret(("shop", "other")))
        assert len(slept) >= 1

    asyncio.run(test())
    assert len(api.calls) == 3


@pytest.mark.parametrize(
    "error", [ValueError("CANARY"), json.JSONDecodeError("x", "CANARY", 0), KeyError("Content-Type")]
)
def test_what_is_no_answer_of_an_api_server_is_not_repeated_in_an_error(error: Exception) -> None:
    with pytest.raises(Unreadable) as raised:
        asyncio.run(Cluster(Answering(error), Api(), leads).values("Secret", ("shop", "web")))
    assert isinstance(raised.value, Trouble)
    assert raised.value.__context__ is None
    assert "CANARY" not in f"{raised.value!r} {said(raised.value)}"
