"""Quick looks: DescribeSecret from the event loop, by a way that botocore went a moment ago.

An answer 200 that can be read is what AWS said, however it was asked. Whatever else happens is no answer: botocore asks
once more, which knows what to try again, whose credentials were refused, and how to say it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from agent.controller.hub.board import Said
from agent.core.model import OK, Call, Secret
from agent.sources.aws import signed
from agent.sources.aws.clients import CALL_LIMIT, CONNECT_TIMEOUT, READ_TIMEOUT
from agent.sources.aws.signed import Way

AT_ONCE = 16  # requests of one region

_LARGEST = 1 << 20  # bytes of an answer

_LIMIT = ClientTimeout(total=CALL_LIMIT, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)


class Quick:
    """Looks of one event loop."""

    def __init__(self) -> None:
        self._session: ClientSession | None = None

    async def look(self, way: Way, secret: Secret, stages: Sequence[str]) -> tuple[Said | None, Call]:
        """What AWS says of these stages of a secret, and the call. None: ask by botocore. Raises nothing."""
        began = time.monotonic()
        said, code = await self._answer(way, secret, stages)
        return said, Call("secretsmanager", "DescribeSecret", code, time.monotonic() - began)

    async def _answer(self, way: Way, secret: Secret, stages: Sequence[str]) -> tuple[Said | None, str]:
        """The answer, and the code to be counted."""
        try:
            status, body = await self._post(way, *way.request(secret))
        except TimeoutError:
            return None, "timeout"
        except Exception as error:  # most are ClientError or OSError; whatever it is, this look must end
            return None, type(error).__name__
        if status != 200:
            return None, str(status)
        try:
            return signed.read(secret, stages, body), OK
        except Exception:  # whatever it is, Secrets Manager did not send it
            return None, "unknown"

    async def _post(self, way: Way, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer. Raises ClientError, OSError, TimeoutError, and what else a request
        raises that aiohttp does not send."""
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=0, limit_per_host=AT_ONCE),
                cookie_jar=DummyCookieJar(),
                timeout=_LIMIT,
                auto_decompress=False,  # nothing may come out larger than it came in
                skip_auto_headers=("Accept", "Accept-Encoding"),
            )
        found = b""
        tls = way.tls if way.tls is not None else True
        async with self._session.post(way.url, data=body, headers=headers, ssl=tls, allow_redirects=False) as answer:
            async for part in answer.content.iter_chunked(1 << 16):
                found += part
                if len(found) > _LARGEST:
                    raise ClientError("too long")
            return answer.status, found

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
