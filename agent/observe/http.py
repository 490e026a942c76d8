"""The HTTP endpoint: a few pages, each a view of an immutable value.

One thread serves all connections, so that an idle or slow client costs a socket and no thread. It does not use asyncio,
which would cost each agent 2.5 MiB and 13 ms of its start.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from selectors import EVENT_READ, EVENT_WRITE
from typing import NamedTuple

from agent.core.errors import StartError
from agent.core.model import Listen

CONNECTION_TIMEOUT = 5.0  # seconds from a connection's start, or its last request, to the next whole one

AT_ONCE = 256  # connections; one more drops the oldest, so that idle ones cannot keep others out

_HEAD_LIMIT = 16 << 10  # bytes of a request's head

_BACKLOG = 128

_OURS = (".localhost", ".svc", ".cluster.local")  # no public name can end in these

_LAST_MOMENT = 0.05  # seconds in which a server that ends still answers; a silent client does not delay it further

_ACCEPT_PAUSE = 1.0  # seconds until the next attempt, when there is no descriptor or memory for another connection


class Page(NamedTuple):
    """One answer."""

    status: int
    content_type: str
    body: bytes


class Server:
    """A running endpoint. `port` is the actual port, even if 0 was asked for."""

    def __init__(self, loop: _Loop) -> None:
        self.port: int = loop.listening.getsockname()[1]
        self._loop = loop
        self._thread = threading.Thread(target=loop.run, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop all connections."""
        self._loop.end()
        self._thread.join(1.0)

    @property
    def listening(self) -> socket.socket:
        """The socket that it listens on."""
        return self._loop.listening

    def release(self) -> None:
        """Answer the requests that have come and drop all connections. The socket goes on listening, and the next
        server on it answers the clients that come."""
        self._loop.keeps_listening = True
        self.close()


def serve(
    host: str,
    port: int,
    pages: Mapping[str, Callable[[], Page]],
    report: Callable[[Exception], None] = lambda _error: None,
    strangers: Mapping[str, Callable[[], Page]] = {},
    *,
    listening: socket.socket | None = None,
) -> Server:
    """Serve the pages by path. `[::]` includes IPv4, and falls back to it where there is no IPv6. With `listening`, the
    socket of a server that was released, host and port do not matter.

    A request whose Host is not this pod's (see `is_ours`) gets the page in `strangers` instead, if there is one for its
    path. If a page raises, the answer is 500 without any detail, and the exception goes to `report`. Raises StartError
    if the address cannot be listened on.
    """
    try:
        return Server(_Loop(listening or _listen(host, port), pages, report, strangers))
    except OSError as error:
        failure = error
    if host == "::" and failure.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
        return serve("0.0.0.0", port, pages, report, strangers)  # noqa: S104 scrapers are outside the pod
    raise StartError(
        f"cannot listen on {Listen(host, port).shown}: {failure.strerror or failure}; set `listen` to a free address"
    )


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if listening.family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def is_ours(host: str) -> bool:
    """Whether a request's Host cannot belong to a foreign web page: it is an address, as kubelet and Prometheus use it,
    or a name of the cluster, of this machine, or without a dot. A request without a Host does not come from a browser.

    A foreign web page can make its own name resolve to a port-forward (DNS rebinding), and the browser then gives it
    the agent's answers. But the browser sends that name as Host.
    """
    name = host.lower()
    if not name.endswith("]"):
        before, colon, port = name.rpartition(":")
        name = before if colon and port.isdigit() else name
    name = name.removesuffix(".")
    if "." not in name and ":" not in name:
        return True
    if name.endswith(_OURS) or name == socket.gethostname().lower():
        return True
    return any(_is_address(family, name.strip("[]")) for family in (socket.AF_INET, socket.AF_INET6))


