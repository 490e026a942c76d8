"""One label injects the agent, by charts/injector: who gets what, who is refused and why, and that it runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.injected import CHOSEN, ON, SECURE, USER, Injected, mounts
from tests.cluster.kube import Namespace, Object, container, is_ready, name_of
from tests.cluster.webhook import Webhook
from tests.cluster.world import AGENT, APP
from tests.support import chart
from tests.support.running import until

ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db"
CONFIG, SECRETS, CONTAINERS, PATH, SIGNAL = (
    f"freshmount.dev/{name}" for name in ("config", "secrets", "containers", "mount-path", "signal")
)
SIDECAR = {"name": "mesh", "image": "mesh:1", "securityContext": SECURE}

pytestmark = pytest.mark.xdist_group("injector")  # one release for all


@pytest.fixture
def world(injected: Injected) -> Injected:
    """By this name a failed test prints what is in its namespace."""
    return injected


def agent(pod: Object) -> Object:
    """The injected container, which is the first."""
    first: Object = pod["spec"]["initContainers"][0]
    assert first["name"] == AGENT
    return first


def bare(pod: Object) -> Object:
    """The pod's spec without what each pod has from the API server, whoever made it."""
    return {key: value for key, value in pod["spec"].items() if key not in ("nodeName", "priority", "tolerations")}


def files(namespace: Namespace, pod: str) -> Object:
    """The files that the app found at its start."""
    with namespace.log(pod, APP) as log:
        return dict(log.event("start")["files"])


# What runs


def test_each_kind_of_workload_gets_its_files(world: Injected) -> None:
    """Deployment, StatefulSet, DaemonSet, Job, CronJob and a bare pod, under *restricted*; an init container, too."""
    arn = world.put("db", json.dumps({"password": "pw-1"}))
    asked = {SECRETS: f"db={arn}"}

    def of(kind: str, **spec: Any) -> Object:
        made = world.template(asked, **spec)
        made["metadata"]["labels"] = {**made["metadata"]["labels"], "kind": kind.lower()}
        return made

    def workload(kind: str, **more: Any) -> Object:
        selector = {"matchLabels": {"kind": kind.lower()}}
        return {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": kind.lower()},
            "spec": {"selector": selector, "template": of(kind, **more)},
        }

    once = {"restartPolicy": "Never", "containers": [world.app(APP, "once")]}
    cron = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"backoffLimit": 0, "template": of("CronJob", **once)}}}
    job = {"backoffLimit": 0, "template": of("Job", **once)}
    applied(
        world,
        workload("Deployment", initContainers=[world.app("before", "once")]),
        {**workload("StatefulSet"), "spec": {**workload("StatefulSet")["spec"], "serviceName": "x"}},
        workload("DaemonSet"),
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": job},
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cronjob"}, "spec": cron},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "bare", **of("Pod")["metadata"]},
            "spec": of("Pod")["spec"],
        },
    )
    world.k.kubectl("create", "job", "now", "--from=cronjob/cronjob")
    for kind in ("deployment", "statefulset", "daemonset", "pod"):
        pod = world.k.pod(lambda pod, kind=kind: pod["metadata"]["labels"].get("kind") == kind and is_ready(pod), kind)
        assert files(world.k, name_of(pod)) == {"db/password": "pw-1"}
        if kind == "deployment":
            assert [c["name"] for c in pod["spec"]["initContainers"]] == [AGENT, "before"]
            (start, *_) = world.k.said(name_of(pod), "before")
            assert start["files"] == {"db/password": "pw-1"}
    for name in ("job", "now"):
        world.k.until("jobs", lambda job: job.get("status", {}).get("succeeded") == 1, "succeeded", name)
        assert files(world.k, f"job/{name}") == {"db/password": "pw-1"}
    still_the_same(world, "bare")


