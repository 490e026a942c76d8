"""charts/injector, with helm itself: which policies it renders, for whom, and that they hold the library's container.

What the policies do is tried on a real API server: tests/cluster/test_inject.py.
"""

from __future__ import annotations

import re
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from agent.config import native
from tests.support.chart import BOTH_HELMS, Chart, Rendered, built, need_helm, ours, validate

IMAGE = {"image": {"repository": "registry.example/freshmount"}}
SYSTEM = {"kube-system", "kube-public", "kube-node-lease"}
CONFIG = {"startup": {"timeout": "2m"}, "secrets": [{"name": "a", "secretId": "a"}], "notify": None}


@pytest.fixture(scope="module")
def injector(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return built(need_helm(), tmp_path_factory.mktemp("injector") / "charts", "injector")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return built(need_helm(), tmp_path_factory.mktemp("demo") / "charts")


def expressions(rendered: Rendered) -> dict[str, str]:
    """The variables of the policy that injects."""
    return {each["name"]: each["expression"] for each in rendered.one("MutatingAdmissionPolicy")["spec"]["variables"]}


def evaluated(expression: str) -> Any:
    """What such a literal of CEL is for a pod with a ConfigMap `settings`, whose containers name no uid."""
    text = re.sub(r'\?"\w+": .*?optional\.none\(\)(, )?', "", expression)
    text = re.sub(r"\(variables\.byConfig \? (\[.*?\]) : \[\]\)(?= \+|\n|$)", r"\1", text)
    text = text.partition(" + variables.references")[0]
    names = {"dyn": lambda value: value, "true": True, "false": False, "null": None}
    pod = SimpleNamespace(env=[], mounts=[], path="/freshmount", annotations={"freshmount.dev/config": "settings"})
    return eval(text.replace("\n", " "), {"__builtins__": {}}, {**names, "variables": pod})


@pytest.mark.parametrize("version", BOTH_HELMS)
@pytest.mark.parametrize(("kube", "api"), [("1.34", "v1beta1"), ("1.35", "v1beta1"), ("1.36", "v1"), ("1.37", "v1")])
def test_the_policies_are_of_the_api_that_the_cluster_has(injector: Chart, version: str, kube: str, api: str) -> None:
    """v1 from 1.36 on; nothing else is installed, so nothing runs."""
    rendered = Chart(need_helm(version), injector.path).template(IMAGE, kube)
    kinds = [f"{kind}AdmissionPolicy{binding}" for kind in ("Mutating",) for binding in ("", "Binding")]
    kinds += [f"ValidatingAdmissionPolicy{binding}" for binding in ("", "Binding") for _ in range(2)]
    assert rendered.kinds() == sorted(kinds)
    for document in rendered.documents:
        of = api if document["kind"].startswith("Mutating") else "v1"
        assert document["apiVersion"] == f"admissionregistration.k8s.io/{of}", document["kind"]
    validate(rendered, kube)


@pytest.mark.parametrize("version", BOTH_HELMS)
def test_helm_lint_finds_nothing(injector: Chart, version: str) -> None:
    """Strictly, with the one value that it needs."""
    command = [
        need_helm(version),
        "lint",
        "--strict",
        str(injector.path),
        "--set=image.repository=x",
        "--kube-version=1.36.0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "0 chart(s) failed" in done.stdout, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout and "[ERROR]" not in done.stdout


def test_before_1_34_it_is_refused(injector: Chart) -> None:
    assert "kubeVersion" in injector.refusal(IMAGE, "1.33")


@pytest.mark.parametrize(("hold", "hub"), [("hook", ""), ("probe", "http://freshmount.freshmount:9106")])
def test_what_is_injected_is_what_the_library_renders(injector: Chart, demo: Chart, hold: str, hub: str) -> None:
    """Container, volumes and mount: one description. The config's name is all that the pod adds here; the hub's URL and
    how own looks are made is in the library's config, and in the environment where the config is the pod's."""
    values: dict[str, Any] = {
        **IMAGE,
        "holdBack": hold,
        "hub": {"url": hub, "audience": "others", "ownLooks": "list"},
        "sizeLimit": "16Mi",
        "extraEnv": [{"name": "AWS_REGION", "value": "eu-west-1"}, {"name": "QUOTED", "value": "a\"b'c\\d\nü"}],
        "extraArgs": ["--log-level=debug"],
        "resources": {"requests": {"memory": "64Mi", "example.com/thing": 1}, "limits": {"memory": "128Mi"}},
    }
    found = expressions(injector.template(values))
    library = demo.template(ours(**values, config=CONFIG)).pod()
    agent = evaluated(found["agent"])
    if hub:
        assert agent["env"].pop() == {"name": "FRESHMOUNT_HUB_OWN_LOOKS", "value": "list"}
        assert agent["env"].pop() == {"name": "FRESHMOUNT_HUB_URL", "value": hub}
    rendered = library["initContainers"][0]
    for container in (agent, rendered):  # whose order says nothing
        container["volumeMounts"].sort(key=lambda mount: mount["name"])
    assert agent == rendered
    assert agent["restartPolicy"] == "Always" and agent["image"].startswith("registry.example/freshmount:")
    volumes = [volume for volume in library["volumes"] if volume["name"].startswith("freshmount")]
    (config,) = (volume["configMap"] for volume in volumes if "configMap" in volume)
    config["name"] = "settings"
    assert evaluated(found["volumes"]) == volumes
    assert any("projected" in volume for volume in volumes) == bool(hub)
    (mount,) = (each for each in library["containers"][0]["volumeMounts"] if each["name"] == "freshmount")
    assert evaluated(found["mount"]) == mount


def test_the_uid_is_the_charts_or_the_apps(injector: Chart) -> None:
    """The chart's value is for every pod; without it the pod's containers decide, which the cluster's tests try."""
    fixed = evaluated(expressions(injector.template({**IMAGE, "runAsUser": 1000, "runAsGroup": 2000}))["agent"])
    assert (fixed["securityContext"]["runAsUser"], fixed["securityContext"]["runAsGroup"]) == (1000, 2000)
    free = expressions(injector.template(IMAGE))
    assert '?"runAsUser"' in free["agent"] and '?"runAsGroup"' in free["agent"]
    assert "runAsUser" not in evaluated(free["agent"])["securityContext"]


def test_namespaces_are_chosen_and_those_of_the_system_never(injector: Chart) -> None:
    rendered = injector.template(IMAGE)
    policies = [each for each in rendered.documents if not each["kind"].endswith("Binding")]
    for policy in policies:
        (excluded,) = policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
        assert (excluded["operator"], {*excluded["values"]}) == ("NotIn", SYSTEM), policy["metadata"]["name"]
        assert policy["spec"]["failurePolicy"] == "Fail"
    assert "matchResources" not in rendered.one("MutatingAdmissionPolicyBinding")["spec"]
    selector = {"matchLabels": {"team": "payments"}}
    chosen = injector.template({**IMAGE, "namespaceSelector": selector})
    assert chosen.one("MutatingAdmissionPolicyBinding")["spec"]["matchResources"] == {"namespaceSelector": selector}
    # What is refused is refused everywhere, so that no pod starts without what it asks for.
    for ending in ("-pods", "-workloads"):
        spec = chosen.one("ValidatingAdmissionPolicyBinding", ending)["spec"]
        assert spec["validationActions"] == ["Deny"] and "matchResources" not in spec


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ["image.repository"]),
        ({**IMAGE, "freshmount": {"image": {"repository": "x"}}}, ["freshmount"]),
        ({**IMAGE, "holdBack": "sleep"}, ["holdBack"]),
        ({**IMAGE, "runAsUser": 0}, ["runAsUser"]),
        ({**IMAGE, "mode": "init"}, ["mode"]),
        ({**IMAGE, "namespaceSelector": {"team": "payments"}}, ["namespaceSelector"]),
        ({"image": {"repository": "x", "digest": "sha256:1"}}, ["digest"]),
    ],
)
def test_values_that_make_no_sense_are_refused(injector: Chart, values: dict[str, Any], words: list[str]) -> None:
    said = injector.refusal(values)
    assert [word for word in words if word not in said] == []


