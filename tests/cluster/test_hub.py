"""The hub with the real API server's TokenReview, and no more permission there than it says it needs."""

from __future__ import annotations

import uuid
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
from tests.support.hub import Hub

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


def test_tokens_are_reviewed_with_the_least_permission(api: Any, namespace: str, tmp_path: Path) -> None:
    """Of another audience, of none, altered, or of an account that was deleted: none of them counts."""
    client = api.client()
    for name in ("hub", "agent", "gone"):
        account(client, namespace, name)
    rule = PolicyRule(apiGroups=["authentication.k8s.io"], resources=["tokenreviews"], verbs=["create"])
    client.create(ClusterRole(metadata=ObjectMeta(name=namespace), rules=[rule]))
    subject = Subject(kind="ServiceAccount", name="hub", namespace=namespace)
    reference = RoleRef(apiGroup="rbac.authorization.k8s.io", kind="ClusterRole", name=namespace)
    client.create(ClusterRoleBinding(metadata=ObjectMeta(name=namespace), roleRef=reference, subjects=[subject]))
    of_hub = api.config_of(token(client, namespace, "hub", None), "hub")

    class Reviews:
        """Leads the hub to the real API server."""

        def kubeconfig(self, _: Path) -> Path:
            return Path(of_hub)

    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        aws.put("prod/db", "1")
        hub = Hub(Reviews(), proxy.url, tmp_path)
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
