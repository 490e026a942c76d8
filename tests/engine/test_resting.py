"""What the resting process makes of workers that do anything but their work."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.core import crossing, rest, status
from agent.core.errors import ConfigError, Problem
from agent.core.hub import Answered, Silent
from agent.core.record import replace
from agent.core.rest import Account, Asking, Common
from agent.core.value import Fetched, SecretValue
from agent.engine.resting import STAYS_FOR, Resting
from agent.engine.worker import REPLACED
from tests.core.test_status import BEGIN

COMMON = Common("/config.yaml", None, "json", "info", "/volume", 0)
# A worker: reads a task, then does what its argument says. The answer is what it is given.
WORKER = """
import os, signal, socket, sys, time
asked = socket.socket(fileno=int(sys.argv[1]))
for line in asked.makefile("rb"):
    what, answer = sys.argv[2:]
    if what == "exit": os._exit(int(answer))
    if what == "kill": os.kill(os.getpid(), int(answer))
    if what == "hang": time.sleep(600)
    if what == "close": asked.shutdown(socket.SHUT_RDWR); time.sleep(600)
    asked.sendall(answer.encode() + b"\\n")
"""


class Log:
    """The events of the log."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

        self.info = self.warning = self.error = self._said

    def _said(self, event: str, **facts: Any) -> None:
        self.events.append((event, facts))


class Said:
    """A hub that says what a test lets it say."""

    def __init__(self) -> None:
        self.asked: list[Asking] = []
        self.said: list[Answered | Silent] = []
        self.closed = False

    def ask(self, asking: Asking) -> None:
        self.asked.append(asking)

    def reports(self) -> list[Answered | Silent]:
        said, self.said = self.said, []
        return said

    def close(self) -> None:
        self.closed = True


def account(**changes: Any) -> Account:
    due = time.monotonic() - 1
    return replace(Account(BEGIN, due, "text", 60.0, 30.0, "memory"), **changes)


class Scene:
    """A resting process whose workers do one thing."""

    def __init__(self, what: str = "answer", answer: object = "", **changes: Any) -> None:
        self.log, self.pids, self.replaced, self.stopped = Log(), list[int](), 0, False
        self.text = "text"
        self._argv = [sys.executable, "-c", WORKER]
        self.what, self.answer = what, str(answer)
        self.start: Callable[[int], int] = self._start
        self.hub = Said()
        self.resting = Resting(
            COMMON,
            account(**changes),
            self.log,
            start=self._start_one,
            read=self._read,
            stopped=lambda: self.stopped,
            replaced=self._replaced,
            hub=lambda: self.hub,
        )

    def _start_one(self, handle: int) -> int:
        return self.start(handle)

    def _start(self, handle: int) -> int:
        argv = [*self._argv, str(handle), self.what, self.answer]
        self.pids.append(os.posix_spawn(sys.executable, argv, os.environ))
        return self.pids[-1]

    def _read(self, path: str) -> str:
        if not self.text:
            raise ConfigError(path, (Problem(1, 1, "cannot be read"),))
        return self.text

    def _replaced(self) -> None:
        self.replaced += 1

    def answers(self, **changes: Any) -> None:
        self.what, self.answer = "answer", crossing.dump(account(**changes), rest.ACCOUNT, BEGIN.version)

    def failed(self) -> str:
        """Why the last pass failed: the one event there is."""
        ((event, facts),) = self.log.events
        assert event == "pass failed"
        assert self.resting.status.passes["error"] == BEGIN.passes["error"] + 1
        assert 0 < self.resting.until_next() <= 60
        return str(facts["message"])

    def none_left(self) -> bool:
        return all(not Path(f"/proc/{pid}").exists() for pid in self.pids)


@pytest.mark.parametrize(
    ("what", "answer", "noun"),
    [
        ("kill", signal.SIGKILL, "memory"),
        ("kill", signal.SIGSEGV, "SIGSEGV"),
        ("exit", 1, "exit code 1"),
        ("exit", 0, "without an answer"),
        ("close", "", "SIGKILL"),
        ("answer", "nonsense", "not understood"),
        ("answer", '{"version": "0", "value": 1}', "another version"),
    ],
)
def test_a_worker_that_does_not_work_is_a_failed_pass(what: str, answer: object, noun: str) -> None:
    """With a reason, and nothing is left of it; what is known stays as it was."""
    scene = Scene(what, answer)
    scene.resting.one_pass()
    assert noun in scene.failed()
    assert scene.none_left() and scene.replaced == 0
    assert scene.resting.status.secrets.keys() == BEGIN.secrets.keys()


