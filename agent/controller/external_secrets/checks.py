"""Whether each store can be used, as its status says.

A store is looked at when it is new or has changed, when an ExternalSecret finds it otherwise than its status says, and
every five minutes or as often as it says. Only the leader does; nothing is written while nothing changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
from lightkube import ApiError

from agent.controller import jitter
from agent.controller.external_secrets import stores
from agent.controller.external_secrets.asked import StoreRef
from agent.controller.external_secrets.cluster import Cluster, said
from agent.controller.external_secrets.kinds import Key
from agent.controller.external_secrets.queue import Groups, Queue
from agent.controller.external_secrets.stores import Verdict
from agent.controller.leader import NotLeader
from agent.core.ports import Log

_TURN = 5.0  # seconds of one turn of the loop at most

_LONGEST = 60.0  # seconds of one look; AWS's and the API server's own limits are far shorter

_SOONEST, _LATEST = 2.0, 300.0  # seconds until a store that cannot be used is looked at again

_AT_ONCE, _NAMESPACE = 16, 4  # looks at once, of all and of one namespace


class Checks:
    """The looks at stores. Of one event loop."""

    def __init__(
        self,
        cluster: Cluster,
        examine: Callable[[Mapping[str, Any]], Awaitable[Verdict]],
        *,
        store: Callable[[str, Key], Mapping[str, Any] | None],
        kind: Callable[[str], Any],
        stamp: Callable[[], str],
        log: Log,
    ) -> None:
        """`store` finds a store of this controller's, `kind` is its kind as lightkube has it, `stamp` is the time."""
        self._cluster, self._examine, self._log = cluster, examine, log
        self._store, self._kind, self._stamp = store, kind, stamp
        self._queue: Queue[tuple[str, Key]] = Queue(_groups)
        self._failures: dict[tuple[str, Key], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, kind: str, at: Key) -> None:
        """Look at a store as soon as there is room."""
        self._queue.add((kind, at))

    def of(self, ref: StoreRef, namespace: str) -> tuple[str, Key]:
        """The store that an ExternalSecret of that namespace names."""
        return ref[0], ("" if ref[0] == "ClusterSecretStore" else namespace, ref[1])

    async def run(self, leads: Callable[[], bool]) -> None:
        """Look at what is due, while this process leads."""
        try:
            while True:
                if not leads():
                    await asyncio.sleep(0.1)
                    continue
                due = await self._queue.next(_TURN)
                if due is not None:
                    task = asyncio.create_task(self._one(*due))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _one(self, kind: str, at: Key) -> None:
        """One look, whatever becomes of it."""
        delay: float | None = None
        try:
            async with asyncio.timeout(_LONGEST):
                delay = await self._look(kind, at)
        except NotLeader:
            pass
        except (ApiError, httpx2.HTTPError, OSError, TimeoutError) as error:
            delay = self._backoff(kind, at)
            self._log.warning("cannot look at a store", kind=kind, namespace=at[0], name=at[1], error=said(error))
        except Exception as error:
            delay = self._backoff(kind, at)
            self._log.error("a look failed by a bug", kind=kind, namespace=at[0], name=at[1], exc_info=error)
        finally:
            self._queue.done((kind, at))
        if delay is not None:
            self._queue.add((kind, at), delay)

    async def _look(self, kind: str, at: Key) -> float | None:
        """Look at a store and write its status. Returns in how many seconds it is looked at again."""
        store = self._store(kind, at)
        if store is None:
            self._failures.pop((kind, at), None)
            return None
        found = await self._examine(store)
        status = stores.status(found, store, self._stamp())
        if status is not None:
            if stores.verdict(store) != found:
                tell = self._log.info if found.ready else self._log.warning
                tell("store", kind=kind, namespace=at[0], name=at[1], ready=found.ready, message=found.message)
                await self._cluster.event(store, found.reason, found.message, warning=not found.ready)
            await self._cluster.status(self._kind(kind), at, str(store["metadata"]["uid"]), status)
        if not found.ready:
            return self._backoff(kind, at)
        self._failures.pop((kind, at), None)
        return stores.interval(store) * jitter.between(0.9, 1.1)

    def _backoff(self, kind: str, at: Key) -> float:
        count = self._failures[kind, at] = self._failures.get((kind, at), 0) + 1
        return float(min(_LATEST, _SOONEST * 2.0 ** min(count - 1, 20)) * jitter.between(0.5, 1.0))


def _groups(of: tuple[str, Key]) -> Groups:
    return {"all": _AT_ONCE, ("namespace", of[1][0]): _NAMESPACE}
