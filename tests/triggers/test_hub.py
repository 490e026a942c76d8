"""The hub's client against hubs that are true, false, slow, closed or no hub at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.core.hub import Answered, Silent
from agent.core.record import replace
from agent.core.rest import Asking, Watched
from agent.demo.server import Exchange
from agent.triggers import hub as client
from agent.triggers.hub import Client, Connection, HubAway, read_token, understood
from tests.support.hub import FalseHub, says
from tests.support.running import PATIENCE, until

DB = Watched("db", "secretsmanager", "prod/db", "eu-west-1", "AWSCURRENT", "v1", 60.0, 0.0, 0.0, 0.0, 0.0)
API = replace(DB, name="api", id="prod/api", version="a1")


class Talk:
    """A client and what it reports."""

    def __init__(self, url: str, token: Path, *watched: Watched, wait: float = 30.0) -> None:
        self.asking = Asking(url, str(token), wait, 0.0, watched or (DB,))
        self.heard = threading.Semaphore(0)
        self.client = Client(self.heard.release)
        self.client.ask(self.asking)
        self._reports: list[Answered | Silent] = []

    def next(self) -> Answered | Silent:
        while not self._reports:
            assert self.heard.acquire(timeout=PATIENCE)
            self._reports += self.client.reports()
        return self._reports.pop(0)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    at = tmp_path / "token"
    at.write_text("a-token\n")
    return at


@contextmanager
def talking(
    answers: Callable[[Exchange, dict[str, Any]], None], token: Path, *watched: Watched
) -> Iterator[tuple[FalseHub, Talk]]:
    with FalseHub(answers) as hub:
        talk = Talk(hub.url, token, *watched)
        try:
            yield hub, talk
        finally:
            talk.client.close()


def test_the_first_request_does_not_wait_and_the_next_one_says_what_was_heard(token: Path) -> None:
    """What the hub said last is what it need not say again, whatever the agent has published by now."""
    hold = threading.Event()

    def answers(exchange: Exchange, asked: dict[str, Any]) -> None:
        if asked["wait"]:
            hold.wait(PATIENCE)
        says(exchange, "v2", spread=3.5)

    with talking(answers, token) as (hub, talk):
        assert talk.next() == Answered({DB.key: "v2"}, 3.5)
        until(lambda: len(hub.asked) == 2)
        hold.set()
    assert hub.asked[0] == {
        "wait": 0.0,
        "secrets": [
            {"kind": "secretsmanager", "id": "prod/db", "region": "eu-west-1", "stage": "AWSCURRENT", "version": "v1"}
        ],
    }
    assert 20 < hub.asked[1]["wait"] <= 30 and hub.asked[1]["secrets"][0]["version"] == "v2"
    assert set(hub.tokens) == {"Bearer a-token"}


def test_the_token_is_read_for_each_request(token: Path) -> None:
    """Kubelet renews it."""

    def answers(exchange: Exchange, asked: dict[str, Any]) -> None:
        token.write_text("renewed")
        says(exchange, f"v{asked['wait']}")

    with talking(answers, token) as (hub, talk):
        talk.next(), talk.next()
    assert hub.tokens[:2] == ["Bearer a-token", "Bearer renewed"]


def test_what_the_hub_has_an_error_for_is_left_out_of_the_next_requests(token: Path) -> None:
    """Or it would be answered at once, again and again."""
    with talking(
        lambda e, asked: says(e, *(None if s["id"] == "prod/db" else "a2" for s in asked["secrets"])), token, DB, API
    ) as (hub, talk):
        assert talk.next() == Answered({API.key: "a2"}, 0.0)
        assert talk.next() == Answered({API.key: "a2"}, 0.0)
    assert [each["id"] for each in hub.asked[1]["secrets"]] == ["prod/api"]


def test_a_hub_that_answers_at_once_without_news_is_asked_ever_more_slowly(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Client, "_rest", lambda _, seconds: pauses.append(seconds))
    with talking(lambda e, _: says(e, "v1"), token) as (_, talk):
        for _ in range(8):
            talk.next()
    assert pauses[1:7] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0]


def answer(status: int, body: bytes, content_type: str = "application/json") -> Callable[..., None]:
    return lambda exchange, _: exchange.answer(status, body, content_type)


def raw(data: bytes) -> Callable[..., None]:
    """Send this and close."""

    def act(exchange: Exchange, _: object) -> None:
        exchange.wfile.write(data)
        exchange.drop()

    return act


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (answer(200, b"{}"), "understood"),
        (answer(200, b"[" * 5000), "understood"),
        (answer(200, b'{"spread": 0, "secrets": []}'), "understood"),
        (answer(200, b'{"spread": NaN, "secrets": [{"version": "v"}]}'), "understood"),
        (answer(200, b'{"spread": -1, "secrets": [{"version": "v"}]}'), "understood"),
        (answer(200, b'{"spread": true, "secrets": [{"version": "v"}]}'), "understood"),
        (answer(200, b'{"spread": 0, "secrets": [{"version": "a\\nb"}]}'), "understood"),
        (answer(200, json.dumps({"spread": 0, "secrets": [{"version": "v" * 300}]}).encode()), "understood"),
        (answer(401, b'{"error": "expired"}'), "token"),
        (answer(429, b'{"error": "too many"}'), "room"),
        (answer(500, b"\x1b[31mno"), "500"),
        (raw(b"SSH-2.0-OpenSSH\r\n\r\n"), "else than a hub"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"), "else than a hub"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "else than a hub"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000), "else than a hub"),
        (raw(b""), "without an answer"),
    ],
    ids=range(16),
)
def test_no_answer_that_counts_is_silence_with_a_reason(token: Path, answers: Any, reason: str) -> None:
    with talking(answers, token) as (_, talk):
        said = talk.next()
    assert isinstance(said, Silent) and reason in said.reason
    assert said.reason.isprintable() and "a-token" not in said.reason


@pytest.mark.parametrize("content", ["", " \n", "two words", "a\nb", "x" * 20_000, "\u00e4"], ids=range(6))
def test_a_file_without_a_token_is_said_by_name(tmp_path: Path, content: str) -> None:
    at = tmp_path / "token"
    at.write_text(content)
    with pytest.raises(HubAway, match=str(at)) as raised:
        read_token(str(at))
    assert not content.strip() or content.strip() not in str(raised.value)


def test_a_missing_token_and_a_closed_port_are_silence(tmp_path: Path, token: Path) -> None:
    with FalseHub(lambda *_: None) as hub:
        closed = hub.url
        talk = Talk(hub.url, tmp_path / "none")
        assert isinstance(talk.next(), Silent) and not hub.asked, "without a token nothing is asked"
        talk.client.close()
    talk = Talk(closed, token)
    assert isinstance(talk.next(), Silent)
    talk.client.close()


def test_an_answer_in_chunks_counts_as_a_proxy_may_send_it(token: Path) -> None:
    body = b'{"spread": 0, "secrets": [{"version": "v2"}]}'
    chunks = b"%x\r\n%s\r\n5;x=y\r\n%s\r\n0\r\n\r\n" % (len(body) - 5, body[:-5], body[-5:])
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with talking(raw(head + chunks), token) as (_, talk):
        assert talk.next() == Answered({DB.key: "v2"}, 0.0)


def test_a_connection_is_used_again_and_opened_anew_when_the_hub_was_replaced(token: Path) -> None:
    """A rolled hub closes its connections: that is no silence."""
    with FalseHub(lambda e, _: says(e, "v1")) as hub:
        connection = Connection(hub.url)
        assert understood(connection.ask(b'{"n": 1}', "t", 5.0), 1).versions == ("v1",)
        assert understood(connection.ask(b'{"n": 2}', "t", 5.0), 1).versions == ("v1",)
        assert hub._listener.connections == 1
        hub.answers = lambda e, _: e.drop() if len(hub.asked) == 3 else says(e, "v1")
        assert understood(connection.ask(b'{"n": 3}', "t", 5.0), 1).versions == ("v1",)
        assert hub._listener.connections == 2
        connection.close()


def test_a_hub_that_sends_its_answer_byte_by_byte_is_given_up_in_time(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is for the whole answer, not for each part of it."""
    monkeypatch.setattr(client, "PATIENCE", 0.3)

    def drip(exchange: Exchange, _: object) -> None:
        exchange.head(200, 1000)
        while not released.wait(0.02):
            exchange.wfile.write(b" ")

    released = threading.Event()
    with talking(drip, token) as (_, talk):
        said = talk.next()
        released.set()
    assert isinstance(said, Silent) and "in time" in said.reason