def applied(world: Injected, *documents: Object) -> None:
    """As people do it, which leaves an annotation."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
    world.k.kubectl("apply", "--filename=-", stdin=json.dumps(items))


def still_the_same(world: Injected, name: str) -> None:
    """Nothing happens twice: applied again, annotated, labelled, and with an ephemeral container."""
    before = world.k.get("pod", name)
    applied(world, json.loads(before["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]))
    (start, *_) = world.k.said(name, APP)
    world.k.kubectl("annotate", "pod", name, f"{CONTAINERS}=other")
    world.k.kubectl("label", "pod", name, "more=label")
    debug = ("--container=look", "--profile=restricted", "--image", world.cluster.app_image)
    world.k.kubectl("debug", name, *debug, "--", "python3", "-c", "print('seen')")
    after = world.k.pod(
        lambda pod: [c for c in pod["status"].get("ephemeralContainerStatuses", ()) if "terminated" in c["state"]],
        "the ephemeral container has ended",
        name,
    )
    (ephemeral,) = after["spec"].pop("ephemeralContainers")
    assert mounts(ephemeral) == {} and bare(after) == bare(before)
    assert container(after, AGENT)["restartCount"] == container(after, APP)["restartCount"] == 0
    assert world.k.said(name, APP)[0] == start


def test_a_config_a_signal_and_another_place_for_some_containers(world: Injected) -> None:
    """The ConfigMap may come later: until then the pod waits, and its events name it."""
    world.put("one", "one-1")
    asked = {CONFIG: "later", SIGNAL: "SIGHUP:python3", PATH: "/srv/secrets", CONTAINERS: APP}
    place = [{"name": "SECRETS", "value": "/srv/secrets/here"}]
    world.k.apply(
        world.pod(
            "some", asked, containers=[world.app(env=place), world.app("other", "once", command=["sleep", "1000"])]
        )
    )
    world.k.until(
        "events",
        lambda event: event["involvedObject"]["name"] == "some" and event["reason"] == "FailedMount",
        "the missing ConfigMap",
    )
    assert '"later" not found' in world.k.kubectl("describe", "pod", "some").stdout
    world.config("later", ["one"], volume={"path": "/srv/secrets/here"})
    pod = world.k.ready("some")
    assert pod["spec"]["shareProcessNamespace"] is True
    app, other = pod["spec"]["containers"]
    assert mounts(app) == {"/srv/secrets": AGENT} and mounts(other) == {}
    assert agent(pod)["resources"]["limits"] == {"memory": "96Mi"}
    with world.k.log("some", APP) as log:
        assert log.event("start")["files"] == {"one": "one-1"}
        world.rotate("one", "one-2")
        assert log.event("signal")["files"] == {"one": "one-2"}
    (target,) = world.k.status("some")["targets"]
    assert target["name"] == "signal-1"


def test_a_pushed_secret_leaves_its_arn_and_the_pod_has_the_files(world: Injected) -> None:
    arn = world.put("pushed", json.dumps({"user": "u", "password": "p"}))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}}
    world.k.apply({**secret, "stringData": {"user": arn, "password": arn}})
    place = [{"name": "SECRETS", "value": "/srv/secrets/secrets"}]
    app = world.app(env=place)
    world.k.apply(world.pod("pushed", {SECRETS: "db=secret:db", PATH: "/srv/secrets"}, containers=[app]))
    world.k.ready("pushed")
    assert files(world.k, "pushed") == {"db/password": "p", "db/user": "u"}


def test_an_ordinary_secret_is_not_mistaken_for_a_pushed_one(world: Injected) -> None:
    """The pod says so, and its value is said nowhere."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plain"}}
    world.k.apply({**secret, "stringData": {"password": "c4n4ry"}}, world.pod("plain", {SECRETS: "db=secret:plain"}))
    pod = world.k.pod(
        lambda pod: (
            "terminated" in container(pod, AGENT).get("lastState", {})
            or "terminated" in container(pod, AGENT).get("state", {})
        ),
        "the agent gave up",
        "plain",
    )
    status = container(pod, AGENT)
    ended = status["lastState"].get("terminated") or status["state"]["terminated"]
    assert ended["exitCode"] == 2 and "plain" in ended["message"] and "freshmount.dev/push" in ended["message"]
    assert "c4n4ry" not in json.dumps(pod) + world.k.kubectl("describe", "pod", "plain").stdout


