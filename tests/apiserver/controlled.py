"""The controller's process on an API server, for tests that see it as its users do: through the API."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from lightkube import ApiError, Client, codecs
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import Event, Namespace, Secret, ServiceAccountToken
from lightkube.types import PatchType

from tests.apiserver.server import ApiServer
from tests.support.services import Services

PATIENCE = 90.0  # seconds until a test gives up on an event; no figure is derived from it

CRDS = Path(__file__).parents[2] / "charts" / "controller" / "files" / "crds"

ExternalSecret = create_namespaced_resource("external-secrets.io", "v1", "ExternalSecret", "externalsecrets")
SecretStore = create_namespaced_resource("external-secrets.io", "v1", "SecretStore", "secretstores")
ClusterSecretStore = create_global_resource("external-secrets.io", "v1", "ClusterSecretStore", "clustersecretstores")

_numbers = itertools.count(1)

T = TypeVar("T")


def until(found: Callable[[], T], patience: float = PATIENCE) -> T:
    """The first answer that is true. Fails with the last one."""
    end = time.monotonic() + patience
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < end, f"it has not come true: {answer!r}"
        time.sleep(0.05)


def install(server: ApiServer) -> None:
    """The CRDs of the chart."""
    client = server.client()
    for path in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        with contextlib.suppress(ApiError):
            client.create(CustomResourceDefinition.from_dict(crd))
        name = crd["metadata"]["name"]
        until(lambda name=name: _established(client, name))  # type: ignore[misc]


def _established(client: Client, name: str) -> bool:
    found = client.get(CustomResourceDefinition, name)
    conditions = (found.status.conditions if found.status else None) or []
    return any(each.type == "Established" and each.status == "True" for each in conditions)


class Controller:
    """One running `freshmount controller --external-secrets`."""

    def __init__(self, server: ApiServer, url: str, *arguments: str, kubeconfig: Path | None = None) -> None:
        services = {f"AWS_ENDPOINT_URL_{name}": url for name in ("SECRETS_MANAGER", "SSM", "STS")}
        own = {"AWS_ACCESS_KEY_ID": "pod", "AWS_SECRET_ACCESS_KEY": "key", "AWS_EC2_METADATA_DISABLED": "true"}
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "KUBE"))}
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "agent", "controller", "--external-secrets", "--listen", "127.0.0.1:0"),
                *("--log-format", "json", *arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**kept, **services, **own, "KUBECONFIG": str(kubeconfig or server.kubeconfig)},
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def event(self, name: str, count: int = 1) -> dict[str, Any]:
        """The so many-th logged event of that name."""

        def found() -> dict[str, Any] | None:
            assert self.process.poll() is None or name in self.said, f"it has ended:\n{self.said}"
            events = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
            fitting = [each for each in events if each.get("event") == name]
            return fitting[count - 1] if len(fitting) >= count else None

        result = until(found)
        assert result
        return result

    def get(self, path: str) -> tuple[int, str]:
        """What it answers at `--listen`."""
        port = self.event("listening")["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self) -> None:
        until(lambda: self.get("/readyz")[0] == 200)

    def metric(self, text: str) -> float | None:
        """The value of the first sample whose name and labels begin so."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(text):
                return float(line.rpartition(" ")[2])
        return None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ask it to end, and wait for that."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)


@contextlib.contextmanager
def controlling(server: ApiServer, url: str, *arguments: str, kubeconfig: Path | None = None) -> Iterator[Controller]:
    """A controller that runs and is ended."""
    given = arguments if any("lea" in each for each in arguments) else (*arguments, "--no-leader-election")
    running = Controller(server, url, *given, kubeconfig=kubeconfig)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()


