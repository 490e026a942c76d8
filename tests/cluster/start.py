"""How long a pod takes from its creation to its app's process, with and without us, one beside the other on one node.

    python -m tests.cluster start [--pairs N] [--arms native-hook,init,…] [--json]

The pods are what the demo chart renders, with five secrets in five files, from a stand-in for AWS that answers at once.
"without" is the chart with `freshmount.enabled: false`. "secret" is its mode of that name, with the five values in a
Secret as the controller keeps one. "floor" is native-hook with a program that only sleeps in the agent's place, and a
hook that only returns: what the node takes for any container that another one waits for. Each round starts one
pod of every arm, in a random order, one after the other, and each difference is taken within a round. The clock
starts before the request that creates the pod; it ends at the start of the app's process as the kernel knows it, to
10 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import random
import ssl
import statistics
import sys
import tempfile
import time
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kube import Cluster, Namespace, Object
from tests.cluster.world import AGENT, APP, World
from tests.support import chart, chart_tools
from tests.support.aws import Proxy, QuickStandIn

WITHOUT = "without"
FLOOR = "floor"

# By name, the values of the chart. The app waits for its files in each that is not in WITHOUT_FILES.
ARMS: dict[str, Any] = {
    "native-hook": {"mode": "native", "holdBack": "hook"},
    "native-probe": {"mode": "native", "holdBack": "probe"},
    "sidecar-hook": {"mode": "sidecar", "holdBack": "hook"},
    "init": {"mode": "init"},
    "both": {"mode": "both"},
    "sidecar": {"mode": "sidecar"},
    "secret": {"mode": "secret", "secretName": "kept"},
    FLOOR: {"mode": "native", "holdBack": "hook"},
}
SECRETS = ("one", "two", "three", "four", "five")
WITHOUT_FILES = (WITHOUT, FLOOR, "sidecar")  # with a plain sidecar the app may be first

# Says when this process started, in epoch seconds, and what it found.
REPORT = """
import json, os, time
ticks = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
started = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
try: found = sorted(name for name in os.listdir("/freshmount/secrets") if not name.startswith(".."))
except FileNotFoundError: found = []
print(json.dumps({"started": started, "files": found}), flush=True)
time.sleep(1e6)
"""


class Api:
    """Creating a pod without the start of another program in the measured time."""

    def __init__(self, kubeconfig: Path) -> None:
        known = yaml.safe_load(kubeconfig.read_text())
        cluster = known["clusters"][0]["cluster"]
        trusted = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        self._server = cluster["server"]
        self._token = known["users"][0]["user"]["token"]
        self._open = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
        ).open

    def create(self, pod: Object, namespace: str) -> float:
        """Epoch seconds just before the request."""
        request = urllib.request.Request(
            f"{self._server}/api/v1/namespaces/{namespace}/pods",
            json.dumps(pod).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        before = time.time()
        with self._open(request, timeout=30):
            return before


@contextlib.contextmanager
def prepared() -> Iterator[tuple[World, str]]:
    """A namespace with the secrets in its stand-in for AWS, and helm's path."""
    helms = chart_tools.helms()
    helm = helms[max(helms)]
    with (
        Cluster.here(helm) as cluster,
        tempfile.TemporaryDirectory() as home,
        QuickStandIn(cluster.aws_host) as aws,
        Proxy(aws.url, cluster.aws_host) as proxy,
    ):
        namespace = Namespace(cluster)
        try:
            world = World(namespace, aws, proxy, chart.built(helm, Path(home) / "charts").path, Path(home))
            for name in SECRETS:
                world.put(name, name)
            yield world, helm
        finally:
            namespace.delete()


