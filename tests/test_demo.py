"""The demo as a newcomer runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.aws import environment
from tests.running import PATIENCE, until


def start(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "agent", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**environment(), "TMPDIR": str(home)},
        text=True,
    )


def children_of(home: Path) -> list[str]:
    """The processes whose command line names the home of this demo."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_text()
            except OSError:
                continue
            if str(home) in line:
                found.append(line)
    return found


def test_the_whole_story_happens(tmp_path: Path) -> None:
    """Every scene is told, the table stands at the end, nothing is left behind."""
    demo = start(tmp_path)
    told, _ = demo.communicate(timeout=3 * PATIENCE)
    assert demo.returncode == 0, told
    for line in (
        "the first generation is complete",
        "uses password pw-2",
        "the app uses pw-3 and key-2",
        "the files stay byte for byte, /livez answers 200",
        "rotation → file",
        "0 torn, 0 mixed; 3 signals",
        "with exit code 0",
        '0 → 3    notifications_total{result="accepted",target="app"}',
        "all of it happened as promised",
    ):
        assert line in told
    assert list(tmp_path.iterdir()) == [] and children_of(tmp_path) == []


@pytest.mark.parametrize("moment", ["1. ", "4. "])
def test_ctrl_c_ends_it_cleanly(tmp_path: Path, moment: str) -> None:
    """Interrupted anywhere, it leaves no process, no file and no traceback."""
    demo = start(tmp_path)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(moment):
            break
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 130
    assert "Traceback" not in rest
    until(lambda: children_of(tmp_path) == [])
    assert list(tmp_path.iterdir()) == []
