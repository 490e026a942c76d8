"""Where questions are answered: who asks, whether there is room, and what there is to say now or later."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from agent.controller.hub import question
from agent.controller.hub.board import Board, Full, answer
from agent.controller.hub.callers import Caller, Callers, Unreviewed
from agent.controller.hub.measures import Measures
from agent.controller.hub.question import NoQuestion
from agent.controller.hub.room import Room

_FIRST = 5.0  # seconds that a caller who does not want to wait waits for the first look at a secret

_TOGETHER = 0.5  # seconds; requests whose time is over within them are answered at once

News = asyncio.Future[float | None]


class Refused(Exception):
    """A request is not answered: an HTTP status, and why, for the caller."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Desk:
    """Answers for a board. `takes` says whether there are looks at a region, `due` that there is something to look at.
    `callers` is None until the API server can be asked about them."""

    def __init__(
        self, board: Board, measures: Measures, audience: str, *, takes: Callable[[str], bool], due: Callable[[], None]
    ) -> None:
        self._board, self._measures, self._audience = board, measures, audience
        self._takes, self._due = takes, due
        self.callers: Callers | None = None
        self.room = Room()
        self._endings: dict[int, set[News]] = {}

    def known(self, authorization: str) -> Caller | None:
        """Whom a header shows that was accepted a while ago; None for another, which must be reviewed. Raises
        Refused."""
        return self._reviewer().remembered(_token(authorization))

    async def review(self, authorization: str) -> Caller:
        """Whom a header shows, as the API server says. Raises Refused."""
        try:
            caller = await self._reviewer().caller(_token(authorization))
        except Unreviewed as error:
            raise Refused(503, str(error)) from None
        if caller is None:
            raise Refused(401, f"the token is not valid for the audience {self._audience}, or has expired")
        return caller

    def enter(self, caller: Caller) -> None:
        """Let another request of theirs in, until `leave`. Raises Refused."""
        if refused := self.room.enter(caller, time.monotonic()):
            raise Refused(429, refused)

    def leave(self, caller: Caller) -> None:
        """A request that was let in has ended."""
        self.room.leave(caller)

    def refused(self, status: int) -> None:
        """Count a request that is not answered."""
        self._measures.requests(str(status))

    def ask(self, body: bytes, caller: Caller, then: Callable[[bytes], None]) -> News | None:
        """Answer by `then`: at once, or as soon as there is something to say, or when the time is over.

        What it waits for is returned; who has gone cancels it, and `then` is not called. Raises Refused.
        """
        arrived = time.monotonic()
        try:
            asked = question.read(body)
            for region in {each.subject.region for each in asked.secrets}:
                if not self._takes(region):
                    raise NoQuestion(f"the hub looks at other regions than {region} already; ask AWS")
            rows = self._board.rows(asked, _namespace(caller), arrived)
        except NoQuestion as error:
            raise Refused(400, str(error)) from None
        except Full:
            raise Refused(503, "the hub looks at too many secrets already; ask AWS") from None
        known = [each.version for each in asked.secrets]
        unknown = news = False
        for row, version in zip(rows, known, strict=True):
            unknown = unknown or row.text is None
            news = news or row.news_for(version, arrived)
        wait = max(asked.wait, _FIRST) if unknown else asked.wait
        if unknown:
            self._due()
        if wait <= 0 or (news and not unknown):
            self._measures.requests("200")
            then(answer(rows, known))
            return None
        waiting = self._board.wait(rows, known, arrived)
        waiting.first = asked.wait == 0
        ending = self._ending(wait)
        ending.add(waiting.news)

        def over(news: News) -> None:
            now = time.monotonic()
            ending.discard(news)
            self._board.leave(waiting, now)
            if news.cancelled():
                return
            at = news.result()
            if at is not None:
                self._measures.answered(now - at)
            self._measures.requests("200")
            then(answer(rows, known))

        waiting.news.add_done_callback(over)
        return waiting.news

    def _reviewer(self) -> Callers:
        if self.callers is None:
            raise Refused(503, "the hub has not started yet")
        return self.callers

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


def _token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Refused(401, "show a service account token: Authorization: Bearer …")
    return token


def _namespace(caller: Caller) -> str:
    """The namespace of `system:serviceaccount:NAMESPACE:NAME`; of another user its whole name."""
    parts = caller.account.split(":")
    return parts[2] if len(parts) == 4 and parts[:2] == ["system", "serviceaccount"] else caller.account
