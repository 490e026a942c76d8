"""What a status means to a scraper and to a kubelet. Views of one immutable `Status`: nothing is counted here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from agent.server import Page
from agent.status import Histogram, SecretStatus, Status


class StatusCollector(Collector):
    """The metrics of whatever status is in force when a scraper asks."""

    def __init__(self, read: Callable[[], Status]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Nothing is promised beforehand: which series there are depends on the config."""
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._read()
        yield from _agent(status)
        yield from _secrets(status)
        yield from _aws(status)
        yield from _targets(status)


def _agent(status: Status) -> Iterator[Metric]:
    yield _gauge("build_info", "The version that runs.", ["version"], {(status.version,): 1})
    yield _counter("passes", "Passes by outcome.", ["outcome"], {(o,): n for o, n in status.passes.items()})
    yield _histogram("pass_duration_seconds", "How long passes took.", [], {(): status.pass_seconds})
    yield _gauge("last_pass_timestamp_seconds", "When the last pass ended.", [], {(): status.last_pass})
    yield _gauge(
        "generation_timestamp_seconds", "When what is published was published.", [], {(): status.generation_at}
    )
    yield _counter("repairs", "Files and links found missing or altered, and mended.", [], {(): status.repairs})
    yield _gauge(
        "config_reload_success",
        "Whether the config file is the config in force.",
        [],
        {(): int(status.config_reload_success)},
    )
    yield _gauge(
        "config_last_reload_timestamp_seconds",
        "When the config in force was read.",
        [],
        {(): status.config_last_reload},
    )


def _secrets(status: Status) -> Iterator[Metric]:
    def each(value: Callable[[SecretStatus], float | None]) -> dict[tuple[str, ...], float | None]:
        return {(name,): value(secret) for name, secret in status.secrets.items()}

    yield _gauge(
        "secret_last_success_timestamp_seconds",
        "When the secret was last known to be up to date.",
        ["secret"],
        each(lambda s: s.last_success),
    )
    yield _gauge("secret_period_seconds", "How often it is polled.", ["secret"], each(lambda s: s.period))
    yield _gauge(
        "secret_version_info",
        "The version that is published.",
        ["secret", "version_id", "version_stage"],
        {(n, s.version_id, s.version_stage or ""): 1 for n, s in status.secrets.items() if s.version_id},
    )
    yield _gauge(
        "secret_published_timestamp_seconds",
        "When its published version was published.",
        ["secret"],
        each(lambda s: s.published_at),
    )
    yield _gauge(
        "secret_next_rotation_timestamp_seconds",
        "On or before when AWS rotates it next.",
        ["secret"],
        each(lambda s: s.next_rotation),
    )
    yield _counter(
        "secret_errors",
        "Failed attempts by reason.",
        ["secret", "reason"],
        {(name, reason): n for name, secret in status.secrets.items() for reason, n in secret.errors.items()},
    )
    yield _gauge(
        "secret_up_to_date",
        "Whether what is published is what AWS said was current when last asked.",
        ["secret"],
        each(lambda s: int(s.up_to_date)),
    )


def _aws(status: Status) -> Iterator[Metric]:
    yield _counter(
        "aws_requests",
        "Calls to AWS by the code that they ended with.",
        ["operation", "code"],
        dict(status.aws_requests),
    )
    yield _histogram(
        "aws_request_duration_seconds",
        "How long calls to AWS took.",
        ["operation"],
        {(operation,): histogram for operation, histogram in status.aws_seconds.items()},
    )


def _targets(status: Status) -> Iterator[Metric]:
    yield _counter(
        "notifications",
        "Attempts to tell a target of a change.",
        ["target", "result"],
        {
            (name, result): count
            for name, target in status.targets.items()
            for result, count in (("accepted", target.accepted), ("refused", target.refused))
        },
    )
    yield _gauge(
        "notification_pending",
        "Whether the target has not accepted the latest change yet.",
        ["target"],
        {(name,): int(target.pending) for name, target in status.targets.items()},
    )
    yield _histogram(
        "publish_to_notify_seconds",
        "Time from a publish until a target accepted it.",
        [],
        {(): status.publish_to_notify},
    )


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float | None]) -> Metric:
    family = GaugeMetricFamily(f"freshmount_{name}", text, labels=labels)
    for key, value in values.items():
        if value is not None:
            family.add_metric(list(key), value)
    return family


def _counter(name: str, text: str, labels: list[str], values: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(f"freshmount_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family


def _histogram(name: str, text: str, labels: list[str], values: Mapping[Any, Histogram]) -> Metric:
    family = HistogramMetricFamily(f"freshmount_{name}", text, labels=labels)
    for key, histogram in values.items():
        so_far, buckets = 0, []
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        family.add_metric(list(key), buckets, sum_value=histogram.total)
    return family


def live(status: Status, monotonic: float) -> Page:
    """200 while the loop turns. AWS being down does not matter here: a restart would mend nothing."""
    late = monotonic - status.turns_by
    return _page(late <= 0, {"live": late <= 0, **({"lateBySeconds": round(late, 1)} if late > 0 else {})})


def started(status: Status) -> Page:
    """200 once a complete generation was published."""
    return _page(status.started, {"started": status.started, "generation": status.generation})


def ready(status: Status, now: float) -> Page:
    """200 when started and, if `staleAfter` is set, no published secret was confirmed longer ago; JSON per secret."""
    secrets = [_readiness(secret, status.stale_after, now) for secret in status.secrets.values()]
    good = status.started and all(secret["ready"] for secret in secrets)
    return _page(good, {"ready": good, "generation": status.generation, "secrets": secrets})


def _readiness(secret: SecretStatus, stale_after: float, now: float) -> dict[str, Any]:
    confirmed = max(secret.last_success or 0.0, secret.published_at or 0.0)
    fresh = not stale_after or now - confirmed <= stale_after
    return {
        "name": secret.name,
        "ready": (secret.version_id is not None and fresh) or (secret.version_id is None and secret.optional),
        "versionId": secret.version_id,
        "versionStage": secret.version_stage,
        "publishedAt": _time(secret.published_at),
        "lastSuccess": _time(secret.last_success),
        "upToDate": secret.up_to_date,
        "error": {"reason": secret.failure.reason, "message": secret.failure.message} if secret.failure else None,
    }


def _time(epoch: float | None) -> str | None:
    return (
        datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if epoch else None
    )


def _page(good: bool, content: Mapping[str, Any]) -> Page:
    return Page(200 if good else 503, "application/json", json.dumps(content).encode() + b"\n")


def pages(read: Callable[[], Status]) -> dict[str, Callable[[], Page]]:
    """What the endpoint serves, by path."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(read))
    ProcessCollector(registry=registry)
    return {
        "/metrics": lambda: Page(200, CONTENT_TYPE_LATEST, generate_latest(registry)),
        "/livez": lambda: live(read(), time.monotonic()),
        "/startupz": lambda: started(read()),
        "/readyz": lambda: ready(read(), time.time()),
    }
