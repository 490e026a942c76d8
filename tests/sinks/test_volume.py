"""The only writer of secrets, on a real file system, killed wherever it can be."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.core.decide import Desired, compose, pending_deliveries
from agent.core.errors import VolumeBusy, VolumeError
from agent.core.pins import Pin
from agent.core.value import ProjectedFile
from agent.sinks.volume import files
from agent.sinks.volume.generation import HIGHEST
from agent.sinks.volume.sweep import GRACE, KEPT_AT_MOST
from agent.sinks.volume.volume import Volume
from tests.support.publishing import API, APP, DB, publish
from tests.support.words import fetched, projected


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory on tmpfs, as a Memory emptyDir is, where there is one."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def volume(home: Path) -> Iterator[Volume]:
    volume = Volume(str(home / "v"))
    yield volume
    volume.close()


def tree(home: Path) -> dict[str, str]:
    data = home / "v" / "..data"
    return {
        str(path.relative_to(data.resolve())): path.read_text()
        for path in data.resolve().rglob("*")
        if path.is_file() and not path.name.startswith("..")
    }


def names(home: Path) -> list[str]:
    return sorted(os.listdir(home / "v"))


def test_the_layout_is_kubelets(volume: Volume, home: Path) -> None:
    """Relative links, of the first component only, so it works wherever it is mounted."""
    publish(volume, "1", "db", "api", db={"a/b/c": "x", "a/d": "y", "e": "z"})
    assert names(home) == ["..1", "..data", "a", "api", "e"]
    assert os.readlink(home / "v" / "..data") == "..1"
    assert os.readlink(home / "v" / "a") == "..data/a"
    (home / "v").rename(home / "w")
    assert (home / "w" / "a" / "b" / "c").read_text() == "x"
    (home / "w").rename(home / "v")
    assert stat.S_IMODE((home / "v").stat().st_mode) == 0o2755
    assert {stat.S_IMODE(p.stat().st_mode) for p in (home / "v" / "..1").rglob("*") if p.is_dir()} == {0o2755}


def test_the_manifest_tells_versions_and_identities_but_no_values(volume: Volume, home: Path) -> None:
    """It is what a restart reads back."""
    publish(volume, "1", "db", "api", db={"db": "hunter2"})
    text = (home / "v" / "..1" / "..generation.json").read_text()
    found = json.loads(text)
    assert found["secrets"]["db"]["versionId"] == "1" and found["secrets"]["db"]["changed"] == 1
    assert found["files"]["db"]["mode"] == "0440" and found["files"]["db"]["secrets"] == ["db"]
    assert found["accepted"] == {"app": 1}
    assert "hunter2" not in text


def test_unchanged_files_are_carried_over_unread(volume: Volume, home: Path) -> None:
    """The same inode; also when nobody but root could read it."""
    publish(volume, "1", "db", "api")
    before = (home / "v" / "api").stat()
    later = publish(volume, "2", "db")
    assert (home / "v" / "api").stat().st_ino == before.st_ino
    assert (home / "v" / "..1" / "db").read_text() == "db-1", "readers in flight keep what they opened"
    assert tree(home) == {"db": "db-2", "api": "api-1"}
    assert {n: (s.version_id, s.changed) for n, s in later.secrets.items()} == {"db": ("2", 2), "api": ("1", 1)}
    assert not later.damage


def test_a_path_that_left_is_gone_with_its_link(volume: Volume, home: Path) -> None:
    """And a new one appears whole."""
    publish(volume, "1", "db", "api", db={"old/x": "1"})
    publish(volume, "2", "db", db={"new/x": "2"})
    assert names(home) == ["..1", "..2", "..data", "api", "new"]


def test_a_restart_reads_back_what_was_published(volume: Volume, home: Path) -> None:
    """The volume is the memory."""
    first = publish(volume, "1", "db", "api")
    again = Volume(str(home / "v"))
    assert again.read() == first
    again.close()


@pytest.mark.parametrize(
    ("damage", "found", "damaged"),
    [
        (lambda v: (v / "db").resolve().unlink(), {"db"}, {"db"}),
        (lambda v: os.utime((v / "db").resolve(), (0, 0)), {"db"}, {"db"}),
        (lambda v: (v / "db").resolve().chmod(0o644), {"db"}, {"db"}),
        (lambda v: _rewrite((v / "db").resolve()), {"db"}, {"db"}),
        (lambda v: _replace((v / "db").resolve(), lambda p: p.symlink_to("/etc/passwd")), {"db"}, {"db"}),
        (lambda v: _replace((v / "db").resolve(), lambda p: p.mkdir()), {"db"}, {"db"}),
        (lambda v: _replace((v / "db").resolve(), os.mkfifo), {"db"}, {"db"}),
        (lambda v: shutil.rmtree((v / "..data").resolve()), {"db", "api", "..generation.json"}, {"db", "api"}),
        (lambda v: (v / "..1" / "..generation.json").unlink(), {"..generation.json"}, {"db", "api"}),
        (lambda v: _rewrite(v / "..1" / "..generation.json"), {"..generation.json"}, {"db", "api"}),
        (lambda v: (v / "db").unlink(), {"db"}, set()),
        (lambda v: _replace(v / "db", lambda p: p.symlink_to("/etc/passwd")), {"db"}, set()),
        (lambda v: _replace(v / "db", lambda p: p.write_text("foreign")), {"db"}, set()),
        (lambda v: _replace(v / "db", lambda p: p.mkdir()), {"db"}, set()),
        (lambda v: (v / "..data").unlink(), {"..data"}, set()),
        (lambda v: _replace(v / "..data", lambda p: p.symlink_to("/etc")), {"..data"}, set()),
        (lambda v: _replace(v / "..data", lambda p: p.mkdir()), {"..data"}, set()),
    ],
)
def test_damage_is_found_and_mended(
    volume: Volume, home: Path, damage: object, found: set[str], damaged: set[str]
) -> None:
    """Whatever was removed, altered or redirected comes back, and changes nothing for those who are told."""
    publish(volume, "1", "db", "api")
    damage(home / "v")  # type: ignore[operator]
    seen = volume.read()
    assert (set(seen.damage), set(seen.damaged)) == (found, damaged)
    if damaged:
        seen = publish(volume, "1", *sorted(damaged))
    else:
        volume.mend(seen)
        seen = volume.read()
    assert not seen.damage
    assert tree(home) == {"db": "db-1", "api": "api-1"}
    assert (home / "v" / "db").read_text() == "db-1"
    assert pending_deliveries((APP,), seen) == ()
    volume.tidy()
    aside = volume.set_aside()
    left = [name for name in names(home) if not name[2:].isdigit()]
    assert left == sorted(["..data", "db", "api", *aside.values()]) and aside.keys() <= found
    assert volume.set_aside() == {}


def _directory(path: Path) -> None:
    (path / "sub").mkdir(parents=True)
    (path / "sub" / "file").write_text("precious")


PLANTED = {
    "directory": _directory,
    "file": lambda path: path.write_text("precious"),
    "link": lambda path: path.symlink_to("elsewhere"),
    "pipe": os.mkfifo,
}


def all_of(home: Path) -> dict[str, tuple[int, str | None]]:
    """Every name beneath the volume: its inode, and what it holds or leads to."""
    return {
        str(path): (
            path.lstat().st_ino,
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else None,
        )
        for path in (home / "v").rglob("*")
    }


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("name", ["db", "..data"])
def test_what_stood_there_before_the_first_publish_is_refused_and_not_touched(
    volume: Volume, home: Path, planted: str, name: str
) -> None:
    """Whatever it is: the sentence names it and its owner. Once it is away, the agent publishes."""
    PLANTED[planted](home / "v" / name)  # type: ignore[operator]
    before = all_of(home)
    for _ in range(2):
        with pytest.raises(VolumeError) as refused:
            publish(volume, "1", "db", "api", db={"db/password": "x"})
        assert f"{home}/v/{name} is in the way" in str(refused.value) and planted in str(refused.value)
        assert f"uid {os.geteuid()}" in str(refused.value)
        assert all_of(home) == before
    volume.tidy()
    assert all_of(home) == before
    (home / "v" / name).rename(home / "away")
    assert not publish(volume, "1", "db", "api", db={"db/password": "x"}).damage


@pytest.mark.parametrize("planted", PLANTED)
def test_what_stands_at_a_new_path_is_refused_and_the_old_files_stay(volume: Volume, home: Path, planted: str) -> None:
    """A name that was never published is not claimed, in a later generation either."""
    publish(volume, "1", "db", "api")
    PLANTED[planted](home / "v" / "new")  # type: ignore[operator]
    before = all_of(home)
    with pytest.raises(VolumeError, match="/v/new is in the way"):
        publish(volume, "2", "db", db={"new/x": "2"})
    assert all_of(home) == before and not volume.read().damage


def test_a_redirected_data_of_ours_is_put_right_though_its_record_is_gone_too(volume: Volume, home: Path) -> None:
    """A neighbour did both. An agent that is started since remembers nothing, but its generations lie there."""
    publish(volume, "1", "db", "api")
    (home / "v" / "..data" / "..generation.json").unlink()
    (home / "v" / "..data").unlink()
    (home / "v" / "..data").symlink_to("/nowhere")
    with closing(Volume(str(home / "v"))) as again:
        assert not publish(again, "2", "db", "api").damage
        assert not again.read().damage and (home / "v" / "db").read_text() == "db-2"


def test_what_appears_while_a_generation_is_made_is_not_replaced(
    volume: Volume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found when the link is made, and nothing of the attempt is left."""
    make = files.make_directory

    def plant(parent: int, name: str) -> int:
        (home / "v" / "db").write_text("precious")
        return make(parent, name)

    with monkeypatch.context() as patched:
        patched.setattr(files, "make_directory", plant)
        with pytest.raises(VolumeError, match="/v/db is in the way"):
            publish(volume, "1", "db", "api")
    assert (home / "v" / "db").read_text() == "precious" and set(names(home)) <= {"db", "api"}


