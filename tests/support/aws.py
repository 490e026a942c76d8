"""AWS for tests: our own stand-in or moto's server, and a proxy in front that counts calls and breaks them."""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from agent.demo.server import Closing, Exchange, Server
from agent.demo.stand_in import REGION, QuickStandIn, StandIn

__all__ = ["REGION", "Fault", "MotoStandIn", "Proxy", "QuickStandIn", "StandIn", "environment"]


class MotoStandIn(StandIn, Closing):
    """moto's server on a free port. Its state is the process's: tests share it by names of their own.

    It knows far more of AWS than ours. Its DescribeSecret grows with every version that it has held (8 ms at 400,
    18 ms at 2,000), so a soak would measure moto.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        from moto.server import ThreadedMotoServer  # 1.4 s of CPU, for those that need it

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        super().__init__(f"http://{host}:{port}")

    @cached_property
    def client(self) -> Any:
        """AWS's own SDK on it."""
        import boto3

        session = boto3.session.Session("testing", "testing", region_name=REGION)
        return session.client("secretsmanager", endpoint_url=self.url)

    def close(self) -> None:
        self._server.stop()


@dataclass(frozen=True)
class Fault:
    """What the proxy does instead of answering. `act` gets the handler and the answer that AWS would have given."""

    act: Callable[[Exchange, int, bytes], None]
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

        def act(handler: Exchange, status: int, body: bytes) -> None:
            if next(turn) % 2:
                handler.answer(status, body)
            else:
                fault.act(handler, status, body)

        return cls(act)

    @classmethod
    def hang(cls) -> Fault:
        """No answer until `heal`."""
        release = threading.Event()
        return cls(lambda handler, _status, _body: _drop_after(release, handler), release)

    @classmethod
    def hang_in_body(cls) -> Fault:
        release = threading.Event()

        def act(handler: Exchange, status: int, body: bytes) -> None:
            handler.head(status, len(body))
            handler.wfile.write(body[: len(body) // 2])
            _drop_after(release, handler)

        return cls(act, release)

    @classmethod
    def hold(cls) -> Fault:
        """The true answer, but not before `heal`."""
        release = threading.Event()

        def act(handler: Exchange, status: int, body: bytes) -> None:
            release.wait(60)
            handler.answer(status, body)

        return cls(act, release)

    @classmethod
    def drip(cls) -> Fault:
        """The answer comes byte by byte, so no read of it ever times out; none of it after `heal`."""
        release = threading.Event()

        def act(handler: Exchange, status: int, body: bytes) -> None:
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

        def act(handler: Exchange, _status: int, _body: bytes) -> None:
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


class Proxy(Server):
    """In front of a stand-in: `calls` lists (operation, secret id) of every request, `fail` breaks what matches."""

    def __init__(self, upstream: str, address: str = "127.0.0.1") -> None:
        self._upstream = urlsplit(upstream)
        self._rules: list[_Rule] = []
        self.calls: list[tuple[str, str]] = []
        super().__init__(address)

    def fail(self, fault: Fault, *, operation: str | None = None, secret: str | None = None) -> None:
        """Answer with the fault from now on, to that operation, for that secret id, or to everything."""
        self._rules.append(_Rule(fault, operation, secret))

    def heal(self) -> None:
        """No fault any more; what hangs is dropped."""
        rules, self._rules = self._rules, []
        for rule in rules:
            rule.fault.release.set()

    def respond(self, exchange: Exchange) -> None:
        operation = exchange.headers.get("X-Amz-Target", "").rpartition(".")[2]
        secret = str(json.loads(exchange.body or b"{}").get("SecretId", ""))
        self.calls.append((operation, secret))
        matching = (r for r in self._rules if r.operation in (None, operation) and r.secret in (None, secret))
        rule = next(matching, None)  # as it is now: while AWS is asked, it may be healed
        answer = self.forward(dict(exchange.headers.items()), exchange.body)
        if rule:
            rule.fault.act(exchange, *answer)
        else:
            exchange.answer(*answer)

    def forward(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """What AWS answers, unbroken."""
        of_this_hop = ("host", "connection", "content-length")
        headers = {name: value for name, value in headers.items() if name.lower() not in of_this_hop}
        connection = http.client.HTTPConnection(self._upstream.netloc, timeout=30)
        try:
            connection.request("POST", "/", body, headers | {"Host": f"secretsmanager.{REGION}.amazonaws.com"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def close(self) -> None:
        self.heal()
        super().close()


def _drop_after(release: threading.Event, exchange: Exchange) -> None:
    release.wait(60)
    exchange.drop()


def environment() -> dict[str, str]:
    """The environment of a process that talks to a stand-in, with nothing of the developer's own account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
