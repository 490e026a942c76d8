"""Every manifest of the documents is what a real API server accepts, where Pod Security *restricted* is enforced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kube import Object
from tests.cluster.world import World
from tests.support import chart
from tests.whole.test_docs import BLOCKS, MANIFESTS, NOT_KUBERNETES

DOCUMENTS = [
    (path, document)
    for path, text in MANIFESTS
    if "{{" not in text  # a template of Helm's
    for document in yaml.safe_load_all(text)
    if document["apiVersion"] not in NOT_KUBERNETES
    and not document["apiVersion"].startswith("external-secrets.io/")  # not in a plain cluster
]
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


def test_there_are_manifests() -> None:
    assert {document["kind"] for _, document in DOCUMENTS} >= {"Pod", "ConfigMap", "ServiceAccount"}
    assert {key for _, part in parts() for key in part} >= {"initContainers", "containers", "startupProbe"}


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
