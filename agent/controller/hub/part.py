"""The hub as a part of the controller: it serves `POST /v1/versions`, and looks at AWS for those who ask."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Mapping

from lightkube import AsyncClient
from lightkube.core.exceptions import ConfigError

from agent.controller import options
from agent.controller.door import Serve
from agent.controller.hub.board import Board, Topic
from agent.controller.hub.callers import Callers, review_by
from agent.controller.hub.conversation import PATH, Conversation
from agent.controller.hub.desk import Desk
from agent.controller.hub.listener import Listener
from agent.controller.hub.looks import Looks
from agent.controller.hub.measures import Measures
from agent.controller.part import Registry
from agent.core.errors import StartError
from agent.core.ports import Log

SECRETS, SECRETS_OF_NAMESPACE = 20_000, 2_000  # that may be asked about

_TICK = 0.5  # seconds between two looks at what is due, at most

_BREATH = 0.05  # seconds between two of them, at least

_SWEEP = 5.0  # seconds after which callers are forgotten who may do again all that a new one may

_STALLED = 60.0  # seconds without a turn of the loop


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
        self._due = asyncio.Event()
        self._turned = time.monotonic()
        self._under_way: set[asyncio.Task[None]] = set()
        self._home = os.environ.get("AWS_REGION")
        self._desk = Desk(self._board, self._measures, given.audience, takes=self._takes, due=self._due.set)
        self._listener: Listener | None = None
        if given.events_queue:
            self._listener = Listener(
                given.events_queue, self._board, self._measures, log, due=self._due.set, turned=self._queue_turned
            )

    def serves(self) -> Mapping[str, Serve]:
        """`POST /v1/versions`."""
        return {PATH: lambda line: Conversation(self._desk, line)}

    def stalled(self) -> str | None:
        """Its loop turns twice a second."""
        late = time.monotonic() - self._turned
        return f"the hub has not looked at what is due for {late:.0f} s" if late > _STALLED else None

    def unready(self) -> str | None:
        """Ready once it can ask the API server about callers."""
        return None if self._desk.callers else "the hub has not started yet"

    # -- looks

    async def run(self) -> None:
        """Look at what is due, until cancelled."""
        try:
            client = AsyncClient()
        except ConfigError as error:
            raise StartError(
                f"--hub reviews tokens by the API server, of which it finds no configuration: {error}"
            ) from None
        self._desk.callers = Callers(review_by(client, self._given.audience))
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
                    self._desk.room.sweep(now)
                await self._until_due()
        finally:
            self._board.release()  # so that agents ask another replica at once, and the stop waits for none of them
            for task in self._under_way:
                task.cancel()
            await self._looks.close()

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
        if self._looks.full or any(topic.due <= now for topic in batch):
            self._due.set()

    def _takes(self, region: str) -> bool:
        return region == self._home or self._looks.takes(region)
