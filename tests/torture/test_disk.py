"""The disk at its worst, under the real process: full, without inodes, read-only, not ours, out of descriptors; and a
neighbour who shares the volume and wants harm."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.aws import Fault
from tests.support.pod import Pod
from tests.support.resting import rests, workers
from tests.support.running import Agent, running, until
from tests.torture.canary import CANARY
from tests.torture.conftest import Length, Report
from tests.torture.outside import Outside

FILES = {"db/user": "user", "db/password": "password"}
# Root, but without the powers that let root write where its uid may not.
POWERLESS = ("setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount and to plant files of another uid"),
    pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed"),
]


class Rotating:
    """A pod whose secret rotates; every file of a rotation carries its number."""

    def __init__(self, pod: Pod, size: int = 100) -> None:
        self.pod, self._filling, self.number = pod, "x" * size, 0
        self.violations: list[str] = []
        pod.put("db", self.value())
        pod.put("api", "api")
        self.config = pod.write(
            pod.secret("db", *(f"{{path: {path}, jmesPath: {key}}}" for path, key in FILES.items()),
                       "{path: db.json, format: json}"),
            pod.secret("api", "{path: api}"),
            notify=(f"{{name: marker, touch: {pod.home}/marker}}",),
            period="60s",
        )  # fmt: skip

    def value(self) -> str:
        values = {key: f"{self.number} {key} {self._filling}" for key in FILES.values()}
        return json.dumps({**values, "canary": CANARY})

    def rotate(self) -> None:
        self.number += 1
        self.pod.rotate("db", self.value())

    def seen(self) -> set[str]:
        """The rotations that a reader finds; what it cannot read is a word."""
        data, found = self.pod.volume / "..data", set()
        for path, key in FILES.items():
            content = (data.resolve() / path).read_text()
            number, *rest = content.split(" ")
            found.add(number if rest == [key, self._filling] else f"torn {path}")
        found.add(json.loads((data.resolve() / "db.json").read_text())["user"].split(" ")[0])
        return found

    def expect_whole(self, what: str, *numbers: int) -> None:
        try:
            seen = self.seen()
        except (OSError, ValueError) as error:
            seen = {type(error).__name__}
        if seen not in [{str(number)} for number in numbers]:
            self.violations.append(f"{what}: readers see {seen}, not one of {numbers}")

    def pass_now(self, agent: Agent) -> list[dict[str, str]]:
        """One pass; what it said."""
        said = len(agent.seen)
        agent.pass_now()
        return agent.seen[said:]


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[Path]:
    """A tmpfs of its own."""
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", path], check=False).returncode:
        pytest.skip("mount is not permitted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def remount(path: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(("remount", *options)), path], check=True)


@pytest.mark.parametrize(("option", "unit", "most"), [("size", 4096, 24), ("nr_inodes", 1, 12)])
def test_a_disk_that_fills_at_every_write(
    pod: Pod, length: Length, report: Report, option: str, unit: int, most: int
) -> None:
    """What was published stays as it was, the log says what is missing, and it goes on when there is room."""
    tried = failed = 0
    with mounted(pod.home / "small", "size=4m") as small:
        pod.volume = small / "secrets"
        scene = Rotating(pod, size=5000)
        with running("run", scene.config) as agent:
            agent.ready()
            for room in range(0, most, length.choose(1, 8)):
                scene.expect_whole(f"before {room}", scene.number)
                old = scene.number
                scene.rotate()
                used = os.statvfs(small)
                taken = (
                    (used.f_blocks - used.f_bfree) * used.f_frsize if option == "size" else used.f_files - used.f_ffree
                )
                remount(small, f"{option}={taken + room * unit}")
                said = scene.pass_now(agent)
                tried += 1
                if trouble := [event for event in said if event["event"] == "volume"]:
                    failed += 1
                    if "no space left" not in trouble[0]["message"]:
                        scene.violations.append(f"room {room}: it said {trouble[0]['message']}")
                    scene.expect_whole(f"room {room}", old, scene.number)
                remount(small, "size=4m", "nr_inodes=10000")
                scene.pass_now(agent)
                scene.expect_whole(f"after {room}", scene.number)
                leftovers = [name for name in os.listdir(pod.volume) if name.startswith("..new-")]
                scene.violations += [f"room {room} left {name}" for name in leftovers]
            assert agent.stop() == 0
    assert failed
    report.row(
        f"the volume runs out of {'space' if option == 'size' else 'inodes'} at each write of a publish: "
        "the old files stay whole, the next pass has the new ones",
        f"{tried} rotations, {failed} of them refused",
        scene.violations,
    )


@dataclass(frozen=True)
class Spoilt:
    """A volume that cannot be written, and what the agent says of it."""

    name: str
    begin: Callable[[Path], object]
    end: Callable[[Path], object]
    said: str


def _foreign(volume: Path) -> None:
    """A sticky directory of another uid, with its file where our record is to be."""
    record = volume / "..notified.json"
    record.unlink(missing_ok=True)
    record.write_text("{}")
    os.chown(record, 65534, 65534)
    os.chown(volume, 65534, 65534)
    volume.chmod(0o1777)


def _ours(volume: Path) -> None:
    os.chown(volume, 0, 0)
    volume.chmod(0o2755)
    with suppress(FileNotFoundError):
        (volume / "..notified.json").unlink()


SPOILT = (
    Spoilt("is read-only", lambda v: remount(v.parent, "ro"), lambda v: remount(v.parent, "rw"), "read-only"),
    Spoilt("may not be written", lambda v: v.chmod(0o555), lambda v: v.chmod(0o2755), "mode 0555"),
    Spoilt("is sticky and has a foreign record", _foreign, _ours, "uid 65534"),
)


@pytest.mark.parametrize("spoilt", SPOILT, ids=lambda s: s.name)
def test_a_volume_that_cannot_be_written(pod: Pod, report: Report, spoilt: Spoilt) -> None:
    """The files stay, the log names the cause, and what is owed is told when it can be."""
    with mounted(pod.home / "small", "size=4m") as small:
        pod.volume = small / "secrets"
        scene = Rotating(pod)
        with running("run", scene.config, within=POWERLESS) as agent:
            agent.ready()
            spoilt.begin(pod.volume)
            scene.rotate()
            said = scene.pass_now(agent)
            scene.expect_whole("meanwhile", 0, 1)
            troubles = [event["message"] for event in said if event["event"] == "volume"]
            if not any(spoilt.said in trouble for trouble in troubles):
                scene.violations.append(f"it said {troubles}")
            spoilt.end(pod.volume)
            scene.pass_now(agent)
            until((pod.home / "marker").exists)
            scene.expect_whole("afterwards", 1)
            assert agent.stop() == 0
    report.row(
        f"the volume {spoilt.name}: the files stay, the log says why, nothing is lost", "1 rotation", scene.violations
    )


def test_no_descriptors_are_left(pod: Pod, length: Length, report: Report) -> None:
    """At each open of a pass: nothing is taken for missing, nothing is lost."""
    scene, refused = Rotating(pod), 0
    most = length.choose(14, 4)
    with running("run", scene.config) as agent:
        agent.ready()
        scene.rotate()
        scene.pass_now(agent)
        for room in range(most):
            until(lambda: rests(agent) and not workers(agent))
            old = scene.number
            scene.rotate()
            said, before, asked = len(agent.seen), agent.passes(), len(pod.proxy.calls)
            pod.proxy.fail(Fault.hold())
            agent.process.send_signal(signal.SIGUSR1)
            until(lambda asked=asked: len(pod.proxy.calls) > asked)
            (worker,) = workers(agent)
            limit = [number for number in range(1000) if str(number) not in os.listdir(f"/proc/{worker}/fd")][room]
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
            pod.proxy.heal()
            until(lambda before=before: agent.passes() > before)
            refused += any(event["event"] in ("volume", "secret failed") for event in agent.seen[said:])
            scene.violations += [f"room {room}: {e}" for e in agent.seen[said:] if e["event"] == "repaired"]
            scene.expect_whole(f"room {room}", old, scene.number)
            scene.pass_now(agent)
            scene.expect_whole(f"after room {room}", scene.number)
        assert agent.stop() == 0
    assert refused
    report.row(
        "no file descriptors are left, at each open of a pass: nothing taken for missing, nothing lost",
        f"{most} rotations, {refused} of them refused",
        scene.violations,
    )


class Vandal:
    """A neighbour of the same uid that shares the volume, and does what it can to lead the agent astray."""

    def __init__(self, volume: Path, outside: Path, rng: random.Random) -> None:
        self.volume, self.outside, self.rng = volume, outside, rng
        self.done = 0

    def strike(self) -> None:
        """One of its tricks. What stands in its way has just been replaced by the agent, so errors are its own."""
        trick = self.rng.choice(
            [self.link, self.plant, self.redirect_data, self.swap_parent, self.swap_generation, self.leftovers]
        )
        with suppress(OSError):
            trick()
            self.done += 1

    def link(self) -> None:
        """A first component, or a record of ours, is something else now."""
        name = self.rng.choice(["db", "db.json", "api", "..notified.json"])
        self._replace(self.volume / name, self.outside / name)

    def plant(self) -> None:
        """Something else inside of the generation that is published."""
        name = self.rng.choice(["db/user", "db/password", "db.json", "api", "..generation.json"])
        self._replace((self.volume / "..data").resolve() / name, self.outside / name)

    def redirect_data(self) -> None:
        self._replace(self.volume / "..data", self.outside)

    def swap_parent(self) -> None:
        """A directory that the agent may be about to write into is a link out of the volume."""
        newest = max((int(p.name[2:]) for p in self.volume.iterdir() if p.name[2:].isdigit()), default=0)
        self._replace(self.volume / f"..{newest}" / "db", self.outside / "db", link=True)

    def swap_generation(self) -> None:
        newest = max((int(p.name[2:]) for p in self.volume.iterdir() if p.name[2:].isdigit()), default=0)
        self._replace(self.volume / f"..{newest + self.rng.choice((0, 1))}", self.outside, link=True)

    def leftovers(self) -> None:
        """What looks like a leftover of ours and leads out, is deep, or has a huge number."""
        name = self.volume / self.rng.choice([f"..new-{self.rng.random()}", f"..{self.rng.randint(50, 10**14)}"])
        if self.rng.random() < 0.5:
            name.symlink_to(self.outside)
        else:
            (name / "a" / "b" / "c").mkdir(parents=True)
            (name / "a" / "link").symlink_to(self.outside)

    def _replace(self, path: Path, there: Path, *, link: bool = False) -> None:
        if not path.parent.resolve().is_relative_to(self.volume):
            return  # through a link of its own, out of the volume
        aside = self.volume / f"vandal-{self.rng.random()}"
        how = "link" if link else self.rng.choice(["link", "hard link", "fifo", "directory", "huge", "nothing"])
        if how == "link":
            aside.symlink_to(there)
        elif how == "hard link":
            os.link(self.outside / "file", aside)
        elif how == "fifo":
            os.mkfifo(aside)
        elif how == "directory":
            (aside / "x").mkdir(parents=True)
        elif how == "huge":
            with aside.open("wb") as handle:
                handle.truncate(1 << 40)
        if path.is_dir() and not path.is_symlink():
            path.rename(self.volume / f"vandal-{self.rng.random()}")
        elif how in ("directory", "nothing"):
            path.unlink(missing_ok=True)
        if how != "nothing":
            aside.rename(path)


def test_a_hostile_neighbour_leads_nothing_out_of_the_volume(pod: Pod, length: Length, report: Report) -> None:
    """It strikes at random while the agent rotates: nothing outside is read, written or removed, the agent lives and
    says what it found, and when the neighbour is gone everything is as it should be."""
    strikes = length.choose(6000, 250)
    scene, rng = Rotating(pod), random.Random(11)
    with Outside(pod.home) as outside, running("run", scene.config) as agent:
        agent.ready()
        pod.volume.chmod(0o777)
        vandal = Vandal(pod.volume, outside.path, rng)
        while vandal.done < strikes:
            scene.rotate()
            agent.process.send_signal(signal.SIGUSR1)
            for _ in range(rng.randint(1, 8)):
                vandal.strike()
                time.sleep(rng.uniform(0, 0.003))  # to fall between two steps of the agent
            assert agent.process.poll() is None, agent.stderr
        for path in pod.volume.glob("vandal-*"):  # its own litter, which is not the agent's to remove
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        scene.rotate()
        until(lambda: scene.pass_now(agent) is not None and _quiet(scene))
        scene.expect_whole("when it is gone", scene.number)
        repaired = agent.metrics()["repairs_total"]
        said = {event["event"] for event in agent.seen}
        expected = ("repaired", "volume") if length.full else ("repaired",)  # few strikes stop a pass altogether
        scene.violations += [f"it never said {word!r}" for word in expected if word not in said]
        scene.violations += [f"outside: {touch}" for touch in outside.touched]
        scene.violations += [f"outside changed: {path}" for path in outside.changes()]
        known = {"..data", "..notified.json", "db", "db.json", "api"}
        left = [n for n in os.listdir(pod.volume) if n not in known and not n[2:].isdigit()]
        # What stood in place of a link of ours is the neighbour's, too; the agent keeps it, and says where.
        kept = {n for n in left if ".found-" in n}
        told = " ".join(
            text for event in agent.seen if event["event"] == "repaired" for text in event["found"].values()
        )
        scene.violations += [f"left over: {name}" for name in set(left) - kept]
        scene.violations += [f"moved aside without a word: {name}" for name in kept if name not in told]
        assert agent.stop() == 0
    report.row(
        "a hostile neighbour in the volume: nothing outside read, written or removed, and all repaired when it is gone",
        f"{vandal.done:,} strikes during {scene.number:,} rotations, {repaired:.0f} repairs",
        scene.violations,
    )


def _quiet(scene: Rotating) -> bool:
    """Whether a reader finds what AWS has; the test does not follow a link out either."""
    try:
        read = [scene.pod.volume / "..data", *(scene.pod.volume / "..data" / path for path in (*FILES, "db.json"))]
        if not all(path.resolve().is_relative_to(scene.pod.volume) for path in read):
            return False
        return scene.seen() == {str(scene.number)}
    except (OSError, ValueError):
        return False
