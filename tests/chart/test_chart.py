"""The Helm charts, with helm itself: what is rendered, what is refused, and that the agent runs on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import pytest
import yaml

from agent import __version__
from agent.commands.policy import policy
from agent.config.native import SOURCES, parse
from agent.core.model import CALLS
from tests.support.aws import MotoStandIn, environment
from tests.support.chart import (
    BOTH_HELMS,
    CHARTS,
    KUBERNETES,
    Chart,
    Rendered,
    assert_restricted,
    built,
    need,
    need_helm,
    ours,
    validate,
)
from tests.support.configs import STRUCTURAL, VALID, document
from tests.support.running import ended, freshmount, running, until
from tests.support.tables import table

EXAMPLES = sorted((CHARTS.parent / "config").glob("*.yaml"))
ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db"
ON = {"enabled": True}
MONITORING = ("podMonitor", "serviceMonitor", "prometheusRule", "dashboard")
EVERYTHING = {
    "podMonitor": ON,
    "prometheusRule": ON,
    "dashboard": ON,
    "networkPolicy": {**ON, "metricsFrom": [{"namespaceSelector": {}}], "awsTo": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    "restartOnConfigChange": True,
    "aws": {"identity": "podIdentity", "skipContainers": ["web"]},
    "extraEnv": [{"name": "AWS_REGION", "value": "eu-west-1"}],
    "extraArgs": ["--log-level=debug"],
    "extraVolumeMounts": [{"name": "app", "mountPath": "/app.py", "subPath": "app.py", "readOnly": True}],
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return built(need_helm(), tmp_path_factory.mktemp("chart") / "charts")


@pytest.fixture(scope="module")
def bare(demo: Chart, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """The demo without a config of its own, for those that bring a whole one."""
    path = tmp_path_factory.mktemp("bare") / "demo"
    values = yaml.safe_load((demo.path / "values.yaml").read_text())
    del values["freshmount"]["config"]
    return demo.edited(path, ("values.yaml", (demo.path / "values.yaml").read_text(), yaml.safe_dump(values)))


def configured(text: str, **values: Any) -> dict[str, Any]:
    return ours(config=yaml.safe_load(text), **values)


# What is rendered


@pytest.mark.parametrize("chart", ["freshmount", "demo"])
@pytest.mark.parametrize("version", BOTH_HELMS)
def test_helm_lint_finds_nothing(demo: Chart, version: str, chart: str) -> None:
    """Strictly, with both."""
    done = subprocess.run(
        [need_helm(version), "lint", "--strict", str(demo.path.parent / chart)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "0 chart(s) failed" in done.stdout, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout and "[ERROR]" not in done.stdout


def modes() -> Iterator[Any]:
    for kube, everything in [*((kube, True) for kube in KUBERNETES), (KUBERNETES[0], False), (KUBERNETES[-1], False)]:
        for mode in ("", "native", "init", "sidecar", "both"):
            quick = mode == "" or (everything and (kube == KUBERNETES[-1] or (mode, kube) == ("native", KUBERNETES[0])))
            other = pytest.mark.full("each mode on the newest Kubernetes, the default on each, and what is refused")
            yield pytest.param(mode, kube, everything, marks=() if quick else other)


@pytest.mark.parametrize(("mode", "kube", "everything"), [*modes()])
def test_modes(demo: Chart, mode: str, kube: str, everything: bool) -> None:
    """Each puts the agent where the README says, valid for that Kubernetes and restricted."""
    native = kube in ("1.29", "1.37")
    if mode == "native" and not native:
        assert "freshmount.mode is native, which needs Kubernetes 1.29" in demo.refusal(ours(mode=mode), kube)
        return
    means = mode or ("native" if native else "both")
    values = {key: value for key, value in EVERYTHING.items() if means != "init" or key not in MONITORING}
    rendered = demo.template({**ours(mode=mode, **(values if everything else {})), "job": ON}, kube)
    validate(rendered, kube)
    for kind, expected in (("Deployment", means), ("Job", "native" if means == "native" else "init")):
        pod = rendered.pod(kind)
        assert_restricted(pod)
        inits = pod.get("initContainers", [])
        others = [c for c in pod["containers"] if c["name"] != "web"]
        assert {
            "native": ([("freshmount", "run", "Always")], []),
            "init": ([("freshmount-init", "init", None)], []),
            "sidecar": ([], [("freshmount", "run", None)]),
            "both": ([("freshmount-init", "init", None)], [("freshmount", "run", None)]),
        }[expected] == tuple(
            [(c["name"], c["args"][0], c.get("restartPolicy")) for c in part] for part in (inits, others)
        )
        runs = [c for c in [*inits, *others] if c["args"][0] == "run"]
        assert [c["livenessProbe"]["httpGet"]["path"] for c in runs] == ["/livez"] * len(runs)
        assert pod.get("shareProcessNamespace", False) is bool(runs)
        for container in [*inits, *others]:
            assert "cpu" not in container["resources"]["limits"]
            assert ("lifecycle" in container) is (expected == "native")
            assert "startupProbe" not in container
            assert ("readinessProbe" in container) is (expected == "sidecar")
    more = ["NetworkPolicy"] if everything else []
    if everything and means != "init":
        more += ["ConfigMap", "PodMonitor", "PrometheusRule"]
    assert rendered.kinds() == sorted([*more, "ConfigMap", "ConfigMap", "Deployment", "Job", "ServiceAccount"])


@pytest.mark.parametrize("job", [False, True])
@pytest.mark.parametrize("version", BOTH_HELMS)
def test_off_is_as_without_us(tmp_path: Path, demo: Chart, version: str, job: bool) -> None:
    """Byte for byte."""
    helm = need_helm(version)
    before = demo.without_us(tmp_path / "demo")
    values: dict[str, Any] = {"job": {"enabled": job}}
    with_us = Chart(helm, demo.path).template({**values, **ours(enabled=False, **EVERYTHING)})
    assert with_us.text == Chart(helm, before.path).template(values).text
    assert with_us.kinds() == sorted(["ConfigMap", "Deployment", "ServiceAccount", *(["Job"] if job else [])])


@pytest.mark.parametrize("path", ["/freshmount/secrets", "/freshmount/deeper/db"])
def test_a_secret_in_the_agents_place(demo: Chart, path: str) -> None:
    """The app has it where the agent would write, and nothing else of ours is there: no container, object or right."""
    aws = {"identity": "irsa", "roleArn": "arn:aws:iam::111122223333:role/web", "skipContainers": ["web"]}
    config = {"volume": {"path": path}}
    more = {"config": config, "aws": aws, "hub": {"url": "http://hub"}, "restartOnConfigChange": True}
    rendered = demo.template({**ours(mode="secret", secretName="web", **more), "job": ON}, KUBERNETES[0])
    validate(rendered, KUBERNETES[0])
    assert rendered.kinds() == ["ConfigMap", "Deployment", "Job", "ServiceAccount"]
    for kind in ("Deployment", "Job"):
        pod = rendered.pod(kind)
        assert_restricted(pod)
        assert [c["name"] for c in pod["containers"]] == ["web"]
        assert not {"initContainers", "shareProcessNamespace"} & pod.keys()
        (volume,) = (v for v in pod["volumes"] if v["name"] == "freshmount")
        assert volume == {"name": "freshmount", "secret": {"secretName": "web"}}
        assert {v["name"] for v in pod["volumes"]} <= {"freshmount", "app"}
        (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "freshmount")
        assert mount == {"name": "freshmount", "mountPath": path, "readOnly": True}
        assert "annotations" not in rendered.one(kind)["spec"]["template"].get("metadata", {})
    assert "annotations" not in rendered.one("ServiceAccount")["metadata"]
    assert "111122223333" not in rendered.text


def test_a_secret_needs_neither_image_nor_config(demo: Chart) -> None:
    """What the agent cannot do without, because there is none."""
    values = ours(mode="secret", secretName="42", image={"repository": ""}, config=None)
    volumes = {v["name"]: v for v in demo.template(values).pod()["volumes"]}
    assert volumes["freshmount"]["secret"] == {"secretName": "42"}


def test_a_job_that_the_agent_ends_with(demo: Chart) -> None:
    """A plain sidecar stays one, in the app's process namespace; a pid file that it cannot see is refused."""
    values = ours(mode="sidecar", config={"exitWith": {"process": {"name": "job"}}})
    pod = demo.template({**values, "job": ON}).pod("Job")
    assert pod["shareProcessNamespace"] is True and "initContainers" not in pod
    assert [c["args"][0] for c in pod["containers"] if c["name"] != "web"] == ["run"]
    refusal = demo.refusal(ours(config={"exitWith": {"process": {"pidFile": "/run/job.pid"}}}))
    assert "freshmount.config.exitWith: the pidFile is /run/job.pid" in refusal


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
@pytest.mark.parametrize("kube", ["1.25", "1.37"])
def test_other_workloads(tmp_path: Path, demo: Chart, kind: str, kube: str) -> None:
    """The same lines in another kind."""
    has = {"StatefulSet": "  replicas: {{ .Values.replicas }}\n  serviceName: web\n", "DaemonSet": ""}[kind]
    chart = demo.edited(
        tmp_path / "demo",
        ("templates/deployment.yaml", "kind: Deployment", f"kind: {kind}"),
        ("templates/deployment.yaml", "  replicas: {{ .Values.replicas }}\n", has),
    )
    rendered = chart.template({}, kube)
    validate(rendered, kube)
    assert_restricted(rendered.pod(kind))


README = (CHARTS / "freshmount" / "README.md").read_text()