class Space:
    """A namespace of one test, with what people do in it."""

    def __init__(self, server: ApiServer, services: Services) -> None:
        self.server, self.services = server, services
        self.client = server.client(field_manager="person")
        self.name = f"test-{os.getpid()}-{next(_numbers)}"
        self.client.create(Namespace(metadata=ObjectMeta(name=self.name, labels={"team": "blue"})))

    def apply(self, text: str) -> None:
        """Create or change what the manifests say."""
        for document in yaml.safe_load_all(text):
            document["metadata"].setdefault("namespace", self.name)
            if document["kind"].startswith("Cluster"):
                del document["metadata"]["namespace"]
            self.client.apply(codecs.from_dict(document), field_manager="person", force=True)

    def secret(self, name: str) -> Any:
        """A Secret; None: there is none."""
        try:
            return self.client.get(Secret, name, namespace=self.name)
        except ApiError as error:
            assert error.status.code == 404
            return None

    def data(self, name: str) -> dict[str, str] | None:
        """The values of a Secret."""
        found = self.secret(name)
        if found is None:
            return None
        return {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}

    def external_secret(self, name: str) -> Any:
        return self.client.get(ExternalSecret, name, namespace=self.name)

    def condition(self, name: str) -> tuple[str, str, str]:
        """Status, reason and message of Ready."""
        status = self.external_secret(name).get("status") or {}
        for each in status.get("conditions") or ():
            if each["type"] == "Ready":
                return each["status"], each["reason"], each["message"]
        return "", "", ""

    def wait_for(self, name: str, status: str, reason: str) -> str:
        """Until Ready says so; its message."""
        until(lambda: self.condition(name)[:2] == (status, reason))
        return self.condition(name)[2]

    def patch(self, kind: Any, name: str, patch: dict[str, Any]) -> Any:
        return self.client.patch(kind, name, patch, namespace=self.name, patch_type=PatchType.MERGE)

    def delete(self, kind: Any, name: str) -> None:
        self.client.delete(kind, name, namespace=self.name)

    def events(self, name: str) -> list[tuple[str, str, str]]:
        """Type, reason and message of each event of an object."""
        found = self.client.list(Event, namespace=self.name)
        return [
            (str(each.type), str(each.reason), str(each.message)) for each in found if each.involvedObject.name == name
        ]

    def everything(self) -> str:
        """All that is readable without reading Secrets: objects, status, events, and metadata of Secrets."""
        found: list[Any] = [dict(each) for each in self.client.list(ExternalSecret, namespace=self.name)]
        found += [each.to_dict() for each in self.client.list(Event, namespace=self.name)]
        for secret in self.client.list(Secret, namespace=self.name):
            found.append(secret.metadata.to_dict() if secret.metadata else None)
        return json.dumps(found, default=str)


def store(name: str = "aws", *, controller: str = "freshmount", more: str = "", kind: str = "SecretStore") -> str:
    """A store that asks Secrets Manager."""
    return f"""
apiVersion: external-secrets.io/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  controller: {controller}
  provider: {{aws: {{service: SecretsManager, region: eu-west-1{more}}}}}
"""


def wanting(name: str = "web", *, spec: str = "", interval: str = "1h", ref: str = "{name: aws}") -> str:
    """An ExternalSecret for the user and the password of prod/db."""
    own = spec or (
        "data: [{secretKey: user, remoteRef: {key: prod/db, property: user}}, "
        "{secretKey: pass, remoteRef: {key: prod/db, property: pass}}]"
    )
    indented = re.sub(r"(?m)^", "  ", own)
    return f"""
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {name}}}
spec:
  refreshInterval: {interval}
  secretStoreRef: {ref}
{indented}
"""


# What docs/external-secrets.md lists as its permissions, and nothing else.
RULES = """
- {apiGroups: [external-secrets.io], resources: [externalsecrets, secretstores], verbs: [list, watch]}
- {apiGroups: [external-secrets.io], resources: [clustersecretstores], verbs: [list, watch]}
- {apiGroups: [external-secrets.io], resources: [clustersecretstores/status], verbs: [patch]}
- {apiGroups: [external-secrets.io], resources: [externalsecrets/status, secretstores/status], verbs: [patch]}
- {apiGroups: [""], resources: [secrets], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [""], resources: [configmaps], verbs: [get]}
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
- {apiGroups: [""], resources: [events], verbs: [create]}
"""

TOKENS = """
- {apiGroups: [""], resources: [serviceaccounts], verbs: [get]}
- {apiGroups: [""], resources: [serviceaccounts/token], verbs: [create]}
"""

LEASES = """
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
"""


def least(server: ApiServer, name: str, *rules: str, namespace: str | None = None) -> Path:
    """A kubeconfig of a service account that may do only this: in one namespace, or in all."""
    client = server.client(field_manager="person")
    kind = "Role" if namespace else "ClusterRole"
    where = {"namespace": namespace} if namespace else {}
    account = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    group = "rbac.authorization.k8s.io"
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}},
        {
            "apiVersion": f"{group}/v1",
            "kind": kind,
            "metadata": {"name": name, **where},
            "rules": [rule for text in rules for rule in yaml.safe_load(text)],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": f"{kind}Binding",
            "metadata": {"name": name, **where},
            "subjects": [account],
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
        },
    ]
    for document in documents:
        client.apply(codecs.from_dict(document), field_manager="person", force=True)
    asked = ServiceAccountToken(metadata=ObjectMeta(), spec=TokenRequestSpec(audiences=[]))
    token = client.create(asked, name, namespace="default").status
    assert token
    return server.config_of(token.token, name)


@contextlib.contextmanager
def permitted(server: ApiServer, aws: str, name: str) -> Iterator[Controller]:
    """A controller with the permissions that docs/external-secrets.md lists, and no more. At its end it has told no
    value and no bug."""
    with controlling(server, aws, "--service-account-tokens", kubeconfig=least(server, name, RULES, TOKENS)) as running:
        running.ready()
        yield running
        assert running.stop() == 0
        assert "CANARY" not in running.said
        assert "bug" not in running.said
