"""Reading the config file."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from agent.commands.check import load
from agent.config import native
from agent.core.errors import ConfigError
from agent.triggers import config_file
from tests.support.configs import document


def test_text_and_meaning_come_together(tmp_path: Path) -> None:
    """So a reload compares what it read."""
    (tmp_path / "c").write_text(document())
    text, config = load(str(tmp_path / "c"))
    assert (text, len(config.bundle.secrets)) == (document(), 1)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes("a: b".encode("utf-16")), "UTF-16"),
        (lambda path: path.write_text("x" * (1 << 21)), "characters"),
        (lambda path: path.symlink_to("/dev/zero"), "characters"),
        (os.mkfifo, "pipe"),
        (lambda path: path.write_text("\u20ac" * (3 << 20)), "characters"),
    ],
)
def test_what_cannot_be_read_is_a_problem_like_others(
    tmp_path: Path, make: object, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the path and what to do; a pipe hangs nothing."""
    monkeypatch.setattr(config_file, "_PATIENCE", 0.1)
    make(tmp_path / "c")  # type: ignore[operator]
    with pytest.raises(ConfigError, match=part) as refused:
        load(str(tmp_path / "c"))
    assert str(refused.value).startswith(f"{tmp_path / 'c'}:1:1: ")


@pytest.mark.parametrize("kind", ["fifo", "shell"])
def test_a_pipe_is_read_to_its_end(tmp_path: Path, kind: str) -> None:
    """A FIFO, and what a shell puts in the place of `<(…)`; also when its writer is slow."""
    reading, writing = os.pipe()
    path = f"/dev/fd/{reading}"
    if kind == "fifo":
        path = str(tmp_path / "fifo")
        os.mkfifo(path)
        os.close(writing)

    def write() -> None:
        with open(path if kind == "fifo" else writing, "w") as handle:
            for line in document().splitlines(keepends=True):
                handle.write(line)
                handle.flush()

    writer = threading.Thread(target=write)
    writer.start()
    assert config_file.read(path) == document()
    writer.join()
    os.close(reading)


def test_lines_end_as_they_do_for_a_person(tmp_path: Path) -> None:
    """Whatever editor wrote them."""
    (tmp_path / "c").write_bytes("a\r\nb\rcä\n".encode())
    assert config_file.read(str(tmp_path / "c")) == "a\nb\ncä\n"


def test_a_byte_order_mark_and_other_line_ends_are_read(tmp_path: Path) -> None:
    """Editors on Windows write both, and lines are counted as before."""
    (tmp_path / "c").write_bytes(b"\xef\xbb\xbf" + document().replace("\n", "\r\n").encode())
    assert load(str(tmp_path / "c"))[1] == native.parse(document(), "c")
    (tmp_path / "c").write_bytes(b"\xef\xbb\xbf" + document(top="colour: blue").replace("\n", "\r\n").encode())
    with pytest.raises(ConfigError, match="'colour'") as refused:
        load(str(tmp_path / "c"))
    assert [(p.line, p.column) for p in refused.value.problems] == [(3, 1)]


def test_another_encoding_is_told_with_its_place(tmp_path: Path) -> None:
    """The first byte that is not UTF-8, which may be the only one."""
    (tmp_path / "c").write_bytes("a: 1\nb: d\u00fc\n# \u00fc".encode().replace(b"d\xc3\xbc", b"d\xfc"))
    with pytest.raises(ConfigError, match="0xfc") as refused:
        config_file.read(str(tmp_path / "c"))
    assert [(p.line, p.column) for p in refused.value.problems] == [(2, 5)]
