"""Who asks: service account tokens, checked by the API server and remembered for a while."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.authentication_v1 import TokenReviewSpec
from lightkube.resources.authentication_v1 import TokenReview

from agent.core.record import Record

REMEMBERED = 600.0  # seconds for which a token that was accepted counts, unless it expires before

_REFUSED = 30.0  # seconds for which a token that was refused is not reviewed again

_ACCEPTED_AT_MOST, _REFUSED_AT_MOST = 40_000, 10_000  # tokens that are remembered

_AT_ONCE = 16  # reviews under way

_WAITING = 5_000  # callers that wait for a review, at most

_POD = "authentication.kubernetes.io/pod-uid"


class Caller(Record):
    """Whom a token belongs to: a service account, and the pod that it was projected into, if the token says so."""

    account: str
    pod: str


class Unreviewed(Exception):
    """The token could not be checked now; says why."""


V = TypeVar("V")

Review = Callable[[str], Awaitable[Caller | None]]


logging.getLogger("httpx2").setLevel(logging.WARNING)  # lightkube's library; it logs each request


def review_by(client: AsyncClient, audience: str) -> Review:
    """Review a token by the API server. The result raises Unreviewed when it does not answer."""

    async def review(token: str) -> Caller | None:
        asked = TokenReview(spec=TokenReviewSpec(token=token, audiences=[audience]))
        why = ""
        try:
            status = (await client.create(asked)).status
        except ApiError as error:
            why = f"the API server refuses to review tokens: {error.status.message}"
        except Exception as error:  # of the transport, whichever it is
            why = f"the API server does not answer: {type(error).__name__}"
        if why:
            raise Unreviewed(why)
        if not status or not status.authenticated or audience not in (status.audiences or ()) or not status.user:
            return None
        pods = (status.user.extra or {}).get(_POD) or [""]
        return Caller(status.user.username or "", str(pods[0]))

    return review


class Callers:
    """Reviews each token once in a while. What is remembered is a digest, never the token."""

    def __init__(self, review: Review) -> None:
        self._review = review
        self._accepted: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._refused: OrderedDict[bytes, float] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[Caller | None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def remembered(self, token: str) -> Caller | None:
        """Whom a token belongs to that was accepted a while ago; None for any other."""
        found = self._accepted.get(_digest(token))
        return found[0] if found and time.monotonic() < found[1] else None

    async def caller(self, token: str) -> Caller | None:
        """Whom the token belongs to; None if it is refused. Raises Unreviewed."""
        digest = _digest(token)
        now = time.monotonic()
        if (found := self._accepted.get(digest)) and now < found[1]:
            return found[0]
        if now < self._refused.get(digest, now):
            return None
        task = self._under_way.get(digest)
        if task is None:
            if len(self._under_way) >= _WAITING:
                raise Unreviewed("too many tokens wait for a review")
            task = self._under_way[digest] = asyncio.create_task(self._reviewed(digest, token))
        return await asyncio.shield(task)

    async def _reviewed(self, digest: bytes, token: str) -> Caller | None:
        try:
            async with self._room:
                caller = await self._review(token)
        finally:
            del self._under_way[digest]
        now = time.monotonic()
        if caller:
            until = now + max(0.0, min(REMEMBERED, _expires_in(token)))
            _remember(self._accepted, digest, (caller, until), _ACCEPTED_AT_MOST)
            self._refused.pop(digest, None)
        else:
            self._accepted.pop(digest, None)
            _remember(self._refused, digest, now + _REFUSED, _REFUSED_AT_MOST)
        return caller


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _remember(found: OrderedDict[bytes, V], digest: bytes, value: V, limit: int) -> None:
    found[digest] = value
    found.move_to_end(digest)
    if len(found) > limit:
        found.popitem(last=False)


def _expires_in(token: str) -> float:
    """Seconds until the token expires, as it says itself. The API server has checked it before."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - time.time()
    except (IndexError, ValueError, KeyError, TypeError):
        return REMEMBERED
