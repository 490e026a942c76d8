"""What an agent's connection may bring, byte for byte, and what it is answered."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from agent.controller.hub.question import BODY
from agent.demo.stand_in import QuickStandIn
from tests.support.hub import Hub, TokenReviews, hub
from tests.support.running import PATIENCE, until

TOKEN = "token-of-agent"
KNOWN = f"Authorization: Bearer {TOKEN}\r\n"


@pytest.fixture(scope="module")
def reviews() -> Iterator[TokenReviews]:
    with TokenReviews() as it:
        for name in ("agent", "late", "hasty", "gone"):  # of pods of their own, which may ask twenty times at once
            it.token(name)
        yield it


@pytest.fixture(scope="module")
def running(reviews: TokenReviews, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with QuickStandIn() as aws:
        aws.put("db", "1")
        with hub(reviews, aws.url, tmp_path_factory.mktemp("hub")) as it:
            yield it


def body(version: str | None = None, wait: float = 0) -> bytes:
    db = {"kind": "secretsmanager", "id": "db", "region": "eu-west-1", "stage": "AWSCURRENT", "version": version}
    return json.dumps({"wait": wait, "secrets": [db]}).encode()


def request(asked: bytes = body(), more: str = KNOWN, first: str = "POST /v1/versions HTTP/1.1") -> bytes:
    return f"{first}\r\nHost: hub\r\n{more}Content-Length: {len(asked)}\r\n\r\n".encode() + asked


class Client:
    """A connection, and what comes over it."""

    def __init__(self, to: Hub) -> None:
        self.socket = socket.create_connection(("127.0.0.1", to.port), timeout=PATIENCE)
        self.read = self.socket.makefile("rb")

    def ask(self, *parts: bytes) -> tuple[int, dict[str, object]]:
        for part in parts:
            self.socket.sendall(part)
        return self.answer()

    def answer(self) -> tuple[int, dict[str, object]]:
        """The status, and the body with the field `Connection` in it."""
        status = self.read.readline()
        assert status, "the connection was closed without an answer"
        fields = {}
        while line := self.read.readline().strip():
            name, _, text = line.decode().partition(": ")
            fields[name.lower()] = text
        said = json.loads(self.read.read(int(fields["content-length"])))
        return int(status.split()[1]), {**said, "connection": fields.get("connection", "")}

    def closed(self) -> bool:
        """Waits for its end, without a further byte."""
        with contextlib.suppress(ConnectionResetError):
            assert self.read.read() == b""
        return True


@pytest.fixture
def client(running: Hub) -> Iterator[Client]:
    it = Client(running)
    yield it
    it.socket.close()


def versions(said: dict[str, object]) -> list[object]:
    secrets = said["secrets"]
    assert isinstance(secrets, list)
    return [each["version"] for each in secrets]


def test_one_connection_serves_one_question_after_the_other(client: Client) -> None:
    status, said = client.ask(request())
    assert status == 200 and said["connection"] == ""
    [version] = versions(said)
    assert isinstance(version, str)
    for _ in range(3):
        assert versions(client.ask(request(body(version)))[1]) == [version]


def test_a_request_may_come_in_any_pieces(client: Client) -> None:
    """One packet says what is in the next by no rule: a proxy on the way cuts where it likes."""
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    whole = request()
    assert client.ask(*(whole[at : at + 7] for at in range(0, len(whole), 7)))[0] == 200
    middle = whole.index(b"\r\n\r\n") + 4
    assert client.ask(whole[:middle], whole[middle:])[0] == 200


def test_a_body_in_chunks_is_read(client: Client) -> None:
    asked = body()
    head = f"POST /v1/versions HTTP/1.1\r\nHost: hub\r\n{KNOWN}Transfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (asked[:9], asked[9:], b""))
    assert client.ask(head.encode() + chunks)[0] == 200


@pytest.mark.parametrize(
    "sent", [request(more=KNOWN + "Connection: close\r\n"), request(first="POST /v1/versions HTTP/1.0")]
)
def test_who_wants_one_answer_alone_gets_one(client: Client, sent: bytes) -> None:
    status, said = client.ask(sent)
    assert (status, said["connection"]) == (200, "close") and client.closed()


@pytest.mark.parametrize(
    ("sent", "status", "noun"),
    [
        (request(first="PUT /v1/versions HTTP/1.1"), 405, "POST"),
        (request(more=""), 401, "Bearer"),
        (request(more="Authorization: Basic eDp5\r\n"), 401, "Bearer"),
        (request(more="Authorization: Bearer\r\n"), 401, "Bearer"),
        (request(more="Authorization: Bearer nobody\r\n"), 401, "audience"),
        (request(b"{}"), 400, "JSON"),
        (request(b" " * (BODY + 1)), 400, str(BODY)),
        (request(more=f"{KNOWN}X: {'x' * 600_000}\r\n"), 431, "head"),
        (request(more=f"{KNOWN}Transfer-Encoding: chunked\r\n"), 400, "HTTP"),  # and a length: two readings
        (request(more=f"{KNOWN}Upgrade: h2c\r\nConnection: Upgrade\r\n"), 400, "HTTP"),
        (request(more="bad head\x00: \r\n"), 400, "HTTP"),
        (request() + request(), 400, "more than one"),
    ],
)
def test_what_is_refused_is_said_why_and_ends_the_connection(
    client: Client, sent: bytes, status: int, noun: str
) -> None:
    found, said = client.ask(sent)
    assert found == status and noun in str(said["error"])
    assert said["connection"] == "close" and TOKEN not in str(said)
    assert client.closed()


def test_another_path_on_the_same_connection_is_refused(client: Client) -> None:
    assert client.ask(request())[0] == 200
    assert client.ask(request(first="POST /metrics HTTP/1.1"))[0] == 404
    assert client.closed()


def test_a_body_that_does_not_come_is_waited_for_no_longer(client: Client) -> None:
    began = time.monotonic()
    status, said = client.ask(request()[:-5])
    assert status == 408 and "10 s" in str(said["error"]) and time.monotonic() - began > 9
    assert client.closed()


def test_a_question_before_the_answer_ends_the_connection(running: Hub, client: Client) -> None:
    """Nobody waits for it any more."""
    hasty = "Authorization: Bearer token-of-hasty\r\n"
    version = versions(client.ask(request(more=hasty))[1])[0]
    client.socket.sendall(request(body(str(version), wait=55), hasty))
    until(lambda: running.metrics()["controller_hub_agents"] == 1)
    client.socket.sendall(request(more=hasty))
    assert client.closed()
    until(lambda: running.metrics()["controller_hub_agents"] == 0)


def test_who_hangs_up_waits_no_more(running: Hub, client: Client) -> None:
    """And makes room: a pod may have eight at once."""
    gone = "Authorization: Bearer token-of-gone\r\n"
    version = str(versions(client.ask(request(more=gone))[1])[0])
    for _ in range(3):
        many = [Client(running) for _ in range(3)]
        for each in many:
            each.socket.sendall(request(body(version, wait=55), gone))
        until(lambda: running.metrics()["controller_hub_agents"] == 3)
        for each in many:
            each.read.close()
            each.socket.close()
        until(lambda: running.metrics()["controller_hub_agents"] == 0)
    assert client.ask(request(more=gone))[0] == 200


def test_a_token_is_reviewed_before_the_rest_is_read(running: Hub, reviews: TokenReviews) -> None:
    """Who is not known yet is asked about once, and is then answered on the same connection."""
    one = Client(running)
    late = request(more="Authorization: Bearer token-of-late\r\n")
    assert one.ask(late)[0] == 200 and one.ask(late)[0] == 200
    assert reviews.reviewed.count("token-of-late") == 1
    one.socket.close()
