"""What the hub knows: of each secret that somebody asks about what AWS said last, and who waits for news.

No call and no clock: moments are parameters, monotonic seconds unless they are said to be epoch seconds. It belongs to
one event loop.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping

from agent.controller.hub.question import Asked, Kind, Question, Subject
from agent.core.errors import Failure, Reason
from agent.core.model import Observation
from agent.core.record import Record

# Agents a second that may look at AWS because a secret moved, of all replicas of the hub together: below a tenth of
# what GetSecretValue allows (10,000 calls a second), also in a second in which by chance more of them come. All calls
# to Parameter Store share 40 a second, and a look takes two.
RATE: Mapping[str, float] = {"secretsmanager": 900.0, "parameter": 10.0}

SPREAD_AT_MOST = 900.0  # seconds

_HASTE = 5  # times as often, at most, is a secret looked at that many wait for

_HISTORY = 4  # versions before the current one that are remembered

_AGAIN = 30.0  # seconds, at most, between two looks that fail

_PATIENCE = 60.0  # seconds for which what was learned last counts although AWS does not answer

_STAGES = 20  # of one secret, which is what Secrets Manager allows

_FORGOTTEN = 300.0  # seconds after which a secret is forgotten that nobody asks about

# What another attempt does not heal. Other failures are said once nothing was learned for a while.
_LASTING: frozenset[Reason] = frozenset({"access_denied", "not_found", "deleted", "invalid"})

Said = Mapping[str, Observation | Failure]  # by stage


class Waiting:
    """One request that waits for `news`: the moment of it, or None when there is no more use in waiting. `first`: it
    waits only until each of its rows was looked at once."""

    __slots__ = ("arrived", "first", "known", "news", "rows")

    def __init__(
        self, rows: list[Row], known: list[str | None], arrived: float, news: asyncio.Future[float | None]
    ) -> None:
        self.rows, self.known, self.arrived, self.news = rows, known, arrived, news
        self.first = False


class Row:
    """One stage of a secret: what AWS said of it last, and who waits for news of it.

    `text` is the answer as JSON, None before the first look; `before` holds the versions that were current before.
    `doubting` are those of `waiting` who know another version than the last look brought.
    """

    __slots__ = ("before", "doubting", "error", "spread", "stage", "text", "topic", "version", "waiting")

    def __init__(self, topic: Topic, stage: str) -> None:
        self.topic, self.stage = topic, stage
        self.waiting: set[Waiting] = set()
        self.doubting: set[Waiting] = set()
        self.before: tuple[str, ...] = ()
        self.version: str | None = None
        self.error: str | None = None
        self.text: str | None = None
        self.spread = 0.0

    def news_for(self, known: str | None, arrived: float) -> bool:
        """Whether there is something to say to a caller that knows a version and asked at that moment.

        Who knows a version that was never seen here may be ahead of the last look, as one who heard it from another hub
        is. It waits for the next look.
        """
        if self.text is None or (self.error is None and self.version == known):
            return False
        return self.error is not None or known is None or known in self.before or self.topic.began >= arrived


class Topic:
    """One secret or parameter, with its stages. `owner` asked about it first; `began` is when the last look that ended
    began. `again`: it must be looked at once more when the look under way ends. `watchers` wait for the end of a look
    that began at that moment or later."""

    __slots__ = ("again", "asked_at", "began", "due", "good_at", "looking", "owner", "rows", "subject", "watchers")

    def __init__(self, subject: Subject, owner: str, now: float) -> None:
        self.subject, self.owner, self.asked_at, self.due = subject, owner, now, now
        self.rows: dict[str, Row] = {}
        self.began = self.good_at = float("-inf")
        self.looking = self.again = False
        self.watchers: list[tuple[float, asyncio.Future[None]]] = []


class Full(Exception):
    """There is no room for another secret."""


class Learned(Record):
    """What a look brought: how many stages moved, and how many callers were answered."""

    moved: int
    answered: int


class Board:
    """All topics. There may be so many in all, and so many that one owner asked about first. So many `replicas` share
    the agents."""

    def __init__(self, limit: int, limit_of_owner: int, rng: random.Random, replicas: int = 1) -> None:
        self.topics: dict[Subject, Topic] = {}
        self.waiting: set[Waiting] = set()
        self._limit, self._limit_of_owner, self._rng, self._replicas = limit, limit_of_owner, rng, replicas
        self._owned: Counter[str] = Counter()

    # -- callers

    def rows(self, question: Question, owner: str, now: float) -> list[Row]:
        """The rows of an owner's question, made where there are none. Raises Full."""
        topics = [self.topics.get(each.subject) for each in question.secrets]
        if None in topics:
            new = {each.subject for each, topic in zip(question.secrets, topics, strict=True) if topic is None}
            if len(self.topics) + len(new) > self._limit or self._owned[owner] + len(new) > self._limit_of_owner:
                raise Full
            self._owned[owner] += len(new)
            self.topics.update((subject, Topic(subject, owner, now)) for subject in new)
            topics = [self.topics[each.subject] for each in question.secrets]
        return [self._row(topic, each, now) for topic, each in zip(topics, question.secrets, strict=True) if topic]

    def _row(self, topic: Topic, asked: Asked, now: float) -> Row:
        topic.asked_at = now
        row = topic.rows.get(asked.stage)
        if row is None:
            if len(topic.rows) >= _STAGES:
                raise Full
            row = topic.rows[asked.stage] = Row(topic, asked.stage)
            topic.due = now
        return row

    def wait(self, rows: list[Row], known: list[str | None], now: float) -> Waiting:
        """Let a request wait for news of these rows, until `leave`."""
        waiting = Waiting(rows, known, now, asyncio.get_running_loop().create_future())
        for row, version in zip(rows, known, strict=True):
            row.waiting.add(waiting)
            if row.version not in (None, version):
                row.doubting.add(waiting)
        self.waiting.add(waiting)
        return waiting

    def release(self) -> None:
        """Let no request wait any more."""
        for waiting in self.waiting:
            if not waiting.news.done():
                waiting.news.set_result(None)

    def leave(self, waiting: Waiting, now: float) -> None:
        """The request waits no more."""
        for row in waiting.rows:
            row.waiting.discard(waiting)
            row.doubting.discard(waiting)
            row.topic.asked_at = now
        self.waiting.discard(waiting)

    # -- looks

    def due(self, now: float) -> list[Topic]:
        """The topics that must be looked at, those first that have waited longest: where looks take longer than a
        period, the others would never come up. Forgets those that nobody asks about any more."""
        due, gone = [], []
        for subject, topic in self.topics.items():
            if topic.looking:
                continue
            if now - topic.asked_at > _FORGOTTEN and not any(row.waiting for row in topic.rows.values()):
                gone.append(subject)
            elif topic.due <= now:
                due.append(topic)
        for subject in gone:
            owner = self.topics.pop(subject).owner
            self._owned[owner] -= 1
            if not self._owned[owner]:
                del self._owned[owner]
        due.sort(key=lambda topic: topic.due)
        return due

    def learn(self, topic: Topic, said: Said, *, began: float, now: float, wall: float, period: float) -> Learned:
        """Take what a look brought that began then, and answer whom it concerns; the next is due after a period. `wall`
        is epoch seconds."""
        topic.looking, topic.began = False, began
        failed = all(isinstance(each, Failure) for each in said.values())
        spread = max(spread_of(topic.subject.kind, len(row.waiting), self._replicas) for row in topic.rows.values())
        period = pace(topic.subject.kind, period, spread)
        topic.due = now + (min(period, _AGAIN) if failed else period) * self._rng.uniform(0.9, 1.1)
        if topic.again:
            topic.again, topic.due = False, now
        if any(isinstance(each, Observation) for each in said.values()):
            topic.good_at = now
        moved = answered = 0
        for stage, row in topic.rows.items():
            if (found := said.get(stage)) is None:  # asked about since the look began
                topic.due = now
                continue
            before = (row.text is None, row.version, row.error)
            moved += self._learned(row, found, now, wall)
            changed = before != (row.text is None, row.version, row.error)
            for waiting in tuple(row.waiting if changed else row.doubting):
                if not waiting.news.done() and _news(waiting):
                    waiting.news.set_result(now)
                    answered += 1
        for moment, watcher in topic.watchers:
            if began >= moment and not watcher.done():
                watcher.set_result(None)
        topic.watchers = [each for each in topic.watchers if not each[1].done()]
        return Learned(moved, answered)

    def _learned(self, row: Row, found: Observation | Failure, now: float, wall: float) -> bool:
        """Whether the row's version moved."""
        if isinstance(found, Failure):
            if found.reason in _LASTING or now - row.topic.good_at > _PATIENCE:
                row.error = found.reason
                row.text = json.dumps({"error": found.reason})
            return False
        before, row.error, row.version = row.version, None, found.version_id
        row.text = _text(found, wall)
        if before is None or before == found.version_id:
            return False
        row.before = (before, *(each for each in row.before if each not in (before, found.version_id)))[:_HISTORY]
        row.spread = spread_of(row.topic.subject.kind, len(row.waiting), self._replicas)
        return True

    def topics_of(self, subjects: Iterable[Subject]) -> list[Topic]:
        """The topics of these subjects."""
        return [topic for subject in subjects if (topic := self.topics.get(subject))]

    def happened(self, topics: Iterable[Topic], now: float) -> None:
        """Something happened to these: they are due, also where a look is under way."""
        for topic in topics:
            topic.due, topic.again = now, topic.looking

    def looked(self, topic: Topic, now: float) -> asyncio.Future[None]:
        """Done when a look has ended that began now or later, and all were answered whom it concerns."""
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        topic.watchers.append((now, watcher))
        return watcher

    def hurry(self, now: float, period: float) -> None:
        """Let each topic be due within a period, each at another moment."""
        for topic in self.topics.values():
            topic.due = min(topic.due, now + period * self._rng.random())


