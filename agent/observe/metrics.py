"""The metrics for a scraper. They are views of one immutable `Status`; this module counts nothing.

Imported at the first scrape: prometheus_client, which includes an HTTP server, would add 15 ms to the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.core.status import Histogram, SecretStatus, Status


class StatusCollector(Collector):
    """Collects the metrics of the status at the time of a scrape."""

    def __init__(self, read: Callable[[], Status]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Declare nothing in advance: which series exist depends on the config."""
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._read()
        yield from _agent(status)
        yield from _secrets(status)
        yield from _sources(status)
        yield from _targets(status)


def _agent(status: Status) -> Iterator[Metric]:
    yield _gauge("build_info", "The running version.", ["version"], {(status.version,): 1})
    yield _counter("passes", "Passes by outcome.", ["outcome"], {(o,): n for o, n in status.passes.items()})
    yield _histogram("pass_duration_seconds", "How long passes took.", [], {(): status.pass_seconds})
    yield _gauge("last_pass_timestamp_seconds", "When the last pass ended.", [], {(): status.last_pass})
    yield _gauge(
        "generation_timestamp_seconds", "When the current generation was published.", [], {(): status.generation_at}
    )
    yield _counter("repairs", "Files and links found missing or altered, and repaired.", [], {(): status.repairs})
    yield _gauge(
        "config_reload_success",
        "Whether the config file on disk is the config in force.",
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
    yield _gauge(
        "secret_period_seconds", "Seconds between two polls of the secret.", ["secret"], each(lambda s: s.period)
    )
    yield _gauge(
        "secret_version_info",
        "The version that is published.",
        ["secret", "version_id", "version_stage"],
        {(n, s.version_id, s.version_stage or ""): 1 for n, s in status.secrets.items() if s.version_id},
    )
    yield _gauge(
        "secret_region_info",
        "The region that answered last for a secret with failover.",
        ["secret", "region"],
        {(n, s.region): 1 for n, s in status.secrets.items() if s.region},
    )
    yield _gauge(
        "secret_published_timestamp_seconds",
        "When the files of the published version last changed.",
        ["secret"],
        each(lambda s: s.published_at),
    )
    yield _gauge(
        "secret_next_rotation_timestamp_seconds",
        "The latest time at which AWS rotates the secret next.",
        ["secret"],
        each(lambda s: s.next_rotation),
    )
    yield _gauge(
        "secret_pinned_until_timestamp_seconds",
        "When the pin by `freshmount pin` ends.",
        ["secret"],
        each(lambda s: s.pinned_until),
    )
    yield _counter(
        "secret_errors",
        "Failed attempts by reason.",
        ["secret", "reason"],
        {(name, reason): n for name, secret in status.secrets.items() for reason, n in secret.errors.items()},
    )
    yield _gauge(
        "secret_up_to_date",
        "Whether the published version is the one that AWS last reported as current.",
        ["secret"],
        each(lambda s: int(s.up_to_date)),
    )


def _sources(status: Status) -> Iterator[Metric]:
    yield _counter(
        "source_requests",
        "Calls to a source, by result code.",
        ["source", "operation", "code"],
        dict(status.source_requests),
    )
    yield _histogram(
        "source_request_duration_seconds",
        "How long calls to a source took.",
        ["source", "operation"],
        dict(status.source_seconds),
    )


def _targets(status: Status) -> Iterator[Metric]:
    yield _counter(
        "notifications",
        "Attempts to notify a target of a change.",
        ["target", "result"],
        {
            (name, result): count
            for name, target in status.targets.items()
            for result, count in (("accepted", target.accepted), ("refused", target.refused))
        },
    )
    yield _gauge(
        "notification_pending",
        "Whether the target has yet to accept the latest change.",
        ["target"],
        {(name,): int(target.pending is not None) for name, target in status.targets.items()},
    )
    yield _histogram(
        "publish_to_notify_seconds",
        "Time from publishing a change until a target accepted it.",
        [],
        {(): status.publish_to_notify},
    )
    yield _histogram(
        "rotation_to_file_seconds",
        "Time from the creation of a version, according to AWS, until its files replaced those of an earlier version.",
        [],
        {(): status.rotation_to_file},
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


def exposition(read: Callable[[], Status]) -> Callable[[], tuple[str, bytes]]:
    """The answer to a scrape: a content type, and the metrics of the status that `read` returns at that time."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(read))
    ProcessCollector(registry=registry)
    return lambda: (CONTENT_TYPE_LATEST, generate_latest(registry))
