"""The order of work: each key once at a time, groups with their share, nobody starved."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from agent.controller.external_secrets.queue import Groups, Queue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def taken(queue: Queue[str]) -> list[str]:
    """All that can be taken now."""
    found = []
    while (key := await queue.next(0.0)) is not None:
        found.append(key)
    return found


def test_a_key_is_worked_on_once_at_a_time_and_again_afterwards() -> None:
    async def test() -> None:
        queue: Queue[str] = Queue(lambda _: {})
        queue.add("a")
        queue.add("a")
        assert await taken(queue) == ["a"]
        queue.add("a")
        assert await taken(queue) == []
        queue.done("a")
        assert await taken(queue) == ["a"]
        queue.done("a")
        assert await taken(queue) == []

    run(test())


def test_the_sooner_time_counts() -> None:
    async def test() -> None:
        clock = Clock()
        queue: Queue[str] = Queue(lambda _: {}, clock)
        queue.add("a", 10.0)
        queue.add("b", 5.0)
        queue.add("a", 1.0)
        queue.add("a", 20.0)
        clock.now = 2.0
        assert await taken(queue) == ["a"]
        queue.drop("b")
        clock.now = 50.0
        assert await taken(queue) == []

    run(test())


def test_a_group_that_hangs_takes_nothing_from_another() -> None:
    async def test() -> None:
        def groups(key: str) -> Groups:
            return {key[0]: 2}

        queue: Queue[str] = Queue(groups)
        for number in range(100):
            queue.add(f"a{number}")
        queue.add("b0")
        assert await taken(queue) == ["a0", "a1", "b0"]
        queue.done("a0")
        assert await taken(queue) == ["a2"]
        assert set(queue.running) == {"a1", "a2", "b0"}

    run(test())


def test_room_that_one_cannot_take_is_given_to_the_next() -> None:
    """`ax` waits for room in x, so that the room in a is for `ay`, although `ax` came first."""

    async def test() -> None:
        queue: Queue[str] = Queue(lambda key: {key[0]: 1, key[1]: 1})
        for key in ("bx", "az", "ax", "ay"):
            queue.add(key)
        assert await taken(queue) == ["bx", "az"]
        queue.done("az")
        assert await taken(queue) == ["ay"]
        queue.done("bx")
        queue.done("ay")
        assert await taken(queue) == ["ax"]

    run(test())


def test_it_wakes_for_what_is_added_meanwhile() -> None:
    async def test() -> None:
        queue: Queue[str] = Queue(lambda _: {})
        waiting = asyncio.create_task(queue.next(60.0))
        await asyncio.sleep(0)
        queue.add("a")
        assert await waiting == "a"

    run(test())
