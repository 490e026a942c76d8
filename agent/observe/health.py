"""The pages of the HTTP endpoint: what a status means to kubelet, to a scraper and to people."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from agent.core.status import SecretStatus, Status
from agent.observe import report
from agent.observe.http import Page
from agent.observe.report import error_of, time_of


def pages(read: Callable[[], Status]) -> dict[str, Callable[[], Page]]:
    """The pages by path. Each is a view of the status that `read` returns at the time of the request."""

    return {
        "/metrics": lambda: _metrics(read()),
        "/livez": lambda: live(read(), time.monotonic()),
        "/startupz": lambda: started(read()),
        "/readyz": lambda: ready(read(), time.time()),
        "/status": lambda: _page(True, report.of_agent(read(), time.time())),
        "/": lambda: Page(200, "text/html; charset=utf-8", _html(report.of_agent(read(), time.time()))),
    }


def for_strangers(read: Callable[[], Status]) -> dict[str, Callable[[], Page]]:
    """The pages for a request whose Host is not the pod's own: without any name or ARN. Probes and scrapes, which may
    use any Host, still get what they need."""
    refused = Page(421, "text/plain", b"this agent does not know the request's Host; use an IP address or localhost\n")

    def brief() -> Page:
        page = ready(read(), time.time())
        return page._replace(body=json.dumps({"ready": page.status == 200}).encode() + b"\n")

    return {"/": lambda: refused, "/status": lambda: refused, "/readyz": brief}


def _metrics(status: Status) -> Page:
    from agent.observe import metrics  # at the first scrape: the first files do not wait for it

    return Page(200, *metrics.exposition(status))


def _html(made: report.Report) -> bytes:
    from agent.observe import page  # needed only once a person looks

    return page.html(made).encode()


def live(status: Status, monotonic: float) -> Page:
    """200 while the loop turns. An outage of AWS does not count: a restart would not help."""
    late = monotonic - status.turns_by
    return _page(late <= 0, {"live": late <= 0, **({"lateBySeconds": round(late, 1)} if late > 0 else {})})


def started(status: Status) -> Page:
    """200 once a complete generation has been published."""
    return _page(status.started, {"started": status.started, "generation": status.generation})


def ready(status: Status, now: float) -> Page:
    """200 if the agent has started and every published secret was confirmed within `staleAfter`, if set. The body has
    each secret as JSON.

    What the pod serves decides. A secret that an edit of the config adds, and that cannot be fetched, is not ready, but
    does not take the pod out of its Service: all pods read the same edit at once.
    """
    secrets = status.secrets.values()
    good = status.started and status.generation > 0 and not any(_stale(s, status.stale_after, now) for s in secrets)
    shown = [_readiness(secret, status.stale_after, now) for secret in secrets]
    return _page(good, {"ready": good, "generation": status.generation, "secrets": shown})


def _stale(secret: SecretStatus, stale_after: float, now: float) -> bool:
    """Whether what is served was confirmed too long ago. This never applies to a version that is chosen by its id,
    which cannot change, or to files that an edit has just made obsolete."""
    if not stale_after or secret.version_id is None or secret.version_stage is None or not secret.as_asked:
        return False
    return now - max(secret.last_success or 0.0, secret.published_at or 0.0) > stale_after


def _readiness(secret: SecretStatus, stale_after: float, now: float) -> dict[str, Any]:
    there = secret.version_id is not None or secret.optional
    return {
        "name": secret.name,
        "ready": there and not _stale(secret, stale_after, now),
        "versionId": secret.version_id,
        "versionStage": secret.version_stage,
        "publishedAt": time_of(secret.published_at),
        "lastSuccess": time_of(secret.last_success),
        "upToDate": secret.up_to_date,
        "error": error_of(secret.failure),
    }


def _page(good: bool, content: Mapping[str, Any]) -> Page:
    return Page(200 if good else 503, "application/json", json.dumps(content).encode() + b"\n")
