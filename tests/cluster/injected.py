"""The injector on the cluster, for one worker: its release, and namespaces that it chooses, one a Pod Security level.

What is tried by a dry run needs no node and no image.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.cluster.kube import PATIENCE, Cluster, Namespace, Object
from tests.cluster.world import APP, CREDENTIALS, HERE
from tests.support.aws import REGION, QuickStandIn
from tests.support.chart import Chart
from tests.support.running import until

LABEL, CHOSEN = "freshmount.dev/inject", "injected-by"
ON = {LABEL: "true"}
SECURE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
USER = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
SELECTORS = ("freshmount.dev/config", "freshmount.dev/secrets")
_OF_IT = re.compile(r'\S+ "[^"]+" is (?:forbidden|invalid): ')


class Injected:
    """Namespaces of one release: `k` enforces *restricted*; `elsewhere` is not chosen."""

    def __init__(self, cluster: Cluster, chart: Path, aws: QuickStandIn) -> None:
        self.cluster, self.chart, self.aws = cluster, Chart(cluster.helm, chart), aws
        self.k = Namespace(cluster)
        self.levels = {"restricted": self.k, **{name: Namespace(cluster, name) for name in ("baseline", "privileged")}}
        self.elsewhere = Namespace(cluster)
        for namespace in self.levels.values():
            namespace.label(CHOSEN, self.k.name)
        self.k.helm(chart, self.values(), release=self.release)
        # Refused is in every namespace, and those of other tests are not ours.
        names = ["kube-system", self.elsewhere.name, *self._names()]
        patch = json.dumps({"spec": {"matchResources": {"namespaceSelector": _in(names)}}})
        bindings = [f"validatingadmissionpolicybinding/{self.release}-{what}" for what in ("pods", "workloads")]
        cluster.run("patch", *bindings, "--type=merge", f"--patch={patch}")
        for namespace in self.levels.values():
            app = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}}
            namespace.apply({**app, "data": {"app.py": (HERE / "app.py").read_text()}})
            namespace.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}})
        # The API server takes up each policy some time after it has said yes to it.
        until(lambda: self._injects() and self._refuses())

    def _injects(self) -> bool:
        there = self.one(self.pod("there"))
        return not isinstance(there, str) and "initContainers" in there["spec"]

    def _refuses(self) -> bool:
        wrong = self.template({"freshmount.dev/wrong": "x"}, restartPolicy="Never")
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "wrong"}, "spec": {"template": wrong}}
        pod = {"apiVersion": "v1", "kind": "Pod", **wrong, "metadata": {**wrong["metadata"], "name": "wrong-pod"}}
        return all("denied request: freshmount: " in str(found) for found in self.tried([pod, job]).values())

    @property
    def release(self) -> str:
        return f"injector-{self.k.name}"

    def values(self) -> Object:
        repository, _, tag = self.cluster.image.rpartition(":")
        endpoint = [
            {"name": "AWS_ENDPOINT_URL_SECRETS_MANAGER", "value": self.aws.url},
            {"name": "AWS_REGION", "value": REGION},
        ]
        return {
            "image": {"repository": repository, "tag": tag},
            "extraEnv": [*CREDENTIALS, *endpoint],
            "namespaceSelector": _in(["kube-system", *self._names()]),
        }

    def _names(self) -> list[str]:
        return [namespace.name for namespace in self.levels.values()]

    def put(self, name: str, value: str) -> str:
        """The ARN of a secret of this namespace."""
        return self.aws.put(f"{name}-{self.k.name}", value)

    def rotate(self, name: str, value: str) -> None:
        self.aws.rotate(f"{name}-{self.k.name}", value)

    def config(self, name: str, secrets: Iterable[str], **more: Any) -> None:
        """A ConfigMap with the config of secrets by their names here, looked at each second."""
        entries = [{"name": each, "secretId": f"{each}-{self.k.name}", "files": [{"path": each}]} for each in secrets]
        text = {
            "apiVersion": "freshmount.dev/v1",
            "kind": "Config",
            "poll": {"period": "1s"},
            "secrets": entries,
            **more,
        }
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        self.k.apply({**config, "data": {"config.yaml": json.dumps(text)}})

    def app(self, name: str = APP, *arguments: str, **more: Any) -> Object:
        """A container with our app, which meets *restricted*."""
        return {
            "name": name,
            "image": self.cluster.app_image,
            "command": ["python3", "-u", "/app/app.py", *arguments],
            "securityContext": SECURE,
            "volumeMounts": [{"name": "app", "mountPath": "/app", "readOnly": True}],
            **more,
        }

    def template(
        self, annotations: Object | None = None, *, labels: Object | None = None, **spec: Any
    ) -> dict[str, Any]:
        """A pod's metadata and spec. It asks for one secret unless its annotations say otherwise."""
        given = annotations or {}
        if not any(key in given for key in SELECTORS):
            given = {"freshmount.dev/secrets": "db=arn:aws:secretsmanager:eu-west-1:111122223333:secret:db", **given}
        return {
            "metadata": {"labels": ON if labels is None else labels, "annotations": given},
            "spec": {
                "serviceAccountName": "web",
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "securityContext": USER,
                "containers": [self.app()],
                "volumes": [{"name": "app", "configMap": {"name": "app"}}],
                **spec,
            },
        }

    def pod(self, name: str, annotations: Object | None = None, **more: Any) -> Object:
        pod = {"apiVersion": "v1", "kind": "Pod", **self.template(annotations, **more)}
        return {**pod, "metadata": {**pod["metadata"], "name": name}}

    def tried(self, objects: Iterable[Object], namespace: str = "") -> dict[str, Object | str]:
        """By name what each would become, or the sentence that refuses it."""
        found: dict[str, Object | str] = {}
        for each in objects:
            said = self.cluster.rest.created(each, namespace or self.k.name)
            found[each["metadata"]["name"]] = _OF_IT.sub("", said, count=1) if isinstance(said, str) else said
        return found

    def one(self, object: Object, namespace: str = "") -> Any:
        """What it would become, or the sentence that refuses it."""
        (found,) = self.tried([object], namespace).values()
        return found

    def delete(self) -> None:
        uninstall = [self.cluster.helm, "uninstall", self.release, "--namespace", self.k.name]
        subprocess.run(uninstall, capture_output=True, check=False, timeout=PATIENCE)
        with ExitStack() as each:
            for namespace in (self.elsewhere, *self.levels.values()):
                each.callback(namespace.delete)


def _in(names: list[str]) -> Object:
    """The selector of those namespaces."""
    return {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": names}]}


def mounts(container: Object) -> dict[str, str]:
    """What is mounted from our volumes, by path."""
    return {m["mountPath"]: m["name"] for m in container.get("volumeMounts", ()) if m["name"].startswith("freshmount")}
