"""The endpoint in a crowd: idle and slow connections, oversize and malformed requests, and a scraper among them."""

from __future__ import annotations

import http.client
import random
import socket
import statistics
import threading
import time
from contextlib import suppress

from tests.support.pod import Pod
from tests.support.resting import settled
from tests.support.running import PATIENCE, Agent, running, until
from tests.torture.canary import CANARY
from tests.torture.conftest import Length, Report

IDLE, SLOW = 500, 50
WITHIN = 0.1  # seconds beyond an unloaded scrape


class Crowd:
    """Connections that say nothing and connections that drip; who is dropped comes back. Ends with `close`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self.opened = 0
        self._thread = threading.Thread(target=self._press, daemon=True)
        self._thread.start()
        until(lambda: self.opened >= IDLE + SLOW)

    def _press(self) -> None:
        open_ = [self._connect() for _ in range(IDLE + SLOW)]
        while not self._ended.wait(0.1):
            for number, connection in enumerate(open_):
                dropped = False
                try:
                    if number < SLOW:
                        connection.send(b"x")
                    dropped = connection.recv(1) == b""
                except BlockingIOError:
                    pass
                except OSError:
                    dropped = True
                if dropped:
                    connection.close()
                    open_[number] = self._connect()
        for connection in open_:
            connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        connection.setblocking(False)
        self.opened += 1
        return connection

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def _scrape(agent: Agent) -> float:
    """Seconds that one scrape takes on a connection of its own."""
    began = time.perf_counter()
    status, text = agent.page("/metrics")
    assert status == 200 and "freshmount_build_info" in text
    return time.perf_counter() - began


def test_a_scrape_is_answered_in_a_crowd(pod: Pod, length: Length, report: Report) -> None:
    """Beside an unloaded one, in turns; no thread more for all of them."""
    pod.put("db", CANARY)
    rounds, each, violations = length.choose(10, 1), length.choose(20, 5), []
    alone: list[float] = []
    crowded: list[float] = []
    opened = 0
    with running("run", pod.write(pod.secret("db", "{path: db}"))) as agent:
        before = settled(agent).usage()
        for _ in range(rounds):
            alone += [_scrape(agent) for _ in range(each)]
            crowd = Crowd(agent.port)
            crowded += [_scrape(agent) for _ in range(each)]
            if agent.usage().threads > before.threads:
                violations.append(f"{before.threads} threads became {agent.usage().threads}")
            crowd.close()
            opened += crowd.opened
        until(lambda: agent.usage().files <= before.files)
        assert agent.stop() == 0
    slower = statistics.median(crowded) - statistics.median(alone)
    if slower > (WITHIN if length.full else PATIENCE):  # how much slower is for a run that is alone on its machine
        violations.append(f"a scrape took {slower:.3f} s longer")
    report.row(
        f"{IDLE} idle and {SLOW} slow connections: a scrape takes at most {1000 * WITHIN:g} ms longer, no thread more",
        f"{len(crowded)} scrapes beside {len(alone)} without, {opened:,} connections; median "
        f"{1000 * statistics.median(crowded):.1f} beside {1000 * statistics.median(alone):.1f} ms",
        violations,
        f"{1000 * max(crowded):.0f} ms",
    )


def test_requests_that_are_none(pod: Pod, length: Length, report: Report) -> None:
    """Random bytes, heads without end, bodies that nobody asked for: a short answer or none, and the agent goes on."""
    pod.put("db", CANARY)
    turns, rng, answered, violations = length.choose(5000, 200), random.Random(5), 0, []
    with running("run", pod.write(pod.secret("db", "{path: db}"))) as agent:
        before = settled(agent).usage()
        for _ in range(turns):
            sent = rng.choice(
                [
                    rng.randbytes(rng.randint(1, 2000)) + b"\r\n\r\n",
                    b"GET /" + b"a" * rng.randint(1, 40_000) + b" HTTP/1.1\r\n\r\n",
                    b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * rng.randint(0, 5000) + b"\r\n",
                    b"POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * rng.randint(0, 5000),
                    b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                    b"GET /metrics HTTP/1.1\r\n\r\n" * rng.randint(1, 20),
                ]
            )
            answer = b""
            with suppress(OSError), socket.create_connection(("127.0.0.1", agent.port), timeout=10) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    answer += part
            answered += bool(answer)
            if answer and not answer.startswith(b"HTTP/1.1 "):
                violations.append(f"answered {answer[:50]!r}")
        with suppress(http.client.HTTPException):
            _scrape(agent)
        after = agent.usage()
        if after.rss > 1.2 * before.rss or after.threads > before.threads:
            violations.append(f"{before} became {after}")
        until(lambda: agent.usage().files <= before.files)
        assert agent.stop() == 0
    if "internal error" in agent.stderr or "Traceback" in agent.stderr:
        violations.append(agent.stderr[-500:])
    report.row(
        "oversize and malformed requests: a short answer or none, no thread and no descriptor is left",
        f"{turns:,} requests, {answered:,} answered, {before.rss:.1f} → {after.rss:.1f} MiB",
        violations,
    )
