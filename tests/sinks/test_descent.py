"""Operations beneath a directory handle."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sinks.volume import files


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    handle = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield handle
    os.close(handle)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_modes_are_exact_whatever_the_umask(tmp_path: Path, root: int, umask: int) -> None:
    """Files and directories are what was asked for."""
    before = os.umask(umask)
    try:
        identity = files.write_file(root, "file", b"x", 0o440)
        if umask == 0o777 and os.geteuid() != 0:
            pytest.skip("a directory without permissions can be opened by root only")
        handle = files.make_directory(root, "directory")
        files.share(handle)
        os.close(handle)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o440 == identity.mode
    assert stat.S_IMODE((tmp_path / "directory").stat().st_mode) == 0o755
    assert identity == files.identity(root, "file")


def test_the_set_group_id_bit_stays(tmp_path: Path, root: int) -> None:
    """So files get the group that fsGroup gave the volume."""
    tmp_path.chmod(0o2755)
    handle = files.make_directory(root, "directory")
    files.share(handle)
    os.close(handle)
    assert stat.S_IMODE((tmp_path / "directory").stat().st_mode) == 0o2755


def test_a_planted_name_is_not_written_through(tmp_path: Path, root: int) -> None:
    """A link, a FIFO or a file at the name is EEXIST; nothing elsewhere is touched."""
    outside = tmp_path / "outside"
    (tmp_path / "link").symlink_to(outside)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(FileExistsError):
            files.write_file(root, name, b"x", 0o440)
    assert not outside.exists()


def test_reading_follows_nothing_and_hangs_on_nothing(tmp_path: Path, root: int) -> None:
    """Only a regular file of ours, and not more of it than we ever write."""
    (tmp_path / "real").write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "fifo")
    assert files.read_file(root, "real", 10) == b"x" * 10
    for name, limit in (("real", 9), ("link", 99), ("fifo", 99), (".", 99)):
        with pytest.raises(OSError):
            files.read_file(root, name, limit)


@pytest.mark.parametrize("planted", ["nothing", "file", "link", "directory", "full directory"])
def test_a_link_is_put_in_place_of_anything(tmp_path: Path, root: int, planted: str) -> None:
    """What may be the only copy of something is moved to a name that no sweep removes; nothing else is left over."""
    name = tmp_path / "name"
    if planted == "file":
        name.write_text("x")
    elif planted == "link":
        name.symlink_to("/etc")
    elif "directory" in planted:
        name.mkdir()
        if "full" in planted:
            (name / "inside").write_text("x")
    kept = files.replace_link(root, "name", "target")
    assert os.readlink(name) == "target"
    assert (kept is not None) == (planted not in ("nothing", "link"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"name", *([kept] if kept else [])}
    if kept:
        assert not kept.startswith(("..", files.TEMPORARY))
        assert planted != "file" or (tmp_path / kept).read_text() == "x"
        assert planted != "full directory" or (tmp_path / kept / "inside").read_text() == "x"


def test_what_is_moved_aside_has_a_name_that_is_short_enough(tmp_path: Path, root: int) -> None:
    """Also when its own is as long as a name can be."""
    (tmp_path / ("é" * 127)).write_text("x")
    kept = files.replace_link(root, "é" * 127, "target")
    assert kept is not None and (tmp_path / kept).read_text() == "x"


def test_content_is_compared_byte_for_byte_and_only_of_the_file_that_is_meant(tmp_path: Path, root: int) -> None:
    """Larger than one read; a file that was replaced is another, whatever is in it; a link is followed nowhere."""
    content = os.urandom(200_000)
    identity = files.write_file(root, "file", content, 0o440)
    assert files.holds(root, "file", identity, content)
    first, last = bytes([content[0] ^ 1]) + content[1:], content[:-1] + bytes([content[-1] ^ 1])
    for other in (content[:-1], content + b"x", first, last, content[:100_000], b""):
        assert not files.holds(root, "file", identity, other)
    (tmp_path / "file").rename(tmp_path / "aside")
    files.write_file(root, "file", content, 0o440)
    assert not files.holds(root, "file", identity, content)
    (tmp_path / "link").symlink_to("aside")
    with pytest.raises(OSError):
        files.holds(root, "link", identity, content)


def test_a_file_that_is_about_to_be_put_in_place_is_told_from_what_a_crash_left(tmp_path: Path, root: int) -> None:
    """By a lock, which goes with its process; links, pipes and directories are nobody's work."""
    held = os.open(tmp_path / "held", os.O_CREAT | os.O_WRONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    (tmp_path / "left").write_text("x")
    (tmp_path / "link").symlink_to("held")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    names = ("held", "left", "link", "directory", "fifo", "nothing")
    assert [name for name in names if files.in_work(root, name)] == ["held"]
    os.close(held)
    assert not files.in_work(root, "held")


def test_removing_a_tree_follows_no_link(tmp_path: Path, root: int) -> None:
    """What a link in it points to stays."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("x")
    tree = tmp_path / "tree" / "a" / "b"
    tree.mkdir(parents=True)
    (tree / "file").write_text("x")
    (tree / "link").symlink_to(tmp_path / "outside")
    files.remove(root, "tree")
    files.remove(root, "tree")
    assert [entry.name for entry in tmp_path.iterdir()] == ["outside"]
    assert (tmp_path / "outside" / "kept").exists()


def test_a_descent_opens_each_directory_once_and_refuses_links(tmp_path: Path, root: int) -> None:
    """Handles are closed at the end, whatever happened."""
    before = len(os.listdir("/proc/self/fd"))
    with files.Descent(root, create=True) as into:
        for path in sorted(["a/b/c", "a/b/d", "a/e", "f"], key=files.Descent.order):
            files.write_file(*into.parent(path), path.encode(), 0o440)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "a/b/c",
        "a/b/d",
        "a/e",
        "f",
    ]
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(OSError), files.Descent(root) as out:
        out.parent("link/e")
    assert len(os.listdir("/proc/self/fd")) == before
