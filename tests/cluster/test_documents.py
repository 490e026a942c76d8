"""Every manifest of the documents is what a real API server accepts, where Pod Security *restricted* is enforced."""

from __future__ import annotations

import json

import yaml

from tests.cluster.world import World
from tests.whole.test_docs import MANIFESTS, NOT_KUBERNETES

DOCUMENTS = [
    (path, document)
    for path, text in MANIFESTS
    if "{{" not in text  # a template of Helm's
    for document in yaml.safe_load_all(text)
    # Those of operators are not in a plain cluster.
    if document["apiVersion"] not in NOT_KUBERNETES and "." not in document["apiVersion"].partition("/")[0]
]


def test_there_are_manifests() -> None:
    assert {document["kind"] for _, document in DOCUMENTS} >= {"Pod", "ConfigMap", "ServiceAccount"}


def test_the_api_server_accepts_every_manifest(world: World) -> None:
    named = {document["spec"].get("serviceAccountName") for _, document in DOCUMENTS if document["kind"] == "Pod"}
    world.k.apply(
        *({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}} for name in named if name)
    )
    refused = []
    for path, document in DOCUMENTS:
        what = f"{path.name}: {document['kind']} {document['metadata']['name']}"
        done = world.k.kubectl(
            "apply", "--dry-run=server", "--validate=strict", "--filename=-", stdin=json.dumps(document), check=False
        )
        if done.returncode or "Warning" in done.stderr:
            refused.append(f"{what}: {done.stderr.strip()}")
    assert not refused, "\n".join(refused)
