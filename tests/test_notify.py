"""Telling a target: delivered, or refused with a reason."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.config import ProcessName, Signal, Target, Touch, Url
from agent.decide import Owed
from agent.notify import deliver
from tests.test_process import Children, children

__all__ = ["children"]


def owed(action: Touch | Signal | Url, visible_since: float | None = None) -> Owed:
    return Owed(Target("t", action, None, 0.0), 7, time.time() - 1.0, visible_since)


def test_touch_makes_the_file_and_moves_its_time(tmp_path: Path) -> None:
    """The modification time moves each time, also when the clock stands behind it; nothing is written."""
    path = tmp_path / "marker"
    first = deliver(owed(Touch(str(path))))
    assert (first.target, first.generation, first.accepted, first.message) == ("t", 7, True, f"touched {path}")
    assert first.seconds is not None and first.seconds >= 1.0
    path.write_text("kept")
    future = time.time_ns() + 10**12
    os.utime(path, ns=(future, future))
    assert deliver(owed(Touch(str(path)))).accepted
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
        delivery = deliver(owed(Touch(str(tmp_path / name))))
        assert not delivery.accepted and part in delivery.message and delivery.seconds is None
    assert not (tmp_path / "elsewhere").exists()


def test_a_signal_is_sent_once(children: Children) -> None:
    """To a process that handles it."""
    child = children.start("catch")
    delivery = deliver(owed(Signal("SIGHUP", ProcessName(children.name))))
    assert delivery.accepted and delivery.message == f"sent SIGHUP to process {child.pid} ({children.name})"
    assert child.stdout is not None
    assert child.stdout.readline() == "heard\n"
    child.kill()
    assert child.stdout.read() == ""


def test_a_process_without_a_handler_is_left_alive(children: Children) -> None:
    """It stays owed instead."""
    child = children.start()
    delivery = deliver(owed(Signal("SIGHUP", ProcessName(children.name))))
    assert not delivery.accepted and "no handler for SIGHUP" in delivery.message
    assert child.poll() is None


@pytest.mark.parametrize(("since", "told"), [(0.0, False), (None, True), (float("inf"), True)])
def test_a_process_that_started_later_has_the_files(children: Children, since: float | None, told: bool) -> None:
    """It counts as told; when that is not known it is signalled."""
    child = children.start("catch")
    delivery = deliver(owed(Signal("SIGHUP", ProcessName(children.name)), since))
    assert delivery.accepted
    child.kill() if not told else None
    assert child.stdout is not None
    assert child.stdout.readline() == ("heard\n" if told else "")


class Web:
    """A server that answers as the path says."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                web.heard.append((self.path, self.headers["User-Agent"], self.headers["Content-Length"]))
                self.send_response(int(self.path.split("/")[1].split("?")[0]))
                self.send_header("Location", f"{web.url}/200")
                self.end_headers()
                self.wfile.write(b"a body that nobody reads")

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.close()


@pytest.mark.parametrize(("status", "accepted"), [(200, True), (204, True), (302, False), (404, False), (500, False)])
def test_two_hundreds_accept_and_nothing_else(web: Web, status: int, accepted: bool) -> None:
    """One POST, no redirect, no retry, and neither query nor body in the message."""
    delivery = deliver(owed(Url(f"{web.url}/{status}?token=hunter2")))
    assert delivery.accepted is accepted
    assert f"answered {status}" in delivery.message
    assert "hunter2" not in delivery.message and "nobody reads" not in delivery.message
    assert [(path, length) for path, _, length in web.heard] == [(f"/{status}?token=hunter2", "0")]
    assert web.heard[0][1].startswith("freshmount/")


def test_a_url_that_nobody_answers_is_refused() -> None:
    """A refused connection, and one that is accepted and dropped."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"

        def drop() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=drop)
        thread.start()
        dropped = deliver(owed(Url(url)))
        thread.join()
    refused = deliver(owed(Url(url)))
    assert not dropped.accepted and not refused.accepted
    assert "cannot be called" in dropped.message and "cannot be called" in refused.message


def test_a_proxy_of_the_environment_is_not_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL is the pod's own; what proxies the way to AWS has no part in it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert deliver(owed(Url(f"{web.url}/200"))).accepted
