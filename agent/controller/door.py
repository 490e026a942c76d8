"""The server's door: who takes a connection, and how long one may wait for what.

It bounds connections on which no request comes, and those whose answers nobody reads. aiohttp waits for both without
end. What a request may take once its head is there is bounded by who serves it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

HEAD = 10.0  # seconds for the first head of a connection

READ = 30.0  # seconds for the client to make room for an answer

KEPT = 75.0  # seconds for which a connection stays open for its next head

LINGER = 2.0  # seconds for what is left of a request that was answered before it was read

HEADLESS, HEADLESS_OF_ADDRESS = 4_000, 500  # connections without a head, at most

_FIRST_LINE = 64  # bytes within which the path of a part ends

Waiting = dict["_Guarded", float]  # since when (the loop's time), the oldest first


class Line(Protocol):
    """A connection as a part's own protocol sees it."""

    def headed(self) -> None:
        """A head came."""

    def answered(self) -> None:
        """It stays open for the next request."""

    def abort(self) -> None:
        """End it without waiting for the client."""


Serve = Callable[[Line], asyncio.Protocol]


class Door:
    """All connections. `guarded` is the protocol of a new one, `sweep` ends those that take too long.

    `own` names paths, and who serves the connections whose first request is for one of them; `serve` does the others.
    """

    def __init__(self, serve: Callable[[], asyncio.Protocol], own: Mapping[str, Serve]) -> None:
        self._serve, self._own = serve, {path.encode(): of_part for path, of_part in own.items()}
        self._open: dict[_Guarded, None] = {}  # those that a part serves
        self._headless: Waiting = {}
        self._addresses: dict[str, Waiting] = {}
        self._unread: Waiting = {}
        self._kept: Waiting = {}

    def guarded(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return _Guarded(self)

    def sweep(self, now: float) -> None:
        """End connections that take too long. `now` is the loop's time."""
        for waiting, limit in ((self._headless, HEAD), (self._unread, READ), (self._kept, KEPT)):
            for each in [each for each, since in waiting.items() if now - since > limit]:
                each.abort()

    def close(self) -> None:
        """Close the connections that parts serve, once what was written is sent. `serve` closes its own."""
        for each in self._open:
            each.close()

    def protocol(self, one: _Guarded, path: bytes) -> asyncio.Protocol:
        """Who serves a connection whose first request is for that path."""
        own = self._own.get(path)
        if own is None:
            return self._serve()
        self._open[one] = None
        return own(one)

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
        self._kept.pop(one, None)
        if self._headless.pop(one, None) is not None:
            of_address = self._addresses[one.address]
            del of_address[one]
            if not of_address:
                del self._addresses[one.address]

    def answered(self, one: _Guarded) -> None:
        """It waits for its next head."""
        self._kept[one] = asyncio.get_running_loop().time()

    def unread(self, one: _Guarded, unread: bool) -> None:
        """The client leaves answers unread, or no longer."""
        if unread:
            self._unread[one] = asyncio.get_running_loop().time()
        else:
            self._unread.pop(one, None)

    def went(self, one: _Guarded) -> None:
        """It is closed."""
        self.headed(one)
        self.unread(one, False)
        self._open.pop(one, None)


class _Guarded(asyncio.Protocol):
    """A connection: what happens to it is passed on to the door, and to the protocol of who serves it."""

    __slots__ = ("_door", "_first", "_inner", "_transport", "address", "data_received")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport  # once the connection is made
        self._first = b""
        self.address = ""
        self.data_received = self._choose  # type: ignore[method-assign]  # a call less for each packet after the first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self._door.came(self)

    def _choose(self, data: bytes) -> None:
        """Give the connection to who serves it, once the path of its first request is there or too long for a part."""
        self._first += data
        words = self._first[:_FIRST_LINE].split(b" ", 2)
        if len(words) < 3 and len(self._first) < _FIRST_LINE and b"\n" not in self._first:
            return
        self._inner = self._door.protocol(self, words[1] if len(words) == 3 else b"")
        self._inner.connection_made(self._transport)
        self.data_received = self._inner.data_received  # type: ignore[method-assign]
        first, self._first = self._first, b""
        self.data_received(first)

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.went(self)
        if self._inner:
            self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner else None

    def pause_writing(self) -> None:
        self._door.unread(self, True)
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._door.unread(self, False)
        if self._inner:
            self._inner.resume_writing()

    def headed(self) -> None:
        self._door.headed(self)

    def answered(self) -> None:
        self._door.answered(self)

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._door.went(self)
        self._transport.abort()


@web.middleware
async def closing(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Note that a head came, and close the connection after the answer: who asks here is not known."""
    guarded = request.transport.get_protocol() if request.transport else None
    if isinstance(guarded, _Guarded):
        guarded.headed()
    try:
        response = await handler(request)
    except web.HTTPException as refused:
        refused.force_close()
        raise
    response.force_close()
    return response


def quiet() -> None:
    """Keep requests that are no HTTP out of the log, which a client could fill with them."""
    logging.getLogger("aiohttp.server").addFilter(_worth_a_line)


def _worth_a_line(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
