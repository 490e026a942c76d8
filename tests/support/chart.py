"""The charts as their user has them: copied, their dependency built by helm, rendered by helm."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml

from tests.support import chart_tools
from tests.support.paths import ROOT

CHARTS = ROOT / "charts"
KUBERNETES = ("1.25", "1.28", "1.29", "1.37")  # the oldest supported, both sides of native sidecars, the newest
# For `parametrize`. That both render the same of everything is a test of each run.
BOTH_HELMS = (pytest.param("v3", marks=pytest.mark.full("Helm 3 renders as Helm 4, by a test of each run")), "v4")
_OPERATOR = "monitoring.coreos.com/v1"  # not Kubernetes' own, so not in its schemas


@dataclass(frozen=True)
class Rendered:
    text: str
    documents: tuple[dict[str, Any], ...]

    def one(self, kind: str, ending: str = "") -> dict[str, Any]:
        (found,) = (d for d in self.documents if d["kind"] == kind and d["metadata"]["name"].endswith(ending))
        return found

    def kinds(self) -> list[str]:
        return sorted(d["kind"] for d in self.documents)

    def pod(self, kind: str = "Deployment") -> dict[str, Any]:
        return dict(self.one(kind)["spec"]["template"]["spec"])

    def agent(self) -> dict[str, Any]:
        """The container that runs, or else the one that fills."""
        pod = self.pod()
        return next(c for c in [*pod["containers"], *pod.get("initContainers", [])] if c["name"] != "web")

    def config(self, ending: str = "-freshmount") -> str:
        return str(self.one("ConfigMap", ending)["data"]["config.yaml"])


@dataclass(frozen=True)
class Chart:
    """One chart and the helm that renders it."""

    helm: str
    path: Path

    def template(self, values: dict[str, Any] | None = None, kube: str = "1.37", *more: str) -> Rendered:
        done = self.run(values, kube, *more)
        assert done.returncode == 0, done.stderr
        documents = tuple(d for d in yaml.load_all(done.stdout, yaml.CSafeLoader) if d)
        return Rendered(done.stdout, documents)

    def refusal(self, values: dict[str, Any] | None = None, kube: str = "1.37", *more: str) -> str:
        done = self.run(values, kube, *more)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def run(self, values: dict[str, Any] | None, kube: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.helm, "template", "web", str(self.path), "--kube-version", f"{kube}.0", "--values", "-", *more],
            env={**os.environ, "GOGC": "400"},  # a quarter of helm's CPU time is its collector's
            input=json.dumps(values or {}),
            capture_output=True,
            text=True,
            check=False,
        )

    def edited(self, to: Path, *edits: tuple[str, str, str]) -> Chart:
        """A copy in which texts of files are replaced."""
        shutil.copytree(self.path, to)
        for name, old, new in edits:
            text = (to / name).read_text()
            assert old in text, (name, old)
            (to / name).write_text(text.replace(old, new))
        return Chart(self.helm, to)

    def with_template(self, to: Path, text: str) -> Chart:
        shutil.copytree(self.path, to)
        (to / "templates" / "more.yaml").write_text(text)
        return Chart(self.helm, to)

    def without_us(self, to: Path) -> Chart:
        """A copy as its user had it before: no dependency, no include of ours."""
        shutil.copytree(self.path, to)
        shutil.rmtree(to / "charts")
        chart = to / "Chart.yaml"
        chart.write_text(chart.read_text().split("dependencies:")[0])
        (to / "Chart.lock").unlink()
        for name in ("freshmount.yaml", "NOTES.txt"):
            (to / "templates" / name).unlink()
        for path in (to / "templates").iterdir():
            text = re.sub(r"\n *\{\{- with include \"freshmount\.[^\n]*\{\{ end \}\}(?=\n)", "", path.read_text())
            text = re.sub(
                r"\n( *)\{\{- with include \"freshmount\..*?\n\1\{\{- end \}\}(?=\n)", "", text, flags=re.DOTALL
            )
            assert "freshmount." not in text, text
            path.write_text(text)
        return Chart(self.helm, to)


def built(helm: str, to: Path, name: str = "demo") -> Chart:
    """The demo chart, or another one, with the library inside, by helm's own hands."""
    if not to.exists():
        shutil.copytree(CHARTS, to, ignore=shutil.ignore_patterns("Chart.lock", "charts"))
    subprocess.run([helm, "dependency", "build", str(to / name)], capture_output=True, check=True)
    return Chart(helm, to / name)


def validate(rendered: Rendered, kube: str) -> None:
    """Each document against the schemas of that Kubernetes, unknown fields refused."""
    for document in rendered.documents:
        if document["apiVersion"] != _OPERATOR:
            _validate(json.dumps(document), kube)


# The library reads 1.8 MB of schemas for each document, which takes twenty times as long as to validate it.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


@functools.cache  # most documents of a matrix are the same
def _validate(document: str, kube: str) -> None:
    kubernetes_validate.validate(json.loads(document), kube, strict=True)


def assert_restricted(pod: dict[str, Any]) -> None:
    """The Pod Security Standard *restricted*, of each container by itself, and a read-only root besides."""
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    for volume in pod["volumes"]:
        kinds = volume.keys() - {"name"}
        assert kinds <= {"configMap", "csi", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        security = {**pod["securityContext"], **container["securityContext"]}
        assert security["runAsNonRoot"] is True and security.get("runAsUser") != 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["allowPrivilegeEscalation"] is False and not security.get("privileged")
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert all("hostPort" not in port for port in container.get("ports", []))
        if container["name"] != "web":  # ours keeps it whatever the pod says
            own = container["securityContext"]
            assert own["runAsNonRoot"] is True and own["seccompProfile"] == {"type": "RuntimeDefault"}


def need(found: bool, what: str) -> None:
    """In CI a missing tool is a failure, elsewhere a skip that names it."""
    if not found:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


def need_helm(version: str | None = None) -> str:
    helms = chart_tools.helms()
    need(
        version in helms if version else bool(helms),
        f"helm{f' {version}' if version else ''} is not installed: make tools",
    )
    return helms[version] if version else next(iter(helms.values()))


def ours(**values: Any) -> dict[str, Any]:
    return {"freshmount": values}
