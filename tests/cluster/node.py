"""One Kubernetes node in namespaces of its own (network, mounts, processes), and its end without a trace.

    python -m tests.cluster up|down

Everything of the node descends from one process, the *holder* (`unshare`), whose child is the first process of a PID
namespace. When that child ends, the kernel ends all others, and with them go the mounts, bridges and interfaces, which
are in namespaces that only they held. A state directory and a cgroup are left, whose names are known beforehand.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.cluster import build
from tests.cluster.inside import ADDRESS, SERVICES
from tests.support.chart_tools import TOOLS

CGROUPS = Path("/sys/fs/cgroup")

# Debian's packages by the program that shows that they are there.
PACKAGES = {
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


class Unusable(Exception):
    """No node can be started or reached here; says why, and what to do."""


@dataclass(frozen=True)
class Node:
    """Where everything of one node is. Its name is unique on the machine."""

    name: str
    state: Path

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def kubectl(self) -> Path:
        """A script that runs kubectl inside the node's network, for people."""
        return self.state / "kubectl"

    @property
    def helm(self) -> Path:
        """The same for Helm: the one on PATH, else that of `make tools`, whichever is there when it is called."""
        return self.state / "helm"

    @property
    def cgroup(self) -> str:
        return f"freshmount-cluster-{self.name}"

    @property
    def programs(self) -> dict[str, str]:
        """The directory of each component that this node was started with."""
        return dict(json.loads((self.state / "programs.json").read_text()))

    def holder(self) -> int | None:
        """The pid of the holder, if it is alive and is the process that was started as such."""
        return self._alive("holder.json")

    def first(self) -> int | None:
        """The pid of the first process of its PID namespace, likewise. It ends when all others there have."""
        return self._alive("first.json")

    def _alive(self, name: str) -> int | None:
        try:
            noted = json.loads((self.state / name).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        found = _process(noted["pid"])
        alive = found is not None and found[0] != "Z" and found[1] == noted["started"]
        return int(noted["pid"]) if alive else None

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command in the node's network, with this machine's files."""
        return ["nsenter", f"--net=/proc/{self._held()}/ns/net", "--", *command]

    def within(self, *command: str) -> list[str]:
        """The command line that runs a command in the node's network and mounts."""
        return ["nsenter", f"--target={self._held()}", "--net", "--mount", "--", *command]

    def _held(self) -> int:
        pid = self.holder()
        if pid is None:
            raise Unusable("no node is running; start one with `make cluster`")
        return pid


def here() -> Node:
    """The node that CLUSTER_NAME names, below CLUSTER_STATE or else the cache; nothing is looked at or changed."""
    name = os.environ.get("CLUSTER_NAME") or "node"
    if not name.isalnum():
        raise Unusable(f"CLUSTER_NAME={name}: letters and digits only")
    below = os.environ.get("CLUSTER_STATE")
    return Node(name, (Path(below).resolve() if below else build.cache()) / f"state-{name}")


def up(node: Node) -> bool:
    """Let the node be up and ready: builds what is missing, clears what a crash left. True if it was not up before.

    Raises `Unusable` or `build.Unbuildable`; then, and when it is interrupted, nothing of the node is left.
    """
    _check_machine()
    pinned = build.versions()
    programs = {name: str(path) for name, path in build.built(build.components(pinned)).items()}
    with _alone(node):
        if node.holder() is not None:
            if node.programs != programs:
                raise Unusable("a node of other versions is running; end it first with `make cluster-down`")
            _wait_ready(node)
            return False
        _down(node)
        try:
            _start(node, programs)
            _wait_ready(node)
        except BaseException:
            with _uninterrupted():
                _down(node)
            raise
    return True


def down(node: Node) -> None:
    """Let nothing of the node be there: processes, mounts, network, cgroups, files. Whatever state it is in."""
    if not node.state.parent.exists():
        return
    with _alone(node):
        _down(node)


def _down(node: Node) -> None:
    # 1. All processes; the kernel takes the namespaces with them. If the holder was killed, it has killed them already,
    #    but they take a moment, and may write a file meanwhile.
    holder, first = node.holder(), node.first()
    if holder is not None:
        _end(holder)
    elif first is not None:
        with contextlib.suppress(ProcessLookupError):
            _await_end(first)
    # 2. The cgroups, which are empty now.
    for root in _cgroups(node):
        _remove_cgroup(root)
    # 3. The files, which nothing is mounted on any more.
    if node.state.exists():
        shutil.rmtree(node.state)


def _end(holder: int) -> None:
    """Kill the first process of the PID namespace and wait until all in it are gone, which the holder's end tells."""
    gone = os.pidfd_open(holder)
    try:
        for pid in _children(holder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not select.select([gone], [], [], 30)[0]:
            # It had no child yet, or is stuck; the kernel kills its child with it (--kill-child).
            signal.pidfd_send_signal(gone, signal.SIGKILL)
            if not select.select([gone], [], [], 30)[0]:
                raise Unusable(f"process {holder} does not end; look at /proc/{holder}/stack")
    finally:
        os.close(gone)


def _await_end(pid: int) -> None:
    gone = os.pidfd_open(pid)
    try:
        if not select.select([gone], [], [], 30)[0]:
            raise Unusable(f"process {pid} does not end; look at /proc/{pid}/stack")
    finally:
        os.close(gone)


def _start(node: Node, programs: dict[str, str]) -> None:
    """Start the holder. Returns as soon as it runs."""
    node.state.mkdir(parents=True)
    (node.state / "programs.json").write_text(json.dumps(programs))
    token = _credentials(node)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "--"]
    command += [sys.executable, str(build.HERE / "inside.py"), str(node.state), node.cgroup, token]
    # It does nothing before it has read a byte, and ends if none comes: nothing runs that is not written down.
    ready, go = os.pipe()
    with (node.state / "holder.log").open("wb") as log:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", "import os, sys; os.read(0, 1) and os.execvp(sys.argv[1], sys.argv[1:])", *command],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, ready, 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
            setsid=True,  # a Ctrl-C in the terminal is ours to handle
        )
    os.close(ready)
    aside = node.state / "holder.json.new"
    found = _process(pid)
    assert found
    aside.write_text(json.dumps({"pid": pid, "started": found[1]}))
    aside.rename(node.state / "holder.json")
    os.write(go, b"1")
    os.close(go)


