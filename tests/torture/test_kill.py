"""kill -9 before each system call of a publish and of a notification.

strace writes down the calls of the real process in one pass. Then each of them is the last: the process is killed when
it is about to make its k-th `openat`, `write` or `renameat`, and that call is not made. The next start is held to what
was promised, and is the victim of the next call. The process is a worker, alone or together with the resting process,
or that one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.sinks.volume.volume import Volume
from tests.support.aws import Fault
from tests.support.pod import Pod
from tests.support.resting import gone, rests, workers
from tests.support.running import Agent, running, until
from tests.torture.canary import CANARY, sealed
from tests.torture.conftest import Length, Report
from tests.torture.witness import TARGETS, Witness

FILES = "%file,%desc"  # all that the main thread does to the volume, and to its log
TELLING = "pidfd_open,pidfd_send_signal,utimensat,socket,connect,sendto,recvfrom"  # all that the other threads do
PATHS = {"db/user": "u", "db/password": "p", "api": "k"}

# Where the modules of Python, its libraries and the agent are. After the agent has replaced itself, Python finds them
# by 1,600 calls that only read and differ in nothing but the name: of these one in twenty is the last.
MODULES = tuple({sys.prefix, sys.base_prefix, str(Path(__file__).parents[2] / "agent")})
MODULES_EVERY = 20

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


class Scene:
    """One pod, and what is expected of it. `number` is the rotation that AWS holds."""

    def __init__(self, pod: Pod, witness: Witness) -> None:
        self.pod, self.witness = pod, witness
        self.number = 0
        self.violations: list[str] = []
        self.longest = 0.0
        self._told = witness.told()
        pod.put("db", "")
        pod.put("api", "")
        self.rotate()
        self.config = pod.write(
            pod.secret(
                "db",
                "{path: db/user, jmesPath: user}",
                "{path: db/password, jmesPath: password}",
                "{path: db.json, format: json}",
            ),
            pod.secret("api", "{path: api, jmesPath: v}"),
            notify=witness.config,
            period="60s",
        )

    def rotate(self) -> None:
        self.number += 1
        self._told = self.witness.told()
        self.pod.rotate("db", json.dumps({"user": f"u{self.number}", "password": f"p{self.number}", "canary": CANARY}))
        self.pod.rotate("api", sealed(f"k{self.number}"))

    def told(self) -> Counter[str]:
        """How often each target was told of the last rotation."""
        now = self.witness.told()
        return Counter({target: now[target] - self._told[target] for target in TARGETS})

    def told_at_least(self, times: int) -> bool:
        return min(self.told().values()) >= times

    def seen(self) -> set[int | str]:
        """The rotations that a reader sees who is pinned to `..data`, who reads by path, and who reads one file."""
        data = self.pod.volume / "..data"
        if not data.exists():
            return {"partial" for path in (*PATHS, "db.json") if (self.pod.volume / path).exists()}
        found: set[int | str] = set()
        for path, prefix in PATHS.items():
            for place in (data.resolve() / path, self.pod.volume / path):
                content = place.read_text()
                found.add(int(content[1:]) if content[:1] == prefix else f"torn {path}")
        combined = json.loads((self.pod.volume / "db.json").read_text())
        return found | {int(combined[key][1:]) for key in ("user", "password")}

    def expect(self, what: str, seen: Any, *allowed: Any) -> None:
        if seen not in allowed:
            self.violations.append(f"{what}: {seen}, not {' or '.join(map(str, allowed))}")

    def expect_clean(self, what: str) -> None:
        """Nothing but the layout is left in the volume."""
        current = int(os.readlink(self.pod.volume / "..data")[2:])
        known = {"..data", "..notified.json", "db", "db.json", "api", *(f"..{n}" for n in range(1, current + 1))}
        self.expect(f"{what}: leftovers", set(os.listdir(self.pod.volume)) - known, set())


@dataclass(frozen=True)
class Call:
    """The `ordinal`-th call of that name that a thread makes in one pass."""

    name: str
    ordinal: int


@contextmanager
def traced(pid: int, what: str, kill: Call | None, log: Path) -> Iterator[None]:
    """strace attached to a process, its main thread or for TELLING all of them, to write its calls down and to kill it
    before one of them."""
    argv = ["strace", "-y", "-s", "0", "-o", str(log), "-e", "signal=none", "-e", f"trace={what}"]
    argv += ["-f"] if what == TELLING else []
    argv += ["-e", f"inject={kill.name}:signal=KILL:when={kill.ordinal}"] if kill else []
    strace = subprocess.Popen([*argv, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    try:
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        assert "attached" in attached, attached
        yield
    finally:
        strace.terminate()
        try:
            strace.communicate(timeout=5)
        except subprocess.TimeoutExpired:  # it waits for a thread of a dead process that nobody has taken away yet
            strace.kill()
            strace.communicate()


def calls_in(log: Path) -> list[Call]:
    """The calls that strace wrote down, each once; of those that look for Python's modules one in MODULES_EVERY."""
    found: dict[Call, None] = {}
    counts: Counter[tuple[str, str]] = Counter()
    of_modules = 0
    for line in log.read_text().splitlines():
        if match := re.match(r"(?:(\d+) +)?([a-z_0-9]+)\(", line):
            counts[match[1], match[2]] += 1
            path = re.search(r'["<](/[^">]*)', line.replace("AT_FDCWD<", ""))
            of_a_module = bool(path and path[1].startswith(MODULES))
            of_modules += of_a_module
            if not of_a_module or of_modules % MODULES_EVERY == 0:
                found[Call(match[2], counts[match[1], match[2]])] = None
    return list(found)


