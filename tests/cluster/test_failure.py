"""What a pod outlives: the agent killed, out of memory or stuck, the app restarted, the pod taken away."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

import pytest

from agent.core.schedule import BACKOFF_AT_MOST
from tests.cluster.kube import PATIENCE, Object, container, is_ready, name_of
from tests.cluster.world import AGENT, APP, World, in_pod, labelled
from tests.support.aws import Fault

# A process of the pod, found in the namespace that its containers share by words of its command line.
FIND = """
import os, signal
def find(*words):
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try: argv = open(f"/proc/{pid}/cmdline").read().split("\\0")
        except OSError: continue
        if all(any(word in part for part in argv) for word in words) and pid != os.getpid(): return pid
def workers(agent):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try: fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
        except OSError: continue
        if int(fields[1]) == agent: yield int(pid)
def send(number):
    agent = find("freshmount", "run")
    os.kill(agent, number)
    for worker in workers(agent): os.kill(worker, number)
"""
KILL_AGENT = FIND + "os.kill(find('freshmount', 'run'), signal.SIGKILL)"
STOP_AGENT = FIND + "send(signal.SIGSTOP)"
KILL_APP = FIND + "os.kill(find('/app/app.py'), signal.SIGKILL)"


def unschedulable(pod: Object) -> bool:
    conditions = {c["type"]: c.get("reason") for c in pod.get("status", {}).get("conditions", ())}
    return conditions.get("PodScheduled") == "Unschedulable"


def restarted(name: str) -> Callable[[Object], object]:
    return lambda pod: container(pod, name).get("restartCount") == 1 and container(pod, name).get("ready")


def test_a_killed_agent_is_started_again_and_nothing_is_told_twice_or_lost(world: World) -> None:
    """The app hears of each rotation once: the one before the kill, the one after it."""
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")], [world.hup()]))
    with world.k.log(pod, APP) as app:
        world.rotate("db", "two")
        assert app.event("signal")["files"] == {"db": "two"}
        world.in_app(pod, KILL_AGENT)
        status = world.k.pod(restarted(AGENT), "the agent restarted", pod)
        assert container(status, AGENT)["lastState"]["terminated"]["exitCode"] == 137
        assert container(status, APP)["restartCount"] == 0
        for value in ("three", "four"):  # by the last, a second signal for one of the others would be there
            world.rotate("db", value)
            assert app.event("signal")["files"] == {"db": value}
    signals = [line["files"]["db"] for line in world.k.said(pod, APP) if line["event"] == "signal"]
    assert signals == ["two", "three", "four"]


def test_a_rotation_during_the_agents_absence_is_told_after_it(world: World) -> None:
    """It is stopped while the rotation happens and killed before it could see it."""
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")], [world.hup()]))
    with world.k.log(pod, APP) as app:
        app.event("start")
        world.in_app(pod, STOP_AGENT)
        world.rotate("db", "two")
        world.in_app(pod, KILL_AGENT)
        assert app.event("signal")["files"] == {"db": "two"}
        world.rotate("db", "three")  # by then a second signal for the one before would be there
        assert app.event("signal")["files"] == {"db": "three"}
    assert [line["event"] for line in world.k.said(pod, APP)] == ["start", "signal", "signal"]


@pytest.mark.parametrize("hold", ["hook", "probe"])
def test_a_killed_agent_is_back_while_aws_is_away(world: World, hold: str) -> None:
    """What is published is complete, so neither hook nor probe waits for AWS."""
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")], [world.hup()]), holdBack=hold)
    world.proxy.fail(Fault.internal_error())
    world.in_app(pod, KILL_AGENT)
    status = world.k.pod(restarted(AGENT), "the agent restarted", pod)
    assert container(status, APP)["restartCount"] == 0
    world.proxy.heal()
    with world.k.log(pod, APP) as app:
        world.rotate("db", "two")
        assert app.event("signal")["files"] == {"db": "two"}
    assert [line["event"] for line in world.k.said(pod, APP)] == ["start", "signal"]


def test_an_agent_out_of_memory_is_started_again(world: World) -> None:
    """What fills its volume counts against its limit; it is killed and started, the files were never away."""
    world.put("db", "one")
    resources = {"requests": {"memory": "64Mi"}, "limits": {"memory": "96Mi"}}
    pod = world.start(world.config([world.secret("db")], [world.hup()]), resources=resources, sizeLimit="512Mi")
    fill = "f = open('/freshmount/fill', 'wb')\nwhile True: f.write(bytes(1 << 20))"
    world.k.exec(pod, AGENT, "python3.13", "-c", fill, check=False)
    status = world.k.pod(restarted(AGENT), "the agent restarted", pod, PATIENCE * 2)
    assert container(status, AGENT)["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert json.loads(world.k.page(pod, 8080, "/")) == {"db": "one"}
    with world.k.log(pod, APP) as app:
        world.rotate("db", "two")
        assert app.event("signal")["files"] == {"db": "two"}
    assert [line["event"] for line in world.k.said(pod, APP)] == ["start", "signal"]


@pytest.mark.long
def test_a_stuck_agent_is_restarted_by_its_liveness_probe(world: World) -> None:
    """It is stopped, so it answers nothing and heeds no SIGTERM."""
    world.put("db", "one")
    edits = [in_pod("terminationGracePeriodSeconds: 2")]
    pod = world.start(world.config([world.secret("db")], [world.hup()]), edits)
    world.in_app(pod, STOP_AGENT)
    status = world.k.pod(restarted(AGENT), "the agent restarted", pod, PATIENCE * 2)
    assert container(status, APP)["restartCount"] == 0
    assert "Liveness probe failed" in world.k.kubectl("describe", "pod", pod).stdout
    with world.k.log(pod, APP) as app:
        world.rotate("db", "two")
        assert app.event("signal")["files"] == {"db": "two"}


def test_a_restarted_app_has_the_latest_files_and_is_not_signalled_for_old_news(world: World) -> None:
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")], [world.hup()]))
    with world.k.log(pod, APP) as app:
        world.rotate("db", "two")
        assert app.event("signal")["files"] == {"db": "two"}
    # The killer may go with the container that it is in.
    world.k.exec(pod, APP, "python3", "-c", KILL_APP, check=False)
    status = world.k.pod(restarted(APP), "the app restarted", pod)
    assert container(status, AGENT)["restartCount"] == 0
    with world.k.log(pod, APP) as app:
        world.rotate("db", "three")
        assert app.event("signal")["files"] == {"db": "three"}
    assert [(line["event"], line["files"]["db"]) for line in world.k.said(pod, APP)] == [
        ("start", "two"),
        ("signal", "three"),
    ]


@pytest.mark.long
def test_what_is_stale_takes_its_pod_out_of_the_service_until_it_is_confirmed(world: World) -> None:
    """By `staleAfter` and the readiness probe; nobody is restarted, and the app keeps its files."""
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")], staleAfter="3s"))
    world.proxy.fail(Fault.internal_error())
    stale = world.k.pod(lambda it: not is_ready(it), "not ready", pod)
    assert container(stale, APP)["ready"] and not container(stale, AGENT)["ready"]
    assert world.in_app(pod, "print(open('/freshmount/secrets/db').read())") == "one\n"
    world.proxy.heal()
    fresh = world.k.ready(pod, BACKOFF_AT_MOST + PATIENCE)  # AWS failed for half a minute: the next look may be late
    assert container(fresh, AGENT)["restartCount"] == container(fresh, APP)["restartCount"] == 0


def test_a_drained_node_lets_the_agent_leave_last_and_the_next_pod_starts_elsewhere(world: World) -> None:
    """There is no elsewhere here, so it waits until the node takes pods again."""
    if not world.cluster.own_node:
        pytest.skip("draining is not for somebody else's cluster")
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")]), [labelled("drained", world.k.name)])
    node = world.k.get("pod", pod)["spec"]["nodeName"]
    try:
        with world.k.log(pod, APP) as app, world.k.log(pod, AGENT) as agent:
            app.event("start")
            # The selector of a drain knows no namespaces.
            world.cluster.run(
                *("drain", node, f"--pod-selector=drained={world.k.name}", "--delete-emptydir-data", "--timeout=60s")
            )
            gone = app.event("end")
            stopped = agent.until(lambda line: line.get("event") == "stopped", "stopped")
        assert gone["files"] == {"db": "one"} and stopped["signal"] == "SIGTERM"
        assert datetime.fromisoformat(stopped["timestamp"]).timestamp() > gone["at"]
        waiting = world.k.pod(lambda it: name_of(it) != pod and unschedulable(it), "another pod without a node")
    finally:
        world.cluster.run("uncordon", node)
    assert json.loads(world.k.page(name_of(world.k.ready(name_of(waiting))), 8080, "/")) == {"db": "one"}


@pytest.mark.parametrize("how", ["delete", "evict"])
def test_the_agent_leaves_after_the_app_and_within_its_grace(world: World, how: str) -> None:
    """The app has its files until it has ended, which takes it two seconds; the agent is not killed."""
    world.put("db", "one")
    pod = world.start(world.config([world.secret("db")], [world.hup()]), app={"STOP_AFTER": "2"})
    with world.k.log(pod, APP) as app, world.k.log(pod, AGENT) as agent:
        app.event("start")
        if how == "delete":
            world.k.kubectl("delete", "pod", pod, "--wait=false")
        else:
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
            where = f"/api/v1/namespaces/{world.k.name}/pods/{pod}/eviction"
            world.k.kubectl("create", f"--raw={where}", "--filename=-", stdin=json.dumps(eviction))
        gone = app.event("end")
        assert gone["files"] == {"db": "one"}
        stopped = agent.until(lambda line: line.get("event") == "stopped", "stopped")
    # After 30 s kubelet would kill it.
    world.k.kubectl("wait", "--for=delete", f"pod/{pod}", "--timeout=20s")
    assert stopped["signal"] == "SIGTERM"
    assert datetime.fromisoformat(stopped["timestamp"]).timestamp() > gone["at"]
