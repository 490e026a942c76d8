"""The HTTP endpoint over real sockets."""

from __future__ import annotations

import http.client
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.errors import StartError
from agent.observe.http import AT_ONCE, Page, Server, serve
from tests.support.running import ended

PAGES = {"/ok": lambda: Page(200, "text/plain", b"fine\n"), "/bad": lambda: Page(503, "application/json", b"{}\n")}


@pytest.fixture
def server() -> Iterator[Server]:
    server = serve("127.0.0.1", 0, PAGES)
    yield server
    server.close()


def ask(server: Server, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


def thread() -> threading.Thread:
    """The one that serves."""
    (found,) = [thread for thread in threading.enumerate() if thread.name == "http"]
    return found


def test_pages_by_path_and_nothing_else(server: Server) -> None:
    """Anything else is 404, another method 405; nothing tells who serves."""
    assert ask(server, "/ok")[:2] == (200, b"fine\n")
    assert ask(server, "/ok?x=1")[:2] == (200, b"fine\n")
    assert ask(server, "/bad")[:2] == (503, b"{}\n")
    assert ask(server, "/")[0] == ask(server, "/ok/")[0] == ask(server, "/metrics")[0] == 404
    assert ask(server, "/ok", "POST")[0] == ask(server, "/ok", "DELETE")[0] == 405
    status, body, headers = ask(server, "/ok", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "5")
    assert "Server" not in headers


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        (None, True),
        ("", True),
        ("127.0.0.1", True),
        ("10.1.2.3:9105", True),  # kubelet and Prometheus
        ("[fd00::1]:9105", True),
        ("[::1]", True),
        ("[fe80::1%25eth0]:9105", True),
        ("localhost:9105", True),
        ("LOCALHOST.", True),
        ("app.localhost:9105", True),
        ("web", True),
        ("web-0.web.default.svc:9105", True),
        ("web.default.svc.cluster.local.:9105", True),
        ("own", True),
        ("evil.example:9105", False),
        ("evil.example", False),
        ("evil.example.", False),
        ("127.0.0.1.evil.example:9105", False),
        ("localhost.evil.example:9105", False),
        ("evil.svc.example", False),
        ("notlocalhost.example", False),
        ("127.0.0.1.:x", False),
        ("[::1].evil.example", False),
        ("\xff.example", False),
    ],
)
def test_a_name_that_a_stranger_owns_gets_no_more_than_a_stranger(
    host: str | None, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a page does that lets its own name lead to a port-forward. All other pages are everybody's."""
    monkeypatch.setattr(socket, "gethostname", lambda: "web-0.Example")
    host = "web-0.example:9105" if host == "own" else host
    strangers = {"/ok": lambda: Page(421, "text/plain", b"no\n")}
    server = serve("127.0.0.1", 0, PAGES, strangers=strangers)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for path in ("/ok", "/bad"):
            named = "" if host is None else f"hOst: {host}\r\n"
            connection.sendall(f"GET {path} HTTP/1.1\r\n{named}\r\n".encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    server.close()
    assert [part[:4] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200 " if ours else b"421 ", b"503 "]
    assert (b"fine" in answer) is ours


def test_a_connection_can_be_used_again(server: Server) -> None:
    """A scraper keeps its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/ok")
        assert connection.getresponse().read() == b"fine\n"
    connection.close()


def test_a_crowd_of_idle_clients_keeps_nobody_out(server: Server) -> None:
    """Beyond the limit the oldest makes room."""
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(AT_ONCE + 10)]
    idle[-1].sendall(b"GET /ok HT")
    assert ask(server, "/ok")[0] == 200
    assert idle[0].recv(1) == b""
    idle[-1].sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
    assert idle[-1].recv(15) == b"HTTP/1.1 200 OK"
    for connection in idle:
        connection.close()


def test_a_crowd_costs_no_thread() -> None:
    """Counted in a process of its own, where nobody else's thread comes or goes; none is left when it is closed."""
    script = (
        "import sys, threading\n"
        "from agent.observe.http import Page, serve\n"
        "server = serve('127.0.0.1', 0, {'/ok': lambda: Page(200, 'text/plain', b'')})\n"
        "for line in sys.stdin:\n"
        "    if line == 'close\\n': server.close()\n"
        "    print(server.port, threading.active_count(), flush=True)\n"
    )
    argv = [sys.executable, "-c", script]
    with ended(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)) as process:
        assert process.stdin and process.stdout

        def told(what: str = "") -> tuple[int, int]:
            process.stdin.write(f"{what}\n")
            port, threads = process.stdout.readline().split()
            return int(port), int(threads)

        port, before = told()
        idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(50)]
        idle[-1].sendall(b"GET /ok HTTP/1.0\r\n\r\n")
        assert idle[-1].recv(15) == b"HTTP/1.1 200 OK"  # all that came before it were accepted
        assert (before, told()[1], told("close")[1]) == (2, 2, 1)
        for connection in idle:
            connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"<script>\x00\r\n\r\n", b"400"),
        (b"GET /ok\r\n\r\n", b"400"),
        (b"GET /ok HTTP/2.0\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 20_000, b"431"),
        (b"GET /ok HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b"431"),
        (b"POST /ok HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /", b"405"),
    ],
)
def test_what_is_not_understood_is_answered_shortly_and_ends_the_connection(
    server: Server, sent: bytes, status: bytes
) -> None:
    """And nothing of it comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(sent)
        answer = connection.makefile("rb").read()
    assert answer.split(b" ")[1] == status and answer.count(b"HTTP/1.1") == 1
    assert b"script" not in answer and b"xxx" not in answer and b"Python" not in answer


def test_requests_may_follow_each_other_without_waiting(server: Server) -> None:
    """In order; the one that asks for an end is the last."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        requests = (
            b"GET /ok HTTP/1.1\r\n\r\n",
            b"HEAD /ok HTTP/1.1\r\n\r\n",
            b"GET /x HTTP/1.1\r\nconnection:Close\r\n\r\n",
        )
        for byte in b"".join(requests):
            connection.sendall(bytes([byte]))
        answer = connection.makefile("rb").read()
    assert [part[:4] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200 ", b"200 ", b"404 "]


def test_a_client_that_does_not_read_gets_no_more_than_it_reads() -> None:
    """Answers do not pile up for it, and others are served meanwhile."""
    asked: list[int] = []

    def large() -> Page:
        asked.append(1)
        return Page(200, "text/plain", b"x" * (4 << 20))

    server = serve("127.0.0.1", 0, {"/large": large, **PAGES})
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\n\r\n" * 500)
        connection.recv(1)
        assert ask(server, "/ok")[0] == 200
        assert len(asked) < 10
    server.close()


def test_a_page_that_breaks_is_a_500() -> None:
    """Without detail for the client, reported to us, and the server lives."""
    reported: list[Exception] = []

    def broken() -> Page:
        raise ValueError("canary")

    other = serve("127.0.0.1", 0, {"/broken": broken, **PAGES}, reported.append)
    status, body, _ = ask(other, "/broken")
    assert (status, b"canary" in body) == (500, False)
    assert [str(error) for error in reported] == ["canary"]
    assert ask(other, "/ok")[0] == 200
    other.close()


def test_a_taken_port_says_what_to_do(server: Server) -> None:
    """The address and the setting are named."""
    with pytest.raises(StartError, match=rf"127\.0\.0\.1:{server.port}.*`listen`"):
        serve("127.0.0.1", server.port, PAGES)


def test_closing_ends_the_thread_and_frees_the_port() -> None:
    """Also with a connection open."""
    server = serve("127.0.0.1", 0, PAGES)
    port, serving = server.port, thread()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"HEAD /ok HTTP/1.1\r\n\r\n")
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        server.close()
        assert not serving.is_alive() and connection.makefile("rb").read().endswith(b"\r\n\r\n")
    again = serve("127.0.0.1", port, PAGES)
    assert ask(again, "/ok")[0] == 200
    again.close()