def _credentials(node: Node) -> str:
    """Keys, certificates and kubeconfigs of a new cluster; the administrator's token."""
    pki = node.state / "pki"
    pki.mkdir(mode=0o700)
    authority = trustme.CA()
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    addresses = [ADDRESS, "127.0.0.1", SERVICES.replace("0.0/16", "0.1")]
    server = authority.issue_cert(*names, *addresses)
    authority.cert_pem.write_to_path(str(pki / "ca.crt"))
    server.private_key_pem.write_to_path(str(pki / "apiserver.key"))
    for part in server.cert_chain_pems:
        part.write_to_path(str(pki / "apiserver.crt"), append=True)
    # What signs the tokens of service accounts; the API server takes the public half out of it.
    trustme.CA().private_key_pem.write_to_path(str(pki / "accounts.key"))
    token = secrets.token_urlsafe(24)
    (pki / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    cluster = {
        "server": f"https://{ADDRESS}:6443",
        "certificate-authority-data": base64.b64encode(authority.cert_pem.bytes()).decode(),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "freshmount", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "freshmount", "context": {"cluster": "freshmount", "user": "admin"}}],
        "current-context": "freshmount",
    }
    node.kubeconfig.touch(mode=0o600)
    node.kubeconfig.write_text(json.dumps(config))
    return token


def _wait_ready(node: Node) -> None:
    """Until the API server says ready and the node is Ready; raises `Unusable` with the log of what ended."""
    deadline = time.monotonic() + 120
    # The first process of the node ends when one of its services does, and says which.
    while not (node.state / "serving").exists():
        if node.holder() is None or time.monotonic() > deadline:
            raise Unusable(_last_words(node))
        time.sleep(0.1)
    kubectl = f"{node.programs['kubernetes']}/kubectl"
    for wanted in ("create", "condition=Ready"):
        command = [kubectl, f"--kubeconfig={node.kubeconfig}", "wait", f"--for={wanted}", "node/node", "--timeout=120s"]
        # It lives in the node's namespaces, but not in its PID namespace, so it would outlive us and the node.
        ends_with_us = ["setpriv", "--pdeathsig", "KILL", "--", *node.inside(*command)]
        done = subprocess.run(ends_with_us, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unusable(f"{done.stderr}{_last_words(node)}")
    _script(node.kubectl, f'exec {shlex.join(node.inside(kubectl, f"--kubeconfig={node.kubeconfig}"))} "$@"')
    helm = shlex.join(node.inside("env", f"KUBECONFIG={node.kubeconfig}"))
    _script(
        node.helm,
        f'for helm in "$(command -v helm)" {shlex.quote(str(TOOLS))}/helm*; do',
        f'  test -x "$helm" && exec {helm} "$helm" "$@"',
        "done",
        "echo 'no Helm is here: run make tools, or put one on PATH' >&2",
        "exit 127",
    )


def _script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def _last_words(node: Node) -> str:
    said = (node.state / "holder.log").read_text(errors="replace").splitlines()[-30:]
    return "\n".join(["the node did not become ready:", *said])


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise Unusable("a node needs root: namespaces, mounts and cgroups")
    missing = sorted({package for program, package in PACKAGES.items() if not shutil.which(program)})
    if missing:
        raise Unusable(f"install what is missing: apt-get install {' '.join(missing)}")


def _process(pid: int) -> tuple[str, int] | None:
    """State letter and start time, in clock ticks since boot, of a process; a pid is used again, both are not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    found.append(int(entry.name))
    return found


def _cgroups(node: Node) -> list[Path]:
    """The node's cgroup in each hierarchy, of version 1 or 2."""
    return [path for path in (CGROUPS / node.cgroup, *CGROUPS.glob(f"*/{node.cgroup}")) if path.is_dir()]


def _remove_cgroup(root: Path) -> None:
    for directory, _, _ in os.walk(root, topdown=False):
        for attempt in range(50):
            try:
                os.rmdir(directory)
                break
            except FileNotFoundError:
                break
            except OSError as error:
                # The kernel lets go of a process's cgroup a moment after the process.
                if error.errno != errno.EBUSY or attempt == 49:
                    raise
                time.sleep(0.1)


@contextlib.contextmanager
def _alone(node: Node) -> Iterator[None]:
    """One at a time starts or ends a node; the kernel lets go of the lock when its holder ends, however it ends.

    The file goes with the node. Who waited for it meanwhile holds a file without a name, and tries again.
    """
    node.state.parent.mkdir(parents=True, exist_ok=True)
    path = node.state.parent / f"{node.state.name}.lock"
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                continue
            try:
                yield
            finally:
                if not node.state.exists():
                    path.unlink()
            return


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C does not stop the clearing up after the first."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
