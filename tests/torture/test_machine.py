"""A machine that does at random whatever can happen to an agent, and holds it to a model of its promises.

The passes and the volume are the real ones, in simulated time; the targets are real files. AWS is a fake.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from agent.core.decide import pending_deliveries
from agent.core.errors import REASONS
from agent.core.model import Bundle, PassResult, Published, Target, Touch, Wanted
from agent.sinks.volume.volume import Volume
from agent.targets.notify import Notified
from tests.support.adapters import Clock, Simulated, TableSource
from tests.support.words import bundle, output, wanted
from tests.torture.conftest import Length, Report

NAMES = ("a", "b", "c")
# What one secret may be projected into; a version that is no JSON object fits the first only.
SPECS: tuple[tuple[Callable[[str], Any], ...], ...] = (
    (lambda name: output(name, format="raw"),),
    (
        lambda name: output(f"{name}.d/user", jmes_path="user"),
        lambda name: output(f"{name}.d/pw", jmes_path="pw"),
    ),
    (lambda name: output(f"{name}.d", directory=True), lambda name: output(f"{name}.json", format="json")),
)
TARGETS = {"all": None, "only-a": frozenset("a")}
FAILURES = tuple(reason for reason in REASONS if reason not in ("projection", "publish"))
names = st.sampled_from(NAMES)


def content(name: str, number: int, good: bool) -> str:
    text = f'{{"user":"{name}-{number}","pw":"{name}-{number}"}}'
    return text if good else text[:-1]


class Machine(RuleBasedStateMachine):
    """`owes` holds per target the secrets whose change it is to be told of yet, each with its generation; `told` the
    generations that it accepted. What left the config is owed no more, but may still be told (`excused`).

    What a neighbour may take from the promises, and not more: when the record of acceptances is spoilt, who was told
    is told again (`retold`); when the manifest is gone and the process with it, nobody knows who was owed (`lost`).
    """

    passes = 0  # of all machines

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.clock = Clock()
        self.source = TableSource(self.clock)
        self.specs = dict.fromkeys(NAMES, 0)
        self.wanted = set(NAMES)
        self.owes: dict[str, dict[str, int]] = {}
        self.excused: set[str] = set()
        self.told: dict[str, list[int]] = {}
        self.retold = self.lost = False
        for name in NAMES:
            self.source.rotate(name, content(name, 1, True))

    @initialize()
    def begin(self) -> None:
        (self.home / "targets").mkdir()
        self.volume = Volume(str(self.home / "v"))
        self.agent = Simulated(self.bundle(), self.source, self.volume, self.clock, target=Notified)

    def bundle(self) -> Bundle:
        def made(name: str) -> Wanted:
            return wanted(name, outputs=tuple(spec(name) for spec in SPECS[self.specs[name]]), optional=name == "c")

        return bundle(
            *(made(name) for name in NAMES if name in self.wanted),
            targets=tuple(
                Target(name, Touch(str(self.home / "targets" / name)), watched, 0.0)
                for name, watched in TARGETS.items()
                if watched is None or watched <= self.wanted
            ),
        )

    # -- what happens

    @rule(name=names, good=st.booleans())
    def rotate(self, name: str, good: bool) -> None:
        self.source.rotate(name, content(name, len(self.source.versions[name]) + 1, good))

    @rule(name=names, reason=st.sampled_from(FAILURES))
    def fail(self, name: str, reason: Any) -> None:
        self.source.failing[name] = reason

    @rule()
    def recover(self) -> None:
        self.source.failing.clear()

    @rule(seconds=st.sampled_from([1.0, 70.0, 500.0]))
    def wait(self, seconds: float) -> None:
        end = self.agent.clock.seconds + seconds
        self.live()
        while self.agent.upcoming.next_due <= end:
            self.agent.clock.seconds = max(self.agent.clock.seconds, self.agent.upcoming.next_due)
            self.live()
        self.agent.clock.seconds = end

    @rule()
    def init(self) -> None:
        self.restart()
        self.live(quiet=True)

    @rule()
    def restart(self) -> None:
        self.volume.close()
        self.volume = Volume(str(self.home / "v"))
        self.agent.restart(self.volume)
        self.volume.read()  # the first that a process does, before a neighbour can come in between
        if self.lost:
            self.owes.clear()
            self.retold, self.lost = True, False

    @rule(name=names, spec=st.integers(0, len(SPECS) - 1))
    def edit(self, name: str, spec: int) -> None:
        self.specs[name] = spec
        self.agent.reload(self.bundle())

    @rule(name=names)
    def drop(self, name: str) -> None:
        if len(self.wanted) > 1:
            self.wanted.discard(name)
            self.agent.reload(self.bundle())
            there = {target.name for target in self.agent.bundle.targets}
            for target, pending in list(self.owes.items()):
                gone = set(pending) if target not in there else {name} & pending.keys()
                self.excused |= {target} if gone else set()
                self._paid(target, gone)

    def _paid(self, target: str, secrets: Iterable[str]) -> None:
        left = {name: g for name, g in self.owes.get(target, {}).items() if name not in secrets}
        self.owes.pop(target, None)
        if left:
            self.owes[target] = left

    @rule(name=names)
    def add(self, name: str) -> None:
        self.wanted.add(name)
        self.agent.reload(self.bundle())

    @rule()
    def refuse(self) -> None:
        if (self.home / "targets").exists():
            (self.home / "targets").rename(self.home / "away")

    @rule()
    def accept(self) -> None:
        """The targets accept again, and are told of all that they are owed, whether or not AWS answers."""
        if (self.home / "away").exists():
            (self.home / "away").rename(self.home / "targets")
        self._settle()
        assert self.owes == {}, "a change was lost"

    # -- what a neighbour does

    def _paths(self) -> list[Path]:
        data = self.home / "v" / "..data"
        return sorted(path for path in data.resolve().rglob("*") if path.is_file()) if data.is_symlink() else []

    @precondition(lambda self: self._paths())
    @rule(which=st.integers(0, 20), how=st.sampled_from(["remove", "alter", "replace", "link"]))
    def tamper(self, which: int, how: str) -> None:
        path = self._paths()[which % len(self._paths())]
        self.lost = self.lost or path.name == "..generation.json"
        if how == "alter":
            path.chmod(0o640)
            return
        path.unlink()
        if how == "replace":
            path.write_text("foreign")
        elif how == "link":
            path.symlink_to("/etc/hostname")

    @precondition(lambda self: self._paths())
    @rule(how=st.sampled_from(["data", "data to nowhere", "generation", "first components"]))
    def redirect(self, how: str) -> None:
        data = self.home / "v" / "..data"
        if how == "first components":
            for path in (self.home / "v").iterdir():
                if path.is_symlink() and path.name != "..data":
                    path.unlink()
        elif how == "generation":
            self.lost = True
            shutil.rmtree(data.resolve())
        else:
            data.unlink()
            if how == "data to nowhere":
                data.symlink_to("/nowhere")

    @rule(spoil=st.sampled_from(["garbage", "directory", "gone"]))
    def spoil_record(self, spoil: str) -> None:
        record = self.home / "v" / "..notified.json"
        if not (self.home / "v" / "..data").is_symlink():
            return
        self.retold = True
        record.rmdir() if record.is_dir() else record.unlink(missing_ok=True)
        if spoil == "garbage":
            record.write_text("{")
        elif spoil == "directory":
            record.mkdir()

    @rule(number=st.sampled_from([7, 40, 10**6, 10**14]))
    def plant(self, number: int) -> None:
        (self.home / "v" / f"..{number}").mkdir(exist_ok=True)
        (self.home / "v" / "..new-planted").mkdir(exist_ok=True)

    # -- what was promised

    def live(self, *, quiet: bool = False) -> None:
        """One pass, held against the model."""
        Machine.passes += 1
        before = self.volume.read()
        result = self.agent.do(quiet=quiet)
        assert self.agent.upcoming.next_due < float("inf")
        wanted = {secret.name: secret for secret in self.agent.bundle.secrets}
        if before.generation == 0 and result.generation_made:
            assert {name for name, secret in wanted.items() if not secret.optional} <= result.published.secrets.keys()
        # Only leaving the config removes a secret, whatever AWS says.
        assert (before.secrets.keys() & wanted.keys()) <= result.published.secrets.keys()
        self._readers_see_whole_versions(result)
        self._only_changes_are_changes(before, result)
        if result.generation_made and before.generation and not quiet:
            for target in self.agent.bundle.targets:
                for name in filter(target.watches, result.changed):
                    self.owes.setdefault(target.name, {})[name] = result.published.generation
        for delivery in result.deliveries:
            if delivery.accepted:
                self._told(delivery.target, delivery.generation)

    def _readers_see_whole_versions(self, result: PassResult) -> None:
        """Each published secret: all files of one version that AWS once held, but for what is damaged still."""
        for name, found in result.published.secrets.items():
            number = int(found.version_id[1:])
            whole = (self.source.versions[name][number - 1], f"{name}-{number}")
            for path in found.paths if name not in result.published.damaged else ():
                seen = (self.home / "v" / path).read_text()
                assert seen in whole, (path, seen)

    def _only_changes_are_changes(self, before: Published, result: PassResult) -> None:
        """A new version or another spec is one; a repair brings back what readers had."""
        for name, now in result.published.secrets.items() if before.generation else ():
            earlier = before.secrets.get(name)
            same = earlier and (earlier.version_id, earlier.fingerprint) == (now.version_id, now.fingerprint)
            assert (name in result.changed) == (not same), (name, earlier, now)

    def _told(self, target: str, generation: int) -> None:
        told = self.told.setdefault(target, [])
        pending = self.owes.get(target, {})
        if not self.retold and target not in self.excused:
            assert generation not in told, f"{target} was told twice of {generation}"
            assert pending, f"{target} was told of {generation} and was not owed it"
        told.append(generation)
        self._paid(target, {name for name, pending in pending.items() if pending <= generation})

    def _settle(self) -> None:
        for _ in range(4):
            self.agent.clock.seconds += 1000
            self.live()

    def teardown(self) -> None:
        """When everything is well again, everything is as it should be."""
        try:
            self.accept()
            self.source.failing.clear()
            for name in NAMES:
                self.rotate(name, True)
            self._settle()
            published = self.volume.read()
            assert not published.damage
            assert published.secrets.keys() == {s.name for s in self.agent.bundle.secrets}
            for name, found in published.secrets.items():
                assert found.version_id == f"v{len(self.source.versions[name])}"
            assert pending_deliveries(self.agent.bundle.targets, published) == ()
            assert self.owes == {}
            left = {name for name in os.listdir(self.home / "v") if name.startswith("..new-")}
            assert left == set()
        finally:
            self.volume.close()
            shutil.rmtree(self.home)


def test_whatever_happens_the_promises_hold(length: Length, report: Report) -> None:
    """Rotations, failures, restarts, config edits and a neighbour's tampering, in any order."""
    examples, most = length.choose(600, 20), length.choose(60, 40)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=most,
            deadline=None,
            derandomize=not length.full,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    report.row(
        "a machine of rotations, failures, restarts, edits and tampering against a model of the promises",
        f"{examples} lives of up to {most} steps, {Machine.passes:,} passes",
        [],
    )
