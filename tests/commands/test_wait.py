"""`freshmount wait` beside the real agent: when it returns, and what it says when it gives up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.commands import wait
from agent.core.errors import StartError
from tests.support.aws import Fault, Proxy, QuickStandIn
from tests.support.monitored import free_port
from tests.support.paths import ROOT
from tests.support.pod import Pod
from tests.support.running import PATIENCE, ended, running, until

# What the chart's hook would have to wait for, beside the interpreter.
HEAVY = {"argparse", "json", "logging", "socket", "ssl", "yaml", "structlog", "botocore", "agent.config"}


class Place:
    """A pod, and the port at which its agent listens."""

    def __init__(self, pod: Pod) -> None:
        self.pod, self.port = pod, free_port()
        pod.put("db", "value-1")
        self.pod.write(pod.secret("db", "{path: db}"))
        self.listen("127.0.0.1")

    def listen(self, host: str) -> None:
        text = self.pod.config.read_text()
        before = next(line for line in text.splitlines() if line.startswith("listen:"))
        self.pod.config.write_text(text.replace(before, f'listen: "{host}:{self.port}"'))

    def wait(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "agent", "wait", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "FRESHMOUNT_CONFIG": str(self.pod.config),
                "FRESHMOUNT_TERMINATION_LOG": str(self.termination_log),
            },
        )

    @property
    def termination_log(self) -> Path:
        path = self.pod.home / "termination-log"
        path.touch()
        return path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        yield Place(Pod(aws, proxy, tmp_path))


@pytest.mark.parametrize("told", [True, False], ids=["by its options", "by the config"])
@pytest.mark.parametrize("host", ["[::]", "127.0.0.1"])
def test_it_returns_when_all_is_published_and_not_before(place: Place, told: bool, host: str) -> None:
    """It is there before the agent, as a hook may be, and outlives a time in which AWS only fails."""
    place.listen(host)
    place.pod.proxy.fail(Fault.internal_error())
    with ended(place.wait(*([f"--port={place.port}", "--timeout=60s"] if told else []))) as waiting:
        assert waiting.poll() is None
        with running("run", place.pod.config) as agent:
            for _ in range(2):
                agent.event("secret failed")
            assert waiting.poll() is None and not (place.pod.volume / "..data").exists()
            place.pod.proxy.heal()
            assert waiting.wait(PATIENCE) == 0
            assert place.pod.tree() == {"db": b"value-1"}
            said = waiting.communicate()
    assert said == ("", "") and place.termination_log.read_text() == ""


def test_what_is_published_already_holds_nobody_up(place: Place) -> None:
    """A restart while AWS is away: every file is there as the config asks for it."""
    with running("init", place.pod.config) as init:
        assert init.wait() == 0
    place.pod.proxy.fail(Fault.internal_error())
    with running("run", place.pod.config), ended(place.wait(f"--port={place.port}", "--timeout=60s")) as waiting:
        assert waiting.wait(PATIENCE) == 0


def test_giving_up_it_says_what_the_agent_says(place: Place) -> None:
    """On standard error, which kubelet shows as the hook's message, and in the termination message."""
    place.pod.proxy.fail(Fault.access_denied())
    with running("run", place.pod.config) as agent:
        failed = agent.event("secret failed", secret="db")
        with ended(place.wait(f"--port={place.port}", "--timeout=1s")) as waiting:
            _, said = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 1
    assert failed["message"] in said and "db" in said
    assert failed["message"] in place.termination_log.read_text()


def test_an_agent_that_is_stuck_or_not_there_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wait._ANSWER < wait.GRACE / 4, "a hook is over long before kubelet ends the container"
    monkeypatch.setattr(wait, "_ANSWER", 0.3)
    with running("run", place.pod.config) as agent:
        agent.event("listening")
        agent.process.send_signal(signal.SIGSTOP)
        with pytest.raises(StartError, match=f"does not answer on port {place.port}"):
            wait.wait(str(place.pod.config), place.port, 0.5)
    with pytest.raises(StartError, match=f"does not answer on port {place.port}"):
        wait.wait(str(place.pod.config), place.port, 0.5)


def test_somebody_else_at_the_port_is_not_taken_for_the_agent(place: Place) -> None:
    """It accepts, answers 200, and says nothing of a generation."""
    with (
        socket.create_server(("127.0.0.1", place.port)) as other,
        ended(place.wait(f"--port={place.port}", "--timeout=1s")) as waiting,
    ):
        other.settimeout(0.05)

        def answered() -> bool:
            with suppress(TimeoutError):
                client, _ = other.accept()
                with client:
                    client.recv(1024)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return waiting.poll() is not None

        until(answered)
        _, said = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 1 and str(place.port) in said


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--port=70000", "--timeout=9s"], "port"), (["--port=0"], "port"), (["--timeout=30"], "30s")],
)
def test_a_slip_in_the_options_is_a_usage_error(place: Place, options: list[str], word: str) -> None:
    with ended(place.wait(*options)) as waiting:
        _, said = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 2 and word in said


def test_a_config_that_is_refused_is_told_with_its_line(place: Place) -> None:
    """Only where it is needed: with a port the config is the agent's business."""
    place.pod.config.write_text("kind: Config\n")
    with ended(place.wait()) as waiting:
        _, said = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 2 and f"{place.pod.config}:1:1" in said


def _as_the_chart_runs_it(port: int, timeout: str) -> subprocess.CompletedProcess[str]:
    """Without site-packages, so what it must not import cannot be; what it imported is on standard output."""
    script = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
leave = os._exit
def told(code):
    print(*sys.modules, flush=True)
    leave(code)
os._exit, sys.argv = told, ["freshmount", *sys.argv[1:]]
from image.start.launcher import entry
entry()
"""
    return subprocess.run(
        [sys.executable, "-IS", "-c", script, "wait", f"--port={port}", f"--timeout={timeout}"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_as_the_chart_runs_it_it_imports_next_to_nothing(place: Place) -> None:
    with running("run", place.pod.config) as agent:
        agent.ready()
        done = _as_the_chart_runs_it(place.port, "60s")
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert "agent.commands.wait" in loaded
    assert HEAVY.isdisjoint(loaded), HEAVY.intersection(loaded)


@pytest.mark.parametrize("port", [9, 60000, 65535])
def test_every_port_is_as_quick(port: int) -> None:
    """Nobody listens there; that it gave up is told by importing more, which is not what this is about."""
    done = _as_the_chart_runs_it(port, "1s")
    assert "argparse" not in done.stdout.split() and "yaml" not in done.stderr, done.stderr