@pytest.mark.parametrize(
    ("level", "spec"),
    [
        ("baseline", {"securityContext": {"runAsUser": 0}, "containers": {}}),
        (
            "privileged",
            {"securityContext": {}, "containers": {"privileged": True, "runAsUser": 1000, "runAsGroup": 3000}},
        ),
    ],
)
def test_other_levels_of_pod_security(world: Injected, level: str, spec: Object) -> None:
    """An app that is root, and one whose own container has the uid: the agent stays restricted, and the app reads."""
    arn = world.put(level, "value")
    namespace = world.levels[level]
    app = world.app(securityContext=spec["containers"])
    namespace.apply(
        world.pod("other", {SECRETS: f"db={arn}"}, securityContext=spec["securityContext"], containers=[app])
    )
    pod = namespace.ready("other")
    security = agent(pod)["securityContext"]
    assert security["runAsNonRoot"] is True and security["capabilities"] == {"drop": ["ALL"]}
    assert (security["runAsUser"], security.get("runAsGroup")) == (
        (1000, 3000) if level == "privileged" else (65532, None)
    )
    assert files(namespace, "other") == {"db": "value"}


# What is injected


def test_what_is_injected_is_what_the_library_renders(world: Injected, demo: Path) -> None:
    """The same container, volumes and mount, as the API server completes them."""
    values = world.values()
    ours = {
        "image": values["image"],
        "extraEnv": values["extraEnv"],
        "config": {"startup": {"timeout": "2m"}, "secrets": [{"name": "a", "secretId": "a"}], "notify": None},
    }
    rendered = chart.Chart(world.cluster.helm, demo).template({"kind": "", "freshmount": ours}, "1.34").pod()
    theirs = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs"}, "spec": rendered}
    rendered["serviceAccountName"] = "web"
    asking = json.loads(json.dumps(theirs))
    asking["metadata"] = {"name": "asking", "labels": ON, "annotations": {CONFIG: "web-demo-freshmount"}}
    spec = asking["spec"]
    del spec["initContainers"]
    spec["volumes"] = [volume for volume in spec["volumes"] if not volume["name"].startswith(AGENT)]
    for each in spec["containers"]:
        each["volumeMounts"] = [mount for mount in each["volumeMounts"] if mount["name"] != AGENT]
    found = world.tried([theirs, asking])
    theirs, asking = (dict(found[name]) for name in ("theirs", "asking"))

    def plain(pod: Object) -> Object:
        """Without the order of lists, and the random name of the token's volume."""
        text = json.dumps(pod["spec"])
        token = next(v["name"] for v in pod["spec"]["volumes"] if "projected" in v)
        made: Object = json.loads(text.replace(token, "token"))
        for each in [*made["containers"], *made["initContainers"]]:
            each["volumeMounts"].sort(key=lambda mount: mount["mountPath"])
        made["volumes"].sort(key=lambda volume: volume["name"])
        return made

    assert plain(asking) == plain(theirs)


def test_a_pod_keeps_what_it_has(world: Injected) -> None:
    """Whatever that is: the agent comes first, and nothing else changes."""
    first = world.app("first", "once")
    volumes = [{"name": "app", "configMap": {"name": "app"}}, {"name": "scratch", "emptyDir": {}}]
    kinds: dict[str, Object] = {
        "nothing-else": {},
        "inits": {"initContainers": [first, {**first, "name": "second", "restartPolicy": "Always"}]},
        "no-mounts": {"containers": [{"name": APP, "image": "app:1", "securityContext": SECURE}], "volumes": []},
        "volumes": {
            "volumes": volumes,
            "containers": [world.app(volumeMounts=[{"name": "scratch", "mountPath": "/srv"}])],
        },
        "shared": {"shareProcessNamespace": True},
        "users": {"hostUsers": False},
        "groups": {"securityContext": {**USER, "fsGroup": 2000, "supplementalGroups": [3000]}},
    }
    pods = {name: world.pod(name, **spec) for name, spec in kinds.items()}
    found = world.tried(pods.values())
    off = world.tried({**pod, "metadata": {"name": name}} for name, pod in pods.items())
    for name, pod in found.items():
        assert not isinstance(pod, str), (name, pod)
        was: Any = off[name]
        inits, containers = pod["spec"].pop("initContainers"), pod["spec"].pop("containers")
        assert inits[0]["name"] == AGENT and inits[0]["restartPolicy"] == "Always", name
        for part, before in (
            (inits[1:], was["spec"].pop("initContainers", [])),
            (containers, was["spec"].pop("containers")),
        ):
            for each in part:
                assert mounts(each) == {"/freshmount": AGENT}, name
                kept = [mount for mount in each.pop("volumeMounts") if mount["name"] != AGENT]
                each.update({"volumeMounts": kept} if kept else {})
            assert part == before, name
        kept = [volume for volume in pod["spec"].pop("volumes") if volume["name"] != AGENT]
        assert kept == was["spec"].pop("volumes", []), name
        assert pod["spec"] == was["spec"], name


