"""How a pod starts: the app after its files, in each mode and kind of workload; and what is said when it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.cluster.kube import PATIENCE, Object, container, is_ready, name_of
from tests.cluster.world import AGENT, APP, NO_SHARED_PROCESSES, Edit, World, after_agent
from tests.support.aws import Fault
from tests.support.running import until

DB = {"path": "db/password", "jmesPath": "password"}
READ_AT = "/freshmount/secrets/db/password"


def look_again(world: World) -> Object:
    """A second init container, which says what it finds."""
    return {
        "name": "look",
        "image": world.cluster.app_image,
        "command": ["python3", "-c", f"print(open('{READ_AT}').read())"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": AGENT, "mountPath": "/freshmount", "readOnly": True}],
    }


def test_the_app_starts_after_its_files_and_hears_of_the_next(world: World) -> None:
    """Native: agent, the init container after it, the app; a rotation is in its files when it is signalled."""
    world.put("db", json.dumps({"password": "pw-1"}))
    config = world.config([world.secret("db", DB)], [world.hup()])
    pod = world.start(config, [after_agent(look_again(world))])

    status = world.k.get("pod", pod)
    assert [c["name"] for c in status["spec"]["initContainers"]] == [AGENT, "look"]
    assert (
        container(status, AGENT)["state"]["running"]["startedAt"]
        <= container(status, APP)["state"]["running"]["startedAt"]
    )
    assert world.k.kubectl("logs", pod, "--container=look").stdout == "pw-1\n"
    with world.k.log(pod, APP) as app:
        assert app.event("start")["files"] == {"db/password": "pw-1"}
        world.rotate("db", json.dumps({"password": "pw-2"}))
        assert app.event("signal")["files"] == {"db/password": "pw-2"}
    with world.k.log(pod, AGENT) as agent:
        agent.until(lambda line: line.get("event") == "notified" and line.get("target") == "web", "notified")
    status = world.k.get("pod", pod)
    assert container(status, AGENT)["restartCount"] == container(status, APP)["restartCount"] == 0


def test_the_namespace_enforces_the_standard_that_our_pods_meet(world: World) -> None:
    """The counter-example: what is not restricted is refused there, so what runs there is."""
    spec = {"containers": [{"name": "web", "image": world.cluster.app_image}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose"}, "spec": spec}
    done = world.k.kubectl("apply", "--filename=-", stdin=json.dumps(pod), check=False)
    assert done.returncode != 0 and "restricted" in done.stderr


@pytest.mark.parametrize(
    ("mode", "hold"),
    [("native", "hook"), ("native", "probe"), ("init", ""), ("sidecar", ""), ("sidecar", "hook"), ("both", "")],
)
def test_a_mode_brings_the_files_and_what_it_promises_afterwards(world: World, mode: str, hold: str) -> None:
    """Every mode fills the volume; those with an agent that runs tell of a rotation, `init` has none."""
    world.put("db", json.dumps({"password": "pw-1"}))
    pod = world.start(world.config([world.secret("db", DB)], [world.hup()]), mode=mode, holdBack=hold)
    status = world.k.get("pod", pod)
    first = {c["name"] for c in status["spec"].get("initContainers", ())}
    beside = {c["name"] for c in status["spec"]["containers"]} - {APP}
    assert (first, beside) == {
        "native": ({AGENT}, set()),
        "init": ({f"{AGENT}-init"}, set()),
        "sidecar": (set(), {AGENT}),
        "both": ({f"{AGENT}-init"}, {AGENT}),
    }[mode]
    with world.k.log(pod, APP) as app:
        started = app.event("start")
        if (mode, hold) != ("sidecar", ""):  # there the app may be first
            assert started["files"] == {"db/password": "pw-1"}
        assert json.loads(world.k.page(pod, 8080, "/")) == {"db/password": "pw-1"}
        world.rotate("db", json.dumps({"password": "pw-2"}))
        if mode == "init":
            assert container(status, f"{AGENT}-init")["state"]["terminated"]["exitCode"] == 0
        else:
            assert app.event("signal")["files"] == {"db/password": "pw-2"}


def test_a_secret_in_the_agents_place_holds_the_app_back_and_follows(world: World) -> None:
    """Mode `secret`: the pod's event names what is missing; the app starts with its files, and sees the next value."""
    world.install(world.values(world.config([world.secret("db", DB)]), mode="secret", secretName="db"))
    event = world.k.until("events", lambda event: event["reason"] == "FailedMount", "a failed mount")
    assert 'secret "db" not found' in event["message"]
    (waits,) = world.k.get("pod", event["involvedObject"]["name"])["status"]["containerStatuses"]
    assert (waits["name"], waits["state"]["waiting"]["reason"]) == (APP, "ContainerCreating")

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"password": "pw-1"}}
    world.k.apply(secret)
    pod = name_of(world.k.ready())
    with world.k.log(pod, APP) as app:
        assert app.event("start")["files"] == {"password": "pw-1"}
    world.k.apply({**secret, "stringData": {"password": "pw-2"}})
    until(lambda: json.loads(world.k.page(pod, 8080, "/")) == {"password": "pw-2"}, every=0.2)
    assert container(world.k.get("pod", pod), APP)["restartCount"] == 0


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_other_kinds_that_run_on(world: World, kind: str) -> None:
    world.put("db", json.dumps({"password": "pw-1"}))
    values = world.values(world.config([world.secret("db", DB)], [world.hup()]))
    world.install({**values, "kind": kind, "replicas": 0})
    pod = name_of(world.k.ready())
    assert world.k.get("pod", pod)["metadata"]["ownerReferences"][0]["kind"] == kind
    with world.k.log(pod, APP) as app:
        assert app.event("start")["files"] == {"db/password": "pw-1"}
        world.rotate("db", json.dumps({"password": "pw-2"}))
        assert app.event("signal")["files"] == {"db/password": "pw-2"}