@pytest.mark.parametrize("planted", ["directory", "file"])
def test_what_took_the_place_of_a_published_link_is_kept_aside(volume: Volume, home: Path, planted: str) -> None:
    """The name is ours, what stands there is not: readers get the link back, and nothing is lost."""
    seen = publish(volume, "1", "db", "api")
    (home / "v" / "db").unlink()
    PLANTED[planted](home / "v" / "db")  # type: ignore[operator]
    volume.mend(volume.read())
    (kept,) = volume.set_aside().values()
    assert volume.read() == seen and (home / "v" / "db").read_text() == "db-1"
    volume.tidy()
    publish(volume, "2", "db")
    there = home / "v" / kept
    assert (there / "sub" / "file" if planted == "directory" else there).read_text() == "precious"


def test_a_blocked_secret_is_told_from_those_that_are_free(volume: Volume, home: Path) -> None:
    """So that one that cannot be published holds up no other."""
    seen = publish(volume, "1", "db", "api")
    (home / "v" / "new").mkdir()
    blocked = volume.blocked(seen, {"a": ["new/x", "db"], "b": ["db", "other"], "c": ["api"]})
    assert blocked.keys() == {"a"} and "/v/new is in the way" in blocked["a"]


def test_a_version_with_the_same_content_makes_no_generation(volume: Volume, home: Path) -> None:
    """It is what is published from then on, for the next process too; no file, link or reader's handle moves."""
    first = publish(volume, "1", "db", "api", db={"db/user": "u", "db/password": "p"})
    before = {path: where for path, where in all_of(home).items() if "..generation.json" not in path}
    same = {"db/user": projected("u"), "db/password": projected("p")}
    assert volume.holds(first, "db", same)
    made = compose(
        Desired((DB, API)), first, {"db": (fetched("2"), same)}, (APP,), quiet=False, alike=frozenset({"db"})
    )
    assert made is not None
    later = volume.publish(made, first)
    assert (later.generation, later.secrets["db"].version_id, later.published_at) == (1, "2", first.published_at)
    assert later.secrets["db"].changed == 1 and later.secrets["api"] == first.secrets["api"]
    assert pending_deliveries((APP,), later) == () and not later.damage
    assert {path: where for path, where in all_of(home).items() if "..generation.json" not in path} == before
    again = Volume(str(home / "v"))
    assert again.read() == later
    again.close()