@pytest.fixture
def scene(pod: Pod) -> Iterator[Scene]:
    with Witness(pod.home) as witness:
        yield Scene(pod, witness)


class Chain:
    """The victims, one after the other: the calls of a pass that nobody ends, then a pass for each that is the last."""

    def __init__(self, scene: Scene, length: Length, stride: int) -> None:
        self.scene = scene
        self.log = scene.pod.home / "strace.log"
        self.killed: Counter[str] = Counter()
        self._stride = length.choose(1, stride)

    def victims(self, go: Callable[[Call | None], bool]) -> Iterator[Call]:
        """Let `go` record a pass, then die at each of its calls (in the short version at every `stride`-th)."""
        assert not go(None)
        calls = calls_in(self.log)
        for call in calls[self._stride // 2 :: self._stride]:
            if go(call):
                self.killed[call.name] += 1
                yield call

    @property
    def tried(self) -> str:
        """What was tried, for the table."""
        assert self.killed, "nobody died"
        return f"{self.killed.total()} kills, {len(self.killed)} kinds of call"


class Held(NamedTuple):
    """A pass that waits for AWS's answer: its worker, and what the agent had said before."""

    worker: int
    said: Sequence[object]


@contextmanager
def held(scene: Scene, agent: Agent) -> Iterator[Held]:
    """A pass, up to AWS's first answer, which comes when `scene.pod.proxy` heals. The resting process stands still
    until the end, so that what a worker leaves can be looked at before the next one comes."""
    said = agent.seen.copy()
    scene.pod.proxy.fail(Fault.hold())
    asked = len(scene.pod.proxy.calls)
    agent.process.send_signal(signal.SIGUSR1)
    until(lambda: len(scene.pod.proxy.calls) > asked)
    (worker,) = workers(agent)
    agent.process.send_signal(signal.SIGSTOP)
    try:
        yield Held(worker, said)
    finally:
        agent.process.send_signal(signal.SIGCONT)


def _recovered(scene: Scene, agent: Agent, state: State, call: Call | None) -> None:
    """The files are those of the last rotation, and whoever is owed it was told, as often as is allowed."""
    until(lambda: scene.seen() == {scene.number} and scene.told_at_least(state.each))
    until(lambda: rests(agent) and not workers(agent))
    agent.pass_now()
    until(lambda: not workers(agent))
    for target, count in scene.told().items():
        scene.expect(f"before {call}: the last rotation told to {target}", count, *state.allowed(target))
    scene.expect_clean(f"before {call}")


@pytest.mark.parametrize("both", [True, False], ids=["both", "worker"])
@pytest.mark.parametrize(
    ("what", "promise", "stride"),
    [
        (FILES, "of a publish: one whole generation, every target notified, nothing left over", 59),
        (TELLING, "of a notification: none lost; doubled only between delivery and record", 5),
    ],
    ids=["publish", "notification"],
)
def test_a_worker_is_killed_at_each_call_of_a_pass(
    scene: Scene, length: Length, report: Report, what: str, promise: str, stride: int, both: bool
) -> None:
    """No reader sees anything but a whole set, and no change is lost, whether the resting process lives on or not."""
    chain = Chain(scene, length, stride)
    with running("init", scene.config) as agent:
        assert agent.wait() == 0
    state = State()

    def go(call: Call | None) -> bool:
        """Start, look at what the last kill left, rotate, die; alone, be followed by the next worker."""
        began = time.monotonic()
        with running("run", scene.config) as agent:
            _recovered(scene, agent.ready(), state, call)
            scene.longest = max(scene.longest, time.monotonic() - began)
            old = scene.number
            scene.rotate()
            with held(scene, agent) as passing:
                with traced(passing.worker, what, call, chain.log):
                    scene.pod.proxy.heal()
                    done = partial(_said, agent, "notified", len(TARGETS), passing.said)
                    until(lambda: gone(passing.worker) or done())
                died = gone(passing.worker)
                state.after(scene.told(), _written(scene.pod))
                scene.expect(f"{call}: readers see", scene.seen(), {old}, {scene.number})
                if state.delivered.total():
                    scene.expect(f"{call}: told before the files were there", scene.seen(), {scene.number})
                if died and both:
                    agent.process.kill()
            if died and not both:
                agent.event("pass failed")
                _recovered(scene, agent, state, call)
            if not (died and both):
                assert agent.stop() == 0
        return died

    for _ in chain.victims(go):
        pass
    who = "a worker and the resting process" if both else "a worker alone"
    report.row(f"kill -9 of {who} at each call {promise}", chain.tried, scene.violations, f"{scene.longest:.2f} s")


def test_the_resting_process_is_killed_at_each_call_of_a_pass(scene: Scene, length: Length, report: Report) -> None:
    """Its worker ends with it, at whatever it does: nothing torn, nothing lost, and the lock is free."""
    chain = Chain(scene, length, 17)
    with running("init", scene.config) as agent:
        assert agent.wait() == 0
    state = State()

    def go(call: Call | None) -> bool:
        began = time.monotonic()
        with running("run", scene.config) as agent:
            _recovered(scene, agent.ready(), state, call)
            scene.longest = max(scene.longest, time.monotonic() - began)
            old = scene.number
            scene.rotate()
            said = agent.seen.copy()
            with traced(agent.process.pid, "all", call, chain.log):
                agent.process.send_signal(signal.SIGUSR1)
                done = partial(_said, agent, "notified", len(TARGETS), said)
                until(lambda: agent.process.poll() is not None or (done() and not workers(agent)))
            died = agent.process.poll() == -signal.SIGKILL
            if not died:
                assert agent.stop() == 0
        _await_free(scene.pod)
        state.after(scene.told(), _written(scene.pod))
        scene.expect(f"{call}: readers see", scene.seen(), {old}, {scene.number})
        return died

    for _ in chain.victims(go):
        pass
    report.row(
        "kill -9 of the resting process at each call of a pass: its worker ends, none lost, the lock is free",
        chain.tried,
        scene.violations,
        f"{scene.longest:.2f} s",
    )


def _await_free(pod: Pod) -> None:
    """Wait until nobody has the volume's lock: then no process of the agent is left."""
    volume = Volume(str(pod.volume))
    until(lambda: volume.holder() is None)
    volume.close()


def _said(agent: Agent, event: str, times: int, before: Sequence[object]) -> bool:
    """Whether the agent has said so as often, not counting what it said before."""
    return [each["event"] for each in agent.seen[len(before) :]].count(event) >= times


@dataclass
class State:
    """What the last victim left: how often each target was told of the last rotation, and what is written down."""

    each: int = 0
    delivered: Counter[str] = field(default_factory=Counter)
    written: Mapping[str, bool] = field(default_factory=dict)

    def after(self, delivered: Counter[str], written: Mapping[str, bool]) -> None:
        self.each, self.delivered, self.written = 1, delivered, written

    def allowed(self, target: str) -> tuple[int, ...]:
        """How often it may have been told in the end. Doubled is only what was delivered and could not be written."""
        return (1, 2) if self.delivered[target] and not self.written[target] else (self.each,)


def _dies_before(agent: Agent, event: str) -> bool:
    """Wait until the agent is dead or has said so; whether it was killed."""
    until(lambda: agent.process.poll() is not None or _said(agent, event, 1, ()))
    return agent.process.poll() == -signal.SIGKILL


def _written(pod: Pod) -> dict[str, bool]:
    """The targets whose acceptance of what is published is written down."""
    volume = Volume(str(pod.volume))
    published = volume.read()
    volume.close()
    return {name: published.accepted.get(name, 0) >= published.generation for name in TARGETS}


@pytest.mark.parametrize(("command", "stride"), [("init", 61), ("run", 131)])
def test_the_first_generation_is_killed_at_each_call(
    scene: Scene, length: Length, report: Report, command: str, stride: int
) -> None:
    """There is all of it or nothing, the next start finishes it, and nobody is told of it."""
    chain, nobody = Chain(scene, length, stride), scene.witness.told()

    def go(call: Call | None) -> bool:
        shutil.rmtree(scene.pod.volume, ignore_errors=True)
        return _dies(scene, command, call, chain.log)

    for call in chain.victims(go):
        scene.expect(f"{call}: readers see", scene.seen(), set(), {scene.number})
        _finish(scene, call)
    scene.expect("told of a first generation", scene.witness.told(), nobody)
    report.row(
        f"kill -9 of `{command}` at each call of the first publish: all or nothing, no target notified",
        chain.tried,
        scene.violations,
        f"{scene.longest:.2f} s",
    )


def test_a_later_init_is_killed_at_each_call(scene: Scene, length: Length, report: Report) -> None:
    """The old set or the new one, the next start finishes it, and nobody is told of what `init` publishes."""
    chain, nobody = Chain(scene, length, 61), scene.witness.told()
    with running("init", scene.config) as agent:
        assert agent.wait() == 0

    def go(call: Call | None) -> bool:
        scene.rotate()
        return _dies(scene, "init", call, chain.log)

    for call in chain.victims(go):
        scene.expect(f"{call}: readers see", scene.seen(), {scene.number - 1}, {scene.number})
        _finish(scene, call)
    with running("run", scene.config) as agent:
        agent.ready()
        agent.pass_now()
    scene.expect("told of what init published", scene.witness.told(), nobody)
    report.row(
        "kill -9 of `init` at each call of a later publish: the old set or the new, no target notified",
        chain.tried,
        scene.violations,
        f"{scene.longest:.2f} s",
    )


def _dies(scene: Scene, command: str, call: Call | None, log: Path) -> bool:
    """Start the command, and kill it before that call, counted from AWS's first answer on."""
    hold = Fault.hold()
    scene.pod.proxy.fail(hold)
    asked = len(scene.pod.proxy.calls)
    with running(command, scene.config) as agent:
        until(lambda: len(scene.pod.proxy.calls) > asked)
        with traced(agent.process.pid, FILES, call, log):
            scene.pod.proxy.heal()
            died = _dies_before(agent, "published")
            code = agent.wait() if died or command == "init" else agent.stop()
        assert code in (0, -signal.SIGKILL)
        return code == -signal.SIGKILL


def _finish(scene: Scene, call: Call) -> None:
    """The next start: it publishes what AWS has, and leaves nothing of the last one."""
    began = time.monotonic()
    with running("init", scene.config) as agent:
        scene.expect(f"{call}: exit code of the next init", agent.wait(), 0)
    scene.longest = max(scene.longest, time.monotonic() - began)
    scene.expect(f"{call}: after the next start", scene.seen(), {scene.number})
    scene.expect_clean(f"{call}")
