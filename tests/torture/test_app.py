"""The app at its worst: it dies, comes back, loses its pid to somebody else, is not ready, hangs, answers nonsense.

Nothing is lost, nothing is doubled, and never is another process told.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.pod import Pod
from tests.support.running import Agent, running, until
from tests.torture.canary import sealed
from tests.torture.conftest import Length, Report

# Says what it read at its start and at each SIGHUP, and how often it was told; deaf until it is asked to listen.
APP = """
import os, signal, sys
path, pid_file, name = sys.argv[1:4]
open("/proc/self/comm", "w").write(name)
def read(why):
    # Not by print: a stream refuses to be entered again from a handler.
    os.write(1, f"{why} {open(path).read()}\\n".encode())
def listen(*_):
    signal.signal(signal.SIGHUP, lambda *_: read("hup"))
    os.write(1, b"listens -\\n")
signal.signal(signal.SIGUSR1, listen)
if "deaf" not in sys.argv: listen()
read("start")
if pid_file != "-": open(pid_file, "w").write(str(os.getpid()))
while True: signal.pause()
"""


class App:
    """One process of the app, or of a bystander; `lines` is what it said."""

    def __init__(self, pod: Pod, name: str, pid_file: Path | None, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", APP, str(pod.volume / "db"), str(pid_file or "-"), name, *words],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        until(lambda: self.said("start"))
        if pid_file:
            until(lambda: pid_file.exists() and pid_file.read_text() == str(self.process.pid))

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    def said(self, why: str) -> list[str]:
        """What it read for that reason, in order."""
        return [line.split()[1] for line in self.lines if line.split()[0] == why]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Scene:
    """A pod with a secret that rotates, and an app that is signalled."""

    def __init__(self, pod: Pod, by_name: bool) -> None:
        self.pod, self.number = pod, 0
        self.name = f"app{os.getpid() % 10**6}"
        self.pid_file = None if by_name else pod.home / "app.pid"
        self.apps: list[App] = []
        self.violations: list[str] = []
        pod.put("db", sealed("0"))
        process = f"{{name: {self.name}}}" if by_name else f"{{pidFile: {pod.home}/app.pid}}"
        self.config = pod.write(
            pod.secret("db", "{path: db, jmesPath: v}"),
            notify=(f"{{name: app, signal: SIGHUP, process: {process}}}",),
            period="60s",
        )

    def start(self, *words: str) -> App:
        self.apps.append(App(self.pod, self.name, self.pid_file, *words))
        return self.apps[-1]

    def bystander(self) -> App:
        self.apps.append(App(self.pod, f"by{os.getpid() % 10**6}", None))
        return self.apps[-1]

    def rotate(self, agent: Agent) -> None:
        self.number += 1
        self.pod.rotate("db", sealed(str(self.number)))
        agent.process.send_signal(signal.SIGUSR1)
        until(lambda: self.pod.read("db") == str(self.number))

    def settled(self, agent: Agent) -> bool:
        agent.pass_now()
        return agent.metrics()['notification_pending{target="app"}'] == 0

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.violations.append(f"{what}: {found}, not {wanted}")


@contextmanager
def scene_of(pod: Pod, *, by_name: bool) -> Iterator[Scene]:
    scene = Scene(pod, by_name)
    with running("init", scene.config) as agent:
        assert agent.wait() == 0
    try:
        yield scene
    finally:
        for app in scene.apps:
            app.end()


@pytest.mark.parametrize("by_name", [True, False], ids=["name", "pid file"])
def test_an_app_that_dies_and_comes_back_always_has_the_latest(
    pod: Pod, length: Length, report: Report, by_name: bool
) -> None:
    """Killed at a random moment around the signal: whoever lives in the end started with the latest or was told of it,
    each process at most once per change, and the bystander never."""
    turns, rng = length.choose(60, 4), random.Random(3)
    with scene_of(pod, by_name=by_name) as scene, running("run", scene.config) as agent:
        agent.ready()
        bystander = scene.bystander()
        for _ in range(turns):
            app = scene.start()
            scene.rotate(agent)
            if rng.random() < 0.7:
                time.sleep(rng.uniform(0, 0.004))  # before, at, or after the signal
                app.end()
                app = scene.start()
            until(lambda: scene.settled(agent))
            until(lambda app=app: (app.said("start") + app.said("hup"))[-1] == str(scene.number))
            told = app.said("hup")
            scene.expect("told twice of one change", len(told), len(set(told)))
            app.end()
        scene.expect("the bystander was told", bystander.said("hup"), [])
        scene.expect("the bystander lives", bystander.process.poll(), None)
        assert agent.stop() == 0
    report.row(
        f"the app (by {'name' if by_name else 'pid file'}) is killed around the signal and comes back: "
        "it has the latest, is notified once, and no other process is",
        f"{turns} rotations, {len(scene.apps) - 1} starts of the app",
        scene.violations,
    )


def test_an_app_that_is_not_ready_is_told_when_it_is(pod: Pod, length: Length, report: Report) -> None:
    """It has no handler yet, which SIGHUP would end: it lives, and hears of the change once when it listens."""
    turns = length.choose(20, 2)
    with scene_of(pod, by_name=False) as scene, running("run", scene.config) as agent:
        agent.ready()
        for _ in range(turns):
            app = scene.start("deaf")
            scene.rotate(agent)
            scene.rotate(agent)
            agent.event("notification refused")
            scene.expect("it lives", app.process.poll(), None)
            app.process.send_signal(signal.SIGUSR1)
            until(lambda app=app: app.said("listens"))
            until(lambda: scene.settled(agent))
            until(lambda app=app: app.said("hup"))
            agent.pass_now()
            scene.expect("told", app.said("hup"), [str(scene.number)])
            app.end()
        assert agent.stop() == 0
    report.row(
        "an app without a handler is not ended, and notified once when it has one", f"{turns} apps", scene.violations
    )


def test_two_of_one_name_are_refused_and_none_of_them_told(pod: Pod, report: Report) -> None:
    """Nobody guesses. When one is left, it is told."""
    with scene_of(pod, by_name=True) as scene, running("run", scene.config) as agent:
        agent.ready()
        one, two = scene.start(), scene.start()
        scene.rotate(agent)
        refused = agent.event("notification refused")["message"]
        scene.expect("named", all(str(app.process.pid) in refused for app in (one, two)), True)
        agent.pass_now()
        scene.expect("told", one.said("hup") + two.said("hup"), [])
        two.end()
        until(lambda: scene.settled(agent))
        until(lambda: one.said("hup"))
        scene.expect("told", one.said("hup"), ["1"])
        assert agent.stop() == 0
    report.row(
        "two processes match: both are named, none is notified until only one is left", "1 rotation", scene.violations
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to choose the next pid")
def test_a_pid_that_somebody_else_has_now_is_not_signalled(pod: Pod, length: Length, report: Report) -> None:
    """The app is gone, its pid file is still there, and a bystander got its pid."""
    turns, reused = length.choose(30, 3), 0
    with scene_of(pod, by_name=False) as scene, running("run", scene.config) as agent:
        agent.ready()
        for _ in range(turns):
            app = scene.start()
            assert scene.pid_file is not None
            os.utime(scene.pid_file, (time.time() - 60,) * 2)  # it had been running for a while
            app.end()
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(app.process.pid - 1))
            bystander = scene.bystander()
            reused += bystander.process.pid == app.process.pid
            scene.rotate(agent)
            agent.event("notification refused")
            scene.expect("the bystander was told", bystander.said("hup"), [])
            bystander.end()
            app = scene.start()
            until(lambda: scene.settled(agent))
            scene.expect("the app that came back has the latest", app.said("start"), [str(scene.number)])
            app.end()
        assert agent.stop() == 0
    assert reused
    report.row(
        "a stale pid file whose pid a bystander has now: the bystander is never notified",
        f"{turns} rotations, {reused} pids used again",
        scene.violations,
    )


def _plant(path: Path, kind: str, true: Path) -> None:
    """Something that is no pid file."""
    match kind:
        case "huge":
            with path.open("wb") as handle:
                handle.truncate(1 << 40)
        case "a link":
            path.symlink_to(true)
        case "a FIFO":
            os.mkfifo(path)
        case "a directory":
            path.mkdir()
        case "gone":
            pass
        case "empty":
            path.touch()
        case _:
            path.write_text(kind)


NO_PID_FILES = ("empty", "huge", "a link", "a FIFO", "a directory", "gone", "1", "-1", "99999999", "pid")


def test_a_pid_file_that_is_none(pod: Pod, report: Report) -> None:
    """It is refused with a sentence, nobody is told, and the app is told once when it is mended."""
    with scene_of(pod, by_name=False) as scene, running("run", scene.config) as agent:
        agent.ready()
        app, path = scene.start(), scene.pid_file
        assert path is not None
        for kind in NO_PID_FILES:
            true = path.rename(path.with_suffix(".true"))
            _plant(path, kind, true)
            before = app.said("hup")
            scene.rotate(agent)
            refused = agent.event("notification refused")["message"]
            scene.expect(f"{kind}: it says which", str(path) in refused or "process 1 " in refused, True)
            scene.expect(f"{kind}: told", app.said("hup"), before)
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
            true.rename(path)
            until(lambda: scene.settled(agent))
            until(lambda before=before: app.said("hup") != before)
            scene.expect(f"{kind}: told when mended", app.said("hup"), [*before, str(scene.number)])
        assert agent.stop() == 0
    promise = (
        "a pid file that is empty, stale, huge, a link, a FIFO, …: refused, no target notified; "
        "notified once when corrected"
    )
    report.row(promise, f"{len(NO_PID_FILES)} kinds", scene.violations)


class Odd:
    """A server that answers each POST with the next of its answers, over and over; None is no answer at all."""

    def __init__(self, *answers: bytes | None) -> None:
        self.posts = 0
        self.accepted = 0
        self._answers = answers
        self._held: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/reload"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.recv(4096)
            answer = self._answers[self.posts % len(self._answers)]
            self.accepted += answer is not None and answer.startswith(b"HTTP/1.1 2")
            self.posts += 1
            if answer is not None:
                connection.sendall(answer.replace(b"SELF", self.url.encode()))
            self._held.append(connection)  # never closed: who waits for the end of a body waits long

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._held:
            connection.close()


GOOD, BAD = b"HTTP/1.1 200 OK\r\n\r\nendless", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: SELF\r\n\r\n"
ODD: dict[str, tuple[bytes | None, ...]] = {
    "answers 500 every second time": (BAD, GOOD),
    "redirects to itself, then accepts": (REDIRECT, GOOD),
    "answers nonsense, then accepts": (b"\x00\xff\r\n\r\n", GOOD),
    "never closes": (GOOD,),
    "hangs, then accepts": (None, GOOD),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_url_that_is_odd(pod: Pod, length: Length, report: Report, kind: str) -> None:
    """Each change is accepted exactly once, and AWS is polled all the while."""
    turns = length.choose(8, 1)
    if "hangs" in kind and not length.full:
        pytest.skip("takes the time-out of a URL: only in `make torture`")
    server, violations, longest = Odd(*ODD[kind]), [], 0.0
    pod.put("db", sealed("0"))
    config = pod.write(
        pod.secret("db", "{path: db, jmesPath: v}"), notify=(f"{{name: url, url: '{server.url}'}}",), period="60s"
    )
    try:
        with running("run", config) as agent:
            agent.ready()
            for turn in range(1, turns + 1):
                pod.rotate("db", sealed(str(turn)))
                began = time.monotonic()
                agent.process.send_signal(signal.SIGUSR1)
                agent.event("notified", target="url")
                longest = max(longest, time.monotonic() - began)
                agent.pass_now()
                if server.accepted != turn:
                    violations.append(f"rotation {turn}: accepted {server.accepted} times")
            if agent.usage().threads > 20:
                violations.append(f"{agent.usage().threads} threads")
            assert agent.stop() == 0
    finally:
        server.close()
    report.row(
        f"a URL that {kind}: each change accepted once",
        f"{turns} rotations, {server.posts} POSTs",
        violations,
        f"{longest:.1f} s",
    )
