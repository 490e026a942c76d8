"""The HTTP endpoint: a few pages, each a view of an immutable value.

One thread serves all connections, so that a client which says nothing, or reads slowly, costs a socket and no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple, cast

from agent.errors import StartError

CONNECTION_TIMEOUT = 5.0  # seconds from a connection's start, or its last request, to the next whole one
AT_ONCE = 256  # connections; for a further one the oldest makes room, so that a crowd of idle ones keeps nobody out
_HEAD_LIMIT = 16 << 10  # bytes of a request's head
_BACKLOG = 128


class Page(NamedTuple):
    """One answer."""

    status: int
    content_type: str
    body: bytes


class Server:
    """A running endpoint. `port` is the real one, also after port 0."""

    def __init__(self, listening: socket.socket, site: _Site) -> None:
        self.port: int = listening.getsockname()[1]
        self._site = site
        self._loop = asyncio.new_event_loop()
        serving = self._loop.create_server(lambda: _Connection(site), sock=listening, backlog=_BACKLOG)
        self._server = self._loop.run_until_complete(serving)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop all connections."""
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(1.0)

    def _serve(self) -> None:
        self._loop.run_forever()
        self._server.close()
        self._loop.close()

    def _end(self) -> None:
        for connection in list(self._site.connections):
            connection.drop()
        self._loop.call_soon(self._loop.stop)  # behind what the drops have to do


def serve(
    host: str,
    port: int,
    pages: Mapping[str, Callable[[], Page]],
    report: Callable[[Exception], None] = lambda _error: None,
) -> Server:
    """Serve the pages by path; `[::]` means IPv4 too, and falls back to it where there is no IPv6.

    A page that raises is answered with 500 and no detail; the exception goes to `report`. Raises StartError when the
    address cannot be listened on.
    """
    try:
        return Server(_listen(host, port), _Site(pages, report))
    except OSError as error:
        failure = error
    if host == "::" and failure.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
        return serve("0.0.0.0", port, pages, report)  # noqa: S104 a scraper comes from outside of the pod
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    raise StartError(f"cannot listen on {shown}: {failure.strerror or failure}; set `listen` to a free address")


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if listening.family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


class _Site:
    """What there is to serve, and the connections that are open, oldest first."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]], report: Callable[[Exception], None]) -> None:
        self.connections: dict[_Connection, None] = {}
        self._pages = pages
        self._report = report

    def page(self, path: str) -> Page:
        page = self._pages.get(path)
        try:
            return page() if page else Page(404, "text/plain", b"not found\n")
        except Exception as error:
            self._report(error)
            return Page(500, "text/plain", b"this page is broken; the agent's log has the reason\n")


class _Connection(asyncio.Protocol):
    """HTTP/1.1 for clients that ask for pages: a request's body is not read, and ends the connection."""

    def __init__(self, site: _Site) -> None:
        self._site = site
        self._received = b""
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # the next request waits until this answer is taken
        self._site.connections[self] = None
        if len(self._site.connections) > AT_ONCE:
            next(iter(self._site.connections)).drop()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._site.connections.pop(self, None)

    def drop(self) -> None:
        """End the connection as it is."""
        self._site.connections.pop(self, None)
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._transport.resume_reading()
        self._answer_all()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._answer_all()

    def _await_request(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(CONNECTION_TIMEOUT, self.drop)

    def _answer_all(self) -> None:
        """Answer the requests that are whole, while the client takes the answers."""
        while self._writable and not self._transport.is_closing():
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end and len(head) <= _HEAD_LIMIT:
                return
            self._received = rest
            self._timer.cancel()
            self._await_request()
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        named = {name.lower(): value.strip().lower() for name, _, value in (field.partition(":") for field in fields)}
        last = named.get("connection") == "close" or bool(named.keys() & {"content-length", "transfer-encoding"})
        if len(head) > _HEAD_LIMIT:
            self._write(Page(431, "text/plain", b"too long\n"), last=True)
        elif len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            self._write(Page(400, "text/plain", b"not understood\n"), last=True)
        elif words[0] not in ("GET", "HEAD"):
            self._write(Page(405, "text/plain", b"only GET and HEAD\n"), last=True)
        else:
            page = self._site.page(words[1].partition("?")[0])
            self._write(page, last=last or words[2] == "HTTP/1.0", body=words[0] == "GET")

    def _write(self, page: Page, *, last: bool, body: bool = True) -> None:
        head = (
            f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}\r\n"
            f"Content-Type: {page.content_type}\r\n"
            f"Content-Length: {len(page.body)}\r\n"
            f"Cache-Control: no-store\r\n"
            f"{'Connection: close' if last else 'Connection: keep-alive'}\r\n\r\n"
        )
        self._transport.write(head.encode("latin-1") + (page.body if body else b""))
        if last:
            self._transport.close()
