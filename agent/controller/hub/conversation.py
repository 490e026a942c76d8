"""A connection on which an agent asks, again and again: HTTP/1.1, read by llhttp.

It is a protocol of its own, without a task for each request: ten thousand agents that wait ask two hundred times a
second, and what a general server does around each of them costs more than to answer it.
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

import httptools

from agent.controller import door
from agent.controller.hub.callers import Caller
from agent.controller.hub.desk import Desk, News, Refused
from agent.controller.hub.question import BODY

PATH = "/v1/versions"

READ_LIMIT = 10.0  # seconds for the body of a request

_HEAD = 1 << 15  # bytes; the token is most of it, and takes two thousand

_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}

_PATH = PATH.encode()


class Conversation(asyncio.Protocol):
    """One request after the other. A second one that comes before the first is answered ends the connection."""

    __slots__ = (
        *("_arrived_whole", "_authorization", "_body", "_caller", "_desk", "_entered", "_headed", "_keep", "_late"),
        *("_line", "_news", "_over", "_parser", "_reviewing", "_size", "_transport", "_url"),
    )

    def __init__(self, desk: Desk, line: door.Line) -> None:
        self._desk, self._line = desk, line
        self._transport: asyncio.Transport  # once the connection is made
        self._parser = httptools.HttpRequestParser(self)
        self._over = False
        self._news: News | None = None
        self._reviewing: asyncio.Task[None] | None = None
        self._late: asyncio.TimerHandle | None = None
        self._entered: Caller | None = None
        self._next()

    def _next(self) -> None:
        """Nothing of a request is here."""
        self._caller: Caller | None = None
        self._headed = self._arrived_whole = self._keep = False
        self._url = self._body = b""
        self._authorization = b""
        self._size = 0

    # -- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        if self._reviewing:
            self._reviewing.cancel()
        self._over = True
        del self._parser  # which holds on to this

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._arrived_whole:
            self._line.abort()
            return
        if not self._headed:
            self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(Refused(400, "this is no HTTP request, or more than one"))
            return
        if self._headed:
            self._go_on()
        elif self._size > _HEAD:
            self._refuse(Refused(431, f"the head is longer than {_HEAD} bytes"))

    # -- what the parser says

    def on_message_begin(self) -> None:
        if self._arrived_whole:
            raise ValueError("a second request")  # feed_data raises an HttpParserError for it

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._authorization = value

    def on_headers_complete(self) -> None:
        self._headed = True
        self._keep = self._parser.should_keep_alive()
        self._line.headed()

    def on_body(self, body: bytes) -> None:
        if len(self._body) <= BODY:
            self._body += body

    def on_message_complete(self) -> None:
        self._arrived_whole = True

    # -- the answer

    def _go_on(self) -> None:
        """Answer a request whose head is here, as far as it has come.

        1. Who asks. Nothing of the body is looked at before that is known, and no more of it read.
        2. Whether there is room for another request of theirs.
        3. What they ask: bounded in bytes and in time.
        4. What there is to say now, or as soon as there is something.
        """
        try:
            # 1.
            if self._caller is None:
                if self._url.partition(b"?")[0] != _PATH:
                    raise Refused(404, f"the hub answers at {PATH} alone")
                if self._parser.get_method() != b"POST":
                    raise Refused(405, f"POST to {PATH}")
                self._caller = self._desk.known(self._authorization.decode("latin-1"))
                if self._caller is None:
                    self._review()
                    return
            self._authorization = b""  # two thousand bytes that nobody needs while it waits
            # 2.
            if self._entered is None:
                self._desk.enter(self._caller)
                self._entered = self._caller
            # 3.
            if len(self._body) > BODY:
                raise Refused(400, f"the body is longer than {BODY} bytes")
            if not self._arrived_whole:
                self._late = self._late or asyncio.get_running_loop().call_later(READ_LIMIT, self._too_late)
                return
            # 4.
            body, self._body = self._body, b""
            self._news = self._desk.ask(body, self._caller, self._answer)
        except Refused as refused:
            self._refuse(refused)

    def _review(self) -> None:
        self._transport.pause_reading()
        self._reviewing = asyncio.create_task(self._reviewed())

    async def _reviewed(self) -> None:
        refused = None
        try:
            self._caller = await self._desk.review(self._authorization.decode("latin-1"))
        except Refused as error:
            refused = error
        self._reviewing = None
        if self._transport.is_closing():
            return
        self._transport.resume_reading()
        if refused:
            self._refuse(refused)
        else:
            self._go_on()

    def _answer(self, body: bytes) -> None:
        if self._transport.is_closing():
            return
        keep = self._keep
        self._end()
        self._next()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
            % (b"" if keep else b"Connection: close\r\n", len(body), body)
        )
        if keep:
            self._line.answered()
        else:
            self._transport.close()

    def _refuse(self, refused: Refused) -> None:
        """Say why, and close the connection: at once, or, since a client that is still sending would lose the answer,
        when it has had time to read it."""
        self._desk.refused(refused.status)
        self._end()
        self._over = True
        body = json.dumps({"error": refused.why}).encode()
        head = f"HTTP/1.1 {refused.status} {_REASONS[refused.status]}\r\nContent-Type: application/json\r\n"
        self._transport.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        if self._arrived_whole:
            self._transport.close()
        else:
            self._late = asyncio.get_running_loop().call_later(door.LINGER, self._transport.close)

    def _too_late(self) -> None:
        self._refuse(Refused(408, f"the request did not arrive within {READ_LIMIT:g} s"))

    def _end(self) -> None:
        """The request waits for nothing any more, and takes no room."""
        if self._late:
            self._late.cancel()
            self._late = None
        if self._news:
            self._news.cancel()
            self._news = None
        if self._entered:
            self._desk.leave(self._entered)
            self._entered = None
