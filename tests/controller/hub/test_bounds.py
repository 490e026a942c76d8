"""What one caller may ask, how much of it, and who counts as a caller."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from agent.controller.hub import callers, room
from agent.controller.hub.callers import Caller, Callers, Unreviewed
from agent.controller.hub.question import SECRETS, WAIT, NoQuestion, read
from agent.controller.hub.room import Room

DB = {"kind": "secretsmanager", "id": "prod/db", "region": "eu-west-1", "stage": "AWSCURRENT", "version": "v1"}
ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"


def body(*secrets: object, wait: object = 5) -> bytes:
    return json.dumps({"wait": wait, "secrets": [*secrets]}).encode()


def test_a_question_of_the_contract_is_read() -> None:
    question = read(
        body(DB, {**DB, "id": ARN, "version": None}, {**DB, "kind": "parameter", "id": "/a", "stage": "live"})
    )
    assert question.wait == 5
    assert [each.version for each in question.secrets] == ["v1", None, "v1"]
    assert [each.subject.label for each in question.secrets] == ["", "", "live"]
    assert read(body(DB, wait=10_000)).wait == WAIT


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"[" * 50_000,
        b'{"secrets": 1}',
        body(),
        body(*[DB] * (SECRETS + 1)),
        body(DB, wait="5"),
        body(DB, wait=-1),
        body(DB, wait=float("nan")),
        body(DB, wait=True),
        body("prod/db"),
        body({**DB, "kind": "find"}),
        body({**DB, "region": "eu-west-1.evil.example/"}),
        body({**DB, "region": "x" * 100}),
        body({**DB, "region": None}),
        body({**DB, "id": ""}),
        body({**DB, "id": "a b"}),
        body({**DB, "id": "x" * 5000}),
        body({**DB, "id": ["prod/db"]}),
        body({**DB, "id": ARN, "region": "us-east-1"}),
        body({**DB, "stage": ""}),
        body({**DB, "stage": "x" * 300}),
        body({**DB, "version": 1}),
        body({**DB, "version": "a\nb"}),
        body({**DB, "kind": "parameter", "id": "/a", "stage": "a:b"}),
    ],
    ids=range(24),
)
def test_what_is_no_question_is_refused_with_a_reason(asked: bytes) -> None:
    with pytest.raises(NoQuestion, match=r"\w"):
        read(asked)


def test_one_pod_has_few_requests_at_once_and_few_a_second_whatever_others_do() -> None:
    lobby, pod, other = Room(), Caller("system:serviceaccount:shop:web", "p1"), Caller("x", "p2")
    assert [lobby.enter(pod, 0.0) for _ in range(room.WAITING_OF_POD)] == [None] * room.WAITING_OF_POD
    assert "at once" in (lobby.enter(pod, 0.0) or "")
    assert lobby.enter(other, 0.0) is None
    for _ in range(room.WAITING_OF_POD):
        lobby.leave(pod)
    for _ in range(12):
        assert lobby.enter(pod, 0.0) is None
        lobby.leave(pod)
    assert "a second" in (lobby.enter(pod, 0.0) or "")
    assert lobby.enter(pod, 1.0) is None
    lobby.leave(pod), lobby.leave(other)
    lobby.sweep(1.5)
    assert len(lobby._pods) == 1, "a caller who asked much is remembered until it may again"
    lobby.sweep(100.0)
    assert not lobby._pods and not lobby._accounts


def token(seconds: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode()).rstrip(b"=").decode()
    return f"head.{claims}.signature"


SOMEBODY = Caller("a", "p")


class Reviewer:
    """An API server that accepts what a test lets it."""

    def __init__(self, answer: Any = SOMEBODY) -> None:
        self.answer, self.asked = answer, list[str]()
        self.held = asyncio.Event()
        self.held.set()

    async def __call__(self, given: str) -> Caller | None:
        self.asked.append(given)
        await self.held.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        found: Caller | None = self.answer
        return found


def test_a_token_is_reviewed_once_and_again_when_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        reviewer = Reviewer()
        known = Callers(reviewer)
        lasting, ending = token(10_000), token(60)
        assert await known.caller(lasting) == await known.caller(lasting) == Caller("a", "p")
        await known.caller(ending)
        assert reviewer.asked == [lasting, ending]
        now = time.monotonic()
        monkeypatch.setattr(callers.time, "monotonic", lambda: now + 61)
        await known.caller(lasting), await known.caller(ending)
        assert reviewer.asked == [lasting, ending, ending]
        monkeypatch.setattr(callers.time, "monotonic", lambda: now + callers.REMEMBERED + 1)
        reviewer.answer = None
        assert await known.caller(lasting) is None, "a token that was withdrawn counts no longer than that"
        assert await known.caller(lasting) is None and reviewer.asked[3:] == [lasting]

    asyncio.run(run())


def test_a_thousand_callers_with_one_token_make_one_review_and_no_token_is_kept() -> None:
    async def run() -> None:
        reviewer = Reviewer()
        reviewer.held.clear()
        known, given = Callers(reviewer), token(100)
        asked = [asyncio.create_task(known.caller(given)) for _ in range(1000)]
        await asyncio.sleep(0)
        asked[0].cancel()
        await asyncio.sleep(0)
        reviewer.held.set()
        assert await asyncio.gather(*asked[1:]) == [Caller("a", "p")] * 999
        assert reviewer.asked == [given]
        assert given not in repr(vars(known))

    asyncio.run(run())


def test_an_api_server_that_is_away_refuses_nobody_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        reviewer = Reviewer(Unreviewed("away"))
        known = Callers(reviewer)
        with pytest.raises(Unreviewed):
            await known.caller("x")
        reviewer.answer = Caller("a", "p")
        assert await known.caller("x") == Caller("a", "p")

    asyncio.run(run())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that are refused push out none that is accepted."""
    monkeypatch.setattr(callers, "_REFUSED_AT_MOST", 10)

    async def run() -> None:
        reviewer = Reviewer()
        known = Callers(reviewer)
        await known.caller("good")
        reviewer.answer = None
        for number in range(100):
            await known.caller(f"bad{number}")
        await known.caller("good")
        assert reviewer.asked.count("good") == 1 and len(known._refused) == 10

    asyncio.run(run())
