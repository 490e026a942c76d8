"""The watch on the config's directory, with real inotify."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.triggers.watch import Watch, watch
from tests.support.running import PATIENCE


class Bell:
    """Rings when the config may have changed."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        self._rung.set()

    def rings(self) -> bool:
        """Whether it rings, now or soon; afterwards it is quiet again."""
        found = self._rung.wait(PATIENCE)
        self._rung.clear()
        return found


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """A ConfigMap volume as kubelet lays it out."""
    swap(tmp_path, 0)
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    return tmp_path


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def watching(mount: Path, bell: Bell) -> Iterator[Watch]:
    watching = watch(str(mount / "config.yaml"), bell)
    assert watching.active and watching.reason is None
    yield watching
    watching.close()


def swap(mount: Path, number: int) -> None:
    version = mount / f"..v{number}"
    version.mkdir()
    (version / "config.yaml").write_text(str(number))
    (mount / "..data_tmp").symlink_to(version.name)
    (mount / "..data_tmp").rename(mount / "..data")


def test_every_swap_is_noticed(watching: Watch, mount: Path, bell: Bell) -> None:
    """Not only the first, as a watch on the link would."""
    for number in (1, 2, 3):
        swap(mount, number)
        assert bell.rings()


def test_a_plain_file_is_noticed_however_it_is_edited(tmp_path: Path, bell: Bell) -> None:
    """Written in place, renamed over, removed."""
    path = tmp_path / "config.yaml"
    path.write_text("1")
    watching = watch(str(path), bell)
    for edit in (
        lambda: path.write_text("2"),
        lambda: ((tmp_path / "new").write_text("3"), (tmp_path / "new").rename(path)),
        path.unlink,
    ):
        edit()
        assert bell.rings()
    watching.close()


def test_reading_and_neighbours_are_no_news(tmp_path: Path, bell: Bell) -> None:
    """Our own reads must not make us read again. A plain file: behind a link its directory does not tell of reads."""
    path = tmp_path / "config.yaml"
    path.write_text("1")
    watching = watch(str(path), bell)
    for _ in range(50):
        path.read_text()
        (tmp_path / "other").write_text("x")
        (tmp_path / "other").unlink()
    (tmp_path / "..data_1").mkdir()  # rings once; all that came before has been looked at by then
    assert bell.rings() and bell.count == 1
    watching.close()


def test_a_directory_that_cannot_be_watched_says_so(tmp_path: Path, bell: Bell) -> None:
    """The periodic re-read is the net; nothing is raised."""
    watching = watch(str(tmp_path / "none" / "config.yaml"), bell)
    assert not watching.active and watching.reason is not None and "cannot be watched" in watching.reason
    watching.close()


def test_without_inotify_it_says_so(tmp_path: Path, bell: Bell) -> None:
    """No descriptor is left for it, as when the node's instances are used up. Nothing is raised, whichever step asks
    for it, and it can be had again later."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    reasons = []
    for spare in range(3):
        free = [os.open("/dev/null", os.O_RDONLY) for _ in range(spare + 1)]
        for handle in free:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], limits[1]))
        try:
            watching = watch(str(tmp_path / "config.yaml"), bell)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        reasons.append(watching.reason)
        watching.close()
    assert reasons[0] and str(tmp_path) in reasons[0]
    watching = watch(str(tmp_path / "config.yaml"), bell)
    assert watching.active
    watching.close()


def test_without_a_thread_it_says_so(tmp_path: Path, bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python raises no OSError then."""

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    watching = watch(str(tmp_path / "config.yaml"), bell)
    assert not watching.active and watching.reason and "thread" in watching.reason
