"""Telling a target: delivered, or refused with a reason."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest
import trustme
import urllib3

from agent.core.model import Delivery, Pending, PidFile, ProcessName, Signal, Target, Touch, Url
from agent.targets import notify
from agent.targets.notify import Notified
from tests.support.answers import Answer, Answers, Asked
from tests.targets.test_process import Children, Proc, children, proc

__all__ = ["children", "proc"]


def deliver(pending: Pending) -> Delivery:
    return Notified(pending.target).deliver(pending)


def examine(target: Target) -> tuple[bool, str]:
    return Notified(target).examine()


def pending(action: Touch | Signal | Url, visible_since: float | None = None) -> Pending:
    return Pending(Target("t", action, None, 0.0), 7, time.time() - 1.0, visible_since)


def test_touch_makes_the_file_and_moves_its_time(tmp_path: Path) -> None:
    """The modification time moves each time, also when the clock stands behind it; nothing is written."""
    path = tmp_path / "marker"
    first = deliver(pending(Touch(str(path))))
    assert (first.target, first.generation, first.accepted, first.message) == ("t", 7, True, f"touched {path}")
    assert first.seconds is not None and first.seconds >= 1.0
    path.write_text("kept")
    future = time.time_ns() + 10**12
    os.utime(path, ns=(future, future))
    assert deliver(pending(Touch(str(path)))).accepted
    assert path.stat().st_mtime_ns == future + 1
    assert path.read_text() == "kept"


def test_touch_follows_nothing_and_hangs_on_nothing(tmp_path: Path) -> None:
    """A link, a FIFO, a directory or a missing parent is refused with its own sentence."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "fifo")
    for name, part in (
        ("link", "symbolic link"),
        ("fifo", "not a regular file"),
        (".", "not a regular file"),
        ("no/such", "does not exist"),
    ):
        delivery = deliver(pending(Touch(str(tmp_path / name))))
        assert not delivery.accepted and part in delivery.message and delivery.seconds is None
    assert not (tmp_path / "elsewhere").exists()


def test_a_signal_is_sent_once(children: Children) -> None:
    """To a process that handles it."""
    child = children.start("catch")
    delivery = deliver(pending(Signal("SIGHUP", ProcessName(children.name))))
    assert delivery.accepted and delivery.message == f"sent SIGHUP to process {child.pid} ({children.name})"
    assert child.stdout is not None
    assert child.stdout.readline() == "heard\n"
    child.kill()
    assert child.stdout.read() == ""


def test_a_process_without_a_handler_is_left_alive(children: Children) -> None:
    """It stays owed instead."""
    child = children.start()
    delivery = deliver(pending(Signal("SIGHUP", ProcessName(children.name))))
    assert not delivery.accepted and "no handler for SIGHUP" in delivery.message
    assert child.poll() is None


def test_what_a_runtime_catches_is_sent_by_a_word_of_the_config_alone(children: Children) -> None:
    """Go's catches everything, so /proc says nothing of the program: it stays owed, with the key that settles it."""
    child = children.start("catch-all")
    refused = deliver(pending(Signal("SIGHUP", ProcessName(children.name))))
    assert not refused.accepted and "`handled: true`" in refused.message and str(child.pid) in refused.message
    assert deliver(pending(Signal("SIGHUP", ProcessName(children.name), handled=True))).accepted
    assert child.stdout is not None
    assert child.stdout.readline() == "heard\n"
    child.kill()
    assert child.stdout.read() == ""


def test_no_word_of_the_config_makes_a_handler(children: Children) -> None:
    """What by /proc does not handle the signal is left alive."""
    child = children.start()
    refused = deliver(pending(Signal("SIGHUP", ProcessName(children.name), handled=True)))
    assert not refused.accepted and "no handler for SIGHUP" in refused.message
    assert child.poll() is None


