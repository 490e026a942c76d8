"""A server that answers what a test tells it to: as AWS, a source of credentials, a target."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from agent.demo.server import JSON, Exchange, Server

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
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    drips: bool = False


class Answers(Server):
    """The server. `answer` is called with each request; None closes the connection without a word."""

    def __init__(self, answer: Callable[[Asked], Answer | None], **listening: Any) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.closed = threading.Event()
        super().__init__(**listening)

    def respond(self, exchange: Exchange) -> None:
        asked = Asked(exchange.command, exchange.path, dict(exchange.headers.items()), exchange.body)
        self.asked.append(asked)
        answer = self.answer(asked)
        if answer is None:
            exchange.drop()
            return
        exchange.close_connection = True  # so that no thread waits for the next request
        exchange.send_response_only(answer.status)
        exchange.send_header("Connection", "close")
        exchange.send_header("Content-Type", answer.content_type)
        for header in answer.headers:
            exchange.send_header(*header)
        if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in answer.headers):
            exchange.send_header("Content-Length", str(len(answer.body) + (1 << 20 if answer.drips else 0)))
        exchange.end_headers()
        exchange.wfile.write(answer.body)
        while answer.drips and not self.closed.wait(0.05):
            exchange.wfile.write(b" ")

    def close(self) -> None:
        self.closed.set()
        super().close()


def temporary(seconds: float = 3600.0, **fields: Any) -> Answer:
    """Credentials as Pod Identity's agent and the instance's metadata give them."""
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    keys = {"Code": "Success", "AccessKeyId": "id", "SecretAccessKey": "key", "Token": "session", "Expiration": until}
    return Answer(json.dumps(keys | fields).encode())


def metadata(asked: Asked) -> Answer:
    """The instance's metadata, and Pod Identity's agent."""
    if asked.method == "PUT":
        return Answer(b"token")
    return Answer(b"node-role") if asked.path.endswith("security-credentials/") else temporary()


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
