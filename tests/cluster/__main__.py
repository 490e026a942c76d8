"""make cluster, make cluster-down, make cluster-test.

python -m tests.cluster up            a node, until it is ended
python -m tests.cluster down          nothing of it any more
python -m tests.cluster load IMAGE …  lets it have images of this machine's engine
python -m tests.cluster aws NAME=VALUE …  a stand-in for AWS with these secrets, in its network, until Ctrl-C
python -m tests.cluster test [ARGS]   pytest on it, and down if it was not up before
python -m tests.cluster start [ARGS]  measures how long a pod takes to start, likewise
python -m tests.cluster rotation [ARGS]   how long a rotation takes to the app's handler
python -m tests.cluster memory [ARGS]     what the agents of many pods take of the node's memory
python -m tests.cluster kills [ARGS]      kill -9 of the agent in its pod, around a rotation
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.cluster import apps, build, images, inside, node

USAGE = (
    "python -m tests.cluster up | down | load IMAGE … | aws NAME=VALUE … | test [ARGUMENTS OF PYTEST] | "
    "start | rotation | memory | kills [--help]"
)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["up"]:
            it, _ = running()
            # Not to be exported: outside of the node's network it is of no use, and `test` would take it for another's.
            print(f"KUBECTL={it.kubectl}\nHELM={it.helm}\n$KUBECTL get nodes  # try it")
            print(f"# The kubeconfig, for programs in the node's network: {it.kubeconfig}")
            return 0
        case ["down"]:
            node.down(node.here())
            return 0
        case ["load", *names] if names:
            images.load_all(node.here(), names)
            return 0
        case ["aws", *secrets]:
            return run([*node.here().inside(), sys.executable, "-m", "tests.cluster.aws", *secrets], {})
        case ["test", *rest]:
            program = ["-m", "pytest", "-p", "no:cacheprovider", *(rest or ["tests/cluster"])]
            return elsewhere(program) if os.environ.get("KUBECONFIG") else here(program)
        case ["start" | "rotation" | "memory" | "kills" as figure, *rest]:
            return here(["-m", f"tests.cluster.{figure}", *rest])
    print(USAGE, file=sys.stderr)
    return 2


def running() -> tuple[node.Node, bool]:
    """A node that is ready, and whether it was started for this."""
    it = node.here()
    started = node.up(it)
    try:
        images.load_pause(it)
    except BaseException:
        if started:
            node.down(it)
        raise
    return it, started


def here(program: list[str]) -> int:
    """A program of Python's on a node of this machine, with the image that `make image` made.

    With the apps of examples/, too, if CLUSTER_EXAMPLES is set.
    """
    it, started = running()
    try:
        image, app = named("CLUSTER_IMAGE", images.built_name()), named("CLUSTER_APP_IMAGE", "python:3.13-slim")
        controller = named("CLUSTER_CONTROLLER_IMAGE", images.built_name("freshmount-controller"))
        if not images.is_built(controller):
            controller = ""
        images.load_all(it, filter(None, (image, app, controller)))
        if os.environ.get("CLUSTER_EXAMPLES"):
            apps.load(it)
        environment = {
            "KUBECONFIG": str(it.kubeconfig),
            "CLUSTER_KUBECTL": f"{it.programs['kubernetes']}/kubectl",
            "CLUSTER_IMAGE": image,
            "CLUSTER_APP_IMAGE": app,
            "CLUSTER_CONTROLLER_IMAGE": controller,
            "CLUSTER_AWS_HOST": inside.ADDRESS,
            "CLUSTER_OWN_NODE": "1",
        }
        return run([*it.inside(), sys.executable, *program], environment)
    finally:
        if started and not os.environ.get("CLUSTER_KEEP"):
            node.down(it)


def elsewhere(program: list[str]) -> int:
    """It on the cluster that KUBECONFIG names. It has to be told what it can pull and where AWS is played."""
    missing = [name for name in ("CLUSTER_IMAGE", "CLUSTER_AWS_HOST") if not os.environ.get(name)]
    if missing:
        raise node.Unusable(
            f"KUBECONFIG is set, so the tests would run on that cluster; they also need {' and '.join(missing)} "
            "(an image that it can pull; an address of this machine that its pods reach). "
            "For a node of this machine, unset KUBECONFIG."
        )
    return run([sys.executable, *program], {"CLUSTER_KUBECTL": named("CLUSTER_KUBECTL", "kubectl")})


def run(command: list[str], environment: dict[str, str]) -> int:
    with subprocess.Popen(command, env={**os.environ, **environment}, cwd=images.ROOT) as running:
        # A Ctrl-C reaches it, too, and it deletes its namespaces; wait for it, then for what comes after it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return running.wait()


def named(variable: str, otherwise: str) -> str:
    return os.environ.get(variable) or otherwise


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main(sys.argv[1:]))
    except (build.Unbuildable, node.Unusable) as problem:
        sys.exit(f"cluster: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
