"""The first process of a node's PID namespace: it starts the node's services and reaps what is left to it.

    inside.py STATE CGROUP TOKEN

It is run as a file, in fresh network and mount namespaces, and ends when one of its services does.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ADDRESS = "10.99.0.1"  # the node's, and that of what tests serve to pods
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
DNS = "10.96.0.10"
POD_IDENTITY = "169.254.170.23"  # where EKS' agent for Pod Identity listens on each node

HOME = Path("/run/freshmount")  # inside the namespace only
STATE = HOME / "state"


def _note(path: Path) -> None:
    """Write down this process as the machine knows it, by the machine's /proc, which is still the one here."""
    stat = Path("/proc/self/stat").read_text()
    aside = path.with_name(f"{path.name}.new")
    noted = {"pid": int(stat.split()[0]), "started": int(stat.rpartition(")")[2].split()[19])}
    aside.write_text(json.dumps(noted))
    aside.rename(path)


def main() -> None:
    state, cgroup, token = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    programs = json.loads((state / "programs.json").read_text())
    _note(state / "first.json")
    _mounts(state, programs)
    _network()
    _cgroup(cgroup)
    _configure(cgroup)
    services: dict[int, str] = {}

    def start(name: str, program: str, *arguments: str) -> None:
        component = next(c for c in programs if (HOME / c / program).exists())
        log = (STATE / "log" / f"{name}.log").open("wb")
        path = f"{HOME}/containerd:{os.environ['PATH']}"
        started = subprocess.Popen(
            [str(HOME / component / program), *arguments],
            env={"PATH": path, "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
        )
        services[started.pid] = name

    admin = f"--kubeconfig={STATE}/kubeconfig"
    start("containerd", "containerd", "--config", f"{STATE}/containerd.toml")
    start(
        "etcd",
        "etcd",
        f"--data-dir={STATE}/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # nothing of it outlives the node
    )
    start(
        "apiserver",
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--bind-address={ADDRESS}",
        f"--advertise-address={ADDRESS}",
        "--secure-port=6443",
        f"--tls-cert-file={STATE}/pki/apiserver.crt",
        f"--tls-private-key-file={STATE}/pki/apiserver.key",
        f"--token-auth-file={STATE}/pki/tokens.csv",
        "--authorization-mode=RBAC",
        f"--service-cluster-ip-range={SERVICES}",
        f"--service-account-key-file={STATE}/pki/accounts.key",
        f"--service-account-signing-key-file={STATE}/pki/accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--api-audiences=https://kubernetes.default.svc",
        "--allow-privileged",
        "--kubelet-preferred-address-types=InternalIP",
        *_turned_on(),
    )
    _wait_for_api(token, services)
    start(
        "controller-manager",
        "kube-controller-manager",
        admin,
        f"--service-account-private-key-file={STATE}/pki/accounts.key",
        f"--root-ca-file={STATE}/pki/ca.crt",
        f"--flex-volume-plugin-dir={STATE}/plugins",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    )
    start("scheduler", "kube-scheduler", admin, "--leader-elect=false", "--bind-address=127.0.0.1")
    start(
        "kubelet",
        "kubelet",
        admin,
        f"--config={STATE}/kubelet.yaml",
        f"--root-dir={STATE}/kubelet",
        f"--cert-dir={STATE}/pki/kubelet",
        "--hostname-override=node",
        f"--node-ip={ADDRESS}",
    )
    start(
        "proxy",
        "kube-proxy",
        admin,
        "--hostname-override=node",
        "--proxy-mode=iptables",
        f"--cluster-cidr={PODS}",
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
    )
    start("dns", "coredns", "-conf", f"{STATE}/Corefile")
    (STATE / "serving").touch()
    while True:
        pid, status = os.wait()
        if pid in services:
            _fail(services[pid], os.waitstatus_to_exitcode(status))


def _turned_on() -> list[str]:
    """MutatingAdmissionPolicy, which is on by itself from 1.36 on."""
    program = str(HOME / "kubernetes" / "kube-apiserver")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(said.split(".")[1]) >= 36:
        return []
    return [
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
    ]


def _mounts(state: Path, programs: dict[str, str]) -> None:
    """All of the node's paths lead below HOME, and what it has fixed names for is the node's own.

    1. A new /run, with the state and the programs in it, wherever they are on the machine.
    2. State directories with fixed names: /var/lib (sockets of kubelet's plug-ins), /var/log (links to logs).
    3. /proc of this PID namespace.
    4. From now on mounts propagate within the node, which kubelet needs; the machine's are not peers of these.
    """
    run = state / "run"
    for directory in ("run", "lib", "log", "plugins", "kubelet", "cni"):
        (state / directory).mkdir()
    _do("mount", "-t", "tmpfs", "-o", "mode=755", "run", str(run))
    for name, source in {"state": str(state), **programs}.items():
        target = run / HOME.name / name
        target.mkdir(parents=True)
        _do("mount", "--bind", source, str(target))
    _do("mount", "--no-mtab", "--move", str(run), "/run")
    _do("mount", "--bind", str(STATE / "lib"), "/var/lib")
    _do("mount", "--bind", str(STATE / "log"), "/var/log")
    _do("mount", "-t", "proc", "proc", "/proc")
    _do("mount", "--make-rshared", "/")


def _network() -> None:
    """A bridge with the node's address; services and what AWS has on each node are addresses of loopback.

    There is no way out: a packet to elsewhere is answered with "unreachable".
    """
    for line in (
        "link set lo up",
        f"address add {DNS}/32 dev lo",
        f"address add {POD_IDENTITY}/32 dev lo",
        "link add node type bridge",
        f"address add {ADDRESS}/24 dev node",
        "link set node up",
        "route add default dev node",  # kubelet looks for an interface with one
    ):
        _do("ip", *line.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _cgroup(name: str) -> None:
    """The cgroup that kubelet keeps its pods in, in each hierarchy."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        controllers = (root / "cgroup.controllers").read_text().split()
        (root / name).mkdir(exist_ok=True)
        for directory in (root, root / name):
            (directory / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in controllers))
        return
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup":
            new = Path(where) / name
            new.mkdir(exist_ok=True)
            for inherited in ("cpuset.cpus", "cpuset.mems"):  # empty in a new one, and no process may enter
                if (new / inherited).exists():
                    (new / inherited).write_text((Path(where) / inherited).read_text())


def _configure(cgroup: str) -> None:
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": f"{STATE}/plugins",
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{STATE}/resolv.conf",
        "oomScoreAdj": 0,  # a lower one takes CAP_SYS_RESOURCE, which a build machine may not have
        # A changed ConfigMap is in the pod within seconds, not a minute.
        "syncFrequency": "5s",
        # The machine's disk is not the node's to judge, and the images came by hand.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
    }
    (STATE / "kubelet.yaml").write_text(json.dumps(kubelet))
    (STATE / "resolv.conf").write_text(f"nameserver {DNS}\n")
    # Two blocks: within one, CoreDNS asks `template` before `kubernetes`, whatever their order here.
    (STATE / "Corefile").write_text(f"""
cluster.local:53 in-addr.arpa:53 {{
    bind {DNS}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {STATE}/kubeconfig
    }}
}}
.:53 {{
    bind {DNS}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
""")
    (STATE / "containerd.toml").write_text(f"""
version = 3
root = "{STATE}/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{STATE}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = false
""")
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": f"{STATE}/addresses",
        },
    }
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }
    (STATE / "cni" / "10-pods.conflist").write_text(json.dumps(network))


def _wait_for_api(token: str, services: dict[int, str]) -> None:
    """Until /readyz says ok. A port gives no sign when it opens, so it is asked, for two minutes."""
    trusted = ssl.create_default_context(cafile=str(STATE / "pki" / "ca.crt"))
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted))
    request = urllib.request.Request(f"https://{ADDRESS}:6443/readyz", headers={"Authorization": f"Bearer {token}"})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with direct.open(request, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended in services:
            _fail(services[ended], os.waitstatus_to_exitcode(status))
        time.sleep(0.1)
    _fail("apiserver", None)


def _fail(service: str, code: int | None) -> None:
    """Say what a service said last, and end; the kernel ends the rest."""
    print(f"{service} {'is not ready' if code is None else f'ended with {code}'}; it said:", flush=True)
    print("\n".join((STATE / "log" / f"{service}.log").read_text(errors="replace").splitlines()[-25:]), flush=True)
    sys.exit(1)


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr.strip()}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main()
