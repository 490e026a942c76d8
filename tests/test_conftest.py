"""What the tests start from, seen from a test run within this one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.paths import ROOT
from tests.support.running import PATIENCE, freshmount, started


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
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # to import them takes half of all
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


def test_what_is_forked_is_as_what_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory, descriptors, signals and session while it waits for an answer; and how it ends."""

    def seen(forked: bool) -> dict[str, object]:
        monkeypatch.setattr(warm, "enabled", forked)
        with socket.create_server(("127.0.0.1", 0)) as agent:
            argv = ["wait", "--port", str(agent.getsockname()[1]), "--timeout", "1h"]
            process = started(argv, os.environ, cwd=tmp_path, start_new_session=True)
            assert isinstance(process, warm.Forked) is forked
            with agent.accept()[0]:
                proc = Path(f"/proc/{process.pid}")
                status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
                found = {
                    **{name: status[name] for name in ("Name", "Threads", "SigBlk", "SigIgn", "SigCgt", "Umask")},
                    "directory": (proc / "cwd").readlink(),
                    "descriptors": sorted(path.name for path in (proc / "fd").iterdir()),
                    "leads a session": os.getsid(process.pid) == process.pid,
                }
                process.send_signal(signal.SIGINT)
                assert process.stdout and process.stderr
                return found | {"code": process.wait(PATIENCE), "said": process.stdout.read() + process.stderr.read()}

    assert seen(forked=True) == seen(forked=False)
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = []
    for forked in (True, False):
        monkeypatch.setattr(warm, "enabled", forked)
        done.append(freshmount("check", "--config=/dev/stdin", given="größe: 7", env=env, closed=[1], cwd=tmp_path))
    assert done[0].returncode == done[1].returncode != 0 and done[0].stderr == done[1].stderr
    assert "gr\\xf6\\xdfe" in done[0].stderr and done[0].stdout == done[1].stdout == ""