@pytest.mark.parametrize(
    "wanted",
    [
        {"db/user": projected("u"), "db/password": projected("q")},
        {"db/user": projected("u"), "db/password": projected("pp")},
        {"db/user": projected("u"), "db/password": projected("p", 0o400)},
        {"db/user": projected("u")},
        {"db/user": projected("u"), "db/password": projected("p"), "db/more": projected("p")},
        {"db/user": projected("u"), "db/word": projected("p")},
    ],
)
def test_other_content_modes_or_paths_are_not_the_same(volume: Volume, wanted: Mapping[str, ProjectedFile]) -> None:
    """By a byte, a bit, or a name."""
    seen = publish(volume, "1", "db", "api", db={"db/user": "u", "db/password": "p"})
    assert not volume.holds(seen, "db", wanted) and not volume.holds(seen, "nosuch", wanted)


def test_what_was_altered_is_not_the_same(volume: Volume, home: Path) -> None:
    """A new version must not be taken for what a neighbour wrote."""
    publish(volume, "1", "db", "api")
    _rewrite((home / "v" / "db").resolve())
    assert not volume.holds(volume.read(), "db", {"db": projected("foreign")})


def test_the_same_content_beside_a_change_is_carried_over(volume: Volume, home: Path) -> None:
    """One generation, which changes the other alone."""
    first = publish(volume, "1", "db", "api")
    before = (home / "v" / "db").stat().st_ino
    new = {
        "db": (fetched("2"), {"db": projected("db-1")}),
        "api": (fetched("2"), {"api": projected("api-2")}),
    }
    made = compose(Desired((DB, API)), first, new, (APP,), quiet=False, alike=frozenset({"db"}))
    assert made is not None
    later = volume.publish(made, first)
    assert {n: (s.version_id, s.changed) for n, s in later.secrets.items()} == {"db": ("2", 1), "api": ("2", 2)}
    assert tree(home) == {"db": "db-1", "api": "api-2"} and (home / "v" / "db").stat().st_ino == before


