"""Calls that block, in lanes: what hangs holds up nobody else, and no error of one is another's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from agent.controller.external_secrets import asking as asking_module
from agent.controller.external_secrets.asking import Asking
from agent.core.errors import Failure
from agent.core.model import Answers, Call, Observation, Place, Request, Rotation, Secret
from agent.core.value import Fetched
from tests.support import words


class Source:
    """Answers each batch of one, or hangs where a place says so."""

    def __init__(self, limit: float = 60.0) -> None:
        self.limit = limit
        self.go_on = threading.Event()
        self.asked: list[str] = []

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        return [(request,) for request in requests]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        (request,) = batch
        self.asked.append(request.secret.name)
        match request.secret.ref.place.region:
            case "hangs":
                self.go_on.wait(60)
            case "raises":
                raise ValueError("CANARY")
            case "fails":
                return Answers({request.secret.name: Failure("access_denied", "no")}, ())
        found = Observation("v1", ("AWSCURRENT",), Rotation(None, None, None))
        return Answers({request.secret.name: found}, (Call("secretsmanager", "DescribeSecret", "OK", 0.1),))

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        return Answers({request.secret.name: words.fetched(request.version_id or "current") for request in batch})

    def identity(self, seconds: float) -> Any: ...

    def present_identity(self) -> None: ...


def secret(name: str, region: str = "eu-west-1", **fields: Any) -> Secret:
    return words.secret(name, place=Place(region, None), **fields)


def test_each_gets_its_own_answer() -> None:
    source, calls = Source(), list[Call]()
    secrets = [secret("a"), secret("b", "raises"), secret("c", "fails")]
    found = asyncio.run(Asking(source, calls.extend).observe(secrets, "n"))
    assert isinstance(found["a"], Observation)
    assert [answer.reason for name in "bc" if isinstance(answer := found[name], Failure)] == ["other", "access_denied"]
    assert "CANARY" not in str(found)
    assert sorted(call.code for call in calls) == ["OK", "unknown"]


def test_what_hangs_holds_up_no_other_place_or_namespace() -> None:
    source = Source(limit=0.3)
    asking = Asking(source, lambda _: None)

    async def test() -> None:
        hanging = [secret(f"h{number}", "hangs") for number in range(300)]
        waiting = asyncio.create_task(asking.observe(hanging, "slow"))
        while len(source.asked) < 6:
            await asyncio.sleep(0.01)
        while isinstance((await asking.observe([secret("a")], "n"))["a"], Failure):
            await asyncio.sleep(0.01)  # a machine that is busy for longer than the limit
        assert not source.go_on.is_set()
        answers = await waiting
        assert {answer.reason for answer in answers.values() if isinstance(answer, Failure)} == {"timeout"}
        assert sum(name.startswith("h") for name in source.asked) == 6, "no thread more than its share"
        source.go_on.set()
        while isinstance((await asking.observe([secret("b", "hangs")], "slow"))["b"], Failure):
            await asyncio.sleep(0.01)

    asyncio.run(test())


def test_waiting_for_room_is_no_failure_while_a_lane_moves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve calls one after the other, each a quarter of the limit: the last waits for longer than that."""
    monkeypatch.setattr(asking_module, "_LANE", 1)

    class Slow(Source):
        def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
            time.sleep(self.limit / 4)
            return super().observe(batch)

    asking = Asking(Slow(limit=2.0), lambda _: None)
    answers = asyncio.run(asking.observe([secret(f"s-{number}") for number in range(12)], "n"))
    late = [name for name, answer in answers.items() if isinstance(answer, Failure)]
    assert len(late) < 3, "only a machine that is busy makes a call late"


def test_a_fixed_version_is_fetched_and_not_observed() -> None:
    source = Source()
    asking = Asking(source, lambda _: None)
    fixed = secret("a", version_id="v7", version_stage=None)
    assert asyncio.run(asking.observe([fixed], "n")) == {}
    fetched = asyncio.run(asking.fetch([fixed], "n"))["a"]
    assert isinstance(fetched, Fetched)
    assert fetched.version_id == "v7"


def test_what_would_fill_the_memory_is_not_fetched_to_its_end() -> None:
    source, many = Source(), 200

    def fetch(batch: tuple[Request, ...]) -> Answers[Fetched]:
        (request,) = batch
        source.asked.append(request.secret.name)
        return Answers({request.secret.name: words.fetched("v1", "x" * 65_536)})

    source.fetch = fetch  # type: ignore[method-assign]
    asking = Asking(source, lambda _: None)
    found = asyncio.run(asking.fetch([secret(f"s{number}") for number in range(many)], "n"))
    assert len(found) == many
    assert {answer.reason for answer in found.values() if isinstance(answer, Failure)} == {"projection"}
    assert len(source.asked) < many // 2
    again = asyncio.run(Asking(source, lambda _: None).fetch([secret(f"s{number}") for number in range(20)], "n"))
    assert not any(isinstance(answer, Failure) for answer in again.values())
