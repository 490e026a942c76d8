"""A node of `make cluster` ends without a trace, however it or what started it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster import node
from tests.cluster.images import ROOT

pytestmark = [
    pytest.mark.xdist_group("node"),  # no two at once
    pytest.mark.skipif(not os.environ.get("CLUSTER_OWN_NODE"), reason="only for a node of this machine"),
]

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {
        "containers": [
            {"name": "web", "image": "localhost/pause:1", "volumeMounts": [{"name": "m", "mountPath": "/m"}]},
        ],
        "volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}],
    },
}


class Probe:
    """A node beside the one that the tests run on, and what the machine had before it."""

    def __init__(self) -> None:
        self.name = f"probe{uuid.uuid4().hex[:6]}"
        self.node = node.Node(self.name, node.here().state.parent / f"state-{self.name}")
        self.links = {"node", "pods"} - links(outside())  # its interfaces, once a pod is there with the pod's
        self.namespaces: set[str] = set()
        self.seen: set[tuple[int, int]] = set()

    def make(self, what: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.cluster", what],
            cwd=ROOT,
            env={**os.environ, "CLUSTER_NAME": self.name},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def succeed(self, what: str) -> str:
        process = self.make(what)
        said = process.communicate(timeout=300)[0]
        assert process.returncode == 0, said
        return said

    def until_held(self, starting: subprocess.Popen[str]) -> int:
        """The holder's pid, once the node's services run in its namespaces."""
        while starting.poll() is None:
            holder = self.node.holder()
            if holder is not None and (self.node.state / "log" / "etcd.log").exists():
                self.namespaces = {os.readlink(f"/proc/{holder}/ns/{kind}") for kind in ("net", "mnt")}
                assert len(self.processes()) > 1
                return holder
            with suppress(subprocess.TimeoutExpired):
                starting.wait(0.05)
        raise AssertionError(starting.communicate()[0])

    def processes(self) -> list[int]:
        """All that descends from the holder, the pods' among them, and who else is in its namespaces.

        They are looked for at the end by pid and start: the kernel gives a pid again, and the number of a namespace.
        """
        holder = self.node.holder()
        below: dict[int, list[int]] = {}
        ahead = [] if holder is None else [holder]
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if fields := stat(pid):
                below.setdefault(int(fields[1]), []).append(pid)
            with suppress(OSError):
                if {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt")} & self.namespaces:
                    ahead.append(pid)
        found: set[int] = set()
        while ahead:
            if (pid := ahead.pop()) not in found:
                found.add(pid)
                ahead += below.get(pid, [])
        self.seen |= {(pid, start) for pid in found if (start := started(pid)) is not None}
        return sorted(found)

    def cgroups(self) -> list[Path]:
        return [path for pattern in ("*", "*/*") for path in node.CGROUPS.glob(pattern) if self.name in path.name]

    def nothing_is_left(self) -> bool:
        assert not [pid for pid, start in self.seen if started(pid) == start]
        assert not [*self.node.state.parent.glob(f"*{self.name}*")]
        assert self.name not in Path("/proc/self/mountinfo").read_text()
        assert not self.cgroups()
        assert not links(outside()) & self.links
        return True


def links(pid: int) -> set[str]:
    """The interfaces of that process's network."""
    found = subprocess.check_output(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-json", "link"])
    return {link["ifname"] for link in json.loads(found)}


def outside() -> int:
    """An ancestor in the machine's network: `make cluster-test` lets the tests run in its node's."""
    pid, here = os.getpid(), os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{pid}/ns/net") == here:
        pid = int(stat(pid)[1])
    return pid


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none once it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def started(pid: int) -> int | None:
    """When a process started, in ticks since boot; None once it has ended."""
    fields = stat(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def command(pid: int) -> bytes:
    """The command line of a process, empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.fixture
def probe() -> Iterator[Probe]:
    probe = Probe()
    yield probe
    probe.succeed("down")


def test_a_node_with_a_pod_ends_without_a_trace(probe: Probe) -> None:
    """With what only pods have: containers, mounts of volumes, veths, cgroups."""
    starting = probe.make("up")
    holder = probe.until_held(starting)
    said = starting.communicate(timeout=300)[0]
    assert starting.returncode == 0, said
    assert f"KUBECTL={probe.node.kubectl}\n" in said and f"HELM={probe.node.helm}\n" in said
    assert f"network: {probe.node.kubeconfig}\n" in said
    assert "export KUBECONFIG" not in said, "make cluster-test would refuse to start with it"
    subprocess.run([str(probe.node.helm), "list"], check=True)  # it reaches the API server
    kubectl = str(probe.node.kubectl)
    subprocess.run([kubectl, "wait", "--for=create", "serviceaccount/default", "--timeout=60s"], check=True)
    subprocess.run([kubectl, "apply", "--filename=-"], input=json.dumps(POD), text=True, check=True)
    subprocess.run([kubectl, "wait", "--for=condition=Ready", "pod/web", "--timeout=60s"], check=True)
    assert probe.cgroups() and len(probe.processes()) > 8
    assert any(b"pause" in command(pid) for pid in probe.processes())
    probe.links |= links(holder) - links(outside())
    assert probe.links > {"node", "pods"} and any(name.startswith("veth") for name in probe.links)
    probe.succeed("up")  # it is up
    assert probe.node.holder() == holder
    probe.succeed("down")
    assert probe.nothing_is_left()
    probe.succeed("down")  # and down


def test_ctrl_c_while_it_starts(probe: Probe) -> None:
    """The command clears up itself, and says by its exit code that it was interrupted."""
    starting = probe.make("up")
    probe.until_held(starting)
    starting.send_signal(signal.SIGINT)
    starting.communicate(timeout=120)
    assert starting.returncode == 130
    assert probe.nothing_is_left()


def test_a_starter_that_is_killed(probe: Probe) -> None:
    """What it had started is found by the next command."""
    starting = probe.make("up")
    probe.until_held(starting)
    starting.kill()
    starting.communicate(timeout=60)
    probe.succeed("down")
    assert probe.nothing_is_left()


def test_a_starter_that_is_killed_while_it_waits_for_the_node(probe: Probe) -> None:
    """What it waits by is in the node's network, and goes with it."""
    starting = probe.make("up")
    probe.until_held(starting)
    while not (waiting := [pid for pid in probe.processes() if b"--for=" in command(pid)]):
        assert starting.poll() is None
    starting.kill()
    starting.communicate(timeout=60)
    probe.succeed("down")
    assert waiting and probe.nothing_is_left()


def test_a_holder_that_is_killed(probe: Probe) -> None:
    """The kernel takes everything with it but files and cgroups; the next `up` starts from nothing."""
    starting = probe.make("up")
    holder = probe.until_held(starting)
    os.kill(holder, signal.SIGKILL)
    said = starting.communicate(timeout=180)[0]
    assert starting.returncode != 0 and "did not become ready" in said
    assert "Traceback" not in said, said
    assert probe.nothing_is_left()