def test_what_has_the_agent_by_the_chart_or_does_not_ask_is_left_alone(world: Injected) -> None:
    """And so is what was injected before, and what is in a namespace of the system, whatever it says."""
    by_chart = {"name": AGENT, "image": "a:1", "args": ["run"], "restartPolicy": "Always", "securityContext": SECURE}
    pods = {
        "native": world.pod("native", initContainers=[by_chart]),
        "both": world.pod("both", initContainers=[{**by_chart, "name": f"{AGENT}-init", "restartPolicy": None}]),
        "off": world.pod("off", labels={"freshmount.dev/inject": "false"}),
        "unasked": {**world.pod("unasked"), "metadata": {"name": "unasked"}},
    }
    for name, found in world.tried(pods.values()).items():
        assert not isinstance(found, str), found
        assert not [volume for volume in found["spec"]["volumes"] if volume["name"] == AGENT], name
        assert "freshmount.dev/injected" not in found["metadata"].get("annotations", {}), name
    system = {
        **world.pod("system", {"freshmount.dev/wrong": "x"}),
        "spec": {"containers": [{"name": APP, "image": "a:1"}]},
    }
    found = world.one(system, "kube-system")
    assert not isinstance(found, str) and "initContainers" not in found["spec"]


# What is refused

REFUSED: dict[str, tuple[Object, Object, list[str]]] = {
    # annotations, spec, and what the sentence names
    "unknown-key": ({"freshmount.dev/secret": "db=x"}, {}, ["freshmount.dev/secret "]),
    "both": ({CONFIG: "a", SECRETS: f"a={ARN}"}, {}, [CONFIG, SECRETS]),
    "config-form": ({CONFIG: "Not A Name"}, {}, [CONFIG, "ConfigMap"]),
    "secrets-form": ({SECRETS: f"a={ARN},b=c4n4ry"}, {}, [SECRETS, "item 2", "ARN"]),
    "secrets-empty": ({SECRETS: ""}, {}, [SECRETS, "item 1"]),
    "secrets-twice": ({SECRETS: f"a={ARN},a={ARN}"}, {}, ["item 2", "earlier"]),
    "secret-name": ({SECRETS: "a=secret:../b"}, {}, [SECRETS, "item 1"]),
    "no-such-container": ({CONTAINERS: "web, worker"}, {}, [CONTAINERS, '"worker"', "web"]),
    "no-container": ({CONTAINERS: ""}, {}, [CONTAINERS, '""']),
    "relative": ({PATH: "srv"}, {}, [PATH]),
    "dots": ({PATH: "/srv/../etc"}, {}, [PATH]),
    "trailing": ({PATH: "/srv/"}, {}, [PATH]),
    "system": ({PATH: "/etc"}, {}, [PATH, "system"]),
    "below": ({PATH: "/freshmount/secrets"}, {}, [PATH, "below"]),
    "signal-form": ({SIGNAL: "HUP:nginx"}, {}, [SIGNAL, "SIGHUP"]),
    "signal-kill": ({SIGNAL: "SIGKILL:nginx"}, {}, [SIGNAL, "SIGHUP"]),
    "signal-unshared": ({SIGNAL: "SIGHUP:nginx"}, {"shareProcessNamespace": False}, [SIGNAL, "shareProcessNamespace"]),
    "signal-users": (
        {SIGNAL: "SIGHUP:nginx"},
        {
            "securityContext": {**USER, "runAsUser": 1},
            "containers": [("web", {"runAsUser": 2}), ("two", {"runAsUser": 3})],
        },
        [SIGNAL, "uid"],
    ),
    "taken": ({}, {"mount": "/freshmount"}, ["web", "/freshmount", PATH]),
    "taken-slash": ({}, {"mount": "/freshmount/"}, ["web", "/freshmount", PATH]),
    "taken-below": ({PATH: "/srv"}, {"mount": "/srv/tls"}, ["web", "/srv", PATH]),
    "volume": (
        {},
        {"volumes": [{"name": "app", "emptyDir": {}}, {"name": AGENT, "emptyDir": {}}]},
        ["volume freshmount"],
    ),
    "port": ({}, {"ports": [{"containerPort": 9105}]}, ["web", "9105"]),
    "written": ({"freshmount.dev/injected": "web"}, {}, ["freshmount.dev/injected"]),
}


