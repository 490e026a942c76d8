"""The queue of events: what it brings is looked at at once, and deleted when those who wait were answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from agent.controller.hub import events
from agent.controller.hub.board import Board, Topic
from agent.controller.hub.events import Event, Foreign, Malformed, Recent
from agent.controller.hub.measures import Measures
from agent.core.ports import Log
from agent.sources.aws.queue import HIDDEN, Message, Queue, QueueAway

_AGAIN = 5.0  # seconds between two attempts at a queue that does not answer

_BEHIND = (1.0, 4.0)  # seconds after which AWS is asked again that has not heard of the event's version yet


class Listener:
    """Reads the queue. `due` is called when there is something to look at, `turned` when the queue begins to answer
    (True) or ceases to."""

    def __init__(
        self,
        url: str,
        board: Board,
        measures: Measures,
        log: Log,
        *,
        due: Callable[[], None],
        turned: Callable[[bool], None],
    ) -> None:
        self._url, self._board, self._measures, self._log = url, board, measures, log
        self._due, self._turned = due, turned
        self._recent = Recent()
        self._said: bool | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Read until cancelled."""
        threads = ThreadPoolExecutor(2, "events")  # one waits for messages, the other deletes
        queue = Queue(self._url)
        loop = asyncio.get_running_loop()

        async def delete(done: list[Message]) -> None:
            try:
                await loop.run_in_executor(threads, queue.delete, done)
            except QueueAway as error:
                self._log.warning("an event is not deleted, so it comes again", reason=str(error))

        try:
            while True:
                try:
                    messages = await loop.run_in_executor(threads, queue.receive)
                except QueueAway as error:
                    self._answers(False, str(error))
                    await asyncio.sleep(_AGAIN)
                    continue
                self._answers(True)
                for message in messages:
                    task = asyncio.create_task(self._handle(message, delete))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
        finally:
            for task in self._under_way:
                task.cancel()
            threads.shutdown(wait=False, cancel_futures=True)

    def _answers(self, answers: bool, reason: str = "") -> None:
        if answers != self._said:
            self._said = answers
            self._measures.connected(answers)
            self._turned(answers)
            if answers:
                self._log.info("the queue of events answers", queue=self._url)
            else:
                self._log.warning("the queue of events does not answer; secrets are polled", reason=reason)

    async def _handle(self, message: Message, delete: Callable[[list[Message]], Awaitable[None]]) -> None:
        """Look at what the message is about, and delete it. What cannot be looked at in time comes again."""
        kind = "other"
        try:
            event = events.read(message.body)
            kind = event.kind
            if not self._recent.new(event.id):
                result = "duplicate"
            elif topics := self._board.topics_of(events.subjects(event, self._board.topics)):
                result = await self._looked(event, topics)
            else:
                result = "unknown"
        except Foreign:
            result = "foreign"
        except Malformed:
            result = "malformed"
        self._measures.event(kind, result)
        if result == "late":
            self._recent.forget(event.id)
        else:
            await delete([message])

    async def _looked(self, event: Event, topics: list[Topic]) -> str:
        """`answered` once a look at each topic has ended, `late` if that takes too long."""
        for pause in (0.0, *_BEHIND):
            await asyncio.sleep(pause)
            now = time.monotonic()
            self._board.happened(topics, now)
            self._due()
            try:
                async with asyncio.timeout(HIDDEN / 2):
                    await asyncio.gather(*(self._board.looked(topic, now) for topic in topics))
            except TimeoutError:
                return "late"
            if not any(_behind(topic, event) for topic in topics):
                break
        return "answered"


def _behind(topic: Topic, event: Event) -> bool:
    """Whether AWS, which answers from several places, does not know of the event's version yet."""
    row = topic.rows.get(event.stage or "")
    return row is not None and row.version is not None and row.version != event.version
