"""The hub as people install it: its chart with two replicas, and agents of two namespaces that ask it by its Service.

The NetworkPolicies of both charts are applied. The node's own network does not enforce them: what they let through is
held by tests/chart alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kube import Namespace, Object, one_of_the_cluster
from tests.cluster.test_controller import CHART, IMAGE
from tests.cluster.world import AGENT, CREDENTIALS, World
from tests.support import chart
from tests.support.aws import REGION, Proxy, QuickStandIn
from tests.support.running import until


@pytest.fixture(scope="module", autouse=True)
def _image() -> None:
    chart.need(bool(IMAGE), "CLUSTER_CONTROLLER_IMAGE is not set; `make controller-image` makes it here")


NAME = "freshmount-controller"


@pytest.fixture
def other(world: World, aws: QuickStandIn, demo: Path, tmp_path: Path) -> Iterator[World]:
    """Another namespace, with a service account and secrets of its own."""
    (tmp_path / "other").mkdir()
    with Proxy(aws.url, world.cluster.aws_host) as proxy:
        namespace = Namespace(world.cluster)
        try:
            yield World(namespace, aws, proxy, demo, tmp_path / "other")
        finally:
            namespace.delete()


@pytest.fixture
def hub(world: World, aws: QuickStandIn) -> Iterator[tuple[Namespace, Proxy]]:
    """Its namespace, and its way to AWS."""
    repository, _, tag = IMAGE.rpartition(":")
    with one_of_the_cluster(), Proxy(aws.url, world.cluster.aws_host) as proxy:
        namespace = Namespace(world.cluster)
        endpoint = {"name": "AWS_ENDPOINT_URL_SECRETS_MANAGER", "value": proxy.url}
        values: Object = {
            "image": {"repository": repository, "tag": tag},
            "replicas": 2,
            "hub": {"enabled": True, "period": "1s"},
            "networkPolicy": {"enabled": True, "awsPorts": [int(proxy.url.rpartition(":")[2])]},
            "extraEnv": [*CREDENTIALS, {"name": "AWS_REGION", "value": REGION}, endpoint],
        }
        try:
            namespace.helm(CHART, values, release="freshmount")
            rolled(namespace)
            yield namespace, proxy
        finally:
            # What it has in the cluster does not go with its namespace.
            world.cluster.run("delete", "clusterrole,clusterrolebinding", NAME, "--ignore-not-found", check=False)
            namespace.delete()


def rolled(namespace: Namespace) -> None:
    namespace.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=120s")


def hub_of(world: World, pod: str) -> Any:
    """What the agent says of the hub."""
    return world.k.status(pod)["agent"]["hub"]


def answered(world: World, pod: str) -> None:
    until(lambda: (hub_of(world, pod) or {}).get("answersFor") == ["db"])


def looks(proxy: Proxy) -> int:
    return sum(operation == "DescribeSecret" for operation, _ in proxy.calls)


@pytest.mark.long
def test_agents_of_two_namespaces_follow_a_rotation_by_the_hub(
    world: World, other: World, hub: tuple[Namespace, Proxy]
) -> None:
    """Each with its own token and identity. Replicas that are rolled under them cost no file and no look at AWS."""
    k, of_hub = hub
    pods: dict[World, str] = {}
    for each in (world, other):
        each.put("db", "one")
        config = each.config([each.secret("db")], poll={"period": "300s"})
        more = {"hub": {"url": f"http://freshmount.{k.name}:9106"}, "networkPolicy": {"enabled": True}}
        pods[each] = each.start(config, **more)
        answered(each, pods[each])
        said = each.k.exec(pods[each], AGENT, "freshmount", "status").stdout
        assert "1 secret asked through the hub, last answer" in said and "own look in" in said
    before = {each: looks(each.proxy) for each in pods}

    k.kubectl("rollout", "restart", f"deployment/{NAME}")
    rolled(k)
    for each, pod in pods.items():
        answered(each, pod)
        assert looks(each.proxy) == before[each]
        assert each.in_app(pod, "print(open('/freshmount/secrets/db').read())").strip() == "one"

    for each, pod in pods.items():
        each.rotate("db", f"two of {each.k.name}")
        read = "print(open('/freshmount/secrets/db').read())"
        until(lambda each=each, pod=pod, read=read: each.in_app(pod, read).strip() == f"two of {each.k.name}")  # type: ignore[misc]
        assert looks(each.proxy) == before[each] + 1
        assert hub_of(each, pod)["trouble"] is None
    assert {operation for operation, _ in of_hub.calls} == {"DescribeSecret"}
