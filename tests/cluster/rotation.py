"""How long a rotation takes to the app's handler: from AWS, and from the poll that saw it.

    python -m tests.cluster rotation [--rotations N] [--period SECONDS]

One pod of the demo chart, with five secrets; one after the other is rotated at a random moment of the period.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time

from tests.cluster.kube import Lines
from tests.cluster.start import SECRETS, conditions, prepared, rendered
from tests.cluster.world import APP, World

# Says at which epoch second it was signalled, and what the secrets were then.
HANDLER = """
import json, os, signal, time
HERE = "/freshmount/secrets"
def told(*_):
    at = time.time()
    found = {name: open(f"{HERE}/{name}").read() for name in os.listdir(HERE) if not name.startswith("..")}
    os.write(1, (json.dumps({"told": at, "files": found}) + "\\n").encode())
signal.signal(signal.SIGHUP, told)
print(json.dumps({"ready": True}), flush=True)
while True: signal.pause()
"""


class Polls:
    """When DescribeSecret was answered last, by secret."""

    def __init__(self, world: World) -> None:
        self._lock = threading.Lock()
        self._versions: dict[bytes, float] = {}
        forward = world.proxy.forward

        def noting(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
            status, answer = forward(headers, body)
            with self._lock:
                self._versions.setdefault(answer, time.time())
            return status, answer

        world.proxy.forward = noting  # type: ignore[method-assign]

    def first(self, version: str) -> float:
        """Epoch seconds of the first answer that named a version."""
        with self._lock:
            return min(at for answer, at in self._versions.items() if version.encode() in answer)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster rotation")
    parser.add_argument("--rotations", type=int, default=50)
    parser.add_argument("--period", type=float, default=2.0, help="seconds between two polls of a secret")
    asked = parser.parse_args(arguments)
    whole, seen = [], []
    with prepared() as (world, helm):
        polls = Polls(world)
        timing = {"poll": {"period": f"{asked.period:g}s"}, "notify": [world.hup()]}
        pod = rendered(world, helm, "native-hook", HANDLER, **timing)
        world.k.apply({**pod, "metadata": {"name": "web"}})
        world.k.ready("web")
        with world.k.log("web", APP) as said:
            said.until(lambda line: "ready" in line, "ready")
            for turn in range(asked.rotations):
                name = SECRETS[turn % len(SECRETS)]
                time.sleep(random.uniform(0, asked.period))
                begun = time.time()
                version = world.rotate(name, f"{name}-{turn}")
                told = heard(said, name, f"{name}-{turn}")
                whole.append(told - begun)
                seen.append(told - polls.first(version))
        often = sum("told" in line for line in world.k.said("web", APP))
    wrong = abs(often - asked.rotations)
    print(table(asked.period, whole, seen))
    print(f"| a rotation reaches the handler of the app in a pod, once | {asked.rotations} rotations | {wrong} | – |")
    print(conditions())
    return int(wrong > 0)


def heard(said: Lines, name: str, value: str) -> float:
    """Epoch seconds at which the handler ran with that value in its file."""
    return float(said.until(lambda line: line.get("files", {}).get(name) == value, f"{name} {value}")["told"])


def table(period: float, whole: list[float], seen: list[float]) -> str:
    def row(what: str, took: list[float]) -> str:
        hundredths = statistics.quantiles(took, n=100, method="inclusive")
        return f"| {what} | {len(took)} | {statistics.median(took):.3f} | {hundredths[98]:.3f} | {max(took):.3f} |"

    return "\n".join(
        [
            "| from … to the app's handler | rotations | median s | p99 s | most s |",
            "|---|---:|---:|---:|---:|",
            row(f"the rotation (`poll.period: {period:g}s`)", whole),
            row("AWS's answer that named the version", seen),
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
