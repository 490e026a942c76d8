"""A stand-in for the API server, with the few objects that the webhook's process asks for, and that process itself."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonpatch

from agent.demo.server import Exchange, Server
from tests.support.running import Agent, until

CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/freshmount-push"
TLS = "/api/v1/namespaces/freshmount/secrets/freshmount-push-tls"
HOST = "127.0.0.1"


class Api(Server):
    """Objects by path, with resource versions. While it is `away` it answers 500."""

    def __init__(self, port: int, **listening: Any) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.away = False
        self._versions, self._lock = itertools.count(1), threading.Lock()
        self.keep(CONFIGURATION, {"metadata": {"name": "freshmount-push"}, "webhooks": [_webhook(port)]})
        super().__init__(**listening)

    def keep(self, path: str, given: Mapping[str, Any]) -> None:
        metadata = {**given.get("metadata", {}), "resourceVersion": str(next(self._versions))}
        self.objects[path] = {**given, "metadata": metadata}

    def secret(self, name: str, given: Mapping[str, Any], namespace: str = "shop") -> None:
        self.keep(f"/api/v1/namespaces/{namespace}/secrets/{name}", given)

    def respond(self, exchange: Exchange) -> None:
        with self._lock:
            status, answer = self._answer(exchange)
        exchange.answer(status, json.dumps(answer).encode(), "application/json")

    def _answer(self, exchange: Exchange) -> tuple[int, dict[str, Any]]:
        path = exchange.path.partition("?")[0]
        if self.away:
            return _status(500, "the API server is away")
        if exchange.command == "POST":
            given = json.loads(exchange.body)
            path = f"{path}/{given['metadata']['name']}"
            if path in self.objects:
                return _status(409, "already exists")
        elif path not in self.objects:
            return _status(404, f"{path} not found")
        if exchange.command == "GET":
            return 200, self.objects[path]
        before = self.objects.get(path, {})
        if exchange.command == "PATCH":
            try:
                given = jsonpatch.apply_patch(before, json.loads(exchange.body))
            except jsonpatch.JsonPatchException as error:
                return _status(422, f"patch: {error}", "Invalid")
        elif exchange.command == "PUT":
            given = json.loads(exchange.body)
            if given["metadata"].get("resourceVersion") != before["metadata"]["resourceVersion"]:
                return _status(409, "the object has been modified")
        self.writes.append((exchange.command, path))
        self.keep(path, given)
        return 200, self.objects[path]

    @property
    def authorities(self) -> str:
        """What the configuration trusts, PEM."""
        given = self.objects[CONFIGURATION]["webhooks"][0]["clientConfig"].get("caBundle", "")
        return base64.b64decode(given).decode()


def _webhook(port: int) -> dict[str, Any]:
    reached = {"url": f"https://{HOST}:{port}/v1/push"}
    form = {"admissionReviewVersions": ["v1"], "sideEffects": "NoneOnDryRun"}
    return {"name": "push.freshmount.dev", "clientConfig": reached, **form}


def _status(code: int, message: str, reason: str = "") -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "reason": reason}


class Controller(Agent):
    """`freshmount controller --push` as its own process."""

    def __init__(self, kubeconfig: Path, aws: str, *arguments: str, port: int = 0) -> None:
        given = ["--push", "--push-cluster", "east", "--push-listen", f"{HOST}:{port}", "--listen", f"{HOST}:0"]
        env = {
            "KUBECONFIG": str(kubeconfig),
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws,
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
        super().__init__("controller", kubeconfig, env, arguments=[*given, *arguments])

    def serving(self) -> Controller:
        """It, once the API server can call."""
        self.port = self.event("listening")["port"]
        self.webhook = self.event("pushing")["port"]
        until(lambda: self.page("/readyz")[0] == 200)
        return self

    def counted(self, operation: str, result: str) -> float:
        name = f'controller_push_requests_total{{operation="{operation}",result="{result}"}}'
        return self.metrics().get(name, 0.0)

    def connection(self, authorities: str) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cadata=authorities)
        return http.client.HTTPSConnection(HOST, self.webhook, timeout=60, context=context)

    def posted(self, body: bytes, authorities: str) -> tuple[int, bytes]:
        """Status and body of the answer."""
        connection = self.connection(authorities)
        try:
            connection.request("POST", "/v1/push?timeout=10s", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def asked(self, given: Mapping[str, Any], authorities: str) -> dict[str, Any]:
        """The answer to a review."""
        status, body = self.posted(json.dumps(given).encode(), authorities)
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)["response"]
        assert answer["uid"] == given["request"]["uid"]
        return answer


def kubeconfig(directory: Path, url: str) -> Path:
    path = directory / f"kubeconfig-{re.sub(r'[^0-9]', '', url)}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "freshmount"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(config))
    return path


@contextmanager
def controller(kubeconfig: Path, aws: str, *arguments: str) -> Iterator[Controller]:
    """The process, killed at the end if it still runs."""
    started = Controller(kubeconfig, aws, *arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.wait()
        assert started.process.stdout is not None
        started.process.stdout.close()
