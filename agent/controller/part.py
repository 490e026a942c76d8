"""What a part of the controller is to the process that runs it."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry

Registry = CollectorRegistry  # where a part puts its metrics when it is made


class Part(Protocol):
    """One of `--external-secrets`, `--hub` and `--push`. It lives in the process's one event loop."""

    name: str

    def routes(self) -> list[web.RouteDef]:
        """What it serves at `--listen`, beside metrics and probes."""

    async def run(self) -> None:
        """Do its work until it is cancelled. Whatever it raises ends the process."""

    def stalled(self) -> str | None:
        """Why the process should be restarted: a sentence, or None. Asked for each liveness probe."""

    def unready(self) -> str | None:
        """Why it cannot serve now: a sentence, or None. Asked for each readiness probe."""