def rendered(world: World, helm: str, arm: str, program: str = REPORT, **config: object) -> Object:
    """The pod of an arm, without a name; the objects that it needs are applied. `program` is the app's."""
    asked = world.config([world.secret(name) for name in SECRETS], **config)  # type: ignore[arg-type]
    values = world.values(asked, enabled=arm != WITHOUT, **ARMS.get(arm, {}))
    drawn = chart.Chart(helm, world.chart()).template(values, "1.34")
    spec = copy.deepcopy(drawn.one("Deployment")["spec"]["template"]["spec"])
    app = next(c for c in spec["containers"] if c["name"] == APP)
    app["command"] = ["python3", "-I", "-S", "-c", program]
    app.pop("readinessProbe", None)
    if arm == FLOOR:
        agent = next(c for c in spec["initContainers"] if c["name"] == AGENT)
        agent |= {"image": app["image"], "command": ["sleep"], "args": ["1000000"]}
        agent["lifecycle"] = {"postStart": {"exec": {"command": ["true"]}}}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            agent.pop(probe, None)
    spec["terminationGracePeriodSeconds"] = 0
    objects = [
        {**each, "metadata": {**each["metadata"], "namespace": world.k.name}}
        for each in drawn.documents
        if each["kind"] in ("ConfigMap", "ServiceAccount")
    ]
    kept = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kept"}}
    world.k.apply(*objects, {**kept, "stringData": {name: name for name in SECRETS}})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec}


def one(world: World, api: Api, arm: str, pod: Object, turn: int) -> float:
    """Seconds from the pod's creation to its app's process; the pod is gone afterwards."""
    name = f"{arm}-{turn}"
    created = api.create({**pod, "metadata": {"name": name}}, world.k.name)
    world.k.pod(_runs, "running", name)
    with world.k.log(name, APP) as said:
        told = said.until(lambda line: "started" in line, "a start")
    if arm not in WITHOUT_FILES:
        assert told["files"] == sorted(SECRETS), told
    world.k.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=true")
    return float(told["started"]) - created


def _runs(pod: Object) -> bool:
    return any(c["name"] == APP and "running" in c["state"] for c in pod["status"].get("containerStatuses", ()))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster start")
    parser.add_argument("--pairs", type=int, default=20, help="pods of each arm")
    parser.add_argument(
        "--arms", type=lambda text: tuple(text.split(",")), default=(*ARMS,), help=f"of {', '.join(ARMS)}"
    )
    parser.add_argument("--json", action="store_true", help="every figure, for other programs")
    asked = parser.parse_args(arguments)
    arms = (WITHOUT, *asked.arms)
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    api = Api(Path(os.environ["KUBECONFIG"]))
    with prepared() as (world, helm):
        # As in the field: no proxy between, which would take a part of the two cores, and the default period.
        where = {"endpointUrl": world.aws.url, "poll": {}}
        pods = {arm: rendered(world, helm, arm, **where) for arm in arms}
        for turn in range(-1, asked.pairs):  # the first round warms up and is not counted
            for arm in random.sample(arms, len(arms)):
                took = one(world, api, arm, pods[arm], turn + 1)
                if turn >= 0:
                    seconds[arm].append(took)
    held = sum(len(took) for arm, took in seconds.items() if arm not in WITHOUT_FILES)
    row = f"| the app in a pod starts after its files, in each mode that holds it back | {held} pods | 0 | – |"
    print(json.dumps(seconds) if asked.json else f"{table(seconds)}\n{row}\n{conditions()}")
    return 0


def conditions() -> str:
    """What the figures depend on."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{os.cpu_count()} cores; their load at the end (1, 5, 15 minutes): {load}."


def table(seconds: dict[str, list[float]]) -> str:
    lines = [
        "| arm | pods | median s | least–most s | more than without, median of pairs s |",
        "|---|---:|---:|---:|---:|",
    ]
    for arm, took in seconds.items():
        more = [a - b for a, b in zip(took, seconds[WITHOUT], strict=True)]
        last = "–" if arm == WITHOUT else f"{statistics.median(more):.2f}"
        middle = statistics.median(took)
        lines.append(f"| {arm} | {len(took)} | {middle:.2f} | {min(took):.2f}–{max(took):.2f} | {last} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
