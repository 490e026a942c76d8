"""AWS for tests: moto's server over HTTP, and a proxy in front of it that counts calls and breaks them on demand."""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import os
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-west-1"


class StandIn:
    """moto's server on a free port, of loopback unless told otherwise. Tests share it by names of their own."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.client = self.client_in(REGION)

    def client_in(self, region: str) -> Any:
        return boto3.session.Session().client(
            "secretsmanager",
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def put(self, name: str, value: str | bytes) -> str:
        """Create a secret; its ARN."""
        kind = "SecretString" if isinstance(value, str) else "SecretBinary"
        return str(self.client.create_secret(Name=name, **{kind: value})["ARN"])

    def rotate(self, name: str, value: str | bytes) -> str:
        """Move AWSCURRENT to a new version; its id."""
        kind = "SecretString" if isinstance(value, str) else "SecretBinary"
        return str(self.client.put_secret_value(SecretId=name, **{kind: value})["VersionId"])

    def close(self) -> None:
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class QuickStandIn:
    """A fake of the two operations that the agent calls, with the words of `StandIn`, for thousands of rotations.

    moto's DescribeSecret grows with every version that it has held (8 ms at 400 of them, 18 ms at 2,000), so a soak
    would measure moto. It keeps the current and the previous version, as AWS lists them.
    """

    def __init__(self) -> None:
        self._versions: dict[str, list[tuple[str, str]]] = {}
        self._created: dict[str, float] = {}
        self._http = _Http(("127.0.0.1", 0), _Quick)
        self._http.quick = self
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, name: str, value: str) -> str:
        self._versions[name] = []
        self.rotate(name, value)
        return name

    def rotate(self, name: str, value: str) -> str:
        version = str(uuid.uuid4())
        self._versions[name] = [(version, value), *self._versions[name][:1]]
        self._created[version] = time.time()
        return version

    def answer(self, operation: str, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        versions = self._versions.get(asked.get("SecretId", ""), [])
        staged = dict(zip(("AWSCURRENT", "AWSPREVIOUS"), versions, strict=False))
        if operation == "DescribeSecret" and staged:
            return 200, {"VersionIdsToStages": {version: [stage] for stage, (version, _) in staged.items()}}
        for stage, (version, value) in staged.items():
            if asked.get("VersionId", version) == version and asked.get("VersionStage", stage) == stage:
                created = self._created[version]
                return 200, {
                    "VersionId": version,
                    "VersionStages": [stage],
                    "SecretString": value,
                    "CreatedDate": created,
                }
        return 400, {"__type": "ResourceNotFoundException", "message": "no such secret or version"}

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Fault:
    """What the proxy does instead of answering. `act` gets the handler and the answer that AWS would have given."""

    act: Callable[[_Handler, int, bytes], None]
    release: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def error(cls, status: int, code: str, message: str = "injected") -> Fault:
        """An answer of AWS's with that code."""
        body = json.dumps({"__type": code, "message": message}).encode()
        return cls(lambda handler, _status, _body: handler.answer(status, body))

    @classmethod
    def throttle(cls) -> Fault:
        return cls.error(400, "ThrottlingException", "Rate exceeded")

    @classmethod
    def internal_error(cls) -> Fault:
        return cls.error(500, "InternalServiceError")

    @classmethod
    def expired_token(cls) -> Fault:
        return cls.error(400, "ExpiredTokenException", "The security token included in the request is expired")

    @classmethod
    def access_denied(cls, action: str = "secretsmanager:DescribeSecret") -> Fault:
        return cls.error(
            400,
            "AccessDeniedException",
            f"User: arn:aws:sts::111122223333:assumed-role/web/pod is not authorized to perform: {action} on resource: "
            "db because no identity-based policy allows the action",
        )

    @classmethod
    def skewed_clock(cls) -> Fault:
        """What AWS answers when a request's signature is of another time than its own."""
        words = "Signature expired: 20260101T000000Z is now earlier than 20260102T000000Z (20260102T000500Z - 5 min.)"
        return cls.error(400, "InvalidSignatureException", words)

    @classmethod
    def wrong_content_type(cls) -> Fault:
        """A proxy's page where an answer of AWS should be."""
        return cls(lambda handler, _status, _body: handler.answer(200, b"<html>captive portal</html>", "text/html"))

    @classmethod
    def every_second(cls, fault: Fault) -> Fault:
        """The fault comes and goes, request by request."""
        turn = itertools.count()

        def act(handler: _Handler, status: int, body: bytes) -> None:
            if next(turn) % 2:
                handler.answer(status, body)
            else:
                fault.act(handler, status, body)

        return cls(act)

    @classmethod
    def hang(cls) -> Fault:
        """No answer until `heal`."""
        release = threading.Event()
        return cls(lambda handler, _status, _body: handler.drop_after(release), release)

    @classmethod
    def hang_in_body(cls) -> Fault:
        release = threading.Event()

        def act(handler: _Handler, status: int, body: bytes) -> None:
            handler.head(status, len(body))
            handler.wfile.write(body[: len(body) // 2])
            handler.drop_after(release)

        return cls(act, release)

    @classmethod
    def hold(cls) -> Fault:
        """The true answer, but not before `heal`."""
        release = threading.Event()

        def act(handler: _Handler, status: int, body: bytes) -> None:
            release.wait(60)
            handler.answer(status, body)

        return cls(act, release)

    @classmethod
    def drip(cls) -> Fault:
        """The answer comes byte by byte, so no read of it ever times out; none of it after `heal`."""
        release = threading.Event()

        def act(handler: _Handler, status: int, body: bytes) -> None:
            handler.head(status, len(body))
            for byte in body:
                handler.wfile.write(bytes([byte]))
                if release.wait(0.2):
                    break
            handler.drop()

        return cls(act, release)

    @classmethod
    def reset(cls) -> Fault:
        """The connection is reset."""

        def act(handler: _Handler, _status: int, _body: bytes) -> None:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.drop()

        return cls(act)

    @classmethod
    def malformed(cls) -> Fault:
        """An answer that is no JSON, with half of the true one in it."""
        return cls(lambda handler, status, body: handler.answer(status, body[: len(body) // 2]))


@dataclass(frozen=True)
class _Rule:
    fault: Fault
    operation: str | None
    secret: str | None


class Proxy:
    """In front of a stand-in: `calls` lists (operation, secret id) of every request, `fail` breaks what matches."""

    def __init__(self, upstream: str, address: str = "127.0.0.1") -> None:
        self._upstream = urlsplit(upstream)
        self._rules: list[_Rule] = []
        self.calls: list[tuple[str, str]] = []
        self._http = _Http((address, 0), _Handler)
        self._http.proxy = self
        self.url = f"http://{address}:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def fail(self, fault: Fault, *, operation: str | None = None, secret: str | None = None) -> None:
        """Answer with the fault from now on, to that operation, for that secret id, or to everything."""
        self._rules.append(_Rule(fault, operation, secret))

    def heal(self) -> None:
        """No fault any more; what hangs is dropped."""
        rules, self._rules = self._rules, []
        for rule in rules:
            rule.fault.release.set()

    def fault_for(self, operation: str, secret: str) -> Fault | None:
        for rule in self._rules:
            if rule.operation in (None, operation) and rule.secret in (None, secret):
                return rule.fault
        return None

    def forward(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._upstream.hostname or "", self._upstream.port, timeout=30)
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def close(self) -> None:
        self.heal()
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: Proxy
    quick: QuickStandIn

    def handle_error(self, *_: object) -> None:
        """A client that was dropped is meant to be."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: _Http

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.asked = json.loads(body or b"{}")
        secret = str(self.asked.get("SecretId", ""))
        proxy = self.server.proxy
        proxy.calls.append((operation, secret))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "content-length")}
        fault = proxy.fault_for(operation, secret)
        status, answer = proxy.forward(headers | {"Host": f"secretsmanager.{REGION}.amazonaws.com"}, body)
        if fault:
            fault.act(self, status, answer)
        else:
            self.answer(status, answer)

    def head(self, status: int, length: int, content_type: str = "application/x-amz-json-1.1") -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer(self, status: int, body: bytes, content_type: str = "application/x-amz-json-1.1") -> None:
        self.head(status, len(body), content_type)
        self.wfile.write(body)

    def drop(self) -> None:
        self.close_connection = True
        self.connection.close()

    def drop_after(self, release: threading.Event) -> None:
        release.wait(60)
        self.drop()

    def log_message(self, *_: Any) -> None:
        pass


class _Quick(_Handler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self.server.quick.answer(self.headers["X-Amz-Target"].rpartition(".")[2], asked)
        self.answer(status, json.dumps(answer).encode())


def environment() -> dict[str, str]:
    """The environment of a process that talks to a stand-in, with nothing of the developer's own account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
