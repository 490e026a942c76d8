"""The examples as they stand, without a cluster: manifests and configs are valid, and fit to each other and to the app.

tests/cluster/test_examples.py runs them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from agent import __version__
from agent.config import native
from tests.support import chart_tools
from tests.support.chart import KUBERNETES, need
from tests.support.paths import ROOT

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/kustomization.yaml"))
UNPROVEN = {"spring"}  # no image of it can be made for the cluster's tests
each = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)


@cache
def drawn(example: Path) -> dict[str, list[dict[str, Any]]]:
    """What `kubectl apply -k` would apply, by kind."""
    program = chart_tools.kubectl()
    need(bool(program), "kubectl is not installed: make tools")
    done = subprocess.run([str(program), "kustomize", str(example)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for document in yaml.safe_load_all(done.stdout):
        found.setdefault(document["kind"], []).append(document)
    return found


def pod(example: Path) -> dict[str, Any]:
    (deployment,) = drawn(example)["Deployment"]
    return dict(deployment["spec"]["template"]["spec"])


def config(example: Path) -> dict[str, Any]:
    (text,) = [it["data"]["config.yaml"] for it in drawn(example)["ConfigMap"] if "config.yaml" in it["data"]]
    native.parse(text, f"{example.name}/freshmount.yaml")
    return dict(yaml.safe_load(text))


def test_there_is_one_for_each() -> None:
    assert {path.name for path in EXAMPLES} == {*UNPROVEN, "environment", "go", "nginx", "node", "postgres", "python"}


@each
def test_kubernetes_takes_its_manifests(example: Path) -> None:
    """By Kubernetes' own schemas, unknown fields refused."""
    assert {"Deployment", "ServiceAccount", "ConfigMap"} == {*drawn(example)}
    for documents in drawn(example).values():
        for document in documents:
            kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)


@each
def test_the_agent_is_a_native_sidecar_that_the_app_waits_for(example: Path) -> None:
    (agent,), (app,) = pod(example)["initContainers"], pod(example)["containers"]
    assert (agent["image"], agent["restartPolicy"]) == (f"freshmount:{__version__}", "Always")
    assert agent["lifecycle"]["postStart"]["exec"]["command"] == ["freshmount", "wait"]
    mounts = {mount["name"]: mount for mount in app["volumeMounts"]}
    assert mounts["secrets"]["readOnly"] and not any("subPath" in mount for mount in mounts.values())
    assert config(example)["volume"]["path"].startswith(mounts["secrets"]["mountPath"] + "/")
    volumes = {volume["name"]: volume for volume in pod(example)["volumes"]}
    assert volumes["secrets"]["emptyDir"]["medium"] == "Memory"
    assert volumes["freshmount"]["configMap"]["name"] in {it["metadata"]["name"] for it in drawn(example)["ConfigMap"]}


@each
def test_its_target_fits_the_pod(example: Path) -> None:
    """A signal needs the process namespace and the name of what runs; a URL a port of the app."""
    (target,) = config(example)["notify"]
    (app,) = pod(example)["containers"]
    assert bool(pod(example).get("shareProcessNamespace")) == ("signal" in target)
    if "signal" in target:
        program = app["command"][0] if "command" in app else app["image"].partition(":")[0]
        assert target["process"]["name"] == Path(program).name and len(target["process"]["name"]) <= 15
    elif "url" in target:
        port, path = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/.+)", target["url"]).groups()  # type: ignore[union-attr]
        sources = "".join(at.read_text() for at in example.rglob("*") if at.suffix in (".py", ".go", ".yaml"))
        assert re.search(rf"\b{port}\b", sources) and path.rpartition("/")[2] in sources
    else:
        assert Path(target["touch"]).name in (example / "app.mjs").read_text()


@each
def test_the_app_reads_what_the_config_publishes(example: Path) -> None:
    """Each file is named in its source; Spring names it by the property."""
    sources = "".join(
        at.read_text()
        for at in example.rglob("*")
        if at.suffix in (".py", ".mjs", ".go", ".conf", ".sh", ".java") or at.name == "application.yaml"
    )
    for secret in config(example)["secrets"]:
        for file in secret["files"]:
            path = f"{config(example)['volume']['path']}/{file['path']}"
            spring = "configtree:/freshmount/secrets/" in sources and '@ConfigurationProperties("web")' in sources
            assert path in sources or (example.name == "spring" and spring), path


@each
def test_the_page_names_it(example: Path) -> None:
    page = (ROOT / "docs" / "examples.md").read_text()
    assert f"kubectl apply -k examples/{example.name}\n" in page
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `examples/{example.name}`:")]
    assert ("unproven" in row) == (example.name in UNPROVEN)


@pytest.mark.parametrize(
    ("tool", "command", "pattern"),
    [
        ("sh", ("sh", "-n"), "*/*.sh"),
        ("node", ("node", "--check"), "*/*.mjs"),
        ("gofmt", ("gofmt", "-e", "-l"), "*/*.go"),
    ],
)
def test_its_source_is_of_its_language(tool: str, command: tuple[str, ...], pattern: str) -> None:
    """And formatted, for Go. Python's is compiled by the linter."""
    need(tool == "sh" or bool(shutil.which(tool)), f"{tool} is not installed")
    sources = [str(at) for at in sorted((ROOT / "examples").glob(pattern))]
    assert sources
    for source in sources:
        done = subprocess.run([*command, source], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_springs_refresh_is_where_the_agent_calls_it() -> None:
    """It was never run: at least its files fit together."""
    example = ROOT / "examples" / "spring"
    settings = yaml.safe_load((example / "src" / "main" / "resources" / "application.yaml").read_text())
    management = settings["management"]
    (target,) = config(example)["notify"]
    where = f"http://{management['server']['address']}:{management['server']['port']}"
    assert target["url"] == f"{where}/actuator/{management['endpoints']['web']['exposure']['include']}"
    (app,) = pod(example)["containers"]
    assert app["ports"][0]["containerPort"] == settings["server"]["port"]
    names = {it.text for it in ET.parse(example / "pom.xml").iter("{http://maven.apache.org/POM/4.0.0}artifactId")}
    assert {"spring-boot-starter-web", "spring-boot-starter-actuator", "spring-cloud-starter"} <= names
