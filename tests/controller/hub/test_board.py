"""What the hub knows and whom it answers: pure but for futures."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from agent.commands.calls import QUOTAS
from agent.controller.hub import board
from agent.controller.hub.board import RATE, Board, Full, Row, Said, Waiting, answer, pace, spread_of
from agent.controller.hub.question import Asked, Question, Subject
from agent.core.errors import Failure
from agent.core.model import Observation, Rotation

DB = Subject("secretsmanager", "prod/db", "eu-west-1", "")


def asked(version: str | None = "v1", subject: Subject = DB, stage: str = "AWSCURRENT") -> Asked:
    return Asked(subject, stage, version)


def seen(version: str) -> Said:
    return {"AWSCURRENT": Observation(version, ("AWSCURRENT",), Rotation(None, None, None))}


def denied(reason: Any = "access_denied") -> Said:
    return {"AWSCURRENT": Failure(reason, "no")}


class Scene:
    """A board, and a clock that a test moves."""

    def __init__(self, limit: int = 100, of_owner: int = 50, replicas: int = 1) -> None:
        self.board = Board(limit, of_owner, random.Random(1), replicas)
        self.now = 1000.0

    def rows(self, *secrets: Asked, owner: str = "shop") -> list[Row]:
        return self.board.rows(Question(55.0, secrets or (asked(),)), owner, self.now)

    def waits(self, *secrets: Asked) -> Waiting:
        secrets = secrets or (asked(),)
        return self.board.wait(self.rows(*secrets), [each.version for each in secrets], self.now)

    def look(self, said: Said, subject: Subject = DB, *, took: float = 0.5) -> board.Learned:
        topic, began = self.board.topics[subject], self.now
        self.now += took
        return self.board.learn(topic, said, began=began, now=self.now, wall=1.0, period=10.0)


def within(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The test, in an event loop."""

    def run() -> None:
        asyncio.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@within
async def test_who_waits_is_answered_once_its_secret_moves_and_nobody_else() -> None:
    scene = Scene()
    other = Subject("secretsmanager", "prod/api", "eu-west-1", "")
    scene.rows(asked(), asked(subject=other))
    scene.look(seen("v1"))
    scene.look(seen("v1"), other)
    waiting, of_other = scene.waits(), scene.waits(asked(subject=other))
    scene.look(seen("v1"))
    assert not waiting.news.done()
    assert scene.look(seen("v2")) == board.Learned(moved=1, answered=1)
    assert waiting.news.result() == scene.now and not of_other.news.done()
    said = json.loads(answer(waiting.rows, waiting.known))
    assert said["secrets"][0] == {
        "version": "v2",
        "stages": ["AWSCURRENT"],
        "rotation": {"nextAt": None, "window": None, "pending": None},
        "observed": 1.0,
    }


@within
async def test_who_knows_an_earlier_version_is_answered_at_once() -> None:
    scene = Scene()
    scene.rows()
    scene.look(seen("v1"))
    scene.look(seen("v2"))
    (row,) = scene.rows()
    assert row.news_for("v1", scene.now) and row.news_for(None, scene.now)
    assert not row.news_for("v2", scene.now)


@within
async def test_who_knows_a_version_that_was_never_seen_here_may_be_ahead_and_waits_for_the_next_look() -> None:
    """Two replicas look at different moments: the one that is behind must not send anybody back."""
    scene = Scene()
    scene.rows()
    scene.look(seen("v1"))
    scene.now += 1
    ahead, wrong = scene.waits(asked("v2")), scene.waits(asked("nonsense"))
    assert not ahead.rows[0].news_for("v2", scene.now)
    scene.look(seen("v2"))
    assert not ahead.news.done() and wrong.news.done()


@within
async def test_a_look_that_began_before_the_question_says_nothing_about_it() -> None:
    scene = Scene()
    scene.rows()
    scene.look(seen("v1"))
    topic, began = scene.board.topics[DB], scene.now
    scene.now += 1
    waiting = scene.waits(asked("v2"))
    scene.board.learn(topic, seen("v1"), began=began, now=scene.now, wall=0.0, period=10.0)
    assert not waiting.news.done()
    scene.look(seen("v1"))
    assert waiting.news.done()


@within
async def test_a_request_about_several_secrets_is_answered_when_each_was_looked_at() -> None:
    """An error of the first must not make the second one look like an error, too."""
    scene = Scene()
    other = Subject("secretsmanager", "prod/api", "eu-west-1", "")
    waiting = scene.waits(asked(), asked(subject=other))
    scene.look(denied())
    assert not waiting.news.done()
    scene.look(seen("v1"), other)
    assert waiting.news.done()
    assert json.loads(answer(waiting.rows, waiting.known))["secrets"][0] == {"error": "access_denied"}


