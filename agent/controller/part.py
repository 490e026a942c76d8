"""What a part of the controller is to the process that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry

from agent.controller.door import Serve

Registry = CollectorRegistry  # where a part puts its metrics when it is made


class Part(Protocol):
    """One of `--external-secrets`, `--hub` and `--push`. It lives in the process's one event loop."""

    name: str

    def serves(self) -> Mapping[str, Serve]:
        """Who takes the connections at `--listen` whose first request is for a path, beside metrics and probes."""

    async def run(self) -> None:
        """Do its work until it is cancelled. Whatever it raises ends the process."""

    def stalled(self) -> str | None:
        """Why the process should be restarted: a sentence, or None. Asked for each liveness probe."""

    def unready(self) -> str | None:
        """Why it cannot serve now: a sentence, or None. Asked for each readiness probe."""
