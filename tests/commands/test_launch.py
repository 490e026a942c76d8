"""The first lines of a command, on real processes that are held while they import."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws import Proxy, QuickStandIn
from tests.support.pod import Pod
from tests.support.running import PATIENCE, until

# In the place of a library: says what the process is like by then, and waits for a word before that is imported.
HELD = """
import ctypes, os, resource, sys
prctl = ctypes.CDLL(None).prctl
print("importing", prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), flush=True)  # PR_GET_DUMPABLE
sys.stdin.readline()
sys.path.remove(os.path.dirname(os.path.dirname(__file__)))
del sys.modules[__name__]
__import__(__name__)
"""
# Whose import a command comes to.
LIBRARY = {"init": "structlog", "run": "structlog", "doctor": "urllib3", "check": "yaml", "plan": "yaml"}
MODULE = [sys.executable, "-m", "agent"]
STARTS = {
    "module": MODULE,
    "script": [sys.executable, "-c", "from agent.launch import entry; entry()"],
    "image": [sys.executable, "-c", "from image.start.launcher import entry; entry()"],
}
PRIVATE = "importing 0 0 0\n"
NUMBERS = signal.SIGTERM, signal.SIGINT
# The ordinary run has each start and each other command; a stop is looked at in the same moment, with the rest.
CLOSED = {("module", "doctor"), ("script", "plan"), ("image", "check")}
# And each pair of a start, a command and a signal.
STOPPED = {
    ("module", "run", signal.SIGTERM),
    ("module", "init", signal.SIGINT),
    ("script", "run", signal.SIGINT),
    ("script", "init", signal.SIGTERM),
    ("image", "run", signal.SIGTERM),
    ("image", "init", signal.SIGINT),
}


def cases(chosen: Collection[tuple[object, ...]], *values: Iterable[object]) -> list[Any]:
    """Every combination of these; those that are not chosen with --full alone."""
    rest = pytest.mark.full("each start, command and signal in another combination")
    return [pytest.param(*each, marks=[] if each in chosen else rest) for each in itertools.product(*values)]


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        pod = Pod(aws, proxy, tmp_path)
        pod.put("db", "pw-1")
        pod.write(pod.secret("db", "{path: db}"))
        yield pod


@contextmanager
def held(pod: Pod, argv: list[str], command: str, within: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """The command, which waits in an import until it reads a line; its standard output has said what it is like."""
    library = pod.home / "held" / LIBRARY[command]
    library.mkdir(parents=True)
    (library / "__init__.py").write_text(HELD)
    process = subprocess.Popen(
        [*within, *argv, command, "--config", str(pod.config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(library.parent), "FRESHMOUNT_LOG_FORMAT": "json"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(("start", "command"), cases(CLOSED, STARTS, LIBRARY))
def test_the_memory_is_closed_before_anything_is_imported(pod: Pod, start: str, command: str) -> None:
    """Of every command: the environment has credentials from the start."""
    with held(pod, STARTS[start], command) as process:
        assert said(process) == PRIVATE


@pytest.mark.parametrize(("start", "command", "number"), cases(STOPPED, STARTS, ("run", "init"), NUMBERS))
def test_a_stop_while_it_imports_is_no_death_and_is_not_lost(
    pod: Pod, start: str, command: str, number: signal.Signals
) -> None:
    """It ends as soon as it can, with the exit code of any stop, and has asked AWS for nothing."""
    with held(pod, STARTS[start], command) as process:
        assert said(process) == PRIVATE
        for each in (signal.SIGHUP, signal.SIGUSR1, number):
            process.send_signal(each)
        _, stderr = process.communicate("go\n", timeout=PATIENCE)
        assert process.returncode == {"run": 0, "init": 1}[command], stderr
        assert '"event": "stopped' in stderr
        assert pod.proxy.calls == [] and not (pod.volume / "db").exists()


def alone(process: subprocess.Popen[str]) -> int:
    """The pid, seen from here, of the first process in the namespace that `unshare` has made."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(until(lambda: children.read_text().split())[0])


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a pid namespace")
@pytest.mark.parametrize(("command", "code"), [("run", 0), ("init", 1), ("doctor", 143), ("check", 143)])
def test_a_stop_reaches_the_first_process_of_a_container(pod: Pod, command: str, code: int) -> None:
    """The kernel throws it away where nothing is prepared for it."""
    with held(pod, MODULE, command, ("unshare", "--pid", "--fork", "--kill-child")) as process:
        assert said(process) == PRIVATE
        os.kill(alone(process), signal.SIGTERM)
        _, stderr = process.communicate("go\n" if command in ("run", "init") else None, timeout=PATIENCE)
        assert process.returncode == code, stderr
