"""The metrics for a scraper, in Prometheus' text format. They are views of one immutable `Status`; this module counts
nothing.

prometheus_client is not used: it includes an HTTP server and loads TLS, 7.5 MiB in every pod.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from agent.core.status import Histogram, SecretStatus, Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def _agent(status: Status) -> Iterator[str]:
    yield from _gauge("build_info", "The running version.", ["version"], {(status.version,): 1})
    yield from _counter("passes", "Passes by outcome.", ["outcome"], {(o,): n for o, n in status.passes.items()})
    yield from _histogram("pass_duration_seconds", "How long passes took.", [], {(): status.pass_seconds})
    yield from _gauge("last_pass_timestamp_seconds", "When the last pass ended.", [], {(): status.last_pass})
    yield from _gauge(
        "generation_timestamp_seconds", "When the current generation was published.", [], {(): status.generation_at}
    )
    yield from _counter("repairs", "Files and links found missing or altered, and repaired.", [], {(): status.repairs})
    yield from _gauge(
        "config_reload_success",
        "Whether the config file on disk is the config in force.",
        [],
        {(): int(status.config_reload_success)},
    )
    yield from _gauge(
        "config_last_reload_timestamp_seconds",
        "When the config in force was read.",
        [],
        {(): status.config_last_reload},
    )


def _secrets(status: Status) -> Iterator[str]:
    def each(value: Callable[[SecretStatus], float | None]) -> dict[tuple[str, ...], float | None]:
        return {(name,): value(secret) for name, secret in status.secrets.items()}

    yield from _gauge(
        "secret_last_success_timestamp_seconds",
        "When the secret was last known to be up to date.",
        ["secret"],
        each(lambda s: s.last_success),
    )
    yield from _gauge(
        "secret_period_seconds", "Seconds between two polls of the secret.", ["secret"], each(lambda s: s.period)
    )
    yield from _gauge(
        "secret_version_info",
        "The version that is published.",
        ["secret", "version_id", "version_stage"],
        {(n, s.version_id, s.version_stage or ""): 1 for n, s in status.secrets.items() if s.version_id},
    )
    yield from _gauge(
        "secret_region_info",
        "The region that answered last for a secret with failover.",
        ["secret", "region"],
        {(n, s.region): 1 for n, s in status.secrets.items() if s.region},
    )
    yield from _gauge(
        "secret_published_timestamp_seconds",
        "When the files of the published version last changed.",
        ["secret"],
        each(lambda s: s.published_at),
    )
    yield from _gauge(
        "secret_next_rotation_timestamp_seconds",
        "The latest time at which AWS rotates the secret next.",
        ["secret"],
        each(lambda s: s.next_rotation),
    )
    yield from _gauge(
        "secret_pinned_until_timestamp_seconds",
        "When the pin by `freshmount pin` ends.",
        ["secret"],
        each(lambda s: s.pinned_until),
    )
    yield from _counter(
        "secret_errors",
        "Failed attempts by reason.",
        ["secret", "reason"],
        {(name, reason): n for name, secret in status.secrets.items() for reason, n in secret.errors.items()},
    )
    yield from _gauge(
        "secret_up_to_date",
        "Whether the published version is the one that AWS last reported as current.",
        ["secret"],
        each(lambda s: int(s.up_to_date)),
    )


def _sources(status: Status) -> Iterator[str]:
    yield from _counter(
        "source_requests",
        "Calls to a source, by result code.",
        ["source", "operation", "code"],
        dict(status.source_requests),
    )
    yield from _histogram(
        "source_request_duration_seconds",
        "How long calls to a source took.",
        ["source", "operation"],
        dict(status.source_seconds),
    )


def _targets(status: Status) -> Iterator[str]:
    yield from _counter(
        "notifications",
        "Attempts to notify a target of a change.",
        ["target", "result"],
        {
            (name, result): count
            for name, target in status.targets.items()
            for result, count in (("accepted", target.accepted), ("refused", target.refused))
        },
    )
    yield from _gauge(
        "notification_pending",
        "Whether the target has yet to accept the latest change.",
        ["target"],
        {(name,): int(target.pending is not None) for name, target in status.targets.items()},
    )
    yield from _histogram(
        "publish_to_notify_seconds",
        "Time from publishing a change until a target accepted it.",
        [],
        {(): status.publish_to_notify},
    )
    yield from _histogram(
        "rotation_to_file_seconds",
        "Time from the creation of a version, according to AWS, until its files replaced those of an earlier version.",
        [],
        {(): status.rotation_to_file},
    )


def _hub(status: Status) -> Iterator[str]:
    """Nothing without a hub."""
    if hub := status.hub:
        yield from _gauge("hub_connected", "Whether the hub answers.", [], {(): int(hub.connected)})
        yield from _gauge("hub_last_answer_timestamp_seconds", "When the hub answered last.", [], {(): hub.answered_at})


def _process() -> Iterator[str]:
    """What the kernel says of this process. CPU time includes that of its workers, which are gone."""
    spent = os.times()
    cpu = spent.user + spent.system + spent.children_user + spent.children_system
    yield from _family("process_cpu_seconds_total", "counter", "CPU time, that of workers included.", [((), cpu)])
    try:
        with open("/proc/self/statm", encoding="ascii") as handle:
            virtual, resident = (int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in handle.read().split()[:2])
        with open("/proc/self/stat", encoding="ascii", errors="replace") as handle:
            ticks = int(handle.read().rpartition(")")[2].split()[19])
        with open("/proc/stat", encoding="ascii") as handle:
            booted = next(int(line.split()[1]) for line in handle if line.startswith("btime "))
        started = booted + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return
    yield from _family("process_virtual_memory_bytes", "gauge", "Virtual memory.", [((), virtual)])
    yield from _family("process_resident_memory_bytes", "gauge", "Resident memory.", [((), resident)])
    yield from _family("process_start_time_seconds", "gauge", "When the process started.", [((), started)])
    try:
        count = len(os.listdir("/proc/self/fd"))
    except OSError:  # not ours to read as another uid than root, since the process is closed to others
        return
    yield from _family("process_open_fds", "gauge", "Open file descriptors.", [((), count)])


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float | None]) -> Iterator[str]:
    samples = [(_pairs(labels, key), value) for key, value in values.items() if value is not None]
    yield from _family(f"freshmount_{name}", "gauge", text, samples)


def _counter(name: str, text: str, labels: list[str], values: Mapping[Any, int]) -> Iterator[str]:
    samples = [(_pairs(labels, key), value) for key, value in values.items()]
    yield from _family(f"freshmount_{name}_total", "counter", text, samples)


def _histogram(name: str, text: str, labels: list[str], values: Mapping[Any, Histogram]) -> Iterator[str]:
    family = f"freshmount_{name}"
    yield from _family(family, "histogram", text, ())
    for key, histogram in values.items():
        so_far = 0
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            so_far += count
            yield _sample(f"{family}_bucket", (*_pairs(labels, key), ("le", bound)), so_far)
        yield _sample(f"{family}_count", _pairs(labels, key), so_far)
        yield _sample(f"{family}_sum", _pairs(labels, key), histogram.total)


_Labels = tuple[tuple[str, str], ...]


def _pairs(labels: list[str], values: tuple[str, ...]) -> _Labels:
    return tuple(zip(labels, values, strict=True))


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[_Labels, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    for labels, value in samples:
        yield _sample(name, labels, value)


def _sample(name: str, labels: _Labels, value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{shown}}} {float(value)!r}\n" if shown else f"{name} {float(value)!r}\n"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def exposition(status: Status) -> tuple[str, bytes]:
    """What a scrape is answered with: a content type and the metrics."""
    lines = (line for part in (_agent, _secrets, _sources, _targets, _hub) for line in part(status))
    return CONTENT_TYPE, "".join((*lines, *_process())).encode("utf-8", "backslashreplace")