def test_all_addresses_means_both_families() -> None:
    """`[::]` answers IPv4 too; where there is no IPv6 it is IPv4 alone."""
    server = serve("::", 0, PAGES)
    assert ask(server, "/ok")[0] == 200
    server.close()


def test_a_head_or_body_that_comes_late_takes_no_answer_away(server: Server) -> None:
    """What the client goes on sending is no reason to reset the connection, on which it did not read the answer yet."""
    for head, status in ((b"POST /ok HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", b"405"), (b"GET /", b"431")):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(head)
            for _ in range(10):
                connection.sendall(b"x" * 100_000)
            answer = connection.makefile("rb").read()
        assert answer.split(b" ")[1] == status and answer.count(b"HTTP/1.1") == 1


def test_an_answer_larger_than_the_kernel_takes_is_whole_and_so_are_the_next() -> None:
    """Also the last one, after which the connection ends."""
    large = os.urandom(1 << 20) * 8
    server = serve("127.0.0.1", 0, {"/large": lambda: Page(200, "text/plain", large), **PAGES})
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\n\r\nGET /ok HTTP/1.1\r\n\r\nGET /large HTTP/1.0\r\n\r\n")
        answer = connection.makefile("rb").read()
    server.close()
    parts = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert parts == [large, b"fine\n", large]


