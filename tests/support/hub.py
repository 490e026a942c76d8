"""The hub as a real process, and hubs that play false."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from agent.demo.server import Exchange, Server
from bench.reviews import TokenReviews
from tests.support.aws import environment
from tests.support.running import PATIENCE, Agent

__all__ = ["FalseHub", "Hub", "Service", "TokenReviews", "ask", "hub", "says"]


class Reviews(Protocol):
    """What leads the hub to who reviews tokens."""

    def kubeconfig(self, at: Path) -> Path: ...


class Hub(Agent):
    """A running `freshmount controller --hub`."""

    def __init__(
        self, reviews: Reviews, aws: str, home: Path, *flags: str, listen: str = "127.0.0.1:0", sqs: str = ""
    ) -> None:
        env = {
            **environment(),
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws,
            "AWS_ENDPOINT_URL_SSM": aws,
            "AWS_ENDPOINT_URL_SQS": sqs or aws,
            "KUBECONFIG": str(reviews.kubeconfig(home / "kubeconfig")),
        }
        super().__init__("controller", home, env, arguments=("--hub", "--listen", listen, *flags))
        self.port = self.event("listening")["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.await_page("/readyz", 200)

    def ask(self, token: str | None, *secrets: Mapping[str, Any], wait: float = 0) -> tuple[int, dict[str, Any]]:
        """The status and the answer of one request."""
        return ask(self.url, token, {"wait": wait, "secrets": [*secrets]})


def ask(url: str, token: str | None, body: object) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(f"{url}/v1/versions", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@contextmanager
def hub(
    reviews: TokenReviews, aws: str, home: Path, *flags: str, listen: str = "127.0.0.1:0", sqs: str = ""
) -> Iterator[Hub]:
    """The hub, killed at the end if it still runs."""
    made = Hub(reviews, aws, home, *flags, listen=listen, sqs=sqs)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.wait()
        assert made.process.stdout is not None
        made.process.stdout.close()


class FalseHub(Server):
    """A hub that answers what a test lets it: `answers` is given each request's body."""

    def __init__(self, answers: Callable[[Exchange, dict[str, Any]], None]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.answers = answers
        super().__init__()

    def respond(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body)
        self.asked.append(body)
        self.tokens.append(exchange.headers.get("Authorization", ""))
        self.answers(exchange, body)


def says(exchange: Exchange, *versions: str | None, spread: float = 0.0) -> None:
    """Answer these versions; None: that access is denied."""
    secrets = [{"version": each} if each else {"error": "access_denied"} for each in versions]
    exchange.answer(200, json.dumps({"secrets": secrets, "spread": spread}).encode(), "application/json")


class Service:
    """What a Kubernetes Service is to its clients: one address, whose connections go to the replicas in turn."""

    def __init__(self) -> None:
        self._ports: tuple[int, ...] = ()
        self._next = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def leads_to(self, *ports: int) -> None:
        """New connections go to these from now on. Those that stand stay."""
        self._ports = ports

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._next += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._ports[self._next % len(self._ports)]))
            except (OSError, ZeroDivisionError):
                client.close()
                continue
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := one.recv(1 << 16):
                other.sendall(part)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