def _rewrite(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("foreign")


def _replace(path: Path, make: object) -> None:
    path.unlink()
    make(path)  # type: ignore[operator]


def test_a_manifest_that_is_lost_with_the_process_is_nothing_published(volume: Volume, home: Path) -> None:
    """Then the first generation's rule holds again: all or nothing, and a number that was never used."""
    publish(volume, "1", "db", "api")
    publish(volume, "2", "db")
    (home / "v" / "..2" / "..generation.json").unlink()
    again = Volume(str(home / "v"))
    seen = again.read()
    assert seen.generation == 0 and set(seen.damage) == {"..generation.json"}
    assert publish(again, "2", "db", "api").generation == 3
    again.close()


def test_an_unreadable_record_owes_everyone(volume: Volume, home: Path) -> None:
    """At least once beats once."""
    publish(volume, "1", "db", "api")
    volume.record_deliveries({"app": 1})
    record = home / "v" / "..notified.json"
    assert pending_deliveries((APP,), volume.read()) == ()
    for spoil in (lambda: record.write_text("{"), lambda: (record.unlink(), os.mkfifo(record))):
        spoil()
        seen = volume.read()
        assert seen.record_lost and [each.target.name for each in pending_deliveries((APP,), seen)] == ["app"]
    volume.record_deliveries({"app": 1})
    assert pending_deliveries((APP,), volume.read()) == ()


def test_an_acceptance_that_cannot_be_written_is_held(volume: Volume, home: Path) -> None:
    """It is not delivered twice while this process lives, and written when that works again."""
    publish(volume, "1", "db", "api")
    publish(volume, "2", "db")
    (home / "v" / "..notified.json").mkdir()
    with pytest.raises(VolumeError, match="record of notifications"):
        volume.record_deliveries({"app": 2})
    assert volume.unrecorded == {"app": 2} and pending_deliveries((APP,), volume.read()) == ()
    (home / "v" / "..notified.json").rmdir()
    volume.record_deliveries(volume.unrecorded)
    assert volume.unrecorded == {}
    again = Volume(str(home / "v"))
    assert again.read().accepted == {"app": 2}
    again.close()


def test_one_agent_holds_it_until_its_process_ends(volume: Volume, home: Path) -> None:
    """Also when that ends by kill -9."""
    script = (
        "import sys, signal; from agent.sinks.volume.volume import Volume\n"
        "v = Volume(sys.argv[1]); v.lock(); print(1, flush=True)\n"
        "signal.pause()"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(home / "v")], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "1\n"
    with pytest.raises(VolumeBusy, match="another agent"):
        volume.lock()
    other.kill()
    other.communicate()
    volume.lock()


def test_superseded_generations_stay_a_minute_across_restarts(volume: Volume, home: Path) -> None:
    """For readers that have one open; the time is read back from the volume."""
    for version in "123":
        publish(volume, version, "db", "api")
    due = volume.tidy()
    assert due is not None and 0 < due <= GRACE and {"..1", "..2", "..3"} <= set(names(home))
    os.utime(home / "v" / "..2", (0, 0))  # the successor of 1, made long ago
    again = Volume(str(home / "v"))
    again.read()
    again.tidy()
    again.close()
    assert [name for name in names(home) if name[2:].isdigit()] == ["..2", "..3"]


def test_no_more_than_sixteen_stay(volume: Volume, home: Path) -> None:
    """However quickly they follow each other."""
    for version in range(KEPT_AT_MOST + 4):
        publish(volume, str(version), "db", "api")
        volume.tidy()
    assert len([name for name in names(home) if name[2:].isdigit()]) == KEPT_AT_MOST + 1


def test_the_sweep_touches_only_names_of_ours(volume: Volume, home: Path) -> None:
    """Leftovers of a crash go; whatever else somebody put there stays."""
    publish(volume, "1", "db", "api")
    for name in ("..foo", "..7x", "..0", ".hidden", "plain", "..999999999999999"):
        (home / "v" / name).mkdir()
    (home / "v" / "..2").mkdir()
    (home / "v" / "..new-0123").symlink_to("/etc")
    (home / "v" / "foreign").symlink_to("/etc")
    (home / "v" / "stale").symlink_to("..data/stale")
    held = os.open(home / "v" / "..new-held", os.O_CREAT | os.O_WRONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    volume.tidy()
    assert "..new-held" in names(home), "another process is about to put it in place"
    os.close(held)
    volume.tidy()
    assert names(home) == sorted(
        ["..0", "..1", "..7x", "..999999999999999", "..data", "..foo", ".hidden", "api", "db", "foreign", "plain"]
    )
    assert publish(volume, "2", "db").generation == 2


def test_planted_numbers_exhaust_nothing(volume: Volume, home: Path) -> None:
    """Neither a directory nor an acceptance of a number far above those in use is believed."""
    publish(volume, "1", "db", "api")
    (home / "v" / f"..{HIGHEST}").mkdir()
    (home / "v" / "..notified.json").write_text(json.dumps({"format": 1, "accepted": {"app": HIGHEST}}))
    seen = volume.read()
    assert seen.record_lost and pending_deliveries((APP,), seen)
    assert publish(volume, "2", "db").generation == 2
    volume.tidy()
    assert f"..{HIGHEST}" not in names(home)


def test_leftovers_go_however_deep_they_are_nested(volume: Volume, home: Path) -> None:
    """A neighbour may nest deeper than a stack or the open files allow; nothing behind a link in it is touched."""
    publish(volume, "1", "db", "api")
    (home / "outside").mkdir()
    (home / "outside" / "file").write_text("x")
    at = os.open(home / "v", os.O_RDONLY)
    for name in ("..new-0", *["d"] * 3000):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        os.symlink(home / "outside", "link", dir_fd=below)
        at = below
    os.close(at)
    volume.tidy()
    assert names(home) == ["..1", "..data", "api", "db"]
    assert (home / "outside" / "file").read_text() == "x"


def test_a_manifest_beyond_its_limit_is_not_published(
    volume: Volume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be read back; what was published stays."""
    publish(volume, "1", "db", "api")
    monkeypatch.setattr("agent.sinks.volume.volume.LIMIT", 1000)
    with pytest.raises(VolumeError, match="publish fewer files"):
        publish(volume, "2", "db", db={f"db{number}": "x" for number in range(20)})
    assert tree(home) == {"db": "db-1", "api": "api-1"} and names(home) == ["..1", "..data", "api", "db"]


# Forks for each line, and says how that ended: the volume, what to do there, the step at which to be killed.
WRITER = """
import os, signal, sys
from tests.support.publishing import publish
from agent.sinks.volume.volume import Volume
for line in sys.stdin:
    child = os.fork()
    if not child: break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
path, at, left = line.split()
volume, left = Volume(path), int(left)
WATCHED = ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.utime", "open", "os.listdir")
def hook(event, args):
    global left
    if event in WATCHED:
        left -= 1
        if left < 0: os.kill(os.getpid(), signal.SIGKILL)
volume.read()
sys.addaudithook(hook)
if at == "publish": publish(volume, "2", "db", "api")
else: volume.record_deliveries({"app": 9})
os._exit(0)
"""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, str, int], int]]:
    """What a process comes to that writes to the volume, and is killed at that step if it gets there."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # of processes that are killed it is no use
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin and stdout

        def write(path: Path, at: str, step: int) -> int:
            stdin.write(f"{path} {at} {step}\n")
            stdin.flush()
            return int(stdout.readline())

        yield write
        stdin.close()


@pytest.mark.parametrize("first", [True, False])
def test_a_publish_that_is_killed_anywhere_shows_the_old_or_the_new(
    home: Path, first: bool, written: Callable[[Path, str, int], int]
) -> None:
    """At each step that touches the directory: one whole set, nothing left over, and the next publish works."""
    shown = set()
    for step in range(200):
        path = home / "v"
        if path.exists():
            shutil.rmtree(path)
        volume = Volume(str(path))
        if not first:
            publish(volume, "1", "db", "api")
        code = written(path, "publish", step)
        readable = (tree(home) if (path / "..data").exists() else {}).items()
        old = {} if first else {"db": "db-1", "api": "api-1"}
        assert dict(readable) in (old, {"db": "db-2", "api": "api-2"})
        shown.add(tuple(readable))
        for name in ("db", "api"):
            if (path / name).exists():
                assert (path / name).read_text() == dict(readable)[name]
        again = Volume(str(path))
        before = again.read()
        assert not before.damaged
        after = publish(again, "3", "db", "api")
        again.tidy()
        assert tree(home) == {"db": "db-3", "api": "api-3"} and not after.damage
        assert [name for name in names(home) if name.startswith("..new-")] == []
        again.close()
        volume.close()
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 10 and len(shown) == 2


def test_a_record_that_is_killed_anywhere_is_the_old_or_the_new(
    home: Path, written: Callable[[Path, str, int], int]
) -> None:
    """An acceptance is never half written."""
    for step in range(50):
        path = home / "v"
        if path.exists():
            shutil.rmtree(path)
        volume = Volume(str(path))
        publish(volume, "1", "db", "api")
        volume.record_deliveries({"app": 1})
        code = written(path, "accept", step)
        seen = volume.read()
        assert seen.accepted["app"] in (1, 9) and not seen.record_lost
        volume.tidy()
        assert names(home) == ["..1", "..data", "..notified.json", "api", "db"]
        volume.close()
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step >= 2  # made aside, then renamed over


def test_readers_never_see_a_torn_or_mixed_set(volume: Volume, home: Path) -> None:
    """One pinned to `..data`, one by path, while generations follow each other."""
    publish(volume, "0", "db", "api")
    stop, bad, reads = threading.Event(), [], [0]

    def read() -> None:
        while not stop.is_set():
            data = os.open(home / "v" / "..data", os.O_RDONLY | os.O_DIRECTORY)
            try:
                pair = [_content(name, data).partition("-")[2] for name in ("db", "api")]
            except OSError as error:
                pair = [str(error), ""]
            finally:
                os.close(data)
            if pair[0] != pair[1] or not (home / "v" / "db").read_text().startswith("db-"):
                bad.append(pair)
            reads[0] += 1

    thread = threading.Thread(target=read)
    thread.start()
    for version in range(1, 150):
        publish(volume, str(version), "db", "api")
    stop.set()
    thread.join()
    assert bad == [] and reads[0] > 10


def _content(name: str, directory: int) -> str:
    handle = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(handle, 100).decode()
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda home: None, "mount the shared emptyDir"),
        (lambda home: ((home / "no").mkdir(), (home / "no" / "v").write_text("x")), "not a directory"),
        (lambda home: ((home / "no").mkdir(), (home / "no" / "v").symlink_to(home)), "not a directory"),
    ],
)
def test_a_volume_that_is_none_is_refused(home: Path, make: object, part: str) -> None:
    """Each with what to do; nothing is made or followed."""
    make(home)  # type: ignore[operator]
    with pytest.raises(VolumeError, match=part):
        Volume(str(home / "no" / "v"))


