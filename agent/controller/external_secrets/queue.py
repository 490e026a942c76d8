"""What must be done next. Each key waits for its time, is worked on once at a time, and never alone decides who waits.

A key belongs to groups, such as its namespace and its store. Of each group so many are worked on at once: those who
wait for a store that hangs, or of a namespace that asks for much, take nothing from others.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

Groups = Mapping[Hashable, int]  # with the most of each that are worked on at once


class Queue(Generic[K]):
    """Keys by the time when they are due. Of one event loop."""

    def __init__(self, groups: Callable[[K], Groups], now: Callable[[], float] = time.monotonic) -> None:
        self._groups, self._now = groups, now
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = itertools.count()
        self._running: dict[K, tuple[float, Groups]] = {}
        self._again: dict[K, float] = {}
        self._taken: Counter[Hashable] = Counter()
        self._blocked: dict[Hashable, deque[K]] = {}
        self._woken = asyncio.Event()

    def add(self, key: K, delay: float = 0.0) -> None:
        """Let a key be due in so many seconds, if it is not sooner. One that is worked on is due again afterwards."""
        due = self._now() + delay
        if key in self._running:
            self._again[key] = min(due, self._again.get(key, due))
        elif due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._count), key))
            self._woken.set()

    def drop(self, key: K) -> None:
        """Forget a key that waits."""
        self._due.pop(key, None)
        self._again.pop(key, None)

    async def next(self, patience: float) -> K | None:
        """The next key that is due and whose groups have room; it is worked on until `done`. None after so many
        seconds without one."""
        ends = self._now() + patience
        while True:
            if (key := self._ready()) is not None:
                return key
            soonest = min(ends, self._heap[0][0] if self._heap else ends)
            self._woken.clear()
            if (left := soonest - self._now()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):  # wait_for of Python 3.11 may swallow a cancellation
                        await self._woken.wait()
            if self._now() >= ends:
                return self._ready()

    def _ready(self) -> K | None:
        while self._heap and self._heap[0][0] <= self._now():
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) != due:
                continue
            groups = self._groups(key)
            full = next((group for group, most in groups.items() if self._taken[group] >= most), None)
            if full is not None:
                self._blocked.setdefault(full, deque()).append(key)
                for group in groups:
                    if group != full:
                        self._release(group)  # the room that it would have taken is another's
                continue
            del self._due[key]
            self._running[key] = self._now(), groups
            self._taken.update(groups.keys())
            return key
        return None

    def done(self, key: K) -> None:
        """A key is no longer worked on."""
        _, groups = self._running.pop(key)
        for group in groups:
            self._taken[group] -= 1
            if not self._taken[group]:
                del self._taken[group]
            self._release(group)
        if (again := self._again.pop(key, None)) is not None:
            self.add(key, max(0.0, again - self._now()))
        self._woken.set()

    def _release(self, group: Hashable) -> None:
        """Let the first of those who wait for room in a group try again."""
        while waiting := self._blocked.get(group):
            first = waiting.popleft()
            if not waiting:
                del self._blocked[group]
            if first in self._due:
                heapq.heappush(self._heap, (self._due[first], next(self._count), first))
                return

    @property
    def running(self) -> Mapping[K, float]:
        """Since when each key is worked on."""
        return {key: since for key, (since, _) in self._running.items()}

    @property
    def waiting(self) -> int:
        """How many keys are due and are not worked on yet."""
        now = self._now()
        return sum(due <= now for due in self._due.values())
