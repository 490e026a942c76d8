"""Many blocking calls at once, each for a bounded time.

Calls of boto3 and urllib3 block, and a thread cannot be ended from outside. So the caller gives up on a call that
exceeds its limit, while its thread goes on; until that ends, the same call is not made again. Otherwise each pass would
lose one more thread to a server that sends its answer byte by byte, and a target could be notified twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from agent.core.record import Record

IN_FLIGHT = 8  # calls that are waited for at once, at most

_IN_TURN = 4  # calls that may take turns before another thread joins in: with its TLS connection it costs 0.5 MiB

_SLOW = 0.25  # seconds after which others no longer wait for a call to end

_OUTLIVED = 24  # more threads, for calls that exceeded their limit; when all are taken, no further call is made

_TICK = 0.1  # seconds until a stop is noticed, at most

R = TypeVar("R")


class Unanswered(Record):
    """No answer in time. `asked` False: the call was not made, since an earlier one is in flight or no time was
    left."""

    asked: bool


class Raised(Record):
    """The call raised this. Other programs may answer anything, so a call may raise anything."""

    error: Exception


class Pool:
    """Threads for calls that block, used by one thread.

    With `keeps_late` an answer that came after its limit is the answer to the next call of the same name: a target that
    was notified is not notified again. Without it, a late answer is dropped: what AWS said minutes ago is outdated.
    """

    def __init__(self, name: str, *, keeps_late: bool = False) -> None:
        self._threads = ThreadPoolExecutor(IN_FLIGHT + _OUTLIVED, name)
        self._keeps_late = keeps_late
        self._outlived: dict[str, Future[Any]] = {}

    def ask(
        self, asks: Mapping[str, Callable[[], R]], *, each: float, total: float, stopped: Callable[[], bool]
    ) -> Iterator[tuple[str, R | Unanswered | Raised]]:
        """Each name with its answer, in the order of arrival.

        `each` is the limit of one call and `total` that of all, in seconds. When a stop is asked for, the rest is late
        at once. An exception of a call is its answer: no server, proxy or process ends the caller.
        """
        end = time.monotonic() + total
        answered, waiting = self._from_before(asks)
        yield from answered
        flying: dict[Future[R], tuple[str, float]] = {}
        at_once = max(2, min(IN_FLIGHT, len(waiting) // _IN_TURN))
        while (waiting or flying) and not stopped() and (now := time.monotonic()) < end:
            free = min(IN_FLIGHT, IN_FLIGHT + _OUTLIVED - self._taken())
            quick = sum(now < limit - each + _SLOW for _, limit in flying.values())
            for _ in range(min(len(waiting), free - len(flying), at_once - quick)):
                name = waiting.popleft()
                flying[self._threads.submit(asks[name])] = name, now + each
            if not flying:
                break
            soonest = min(limit for _, limit in flying.values())
            done, _ = wait(flying, max(0.0, min(_TICK, end - now, soonest - now)), FIRST_COMPLETED)
            for future in done:
                yield flying.pop(future)[0], _answer(future)
            for future, (name, limit) in list(flying.items()):
                if limit <= time.monotonic():
                    del flying[future]
                    yield self._give_up(name, future)
        for future, (name, _) in flying.items():
            yield self._give_up(name, future)
        for name in waiting:
            yield name, Unanswered(asked=False)

    @property
    def busy(self) -> bool:
        """Whether something would be lost with this process: a call in flight, or a late answer that is kept."""
        return any(self._keeps_late or not future.done() for future in self._outlived.values())

    def _from_before(
        self, asks: Mapping[str, Callable[[], R]]
    ) -> tuple[list[tuple[str, R | Unanswered | Raised]], deque[str]]:
        """The answers of earlier calls for these names, and the names that must be asked now."""
        answered: list[tuple[str, R | Unanswered | Raised]] = []
        for name, future in list(self._outlived.items()):
            if not future.done():
                if name in asks:
                    answered.append((name, Unanswered(asked=False)))
            elif not self._keeps_late:
                del self._outlived[name]
            elif name in asks:
                del self._outlived[name]
                answered.append((name, _answer(future)))
        known = {name for name, _ in answered}
        return answered, deque(name for name in asks if name not in known)

    def _taken(self) -> int:
        """The number of threads that hang in calls that were given up."""
        return sum(not future.done() for future in self._outlived.values())

    def _give_up(self, name: str, future: Future[Any]) -> tuple[str, Unanswered]:
        self._outlived[name] = future
        return name, Unanswered(asked=True)


def _answer(future: Future[Any]) -> Any:
    """The result of a call that has ended. An exit or an interrupt is not an answer, and is raised."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, Exception):
        return Raised(error)
    raise error