@pytest.mark.parametrize(
    ("number", "noun"), [(errno.EAGAIN, "limit of processes"), (errno.ENOMEM, "memory"), (errno.EMFILE, "descriptor")]
)
def test_a_worker_that_cannot_be_started_is_a_failed_pass(number: int, noun: str) -> None:
    """And the next one is made when it can be."""
    scene = Scene()

    def start(_handle: int) -> int:
        raise OSError(number, os.strerror(number))

    before = len(os.listdir("/proc/self/fd"))
    scene.start = start
    scene.resting.one_pass()
    assert noun in scene.failed()
    assert len(os.listdir("/proc/self/fd")) == before
    scene.start = scene._start
    scene.answers(due=time.monotonic() + 600)
    scene.resting.one_pass()
    assert scene.pids == []  # not before its time
    scene.resting.expedite()
    scene.resting.one_pass()
    assert len(scene.pids) == 1 and scene.none_left()


def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.engine.resting._STARTING", 0.2)
    scene = Scene("hang", limit=0.0)
    scene.resting.one_pass()
    assert "did not end" in scene.failed() and scene.none_left()


def test_a_stop_ends_a_worker_that_hangs_and_is_no_failure() -> None:
    scene = Scene("hang")
    scene.resting._stopped = lambda: bool(scene.pids)
    scene.resting.one_pass()
    assert scene.log.events == [] and scene.none_left()


def test_a_worker_of_another_version_lets_the_agent_start_anew() -> None:
    scene = Scene("exit", REPLACED)
    scene.resting.one_pass()
    assert scene.replaced == 1


@pytest.mark.parametrize(("due", "stays", "left"), [(600.0, False, 0), (STAYS_FOR / 2, False, 1), (600.0, True, 1)])
def test_a_worker_stays_only_while_it_is_needed(due: float, stays: bool, left: int) -> None:
    scene = Scene()
    scene.answers(due=time.monotonic() + due, stays=stays)
    scene.resting.one_pass()
    assert sum(Path(f"/proc/{pid}").exists() for pid in scene.pids) == left
    scene.resting.close()
    assert scene.none_left() and scene.log.events == []


def test_nothing_is_started_while_nothing_is_due() -> None:
    """Neither for a signal about a config that did not change."""
    scene = Scene(due=time.monotonic() + 600)
    scene.resting.reload()
    scene.resting.one_pass()
    assert scene.pids == [] and 60 < scene.resting.until_next() <= 72


def test_a_config_that_cannot_be_read_hurries_no_failing_pass() -> None:
    """Else a descriptor that is missing would make the loop spin."""
    scene = Scene("exit", 1, due=time.monotonic() + 600)
    scene.text = ""
    scene.resting.reload()
    scene.resting.one_pass()
    assert len(scene.pids) == 1
    for _ in range(3):
        scene.resting.reload()
        assert scene.resting.until_next() > 0
        scene.resting.one_pass()
    assert len(scene.pids) == 1


def test_the_answer_is_what_is_known_then() -> None:
    scene = Scene()
    after = status.reloaded(BEGIN, 77.0, success=True)
    scene.answers(status=after, due=time.monotonic() + 600)
    scene.resting.one_pass()
    assert replace(scene.resting.status, turns_by=0.0) == replace(after, turns_by=0.0)
    assert scene.resting.status.turns_by > time.monotonic()


def test_no_value_crosses() -> None:
    """There is no form for it, wherever it is put."""
    for value in (
        SecretValue(b"canary", text=True),
        b"canary",
        Fetched("v", (), None, SecretValue(b"canary", text=True)),
    ):
        with pytest.raises(TypeError) as raised:
            crossing.dump(account(memory=value), rest.ACCOUNT, "1")
        assert "canary" not in str(raised.value)
