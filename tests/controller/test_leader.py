"""Who leads, by a Lease that is kept in memory here, and clocks that a test sets."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from lightkube import ApiError
from lightkube.models.meta_v1 import Status

from agent.controller.leader import LENGTH, Leader, NotLeader


class Log:
    def info(self, *_: Any, **__: Any) -> None: ...

    warning = error = info


class Leases:
    """What the API server holds, with its check of versions. `away`: it does not answer."""

    def __init__(self) -> None:
        self.held: dict[str, Any] | None = None
        self.version, self.away = 0, False

    def _check(self) -> None:
        if self.away:
            raise OSError("away")

    async def get(self, _kind: Any, _name: str, *, namespace: str) -> Any:
        self._check()
        if self.held is None:
            raise ApiError(status=Status(code=404, reason="NotFound"))
        return copy.deepcopy(self.held)

    async def create(self, made: Any, *, namespace: str) -> None:
        self._check()
        if self.held is not None:
            raise ApiError(status=Status(code=409, reason="AlreadyExists"))
        self._put(made)

    async def replace(self, made: Any, *, namespace: str) -> None:
        self._check()
        if self.held is None or made["metadata"]["resourceVersion"] != self.held["metadata"]["resourceVersion"]:
            raise ApiError(status=Status(code=409, reason="Conflict"))
        self._put(made)

    def _put(self, made: Any) -> None:
        self.version += 1
        self.held = {**made, "metadata": {**made["metadata"], "resourceVersion": str(self.version)}}


class Replica:
    def __init__(self, leases: Leases, name: str) -> None:
        self.now, self.changes = 0.0, list[bool]()
        self.leader = Leader(
            leases,
            namespace="n",
            name="lease",
            identity=name,
            log=Log(),
            changed=self.changes.append,
            now=lambda: self.now,
        )

    async def turn(self) -> bool:
        """One look, as the loop has it."""
        task = asyncio.create_task(self.leader.run())
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return self.leader.leads


def test_one_leads_and_another_waits_until_it_is_silent() -> None:
    async def test() -> None:
        leases = Leases()
        one, two = Replica(leases, "one"), Replica(leases, "two")
        assert await one.turn()
        assert not await two.turn()
        two.now = LENGTH - 1
        assert not await two.turn()
        one.now = 5.0
        assert await one.turn()
        two.now = LENGTH + 1
        assert not await two.turn(), "it was renewed meanwhile"
        two.now = 2 * LENGTH + 2
        assert await two.turn()
        one.now = 3.0 * LENGTH
        assert not await one.turn()
        assert (one.changes, two.changes) == ([True, False], [True])

    asyncio.run(test())


def test_one_that_was_paused_knows_before_it_writes() -> None:
    """Nobody has to say it: its own clock has gone on."""

    async def test() -> None:
        one = Replica(Leases(), "one")
        assert await one.turn()
        one.leader.check()
        one.now = 9.9
        one.leader.check()
        one.now = 10.1
        with pytest.raises(NotLeader):
            one.leader.check()

    asyncio.run(test())


def test_it_stops_writing_before_another_may_take_the_lease() -> None:
    async def test() -> None:
        leases = Leases()
        one, two = Replica(leases, "one"), Replica(leases, "two")
        await one.turn()
        await two.turn()
        leases.away = True
        for second in range(LENGTH + 5):
            one.now = two.now = float(second)
            leases.away = second < LENGTH
            assert not (await one.turn() and await two.turn())

    asyncio.run(test())


def test_a_lease_that_is_given_up_is_taken_at_once() -> None:
    async def test() -> None:
        leases = Leases()
        one, two = Replica(leases, "one"), Replica(leases, "two")
        await one.turn()
        assert not await two.turn()
        await one.leader.release()
        assert not one.leader.leads
        assert await two.turn()

    asyncio.run(test())


def test_without_election_it_always_leads() -> None:
    async def test() -> None:
        alone = Replica(Leases(), "one")
        alone.leader = Leader(
            None, namespace="", name="", identity="", log=Log(), changed=alone.changes.append, now=lambda: 1e9
        )
        assert await alone.turn()
        assert alone.changes == [True]

    asyncio.run(test())


@pytest.mark.parametrize("error", [ValueError("no JSON"), KeyError("Content-Type"), ApiError(status=Status(code=429))])
def test_whatever_is_answered_it_ceases_to_write_and_goes_on(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        leases = Leases()
        one = Replica(leases, "one")
        assert await one.turn()
        one.now += LENGTH

        def raises() -> None:
            raise error

        monkeypatch.setattr(leases, "_check", raises)
        assert not await one.turn()
        monkeypatch.undo()
        assert await one.turn()
        assert one.changes == [True, False, True]

    asyncio.run(test())
