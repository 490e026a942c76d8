"""What the API server holds of one kind, listed once and watched from then on.

A watch that ends is taken up where it ended. When the API server has forgotten that place (410), all is listed again:
what is gone by then is reported as gone. Nothing is ever read again only because time has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import httpx2
from lightkube import ApiError, AsyncClient

from agent.controller import jitter
from agent.controller.external_secrets.cluster import retry_after
from agent.controller.external_secrets.kinds import Key, key
from agent.core.ports import Log

T = TypeVar("T")

_WATCH = 120.0  # seconds of one watch, which differ by a quarter so that not all end together

_LATE = 20.0  # seconds after which the answer to a watch is given up: the connection is dead

_SHORTEST, _LONGEST = 0.2, 15.0  # seconds between two attempts

_CHUNK = 200  # objects of one answer, each of which may have a megabyte

GONE = 410


class Informer(Generic[T]):
    """A copy of the objects of a kind, in one namespace or in all, as `keep` makes them.

    `changed` is called, with what was there before and what is there now, whenever something came, changed or went.
    """

    def __init__(
        self,
        name: str,
        client: AsyncClient,
        kind: Any,
        *,
        keep: Callable[[dict[str, Any]], T],
        changed: Callable[[Key, T | None, T | None], None],
        log: Log,
        namespace: str | None = "*",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """`namespace` is one, or `*` for all; None for a kind that is in none."""
        self.name, self.synced = name, False
        self._client, self._kind, self._keep, self._changed, self._log = client, kind, keep, changed, log
        self._where: dict[str, Any] = {} if namespace is None else {"namespace": namespace}
        if labels:
            self._where["labels"] = dict(labels)
        self._items: dict[Key, tuple[int, T]] = {}
        self._version: str | None = None
        self._failed, self._expired = 0, 0

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._items))

    def get(self, at: Key) -> T | None:
        """The object of that name, if it is known."""
        found = self._items.get(at)
        return found[1] if found else None

    def put(self, found: dict[str, Any]) -> None:
        """Take in what a write has answered, unless the watch has come that far: then it has brought this state, and
        perhaps the end of the object since."""
        if _number(found["metadata"].get("resourceVersion")) > _number(self._version):
            self._take(found, gone=False)

    async def run(self) -> None:
        """List and watch until it is cancelled."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
                self._failed, self._expired = 0, 0
            except httpx2.HTTPStatusError as error:
                if _code(error) != GONE:
                    await self._pause(f"the API server answers {_code(error)}", retry_after(error))
                    continue
                self._version = None
                self._expired += 1
                if self._expired > 1:  # what was listed just now has expired already
                    await self._pause("the API server has forgotten what it listed just now")
            except Exception as error:
                # Whatever an answer brings about here, it must not end the process.
                await self._pause(type(error).__name__)

    async def _pause(self, why: str, least: float | None = None) -> None:
        self._failed += 1
        if self._failed in (1, 10):
            self._log.warning("cannot watch", kind=self.name, error=why, attempts=self._failed)
        longest = min(_LONGEST, _SHORTEST * 2 ** min(self._failed, 10))
        await asyncio.sleep((least or 0.0) + longest * jitter.between(0.5, 1.0))

    async def _list(self) -> None:
        listing = self._client.list(self._kind, chunk_size=_CHUNK, **self._where)
        seen = set()
        async for found in listing:
            seen.add(key(found))
            self._take(found, gone=False, anew=True)
        for at in [at for at in self._items if at not in seen]:
            self._changed(at, self._items.pop(at)[1], None)
        self._version, self.synced = listing.resourceVersion, True

    async def _watch(self) -> None:
        """Watch from the last version on that was seen. Returns when nothing has come for a while: the connection may
        be dead without a word."""
        watch: Any = self._client.watch(
            self._kind,
            resource_version=self._version,
            server_timeout=int(_WATCH * jitter.between(0.75, 1.25)),
            **self._where,
        ).__aiter__()
        try:
            while True:
                async with asyncio.timeout(1.25 * _WATCH + _LATE):
                    operation, found = await watch.__anext__()
                self._failed, self._expired = 0, 0
                if operation in ("ADDED", "MODIFIED", "DELETED"):
                    self._take(found, gone=operation == "DELETED")
                self._version = str(found["metadata"]["resourceVersion"])
        except (TimeoutError, StopAsyncIteration):
            pass
        finally:
            with contextlib.suppress(Exception):
                await watch.aclose()

    def _take(self, found: dict[str, Any], *, gone: bool, anew: bool = False) -> None:
        at, version = key(found), _number(found["metadata"].get("resourceVersion"))
        before = self._items.get(at)
        if before and version < before[0] and not anew:
            return  # what a write has answered is newer
        if gone:
            self._items.pop(at, None)
            if before:
                self._changed(at, before[1], None)
            return
        now = self._keep(found)
        self._items[at] = (version, now)
        self._changed(at, before[1] if before else None, now)


def _code(error: httpx2.HTTPStatusError) -> int:
    """An error within a watch has no response, and one that is not JSON has no status."""
    return int(error.status.code or 0) if isinstance(error, ApiError) else error.response.status_code


def _number(version: str | None) -> int:
    return int(version) if version and version.isdigit() else 0
