"""The controller's built image, run for real and locked down as in a cluster.

`make controller-image-test` runs it; IMAGE names the image, ENGINE the engine. The parts are tested on a cluster.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator

import pytest

from tests.support.running import until

ENGINE, IMAGE = os.environ["ENGINE"], os.environ["IMAGE"]
# podman would put writable tmpfs over /tmp and /run; docker does not.
READ_ONLY = ("--read-only", "--read-only-tmpfs=false") if ENGINE == "podman" else ("--read-only",)
LOCKED = (*READ_ONLY, "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65532:65532", "--network=host")
PYTHON = ("--entrypoint=python3.13", IMAGE, "-IOO", "-c")
ALONE = """
from agent.controller import process
from agent.controller.options import Listen
from agent.observe import log
log.configure("json", "info")
process.run(Listen("127.0.0.1", 0), lambda registry: [], log.logger())
"""


def engine(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ENGINE, *argv], capture_output=True, text=True, check=check)


@pytest.fixture
def alone() -> Iterator[str]:
    """The name of a container with the controller's process, which has no part: these want an API server."""
    name = f"freshmount-test-{uuid.uuid4().hex[:8]}"
    engine("run", "--detach", f"--name={name}", *LOCKED, *PYTHON, ALONE)
    yield name
    engine("rm", "--force", "--time=0", name, check=False)


def port(name: str) -> str:
    found = re.search(r'"port": (\d+)', engine("logs", name).stderr)
    return found[1] if found else ""


def test_it_serves_until_sigterm(alone: str) -> None:
    """As the first process of its container: metrics and probes, and no traceback at the end."""
    until(lambda: port(alone))
    for path in ("metrics", "livez", "readyz"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port(alone)}/{path}", timeout=60) as answer:
            assert answer.status == 200
    engine("kill", "--signal=TERM", alone)
    assert engine("wait", alone).stdout == "0\n"
    assert "Traceback" not in engine("logs", alone).stderr


def test_it_asks_for_a_part() -> None:
    """The command is there, and starts nothing that nobody named."""
    done = engine("run", "--rm", *LOCKED, IMAGE, "controller", check=False)
    assert done.returncode == 2 and "--external-secrets" in done.stderr


def test_it_starts_plainly_from_bytecode_alone() -> None:
    """Without the stand-ins and the one file of modules, which are for pods that wait; and without any source."""
    script = """if True:
        import importlib.util, pathlib
        print(importlib.util.find_spec("image"))
        print([str(path) for path in pathlib.Path("/usr").rglob("*.py")])
    """
    assert engine("run", "--rm", *LOCKED, *PYTHON, script).stdout.split() == ["None", "[]"]


@pytest.mark.parametrize("program", ["sh", "bash", "cat", "pip", "apt-get", "ls"])
def test_there_is_nothing_to_run_but_the_agent(program: str) -> None:
    """No shell, no tool, no package manager."""
    done = engine("run", "--rm", *LOCKED, f"--entrypoint={program}", IMAGE, check=False)
    assert done.returncode in (126, 127), done.stderr


def test_what_the_image_says_of_itself() -> None:
    """A numeric uid for runAsNonRoot, the command in vector form, the ports, the OCI labels."""
    (found,) = json.loads(engine("image", "inspect", IMAGE).stdout)
    config = found["Config"]
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["freshmount"] and not config.get("Cmd")
    assert sorted(config["ExposedPorts"]) == ["9106/tcp", "9443/tcp"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "freshmount-controller"
    for name in ("description", "licenses", "version", "revision"):
        assert labels[f"org.opencontainers.image.{name}"], name