def impossible(world: Injected, name: str) -> Object:
    annotations, spec, _ = REFUSED[name]
    spec = dict(spec)
    if "mount" in spec:
        spec["containers"] = [world.app(volumeMounts=[{"name": "app", "mountPath": spec.pop("mount")}])]
    elif "ports" in spec:
        spec["containers"] = [world.app(ports=spec.pop("ports"))]
    elif "containers" in spec:
        users = spec.pop("containers")
        spec["containers"] = [world.app(each, securityContext={**SECURE, **user}) for each, user in users]
    return world.pod(name, annotations, **spec)


def test_what_cannot_be_is_refused_with_a_sentence(world: Injected) -> None:
    """That names the key and says what to do; no value of a secret."""
    for name, said in world.tried(impossible(world, name) for name in REFUSED).items():
        assert isinstance(said, str), f"{name} is not refused"
        assert "denied request: freshmount: " in said, said
        assert not [word for word in REFUSED[name][2] if word not in said], (name, said)
        assert "c4n4ry" not in said


def test_all_that_is_wrong_is_said_at_once(world: Injected) -> None:
    said = world.one(world.pod("all", {PATH: "srv", SIGNAL: "x", CONTAINERS: "y", "freshmount.dev/z": ""}))
    assert [word for word in (PATH, SIGNAL, CONTAINERS, "freshmount.dev/z") if word not in said] == []