def _is_address(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


class _Loop:
    """What the thread does: accept connections, serve each when its client is ready, and drop those that are late."""

    def __init__(
        self,
        listening: socket.socket,
        pages: Mapping[str, Callable[[], Page]],
        report: Callable[[Exception], None],
        strangers: Mapping[str, Callable[[], Page]],
    ) -> None:
        self.listening = listening
        self.keeps_listening = False
        self._pages = pages
        self._report = report
        self._for_strangers = {**pages, **strangers}
        self._connections: dict[_Connection, None] = {}  # oldest first
        self._accept_again: float | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(listening, EVENT_READ)
        self._going_on, self._ended = socket.socketpair()  # closing the first makes the second readable
        self._selector.register(self._ended, EVENT_READ)

    def end(self) -> None:
        """Make `run` return. Called by another thread."""
        self._going_on.close()

    def run(self) -> None:
        """Serve until `end` is called, then close everything."""
        while True:
            # 1. Wait. With nothing open, wait until a client connects.
            ready = {key.fileobj: key.data for key, _ in self._selector.select(self._until_next())}
            if self._ended in ready:
                self._finish()
                break
            # 2. Serve those that are ready before dropping late ones: a request that is complete by now is in time.
            for connection in filter(None, ready.values()):
                self._proceed(connection)
            # 3. Drop those that are late.
            now = time.monotonic()
            for connection in [each for each in self._connections if each.deadline <= now]:
                self._drop(connection)
            # 4. Accept last: there may be room now, and a connection that was ready is not dropped.
            if self._accept_again is not None and self._accept_again <= now:
                self._listen_again(now)
            if self.listening in ready:
                self._accept_all()
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.close()
        if not self.keeps_listening:
            self.listening.close()
        self._ended.close()

    def _finish(self) -> None:
        """Answer who has asked, and give who has connected and not been answered yet a moment to ask."""
        self._selector.unregister(self._ended)
        if self.listening in self._selector.get_map():
            self._selector.unregister(self.listening)
        end = time.monotonic() + _LAST_MOMENT
        while any(connection.waits for connection in self._connections) and (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                self._proceed(key.data)

    def _until_next(self) -> float | None:
        """Seconds until something is due; None if nothing is."""
        due = [connection.deadline for connection in self._connections]
        if self._accept_again is not None:
            due.append(self._accept_again)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _accept_all(self) -> None:
        for _ in range(_BACKLOG):
            try:
                client, _address = self.listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor or no memory. The client still waits, so the selector would report it again at once.
                self._selector.unregister(self.listening)
                self._accept_again = time.monotonic() + _ACCEPT_PAUSE
                return
            try:
                connection = _Connection(client)
                self._selector.register(client, EVENT_READ, connection)
            except OSError:
                client.close()
                continue
            self._connections[connection] = None
            if len(self._connections) > AT_ONCE:
                self._drop(next(iter(self._connections)))

    def _listen_again(self, now: float) -> None:
        try:
            self._selector.register(self.listening, EVENT_READ)
            self._accept_again = None
        except OSError:  # still no memory
            self._accept_again = now + _ACCEPT_PAUSE

    def _proceed(self, connection: _Connection) -> None:
        """Let the connection read, answer and write. Any failure ends this connection, but no other."""
        try:
            more = connection.proceed(self._page)
        except OSError:
            more = False
        except Exception as error:
            more = False
            with contextlib.suppress(Exception):
                self._report(error)
        if more:
            self._selector.modify(connection.client, EVENT_WRITE if connection.unsent else EVENT_READ, connection)
        else:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection]
        self._selector.unregister(connection.client)
        connection.client.close()

    def _page(self, path: str, host: str) -> Page:
        page = (self._pages if is_ours(host) else self._for_strangers).get(path)
        try:
            return page() if page else Page(404, "text/plain", b"not found\n")
        except Exception as error:
            self._report(error)
            return Page(500, "text/plain", b"this page failed; the agent's log has the reason\n")


class _Connection:
    """HTTP/1.1 for clients that read pages. A request with a body is answered, but the body is discarded and the
    connection ends."""

    def __init__(self, client: socket.socket) -> None:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client = client
        self.deadline = time.monotonic() + CONNECTION_TIMEOUT
        self.unsent = b""  # the rest of the answer; the next request waits until the kernel has taken all of it
        self.waits = True  # not answered yet, or not completely
        self._received = b""
        self._last = False  # whether the answer is the connection's last one

    def proceed(self, page: Callable[[str, str], Page]) -> bool:
        """Write what is unsent, or else read; then answer complete requests. False when the client has gone."""
        if self.unsent:
            self._send()
        elif not self._receive():
            return False
        while not self.unsent and not self._last and (head := self._next_head()) is not None:
            self.deadline = time.monotonic() + CONNECTION_TIMEOUT
            self.unsent, self._last = _answer(head, page)
            self._send()
        return True

    def _receive(self) -> bool:
        try:
            received = self.client.recv(_HEAD_LIMIT)
        except BlockingIOError:
            return True
        if not self._last:
            self._received += received
        return bool(received)

    def _next_head(self) -> bytes | None:
        """The head of the next request, once it is complete or too long."""
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end and len(head) <= _HEAD_LIMIT:
            return None
        self._received = rest
        return head

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.unsent = self.unsent[self.client.send(self.unsent) :]
        self.waits = bool(self.unsent)
        if self._last and not self.unsent:
            # Keep reading until the client closes. Closing a connection with an unread body would reset it, and the
            # client could lose the answer.
            self.client.shutdown(socket.SHUT_WR)


def _answer(head: bytes, page: Callable[[str, str], Page]) -> tuple[bytes, bool]:
    """The answer to a request's head, and whether it is the connection's last one."""
    line, *fields = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    named = {name.lower(): value.strip().lower() for name, _, value in (field.partition(":") for field in fields)}
    last = named.get("connection") == "close" or bool(named.keys() & {"content-length", "transfer-encoding"})
    if len(head) > _HEAD_LIMIT:
        return _message(Page(431, "text/plain", b"the request is too long\n"), last=True), True
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        return _message(Page(400, "text/plain", b"not a valid request\n"), last=True), True
    if words[0] not in ("GET", "HEAD"):
        return _message(Page(405, "text/plain", b"only GET and HEAD are allowed\n"), last=True), True
    last = last or words[2] == "HTTP/1.0"
    return _message(page(words[1].partition("?")[0], named.get("host", "")), last=last, body=words[0] == "GET"), last


def _message(page: Page, *, last: bool, body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}\r\n"
        f"Content-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n"
        f"Cache-Control: no-store\r\n"
        f"{'Connection: close' if last else 'Connection: keep-alive'}\r\n\r\n"
    )
    return head.encode("latin-1") + (page.body if body else b"")