def test_who_does_not_ask_in_time_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a byte now and then nor an answer that is not read gains time; a whole request does."""
    monkeypatch.setattr("agent.observe.http.CONNECTION_TIMEOUT", 2.0)
    server = serve("127.0.0.1", 0, {"/large": lambda: Page(200, "text/plain", b"x" * (16 << 20)), **PAGES})
    began = time.monotonic()
    idle, drips, stalls = (socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(3))
    stalls.sendall(b"GET /large HTTP/1.1\r\nConnection: close\r\n\r\n")
    busy = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    busy.connect()
    busy.auto_open = 0  # or it would quietly connect again
    dropped = False
    drips.settimeout(0.02)
    while not dropped or time.monotonic() < began + 2.4:
        busy.request("GET", "/ok")
        assert busy.getresponse().read() == b"fine\n"
        try:
            drips.sendall(b"x")
            dropped = drips.recv(1) == b""
        except TimeoutError:
            assert time.monotonic() < began + 10
        except ConnectionError:
            dropped = True
    assert idle.recv(1) == b""
    assert len(stalls.makefile("rb").read()) < 16 << 20
    for connection in (idle, drips, stalls, busy):
        connection.close()
    server.close()


def test_with_nothing_open_nothing_wakes_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No deadline is left behind by a connection that was dropped."""
    monkeypatch.setattr("agent.observe.http.CONNECTION_TIMEOUT", 0.01)
    server = serve("127.0.0.1", 0, PAGES)
    status = Path(f"/proc/self/task/{thread().native_id}/status")

    def woken() -> int:
        return int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        assert connection.recv(1) == b""
        before = woken()
    threading.Event().wait(0.3)  # thirty deadlines
    assert woken() - before < 10
    server.close()


def test_without_descriptors_clients_wait_and_are_served_when_there_are_some_again(server: Server) -> None:
    """The thread neither ends nor runs in circles."""
    clock = time.pthread_getcpuclockid(thread().ident or 0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        free = os.dup(client.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            before = time.clock_gettime(clock)
            client.connect(("127.0.0.1", server.port))
            client.sendall(b"GET /ok HTTP/1.0\r\n\r\n")
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.recv(1)
            used = time.clock_gettime(clock) - before
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        client.settimeout(10)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert used < 0.1
    assert ask(server, "/ok")[0] == 200


def test_what_breaks_on_one_connection_ends_it_and_no_other() -> None:
    """Neither a page that cannot be sent nor a log that fails ends the thread."""
    reported: list[Exception] = []

    def report(error: Exception) -> None:
        reported.append(error)
        raise ValueError("canary")

    pages = {"/unsent": lambda: Page(999, "text/plain", b""), "/broken": lambda: Page(1 // 0, "", b""), **PAGES}
    server = serve("127.0.0.1", 0, pages, report)
    for path, told in (("/unsent", 1), ("/broken", 3)):
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server, path)
        assert len(reported) == told
        assert ask(server, "/ok")[0] == 200
    server.close()


def test_serving_takes_no_asyncio() -> None:
    """It would cost each pod 2.5 MiB."""
    code = (
        "import sys; from agent.observe.http import serve\n"
        "serve('127.0.0.1', 0, {}).close(); print('asyncio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