def spread_of(kind: Kind, agents: int, replicas: int) -> float:
    """Seconds over which so many agents, that wait at one of so many replicas, look at AWS."""
    return min(SPREAD_AT_MOST, agents * replicas / RATE[kind])


def pace(kind: Kind, period: float, spread: float) -> float:
    """Seconds between two looks at a secret: the longer its agents are spread, the sooner it must be seen to move. Not
    of a parameter, since calls to Parameter Store are few."""
    return period if kind == "parameter" else max(period / _HASTE, period - spread)


def _news(waiting: Waiting) -> bool:
    """Whether a request can be answered: once each of its rows was looked at, so that none is answered by halves."""
    if any(row.text is None for row in waiting.rows):
        return False
    return waiting.first or any(
        row.news_for(known, waiting.arrived) for row, known in zip(waiting.rows, waiting.known, strict=True)
    )


def answer(rows: list[Row], known: list[str | None]) -> bytes:
    """What a caller that knows these versions is answered."""
    spread = 0.0
    texts = []
    for row, version in zip(rows, known, strict=True):
        if row.text is not None and row.error is None and row.version != version:
            spread = max(spread, row.spread)
        texts.append(row.text if row.text is not None else '{"error": "timeout"}')
    return f'{{"secrets": [{", ".join(texts)}], "spread": {spread:.3f}}}'.encode()


def _text(found: Observation, wall: float) -> str:
    rotation = found.rotation
    said = {
        "version": found.version_id,
        "stages": list(found.stages),
        "rotation": {"nextAt": rotation.next_at, "window": rotation.window, "pending": rotation.pending},
        "observed": round(wall, 3),
    }
    return json.dumps(said)
