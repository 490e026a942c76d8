"""The hub as a part of the controller: it serves `POST /v1/versions`, and looks at AWS for those who ask."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import time

from aiohttp import web
from lightkube import AsyncClient
from lightkube.core.exceptions import ConfigError

from agent.controller import door, options
from agent.controller.hub import question
from agent.controller.hub.board import Board, Full, Row, Topic, answer
from agent.controller.hub.callers import Caller, Callers, Unreviewed, review_by
from agent.controller.hub.listener import Listener
from agent.controller.hub.looks import Looks
from agent.controller.hub.measures import Measures
from agent.controller.hub.question import BODY, NoQuestion
from agent.controller.hub.room import Room
from agent.controller.part import Registry
from agent.core.errors import StartError
from agent.core.ports import Log

SECRETS, SECRETS_OF_NAMESPACE = 20_000, 2_000  # that may be asked about

_TICK = 0.5  # seconds between two looks at what is due, at most

_BREATH = 0.05  # seconds between two of them, at least

_SWEEP = 5.0  # seconds after which a caller who hung up is noticed

_READ_LIMIT = 10.0  # seconds for the body of a request

_FIRST = 5.0  # seconds that a caller who does not want to wait waits for the first look at a secret

_TOGETHER = 0.5  # seconds; requests whose time is over within them are answered at once

_STALLED = 60.0  # seconds without a turn of the loop

_JSON = {"Content-Type": "application/json"}

News = asyncio.Future[float | None]


class Hub:
    """Serves and looks. Raises StartError where no API server is configured."""

    name = "hub"

    def __init__(self, given: options.Hub, registry: Registry, log: Log) -> None:
        self._given, self._log = given, log
        self._period = given.period
        self._measures = Measures(
            registry,
            lambda: len(self._board.waiting),
            lambda: len(self._board.topics),
            queue=given.events_queue is not None,
        )
        self._board = Board(SECRETS, SECRETS_OF_NAMESPACE, random.Random(), given.replicas)  # noqa: S311
        self._looks = Looks(self._measures.called)
        self._audience = given.audience
        self._callers: Callers | None = None
        self._room = Room()
        self._endings: dict[int, set[News]] = {}
        self._due = asyncio.Event()
        self._turned = time.monotonic()
        self._under_way: set[asyncio.Task[None]] = set()
        self._home = os.environ.get("AWS_REGION")
        self._listener: Listener | None = None
        if given.events_queue:
            self._listener = Listener(
                given.events_queue, self._board, self._measures, log, due=self._due.set, turned=self._queue_turned
            )

    def routes(self) -> list[web.RouteDef]:
        """`POST /v1/versions`."""
        return [web.post("/v1/versions", self._versions)]

    def stalled(self) -> str | None:
        """Its loop turns twice a second."""
        late = time.monotonic() - self._turned
        return f"the hub has not looked at what is due for {late:.0f} s" if late > _STALLED else None

    def unready(self) -> str | None:
        """Ready once it can ask the API server about callers."""
        return None if self._callers else "the hub has not started yet"

    # -- looks

    async def run(self) -> None:
        """Look at what is due, until cancelled."""
        try:
            client = AsyncClient()
        except ConfigError as error:
            raise StartError(
                f"--hub reviews tokens by the API server, of which it finds no configuration: {error}"
            ) from None
        self._callers = Callers(review_by(client, self._audience))
        async with asyncio.TaskGroup() as tasks:
            if self._listener:
                tasks.create_task(self._listener.run())
            await self._keep_looking()

    def _queue_turned(self, answers: bool) -> None:
        """While the queue answers, looks at the floor are the net; otherwise each secret is looked at each period."""
        self._period = self._given.floor if answers else self._given.period
        if not answers:
            self._board.hurry(time.monotonic(), self._given.period)

    async def _keep_looking(self) -> None:
        swept = time.monotonic()
        try:
            while True:
                self._turned = now = time.monotonic()
                for batch in self._looks.batches(self._board.due(now)):
                    self._begin(batch)
                if now - swept > _SWEEP:
                    swept = now
                    self._board.sweep()
                    self._room.sweep(now)
                await self._until_due()
        finally:
            self._board.release()  # so that agents ask another replica at once, and the stop waits for none of them
            self._looks.close()
            for task in self._under_way:
                task.cancel()

    async def _until_due(self) -> None:
        await asyncio.sleep(_BREATH)
        try:
            async with asyncio.timeout(_TICK - _BREATH):
                await self._due.wait()
        except TimeoutError:
            pass
        self._due.clear()

    def _begin(self, batch: list[Topic]) -> None:
        for topic in batch:
            topic.looking = True
        task = asyncio.create_task(self._look(batch))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _look(self, batch: list[Topic]) -> None:
        began = time.monotonic()
        said = await self._looks.look(batch)
        now, wall = time.monotonic(), time.time()
        for topic in batch:
            learned = self._board.learn(
                topic, said.get(topic.subject, {}), began=began, now=now, wall=wall, period=self._period
            )
            self._measures.moved(learned.moved)
        if self._board.backlog(now):
            self._due.set()

    # -- callers

    async def _versions(self, request: web.Request) -> web.Response:
        """Answer a request.

        1. Who asks. Nothing else is read before that is known.
        2. Whether there is room for another request of theirs.
        3. What they ask: bounded in bytes and in time.
        4. What there is to say now, or as soon as there is something.
        """
        arrived = time.monotonic()
        # 1.
        caller = await self._caller(request)
        if isinstance(caller, web.Response):
            return caller
        # 2.
        refused = self._room.enter(caller, arrived)
        if refused:
            return self._refuse(429, refused)
        try:
            # 3.
            try:
                if request.content.is_eof():  # as nearly always: it came with its head
                    asked = question.read(_bounded(request.content.read_nowait()))
                else:
                    async with asyncio.timeout(_READ_LIMIT):
                        asked = question.read(await _body(request))
                self._take_regions(asked)
                rows = self._board.rows(asked, _namespace(caller), arrived)
            except NoQuestion as error:
                return self._refuse(400, str(error))
            except TimeoutError:
                return self._refuse(408, f"the request did not arrive within {_READ_LIMIT:g} s")
            except Full:
                return self._refuse(503, "the hub looks at too many secrets already; ask AWS")
            # 4.
            return await self._answered(request, asked, rows, arrived)
        finally:
            self._room.leave(caller)

    async def _answered(
        self, request: web.Request, asked: question.Question, rows: list[Row], arrived: float
    ) -> web.Response:
        known = [each.version for each in asked.secrets]
        unknown = any(row.text is None for row in rows)
        if unknown:
            self._due.set()
        news = not unknown and any(row.news_for(each, arrived) for row, each in zip(rows, known, strict=True))
        wait = max(asked.wait, _FIRST) if unknown else asked.wait
        if not news and wait > 0:
            at = await self._news(request, asked, rows, arrived, wait)
            if at is not None:
                self._measures.answered(time.monotonic() - at)
        self._measures.requests("200")
        door.keep(request)
        return web.Response(body=answer(rows, known), headers=_JSON)

    async def _news(
        self, request: web.Request, asked: question.Question, rows: list[Row], arrived: float, wait: float
    ) -> float | None:
        """Wait for news of these rows; the moment of it, or None when the time is over."""
        known = [each.version for each in asked.secrets]
        waiting = self._board.wait(rows, known, arrived, lambda: request.transport is None)
        waiting.first = asked.wait == 0
        ending = self._ending(wait)
        ending.add(waiting.news)
        try:
            return await waiting.news
        finally:
            ending.discard(waiting.news)
            self._board.leave(waiting, time.monotonic())

    def _ending(self, wait: float) -> set[News]:
        """What ends together after so many seconds, or up to `_TOGETHER` later. A wake-up costs more than an answer,
        and agents that were answered together ask again together."""
        loop = asyncio.get_running_loop()
        moment = math.ceil((loop.time() + wait) / _TOGETHER)
        ending = self._endings.get(moment)
        if ending is None:
            ending = self._endings[moment] = set()
            loop.call_at(moment * _TOGETHER, self._end, moment)
        return ending

    def _end(self, moment: int) -> None:
        for news in self._endings.pop(moment):
            if not news.done():
                news.set_result(None)

    async def _caller(self, request: web.Request) -> Caller | web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self._callers is None:
            return self._refuse(503, "the hub has not started yet")
        if scheme.lower() != "bearer" or not token:
            return self._refuse(401, "show a service account token: Authorization: Bearer …")
        try:
            caller = await self._callers.caller(token.strip())
        except Unreviewed as error:
            return self._refuse(503, str(error))
        if caller is None:
            return self._refuse(401, f"the token is not valid for the audience {self._audience}, or has expired")
        return caller

    def _take_regions(self, asked: question.Question) -> None:
        for each in asked.secrets:
            if each.subject.region != self._home and not self._looks.takes(each.subject.region):
                raise NoQuestion(f"the hub looks at other regions than {each.subject.region} already; ask AWS")

    def _refuse(self, status: int, why: str) -> web.Response:
        self._measures.requests(str(status))
        return web.Response(status=status, body=json.dumps({"error": why}).encode(), headers=_JSON)


def _namespace(caller: Caller) -> str:
    """The namespace of `system:serviceaccount:NAMESPACE:NAME`; of another user its whole name."""
    parts = caller.account.split(":")
    return parts[2] if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"] else caller.account


async def _body(request: web.Request) -> bytes:
    """The body of a request. Raises NoQuestion where it is too long."""
    body = b""
    async for part in request.content.iter_any():
        body = _bounded(body + part)
    return body


def _bounded(body: bytes) -> bytes:
    if len(body) > BODY:
        raise NoQuestion(f"the body is longer than {BODY} bytes")
    return body
