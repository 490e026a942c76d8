"""A small HTTP server on loopback, for whoever plays a part of AWS: each kind says how it responds."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

JSON = "application/x-amz-json-1.1"


class Exchange(BaseHTTPRequestHandler):
    """One request, read whole, and the ways to answer it: well, badly, or not at all."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(self.server.idle)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.respond(self)

    do_GET = do_PUT = do_PATCH = do_HEAD = do_CONNECT = do_POST  # noqa: N815 http.server looks for these names

    def head(self, status: int, length: int, content_type: str = JSON) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer(self, status: int, body: bytes, content_type: str = JSON) -> None:
        self.head(status, len(body), content_type)
        self.wfile.write(body)

    def drop(self) -> None:
        """Close the connection without a word."""
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Nothing: whoever asks says what became of it."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    respond: Callable[[Exchange], None]
    idle: float | None
    connections = 0

    def server_bind(self) -> None:
        # HTTPServer's looks up the name of its address: seconds for each server, where no DNS answers.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def handle_error(self, *_: object) -> None:
        """A client that was dropped, or went away, is meant to be."""


class Closing:
    """What is closed at the end of a `with`."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Server(Closing):
    """Serves HTTP/1.1, one thread a connection, until it is closed. `respond` is its own.

    `port`: by default a free one. `context`: for HTTPS. `idle`: seconds without a request after which a connection is
    closed; by default never.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        context: ssl.SSLContext | None = None,
        idle: float | None = None,
    ) -> None:
        self._listener = _Listener((address, port), Exchange)
        self._listener.respond, self._listener.idle = self.respond, idle
        if context:  # whose handshake is not for the thread that accepts
            self._listener.socket = context.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._listener.server_port
        self.url = f"{'https' if context else 'http'}://{address}:{self.port}"
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()

    def respond(self, exchange: Exchange) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()
