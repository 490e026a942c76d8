"""The server's door: it bounds connections on which no request comes, and those whose answers nobody reads.

aiohttp waits for both without end. What a request may take once its head is there is bounded by its part.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

HEAD = 10.0  # seconds for the first head of a connection

READ = 30.0  # seconds for the client to make room for an answer

KEPT = 75.0  # seconds for which a connection stays open for its next head

LINGER = 2.0  # seconds for what is left of a request that was answered before it was read

HEADLESS, HEADLESS_OF_ADDRESS = 4_000, 500  # connections without a head, at most

Headless = dict["_Guarded", float]  # since when (monotonic), the oldest first


class Door:
    """All connections. `guarded` is the protocol of a new one, `sweep` ends those that take too long."""

    def __init__(self, serve: Callable[[], asyncio.Protocol]) -> None:
        self._serve = serve
        self._headless: Headless = {}
        self._addresses: dict[str, Headless] = {}
        self._unread: Headless = {}

    def guarded(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return _Guarded(self, self._serve())

    def sweep(self, now: float) -> None:
        """End connections that take too long. `now` is the loop's time."""
        for waiting, limit in ((self._headless, HEAD), (self._unread, READ)):
            for each in [each for each, since in waiting.items() if now - since > limit]:
                each.abort()

    def came(self, one: _Guarded) -> None:
        """A connection was opened. Where there are too many without a head, the oldest goes: of its own address if that
        has too many, so that no address takes the place of another."""
        of_address = self._addresses.setdefault(one.address, {})
        if len(of_address) >= HEADLESS_OF_ADDRESS:
            next(iter(of_address)).abort()
        elif len(self._headless) >= HEADLESS:
            next(iter(self._headless)).abort()
        now = asyncio.get_running_loop().time()
        self._headless[one] = self._addresses.setdefault(one.address, {})[one] = now

    def headed(self, one: _Guarded) -> None:
        """A head came."""
        if self._headless.pop(one, None) is not None:
            of_address = self._addresses[one.address]
            del of_address[one]
            if not of_address:
                del self._addresses[one.address]

    def unread(self, one: _Guarded, unread: bool) -> None:
        """The client leaves answers unread, or no longer."""
        if unread:
            self._unread[one] = asyncio.get_running_loop().time()
        else:
            self._unread.pop(one, None)


class _Guarded(asyncio.Protocol):
    """A connection: what happens to it is passed on to the door, and to the protocol of aiohttp."""

    __slots__ = ("_door", "_inner", "_transport", "address", "data_received", "kept")

    def __init__(self, door: Door, inner: asyncio.Protocol) -> None:
        self._door, self._inner = door, inner
        self._transport: asyncio.Transport | None = None
        self.address = ""
        self.kept = False
        self.data_received = inner.data_received  # type: ignore[method-assign]  # a call less for each packet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self._inner.connection_made(transport)
        self._door.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forgotten()
        self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._door.unread(self, True)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._door.unread(self, False)
        self._inner.resume_writing()

    def headed(self) -> None:
        self._door.headed(self)

    def abort(self) -> None:
        """End it without waiting for the client."""
        self._forgotten()
        if self._transport:
            self._transport.abort()

    def _forgotten(self) -> None:
        self._door.headed(self)
        self._door.unread(self, False)


def keep(request: web.Request) -> None:
    """Let the connection of this request stay open after its answer, which otherwise closes it."""
    if guarded := _guarded(request):
        guarded.kept = True


def _guarded(request: web.Request) -> _Guarded | None:
    found = request.transport.get_protocol() if request.transport else None
    return found if isinstance(found, _Guarded) else None


@web.middleware
async def closing(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Note that a head came; close the connection after the answer, but for those who are known."""
    guarded = _guarded(request)
    if guarded:
        guarded.kept = False
        guarded.headed()
    try:
        response = await handler(request)
    except web.HTTPException as refused:
        refused.force_close()
        raise
    if not guarded or not guarded.kept:
        response.force_close()
    return response


def quiet() -> None:
    """Keep requests that are no HTTP out of the log, which a client could fill with them."""
    logging.getLogger("aiohttp.server").addFilter(_worth_a_line)


def _worth_a_line(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
