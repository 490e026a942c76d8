"""How the controller carries many ExternalSecrets: time until all are ready, a rotation, memory, CPU, calls.

    python -m tests.cluster external-secrets-scale [--number 2000] [--keys 3] [--rotated 500] [--quiet-for 60]

An API server alone and a stand-in for AWS, on this machine: both take of the same cores, so times are upper bounds.
"""

from __future__ import annotations

import argparse
import base64
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from lightkube import codecs
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Secret
from lightkube.types import PatchType

from tests.cluster.apiserver import ApiServer, api_server
from tests.cluster.controlled import Controller, ExternalSecret, controlling, install, store
from tests.support.services import Services, serving

_SPACES = 20

_PATIENCE = 3600.0  # seconds


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


def measure(server: ApiServer, services: Services, url: str, given: argparse.Namespace) -> None:
    """1. Make all of it. 2. Until all are ready. 3. At rest. 4. A rotation of many. 5. A restart."""
    print(f"load before {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
    # 1.
    fill(server, services, given.number, given.keys)
    with controlling(server, url) as running:
        # 2.
        began = time.monotonic()
        until_ready(server, given.number)
        shown(f"{given.number} ready", running, began, services)
        # 3.
        began = time.monotonic()
        time.sleep(given.quiet_for)
        shown("at rest", running, began, services)
        # 4.
        began = time.monotonic()
        for number in range(given.rotated):
            services.put(f"app/{number}/0", f"second-{number}")
        poke(server, given.rotated)
        until_written(server, given.rotated)
        shown(f"{given.rotated} rotated", running, began, services)
        running.stop()
        warned = Counter(line.partition('"event": ')[2][:60] for line in running.lines if '"level": "warning"' in line)
        print(f"warnings: {dict(warned)}", flush=True)
    # 5.
    with controlling(server, url) as running:
        began = time.monotonic()
        running.ready()
        time.sleep(5)
        shown("restarted", running, began, services)
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
    client = server.client(field_manager="person")
    for each in range(number):
        patch = {"metadata": {"annotations": {"force-sync": "1"}}}
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


def shown(what: str, running: Controller, began: float, services: Services) -> None:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    memory = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))
    ticks = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    calls = dict(Counter(call.operation for call in services.calls))
    services.calls.clear()
    print(
        f"{what}: {time.monotonic() - began:.1f} s, {memory:.0f} MiB, {cpu:.1f} s CPU since its start, calls {calls}, "
        f"load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
