"""AWS for many ExternalSecrets at once: calls that block, in threads, so that what hangs holds up nobody else.

A lane is a `Place`: an account, a region, whose credentials. Each has a few threads at most, of which one namespace has
fewer, so that those who share a lane take turns. A call that outlives its limit is given up; its thread stays taken
until it ends, in its lane. While a lane moves on, waiting for room does not fail.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from agent.core.errors import Failure
from agent.core.model import CALLS, Answers, Call, Observation, Place, Request, Secret
from agent.core.ports import Source
from agent.core.value import Fetched

_SHARE, _NAMESPACE, _LANE, _THREADS = 6, 32, 16, 256  # calls at once: of a namespace in a lane, of each, of all

MOST = 2 << 20  # bytes of all values that one Secret is made of: twice what it may hold

_log = logging.getLogger(__name__)

R = TypeVar("R", Observation, Fetched)

_LATE = Failure("timeout", "AWS did not answer within the time of one call; asked again when the backoff is due")

_TOO_MUCH = Failure("projection", f"its secrets have more than {MOST >> 20} MiB in all; divide it")

_NOT_READ = Failure("other", "what was answered could not be read; the log at level debug says where")


class Asking:
    """Asks a source in threads. Of one event loop."""

    def __init__(self, source: Source, called: Callable[[Sequence[Call]], None]) -> None:
        """`called` is called with the calls that were made, to count them."""
        self._source, self._called = source, called
        self._threads = ThreadPoolExecutor(_THREADS, "aws")
        self._gates: dict[Hashable, asyncio.Semaphore] = {}
        self._users: Counter[Hashable] = Counter()
        self._freed: dict[Hashable, float] = {}  # when room was last made (monotonic)

    async def observe(self, secrets: Sequence[Secret], namespace: str) -> dict[str, Observation | Failure]:
        """For each which version is wanted now. A fixed version is not asked for."""
        asked = [Request(secret) for secret in secrets if secret.ref.version_id is None]
        return await self._ask(asked, self._source.observe, namespace, fetching=False)

    async def fetch(self, secrets: Sequence[Secret], namespace: str) -> dict[str, Fetched | Failure]:
        """The value of the version of each that is wanted now, or of its fixed version. When all that have come are
        larger than MOST, nothing more is asked."""
        asked = [Request(secret, secret.ref.version_id) for secret in secrets]
        return await self._ask(asked, partial(_within, [MOST], self._source.fetch), namespace, fetching=True)

    async def beside(self, place: Place, namespace: str, call: Callable[[], Sequence[Call]]) -> None:
        """Make another call that blocks, in the lane of a place, and count the calls to AWS that it returns. Raises
        TimeoutError, or what it raises."""
        self._called(await self._in_thread((place, namespace), call, self._source.limit))

    async def _ask(
        self,
        requests: list[Request],
        how: Callable[[tuple[Request, ...]], Answers[R]],
        namespace: str,
        *,
        fetching: bool,
    ) -> dict[str, R | Failure]:
        batches = self._source.batches(requests) if requests else []
        answers = await asyncio.gather(*(self._one(batch, how, namespace, fetching=fetching) for batch in batches))
        return {name: answer for answered in answers for name, answer in answered.items()}

    async def _one(
        self,
        batch: tuple[Request, ...],
        how: Callable[[tuple[Request, ...]], Answers[R]],
        namespace: str,
        *,
        fetching: bool,
    ) -> dict[str, R | Failure]:
        limit, names = self._source.limit, [request.secret.name for request in batch]
        source, *operations = CALLS[batch[0].secret.ref.kind]
        try:
            answers = await self._in_thread((batch[0].secret.ref.place, namespace), partial(how, batch), limit)
        except TimeoutError:
            self._called([Call(source, operations[fetching], "timeout", limit)])
            return dict.fromkeys(names, _LATE)
        except Exception as error:
            _log.debug("a call failed", exc_info=error)
            self._called([Call(source, operations[fetching], "unknown", 0.0)])
            return dict.fromkeys(names, _NOT_READ)
        self._called(answers.calls)
        return {name: answers.results.get(name, _NOT_READ) for name in names}

    async def _in_thread(self, lane: tuple[Hashable, Hashable], call: Callable[[], Any], limit: float) -> Any:
        """What a call returns. Raises TimeoutError, also where no room is made for it, or what it raises."""
        entered: list[Hashable] = []
        try:
            place, namespace = lane
            for gate, most in (
                (("share", place, namespace), _SHARE),
                (("namespace", namespace), _NAMESPACE),
                (("place", place), _LANE),
            ):
                await self._enter(gate, most, limit)
                entered.append(gate)
        except BaseException:
            self._leave(entered)
            raise
        future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        future.add_done_callback(lambda done: self._ended(done, entered))
        async with asyncio.timeout(limit):
            return await asyncio.shield(future)

    async def _enter(self, gate: Hashable, most: int, limit: float) -> None:
        self._users[gate] += 1
        room = self._gates.setdefault(gate, asyncio.Semaphore(most))
        try:
            while True:
                since = time.monotonic()
                try:
                    async with asyncio.timeout(limit):
                        await room.acquire()
                        return
                except TimeoutError:
                    if self._freed.get(gate, 0.0) < since:
                        raise
        except BaseException:
            self._used(gate)
            raise

    def _leave(self, entered: Sequence[Hashable]) -> None:
        for gate in entered:
            self._gates[gate].release()
            self._freed[gate] = time.monotonic()
            self._used(gate)

    def _used(self, gate: Hashable) -> None:
        self._users[gate] -= 1
        if not self._users[gate]:
            del self._users[gate], self._gates[gate]
            self._freed.pop(gate, None)

    def _ended(self, done: asyncio.Future[Any], entered: Sequence[Hashable]) -> None:
        if not done.cancelled():
            done.exception()  # that of a call that was given up is nobody's
        self._leave(entered)


def _within(
    left: list[int], how: Callable[[tuple[Request, ...]], Answers[Fetched]], batch: tuple[Request, ...]
) -> Answers[Fetched]:
    """Ask, if that many bytes are left, and take off what has come."""
    if left[0] < 0:
        return Answers({request.secret.name: _TOO_MUCH for request in batch})
    answers = how(batch)
    left[0] -= sum(len(each.value) for each in answers.results.values() if isinstance(each, Fetched))
    return answers
