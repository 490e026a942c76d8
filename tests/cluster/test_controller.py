"""The controller as people install it: its image and its chart on a real node, with the rights that the chart gives."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kube import Object
from tests.cluster.world import CREDENTIALS, World
from tests.support import chart
from tests.support.aws import REGION

CHART = Path(__file__).parent.parent.parent / "charts" / "controller"
IMAGE = os.environ.get("CLUSTER_CONTROLLER_IMAGE", "")


@pytest.fixture(scope="module", autouse=True)
def _image() -> None:
    chart.need(bool(IMAGE), "CLUSTER_CONTROLLER_IMAGE is not set; `make controller-image` makes it here")


def values(world: World) -> Object:
    """Those of a controller for this namespace alone."""
    repository, _, tag = IMAGE.rpartition(":")
    endpoints = ("SECRETS_MANAGER", "SSM", "STS")
    return {
        "image": {"repository": repository, "tag": tag},
        "replicas": 1,
        "externalSecrets": {"enabled": True, "namespaces": [world.k.name]},
        "extraEnv": [
            *CREDENTIALS,
            {"name": "AWS_REGION", "value": REGION},
            *({"name": f"AWS_ENDPOINT_URL_{of}", "value": world.proxy.url} for of in endpoints),
        ],
    }


def wanted(world: World) -> list[Object]:
    """A store, and what is asked of it."""
    head: dict[str, Any] = {"apiVersion": "external-secrets.io/v1"}
    provider = {"aws": {"service": "SecretsManager", "region": REGION}}
    store = {**head, "kind": "SecretStore", "metadata": {"name": "aws"}}
    asked = {
        "refreshInterval": "2s",
        "secretStoreRef": {"name": "aws", "kind": "SecretStore"},
        "target": {"name": "db"},
        "dataFrom": [{"extract": {"key": world.id("db")}}],
    }
    return [
        {**store, "spec": {"controller": "freshmount", "provider": provider}},
        {**head, "kind": "ExternalSecret", "metadata": {"name": "db"}, "spec": asked},
    ]


def held(secret: Object) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}


def test_a_secret_comes_follows_aws_and_is_put_right(world: World) -> None:
    """By the chart's Roles alone. What a person sees is the condition, the columns and the event."""
    k = world.k
    world.cluster.knows_external_secrets()
    world.put("db", json.dumps({"username": "app", "password": "one"}))
    k.helm(CHART, values(world), release="controller")
    k.apply(*wanted(world))
    k.kubectl("wait", "--for=condition=Ready", "--timeout=90s", "externalsecret/db")
    assert held(k.get("secret", "db")) == {"username": "app", "password": "one"}
    shown = k.kubectl("get", "externalsecret", "db").stdout
    assert "SecretSynced" in shown and "True" in shown

    world.rotate("db", json.dumps({"username": "app", "password": "two"}))
    k.until("secret", lambda secret: held(secret).get("password") == "two", "the rotation", "db")

    before = k.get("secret", "db")["metadata"]["uid"]
    k.kubectl("delete", "secret", "db")
    k.until("secret", lambda s: s["metadata"]["uid"] != before and held(s).get("password") == "two", "it is back", "db")

    edit = {"stringData": {"password": "mine", "more": "x"}}
    k.kubectl("patch", "secret", "db", "--type=merge", f"--patch={json.dumps(edit)}")
    right = {"username": "app", "password": "two"}
    k.until("secret", lambda secret: held(secret) == right, "what was edited by hand is put right", "db")

    said = k.kubectl("logs", "--selector=app.kubernetes.io/instance=controller", "--tail=-1").stdout
    seen = said + k.kubectl("get", "events", "--output=json").stdout
    assert "listening" in said and not [value for value in ("one", "two", "mine") if f'"{value}"' in seen]
