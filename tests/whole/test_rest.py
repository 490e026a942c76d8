"""The resting process and its workers, as real processes: one agent to everybody, whatever happens to either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agent.sinks.volume.volume import Volume
from tests.support.aws import Fault, Proxy, QuickStandIn
from tests.support.cgroup import MemoryCgroup, memory_cgroup
from tests.support.pod import App, Pod
from tests.support.resting import children, gone, rested, rests, settled, workers
from tests.support.running import Agent, ended, running, until

CANARY = "canary-4f1c9b72e8d04a3d"
KEY = "credential-9d2b7a6f03c84e51"

root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to read the memory of a closed process")


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        pod = Pod(aws, proxy, tmp_path)
        pod.put("db", f"{CANARY}-1")
        yield pod


def write(pod: Pod, *more: str, period: str = "60s", extra: str = "") -> Path:
    touch = f"{{name: app, touch: {pod.home / 'touched'}}}"
    return pod.write(pod.secret("db", "{path: db}"), *more, notify=(touch,), period=period, extra=extra)


@contextmanager
def at_work(pod: Pod, agent: Agent) -> Iterator[int]:
    """A worker in the middle of a call to AWS, which is answered when this ends."""
    pod.proxy.fail(Fault.hold())
    asked = len(pod.proxy.calls)
    try:
        agent.process.send_signal(signal.SIGUSR1)
        until(lambda: len(pod.proxy.calls) > asked)
        yield workers(agent)[0]
    finally:
        pod.proxy.heal()


def test_everybody_sees_one_agent(pod: Pod) -> None:
    """Pid, endpoint and lock stay across workers; a rotation is published and notified by one that is gone then."""
    with running("run", write(pod)) as agent:
        rested(agent)
        port, volume = agent.port, Volume(str(pod.volume))
        assert volume.holder() == agent.process.pid
        pod.rotate("db", f"{CANARY}-2")
        agent.process.send_signal(signal.SIGUSR1)
        assert agent.event("notified", target="app")["generation"] == 2
        assert pod.read("db") == f"{CANARY}-2"
        until(lambda: agent.metrics()['notifications_total{result="accepted",target="app"}'] == 1)
        until(lambda: not workers(agent))
        assert agent.port == port and volume.holder() == agent.process.pid and rests(agent)
        volume.close()
        config = pod.home / "other.yaml"
        config.write_text(pod.config.read_text().replace("timeout: 20s", "timeout: 1s"))
        with running("init", config) as second:
            assert second.wait() == 1
            assert "held by another agent" in second.stderr
        assert [event["event"] for event in agent.seen].count("started") == 1
        assert agent.stop() == 0


def test_what_is_asked_before_it_rests_is_done_once_it_does_and_said_once(pod: Pod) -> None:
    """It lingers after the first generation. The signal outlives what it becomes; no other pass is due."""
    with running("run", write(pod, period="1h")) as agent:
        agent.ready().pass_now()
        assert rests(agent)
        assert agent.stop() == 0
        assert [event["event"] for event in agent.seen].count("asked to pass") == 1


def test_a_resting_process_imports_neither_the_sdk_nor_what_reads_a_config() -> None:
    """It keeps the schedule and serves. What it does not have cannot fill its memory."""
    script = (
        "import sys\nfrom agent.commands import rest\nrest.imports()\nimport agent.triggers.watch\n"
        "print(*(name for name in ('botocore', 'boto3', 'yaml', 'jmespath', 'prometheus_client', 'agent.config.native',"
        " 'agent.engine.keeper', 'agent.engine.one_pass', 'agent.sources', 'agent.sinks.volume.volume',"
        " 'agent.core.schedule', 'agent.render.files') if name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "\n"


@root
def test_the_memory_of_a_resting_process_holds_no_value_and_no_credential(pod: Pod) -> None:
    """Whoever reads it finds nothing of worth, also after a rotation. The same search finds both in a worker."""
    with credentials() as url, running("run", write(pod), env={**without_keys(), **url}) as agent:
        rested(agent)
        pod.rotate("db", f"{CANARY}-2")
        agent.process.send_signal(signal.SIGUSR1)
        agent.event("notified", target="app")
        until(lambda: not workers(agent))
        agent.page("/status"), agent.page("/metrics"), agent.page("/")
        memory = dump(agent.process.pid)
        assert os.fsencode(pod.volume) in memory  # what it may know is found
        assert CANARY.encode() not in memory and KEY.encode() not in memory
        with at_work(pod, agent) as worker:
            assert KEY.encode() in dump(worker)
        assert agent.stop() == 0


def test_a_changed_config_is_read_by_a_worker(pod: Pod) -> None:
    pod.put("api", "a1")
    with running("run", write(pod)) as agent:
        rested(agent)
        write(pod, pod.secret("api", "{path: api}"))
        agent.event("config reloaded", secrets=2)
        until(lambda: (pod.volume / "api").exists() and pod.read("api") == "a1")
        pod.edit("kind: Nonsense\n")
        assert agent.event("config rejected, the earlier one stays in force")["problems"]
        until(lambda: agent.metrics()["config_reload_success"] == 0)
        until(lambda: not workers(agent))
        pod.rotate("api", "a2")
        agent.process.send_signal(signal.SIGUSR1)  # by the config in force, of which the next worker has the text
        until(lambda: pod.read("api") == "a2")
        assert agent.stop() == 0


def test_a_worker_that_is_killed_is_a_failed_pass_and_loses_nothing(pod: Pod) -> None:
    with running("run", write(pod)) as agent:
        rested(agent)
        pod.rotate("db", f"{CANARY}-2")
        with at_work(pod, agent) as worker:
            os.kill(worker, signal.SIGKILL)
            failed = agent.event("pass failed")
            assert "SIGKILL" in failed["message"] and "memory" in failed["message"]
        assert agent.page("/readyz")[0] == agent.page("/livez")[0] == 200
        assert agent.event("notified", target="app")["generation"] == 2
        until(lambda: agent.metrics()['passes_total{outcome="error"}'] == 1)
        assert pod.read("db") == f"{CANARY}-2"
        assert [event["event"] for event in agent.seen].count("notified") == 1
        until(lambda: not workers(agent))
        assert agent.stop() == 0


ROOM = 9 << 20  # bytes: a worker that asks AWS takes more, the start of an interpreter less

for_lack_of_memory = pytest.mark.skipif(
    "COVERAGE_PROCESS_CONFIG" in os.environ, reason="a worker that is measured needs more memory before its first line"
)


@for_lack_of_memory
def test_a_worker_that_the_kernel_ends_for_want_of_memory_is_a_failed_pass(pod: Pod) -> None:
    """It is the worker that goes."""
    with memory_cgroup() as cgroup, running("run", write(pod), within=cgroup.entering()) as agent:
        pid = agent.process.pid
        rotate_without_memory(pod, agent, cgroup)
        failed = agent.event("pass failed")
        assert "SIGKILL" in failed["message"] and "memory" in failed["message"]
        assert agent.page("/livez")[0] == agent.page("/readyz")[0] == 200
        assert pod.read("db") == f"{CANARY}-1"
        assert cgroup.killed()
        cgroup.lift()
        assert agent.event("notified", target="app")["generation"] == 2
        assert pod.read("db") == f"{CANARY}-2"
        assert agent.process.pid == pid and rests(agent)
        until(lambda: not workers(agent))
        assert agent.stop() == 0


@for_lack_of_memory
def test_a_container_that_the_kernel_ends_as_a_whole_goes_on_where_it_was(pod: Pod) -> None:
    """As kubelet has it with cgroup version 2: the worker's want of memory ends the resting process, too.

    The container that is started in its place publishes what was to come, and notifies the app of it once.
    """
    pid_file = pod.home / "app.pid"
    config = pod.write(
        pod.secret("db", "{path: db}"),
        notify=(f"{{name: app, signal: SIGHUP, process: {{pidFile: {pid_file}}}}}",),
        period="60s",
    )
    app = App(pod.volume / "db", pid_file)
    with ended(app.process), memory_cgroup(ends_whole=True) as cgroup:
        with running("run", config, within=cgroup.entering()) as agent:
            rotate_without_memory(pod, agent, cgroup)
            assert agent.wait() == -signal.SIGKILL
            until(lambda: not cgroup.processes())
            assert cgroup.killed()
            assert pod.read("db") == f"{CANARY}-1"
            said = [event["event"] for event in agent.seen]
            assert said.count("published") == 1 and "notified" not in said
        cgroup.lift()
        with running("run", config, within=cgroup.entering()) as agent:
            rested(agent)
            assert agent.event("notified", target="app")["generation"] == 2
            assert pod.read("db") == f"{CANARY}-2"
            agent.pass_now()
            assert agent.stop() == 0
        assert app.drain() == [f"hup {CANARY}-2"]


def rotate_without_memory(pod: Pod, agent: Agent, cgroup: MemoryCgroup) -> None:
    """Let there be a new version, and a pass for it whose worker does not have the memory that it needs."""
    rested(agent).pass_now()  # after which the resting process has all that it will have
    until(lambda: not workers(agent))
    pod.rotate("db", f"{CANARY}-2")
    cgroup.leave(ROOM)
    agent.process.send_signal(signal.SIGUSR1)


def test_a_worker_ends_with_the_resting_process(pod: Pod) -> None:
    """kill -9 of the one is the end of both, and the lock is free when the next agent comes."""
    config = write(pod)
    with running("run", config) as agent:
        rested(agent)
        pod.rotate("db", f"{CANARY}-2")
        with at_work(pod, agent) as worker:
            agent.process.kill()
            until(lambda: gone(worker))
    assert pod.read("db") == f"{CANARY}-1"
    with running("init", config) as agent:
        assert agent.wait() == 0
    assert pod.read("db") == f"{CANARY}-2"


@pytest.mark.parametrize("stopped", [False, True], ids=["in a call", "not running at all"])
def test_a_stop_ends_both(pod: Pod, stopped: bool) -> None:
    with running("run", write(pod)) as agent:
        rested(agent)
        with at_work(pod, agent) as worker:
            if stopped:
                os.kill(worker, signal.SIGSTOP)
            assert agent.stop() == 0
            assert gone(worker)
        assert agent.seen[-1]["event"] == "stopped"
        assert not [event for event in agent.seen if event["level"] == "error"]


@pytest.mark.full("nothing: .ci/run asks it in its run of all tests")
def test_nothing_is_left_of_many_passes(pod: Pod) -> None:
    """No process, descriptor or thread more than before. What is for a worker is closed a moment after it ended."""
    with running("run", write(pod)) as agent:
        settled(agent)
        until(lambda: not workers(agent))
        before = agent.usage()
        for _ in range(20):
            agent.pass_now()
        until(lambda: not workers(agent) and agent.usage().files <= before.files)
        assert agent.usage().threads == before.threads
        assert children(agent.process.pid) == {}
        assert agent.stop() == 0


def test_a_worker_stays_while_more_is_due_soon(pod: Pod) -> None:
    """The same one makes the passes of a short period."""
    with running("run", write(pod, period="1s")) as agent:
        agent.ready()
        until(lambda: rests(agent) and workers(agent))
        (worker,) = workers(agent)
        passes = agent.passes()
        until(lambda: agent.passes() >= passes + 2)
        assert workers(agent) == [worker]
        assert agent.stop() == 0
        assert gone(worker)


def test_what_cannot_be_gone_on_from_is_begun_anew(pod: Pod) -> None:
    """As when the agent's files are replaced by another version's while it becomes the resting process."""
    read, write_end = os.pipe()
    os.write(write_end, b'{"version": "0.0.0", "value": null}')
    os.close(write_end)
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "rest", str(read), "run", "--config", str(write(pod)), "--log-format", "json"],
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[read],
    )
    os.close(read)
    try:
        assert process.stderr is not None
        said = (json.loads(line)["event"] for line in process.stderr)
        assert "published" in said
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close() if process.stderr else None


@contextmanager
def credentials() -> Iterator[dict[str, str]]:
    """What gives credentials as EKS Pod Identity does; the environment that leads there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(
                {
                    "AccessKeyId": "AKIAEXAMPLE",
                    "SecretAccessKey": KEY,
                    "Token": f"{KEY}-token",
                    "Expiration": "2100-01-01T00:00:00Z",
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_port}/"}
        finally:
            server.shutdown()
            thread.join()


def without_keys() -> dict[str, str]:
    """No static credentials: an empty variable counts as none."""
    return dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")


def dump(pid: int) -> bytes:
    """All that a process has in memory and may read."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            addresses, access, *_ = line.split()
            if not access.startswith("r") or "[v" in line:
                continue
            start, end = (int(address, 16) for address in addresses.split("-"))
            memory.seek(start)
            try:
                found.append(memory.read(end - start))
            except OSError:
                continue
    return b"".join(found)
