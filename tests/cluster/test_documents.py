"""Every manifest of the documents is what a real API server accepts, where Pod Security *restricted* is enforced.

Those of ExternalSecrets, too, by the definitions that the controller's chart brings, and those of the Secrets Store CSI
driver by one of ours, where the driver is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.kube import Object
from tests.cluster.world import World
from tests.support import chart
from tests.whole.test_docs import BLOCKS, MANIFESTS

NATIVE = "freshmount.dev/v1"  # the agent's config, which no API server knows
DOCUMENTS = [
    (path, document)
    for path, text in MANIFESTS
    if "{{" not in text  # a template of Helm's
    for document in yaml.safe_load_all(text)
    if document["apiVersion"] != NATIVE
]
PROVIDER_CLASSES = Path(__file__).parent / "secretproviderclasses.yaml"
SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def parts() -> list[tuple[Path, Object]]:
    """The blocks that are a part of a pod's spec: its lists, or keys of its first init container."""
    found = []
    for path, kind, text in BLOCKS:
        if kind == "yaml" and "{{" not in text and (path, text) not in MANIFESTS:
            part: Any = yaml.safe_load(text)
            if isinstance(part, dict) and part.keys() & {"initContainers", "containers", "startupProbe", "lifecycle"}:
                found.append((path, part))
    return found


def whole(part: Object) -> Object:
    """The pod of the README with that part in the place of its own. A part says nothing of security."""
    (pod,) = (document for path, document in DOCUMENTS if path.name == "README.md" and document["kind"] == "Pod")
    spec = {**pod["spec"]}
    if part.keys() & {"initContainers", "containers"}:
        lists = {name: [{**each, "securityContext": SECURITY} for each in part[name]] for name in part}
        return {**pod, "spec": {**spec, **lists}}
    agent = {key: value for key, value in spec["initContainers"][0].items() if key not in ("lifecycle", "startupProbe")}
    return {**pod, "spec": {**spec, "initContainers": [{**agent, **part}]}}


def refusals(world: World, documents: list[tuple[str, Object]]) -> list[str]:
    """What the API server says against them; a warning counts, too."""
    pods = [document["spec"] for _, document in documents if document["kind"] == "Pod"]
    for name in {spec["serviceAccountName"] for spec in pods if "serviceAccountName" in spec}:
        world.k.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
    refused = []
    for what, document in documents:
        said = world.cluster.rest.refusal(document, world.k.name)
        if said:
            refused.append(f"{what}: {document['kind']} {document['metadata']['name']}: {said}")
    return refused


@pytest.fixture
def kinds_of_others(world: World) -> None:
    """The API server knows the kinds of the documents that Kubernetes does not bring."""
    world.cluster.knows_external_secrets()
    world.cluster.serves(PROVIDER_CLASSES, "secretproviderclasses.secrets-store.csi.x-k8s.io")


def test_there_are_manifests() -> None:
    kinds = {document["kind"] for _, document in DOCUMENTS}
    assert kinds >= {"Pod", "ConfigMap", "ServiceAccount", "SecretStore", "ExternalSecret", "SecretProviderClass"}
    assert {key for _, part in parts() for key in part} >= {"initContainers", "containers", "startupProbe"}


@pytest.mark.usefixtures("kinds_of_others")
def test_the_api_server_accepts_every_manifest(world: World) -> None:
    documents = [(path.name, document) for path, document in DOCUMENTS]
    documents += [(path.name, whole(part)) for path, part in parts()]
    for _, document in documents:
        if "namespace" in document["metadata"]:  # of the reader's, which is not here
            document["metadata"] = {**document["metadata"], "namespace": world.k.name}
    refused = refusals(world, documents)
    assert not refused, "\n".join(refused)


def test_the_api_server_accepts_all_that_the_chart_can_render(world: World) -> None:
    """But for what belongs to operators, which are not in a plain cluster."""
    values = world.values(
        world.config([world.secret("db")], [world.hup()]),
        networkPolicy={"enabled": True},
        dashboard={"enabled": True},
        aws={"identity": "irsa", "roleArn": "arn:aws:iam::111122223333:role/web"},
    )
    drawn = chart.Chart(world.cluster.helm, world.chart()).template({**values, "job": {"enabled": True}}, "1.34")
    assert {"NetworkPolicy", "Deployment", "Job", "ConfigMap", "ServiceAccount"} <= {*drawn.kinds()}
    local = [{**each, "metadata": {**each["metadata"], "namespace": world.k.name}} for each in drawn.documents]
    refused = refusals(world, [("chart", each) for each in local])
    assert not refused, "\n".join(refused)