def test_a_sweep_in_the_last_instant_takes_no_file_away_from_its_writer(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pin` writes beside an agent that passes: its file has no name of its own yet, and is no leftover of a crash."""
    writer, rename, swept = Volume(volume.path), os.rename, []

    def late(*names: str, **handles: int) -> None:
        swept.append(volume.tidy())
        rename(*names, **handles)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", late)
        writer.write_pins({"db": Pin("v1", 1e9)})
    writer.close()
    assert len(swept) == 1 and volume.pins() == {"db": Pin("v1", 1e9)}


def test_a_sweep_in_the_first_instant_is_outlived(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its creation and its lock a file can be taken for a leftover; it is written again."""
    writer, flock, swept = Volume(volume.path), fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not swept:
            swept.append(None)
            volume.tidy()
        flock(handle, how)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", late)
        writer.write_pins({"db": Pin("v1", 1e9)})
    writer.close()
    assert swept and volume.pins() == {"db": Pin("v1", 1e9)}


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount and to become another uid")


@needs_root
def test_a_full_volume_keeps_what_was_published(home: Path) -> None:
    """ENOSPC names the space and what to raise; nothing of the attempt is left."""
    (home / "small").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home / "small")], check=False).returncode:
        pytest.skip("mount is not permitted here")
    try:
        volume = Volume(str(home / "small" / "v"))
        publish(volume, "1", "db", "api")
        with pytest.raises(VolumeError, match=r"no space left.*sizeLimit"):
            publish(volume, "2", "db", "api", db={"db": "x" * 60_000}, api={"api": "y" * 60_000})
        assert sorted(os.listdir(home / "small" / "v")) == ["..1", "..data", "api", "db"]
        assert (home / "small" / "v" / "db").read_text() == "db-1"
        publish(volume, "3", "db", "api")
        volume.close()
    finally:
        subprocess.run(["umount", str(home / "small")], check=True)


@needs_root
def test_a_read_only_mount_says_what_to_do(home: Path) -> None:
    """Whether the directory is there already or would have to be made."""
    (home / "ro").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(home / "ro")], check=False).returncode:
        pytest.skip("mount is not permitted here")
    try:
        with pytest.raises(VolumeError, match="mount the volume read-write"):
            Volume(str(home / "ro" / "v"))
        volume = Volume(str(home / "ro"))
        with pytest.raises(VolumeError, match="mount the volume read-write"):
            publish(volume, "1", "db", "api")
        volume.close()
    finally:
        subprocess.run(["umount", str(home / "ro")], check=True)


@needs_root
def test_a_volume_of_another_uid_names_both(home: Path) -> None:
    """Whose it is, whose we are, and what to do."""
    home.chmod(0o755)
    volume = Volume(str(home / "v"))
    publish(volume, "1", "db", "api")
    volume.close()
    script = (
        "import os, sys; import tests.sinks.test_volume as t; os.setgid(65534); os.setuid(65534)\n"
        "v = t.Volume(sys.argv[1])\n"
        "try: t.publish(v, '2', 'db', 'api')\nexcept t.VolumeError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script, str(home / "v")], capture_output=True, text=True, check=True)
    assert "uid 65534" in said.stdout and "uid 0" in said.stdout and "one uid" in said.stdout
    assert tree(home) == {"db": "db-1", "api": "api-1"}


@needs_root
def test_a_sticky_foreign_directory_draws_a_warning(home: Path) -> None:
    """The root of an emptyDir is one; links in it cannot be followed by others."""
    (home / "v").mkdir()
    os.chown(home / "v", 65534, 65534)
    (home / "v").chmod(0o1777)
    volume = Volume(str(home / "v"))
    assert volume.warning is not None and "fs.protected_symlinks" in volume.warning and "/v/secrets" in volume.warning
    volume.close()


def test_an_ordinary_directory_draws_none(volume: Volume) -> None:
    """A warning that is always there is none."""
    assert volume.warning is None


def test_a_pin_is_written_beside_an_agent_that_sweeps(
    volume: Volume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the two interleave: here the sweep comes right before each rename."""
    beside = Volume(str(home / "v"))
    rename = os.rename

    def swept(*args: Any, **kwargs: Any) -> None:
        volume.tidy()
        rename(*args, **kwargs)

    monkeypatch.setattr("agent.sinks.volume.files.os.rename", swept)
    pins = {"db": Pin("v1", time.time() + 60)}
    beside.write_pins(pins)
    beside.close()
    assert volume.pins() == pins and names(home) == ["..pins.json"]
