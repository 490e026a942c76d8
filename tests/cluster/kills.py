"""kill -9 of the agent in its pod, around a rotation: kubelet starts it again, and the app hears of every change.

    python -m tests.cluster kills [--kills N]

Each kill has a pod of its own, or kubelet's backoff would be what is measured. A change may be signalled twice if the
kill came between the delivery and its record. Nobody outside of the agent sees that: it is counted, and no violation.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time

from tests.cluster.kube import container
from tests.cluster.memory import processes
from tests.cluster.rotation import HANDLER, heard
from tests.cluster.start import conditions, prepared, rendered
from tests.cluster.world import AGENT, APP

NAME = "one"  # the secret that is rotated
PERIOD = 1.0  # seconds


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster kills")
    parser.add_argument("--kills", type=int, default=20)
    asked = parser.parse_args(arguments)
    recovered, doubled, violations = [], 0, 0
    with prepared() as (world, helm):
        timing = {"poll": {"period": f"{PERIOD:g}s"}, "notify": [world.hup()]}
        pod = rendered(world, helm, "native-hook", HANDLER, **timing)
        for turn in range(asked.kills):
            world.k.apply({**pod, "metadata": {"name": f"web-{turn}"}})
            agent = min(processes(world.k.ready(f"web-{turn}"), AGENT))  # a worker has started since
            with world.k.log(f"web-{turn}", APP) as said:
                said.until(lambda line: "ready" in line, "ready")
                wanted = [f"{turn}-a", f"{turn}-b"]
                world.rotate(NAME, wanted[0])
                time.sleep(random.uniform(0, 1.5 * PERIOD))
                os.kill(agent, signal.SIGKILL)
                killed = time.time()
                recovered.append(max(0.0, heard(said, NAME, wanted[0]) - killed))
                world.k.pod(lambda it: container(it, AGENT).get("restartCount") == 1, "restarted", f"web-{turn}")
                world.rotate(NAME, wanted[1])
                heard(said, NAME, wanted[1])
            told = [line["files"][NAME] for line in world.k.said(f"web-{turn}", APP) if "told" in line]
            doubled += len(told) - len(set(told))
            violations += sorted(set(told)) != wanted or told.count(wanted[0]) > 2 or told.count(wanted[1]) > 1
            world.k.kubectl("delete", "pod", f"web-{turn}", "--grace-period=0", "--force", "--wait=false")
    print(
        "| kill -9 of the agent in a pod, around a rotation: kubelet starts it again, each change reaches the handler "
        f"| {asked.kills} pods, {doubled} signalled twice | {violations} | {max(recovered):.1f} s |\n{conditions()}"
    )
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
