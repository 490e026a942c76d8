"""The circle: a Secret that is pushed to AWS by the controller, and a pod that has its values by the injected agent."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.injected import Injected
from tests.cluster.kube import Namespace, one_of_the_cluster
from tests.cluster.world import APP, CREDENTIALS
from tests.support import chart
from tests.support.aws import REGION
from tests.support.running import until

CONTROLLER = Path(__file__).parent.parent.parent / "charts" / "controller"


@pytest.fixture
def world(injected: Injected) -> Injected:
    """By this name a failed test prints what is in its namespace."""
    return injected


@contextlib.contextmanager
def pushing(world: Injected, image: str) -> Iterator[Namespace]:
    """A controller that writes the pushed Secrets of this namespace to AWS, in a namespace of its own."""
    repository, _, tag = image.rpartition(":")
    endpoint = {"name": "AWS_ENDPOINT_URL_SECRETS_MANAGER", "value": world.aws.url}
    values = {
        "image": {"repository": repository, "tag": tag},
        "replicas": 1,
        "push": {"enabled": True, "cluster": world.k.name, "namespaces": [world.k.name]},
        "extraEnv": [*CREDENTIALS, endpoint, {"name": "AWS_REGION", "value": REGION}],
    }
    with one_of_the_cluster():
        home = Namespace(world.cluster)
        try:
            home.helm(CONTROLLER, values, release="pusher")
            home.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=90s")
            yield home
        finally:
            # What it has in the cluster does not go with its namespace.
            home.kubectl("delete", "mutatingwebhookconfiguration", "freshmount-push", "--ignore-not-found", check=False)
            roles = "clusterrole,clusterrolebinding"
            home.kubectl("delete", roles, "freshmount-controller", "--ignore-not-found", check=False)
            home.delete()


@pytest.mark.long
def test_from_kubectl_apply_of_a_pushed_secret_to_the_apps_handler(world: Injected) -> None:
    """The circle: the cluster has an ARN alone, the pod that asks by a label has the files, and a new value that is
    applied reaches the handler, by the agent's ordinary pass."""
    image = os.environ.get("CLUSTER_CONTROLLER_IMAGE", "")
    chart.need(bool(image), "CLUSTER_CONTROLLER_IMAGE is not set; `make controller-image` makes it here")

    def pushed(password: str) -> bool:
        """False while the API server does not know the webhook's certificate yet: it fails closed."""
        labels = {"freshmount.dev/push": "true"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "circle", "labels": labels}}
        text = json.dumps({**secret, "stringData": {"user": "app", "password": password}})
        return world.k.kubectl("apply", "--filename=-", stdin=text, check=False).returncode == 0

    with pushing(world, image):
        until(lambda: pushed("canary-one"), 0.5)
        held = world.k.kubectl("get", "secret", "circle", "--output=yaml").stdout
        decoded = {base64.b64decode(text).decode() for text in world.k.get("secret", "circle")["data"].values()}
        assert len(decoded) == 1 and decoded.pop().startswith("arn:aws:secretsmanager:")
        assert "canary" not in held and base64.b64encode(b"canary-one").decode() not in held
        asked = {"freshmount.dev/secrets": "db=secret:circle", "freshmount.dev/signal": "SIGHUP:python3"}
        world.k.apply(world.pod("circle", asked))
        world.k.ready("circle")
        with world.k.log("circle", APP) as log:
            assert log.event("start")["files"] == {"db/password": "canary-one", "db/user": "app"}
        assert pushed("canary-two")
        assert "canary" not in world.k.kubectl("get", "secret", "circle", "--output=yaml").stdout
    # Without a config the agent looks once a minute, and needs no controller for it.
    with world.k.log("circle", APP) as log:
        assert log.event("signal")["files"] == {"db/password": "canary-two", "db/user": "app"}
