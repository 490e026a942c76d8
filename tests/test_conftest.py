"""What the tests start from, seen from a test run within this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def run_tests(home: Path, source: str, *, within: str = "exec") -> str:
    """What pytest says of a file of tests, started by that shell command."""
    (home / "test_it.py").write_text(source)
    (home / "pytest.ini").write_text("[pytest]\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        ["sh", "-c", f'{within} "$@"', "sh", *argv, f"--rootdir={home}", str(home)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return done.stdout + done.stderr


def test_children_do_not_inherit_signals_that_are_ignored(tmp_path: Path) -> None:
    """Of a job in the background or beneath nohup; the run itself goes on ignoring them."""
    told = run_tests(
        tmp_path,
        "import os, signal, subprocess\n"
        "def test():\n"
        "    for number in (signal.SIGINT, signal.SIGHUP):\n"
        "        os.kill(os.getpid(), number)\n"
        "        child = subprocess.run(['sh', '-c', f'kill -{number:d} $$; echo lived'], stdout=subprocess.PIPE)\n"
        "        assert (child.returncode, child.stdout) == (-number, b'')\n",
        within="trap '' INT HUP; exec",
    )
    assert "1 passed" in told, told


def test_a_test_that_waits_for_ever_fails(tmp_path: Path) -> None:
    """Also twice: in the test, and in what tidies up after it."""
    told = run_tests(
        tmp_path,
        "import subprocess\n"
        "from tests import conftest\n"
        "conftest.LONGEST = conftest._AGAIN = 0.2\n"
        "def test():\n"
        "    with subprocess.Popen(['sleep', '20']) as child:\n"
        "        child.wait()\n"
        "def test_next():\n"
        "    pass\n",
    )
    assert "did not end within" in told and "1 failed, 1 passed" in told, told