@pytest.mark.parametrize(("mode", "hold"), [("native", "hook"), ("native", "probe"), ("both", "")])
def test_a_job_completes(world: World, mode: str, hold: str) -> None:
    """The sidecar does not keep it from its end."""
    world.put("db", json.dumps({"password": "pw-1"}))
    values = world.values(world.config([world.secret("db", DB)]), mode=mode, holdBack=hold)
    reading: Edit = ("templates/job.yaml", "sorted(os.listdir('/freshmount/secrets'))", f"open('{READ_AT}').read()")
    world.install({**values, "job": {"enabled": True}, "replicas": 0}, [reading])
    world.k.until("jobs", lambda job: job.get("status", {}).get("succeeded") == 1, "succeeded")
    assert world.k.kubectl("logs", "job/web-demo", f"--container={APP}").stdout == "pw-1\n"


def test_a_plain_sidecar_ends_with_its_job(world: World) -> None:
    """By `exitWith`, once the app's process has ended."""
    world.put("db", json.dumps({"password": "pw-1"}))
    config = world.config([world.secret("db", DB)], exitWith={"process": {"name": "python3"}})
    values = world.values(config, mode="both")
    lasting: Edit = ("templates/job.yaml", '"import os; print(', '"import os, time; time.sleep(3); print(')
    world.install({**values, "job": {"enabled": True}, "replicas": 0}, [lasting])
    done = world.k.pod(lambda pod: pod["status"]["phase"] == "Succeeded", "succeeded")
    assert {container(done, name)["state"]["terminated"]["exitCode"] for name in (AGENT, APP)} == {0}
    world.k.until("jobs", lambda job: job.get("status", {}).get("succeeded") == 1, "succeeded")


@pytest.mark.long
def test_a_cron_job_completes(world: World) -> None:
    """When its minute comes."""
    world.put("db", json.dumps({"password": "pw-1"}))
    world.install({**world.values(world.config([world.secret("db", DB)])), "kind": "CronJob", "replicas": 0})
    job = world.k.until(
        "jobs", lambda job: job.get("status", {}).get("succeeded") == 1, "succeeded", patience=PATIENCE * 2
    )
    assert [(owner["kind"], owner["name"]) for owner in job["metadata"]["ownerReferences"]] == [("CronJob", "kinds")]
    with world.k.log(f"job/{name_of(job)}", APP) as app:
        assert app.event("start")["files"] == {"db/password": "pw-1"}


def gave_up(pod: Object) -> Object:
    """What the agent's last end looked like; empty while it has not ended."""
    return dict(container(pod, AGENT).get("lastState", {}).get("terminated") or {})


def asked(world: World) -> None:
    """Until an agent has asked AWS, which it does not do twice before the first answer."""
    until(lambda: len(world.proxy.calls) > 2)


@pytest.mark.parametrize(
    ("hold", "fault", "why"),
    [("hook", Fault.internal_error, "InternalServiceError"), ("probe", Fault.reset, "was reset")],
)
def test_with_aws_away_the_pod_waits_and_says_why_and_starts_when_it_is_back(
    world: World, hold: str, fault: Callable[[], Fault], why: str
) -> None:
    """The agent gives up after `startup.timeout` with its reason and is started again; the app never starts early."""
    world.put("db", json.dumps({"password": "pw-1"}))
    world.proxy.fail(fault())
    config = world.config([world.secret("db", DB)], startup={"timeout": "5s"})
    world.install(world.values(config, holdBack=hold))
    failed = world.k.pod(
        lambda pod: "db" in gave_up(pod).get("message", ""),
        "the reason in the termination message",
    )
    assert gave_up(failed)["exitCode"] == 1
    assert not container(failed, APP).get("started")
    message = gave_up(failed)["message"]
    assert f"GetSecretValue of {world.id('db')}" in message and why in message
    described = world.k.kubectl("describe", "pod", name_of(failed)).stdout
    assert message.strip() in described
    assert {"hook": "PostStartHook failed", "probe": "Startup probe failed"}[hold] in described

    world.proxy.heal()
    ready = world.k.ready(name_of(failed), PATIENCE * 2)
    assert container(ready, APP)["restartCount"] == 0
    with world.k.log(name_of(ready), APP) as app:
        assert app.event("start")["files"] == {"db/password": "pw-1"}


