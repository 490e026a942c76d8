"""Clients that hold up a server: they lose their connections, and take nothing from others."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections.abc import Iterator

import pytest

from agent.controller import door
from agent.controller.part import Registry
from tests.controller.test_process import Played, Running
from tests.support.running import PATIENCE, until


@pytest.fixture
def running() -> Iterator[Running]:
    registry = Registry()
    it = Running(Played(registry), registry)
    try:
        yield it
    finally:
        it.end()


@contextlib.contextmanager
def client(to: Running, sent: bytes, address: str = "127.0.0.1", room: int = 0) -> Iterator[socket.socket]:
    """A connection on which that was sent; `room`: bytes that it takes without reading."""
    with socket.socket() as one:
        if room:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        one.bind((address, 0))
        one.settimeout(PATIENCE)
        one.connect(("127.0.0.1", int(str(to.lines[0]["port"]))))
        one.sendall(sent)
        yield one


def closed(one: socket.socket) -> bytes:
    """What the server sent until it closed the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := one.recv(1 << 16):
            found += part
    return found


def asked(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def answered(one: socket.socket) -> bytes:
    """One answer, whose connection stays open."""
    found = b""
    while not found.endswith(b"kept"):
        part = one.recv(1 << 16)
        assert part, found
        found += part
    return found


@pytest.mark.parametrize("sent", [b"", b"POST /v1/versions HTTP/1.1\r\nHost: x\r\nAuthorization: Bea"])
def test_a_head_that_does_not_come_costs_the_connection(
    running: Running, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that one alone: who waits for an answer goes on waiting, and is answered."""
    with client(running, asked("/held")) as waits:
        until(lambda: len(running.part.holding) == 1)
        monkeypatch.setattr(door, "HEAD", 0.2)
        with client(running, sent) as hostile:
            assert closed(hostile) == b""
        monkeypatch.undo()
        running.part.let_go()
        assert answered(waits).startswith(b"HTTP/1.1 200")
        waits.sendall(asked("/mine"))
        assert b"mine" in closed(waits)


def test_the_oldest_without_a_head_goes_where_an_address_has_too_many(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another address loses none, nor does the same one its connections with a head."""
    monkeypatch.setattr(door, "HEADLESS_OF_ADDRESS", 3)
    half = b"GET /mine HTTP/1.1\r\n"
    with contextlib.ExitStack() as ending:
        other = ending.enter_context(client(running, half, "127.0.0.2"))
        waits = ending.enter_context(client(running, asked("/held")))
        until(lambda: len(running.part.holding) == 1)
        hostile = [ending.enter_context(client(running, half)) for _ in range(5)]
        assert [closed(each) for each in hostile[:2]] == [b"", b""]
        for each in (*hostile[2:], other):
            each.sendall(b"Host: x\r\n\r\n")
            assert b"200 OK" in closed(each)
        running.part.let_go()
        assert answered(waits)


def test_the_oldest_without_a_head_goes_where_all_have_too_many(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "HEADLESS", 2)
    with contextlib.ExitStack() as ending:
        many = [ending.enter_context(client(running, b"GET", f"127.0.0.{number}")) for number in range(2, 5)]
        assert closed(many[0]) == b""
        assert running.page("/livez")[0] == 200, "it is new, so another one went"
        assert closed(many[1]) == b""
        many[2].sendall(b" /mine HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"mine" in closed(many[2])


def test_an_answer_that_nobody_reads_costs_the_connection(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "READ", 0.5)
    with client(running, asked("/much"), room=4096) as hostile:
        until(lambda: running.part.sent == 1)
        assert running.page("/mine")[0] == 200
        until(lambda: running.part.lost == 2)  # that one, and this
        assert len(closed(hostile)) < running.part.much


def test_only_who_is_known_keeps_a_connection(running: Running) -> None:
    for path, status in (("/mine", b"200"), ("/nothing", b"404"), ("/metrics", b"200")):
        with client(running, asked(path)) as one:
            assert closed(one).startswith(b"HTTP/1.1 " + status)
    with client(running, asked("/kept")) as one:
        answered(one)
        one.sendall(asked("/kept"))
        answered(one)


def test_the_next_head_is_waited_for_no_longer(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "KEPT", 0.2)
    with client(running, asked("/kept")) as one:
        answered(one)
        one.sendall(b"GET /mi")
        assert closed(one) == b""


def test_who_resets_its_connection_or_sends_no_http_is_no_line_of_the_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with client(running, b"GET / HTTP/1.1\r\nbad head\x00: \r\n\r\n") as one:
        assert b" 400 " in closed(one).partition(b"\r\n")[0]
    with client(running, b"GET /held") as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert running.page("/livez")[0] == 200
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
