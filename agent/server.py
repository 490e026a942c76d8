"""The HTTP endpoint: a few pages, each a view of an immutable value."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from agent.errors import StartError

CONNECTION_TIMEOUT = 5.0  # seconds that a connection may be silent
AT_ONCE = 32  # connections; a further one waits its turn in the kernel's backlog


class Page(NamedTuple):
    """One answer."""

    status: int
    content_type: str
    body: bytes


class Server:
    """A running endpoint. `port` is the real one, also after port 0."""

    def __init__(self, http: _Http) -> None:
        self._http = http
        self.port: int = http.server_address[1]
        self._thread = threading.Thread(target=http.serve, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Connections that are open end with their own timeout; nobody waits for them."""
        self._http.end()
        self._thread.join(1.0)
        self._http.server_close()


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
        return Server(_Http(host, port, pages, report))
    except OSError as error:
        failure = error
    if host == "::" and failure.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
        return serve("0.0.0.0", port, pages, report)  # noqa: S104 a scraper comes from outside of the pod
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    raise StartError(f"cannot listen on {shown}: {failure.strerror or failure}; set `listen` to a free address")


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, host: str, port: int, pages: Mapping[str, Callable[[], Page]], report: Callable[[Exception], None]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages = pages
        self.report = report
        self._ending = False
        self._places = threading.BoundedSemaphore(AT_ONCE)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's: it would look our name up in DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def serve(self) -> None:
        """Like serve_forever, which wakes twice a second to look whether it shall end; this one sleeps in accept."""
        while not self._ending:
            self.handle_request()

    def end(self) -> None:
        self._ending = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the accept

    def process_request(self, request: Any, client_address: Any) -> None:
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = CONNECTION_TIMEOUT
    server: _Http

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.split("?", 1)[0])
        try:
            answer = page() if page else Page(404, "text/plain", b"not found\n")
        except Exception as error:
            self.server.report(error)
            answer = Page(500, "text/plain", b"this page is broken; the agent's log has the reason\n")
        self._answer(answer)

    do_HEAD = do_GET  # noqa: N815 the name that http.server looks for

    def _answer(self, page: Page) -> None:
        self.send_response_only(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A short answer without the server's name and version."""
        self.close_connection = True
        if code == 501:
            code = 405
        with contextlib.suppress(OSError):
            self._answer(Page(code, "text/plain", b"not served here\n"))

    def log_message(self, *_: Any) -> None:
        """No access log."""
