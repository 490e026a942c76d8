"""What the agents of many pods take of one node's memory, as the kernel counts it.

    python -m tests.cluster memory [--pods 1,10,30]

Each is measured at rest, between two passes.
The pods are those of `start`. Of each agent's container: the working set, by which kubelet evicts (usage without
inactive pages of files), and the proportional share (PSS), in which a page that n processes have in common counts for
an nth. Pages of files are charged to whoever read them first, so the working set of later pods is smaller.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.cluster.kube import Object, container
from tests.cluster.node import CGROUPS
from tests.cluster.start import conditions, prepared, rendered
from tests.cluster.world import AGENT
from tests.support.running import until

MIB = 1 << 20


class Used(NamedTuple):
    """Bytes of one container."""

    working_set: int
    pss: int
    anonymous: int


def place(pod: Object, name: str) -> Path:
    """The cgroup of a container of a pod on this machine, where its memory is counted."""
    identity = container(pod, name)["containerID"].rpartition("/")[2]
    # cgroup v1 has a hierarchy for memory, v2 has one for all.
    found = (path for root in ("memory", ".") for path in (CGROUPS / root).rglob(f"*{identity}*"))
    return next(path for path in found if path.is_dir())


def processes(pod: Object, name: str) -> list[int]:
    """The pids of a container, as this machine has them."""
    return [int(pid) for pid in (place(pod, name) / "cgroup.procs").read_text().split()]


def rests(pod: Object) -> bool:
    """Whether the agent's container has the resting process alone, without a worker, and that watches the config.

    It begins to watch last. A moment after it became the resting process it has a third of its memory.
    """
    found = processes(pod, AGENT)
    if len(found) != 1:
        return False
    with suppress(FileNotFoundError):  # a descriptor that it has closed since
        opened = {os.readlink(each) for each in Path(f"/proc/{found[0]}/fd").iterdir()}
        command = Path(f"/proc/{found[0]}/cmdline").read_bytes().split(b"\0")
        return b"rest" in command and "anon_inode:inotify" in opened
    return False


def used(pod: Object) -> Used:
    """Of the agent's container."""
    where = place(pod, AGENT)
    usage = next(path for name in ("memory.usage_in_bytes", "memory.current") if (path := where / name).exists())
    known = dict(line.split() for line in (where / "memory.stat").read_text().splitlines())
    inactive = int(known.get("total_inactive_file") or known["inactive_file"])
    pss = anonymous = 0
    for pid in processes(pod, AGENT):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        shares = {name.rstrip(":"): int(size) << 10 for name, size, _ in (line.split() for line in lines)}
        pss, anonymous = pss + shares["Pss"], anonymous + shares["Pss_Anon"]
    return Used(int(usage.read_text()) - inactive, pss, anonymous)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster memory")
    parser.add_argument("--pods", type=lambda text: sorted(map(int, text.split(","))), default=[1, 10, 30])
    asked = parser.parse_args(arguments)
    found: dict[int, list[Used]] = {}
    with prepared() as (world, helm):
        pod = rendered(world, helm, "native-hook", poll={"period": "1h"})
        names: list[str] = []
        for count in asked.pods:
            new = [f"web-{number}" for number in range(len(names), count)]
            for name in new:
                world.k.apply({**pod, "metadata": {"name": name}})
                world.k.ready(name)
            names += new
            pods = [world.k.get("pod", name) for name in names]
            until(lambda pods=pods: all(map(rests, pods)))
            found[count] = [used(pod) for pod in pods]
    print(table(found))
    return 0


def table(found: dict[int, list[Used]]) -> str:
    lines = [
        "| pods | working set, median MiB | PSS, median MiB | of it anonymous | all agents together, PSS MiB |",
        "|---:|---:|---:|---:|---:|",
    ]
    for count, each in found.items():
        middle = [statistics.median(column) / MIB for column in zip(*each, strict=True)]
        together = sum(one.pss for one in each) / MIB
        lines.append(f"| {count} | {middle[0]:.1f} | {middle[1]:.1f} | {middle[2]:.1f} | {together:.0f} |")
    first, last = min(found), max(found)
    more = (sum(one.pss for one in found[last]) - sum(one.pss for one in found[first])) / MIB / max(1, last - first)
    return "\n".join([*lines, f"Each further pod: {more:.1f} MiB. {conditions()}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