def test_other_wishes_are_refused_where_a_restricted_pod_cannot_have_them(world: Injected) -> None:
    spec: Object = {"hostPID": True, "securityContext": {}}
    said = world.one(world.pod("host", {SIGNAL: "SIGHUP:nginx"}, **spec), world.levels["privileged"].name)
    assert SIGNAL in said and "hostPID" in said
    windows = {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": True}}
    plain = [{"name": APP, "image": "a:1"}]
    said = world.one(world.pod("windows", containers=plain, **windows), world.levels["privileged"].name)
    assert "Linux" in said


def test_a_key_in_the_wrong_place_is_refused(world: Injected) -> None:
    """A label that is an annotation, annotations without the label, a label of another value."""
    pods = [
        world.pod("annotation", {"freshmount.dev/inject": "true"}, labels={}),
        world.pod("without", labels={}),
        world.pod("value", labels={"freshmount.dev/inject": "yes"}),
        world.pod("label", labels={**ON, "freshmount.dev/containers": "web"}),
    ]
    for name, said in world.tried(pods).items():
        assert isinstance(said, str) and "denied request: freshmount: " in said, (name, said)
        assert ("freshmount.dev/containers" if name == "label" else "freshmount.dev/inject") in said


def test_nothing_asked_for_is_refused_with_both_ways_to_ask(world: Injected) -> None:
    pod = world.pod("nothing")
    pod["metadata"]["annotations"] = {}
    said = world.one(pod)
    assert SECRETS in said and CONFIG in said


def test_a_namespace_that_is_not_chosen_says_so(world: Injected) -> None:
    """Rather than a pod that starts without its files."""
    elsewhere = {**world.pod("elsewhere"), "spec": {**world.template()["spec"], "serviceAccountName": "default"}}
    said = world.one(elsewhere, world.elsewhere.name)
    assert "namespace" in said and "nothing was injected" in said


def test_a_workload_is_refused_when_it_is_applied(world: Injected) -> None:
    """Not only its pods later, where nobody looks. An update is refused for what it changes in the pods alone."""
    template = world.template({PATH: "srv"})
    template["metadata"]["labels"] = {**ON, "app": "w"}
    spec = {"selector": {"matchLabels": {"app": "w"}}, "template": template}
    job = {"template": {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}}
    wrong = [
        *(
            {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": kind.lower()}, "spec": spec}
            for kind in ("Deployment", "DaemonSet")
        ),
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "statefulset"},
            "spec": {**spec, "serviceName": "x"},
        },
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job-wrong"}, "spec": job},
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "cron-wrong"},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}},
        },
    ]
    for name, said in world.tried(wrong).items():
        assert isinstance(said, str) and PATH in said and "denied request: freshmount: " in said, (name, said)
    plain = {"metadata": {"labels": {"app": "w"}}, "spec": template["spec"]}
    misplaced = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "misplaced", "labels": ON},
        "spec": {**spec, "template": plain},
    }
    said = world.one(misplaced)
    assert "freshmount.dev/inject" in said and "Deployment" in said and "template" in said

    right = {**world.template(), "metadata": {**world.template()["metadata"], "labels": {**ON, "app": "w"}}}
    deployment = {**misplaced, "metadata": {"name": "stands"}, "spec": {**spec, "template": right, "replicas": 0}}
    world.k.apply(deployment)
    world.k.kubectl("patch", "deployment", "stands", '--patch={"metadata": {"labels": {"more": "label"}}}')
    wish = json.dumps({"spec": {"template": {"metadata": {"annotations": {PATH: "srv"}}}}})
    done = world.k.kubectl("patch", "deployment", "stands", f"--patch={wish}", check=False)
    assert done.returncode != 0 and PATH in done.stderr


# Beside others


@contextlib.contextmanager
def beside(world: Injected, act: str, reinvoked: bool) -> Iterator[None]:
    """A real webhook that changes each pod of this namespace."""
    with Webhook(world.cluster.aws_host) as webhook:
        selector = {"matchLabels": {CHOSEN: world.k.name}}
        world.k.apply(webhook.configuration(f"hook-{world.k.name}", act, selector, reinvoked))
        try:
            until(lambda: world.one({**world.pod("seen"), "metadata": {"name": "seen"}}) and webhook.called, 0.2)
            yield
        finally:
            world.k.kubectl("delete", "mutatingwebhookconfiguration", f"hook-{world.k.name}")


def test_a_webhook_that_adds_a_sidecar(world: Injected) -> None:
    """It comes beside the agent, which stays the first; what is not the pod's own gets no secrets."""
    with beside(world, "add", reinvoked=True):
        pod = world.one(world.pod("mesh"))
    assert agent(pod) and [c["name"] for c in pod["spec"]["containers"]] == [APP, SIDECAR["name"]]
    assert [mounts(c) for c in pod["spec"]["containers"]] == [{"/freshmount": AGENT}, {}]


def test_a_webhook_that_strips_restart_policies(world: Injected) -> None:
    """Put right where the API server asks the injector once more and the webhook not; otherwise refused."""
    with beside(world, "strip", reinvoked=False):
        pod = world.one(world.pod("mended"))
    assert agent(pod)["restartPolicy"] == "Always"
    with beside(world, "strip", reinvoked=True):
        said = world.one(world.pod("stripped"))
    assert isinstance(said, str) and "restartPolicy" in said


@pytest.mark.parametrize(
    ("act", "word"), [("unmount", "container web"), ("unhook", "hook"), ("unshare", "shareProcessNamespace")]
)
def test_a_webhook_that_takes_something_away_is_refused(world: Injected, act: str, word: str) -> None:
    with beside(world, act, reinvoked=True):
        said = world.one(world.pod("less", {SIGNAL: "SIGHUP:python3"}))
    assert isinstance(said, str) and "webhook" in said and word in said
