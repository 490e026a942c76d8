"""A server that answers what a test tells it to: as AWS, STS, the instance's metadata, Pod Identity's agent."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
ROLE = "arn:aws:iam::123456789012:role/web"


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What is sent back. `drips`: one byte of it at a time, until the server is closed."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/x-amz-json-1.1"
    headers: tuple[tuple[str, str], ...] = ()
    drips: bool = False


class Answers:
    """The server. `answer` is called with each request; None closes the connection without a word."""

    def __init__(self, answer: Callable[[Asked], Answer | None], context: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.closed = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.answers = self
        if context:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._http.server_port
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    answers: Answers

    def handle_error(self, *_: object) -> None:
        """A client that goes away is meant to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, self.path, dict(self.headers.items()), body)
        self.server.answers.asked.append(asked)
        answer = self.server.answers.answer(asked)
        if answer is None:
            self.close_connection = True
            self.connection.close()
            return
        self.close_connection = True  # so that no thread waits for the next request
        self.send_response_only(answer.status)
        self.send_header("Connection", "close")
        self.send_header("Content-Type", answer.content_type)
        for header in answer.headers:
            self.send_header(*header)
        if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in answer.headers):
            self.send_header("Content-Length", str(len(answer.body) + (1 << 20 if answer.drips else 0)))
        self.end_headers()
        self.wfile.write(answer.body)
        while answer.drips and not self.server.answers.closed.wait(0.05):
            self.wfile.write(b" ")

    do_GET = do_PUT = do_HEAD = do_CONNECT = do_POST

    def log_message(self, *_: object) -> None:
        pass


def temporary(seconds: float = 3600.0, **fields: Any) -> Answer:
    """Credentials as Pod Identity's agent and the instance's metadata give them."""
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    keys = {"Code": "Success", "AccessKeyId": "id", "SecretAccessKey": "key", "Token": "session", "Expiration": until}
    return Answer(json.dumps(keys | fields).encode())


def assumed(seconds: float = 3600.0) -> Answer:
    """Credentials as STS gives them for a role."""
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    return Answer(
        '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>id</AccessKeyId>"
        "<SecretAccessKey>key</SecretAccessKey><SessionToken>session</SessionToken>"
        f"<Expiration>{until}</Expiration></Credentials><AssumedRoleUser><Arn>{ROLE}/pod</Arn>"
        "<AssumedRoleId>x:pod</AssumedRoleId></AssumedRoleUser></AssumeRoleWithWebIdentityResult>"
        "</AssumeRoleWithWebIdentityResponse>".encode(),
        content_type="text/xml",
    )


def refused(code: str, words: str, status: int = 403) -> Answer:
    """An error as STS tells it."""
    return Answer(
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{words}</Message></Error><RequestId>r</RequestId></ErrorResponse>".encode(),
        status,
        "text/xml",
    )
