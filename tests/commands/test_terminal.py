"""The standard streams of the real commands, with readers of every kind."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from agent.commands import terminal
from agent.observe.layout import Screen
from tests.support.configs import document
from tests.support.running import freshmount

# One of each way to write: argparse's, a file as it is, JSON, a line, lines one by one.
COMMANDS = (["--help"], ["schema"], ["plan", "--json"], ["plan"], ["check"], ["status"], ["doctor"])


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A config, and no agent, volume or AWS that answers."""
    (tmp_path / "secrets").mkdir()
    config = tmp_path / "c.yaml"
    config.write_text(document(top=f"volume: {{path: {tmp_path}/secrets}}\nlisten: 127.0.0.1:0"))
    dead = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    return {**os.environ, **dead, "FRESHMOUNT_CONFIG": str(config)}


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_is_left_in_peace(argv: list[str], env: dict[str, str]) -> None:
    """As `head` goes: not a word, and no success is claimed."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = freshmount(*argv, env=env, stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_output_that_cannot_be_written_is_told(argv: list[str], env: dict[str, str]) -> None:
    """A full disk: one line that says so."""
    with open("/dev/full", "w") as full:
        done = freshmount(*argv, env=env, stdout=full.fileno())
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No space left on device" in done.stderr


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_closed_streams_are_no_trouble(argv: list[str], env: dict[str, str]) -> None:
    """The command does the same, and nothing of it lands in a file that it opens."""
    config, volume = Path(env["FRESHMOUNT_CONFIG"]), Path(env["FRESHMOUNT_CONFIG"]).parent / "secrets"
    before = config.read_bytes()
    plain = freshmount(*argv, env=env)
    for closed in ((1,), (2,), (0, 1, 2)):
        done = freshmount(*argv, env=env, closed=closed)
        assert done.returncode == plain.returncode, closed
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, closed
        assert config.read_bytes() == before and list(volume.iterdir()) == [], closed


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("argv", [["doctor"], ["check"]], ids=" ".join)
def test_every_encoding_will_do(argv: list[str], encoding: str, env: dict[str, str], tmp_path: Path) -> None:
    """What a stream cannot carry is replaced, in names that are no text at all, too."""
    strange = tmp_path / os.fsdecode(b"caf\xc3\xa9-\xff.yaml")
    strange.write_text(Path(env["FRESHMOUNT_CONFIG"]).read_text())
    env = {**env, "FRESHMOUNT_CONFIG": str(strange), "PYTHONIOENCODING": encoding}
    with open(tmp_path / "said", "wb") as said:
        done = freshmount(*argv, env=env, stdout=said.fileno())
    assert "internal error" not in done.stderr
    assert ".yaml" in (tmp_path / "said").read_text(encoding)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


@pytest.mark.parametrize(
    ("stream", "environ", "screen"),
    [
        (Terminal(), {}, Screen(80, terminal=True, colour=True)),
        (Terminal(), {"COLUMNS": "120"}, Screen(120, terminal=True, colour=True)),
        (Terminal(), {"COLUMNS": "0"}, Screen(80, terminal=True, colour=True)),
        (Terminal(), {"COLUMNS": "wide", "NO_COLOR": ""}, Screen(80, terminal=True, colour=True)),
        (Terminal(), {"NO_COLOR": "1"}, Screen(80, terminal=True)),
        (Terminal(), {"TERM": "dumb"}, Screen(80, terminal=True)),
        (io.StringIO(), {"TERM": "xterm"}, Screen(80)),
        (io.StringIO(), {"COLUMNS": "3"}, Screen(20)),
    ],
)
def test_what_the_reader_has(stream: io.StringIO, environ: dict[str, str], screen: Screen) -> None:
    """A size that is told, colours that are wanted."""
    assert terminal.screen(stream, environ) == screen