def test_while_a_hook_waits_the_agent_tells_why_and_the_pod_can_go(world: World) -> None:
    """kubelet shows no log and ends no pod before the agent has given up; `freshmount status` has the reason."""
    world.put("db", json.dumps({"password": "pw-1"}))
    world.proxy.fail(Fault.access_denied())
    config = world.config([world.secret("db", DB)], startup={"timeout": "10s"})
    world.install(world.values(config, holdBack="hook"))
    asked(world)
    pod = name_of(world.k.pod(lambda _: True, "there"))
    (secret,) = world.k.status(pod)["secrets"]
    assert secret["error"]["reason"] == "access_denied"
    world.k.kubectl("delete", "pod", pod, "--wait=true", "--timeout=30s")
    world.proxy.heal()
    assert json.loads(world.k.page(name_of(world.k.ready()), 8080, "/")) == {"db/password": "pw-1"}


def test_beside_a_plain_sidecar_the_app_starts_without_its_files_once_the_hook_has_failed(world: World) -> None:
    """What that mode costs: kubelet goes on to the next container. The pod is not ready until the files are there."""
    world.put("db", json.dumps({"password": "pw-1"}))
    world.proxy.fail(Fault.internal_error())
    config = world.config([world.secret("db", DB)], startup={"timeout": "5s"})
    world.install(world.values(config, mode="sidecar", holdBack="hook"))
    early = world.k.pod(lambda pod: container(pod, APP).get("started"), "the app started")
    assert not is_ready(early)
    with world.k.log(name_of(early), APP) as app:
        assert app.event("start")["files"] == {}
    world.proxy.heal()
    ready = world.k.ready(name_of(early), PATIENCE * 2)
    assert container(ready, APP)["restartCount"] == 0
    assert json.loads(world.k.page(name_of(ready), 8080, "/")) == {"db/password": "pw-1"}


def test_one_denied_secret_of_five_holds_the_start_back_and_is_named(world: World) -> None:
    names = ["one", "two", "three", "four", "five"]
    for name in names:
        world.put(name, f"{name}-1")
    for operation in ("DescribeSecret", "GetSecretValue"):
        denied = Fault.access_denied(f"secretsmanager:{operation}")
        world.proxy.fail(denied, operation=operation, secret=world.id("three"))
    config = world.config([world.secret(name) for name in names], startup={"timeout": "5s"})
    world.install(world.values(config))
    failed = world.k.pod(
        lambda pod: "three" in container(pod, AGENT).get("lastState", {}).get("terminated", {}).get("message", ""),
        "the denied secret in the termination message",
    )
    message = container(failed, AGENT)["lastState"]["terminated"]["message"]
    assert "AccessDeniedException" in message
    assert [name for name in names if re.search(rf"\b{name}\b", message)] == ["three"]
    assert message.strip() in world.k.kubectl("describe", "pod", name_of(failed)).stdout
    assert not container(failed, APP).get("started")

    world.proxy.heal()
    ready = world.k.ready(name_of(failed), PATIENCE * 2)
    assert json.loads(world.k.page(name_of(ready), 8080, "/")) == {name: f"{name}-1" for name in names}


def test_a_secret_denied_later_keeps_its_file_and_stops_no_other(world: World) -> None:
    for name in ("one", "two"):
        world.put(name, f"{name}-1")
    pod = world.start(world.config([world.secret("one"), world.secret("two")], [world.hup()]))
    world.proxy.fail(Fault.access_denied(), secret=world.id("one"))
    with world.k.log(pod, AGENT) as agent, world.k.log(pod, APP) as app:
        agent.until(lambda line: line.get("event") == "secret failed" and line.get("secret") == "one", "one failed")
        world.rotate("two", "two-2")
        assert app.event("signal")["files"] == {"one": "one-1", "two": "two-2"}
    told = {secret["name"]: secret for secret in world.k.status(pod)["secrets"]}
    assert told["one"]["error"]["reason"] == "access_denied" and told["two"]["error"] is None
    assert container(world.k.ready(pod), AGENT)["restartCount"] == 0


def test_without_a_shared_process_namespace_the_target_is_pending_and_says_so(world: World) -> None:
    world.put("db", json.dumps({"password": "pw-1"}))
    pod = world.start(world.config([world.secret("db", DB)], [world.hup()]), [NO_SHARED_PROCESSES])
    world.rotate("db", json.dumps({"password": "pw-2"}))
    with world.k.log(pod, AGENT) as agent:
        refused = agent.until(lambda line: line.get("event") == "notification refused", "a refusal")
    assert refused["target"] == "web"
    (target,) = world.k.status(pod)["targets"]
    assert target["pendingGeneration"] and "shareProcessNamespace" in target["message"]
    assert json.loads(world.k.page(pod, 8080, "/")) == {"db/password": "pw-2"}
    assert "signal" not in {line["event"] for line in world.k.said(pod, APP)}
