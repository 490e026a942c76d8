"""Whether stores can be used: what their status says, when they are looked at, and what is written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from agent.controller.external_secrets import checks, stores
from agent.controller.external_secrets.checks import Checks
from agent.controller.external_secrets.stores import VALID, Unfit, Verdict, invalid
from agent.controller.leader import NotLeader

NOW = "2026-02-02T00:00:00Z"
AT = ("shop", "aws")


def store(kind: str = "SecretStore", *, auth: Any = None, said: Verdict | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "aws", "uid": "s", **({"namespace": "shop"} if kind == "SecretStore" else {})}
    aws = {"service": "SecretsManager", "region": "eu-west-1", **({"auth": auth} if auth else {})}
    found: dict[str, Any] = {"kind": kind, "metadata": metadata, "spec": {"provider": {"aws": aws}, **spec}}
    if said is not None:
        found["status"] = stores.status(said, found, "2026-01-01T00:00:00Z")
    return found


def test_the_status_is_written_only_when_it_says_something_else() -> None:
    new = stores.status(VALID, store(), NOW)
    assert new is not None
    (condition,) = new["conditions"]
    assert new["capabilities"] == "ReadOnly"
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "True", "Valid")
    assert stores.status(VALID, store(said=VALID), NOW) is None
    theirs = store(said=VALID)
    theirs["status"]["capabilities"] = "ReadWrite"
    assert stores.status(VALID, theirs, NOW) == new | {
        "conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    }


def test_the_condition_keeps_since_when_it_is_so() -> None:
    other = stores.status(invalid("b"), store(said=invalid("a")), NOW)
    assert other is not None
    assert other["conditions"][0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert other["conditions"][0]["message"] == "b"
    turned = stores.status(invalid("b"), store(said=VALID), NOW)
    assert turned is not None
    assert turned["conditions"][0]["lastTransitionTime"] == NOW
    assert stores.verdict(store(said=invalid("a"))) == invalid("a")
    assert stores.verdict(store()) is None


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, 300.0), (60, 60.0), (1, 10.0), (0, 300.0), ("2m", 120.0), ("soon", 300.0)]
)
def test_how_often_it_is_looked_at(given: Any, seconds: float) -> None:
    assert stores.interval(store(refreshInterval=given)) == seconds


KEY = {
    "accessKeyIDSecretRef": {"name": "k", "key": "id", "namespace": "ops"},
    "secretAccessKeySecretRef": {"name": "k", "key": "key", "namespace": "ops"},
}
THEIR_KEY = {**KEY, "accessKeyIDSecretRef": {"name": "k", "key": "id"}}


@pytest.mark.parametrize(
    ("kind", "auth", "each"),
    [
        ("ClusterSecretStore", None, False),
        ("ClusterSecretStore", {"secretRef": KEY}, False),
        ("ClusterSecretStore", {"secretRef": THEIR_KEY}, True),
        ("ClusterSecretStore", {"jwt": {"serviceAccountRef": {"name": "r", "namespace": "ops"}}}, False),
        ("ClusterSecretStore", {"jwt": {"serviceAccountRef": {"name": "r"}}}, True),
        ("SecretStore", {"jwt": {"serviceAccountRef": {"name": "r"}}}, False),
    ],
)
def test_whether_each_namespace_gives_the_credentials(kind: str, auth: Any, each: bool) -> None:
    assert stores.of_each_namespace(store(kind, auth=auth)) is each


def test_one_whose_auth_is_wrong_is_said_to_be() -> None:
    with pytest.raises(Unfit, match="needs accessKeyIDSecretRef"):
        stores.of_each_namespace(store("ClusterSecretStore", auth={"secretRef": {"sessionTokenSecretRef": {}}}))


class Cluster:
    """What is written, and what it refuses."""

    def __init__(self) -> None:
        self.statuses: list[dict[str, Any]] = []
        self.events: list[tuple[str, bool]] = []
        self.refuses: Exception | None = None

    async def status(self, kind: Any, at: Any, uid: str, status: Mapping[str, Any]) -> None:
        if self.refuses:
            raise self.refuses
        self.statuses.append({"kind": kind, "at": at, "uid": uid, **status})

    async def event(self, of: Any, reason: str, message: str, *, warning: bool) -> None:
        self.events.append((reason, warning))


class Log:
    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, event: str, **_: Any) -> None:
        self.said.append(event)

    warning = error = info


class Running:
    """Checks of one store, whose looks end as `found` says."""

    def __init__(self, *found: Verdict | Exception, holds: dict[str, Any] | None = None) -> None:
        self.cluster, self.log, self.looks = Cluster(), Log(), 0
        self._found = list(found)
        self.store: dict[str, Any] | None = store() if holds is None else holds
        self.looked = asyncio.Event()
        self.checks = Checks(
            self.cluster,  # type: ignore[arg-type]
            self._examine,
            store=lambda *_: self.store,
            kind=lambda kind: kind,
            stamp=lambda: NOW,
            log=self.log,
        )

    async def _examine(self, found: Mapping[str, Any]) -> Verdict:
        self.looks += 1
        if len(self._found) == 1:
            self.looked.set()
        answer = self._found.pop(0) if len(self._found) > 1 else self._found[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def until_looked(self) -> None:
        self.checks.add("SecretStore", AT)
        task = asyncio.create_task(self.checks.run(lambda: True))
        async with asyncio.timeout(60):
            await self.looked.wait()
            for _ in range(5):  # nothing that it waits for here takes longer than its turn
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_look_is_written_with_an_event_and_the_same_one_is_not() -> None:
    async def scenario() -> None:
        running = Running(VALID)
        await running.until_looked()
        (status,) = running.cluster.statuses
        assert (status["kind"], status["at"], status["uid"]) == ("SecretStore", AT, "s")
        assert running.cluster.events == [("Valid", False)]
        again = Running(VALID, holds=store(said=VALID))
        await again.until_looked()
        assert (again.cluster.statuses, again.cluster.events, again.log.said) == ([], [], [])

    asyncio.run(scenario())


def test_one_that_cannot_be_used_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_SOONEST", 0.001)

    async def scenario() -> None:
        running = Running(invalid("no role"), OSError("away"), VALID)
        await running.until_looked()
        assert running.looks == 3
        assert running.cluster.events == [("InvalidProviderConfig", True), ("Valid", False)]
        assert [each["conditions"][0]["status"] for each in running.cluster.statuses] == ["False", "True"]
        assert "cannot look at a store" in running.log.said

    asyncio.run(scenario())


@pytest.mark.parametrize("why", ["gone", "does not lead"])
def test_what_is_not_ours_is_left_alone(why: str) -> None:
    async def scenario() -> None:
        running = Running(VALID)
        if why == "gone":
            running.store = None
            running.looked.set()
        else:
            running.cluster.refuses = NotLeader()
        await running.until_looked()
        assert running.cluster.statuses == []
        assert running.looks == (0 if why == "gone" else 1)

    asyncio.run(scenario())