def test_null_takes_a_default_away(injector: Chart) -> None:
    values = {**IMAGE, "sizeLimit": None, "resources": None, "holdBack": None, "extraEnv": None, "extraArgs": None}
    found = expressions(injector.template({**values, "namespaceSelector": None}))
    assert "resources" not in evaluated(found["agent"])
    assert evaluated(found["volumes"])[0]["emptyDir"] == {"medium": "Memory"}


def test_a_secret_of_the_annotation_is_one_that_the_agent_accepts(injector: Chart) -> None:
    """The patterns of the policy are the agent's own."""
    (pattern,) = re.findall(r"item\.matches\('(.*?)'\)", expressions(injector.template(IMAGE))["problems"])
    schema = native.KEYS["secret"]
    assert "secretId" in schema and "parameter" in schema
    secret = "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:prod/db_+=.@!-AbCdEf"
    parameter = "arn:aws:ssm:eu-west-1:111122223333:parameter/prod/flags"
    for name, of in (("db", secret), ("a.b_c-1", parameter)):
        assert re.fullmatch(pattern, f"{name}={of}")
        key = "parameter" if ":ssm:" in of else "secretId"
        text = f"{{apiVersion: freshmount.dev/v1, kind: Config, secrets: [{{name: {name}, {key}: '{of}'}}]}}"
        assert native.parse(text, "c").bundle.secrets[0].ref.id == of
    for wrong in (
        f"db={secret} ",
        f"={secret}",
        "db=prod/db",
        "db=secret:",
        "db=secret:A",
        "db=secrets:db",
        "db",
        f"-db={secret}",
    ):
        assert not re.fullmatch(pattern, wrong), wrong
    assert re.fullmatch(pattern, "db=secret:web.db-1")
