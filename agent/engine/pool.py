"""Many blocking calls at once, each for a bounded time.

Calls of boto3 and urllib3 block, and a thread cannot be ended from outside. So the caller gives up on a call that
exceeds its limit, while its thread goes on; until that ends, the same call is not made again. Otherwise each pass would
lose one more thread to a server that sends its answer byte by byte, and a target could be notified twice.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from agent.core.record import Record

IN_FLIGHT = 8  # calls of one lane that are waited for at once, at most

_IN_TURN = 4  # calls that may take turns before another thread joins in: with its TLS connection it costs 0.5 MiB

_SLOW = 0.25  # seconds after which others no longer wait for a call to end

_OUTLIVED = 24  # more threads, for calls that exceeded their limit; when all are taken, no further call is made

_THREADS = IN_FLIGHT + _OUTLIVED

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
        self._threads = ThreadPoolExecutor(_THREADS, name)
        self._keeps_late = keeps_late
        self._outlived: dict[str, Future[Any]] = {}
        self._lanes: dict[str, Hashable] = {}  # of each name that was ever asked

    def ask(
        self,
        asks: Mapping[str, Callable[[], R]],
        *,
        each: float,
        total: float,
        stopped: Callable[[], bool],
        lanes: Mapping[str, Hashable] | None = None,
    ) -> Iterator[tuple[str, R | Unanswered | Raised]]:
        """Each name with its answer, in the order of arrival.

        `each` is the limit of one call and `total` that of all, in seconds. When a stop is asked for, the rest is late
        at once. An exception of a call is its answer: no server, proxy or process ends the caller.

        `lanes` says what each name depends on, such as one account in one region. Lanes share the threads evenly, those
        that hang in calls that were given up included: one that hangs takes none from another. Nor does it take their
        time: where there are several, none begins a call later than after `each`.
        """
        end = time.monotonic() + total
        lanes = lanes or {}
        self._lanes.update({name: lanes.get(name) for name in asks})
        answered, left = self._from_before(asks)
        yield from answered
        waiting: dict[Hashable, deque[str]] = {}
        for name in left:
            waiting.setdefault(lanes.get(name), deque()).append(name)
        several = len({lanes.get(name) for name in asks})
        share = max(1, _THREADS // max(1, several))
        begun_by = end if several < 2 else time.monotonic() + each
        flying: dict[Future[R], tuple[str, float]] = {}
        at_once = max(2, min(IN_FLIGHT, len(left) // _IN_TURN))
        while (flying or any(waiting.values())) and not stopped() and (now := time.monotonic()) < end:
            quick = sum(now < limit - each + _SLOW for _, limit in flying.values())
            most = at_once - quick if now <= begun_by else 0
            for name in self._next(waiting, [name for name, _ in flying.values()], share, most):
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
        for name in itertools.chain.from_iterable(waiting.values()):
            yield name, Unanswered(asked=False)

    @property
    def busy(self) -> bool:
        """Whether something would be lost with this process: a call in flight, or a late answer that is kept."""
        return any(self._keeps_late or not future.done() for future in self._outlived.values())

    def _from_before(
        self, asks: Mapping[str, Callable[[], R]]
    ) -> tuple[list[tuple[str, R | Unanswered | Raised]], list[str]]:
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
        return answered, [name for name in asks if name not in known]

    def _next(self, waiting: Mapping[Hashable, deque[str]], flying: Iterable[str], share: int, most: int) -> list[str]:
        """The names to ask now, `most` at most, taken from `waiting`: those of the lane with the fewest calls in flight
        first. A lane has at most IN_FLIGHT, and no more than its share of the threads."""
        in_flight = Counter(self._lanes[name] for name in flying)
        taken = in_flight + Counter(self._lanes[name] for name, each in self._outlived.items() if not each.done())
        chosen: list[str] = []
        for _ in range(min(most, _THREADS - taken.total())):
            able = [lane for lane in waiting if waiting[lane] and in_flight[lane] < IN_FLIGHT and taken[lane] < share]
            if not able:
                break
            lane = min(able, key=in_flight.__getitem__)
            in_flight[lane] += 1
            taken[lane] += 1
            chosen.append(waiting[lane].popleft())
        return chosen

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