@within
async def test_an_error_that_lasts_is_said_at_once_and_another_when_nothing_was_learned_for_long() -> None:
    scene = Scene()
    scene.rows()
    scene.look(seen("v1"))
    waiting = scene.waits()
    scene.look(denied("throttled"))
    assert not waiting.news.done()
    scene.now += 61
    scene.look(denied("throttled"))
    assert waiting.news.done() and b"throttled" in answer(waiting.rows, waiting.known)
    scene.look(seen("v1"))
    assert b"v1" in answer(scene.rows(), ["v1"])
    waiting = scene.waits()
    scene.look(denied("access_denied"))
    assert waiting.news.done() and b"access_denied" in answer(waiting.rows, waiting.known)


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_spread_is_that_of_those_who_waited_when_it_moved(replicas: int) -> None:
    """Of all replicas together: each knows its own agents alone."""

    @within
    async def run() -> None:
        scene = Scene(replicas=replicas)
        scene.rows()
        scene.look(seen("v1"))
        for _ in range(50):
            scene.waits()
        scene.look(seen("v2"))
        spread = 50 * replicas / RATE["secretsmanager"]
        assert json.loads(answer(scene.rows(), ["v1"]))["spread"] == pytest.approx(spread, abs=0.001)
        assert json.loads(answer(scene.rows(), ["v2"]))["spread"] == 0

    run()


def test_ten_thousand_agents_fetch_below_a_tenth_of_the_quota() -> None:
    """However many replicas share them; and a secret that few share has next to no spread."""
    for replicas in (1, 2, 5):
        assert 10_000 / spread_of("secretsmanager", 10_000 // replicas, replicas) <= 0.1 * QUOTAS["GetSecretValue"]
    assert spread_of("secretsmanager", 20, 1) < 0.1
    assert spread_of("parameter", 1_000_000, 1) == board.SPREAD_AT_MOST


@within
async def test_a_secret_that_many_share_is_seen_to_move_sooner() -> None:
    """So the spread adds little to the time after which its last agent knows. Never more than five times as often."""
    assert pace("secretsmanager", 10.0, 0.02) == pytest.approx(10.0, abs=0.1)
    assert pace("secretsmanager", 10.0, 4.0) == 6.0
    assert pace("secretsmanager", 10.0, 900.0) == 2.0
    assert pace("parameter", 10.0, 900.0) == 10.0
    scene = Scene()
    scene.rows()
    for _ in range(5_000):
        scene.waits()
    scene.look(seen("v1"))
    assert scene.board.due(scene.now + 3.9) == []
    assert scene.board.due(scene.now + 5.0) == [scene.board.topics[DB]]


@within
async def test_what_nobody_asks_about_any_more_is_forgotten_and_looked_at_no_more() -> None:
    scene = Scene()
    waiting = scene.waits()
    scene.look(seen("v1"))
    scene.now += 10_000
    assert scene.board.due(scene.now), "somebody still waits"
    scene.board.leave(waiting, scene.now)
    scene.now += 301
    assert scene.board.due(scene.now) == [] and scene.board.topics == {}
    scene.rows()
    assert scene.board.due(scene.now), "and is new when somebody asks again"


@within
async def test_what_has_waited_longest_is_looked_at_first() -> None:
    """So that each has its turn where there is room for a third of what is due."""
    scene = Scene()
    subjects = [Subject("secretsmanager", f"s{number}", "eu-west-1", "") for number in range(12)]
    scene.rows(*(asked(subject=each) for each in subjects))
    looked: list[Subject] = []
    for _ in range(9):
        for topic in scene.board.due(scene.now)[:4]:
            scene.look(seen("v1"), topic.subject, took=3.0)
            looked.append(topic.subject)
    assert {looked.count(each) for each in subjects} == {3}


@within
async def test_a_secret_is_not_looked_at_twice_at_once_and_again_after_a_period() -> None:
    scene = Scene()
    scene.rows()
    (topic,) = scene.board.due(scene.now)
    topic.looking = True
    assert scene.board.due(scene.now + 100) == []
    scene.look(seen("v1"))
    assert scene.board.due(scene.now + 8.9) == [] and scene.board.due(scene.now + 11.1) == [topic]


@within
async def test_one_owner_cannot_fill_the_board() -> None:
    scene = Scene(limit=5, of_owner=3)
    many = [asked(subject=Subject("secretsmanager", f"s{n}", "eu-west-1", "")) for n in range(6)]
    scene.rows(*many[:3])
    with pytest.raises(Full):
        scene.rows(many[3])
    scene.rows(many[0])
    scene.rows(many[3], owner="other")
    scene.rows(many[4], owner="other")
    with pytest.raises(Full):
        scene.rows(many[5], owner="third")
    scene.now += 301
    scene.board.due(scene.now)
    scene.rows(many[5])
