"""What stands between a controller and its API server in tests: it sees each request, and does to it what a test says.

    with Between(server) as between: controlling(…, kubeconfig=between.kubeconfig(token))

A request is passed on, answered in the API server's place, held back, or followed by a kill. `between.seen` has all of
them in their order. The controller speaks plain HTTP to it, so that no keys are needed here.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.apiserver.server import ApiServer

_HOPS = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


class Request(NamedTuple):
    """One request of the controller. `at` is seconds (monotonic)."""

    number: int
    at: float
    method: str
    path: str
    body: bytes

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def watches(self) -> bool:
        return "watch=" in self.path

    @property
    def what(self) -> str:
        """Such as `PATCH secrets` or `PATCH externalsecrets/status`."""
        parts = urlsplit(self.path).path.split("/")
        if "namespaces" in parts:
            parts = parts[parts.index("namespaces") + 2 :]
        else:
            parts = parts[3 if parts[1] == "api" else 4 :]
        return f"{self.method} {'/'.join([*parts[:1], *parts[2:]]) or 'namespaces'}"


class Refused(NamedTuple):
    """What is answered instead of the API server. Status 0: nothing, the connection is closed."""

    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Followed(NamedTuple):
    """It is passed on, and when the API server has answered this is called; the answer is lost."""

    by: Callable[[], object]


class Changed(NamedTuple):
    """It is passed on, and this is the answer's body instead: for watches, after so many bytes of nothing else."""

    body: bytes


class Held(NamedTuple):
    """It is passed on when the event is set, even if nobody waits for the answer any more."""

    until: threading.Event


Verdict = Refused | Followed | Changed | Held | None


def status(code: int, reason: str, **headers: str) -> Refused:
    """An error as the API server has them."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "no"}
    return Refused(
        code, json.dumps(body).encode(), (("Content-Type", "application/json"), *((k, v) for k, v in headers.items()))
    )


class Between:
    """The proxy. `rule` is asked for each request, from many threads."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.rule: Callable[[Request], Verdict] = lambda request: None
        self.seen: list[Request] = []
        self.answered: list[tuple[Request, int]] = []  # what the API server answered, in the order of its answers
        self._lock = threading.Lock()
        config: dict[str, Any] = json.loads(server.kubeconfig.read_text())
        authority = config["clusters"][0]["cluster"]["certificate-authority-data"]
        self.trust = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
        self._listener = _Listener(("127.0.0.1", 0), _Exchange)
        self._listener.between = self
        self.port = self._listener.server_address[1]
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    def kubeconfig(self, of: Path | None = None) -> Path:
        """Whose kubeconfig it is, with this in the API server's place."""
        config = json.loads((of or self.server.kubeconfig).read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        path = self.server.directory / f"kubeconfig-between-{self.port}"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def saw(self, method: str, path: str, body: bytes) -> tuple[Request, Verdict]:
        with self._lock:
            request = Request(len(self.seen), time.monotonic(), method, path, body)
            self.seen.append(request)
            return request, self.rule(request)

    def got(self, request: Request, code: int) -> None:
        with self._lock:
            self.answered.append((request, code))

    def count(self, fits: Callable[[Request], bool]) -> int:
        return sum(fits(each) for each in list(self.seen))


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener
    upstream: http.client.HTTPSConnection | None = None

    def do_GET(self) -> None:
        between = self.server.between
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request, verdict = between.saw(self.command, self.path, body)
        match verdict:
            case Refused(0):
                self._drop()
                return
            case Refused(code, answer, headers):
                self._whole(code, answer, headers)
                return
            case Held(until):
                until.wait()
        try:
            answer = self._asked(body)
        except (OSError, http.client.HTTPException):
            self._drop()
            return
        between.got(request, answer.status)
        headers = tuple((k, v) for k, v in answer.getheaders() if k.lower() not in _HOPS)
        if isinstance(verdict, Followed):
            answer.read()
            verdict.by()
            self._drop()
        elif isinstance(verdict, Changed):
            self._forget()
            self._whole(answer.status, verdict.body, headers)
        elif request.watches:
            self._streamed(answer, headers)
        else:
            self._whole(answer.status, answer.read(), headers)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # http.server looks for these names

    def _asked(self, body: bytes) -> http.client.HTTPResponse:
        """What the API server answers. A kept connection may have ended meanwhile."""
        sent = {name: text for name, text in self.headers.items() if name.lower() not in _HOPS}
        if self.upstream is not None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.upstream.request(self.command, self.path, body or None, sent)
                return self.upstream.getresponse()
            self._forget()
        between = self.server.between
        self.upstream = http.client.HTTPSConnection("127.0.0.1", between.server.port, context=between.trust)
        self.upstream.request(self.command, self.path, body or None, sent)
        return self.upstream.getresponse()

    def _whole(self, code: int, body: bytes, headers: tuple[tuple[str, str], ...]) -> None:
        self.send_response_only(code)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _streamed(self, answer: http.client.HTTPResponse, headers: tuple[tuple[str, str], ...]) -> None:
        """A watch, as it comes. It ends as the API server ends it, or with the connection."""
        self.send_response_only(answer.status)
        for name, text in headers:
            self.send_header(name, text)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while part := answer.read1():
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        except (OSError, http.client.HTTPException):
            self._forget()
            self._drop()

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.close()

    def _forget(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None

    def finish(self) -> None:
        self._forget()
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        """Nothing: `seen` has all."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    between: Between

    def handle_error(self, *_: object) -> None:
        """A controller that was killed is meant to be."""
