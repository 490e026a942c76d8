"""How the controller carries many ExternalSecrets: time until all are ready, a rotation, memory, CPU, calls.

    python -m tests.apiserver.scale [--number 2000] [--keys 3] [--rotated 500] [--quiet-for 60]

An API server alone and a stand-in for AWS, on this machine: both take of the same cores, so times are upper bounds.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import yaml
from lightkube import codecs
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Secret
from lightkube.types import PatchType

from tests.apiserver.controlled import RULES, Controller, ExternalSecret, controlling, install, least, store
from tests.apiserver.server import ApiServer, api_server
from tests.support.services import Services, serving

_SPACES = 20

_PATIENCE = 3600.0  # seconds

_ACCOUNT = "scale"  # the controller's, by which its calls are told from those of this program


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--keys", type=int, default=3)
    parser.add_argument("--rotated", type=int, default=500)
    parser.add_argument("--quiet-for", type=float, default=60.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as at, api_server(Path(at) / "server") as server, serving() as (services, url):
        install(server)
        measure(server, services, url, given)


class Cost(NamedTuple):
    """What a phase took: seconds, CPU seconds, MiB at its end, and calls by what they are."""

    seconds: float
    cpu: float
    memory: float
    aws: Counter[str]
    api: Counter[str]


class Meter:
    """Measures one phase of a process after the other."""

    def __init__(self, server: ApiServer, services: Services, running: Controller) -> None:
        self._server, self._services, self._running = server, services, running
        self._log = server.audit_log.open(encoding="utf-8")
        self._log.seek(0, os.SEEK_END)
        self._since, self._cpu = time.monotonic(), 0.0
        services.calls.clear()

    def read(self, what: str) -> Cost:
        """What it took since the last time, which is printed."""
        now, process = time.monotonic(), f"/proc/{self._running.process.pid}"
        status = Path(f"{process}/status").read_text()
        memory = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))
        ticks = Path(f"{process}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
        api = Counter(call for line in self._log for call in _call(line))
        aws = Counter(call.operation for call in self._services.calls)
        cost = Cost(now - self._since, cpu - self._cpu, memory, aws, api)
        self._services.calls.clear()
        self._since, self._cpu = time.monotonic(), cpu
        print(
            f"{what}: {cost.seconds:.1f} s, {cost.cpu:.1f} s CPU, {memory:.0f} MiB; AWS {dict(aws)}; API server "
            f"{dict(api)}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        return cost


def _call(line: str) -> list[str]:
    """What a line of the audit log says that the controller asked for; nothing, if it was another."""
    if f":{_ACCOUNT}" not in line or not line.endswith("}\n"):  # half of the last one
        return []
    event = json.loads(line)
    of = event.get("objectRef") or {}
    if not event["user"]["username"].endswith(f":{_ACCOUNT}"):
        return []
    return [f"{event['verb']} {'/'.join(filter(None, (of.get('resource'), of.get('subresource'))))}"]


def measure(server: ApiServer, services: Services, url: str, given: argparse.Namespace) -> None:
    """1. Make all. 2. Until all are ready. 3. At rest. 4. One look at each. 5. A rotation of many. 6. A restart."""
    print(f"load before {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    # 1.
    fill(server, services, given.number, given.keys)
    kubeconfig = least(server, _ACCOUNT, RULES)
    with controlling(server, url, kubeconfig=kubeconfig) as running:
        meter = Meter(server, services, running)
        # 2.
        until_ready(server, given.number)
        meter.read(f"{given.number} ready")
        # 3.
        time.sleep(given.quiet_for)
        rest = meter.read("at rest")
        # 4.
        before = synced(server)
        poke(server, given.number)
        until_changed(server, before)
        look = meter.read("one look at each")
        hours = 3600 / rest.seconds
        print(
            f"an hour with refreshInterval 1h, extrapolated: {rest.cpu * hours + look.cpu:.1f} s CPU, "
            f"{sum(look.aws.values())} calls of AWS, "
            f"{sum(rest.api.values()) * hours + sum(look.api.values()):.0f} of the API server",
            flush=True,
        )
        # 5.
        for number in range(given.rotated):
            services.put(f"app/{number}/0", f"second-{number}")
        poke(server, given.rotated)
        until_written(server, given.rotated)
        meter.read(f"{given.rotated} rotated")
        running.stop()
        warned = Counter(line.partition('"event": ')[2][:60] for line in running.lines if '"level": "warning"' in line)
        print(f"warnings: {dict(warned)}", flush=True)
    # 6.
    with controlling(server, url, kubeconfig=kubeconfig) as running:
        meter = Meter(server, services, running)
        running.ready()
        time.sleep(5)
        meter.read("restarted")
        running.stop()


def fill(server: ApiServer, services: Services, number: int, keys: int) -> None:
    client = server.client(field_manager="person")
    for space in range(_SPACES):
        client.create(Namespace(metadata=ObjectMeta(name=f"scale-{space}")))
        made = yaml.safe_load(store())
        made["metadata"]["namespace"] = f"scale-{space}"
        client.apply(codecs.from_dict(made))
    for each in range(number):
        for key in range(keys):
            services.put(f"app/{each}/{key}", f"first-{each}-{key}")
        data = [{"secretKey": f"k{key}", "remoteRef": {"key": f"app/{each}/{key}"}} for key in range(keys)]
        spec = {"refreshInterval": "1h", "secretStoreRef": {"name": "aws", "kind": "SecretStore"}, "data": data}
        made = ExternalSecret(metadata={"name": f"app-{each}", "namespace": f"scale-{each % _SPACES}"}, spec=spec)
        client.create(made)


def poke(server: ApiServer, number: int) -> None:
    """Ask each of them to look now, as `kubectl annotate` does."""
    value = f"{time.monotonic()}"
    client = server.client(field_manager="person")
    for each in range(number):
        patch = {"metadata": {"annotations": {"force-sync": value}}}
        client.patch(
            ExternalSecret, f"app-{each}", patch, namespace=f"scale-{each % _SPACES}", patch_type=PatchType.MERGE
        )


def until_ready(server: ApiServer, number: int) -> None:
    client, end = server.client(), time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        found = Counter(
            condition["status"]
            for each in client.list(ExternalSecret, namespace="*")
            for condition in (each.get("status") or {}).get("conditions") or ()
        )
        if found["True"] == number:
            return
        time.sleep(1)
    raise SystemExit(f"not ready: {found}")


def until_written(server: ApiServer, number: int) -> None:
    client, end = server.client(), time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        found = sum(
            base64.b64decode((each.data or {}).get("k0", "")).startswith(b"second-")
            for each in client.list(Secret, namespace="*")
        )
        if found == number:
            return
        time.sleep(1)
    raise SystemExit(f"not written: {found}")


def synced(server: ApiServer) -> dict[tuple[str, str], str]:
    """At which version each was synced last."""
    found = server.client().list(ExternalSecret, namespace="*")
    status = {(of["metadata"]["namespace"], of["metadata"]["name"]): of.get("status") or {} for of in found}
    return {at: of.get("syncedResourceVersion", "") for at, of in status.items()}


def until_changed(server: ApiServer, before: dict[tuple[str, str], str]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        now = synced(server)
        if all(now[at] != version for at, version in before.items()):
            return
        time.sleep(1)
    raise SystemExit("not all were looked at")


if __name__ == "__main__":
    main()
