"""The demo as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

from tests.support.aws import REGION, Proxy, QuickStandIn, environment
from tests.support.running import PATIENCE, ended, until


@contextmanager
def demo(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-u", "-m", "agent", "demo", *options]
    env = {**environment(), "TMPDIR": str(home)}
    with ended(
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True), signal.SIGTERM
    ) as process:
        yield process


def told_until(process: subprocess.Popen[str], begins: str) -> list[str]:
    """The lines up to the one that begins so, without their indentation."""
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines[-1].startswith(begins):
            return lines
    raise AssertionError(f"the demo ended before {begins!r}:\n" + "\n".join(lines))


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
    """Every scene is told, on 80 columns; the table stands at the end, nothing is left behind."""
    with demo(tmp_path) as process:
        told, _ = process.communicate(timeout=3 * PATIENCE)
    assert process.returncode == 0, told
    for words in (
        "pw-2",
        "pw-3 and key-2",
        "/livez answers 200",
        "rotation → file",
        "0 torn, 0 mixed; 3 signals",
        "exit code 0",
        '0 → 3    notifications_total{target="app",result="accepted"}',
    ):
        assert words in told
    assert [line for line in told.replace(str(tmp_path), "/tmp").splitlines() if len(line) > 80] == []
    assert list(tmp_path.iterdir()) == [] and children_of(tmp_path) == []


@pytest.mark.full("nothing: .ci/run asks it in its run of all tests")
def test_what_it_says_to_try_works(tmp_path: Path) -> None:
    """The addresses that it prints answer, the line to copy rotates the password, and Ctrl-C ends all of it."""
    with demo(tmp_path, "--keep-running") as process:
        told = told_until(process, "rotate it yourself")
        for name, found in (("page", "<html"), ("status", '"secrets"'), ("metrics", "freshmount_"), ("health", "{")):
            (address,) = (line.split()[1] for line in told if re.match(rf"{name} +http", line))
            with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                assert found in answer.read().decode()
        (command,) = told_until(process, "sh ")
        elsewhere = {**os.environ, "AWS_PROFILE": "mine", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
        subprocess.run(command, shell=True, cwd="/", env=elsewhere, timeout=PATIENCE, check=True)
        assert "my-password" in told_until(process, "✓ the app was told")[-1]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in rest and "FAILED" not in rest
    assert list(tmp_path.iterdir()) == [] and children_of(tmp_path) == []


@pytest.mark.parametrize("value", ["{}", '{"password": "mine"}', '{"password": {"a": 1}}', "[]", "no JSON"])
def test_the_app_lives_whatever_is_rotated(tmp_path: Path, value: str) -> None:
    """A value without the keys that it reads is somebody's own experiment."""
    app = [sys.executable, "-m", "agent.demo.app", str(tmp_path), str(tmp_path / "app.pid")]
    (tmp_path / "..data").symlink_to(".")
    (tmp_path / "api.json").write_text("{}")
    (tmp_path / "next").write_text('{"password": "last"}')
    os.mkfifo(tmp_path / "db.json")
    with ended(subprocess.Popen(app, stdout=subprocess.PIPE, text=True)) as process:
        with (tmp_path / "db.json").open("w") as read_once:  # by the app, which has it open now
            read_once.write(value)
            (tmp_path / "next").rename(tmp_path / "db.json")
        assert process.stdout and any('"last"' in line for line in process.stdout)


def test_who_plays_aws_asks_no_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none answers, the name of an address takes seconds to be unknown; http.server asks for its own."""
    asked: list[str] = []
    for name in ("getfqdn", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, asked.append)
    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        aws.put("db", "one")
        session = boto3.session.Session("testing", "testing", region_name=REGION)
        answer = session.client("secretsmanager", endpoint_url=proxy.url).get_secret_value(SecretId="db")
    assert answer["SecretString"] == "one"
    assert asked == []


@pytest.mark.parametrize("moment", ["1. ", "4. "])
def test_ctrl_c_ends_it_cleanly(tmp_path: Path, moment: str) -> None:
    """Interrupted anywhere, it leaves no process, no file and no traceback."""
    with demo(tmp_path) as process:
        told_until(process, moment)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in rest
    until(lambda: children_of(tmp_path) == [])
    assert list(tmp_path.iterdir()) == []
