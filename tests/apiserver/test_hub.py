"""The hub with the real API server's TokenReview, and no more permission there than it says it needs."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube import Client
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.core_v1 import Namespace, ServiceAccount, ServiceAccountToken
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding

from tests.support.aws import Proxy, QuickStandIn
from tests.support.hub import Hub, Service
from tests.support.pod import Pod
from tests.support.resting import rested
from tests.support.running import Agent, running, until

DB = {"kind": "secretsmanager", "id": "prod/db", "region": "eu-west-1", "stage": "AWSCURRENT", "version": None}


def account(client: Client, namespace: str, name: str) -> None:
    client.create(ServiceAccount(metadata=ObjectMeta(name=name, namespace=namespace)))


def token(client: Client, namespace: str, name: str, audience: str | None) -> str:
    """A token as kubelet projects it into a pod; without an audience one for the API server."""
    spec = TokenRequestSpec(audiences=[audience] if audience else [], expirationSeconds=600)
    made = client.create(ServiceAccountToken(metadata=ObjectMeta(), spec=spec), name, namespace=namespace)
    assert made.status
    return str(made.status.token)


@pytest.fixture
def namespace(api: Any) -> str:
    name = f"hub-{uuid.uuid4().hex[:8]}"
    api.client().create(Namespace(metadata=ObjectMeta(name=name)))
    return name


class Reviews:
    """Leads the hub to the real API server, with a service account of its own that may create TokenReviews alone."""

    def __init__(self, api: Any, namespace: str) -> None:
        client = api.client()
        account(client, namespace, "hub")
        rule = PolicyRule(apiGroups=["authentication.k8s.io"], resources=["tokenreviews"], verbs=["create"])
        client.create(ClusterRole(metadata=ObjectMeta(name=namespace), rules=[rule]))
        subject = Subject(kind="ServiceAccount", name="hub", namespace=namespace)
        reference = RoleRef(apiGroup="rbac.authorization.k8s.io", kind="ClusterRole", name=namespace)
        client.create(ClusterRoleBinding(metadata=ObjectMeta(name=namespace), roleRef=reference, subjects=[subject]))
        self._of_hub = Path(api.config_of(token(client, namespace, "hub", None), namespace))

    def kubeconfig(self, _: Path) -> Path:
        return self._of_hub


def test_tokens_are_reviewed_with_the_least_permission(api: Any, namespace: str, tmp_path: Path) -> None:
    """Of another audience, of none, altered, or of an account that was deleted: none of them counts."""
    client = api.client()
    for name in ("agent", "gone"):
        account(client, namespace, name)
    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        aws.put("prod/db", "1")
        hub = Hub(Reviews(api, namespace), proxy.url, tmp_path)
        try:
            good = token(client, namespace, "agent", "freshmount")
            deleted = token(client, namespace, "gone", "freshmount")
            client.delete(ServiceAccount, "gone", namespace=namespace)
            for wrong in (
                token(client, namespace, "agent", "vault"),
                token(client, namespace, "agent", None),
                good[:-4] + "AAAA",
                deleted,
                api.token,
            ):
                assert hub.ask(wrong, DB)[0] == 401
            assert proxy.calls == []
            status, said = hub.ask(good, DB)
            assert status == 200 and said["secrets"][0]["stages"] == ["AWSCURRENT"]
        finally:
            hub.process.kill()
            hub.wait()


class Fleet:
    """Agents of two namespaces with two service accounts each, of one secret that all share."""

    def __init__(self, client: Client, aws: QuickStandIn, home: Path, url: str) -> None:
        self.pods: list[Pod] = []
        self._configs: list[Path] = []
        for number in range(2):
            namespace = f"app-{uuid.uuid4().hex[:8]}"
            client.create(Namespace(metadata=ObjectMeta(name=namespace)))
            for name in ("web", "worker"):
                account(client, namespace, name)
                at = home / f"{name}{number}"
                at.mkdir()
                (at / "token").write_text(token(client, namespace, name, "freshmount"))
                pod = Pod(aws, Proxy(aws.url), at)
                hub = f"hub: {{url: '{url}', tokenPath: {at / 'token'}}}"
                secret = "{name: db, secretId: prod/db, files: [{path: db}]}"
                self._configs.append(pod.write(secret, period="300s", extra=hub))
                self.pods.append(pod)

    @contextlib.contextmanager
    def running(self) -> Iterator[list[Agent]]:
        with contextlib.ExitStack() as ending:
            for pod in self.pods:
                ending.enter_context(pod.proxy)
            yield [ending.enter_context(running("run", config)) for config in self._configs]

    def looks(self) -> int:
        """Calls that the agents made themselves, to ask AWS which version is current."""
        return sum(operation == "DescribeSecret" for pod in self.pods for operation, _ in pod.proxy.calls)


def hub_of(agent: Agent) -> Any:
    """What the status says of the hub."""
    return json.loads(agent.page("/status")[1])["agent"]["hub"]


def test_replicas_are_rolled_under_agents_of_several_namespaces(api: Any, namespace: str, tmp_path: Path) -> None:
    """Agents keep their files and go to another replica at once: none of them falls back, nor asks AWS for that."""
    reviews = Reviews(api, namespace)
    with QuickStandIn() as aws, Proxy(aws.url) as of_hub, Service() as service, contextlib.ExitStack() as ending:
        aws.put("prod/db", "1")

        def replica() -> Hub:
            made = Hub(reviews, of_hub.url, tmp_path, "--hub-period", "1s", "--hub-replicas", "2")
            ending.callback(made.wait)
            ending.callback(made.process.kill)
            return made

        def waiting(*hubs: Hub) -> float:
            return sum(each.metrics()["controller_hub_agents"] for each in hubs)

        old = [replica(), replica()]
        service.leads_to(*(each.port for each in old))
        fleet = Fleet(api.client(), aws, tmp_path, service.url)
        with fleet.running() as agents:
            for agent in agents:
                rested(agent)
                until(lambda agent=agent: (hub_of(agent) or {}).get("answersFor") == ["db"])
                page = agent.page("/")[1]
                assert "1 secret asked through the hub, last answer" in page and "own look in" in page
            until(lambda: waiting(*old) == len(agents))
            looks = fleet.looks()
            new: list[Hub] = []
            for gone in old:
                new.append(replica())
                kept = [each for each in (*old, *new) if each is not gone and each.process.poll() is None]
                service.leads_to(*(each.port for each in kept))
                assert gone.stop() == 0
                until(lambda kept=kept: waiting(*kept) == len(agents))
            assert fleet.looks() == looks and {pod.read("db") for pod in fleet.pods} == {"1"}
            aws.rotate("prod/db", "2")
            until(lambda: {pod.read("db") for pod in fleet.pods} == {"2"})
            assert fleet.looks() == looks + len(agents)
            for agent in agents:
                said = hub_of(agent)
                assert said["connected"] and said["trouble"] is None
                assert not [line for line in agent.seen if "does not answer" in str(line.get("event"))]
