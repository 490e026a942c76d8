"""What one test has: a namespace, secrets of its own in a stand-in for AWS, the demo chart with our app in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.kube import Cluster, Namespace, Object, name_of
from tests.support.aws import REGION, Proxy, QuickStandIn

HERE = Path(__file__).parent
CREDENTIALS = [{"name": "AWS_ACCESS_KEY_ID", "value": "testing"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "testing"}]
AGENT = "freshmount"
APP = "web"
DEPLOYMENT = "templates/deployment.yaml"
Edit = tuple[str, str, str]  # file of the chart, old text, new text

# Each is asked for by name, so that a chart that changes under a test is noticed.
NO_SHARED_PROCESSES: Edit = (
    DEPLOYMENT,
    '{{- with include "freshmount.shareProcessNamespace" . }}{{ nindent 6 . }}{{ end }}',
    "",
)


def in_pod(line: str) -> Edit:
    """A line of the pod's spec."""
    return DEPLOYMENT, "    spec:\n      serviceAccountName:", f"    spec:\n      {line}\n      serviceAccountName:"


def labelled(key: str, value: str) -> Edit:
    """A label of the pod."""
    labels = "\n      labels:\n        "
    return DEPLOYMENT, f"{labels}{{{{-", f"{labels}{key}: {value}\n        {{{{-"


def after_agent(container: Object) -> Edit:
    """An init container after the agent's."""
    old = "      initContainers:\n        {{- nindent 8 . }}\n"
    return DEPLOYMENT, old, f"{old}        - {json.dumps(container)}\n"


def with_volume(volume: Object) -> Edit:
    old = "        - name: app\n          configMap:"
    return DEPLOYMENT, old, f"        - {json.dumps(volume)}\n{old}"


def app_security(**more: object) -> Edit:
    """More in the security context of the app's container."""
    old = "            allowPrivilegeEscalation: false\n"
    lines = "".join(f"            {key}: {json.dumps(value)}\n" for key, value in more.items())
    return DEPLOYMENT, old, old + lines


class World:
    def __init__(self, namespace: Namespace, aws: QuickStandIn, proxy: Proxy, demo: Path, home: Path) -> None:
        self.k, self.aws, self.proxy = namespace, aws, proxy
        self._demo, self._home = demo, home
        self._charts = 0

    @property
    def cluster(self) -> Cluster:
        return self.k.cluster

    def id(self, name: str) -> str:
        """The id of a secret of this test."""
        return f"{name}-{self.k.name}"

    def put(self, name: str, value: str) -> str:
        return self.aws.put(self.id(name), value)

    def rotate(self, name: str, value: str) -> str:
        return self.aws.rotate(self.id(name), value)

    def secret(self, name: str, *files: Object, **more: Any) -> Object:
        """An entry of the config; the whole value as one file by default."""
        return {"name": name, "secretId": self.id(name), "files": [*files] or [{"path": name}], **more}

    def hup(self) -> Object:
        return {"name": "web", "signal": "SIGHUP", "process": {"name": "python3"}}

    def config(self, secrets: Sequence[Object], notify: Sequence[Object] = (), **more: Any) -> Object:
        targets = {"notify": list(notify)} if notify else {"notify": None}
        where = {"region": REGION, "endpointUrl": self.proxy.url, "poll": {"period": "1s"}}
        return {**where, "secrets": list(secrets), **targets, **more}

    def values(self, config: Object, env: Sequence[Object] = CREDENTIALS, **more: Any) -> Object:
        """The demo chart's values: one pod, whose agent runs with that config. `more` is the library's."""
        repository, _, tag = self.cluster.image.rpartition(":")
        app, _, app_tag = self.cluster.app_image.rpartition(":")
        ours = {"image": {"repository": repository, "tag": tag}, "config": config, "extraEnv": [*env], **more}
        return {"replicas": 1, "kind": "", "image": {"repository": app, "tag": app_tag}, "freshmount": ours}

    def chart(self, edits: Sequence[Edit] = (), app: Mapping[str, str] | None = None) -> Path:
        """A copy of the demo chart with our app, which gets that environment, and with texts replaced."""
        self._charts += 1
        copy = self._home / f"chart-{self._charts}"
        shutil.copytree(self._demo, copy)
        for name, old, new in edits:
            text = (copy / name).read_text()
            assert old in text, f"{name} of the demo chart has no {old!r} any more"
            (copy / name).write_text(text.replace(old, new, 1))
        set_up = f"import os\nos.environ.update({dict(app or {})!r})\n"
        (copy / "app.py").write_text(set_up + (HERE / "app.py").read_text())
        return copy

    def install(self, values: Object, edits: Sequence[Edit] = (), app: Mapping[str, str] | None = None) -> None:
        # What the API server makes of the chart's manifests, field by field, is a test of its own.
        self.k.helm(self.chart(edits, app), values, "--disable-openapi-validation")

    def start(
        self, config: Object, edits: Sequence[Edit] = (), app: Mapping[str, str] | None = None, **more: Any
    ) -> str:
        """Install, and the name of the pod once it is ready."""
        self.install(self.values(config, **more), edits, app)
        return name_of(self.k.ready())

    def edit_config(self, text: str) -> None:
        """The agent's ConfigMap, by hand, as kubectl edit would leave it."""
        self.k.patch("configmap", "web-demo-freshmount", {"data": {"config.yaml": text}})

    def config_text(self) -> str:
        return str(self.k.get("configmap", "web-demo-freshmount")["data"]["config.yaml"])

    def in_app(self, pod: str, program: str) -> str:
        """What a Python program in the app's container prints."""
        return self.k.exec(pod, APP, "python3", "-c", program).stdout