def steps() -> list[list[str]]:
    """The blocks of code of each numbered step of the README's *Turn it on*."""
    section = README.partition("## Turn it on\n")[2].partition("\n## ")[0]
    of_steps = [re.sub(r"^   ", "", step, flags=re.MULTILINE) for step in re.split(r"(?m)^\d\. ", section)[1:]]
    return [re.findall(r"^```\w*\n(.*?)^```$", step, re.MULTILINE | re.DOTALL) for step in of_steps]


def as_the_readme_says(helm: str, home: Path, until_step: int = 6) -> tuple[Chart, Chart]:
    """A new chart of `helm create`, before and after the README's steps, each done with the block as it is printed."""
    for name in ("before", "after"):
        (home / name).mkdir()
        subprocess.run([helm, "create", str(home / name / "web")], capture_output=True, check=True)
    shutil.copytree(CHARTS / "freshmount", home / "after" / "freshmount")
    web = home / "after" / "web"
    for number, blocks in enumerate(steps()[:until_step], start=1):
        if number == 1:
            (web / "Chart.yaml").write_text((web / "Chart.yaml").read_text() + blocks[0])
            subprocess.run([helm, "dependency", "update", str(web)], capture_output=True, check=True)
        elif number == 2:
            (web / "values.yaml").write_text((web / "values.yaml").read_text() + blocks[0])
        elif number == 3:
            (web / "templates" / "freshmount.yaml").write_text(blocks[0])
        elif number in (4, 5):
            subprocess.run(["patch", "-p1", "--fuzz=0"], cwd=web, input=blocks[0], text=True, check=True)
        else:
            with (web / "templates" / "NOTES.txt").open("a") as notes:
                notes.write(blocks[0])
    return Chart(helm, home / "before" / "web"), Chart(helm, web)


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_the_readmes_steps_on_a_chart_of_helm_create(tmp_path: Path, version: str) -> None:
    """Step by step: on, it is a pod with a role of its own; off, not a byte is new."""
    need(bool(shutil.which("patch")), "patch is not installed")
    assert len(steps()) == 6
    before, chart = as_the_readme_says(need_helm(version), tmp_path)
    given = {"podAnnotations": {"a": "b"}, "serviceAccount": {"annotations": {"c": "d"}}}
    for values in ({}, {**given, "volumes": [{"name": "own", "emptyDir": {}}]}):
        assert chart.template({**values, **ours(enabled=False)}).text == before.template(values).text

    role = "arn:aws:iam::111122223333:role/web"
    irsa = {"identity": "irsa", "roleArn": role, "skipContainers": ["web"]}
    rendered = chart.template({**given, "volumes": [{"name": "own", "emptyDir": {}}], **ours(aws=irsa)})
    validate(rendered, "1.37")
    pod = rendered.pod()
    assert [volume["name"] for volume in pod["volumes"]] == ["freshmount", "freshmount-config", "own"]
    assert [c["name"] for c in pod["initContainers"]] == ["freshmount"]
    assert [m["mountPath"] for m in pod["containers"][0]["volumeMounts"]] == ["/freshmount"]
    assert parse(rendered.config(), "c").settings.volume_path == "/freshmount/secrets"
    assert f"{parse(rendered.config(), 'c').settings.volume_path}/db.env" in README
    account = rendered.one("ServiceAccount")["metadata"]
    assert account["name"] == pod["serviceAccountName"]
    assert account["annotations"] == {"eks.amazonaws.com/role-arn": role, "c": "d"}
    annotations = rendered.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"eks.amazonaws.com/skip-containers": "web", "a": "b"}

    done = subprocess.run(
        [need_helm("v4"), "install", "web", str(chart.path), "--dry-run=client", "--values", "-"],  # v3 asks a cluster
        input=json.dumps(ours(aws=irsa)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"eks.amazonaws.com/role-arn: {role}" in done.stdout.partition("NOTES:")[2]


def test_without_the_step_of_the_service_account_the_notes_still_hold(tmp_path: Path) -> None:
    """They say what is to be done, not that it was."""
    need(bool(shutil.which("patch")), "patch is not installed")
    _, chart = as_the_readme_says(need_helm(), tmp_path, until_step=4)
    values = ours(aws={"identity": "irsa", "roleArn": "arn:aws:iam::111122223333:role/web"})
    assert "annotations" not in chart.template(values).one("ServiceAccount")["metadata"]
    notes = said(chart, tmp_path / "said" / "web", values)
    assert "give the pod's ServiceAccount the annotation" in " ".join(notes.split())


def test_the_readmes_pod_is_the_demos() -> None:
    """For a pod that is written by hand: each line of ours stands in `charts/demo`, which is rendered here."""
    demos = [line.strip() for line in (CHARTS / "demo" / "templates" / "deployment.yaml").read_text().splitlines()]
    lines = [line.strip() for line in steps()[3][1].splitlines() if "freshmount." in line]
    assert len(lines) == 6 and set(lines) <= set(demos)


def test_both_helms_render_the_same(demo: Chart) -> None:
    """What one of them merges or quotes otherwise would show."""
    values = ours(**EVERYTHING)
    three, four = (Chart(need_helm(v), demo.path).template(values).documents for v in ("v3", "v4"))

    def by_name(document: dict[str, Any]) -> tuple[str, str]:
        return document["kind"], document["metadata"]["name"]

    assert sorted(three, key=by_name) == sorted(four, key=by_name)


def test_mounts_are_whole_and_read_only_for_the_app(demo: Chart) -> None:
    """The agent alone writes, into memory, in a directory below the mount."""
    rendered = demo.template()
    pod = rendered.pod()
    (web,) = pod["containers"]
    assert web["volumeMounts"][0] == {"name": "freshmount", "mountPath": "/freshmount", "readOnly": True}
    assert rendered.agent()["volumeMounts"] == [
        {"name": "freshmount", "mountPath": "/freshmount"},
        {"name": "freshmount-config", "mountPath": "/etc/freshmount", "readOnly": True},
    ]
    assert pod["volumes"][:2] == [
        {"name": "freshmount", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
        {"name": "freshmount-config", "configMap": {"name": "web-demo-freshmount"}},
    ]
    assert "subPath" not in rendered.text
    assert parse(rendered.config(), "c").settings.volume_path == "/freshmount/secrets"
    assert parse(demo.template(ours(mountPath="/run/s")).config(), "c").settings.volume_path == "/run/s/secrets"


def test_what_is_given_arrives_in_the_container(demo: Chart) -> None:
    """Digest, pull policy, arguments, environment, mounts, resources and large uids as they were written."""
    rendered = demo.template(
        ours(
            **{key: EVERYTHING[key] for key in ("extraEnv", "extraArgs", "extraVolumeMounts")},
            image={"digest": "sha256:" + "a" * 64, "pullPolicy": "Always"},
            resources={"limits": {"cpu": 1}},
            runAsUser=1000660000,
            runAsGroup=1000660001,
        )
    )
    validate(rendered, "1.37")
    agent = rendered.agent()
    assert agent["image"] == "registry.example/freshmount@sha256:" + "a" * 64
    assert (agent["imagePullPolicy"], agent["args"]) == ("Always", ["run", "--log-level=debug"])
    assert (agent["env"], agent["volumeMounts"][2:]) == (EVERYTHING["extraEnv"], EVERYTHING["extraVolumeMounts"])
    assert agent["resources"]["limits"] == {"cpu": 1, "memory": "96Mi"}
    assert "runAsUser: 1000660000\n" in rendered.text and "runAsGroup: 1000660001\n" in rendered.text


def test_a_hub_comes_with_its_token(demo: Chart) -> None:
    """The URL is in the config, the projected token where the agent looks for it, and the policy lets it out."""
    url = "http://freshmount.freshmount:9106"
    rendered = demo.template(ours(hub={"url": url}, networkPolicy=ON))
    validate(rendered, "1.37")
    hub = parse(rendered.config(), "c").settings.hub
    assert hub and hub.url == url
    (mount,) = [each for each in rendered.agent()["volumeMounts"] if each["name"] == "freshmount-hub"]
    assert hub.token_path == f"{mount['mountPath']}/token" and mount["readOnly"]
    (volume,) = [each for each in rendered.pod()["volumes"] if each["name"] == "freshmount-hub"]
    token = {"audience": "freshmount", "path": "token", "expirationSeconds": 3600}
    assert volume["projected"]["sources"] == [{"serviceAccountToken": token}]
    assert 9106 in [rule["ports"][0]["port"] for rule in rendered.one("NetworkPolicy")["spec"]["egress"]]


def test_own_looks_are_the_charts_unless_the_config_says_so(demo: Chart) -> None:
    """Without a hub they are of no matter."""
    url = "http://freshmount.freshmount:9106"

    def lists(hub: dict[str, Any], config: dict[str, Any] | None = None) -> bool | None:
        found = parse(demo.template(ours(hub=hub, config=config or {})).config(), "c").settings.hub
        return found and found.lists

    assert lists({"url": url}) is False and lists({"url": url, "ownLooks": "list"}) is True
    assert lists({"ownLooks": "list"}, {"hub": {"url": url}}) is True
    assert lists({"ownLooks": "list"}, {"hub": {"url": url, "ownLooks": "describe"}}) is False
    assert lists({"ownLooks": "list"}) is None


def test_no_token_without_a_hub_or_with_a_file_of_ones_own(demo: Chart) -> None:
    """`init` asks no hub either."""
    own = {"hub": {"url": "http://hub", "tokenPath": "/token"}}
    for values in ({}, {"config": own}, {"hub": {"url": "http://hub"}, "mode": "init"}):
        assert "serviceAccountToken" not in demo.template(ours(**values)).text
    assert "serviceAccountToken" in demo.template(ours(config={"hub": {"url": "http://hub"}})).text


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_null_takes_a_default_away(demo: Chart, version: str) -> None:
    """As everywhere in Helm: what a base file sets, another unsets."""
    chart = Chart(need_helm(version), demo.path)
    sections = dict.fromkeys(
        ("mode", "resources", "extraEnv", "podMonitor", "prometheusRule", "dashboard", "networkPolicy")
    )
    rendered = chart.template(ours(config={"notify": None, "region": None}, aws=None, **sections))
    assert "resources" not in rendered.agent() and "shareProcessNamespace" not in rendered.pod()
    assert parse(rendered.config(), "c").bundle.targets == ()


def paths(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value of a mapping and of those in it, with the way to it."""
    for key, value in values.items():
        yield (*above, key), value
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The values with one more, at the end of that path."""
    first, *rest = path
    there = values.get(first) or {}
    return {**values, first: put(there, tuple(rest), value) if rest else value}


VALUES = table(CHARTS / "freshmount" / "values.yaml")
ALERTS = VALUES["prometheusRule"]["alerts"]
EMPTIED = {
    f"{'.'.join(path)} {'null' if emptied is None else 'empty'}": (path, emptied)
    for emptied in (None, "")
    for path, value in paths(VALUES)
    if emptied is None or isinstance(value, str)
}
# What cannot be without: the sentence names it.
REFUSED = {
    "enabled null": "enabled is missing",
    "image null": "image.repository is missing",
    "image.repository null": "image.repository is missing",
    "image.repository empty": "image.repository is missing",
    "config null": "config.secrets is missing",
    "config.apiVersion empty": "config.apiVersion",  # by the schema, as the agent would
    "config.kind empty": "config.kind",
    "prometheusRule.alerts null": "prometheusRule.alerts are all off",
    **{
        f"prometheusRule.alerts.{name}.{need} {how}": f"prometheusRule.alerts.{name}.{need} is missing"
        for name, needs in ALERTS.items()
        for need, value in needs.items()
        if need != "enabled"
        for how in (("null", "empty") if isinstance(value, str) else ("null",))
    },
}
OF_ALERTS = [name for name in REFUSED if name.startswith("prometheusRule.alerts.")]
# A chart's own file for each agent, with all templates.
WHOLE = """\
{{- $call := dict "root" . "key" "KEY" }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: KEY}
spec:
  selector: {matchLabels: {app: KEY}}
  template:
    metadata:
      labels: {app: KEY}
      annotations:
        own: "1"
        {{- with include "freshmount.podAnnotations" $call }}{{ nindent 8 . }}{{ end }}
    spec:
      {{- with include "freshmount.shareProcessNamespace" $call }}{{ nindent 6 . }}{{ end }}
      initContainers:
        - {name: own, image: own}
        {{- with include "freshmount.initContainers" $call }}{{ nindent 8 . }}{{ end }}
      containers:
        - name: web
          image: web
          volumeMounts:
            {{- include "freshmount.volumeMounts" $call | nindent 12 }}
        {{- with include "freshmount.containers" $call }}{{ nindent 8 . }}{{ end }}
      volumes:
        {{- include "freshmount.volumes" $call | nindent 8 }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: KEY
  annotations:
    own: "1"
    {{- with include "freshmount.serviceAccountAnnotations" $call }}{{ nindent 4 . }}{{ end }}
---
{{ include "freshmount.objects" $call }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: KEY-notes}
data:
  notes: {{ include "freshmount.notes" $call | quote }}
"""


def emptied(mode: str, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Values of an agent with everything on that the mode allows, but for one."""
    everything = {key: of for key, of in EVERYTHING.items() if mode != "init" or key not in MONITORING}
    secrets = [{"name": "db", "secretId": "db", "files": [{"path": "db"}]}]
    notify = [{"name": "web", "signal": "SIGHUP", "process": {"name": "web"}}]
    config = {"secrets": secrets, "notify": notify}
    on = {"enabled": True, "image": {"repository": "r"}, "mode": mode, **everything, "config": config}
    return put(on, path, value)


def whole(helm: str, to: Path, groups: Iterable[list[str]], mode: str) -> tuple[Chart, dict[str, Any]]:
    """A chart in which all values of a group are null or empty, each group for an agent of its own."""
    agents = {" and ".join(group): group for group in groups}
    chart, _, aliases = corpus(helm, to, dict.fromkeys(agents, "{}"))
    (to / "templates" / "configs.yaml").unlink()
    values = {}
    for name, alias in aliases.items():
        (to / "templates" / f"{alias}.yaml").write_text(WHOLE.replace("KEY", alias))
        first, *others = agents[name]
        values[alias] = emptied(mode, *EMPTIED[first])
        for other in others:
            values[alias] = put(values[alias], *EMPTIED[other])
    return chart, values


def apart(names: Iterable[str], most: int) -> list[list[str]]:
    """Them in groups of so many at most, of which none is a part of another."""
    groups: list[list[str]] = []

    def reach(name: str) -> tuple[str, ...]:
        """What is gone with it: what is not enabled is not rendered, so all beside it."""
        path = EMPTIED[name][0]
        return path[:-1] if path[-1] == "enabled" else path

    for name in names:
        path = reach(name)
        for group in groups:
            others = [reach(other) for other in group]
            if len(group) < most and all(path[: len(o)] != o and o[: len(path)] != path for o in others):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


EMPTIED_IN = [*(("v4", mode) for mode in ("native", "init", "sidecar", "both")), ("v3", "native")]


@pytest.mark.parametrize(("version", "mode"), EMPTIED_IN)
def test_a_value_that_is_null_or_empty_leaves_something_valid(
    tmp_path: Path, pytestconfig: pytest.Config, version: str, mode: str
) -> None:
    """Each of `values.yaml`, in an agent with everything on: valid for Kubernetes and for the agent.

    Each value in one of the modes, with three others; with --full alone, and in each of them.
    """
    names = sorted(EMPTIED.keys() - REFUSED.keys())
    groups = [[name] for name in names]
    if not pytestconfig.getoption("--full"):
        groups = apart(names[EMPTIED_IN.index((version, mode)) :: len(EMPTIED_IN)], 4)
    chart, values = whole(need_helm(version), tmp_path / "many", groups, mode)
    rendered = chart.template(values)
    assert not [odd for odd in ("%!", "<nil>", "<no value>", "null") if odd in rendered.text]
    alike = re.sub(r"\bc\d+\b", "c", rendered.text)  # so that what is the same is validated once
    validate(Rendered(alike, tuple(d for d in yaml.load_all(alike, yaml.CSafeLoader) if d)), "1.37")
    for alias, group in zip(values, groups, strict=True):
        assert parse(rendered.config(f"-{alias}"), " and ".join(group)).settings.volume_path == "/freshmount/secrets"
    containers = [
        (c["image"], c["args"][0])
        for document in rendered.documents
        if document["kind"] == "Deployment"
        for part in ("initContainers", "containers")
        for c in document["spec"]["template"]["spec"][part]
        if c["name"] not in ("own", "web")
    ]
    assert {image for image, _ in containers} == {f"r:{__version__}"}
    assert len(containers) >= len(values)


HELMS_OWN_WORDS = ("%!", "<nil>", "nil pointer", "wrong type", "YAML parse", "index of")


@pytest.mark.parametrize("version", BOTH_HELMS)
@pytest.mark.parametrize("how", ["null", "empty"])
def test_what_alerts_cannot_be_without_is_named(
    demo: Chart, pytestconfig: pytest.Config, version: str, how: str
) -> None:
    """All that is missing at once; with --full each alone, too."""
    chart = Chart(need_helm(version), demo.path)
    names = [name for name in OF_ALERTS if name.endswith(how)]
    assert len(names) > 15
    values = emptied("native", *EMPTIED[names[0]])
    for name in names:
        values = put(values, *EMPTIED[name])
    tried = [(values, names)]
    if pytestconfig.getoption("--full"):
        tried += [(emptied("native", *EMPTIED[name]), [name]) for name in names]
    for without, missing in tried:
        words = chart.refusal(ours(**without)).replace("/", ".")
        assert [name for name in missing if REFUSED[name] not in words] == []
        assert not [odd for odd in HELMS_OWN_WORDS if odd in words]


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in OF_ALERTS])
def test_a_value_that_is_null_or_empty_and_cannot_be_is_named(
    demo: Chart, pytestconfig: pytest.Config, name: str
) -> None:
    """In a sentence of ours, or of the schema that is the agent's; by one of the helms, with --full by both."""
    versions = ["v3", "v4"] if pytestconfig.getoption("--full") else [("v3", "v4")[list(REFUSED).index(name) // 2 % 2]]
    for version in versions:
        chart = Chart(need_helm(version), demo.path)
        words = chart.refusal(ours(**emptied("native", *EMPTIED[name]))).replace("/", ".")
        assert REFUSED[name] in words
        assert not [odd for odd in HELMS_OWN_WORDS if odd in words]


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_what_is_taken_away_is_gone(demo: Chart, version: str) -> None:
    """Null or empty: a limit, a label, an alert, a whole section; what nothing works without is the default."""
    chart = Chart(need_helm(version), demo.path)
    rendered = chart.template(
        ours(
            sizeLimit="",
            mountPath=None,
            resources={"limits": {"memory": ""}, "requests": {"cpu": None}},
            podMonitor={**ON, "interval": None, "labels": {"release": None, "team": "a"}},
            prometheusRule={**ON, "alerts": {"absent": None, "accessDenied": None, "loopStuck": {"enabled": None}}},
            dashboard={**ON, "labels": {"grafana_dashboard": None}},
            config={"poll": {"period": None, "settle": "1s"}, "staleAfter": None},
        )
    )
    validate(rendered, "1.37")
    assert rendered.pod()["volumes"][0]["emptyDir"] == {"medium": "Memory"}
    assert rendered.agent()["volumeMounts"][0]["mountPath"] == "/freshmount"
    assert rendered.agent()["resources"] == {"limits": {}, "requests": {"memory": "32Mi"}}
    monitor = rendered.one("PodMonitor")
    assert "interval" not in monitor["spec"]["podMetricsEndpoints"][0]
    assert monitor["metadata"]["labels"]["team"] == "a" and "release" not in monitor["metadata"]["labels"]
    assert "grafana_dashboard" not in rendered.one("ConfigMap", "-dashboard")["metadata"]["labels"]
    alerts = {rule["alert"]: rule["expr"] for rule in rendered.one("PrometheusRule")["spec"]["groups"][0]["rules"]}
    assert len(alerts) == len(ALERTS) - 3
    assert not {"FreshmountAbsent", "FreshmountAccessDenied", "FreshmountLoopStuck"} & alerts.keys()
    assert "access_denied" not in alerts["FreshmountRefreshFailing"]  # or a denial would wake nobody
    assert yaml.safe_load(rendered.config())["poll"] == {"settle": "1s"}


def test_openshift_chooses_the_uid(demo: Chart) -> None:
    """Where its API is there, or where it is said; a uid of the image's own is never set."""
    fixed = ours(runAsUser=1000)
    api = ("--api-versions", "security.openshift.io/v1")
    assert "runAsUser" not in demo.template().agent()["securityContext"]
    assert "runAsUser" not in demo.template(fixed, "1.37", *api).agent()["securityContext"]
    assert "runAsUser" not in demo.template(ours(runAsUser=1000, openshift=True)).agent()["securityContext"]
    kept = demo.template(ours(runAsUser=1000, openshift=False), "1.37", *api).agent()["securityContext"]
    assert kept["runAsUser"] == 1000


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, False),
        ({"config": {"staleAfter": "0s"}}, False),
        ({"config": {"staleAfter": "15m"}}, True),
        ({"readiness": True}, True),
        ({"mode": "sidecar", "readiness": False}, False),
        ({"mode": "init", "readiness": False}, False),
        ({"mode": "init", "config": {"staleAfter": "15m"}}, False),
    ],
)
def test_readiness_counts_where_it_says_something(demo: Chart, values: dict[str, Any], expected: bool) -> None:
    """Without `staleAfter`, /readyz adds nothing to a start that was waited for."""
    assert ("readinessProbe" in demo.template(ours(**values)).agent()) is expected


TIMEOUTS = [(None, 150), ("0s", 30), ("1m30s", 120), ("2h", 7230), ("1500ms", 31)]


def started_within(timeout: str | None) -> dict[str, Any]:
    return {"config": {"startup": {"timeout": timeout}}} if timeout else {}


@pytest.mark.parametrize(("timeout", "seconds"), TIMEOUTS)
def test_kubelet_waits_longer_than_the_agent(demo: Chart, timeout: str | None, seconds: int) -> None:
    """So that a start that fails ends with the agent's own reason."""
    rendered = demo.template(ours(holdBack="probe", **started_within(timeout)))
    agent = rendered.agent()
    assert agent["startupProbe"] == {
        "httpGet": {"path": "/startupz", "port": "freshmount"},
        "periodSeconds": 1,
        "failureThreshold": seconds,
    }
    assert "lifecycle" not in agent
    assert ("startup" in yaml.safe_load(rendered.config())) is bool(timeout)


@pytest.mark.parametrize(
    ("values", "timeout", "seconds"),
    [
        *(({}, *each) for each in [(None, 60), *TIMEOUTS[1:]]),
        ({"mode": "native", "holdBack": "hook"}, None, 60),
        ({"mode": "sidecar", "holdBack": "hook"}, None, 60),
    ],
)
def test_a_hook_waits_longer_than_the_agent(
    demo: Chart, values: dict[str, Any], timeout: str | None, seconds: int
) -> None:
    """It is the default of native sidecars; a plain one has it first in the list, or the app would not wait. kubelet
    ends no pod meanwhile, so the agent gives up after 30 s unless the config says otherwise."""
    values = {**values, "config": {"listen": ":9200", **started_within(timeout).get("config", {})}}
    rendered = demo.template(ours(**values))
    agent = rendered.agent()
    command = ["freshmount", "wait", "--port=9200", f"--timeout={seconds}s"]
    assert agent["lifecycle"] == {"postStart": {"exec": {"command": command}}}
    assert "startupProbe" not in agent
    assert yaml.safe_load(rendered.config())["startup"] == {"timeout": timeout or "30s"}
    if values.get("mode") == "sidecar":
        assert [c["name"] for c in rendered.pod()["containers"]] == ["freshmount", "web"]


@pytest.mark.parametrize("hold", ["", "hook"])
def test_nothing_but_a_hook_holds_back_what_is_beside_a_plain_sidecar(demo: Chart, hold: str) -> None:
    agent = demo.template(ours(mode="sidecar", holdBack=hold)).agent()
    assert ("lifecycle" in agent) is bool(hold)
    assert "startupProbe" not in agent and "readinessProbe" in agent


def test_the_port_is_the_configs(demo: Chart) -> None:
    """In one place, for container, probes, PodMonitor and NetworkPolicy."""
    rendered = demo.template(ours(**{**EVERYTHING, "config": {"listen": ":9200"}}))
    assert rendered.agent()["ports"] == [{"name": "freshmount", "containerPort": 9200}]
    assert rendered.one("NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 9200}]
    assert rendered.one("PodMonitor")["spec"] == {
        "selector": {"matchLabels": {"app.kubernetes.io/name": "demo", "app.kubernetes.io/instance": "web"}},
        "podMetricsEndpoints": [{"port": "freshmount", "path": "/metrics", "interval": "30s"}],
    }
    labels = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert rendered.one("PodMonitor")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert rendered.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_network_policy_lets_the_agent_work(demo: Chart) -> None:
    """DNS, AWS, the node's credentials where they are used, a scraper; and what the user adds."""
    rule = {"ports": [{"port": 8080}]}
    spec = demo.template(
        ours(
            networkPolicy={**EVERYTHING["networkPolicy"], "ingress": [rule], "egress": [rule]},
            aws={"identity": "podIdentity"},
            config={"endpointUrl": "http://vpce.example:8443"},
        )
    ).one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [
        {"ports": [{"protocol": "TCP", "port": 9105}], "from": [{"namespaceSelector": {}}]},
        rule,
    ]
    assert spec["egress"] == [
        {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        {"ports": [{"protocol": "TCP", "port": 8443}], "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
        {
            "ports": [{"protocol": "TCP", "port": 80}],
            "to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}, {"ipBlock": {"cidr": "fd00:ec2::23/128"}}],
        },
        rule,
    ]


PORTS = {
    "https://10.0.12.34": 443,
    "https://aws-gateway-2": 443,
    "http://localstack1/": 80,
    "https://vpce.example.com": 443,
    "https://vpce.example.com:8443": 8443,
    "https://vpce.example.com:08443/": 8443,
    "http://vpce.example.com:": 80,
    "https://vpce.example.com/way/9": 443,
    "https://vpce.example.com/way:9": 443,
    "https://vpce.example.com:8443/way:9?x=1:2#3:4": 8443,
    "https://[fd00:ec2::123]": 443,
    "http://[fd00:ec2::123]:4566/": 4566,
    "http://[fd00:ec2::123]/a:7": 80,
}


def test_the_network_policy_opens_the_port_of_an_address(tmp_path: Path) -> None:
    """What stands after the host's colon, or the scheme's; in the config or in the environment."""
    agents: dict[str, dict[str, Any]] = {}
    for url in PORTS:
        proxy = url.replace("://", "://user:pa55@")
        agents |= {
            f"endpointUrl {url}": {"config": {**OF_ONE, "endpointUrl": url}},
            f"AWS_ENDPOINT_URL {url}": {"config": OF_ONE, "extraEnv": [{"name": "AWS_ENDPOINT_URL", "value": url}]},
            f"HTTPS_PROXY {url}": {"config": OF_ONE, "extraEnv": [{"name": "HTTPS_PROXY", "value": proxy}]},
        }
    on = {name: {"networkPolicy": ON, **values} for name, values in agents.items()}
    rendered, keys = beside(need_helm(), tmp_path / "many", on, '{{ include "freshmount.objects" CALL }}')
    opened = {}
    for name, key in keys.items():
        egress = rendered.one("NetworkPolicy", f"-{key}")["spec"]["egress"]
        assert all(not rule["ports"][0].keys() - {"protocol", "port"} for rule in egress)
        opened[name] = [each["port"] for each in egress[1]["ports"]]
    assert opened == {
        **{f"{where} {url}": [port] for url, port in PORTS.items() for where in ("endpointUrl", "AWS_ENDPOINT_URL")},
        **{f"HTTPS_PROXY {url}": sorted({443, port}, key=lambda each: each != 443) for url, port in PORTS.items()},
    }


def test_irsa_needs_sts_besides_an_endpoint_of_its_own(demo: Chart) -> None:
    """Else the agent has no credentials."""
    irsa = {"identity": "irsa", "roleArn": "arn:aws:iam::111122223333:role/web"}
    values = ours(networkPolicy=ON, aws=irsa, config={"endpointUrl": "http://vpce.example:8443"})
    egress = demo.template(values).one("NetworkPolicy")["spec"]["egress"]
    assert [each["port"] for each in egress[1]["ports"]] == [8443, 443]


def test_openshifts_dns_is_behind_another_port(demo: Chart) -> None:
    """Nowhere else is it opened."""
    for openshift in (True, False):
        spec = demo.template(ours(networkPolicy=ON, openshift=openshift)).one("NetworkPolicy")["spec"]
        opened = [each for rule in spec["egress"] for each in rule["ports"] if each["port"] == 5353]
        assert [each["protocol"] for each in opened] == (["UDP", "TCP"] if openshift else [])


def test_pods_restart_on_a_config_change_only_if_asked_to(demo: Chart) -> None:
    """Hot reload is the rule."""

    def annotations(**values: Any) -> dict[str, str]:
        return dict(
            demo.template(ours(**values)).one("Deployment")["spec"]["template"]["metadata"].get("annotations", {})
        )

    changed = {"poll": {"period": "30s"}}
    assert annotations() == annotations(config=changed) == {"eks.amazonaws.com/skip-containers": "web"}
    assert annotations(aws={"skipContainers": []}) == {}
    before, after = annotations(restartOnConfigChange=True), annotations(restartOnConfigChange=True, config=changed)
    assert before["checksum/freshmount"] != after["checksum/freshmount"]


def test_processes_are_shared_only_for_a_signal(demo: Chart) -> None:
    """It shows every container's processes to every other."""
    touch = {"notify": [{"name": "web", "touch": "/freshmount/reload"}]}
    assert demo.template().pod()["shareProcessNamespace"] is True
    assert "shareProcessNamespace" not in demo.template(ours(config=touch)).pod()
    assert "shareProcessNamespace" not in demo.template(ours(mode="init")).pod()


def test_irsa_annotates_the_service_account(demo: Chart) -> None:
    """Pod Identity needs no annotation."""
    role = "arn:aws:iam::111122223333:role/web"

    def metadata(**aws: Any) -> Any:
        return demo.template(ours(aws=aws)).one("ServiceAccount")["metadata"]

    assert metadata(identity="irsa", roleArn=role)["annotations"] == {"eks.amazonaws.com/role-arn": role}
    assert "annotations" not in metadata(identity="podIdentity") and "annotations" not in metadata()


def test_names_fit(demo: Chart) -> None:
    """63 characters at most, whatever the release is called."""
    long = "r" * 53
    done = subprocess.run([demo.helm, "template", long, str(demo.path)], capture_output=True, text=True, check=True)
    names = [d["metadata"]["name"] for d in yaml.safe_load_all(done.stdout) if d]
    assert max(map(len, names)) <= 63 and any(name.endswith("-freshmount") for name in names)
    assert demo.template({"fullnameOverride": "own", **ours()}).one("ConfigMap", "own-freshmount")


# Two agents


@pytest.fixture(scope="module")
def two(demo: Chart, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """The README's way: the dependency once more under an alias, each include once more with its key."""
    again = f"  - {{name: freshmount, alias: certs, version: {__version__}, repository: file://../freshmount}}"
    edits = [("Chart.yaml", "dependencies:\n", f"dependencies:\n{again}\n")]
    for line in (
        '{{- with include "freshmount.containers" . }}{{ nindent 8 . }}{{ end }}\n',
        '{{- with include "freshmount.volumeMounts" . }}{{ nindent 12 . }}{{ end }}\n',
        '{{- with include "freshmount.volumes" . }}{{ nindent 8 . }}{{ end }}\n',
    ):
        edits.append(("templates/deployment.yaml", line, line + line.replace('" . }}', '" $certs }}')))
    first = "initContainers:\n        {{- nindent 8 . }}\n"
    more = '        {{- with include "freshmount.initContainers" $certs }}{{ nindent 8 . }}{{ end }}\n'
    call = '{{- $certs := dict "root" . "key" "certs" }}\n'
    edits += [
        ("templates/deployment.yaml", first, first + more),
        ("templates/deployment.yaml", "apiVersion:", f"{call}apiVersion:"),
        ("templates/freshmount.yaml", "\n", f'\n---\n{call}{{{{ include "freshmount.objects" $certs }}}}\n'),
    ]
    return demo.edited(tmp_path_factory.mktemp("two") / "demo", *edits)


def second(**values: Any) -> dict[str, Any]:
    config = {"listen": ":9106", "secrets": [{"name": "tls", "secretId": "tls", "files": [{"path": "tls"}]}]}
    values = {"enabled": True, "mountPath": "/certs", "image": {"repository": "r"}, "config": config, **values}
    return {"certs": values}


@pytest.mark.parametrize("mode", ["native", "both"])
def test_two_agents_in_one_pod(two: Chart, mode: str) -> None:
    """Each with volume, config and port of its own."""
    rendered = two.template({**ours(mode=mode), **second(mode=mode)})
    validate(rendered, "1.37")
    pod = rendered.pod()
    assert_restricted(pod)
    containers = [
        c for c in [*pod["initContainers"], *pod["containers"]] if c["args" if "args" in c else "command"][0] == "run"
    ]
    assert [(c["name"], c["ports"][0]) for c in containers] == [
        ("freshmount", {"name": "freshmount", "containerPort": 9105}),
        ("certs", {"name": "certs", "containerPort": 9106}),
    ]
    web = pod["containers"][-1]
    assert [m["mountPath"] for m in web["volumeMounts"]] == ["/freshmount", "/certs", "/app"]
    assert [parse(rendered.config(f"-{name}"), "c").settings.volume_path for name in ("freshmount", "certs")] == [
        "/freshmount/secrets",
        "/certs/secrets",
    ]


def test_the_second_agent_is_checked_and_turned_off_by_itself(two: Chart) -> None:
    """The alias has defaults and schema of the library."""
    assert "colour" in two.refusal(second(config={"colour": "blue"}))
    assert "certs.config.secrets is missing" in two.refusal({"certs": {"enabled": True, "image": {"repository": "r"}}})
    assert "certs.enabled is missing" in two.refusal()
    pod = two.template({"certs": {"enabled": False}}).pod()
    assert [c["name"] for c in pod["initContainers"]] == ["freshmount"]


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_two_agents_on_one_port_of_one_pod_are_refused(two: Chart, version: str) -> None:
    """Both are named, and so is the file."""
    chart = Chart(need_helm(version), two.path)
    same = put(second(), ("certs", "config", "listen"), "[::]:9105")
    for values in (same, put(same, ("certs", "config", "listen"), None)):
        refusal = chart.refusal(values)
        assert "freshmount.config.listen" in refusal and "certs.config.listen" in refusal
        assert "9105" in refusal and "templates/deployment.yaml" in refusal


def test_a_port_is_free_in_a_pod_of_its_own(two: Chart, tmp_path: Path) -> None:
    """Which is a file of its own; and beside an agent that does not run, or is off."""
    chart, values = whole(need_helm(), tmp_path / "many", [["mode null"], ["mode empty"]], "native")
    rendered = chart.template(values)
    agents = [
        d["spec"]["template"]["spec"]["initContainers"][1] for d in rendered.documents if d["kind"] == "Deployment"
    ]
    assert [agent["ports"][0]["containerPort"] for agent in agents] == [9105, 9105]
    same = put(second(), ("certs", "config", "listen"), "[::]:9105")
    two.template({**same, **ours(mode="init")})
    two.template({**same, **ours(enabled=False)})


# What is refused


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"freshmount": None}, "freshmount.enabled is missing"),
        (ours(image={"repository": ""}), "freshmount.image.repository is missing"),
        (ours(subPath="db"), "freshmount.subPath"),
        (
            ours(extraVolumeMounts=[{"name": "freshmount", "mountPath": "/x", "subPath": "db"}]),
            "freshmount.extraVolumeMounts: freshmount is",
        ),
        (
            ours(extraVolumeMounts=[{"name": "freshmount-config", "mountPath": "/x", "subPathExpr": "$(A)"}]),
            "freshmount.extraVolumeMounts: freshmount-config is",
        ),
        (ours(config={"volume": {"path": "/freshmount"}}), "freshmount.config.volume.path is /freshmount,"),
        (ours(config={"volume": {"path": "/elsewhere"}}), "freshmount.config.volume.path is /elsewhere,"),
        (ours(config={"listen": "127.0.0.1:9105"}), "listen on [::]:9105"),
        (ours(config={"listen": "[::1]:9105"}), "listen on [::]:9105"),
        (ours(config={"listen": ":0"}), "freshmount.config.listen is :0"),
        (ours(config={"listen": ":65536"}), "freshmount.config.listen is :65536"),
        (ours(config={"endpointUrl": "http://x:65536"}), "freshmount.config.endpointUrl is http://x:65536"),
        *(
            (ours(mode=mode, secretName="web", **{name: ON}), f"freshmount.{name}.enabled is true, but mode {mode} ")
            for mode in ("init", "secret")
            for name in MONITORING
        ),
        (ours(mode="init", readiness=True), "freshmount.readiness is true"),
        (ours(mode="secret"), "freshmount.secretName is missing"),
        (ours(mode="secret", secretName="web", readiness=True), "freshmount.readiness is true, but mode secret "),
        (ours(mode="secret", secretName="web", networkPolicy=ON), "freshmount.networkPolicy.enabled is true"),
        (ours(mode="secret", secretName="web", holdBack="hook"), "freshmount.holdBack is hook, but in mode secret"),
        *(
            (ours(mode=mode, holdBack=hold), f"freshmount.holdBack is {hold}, but in mode {mode} an init container")
            for mode in ("init", "both")
            for hold in ("hook", "probe")
        ),
        (ours(mode="sidecar", holdBack="probe"), "freshmount.holdBack is probe, but kubelet starts the app beside"),
        (
            ours(prometheusRule={**ON, "runbookUrl": "docs/runbook.md"}),
            "freshmount.prometheusRule.runbookUrl is docs/runbook.md",
        ),
        (
            ours(config={"notify": [{"name": "a", "touch": "/tmp/x"}]}),
            "freshmount.config.notify: touch of a is /tmp/x",
        ),
        (
            ours(config={"notify": [{"name": "a", "signal": "SIGHUP", "process": {"pidFile": "/run/x"}}]}),
            "freshmount.config.notify: pidFile of a is /run/x",
        ),
        (ours(aws={"identity": "irsa"}), "freshmount.aws.roleArn is missing"),
        (ours(aws={"skipContainers": ["freshmount"]}), "freshmount.aws.skipContainers names freshmount"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(demo: Chart, values: dict[str, Any], sentence: str) -> None:
    """In one sentence, with the value's name."""
    assert sentence in demo.refusal(values)


@pytest.mark.parametrize("name", MONITORING)
def test_a_job_that_nobody_can_scrape_is_not_monitored(tmp_path: Path, demo: Chart, name: str) -> None:
    """Where its plain sidecar is an init container; a native one is scraped."""
    template = '{{ include "freshmount.objects" (dict "root" . "job" true) }}\n'
    chart = demo.edited(
        tmp_path / "demo", ("templates/freshmount.yaml", '{{ include "freshmount.objects" . }}\n', template)
    )
    assert f"freshmount.{name}.enabled is true" in chart.refusal(ours(**{name: ON}), "1.28")
    assert len(chart.template(ours(**{name: ON}), "1.29").documents) > len(chart.template({}, "1.28").documents)


def test_every_problem_comes_in_one_run(demo: Chart) -> None:
    """A person mends values once."""
    said = demo.refusal(ours(image={"repository": ""}, config={"listen": ":0", "volume": {"path": "/x"}}))
    assert all(f"freshmount.{key}" in said for key in ("image.repository", "config.listen", "config.volume.path"))


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_a_bad_mode_names_the_good_ones(demo: Chart, version: str) -> None:
    """By the schema, and by the template where the schema is skipped."""
    chart = Chart(need_helm(version), demo.path)
    said = chart.refusal(ours(mode="natve"))
    assert "/mode" in said or "mode:" in said
    assert all(mode in said for mode in ("native", "init", "sidecar", "both", "secret"))
    said = chart.refusal(ours(mode="natve"), "1.37", "--skip-schema-validation")
    assert 'freshmount.mode is "natve": set it to native, init, sidecar, both or secret, or leave it out' in said


def test_a_call_gone_wrong_says_how_to_call(demo: Chart, tmp_path: Path) -> None:
    """The dot inside of a range, another key, a key without values."""
    calls = {
        '{{ range list "a" }}{{ include "freshmount.volumes" . }}{{ end }}': "pass the chart's root context",
        '{{ include "freshmount.volumes" .Values }}': "pass the chart's root context",
        '{{ include "freshmount.volumes" (dict "root" . "kye" "b") }}': 'a call takes root, key and job, not "kye"',
        '{{ include "freshmount.volumes" (dict "root" . "key" "b") }}': 'there are no values under "b"',
    }
    for i, (call, sentence) in enumerate(calls.items()):
        assert sentence in demo.with_template(tmp_path / str(i), call).refusal()


# The config


def test_the_schema_is_generated() -> None:
    """From the agent's, by `make chart-schema`."""
    done = subprocess.run([sys.executable, str(CHARTS / "schema.py")], capture_output=True, text=True, check=True)
    assert (CHARTS / "freshmount" / "values.schema.json").read_text() == done.stdout, "run make chart-schema"


def test_the_schema_knows_every_value() -> None:
    """And no other: a value that is misspelt is refused."""
    schema = json.loads((CHARTS / "freshmount" / "values.schema.json").read_text())
    values = yaml.safe_load((CHARTS / "freshmount" / "values.yaml").read_text())

    def compare(part: dict[str, Any], properties: dict[str, Any], more: set[str]) -> None:
        assert set(part) | more == set(properties)

    compare(values, schema["properties"], {"global", "subPath"})
    for name in ("image", "aws", "podMonitor", "prometheusRule", "dashboard", "networkPolicy"):
        compare(values[name], schema["properties"][name]["properties"], set())
        assert schema["properties"][name]["additionalProperties"] is False
    jsonschema.validate(values, schema)


def around_the_library(helm: str, to: Path, dependencies: Iterable[dict[str, str]]) -> Chart:
    """A chart of nothing but the library, once for each of these ways to depend on it."""
    shutil.copytree(CHARTS / "freshmount", to / "charts" / "freshmount")
    of = [{"name": "freshmount", "version": __version__, **each} for each in dependencies]
    chart = {"apiVersion": "v2", "name": "many", "version": "0.1.0", "dependencies": of}
    (to / "Chart.yaml").write_text(yaml.safe_dump(chart))
    (to / "templates").mkdir()
    return Chart(helm, to)


def corpus(helm: str, to: Path, texts: dict[str, str]) -> tuple[Chart, dict[str, Any], dict[str, str]]:
    """A chart with one alias of the library for each config, their values, and the alias of each by its name."""
    aliases = {name: f"c{i}" for i, name in enumerate(texts)}
    chart = around_the_library(helm, to, ({"alias": alias} for alias in aliases.values()))
    (to / "templates" / "configs.yaml").write_text(
        """\
{{- range $key, $_ := .Values }}
{{- if ne $key "global" }}
---
{{ include "freshmount.configMap" (dict "root" $ "key" $key) }}
{{- end }}
{{- end }}
"""
    )
    everywhere = [{"name": "root", "mountPath": "/"}]  # so that any path of a target is seen
    values = {
        aliases[name]: {
            "enabled": True,
            "image": {"repository": "r"},
            "extraVolumeMounts": everywhere,
            "config": yaml.safe_load(text),
        }
        for name, text in texts.items()
    }
    return chart, values, aliases


OF_ONE = {"secrets": [{"name": "a", "secretId": "a", "files": [{"path": "a"}]}]}  # a config of one secret


def beside(helm: str, to: Path, agents: dict[str, dict[str, Any]], template: str) -> tuple[Rendered, dict[str, str]]:
    """What that template makes of each of these agents, and the key of each: one run of helm for all. In it stand KEY
    and CALL, what an include is given for that agent. Its defaults are merged here: helm would read the whole library
    and its schema once for each."""
    chart = around_the_library(helm, to, [{}])
    keys = {name: f"c{i}" for i, name in enumerate(agents)}
    for key in keys.values():
        text = template.replace("KEY", key).replace("CALL", f'(dict "root" $ "key" "{key}")')
        (to / "templates" / f"{key}.yaml").write_text(text)
    on = {"enabled": True, "image": {"repository": "r", "tag": "1"}}
    values = {key: merged(VALUES, {**on, **agents[name]}) for name, key in keys.items()}
    schema = json.loads((CHARTS / "freshmount" / "values.schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    for each in values.values():
        validator.validate(each)
    return chart.template(values), keys


def merged(defaults: Any, given: Any) -> Any:
    """As helm merges values: key by key, as far as both are tables. A null, which takes a default away there, stays."""
    if not (isinstance(defaults, dict) and isinstance(given, dict)):
        return given
    return {**defaults, **{key: merged(defaults.get(key), value) for key, value in given.items()}}


def policies(to: Path, agents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The IAM policy of each of these agents, as the chart prints it."""
    template = 'kind: Said\nmetadata: {name: KEY}\ntext: {{ include "freshmount.iamPolicy" CALL | quote }}\n'
    rendered, keys = beside(need_helm(), to, agents, template)
    found = {document["metadata"]["name"]: json.loads(document["text"]) for document in rendered.documents}
    return {name: found[key] for name, key in keys.items()}


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_a_config_that_the_agent_refuses_is_refused(tmp_path: Path, version: str) -> None:
    """As far as a schema can see, by the validator of each helm. What is required, the templates ask for."""
    structural = {name: text for name, text in STRUCTURAL.items() if name != "no secrets key"}
    chart, values, aliases = corpus(need_helm(version), tmp_path / "many", {**structural, "good": document()})
    refused = set(re.findall(r"^(c\d+):$", chart.refusal(values), re.MULTILINE))
    assert refused == {aliases[name] for name in structural}


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_a_config_arrives_as_it_was_written(tmp_path: Path, version: str) -> None:
    """Quoted modes, durations and names survive YAML, values and YAML."""
    texts = {name: text for name, text in VALID.items() if name != "listen v6"}  # refused, with a sentence of its own
    chart, values, aliases = corpus(need_helm(version), tmp_path / "many", texts)
    rendered = chart.template(values)
    for name, alias in aliases.items():
        given = yaml.safe_load(texts[name])
        given.setdefault("volume", {}).setdefault("path", "/freshmount/secrets")
        given.setdefault("startup", {}).setdefault("timeout", "30s")  # the chart's, with a hook
        assert parse(rendered.config(f"-{alias}"), name) == parse(yaml.safe_dump(given), name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_agent_accepts_what_is_rendered(bare: Chart, tmp_path: Path, path: Path) -> None:
    """Its own `check` reads the ConfigMap of each example."""
    seen = [{"name": "run", "mountPath": "/run/app"}]
    config = tmp_path / "config.yaml"
    config.write_text(bare.template(configured(path.read_text(), extraVolumeMounts=seen)).config())
    done = freshmount("check", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "") and ": ok: " in done.stdout


def test_the_readmes_way_to_check_a_config(demo: Chart, tmp_path: Path) -> None:
    """As it is printed, with the `yq` that is installed: Debian's is in Python, the other one in Go."""
    need(bool(shutil.which("yq")), "yq is not installed (Debian: yq)")
    (command, check) = re.findall(r"^(helm template .*|freshmount check .*)$", README, re.MULTILINE)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "helm").symlink_to(demo.helm)
    (tmp_path / "bin" / "freshmount").write_text(f'#!/bin/sh\nexec {sys.executable} -m agent "$@"\n')
    (tmp_path / "bin" / "freshmount").chmod(0o755)
    home = tmp_path / "demo"
    shutil.copytree(demo.path, home)
    done = subprocess.run(
        ["sh", "-ec", f"{command}\n{check}"],
        cwd=home,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(CHARTS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "") and ": ok: " in done.stdout


def test_check_sees_what_a_schema_cannot(bare: Chart, tmp_path: Path) -> None:
    """The README says so."""
    text = document(files="{path: a}, {path: a}")
    config = tmp_path / "config.yaml"
    config.write_text(bare.template(configured(text)).config())
    done = freshmount("check", "--config", str(config))
    assert done.returncode == 2 and "'a'" in done.stderr


# What is said


def said(demo: Chart, to: Path, values: dict[str, Any], template: str = "notes", kube: str = "1.37") -> str:
    chart = demo.with_template(
        to, f'kind: Said\nmetadata: {{name: said}}\ntext: {{{{ include "freshmount.{template}" . | quote }}}}\n'
    )
    return str(chart.template(values, kube).one("Said")["text"])


def test_notes_say_what_was_turned_on(demo: Chart, tmp_path: Path) -> None:
    """And what the user has to see to."""
    notes = said(demo, tmp_path / "a", ours(**EVERYTHING))
    for line in (
        "native: one native sidecar",
        "/freshmount/secrets in your containers, read-only",
        "db: db.env",
        "web: SIGHUP to python3",
        "restarts the pods",
        "PodMonitor, PrometheusRule, dashboard, NetworkPolicy",
        '"secretsmanager:GetSecretValue"',
        "aws eks create-pod-identity-association",
        "freshmount.shareProcessNamespace",
        "networkPolicy.ingress",
    ):
        assert line in notes
    touch = {"notify": [{"name": "web", "touch": "/freshmount/reload"}]}
    notes = said(demo, tmp_path / "b", ours(config=touch, mode="init"))
    assert "fills the volume once" in notes and "config.notify has no effect" in notes and "touch" not in notes
    assert "WARNING" not in said(demo, tmp_path / "d", ours(config={"notify": None}, mode="init"))
    notes = said(demo, tmp_path / "g", ours(mode="secret", secretName="kept"))
    assert "/freshmount/secrets in your containers" in notes and "get secret kept" in notes
    assert not any(word in notes for word in ("IAM", "SIGHUP", "WARNING", "db.env"))
    assert not said(demo, tmp_path / "h", ours(mode="secret", secretName="kept"), "iamPolicy")
    alone = {"prometheusRule": ON, "mode": "native"}
    assert "prometheusRule.selector" in said(demo, tmp_path / "e", ours(**alone))
    for more in ({"podMonitor": ON}, {"serviceMonitor": ON}, {"prometheusRule": {**ON, "selector": 'job="x"'}}):
        assert "prometheusRule.selector" not in said(
            demo, tmp_path / f"f-{next(iter(more))}", ours(**{**alone, **more})
        )
    assert said(demo, tmp_path / "c", ours(enabled=False)).startswith("Freshmount is off. Set freshmount.enabled")


def test_notes_show_no_query_of_a_url(demo: Chart, tmp_path: Path) -> None:
    """It may carry a token, and CI prints notes."""
    url = "http://127.0.0.1:8080/reload?token=t0ken#t0ken"
    notes = said(demo, tmp_path / "a", ours(config={"notify": [{"name": "web", "url": url}]}))
    assert "POST http://127.0.0.1:8080/reload\n" in notes and "t0ken" not in notes


def test_notes_are_shown_at_install(demo: Chart) -> None:
    """By the demo chart, as helm prints them."""
    done = subprocess.run(
        [need_helm("v4"), "install", "web", str(demo.path), "--dry-run=client"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "NOTES:\nFreshmount is on, as freshmount:" in done.stdout


def test_the_iam_policy_is_the_least(demo: Chart, tmp_path: Path) -> None:
    """Each form of an id, the pinned version that is never described, a key through Secrets Manager alone."""
    ids = [f"{ARN}-AbCdEf", ARN, "prod/named"]
    secrets: list[dict[str, Any]] = [
        {"name": f"s{i}", "secretId": id_, "files": [{"path": f"f{i}"}]} for i, id_ in enumerate(ids)
    ]
    secrets.append({"name": "pinned", "secretId": f"{ARN}2-AbCdEf", "versionId": "1" * 32, "files": [{"path": "p"}]})
    key = "arn:aws:kms:eu-west-1:111122223333:key/k"
    policy = json.loads(
        said(demo, tmp_path / "a", ours(config={"secrets": secrets}, aws={"kmsKeyArns": [key]}), "iamPolicy")
    )
    polled = [f"{ARN}-AbCdEf", f"{ARN}-??????", "arn:aws:secretsmanager:*:*:secret:prod/named-??????"]
    assert policy == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": [*polled, f"{ARN}2-AbCdEf"]},
            {"Effect": "Allow", "Action": "secretsmanager:DescribeSecret", "Resource": polled},
            {
                "Effect": "Allow",
                "Action": "kms:Decrypt",
                "Resource": key,
                "Condition": {"StringEquals": {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}},
            },
        ],
    }
    one = ours(
        config={"region": "cn-north-1", "secrets": [{"name": "a", "secretId": "a", "files": [{"path": "a"}]}]},
        aws={"identity": "irsa", "roleArn": "arn:aws-cn:iam::111122223333:role/web"},
    )
    assert json.loads(said(demo, tmp_path / "b", one, "iamPolicy"))["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
            "Resource": ["arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:a-??????"],
        }
    ]


REGIONS = {  # one of each partition that botocore knows
    "eu-west-1": "aws",
    "us-east-1": "aws",
    "cn-northwest-1": "aws-cn",
    "us-gov-east-1": "aws-us-gov",
    "us-iso-west-1": "aws-iso",
    "us-isob-east-1": "aws-iso-b",
    "eu-isoe-west-1": "aws-iso-e",
    "us-isof-south-1": "aws-iso-f",
    "eusc-de-east-1": "aws-eusc",
}


def test_every_partition_has_its_region_here() -> None:
    """A partition that comes with a newer botocore is noticed."""
    assert set(REGIONS.values()) == set(botocore.session.get_session().get_available_partitions())


def test_the_iam_policy_is_of_the_regions_partition(tmp_path: Path) -> None:
    """For a secret by name, and for the service through which a key is used: by its own domain or by the common one."""
    known = botocore.session.get_session().get_data("partitions")["partitions"]
    domains = {each["id"]: each["outputs"]["dnsSuffix"] for each in known}
    keys = {region: f"arn:{partition}:kms:{region}:111122223333:key/k" for region, partition in REGIONS.items()}
    agents = {
        region: {"config": {"region": region, **OF_ONE}, "aws": {"kmsKeyArns": [key]}} for region, key in keys.items()
    }
    for region, found in policies(tmp_path / "many", agents).items():
        read, decrypt = found["Statement"]
        assert read["Resource"] == [f"arn:{REGIONS[region]}:secretsmanager:{region}:*:secret:a-??????"]
        domain = domains[REGIONS[region]]
        services = [f"secretsmanager.{region}.{of}" for of in dict.fromkeys(("amazonaws.com", domain))]
        assert decrypt["Condition"]["StringEquals"]["kms:ViaService"] == (services if services[1:] else services[0])


def test_the_role_tells_the_partition_where_no_region_does(demo: Chart, tmp_path: Path) -> None:
    """A name without a region is looked for where the role is."""
    values = ours(
        config={"secrets": [{"name": "a", "secretId": "a", "files": [{"path": "a"}]}]},
        aws={"identity": "irsa", "roleArn": "arn:aws-us-gov:iam::111122223333:role/web"},
    )
    (statement,) = json.loads(said(demo, tmp_path / "a", values, "iamPolicy"))["Statement"]
    assert statement["Resource"] == ["arn:aws-us-gov:secretsmanager:*:111122223333:secret:a-??????"]


def test_the_policy_is_the_one_of_plan(tmp_path: Path) -> None:
    """The notes and `freshmount plan` say the same of each example."""
    texts = {path.name: path.read_text() for path in EXAMPLES}
    seen = [{"name": "run", "mountPath": "/run/app"}]  # where a pid file lies
    agents = {name: {"config": yaml.safe_load(text), "extraVolumeMounts": seen} for name, text in texts.items()}
    assert policies(tmp_path / "many", agents) == {name: policy(parse(text, name)) for name, text in texts.items()}


_ROLE = "arn:aws:iam::222233334444:role"
_PARAMETER = "arn:aws:ssm:eu-west-1:111122223333:parameter"


_OF_EACH_SOURCE = [
    f"{{name: a, parameter: /a/b}}, {{name: b, parameter: plain, failover: {{region: cn-north-1}}}}, "
    f"{{name: c, parameter: '{_PARAMETER}/c', "
    "failover: [{region: us-east-1}, {region: us-east-2, parameter: /d}]}",
    "{name: a, parameters: /}, {name: b, parameters: /b/, failover: {region: us-east-1, parameters: /c}}",
    "{name: a, find: {name: x}}, {name: b, find: {path: prod/}, failover: {region: us-gov-east-1}}",
    f"{{name: a, secretId: a, failover: {{region: us-east-1, secretId: b}}}}, "
    f"{{name: b, secretId: '{ARN}-AbCdEf', failover: {{region: us-east-1}}, versionId: {'a' * 32}}}",
    f"{{name: a, secretId: a, roleArn: [{_ROLE}/a, {_ROLE}/b], sessionTags: {{x: y}}}}, "
    "{name: b, parameter: /b}, "
    f"{{name: c, secretId: c, roleArn: {_ROLE}/c, sessionTags: {{x: y}}}}",
    f"{{name: a, find: {{path: a}}, failover: {{region: us-east-1, roleArn: {_ROLE}/a}}}}",
]
_OF_OTHERS = """\
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: main}
spec: {provider: {aws: {service: %s, region: eu-west-1}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: web}
spec: {secretStoreRef: {name: main}, %s}
"""
# What no Config can ask for: only the manifests of others do.
_MANIFESTS = {
    "matching": _OF_OTHERS % ("ParameterStore", "dataFrom: [{find: {path: /a, tags: {t: v}}}]"),
    "tags": _OF_OTHERS % ("SecretsManager", "data: [{secretKey: k, remoteRef: {key: a, metadataPolicy: Fetch}}]"),
    "parameterTags": _OF_OTHERS
    % ("ParameterStore", "data: [{secretKey: k, remoteRef: {key: /a, metadataPolicy: Fetch}}]"),
}


def test_every_kind_is_in_the_policy_or_refused() -> None:
    """A kind that comes new is noticed here."""
    native = {kind for key, kind in SOURCES.items() if any(f" {key}: " in secrets for secrets in _OF_EACH_SOURCE)}
    assert native == set(SOURCES.values())
    assert native | _MANIFESTS.keys() == set(CALLS)
    for kind, text in _MANIFESTS.items():
        assert [secret.ref.kind for secret in parse(text, "m.yaml").bundle.secrets] == [kind]


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize("kind", _MANIFESTS)
def test_manifests_of_others_are_refused(bare: Chart, kind: str, schema: bool) -> None:
    """Not with half a policy: by the schema, and by the templates where it is skipped, with what to do."""
    for manifest in yaml.safe_load_all(_MANIFESTS[kind]):
        values = ours(config={**manifest, "secrets": [{"name": "a", "secretId": "a"}]})
        said = bare.refusal(values, "1.37", *([] if schema else ["--skip-schema-validation"]))
        words = ("freshmount.dev/v1",) if schema else (manifest["kind"], "freshmount convert", "freshmount plan")
        assert [word for word in words if word not in said] == []


def test_a_secret_of_a_kind_that_is_not_known_has_no_policy(bare: Chart, tmp_path: Path) -> None:
    values = configured(
        "apiVersion: freshmount.dev/v1\nkind: Config\nsecrets: [{name: a, tagsOf: x, files: [{path: a}]}]"
    )
    chart = bare.with_template(tmp_path / "a", 'kind: Said\ntext: {{ include "freshmount.iamPolicy" . | quote }}\n')
    said = chart.refusal(values, "1.37", "--skip-schema-validation")
    assert "IAM policy" in said and "freshmount plan" in said


@pytest.mark.parametrize(
    "default",
    [
        "",
        f"roleArn: {_ROLE}/default",
        f"roleArn: {_ROLE}/default\nsessionTags: {{t: v}}",
        "hub: {url: 'http://hub:9106', ownLooks: list}",
    ],
)
def test_the_policy_of_every_source_is_the_one_of_plan(tmp_path: Path, default: str) -> None:
    """With replicas and roles; what the pod's own identity needs."""
    head = f"apiVersion: freshmount.dev/v1\nkind: Config\nregion: eu-west-1\n{default}"
    listed = {each: re.sub(r"\{name: (\w),", r"{name: \1, files: [{path: \1}],", each) for each in _OF_EACH_SOURCE}
    texts = {each: f"{head}\nsecrets: [{secrets}]\n" for each, secrets in listed.items()}
    found = policies(tmp_path / "many", {name: {"config": yaml.safe_load(text)} for name, text in texts.items()})
    assert found == {name: policy(parse(text, "c.yaml")) for name, text in texts.items()}


def test_the_policy_of_an_arn_that_looks_complete(tmp_path: Path) -> None:
    """Both forms, where a name may end so; the same as `freshmount plan` prints."""
    ends = ("master", "MASTER", "123456", "Master", "mAst3r", "word", "seventh")
    texts = {end: document(secret=f"name: db, secretId: '{ARN}-{end}'") for end in ends}
    made = policies(tmp_path / "many", {end: {"config": yaml.safe_load(text)} for end, text in texts.items()})
    assert made == {end: policy(parse(text, "c")) for end, text in texts.items()}
    for end, found in made.items():
        both = [f"{ARN}-{end}", f"{ARN}-{end}-??????"]
        (statement,) = found["Statement"]
        assert statement["Resource"] == (
            both if end in ("master", "MASTER", "123456") else both[:1] if len(end) == 6 else both[1:]
        )


# What is written down


@pytest.mark.parametrize("chart", ["freshmount", "demo", "injector", "controller"])
def test_the_readme_lists_the_values(chart: str) -> None:
    """As helm-docs does: `make chart-docs`."""
    text = (CHARTS / chart / "values.yaml").read_text()
    rows = dict(
        re.findall(r"^\| ([\w.]+) \|.*?\| ([^|]*) \|$", (CHARTS / chart / "README.md").read_text(), re.MULTILINE)
    )
    described: dict[str, str] = {}
    above: list[str] = []
    for comment, indent, key in re.findall(r"((?:^ *#[^\n]*\n)*)^( *)(\w+):", text, re.MULTILINE):
        above = [*above[: len(indent) // 2], key]
        if comment.lstrip().startswith("# --"):
            words = " ".join(line.strip().lstrip("# ") for line in comment.splitlines())
            described[".".join(above)] = re.sub(r"^-- (\(\w+\) )?", "", words)
    assert len(described) > 3
    assert {key: rows.get(key) for key in described} == described


def test_versions_agree() -> None:
    """Agent, charts, images and the dependency of those that use the library."""
    names = ("freshmount", "demo", "injector", "controller")
    library, demo, injector, controller = (yaml.safe_load((CHARTS / name / "Chart.yaml").read_text()) for name in names)
    assert controller["appVersion"] == __version__
    values = yaml.safe_load((CHARTS / "freshmount" / "values.yaml").read_text())
    assert library["type"] == "library" and library["appVersion"] == __version__ and not values["image"]["tag"]
    assert injector["version"] == library["version"] and injector["appVersion"] == __version__
    assert (
        demo["dependencies"]
        == injector["dependencies"]
        == [{"name": "freshmount", "version": library["version"], "repository": "file://../freshmount"}]
    )


# All of it, without a cluster


@pytest.fixture
def aws() -> Iterator[MotoStandIn]:
    with MotoStandIn() as stand_in:
        yield stand_in


def test_the_demo_runs(demo: Chart, aws: MotoStandIn, tmp_path: Path) -> None:
    """The agent on the rendered config and arguments, the app as rendered beside it: filled, rotated, told."""
    mount = tmp_path / "mount"
    mount.mkdir()
    arn = aws.put("demo", '{"user": "a", "password": "one"}')
    pid_file = mount / "app.pid"
    rendered = demo.template(
        ours(
            mountPath=str(mount),
            config={
                "endpointUrl": aws.url,
                "listen": ":65535",  # replaced below: a chart needs a known port, a test a free one
                "poll": {"period": "1s", "rotationPeriod": "1s"},
                "secrets": [{"name": "db", "secretId": arn, "files": [{"path": "db.env", "format": "dotenv"}]}],
                "notify": [{"name": "web", "signal": "SIGHUP", "process": {"pidFile": str(pid_file)}}],
            },
        )
    )
    config = tmp_path / "config.yaml"
    config.write_text(rendered.config().replace(":65535", "127.0.0.1:0"))
    script = tmp_path / "app.py"
    script.write_text(rendered.one("ConfigMap", "-app")["data"]["app.py"])
    (command,) = rendered.agent()["args"]
    with running(command, config, environment()) as agent:
        agent.ready()
        started = subprocess.Popen(
            [sys.executable, "-u", str(script)],
            env={**os.environ, "SECRETS": str(mount / "secrets"), "PORT": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with ended(started) as app:
            assert app.stdout
            port = app.stdout.readline().rsplit(" ", 1)[1].strip()

            def page() -> str:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    return str(answer.read().decode())

            assert page() == "reads 1\ndb.env\n"
            pid_file.write_text(f"{app.pid}\n")
            aws.rotate("demo", '{"user": "a", "password": "two"}')
            until(lambda: page() == "reads 2\ndb.env\n")
            assert "password='two'" in (mount / "secrets" / "db.env").read_text()
        assert agent.stop(signal.SIGTERM) == 0
