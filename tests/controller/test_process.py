"""The controller's process as a whole: probes, metrics, its end."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest
import structlog
from prometheus_client import Counter

from agent.controller import door, process
from agent.controller.options import Listen
from agent.controller.part import Registry
from agent.core.errors import StartError
from tests.support.paths import ROOT
from tests.support.running import freshmount


class Told(asyncio.Protocol):
    """A connection that a part serves as its path says."""

    def __init__(self, part: Played, line: door.Line) -> None:
        self.part, self.line = part, line
        self.loop = asyncio.get_running_loop()
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.head += data
        if not self.head.endswith(b"\r\n\r\n"):
            return
        path, self.head = self.head.split()[1].decode(), b""
        self.line.headed()
        if path == "/held":
            self.part.holding.append(self)
        elif path == "/much":  # more than any buffer holds
            self.transport.write(bytes(self.part.much))
            self.part.sent += 1
        else:
            self.answer(path[1:])

    def answer(self, text: str) -> None:
        self.transport.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        if text == "kept":
            self.line.answered()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.part.lost += 1


class Played:
    """A part that does what a test tells it to."""

    name = "played"

    def __init__(self, registry: Registry) -> None:
        Counter("freshmount_controller_played", "Of this test.", registry=registry).inc()
        self.said: dict[str, str | None] = {"stalled": None, "unready": None}
        self.ending: Future[None] = Future()
        self.cancelled = threading.Event()
        self.holding: list[Told] = []
        self.sent = self.lost = 0
        self.much = 64 << 20

    def serves(self) -> dict[str, door.Serve]:
        return {path: lambda line: Told(self, line) for path in ("/mine", "/kept", "/held", "/much")}

    def let_go(self) -> None:
        """Answer those who are held."""
        for one in self.holding:
            one.loop.call_soon_threadsafe(one.answer, "kept")

    async def run(self) -> None:
        try:
            await asyncio.wrap_future(self.ending)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def stalled(self) -> str | None:
        return self.said["stalled"]

    def unready(self) -> str | None:
        return self.said["unready"]


class Running:
    """A process's loop with one part, in this process, and its page."""

    def __init__(self, part: Played, registry: Registry) -> None:
        self.part = part
        self.lines: list[dict[str, object]] = []
        self._listening = threading.Event()
        self.failed: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._registry = registry
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._listening.wait(30)

    def _run(self) -> None:
        async def all_of_it() -> None:
            self._loop = asyncio.get_running_loop()
            await process.serve(Listen("127.0.0.1", 0), [self.part], self._registry, self._log(), self.stop)

        self.stop = asyncio.Event()
        try:
            asyncio.run(all_of_it())
        except BaseException as error:
            self.failed = error

    def _log(self) -> object:
        def keep(_logger: object, _method: str, event: dict[str, object]) -> str:
            self.lines.append(event)
            if event["event"] == "listening":
                self._listening.set()
            return ""

        return structlog.wrap_logger(structlog.ReturnLogger(), processors=[keep])

    def page(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.lines[0]['port']}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def end(self) -> None:
        assert self._loop
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self.stop.set)
        self.joined()

    def joined(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def running() -> Iterator[Running]:
    registry = Registry()
    it = Running(Played(registry), registry)
    try:
        yield it
    finally:
        it.end()


def test_a_part_has_its_pages_beside_metrics_and_probes(running: Running) -> None:
    assert running.page("/mine") == (200, "mine")
    assert "freshmount_controller_played_total 1.0" in running.page("/metrics")[1]
    assert running.page("/livez")[0] == running.page("/readyz")[0] == 200
    assert running.page("/nothing")[0] == 404


@pytest.mark.parametrize(
    ("said", "page", "other"), [("stalled", "/livez", "/readyz"), ("unready", "/readyz", "/livez")]
)
def test_a_probe_says_why(running: Running, said: str, page: str, other: str) -> None:
    running.part.said[said] = "the queue has stood still for 90 s"
    assert running.page(page) == (503, "the queue has stood still for 90 s")
    assert running.page(other)[0] == 200


def test_a_stop_cancels_the_parts_and_raises_nothing(running: Running) -> None:
    running.end()
    assert running.part.cancelled.is_set() and running.failed is None
    assert running.lines[-1]["event"] == "stopped"


def test_what_a_part_raises_ends_the_process(running: Running) -> None:
    running.part.ending.set_exception(StartError("the API server cannot be reached"))
    running.joined()
    assert isinstance(running.failed, StartError) and "API server" in str(running.failed)


def _command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return freshmount("controller", *words, cwd=ROOT, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("words", "noun"),
    [
        ([], "--external-secrets"),
        (["--hub", "--listen", "9106"], "[HOST]:PORT"),
        (["--hub", "--listen", ":99999"], "[HOST]:PORT"),
    ],
)
def test_a_slip_in_the_flags_is_a_usage_error(words: list[str], noun: str) -> None:
    done = _command(*words)
    assert done.returncode == 2 and noun in done.stderr


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = Listen("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(StartError, match=f"127.0.0.1:{where.port}"):
            process.run(where, lambda _: [], structlog.get_logger())


def test_without_its_libraries_it_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise ModuleNotFoundError('no', name='aiohttp')")
    done = _command("--hub", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and "aiohttp" in done.stderr and "freshmount[controller]" in done.stderr