RUNTIMES = {
    "bash": (["bash", "-c", "trap 'echo bye' EXIT; echo ready; while :; do sleep 1; done"], "SIGHUP"),
    "ruby": (["ruby", "-e", "puts 'ready'; STDOUT.flush; sleep"], "SIGHUP"),
    "node": (["node", "-e", "console.log('ready'); setInterval(() => {}, 1000)"], "SIGTERM"),
    "erl": (["erl", "-noinput", "-eval", 'io:format("ready~n")'], "SIGUSR1"),
    # Without the compiler that would take a second to make its own code quick.
    "java": (["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "Wait.java"], "SIGHUP"),
    "go": (["./wait"], "SIGHUP"),
    sys.executable: ([sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"], "SIGINT"),
}
JAVA = """
public class Wait {
    public static void main(String[] args) throws Exception { System.out.println("ready"); Thread.sleep(600000); }
}
"""
GO = """
package main

import ("fmt"; "time")

func main() { fmt.Println("ready"); time.Sleep(time.Hour) }
"""


SLOW = {"java": [pytest.mark.full("other runtimes of which the same holds")]}


@pytest.mark.parametrize(
    "program", [pytest.param(name, id=Path(name).name, marks=SLOW.get(name, [])) for name in RUNTIMES]
)
def test_a_program_that_only_its_runtime_makes_catch_lives_on(program: str, tmp_path: Path) -> None:
    """The real ones, as far as they are here."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    argv, name = RUNTIMES[program]
    (tmp_path / "Wait.java").write_text(JAVA)
    (tmp_path / "wait.go").write_text(GO)
    if program == "go":
        subprocess.run(["go", "build", "-o", "wait", "wait.go"], cwd=tmp_path, check=True)
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            (tmp_path / "pid").write_text(str(child.pid))
            refused = deliver(pending(Signal(name, PidFile(str(tmp_path / "pid")))))
            assert not refused.accepted and "`handled: true`" in refused.message
            assert child.poll() is None
        finally:
            os.killpg(child.pid, signal.SIGKILL)


@pytest.mark.parametrize(("since", "told"), [(0.0, False), (None, True), (float("inf"), True)])
def test_a_process_that_started_later_has_the_files(children: Children, since: float | None, told: bool) -> None:
    """It counts as told; when that is not known it is signalled."""
    child = children.start("catch")
    delivery = deliver(pending(Signal("SIGHUP", ProcessName(children.name)), since))
    assert delivery.accepted
    child.kill() if not told else None
    assert child.stdout is not None
    assert child.stdout.readline() == ("heard\n" if told else "")


@pytest.fixture
def web() -> Iterator[Answers]:
    """Answers as the path says."""

    def answer(asked: Asked) -> Answer:
        status = int(asked.path.split("/")[1].split("?")[0])
        return Answer(b"a body that nobody reads", status, headers=(("Location", f"{web.url}/200"),))

    with Answers(answer) as web:
        yield web


@pytest.mark.parametrize(("status", "accepted"), [(200, True), (204, True), (302, False), (404, False), (500, False)])
def test_two_hundreds_accept_and_nothing_else(web: Answers, status: int, accepted: bool) -> None:
    """One POST, no redirect, no retry, and neither query nor body in the message."""
    delivery = deliver(pending(Url(f"{web.url}/{status}?token=hunter2")))
    assert delivery.accepted is accepted
    assert f"answered {status}" in delivery.message
    assert "hunter2" not in delivery.message and "nobody reads" not in delivery.message
    assert [(asked.path, asked.headers["Content-Length"]) for asked in web.asked] == [(f"/{status}?token=hunter2", "0")]
    assert web.asked[0].headers["User-Agent"].startswith("freshmount/")


def test_a_process_on_a_kernel_that_does_not_tell_is_left_alive(proc: Proc, children: Children) -> None:
    """gVisor's /proc: refused with a sentence, and sent when the config vouches for the program."""
    proc.without(b"Sig")
    refused = deliver(pending(Signal("SIGHUP", ProcessName(children.name))))
    assert not refused.accepted and "SigCgt" in refused.message and "`handled: true`" in refused.message
    assert deliver(pending(Signal("SIGHUP", ProcessName(children.name), handled=True))).accepted
    (child,) = children.started
    assert child.stdout is not None
    assert child.stdout.readline() == "heard\n"


@contextmanager
def answering(answer: bytes | None, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Where a server answers each request with these bytes and ends the connection; None: it never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            kept = []
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                # Who was answered too much hangs up before the last byte; the next one is still to be answered.
                with suppress(OSError):
                    client = context.wrap_socket(client, server_side=True) if context else client
                    client.settimeout(10.0)
                    client.recv(1 << 16)
                    kept.append(client)
                    if answer is not None:
                        client.sendall(answer)
                        client.shutdown(socket.SHUT_WR)
                        while client.recv(1 << 16):  # what is closed with a part unread is reset, the answer with it
                            pass
                        client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def said_of(url: str) -> str:
    """What a delivery and `doctor` say of a URL: the same, and nothing of Python's or of the other side's."""
    action = Url(url)
    delivery, (reachable, examined) = deliver(pending(action)), examine(Target("t", action, None, 0.0))
    assert not delivery.accepted and not reachable
    assert delivery.message == examined
    for word in ("Error", "Exception", "urllib3", "object", "Errno", "hunter2", "SSL:", "Connection(", "canary"):
        assert word not in delivery.message
    return delivery.message


def test_why_a_url_cannot_be_called_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cause by its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
    assert said_of(f"http://{free}/x?token=hunter2").startswith(f"http://{free}/x cannot be called: Connection refused")
    assert "DNS" in said_of("http://nobody.invalid/x?token=hunter2")
    for host in ("a" * 70 + ".example", "a..example", "[zz]", "a:99999"):
        assert host in (message := said_of(f"http://{host}/x")) and "URL" in message
    with answering(b"") as address:
        assert "closed" in said_of(f"http://{address}/x")
    for answer in (b"SSH-2.0-canary\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"canary" * 20_000 + b"\r\n\r\n"):
        with answering(answer) as address:
            assert "not HTTP" in said_of(f"http://{address}/x")
    with answering(b"HTTP/1.1 400 canary\r\n\r\n") as address:
        assert "TLS" in said_of(f"https://{address}/x")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", context) as address:
        assert "certificate" in said_of(f"https://{address}/x")
    short = urllib3.Timeout(connect=0.1, read=0.1)
    monkeypatch.setattr("agent.targets.url._TIMEOUT", short)
    monkeypatch.setattr("agent.targets.url._EXAMINED", short)
    with answering(None) as address:
        assert "no answer in time" in said_of(f"http://{address}/x")


@pytest.mark.parametrize("error", [KeyError("canary"), ValueError("canary"), UnicodeError("canary"), RuntimeError()])
def test_what_nobody_foresaw_is_refused_like_anything_else(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is one target's refusal, and where it came from is in the debug log."""

    def broken(_target: Target, _ours: object) -> NoReturn:
        raise error

    monkeypatch.setattr(notify, "_notifier", broken)
    with caplog.at_level(logging.DEBUG):
        delivery = deliver(pending(Touch("/nowhere")))
    assert (delivery.target, delivery.generation, delivery.accepted, delivery.seconds) == ("t", 7, False, None)
    assert examine(Target("t", Touch("/nowhere"), None, 0.0)) == (False, delivery.message)
    assert delivery.message and "canary" not in delivery.message and type(error).__name__ not in delivery.message
    assert any(record.exc_info and record.exc_info[1] is error for record in caplog.records)


def test_a_path_that_is_none_is_refused() -> None:
    """Also one that the system calls do not take."""
    for path in ("/a\0b", "/\ud800", "/" + "a" * 5000):
        assert not deliver(pending(Touch(path))).accepted
        assert not deliver(pending(Signal("SIGHUP", PidFile(path)))).accepted


def test_a_proxy_of_the_environment_is_not_asked(web: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL is the pod's own; what proxies the way to AWS has no part in it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert deliver(pending(Url(f"{web.url}/200"))).accepted


def test_a_kind_that_cannot_be_imported_now_leaves_the_target_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first target of its kind comes by an edit, in a machine that opens no file any more: no error of ours."""
    monkeypatch.setitem(sys.modules, "agent.targets.touch", None)
    delivery = deliver(pending(Touch("/nowhere/marker")))
    assert not delivery.accepted and "agent.targets.touch" in delivery.message
    assert "internal error" not in delivery.message
