"""Logs that machines and people read, without values."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent.core.errors import VolumeError
from agent.observe import log
from tests.support.paths import ROOT
from tests.support.words import fetched, value

CANARY = "cAnaRy-19c4"
HOME = ROOT


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is the process's; what another test relies on is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_have_time_level_and_event() -> None:
    """One object per line."""
    stream = io.StringIO()
    log.configure("json", stream=stream)
    structlog.get_logger().info("published", generation=7, changed={"db": "v1"})
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "published", "level": "info", "generation": 7, "changed": {"db": "v1"}}


def test_the_level_holds() -> None:
    """Debug is for those who ask."""
    stream = io.StringIO()
    log.configure("json", "warning", stream)
    structlog.get_logger().info("quiet")
    assert stream.getvalue() == ""


def test_the_console_is_for_people() -> None:
    """No JSON, and no colour where there is no terminal."""
    stream = io.StringIO()
    log.configure("console", stream=stream)
    structlog.get_logger().warning("repaired", found={"db": "missing"})
    assert "repaired" in stream.getvalue() and "\x1b" not in stream.getvalue() and "{" in stream.getvalue()


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_that_want_them(
    environ: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the two conventions that there are."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, chosen in environ.items():
        monkeypatch.setenv(name, chosen)
    log.configure("auto", stream=(stream := Terminal()))
    structlog.get_logger().info("published", secret="db")
    assert "published" in stream.getvalue() and ("\033" in stream.getvalue()) == coloured


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("whence", ["ours", "library"])
def test_words_of_others_command_no_terminal_and_forge_no_line(form: log.Format, whence: str) -> None:
    """Such as AWS's, a process's name or a path: in the event, in a key, in a value, nested, in an exception."""
    stream = io.StringIO()
    log.configure(form, stream=stream)
    words = "a\x1b[2J\x1b]0;owned\x07b\nforged\rc\x9bd\u2028e\u202ef"
    error = VolumeError(words)
    if whence == "ours":
        fields = {words: words, "nested": [{words: (words,)}]}
        structlog.get_logger().error(words, exc_info=error, **fields)
    else:
        logging.getLogger("watchdog").error("%s", words, exc_info=error)
    written = stream.getvalue()
    assert "owned" in written and "forged" in written
    assert [char for char in written if not char.isprintable() and char != "\n"] == []
    assert not any(line.startswith("forged") for line in written.splitlines())


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_could_be_a_value_is_hidden(form: log.Format) -> None:
    """However deep it lies, and whatever carries it."""
    stream = io.StringIO()
    log.configure(form, "debug", stream)
    structlog.get_logger().info(
        "x",
        a=value(CANARY),
        b=CANARY.encode(),
        c=[{"d": (bytearray(CANARY.encode()), value(CANARY))}],
        e=fetched("v1", CANARY),
    )
    for shape in (CANARY, base64.b64encode(CANARY.encode()).decode(), CANARY.encode().hex()):
        assert shape not in stream.getvalue()
    assert log.HIDDEN in stream.getvalue()


def stumble(hidden: str) -> None:
    try:
        json.loads(f'{{"password": "{hidden}"')
    except ValueError as error:
        raise RuntimeError(f"about {hidden}") from error


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_tells_where_and_not_what(form: log.Format) -> None:
    """No locals and no message of an unexpected one, nor of what caused it."""
    stream = io.StringIO()
    log.configure(form, "debug", stream)
    try:
        stumble(CANARY)
    except RuntimeError:
        structlog.get_logger().exception("bug")
    assert "test_log.py" in stream.getvalue() and "stumble" in stream.getvalue()
    assert "RuntimeError" in stream.getvalue() and "JSONDecodeError" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_our_own_errors_keep_their_sentence() -> None:
    """They are written to be read."""
    stream = io.StringIO()
    log.configure("json", stream=stream)
    for error in (VolumeError("volume /x is full"), FileNotFoundError(2, "No such file", "/x")):
        structlog.get_logger().error("failed", exc_info=error)
    assert [line["exception"] for line in lines(stream)] == [
        "VolumeError: volume /x is full",
        "FileNotFoundError: No such file: /x",
    ]


@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_libraries_are_capped(level: str) -> None:
    """At DEBUG botocore and urllib3 print the bodies of answers."""
    stream = io.StringIO()
    log.configure("json", level, stream)
    for name in ("botocore.parsers", "boto3.resources", "urllib3.connectionpool"):
        logging.getLogger(name).debug("body %s", CANARY)
    assert CANARY not in stream.getvalue()
    logging.getLogger("watchdog").error("from a library")
    assert lines(stream)[-1]["event"] == "from a library"


def test_a_reader_that_went_away_ends_nothing() -> None:
    """The agent does not die of its log."""

    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    log.configure("json", stream=Gone())
    structlog.get_logger().info("x")
    logging.getLogger("watchdog").error("y")


def test_rich_stays_out(tmp_path: Path) -> None:
    """It costs megabytes in every pod: the image has none, and where there is one an agent does not import it."""
    assert "rich" not in re.findall(r"^([a-z0-9-]+)==", (HOME / "requirements.lock").read_text(), re.MULTILINE)
    (tmp_path / "rich.py").write_text("raise SystemExit('imported')\n")
    script = (
        "from image.start import deferred\n"
        "deferred.install()\n"
        "import structlog\n"
        "from agent.observe import log\n"
        "log.configure('json')\n"
        "try: 1 // 0\n"
        "except ZeroDivisionError: structlog.get_logger().exception('x')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "ZeroDivisionError" in done.stderr, done.stderr
