"""The metrics of ExternalSecrets. Those of one ExternalSecret go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.controller.external_secrets.kinds import Key
from agent.controller.external_secrets.plan import State
from agent.controller.part import Registry
from agent.core.model import Call

_PREFIX = "freshmount_controller"


class Metrics(Collector):
    """What a scrape finds. `states` are the ExternalSecrets that are this controller's, as their status says."""

    def __init__(self, registry: Registry, states: Callable[[], Mapping[Key, State]]) -> None:
        self._states = states
        self._errors = Counter(
            f"{_PREFIX}_external_secret_errors", "Attempts that failed, by reason", ["reason"], registry=registry
        )
        self._writes = Counter(
            f"{_PREFIX}_external_secret_writes", "Secrets written, by what was done", ["done"], registry=registry
        )
        self._requests = Counter(
            f"{_PREFIX}_source_requests",
            "Calls to AWS, by service, operation and the code they ended with",
            ["source", "operation", "code"],
            registry=registry,
        )
        self._leader = Gauge(f"{_PREFIX}_leader", "Whether this replica writes", registry=registry)
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """One line for each ExternalSecret."""
        ready = GaugeMetricFamily(
            f"{_PREFIX}_external_secret_ready", "Whether its Secret is up to date", labels=["namespace", "name"]
        )
        success = GaugeMetricFamily(
            f"{_PREFIX}_external_secret_last_success_timestamp_seconds",
            "When its Secret was last known to be up to date",
            labels=["namespace", "name"],
        )
        for at, state in self._states().items():
            ready.add_metric(at, float(state.ready is True))
            if state.refreshed_at is not None:
                success.add_metric(at, state.refreshed_at)
        return iter((ready, success))

    def failed(self, reason: str) -> None:
        """An attempt has failed."""
        self._errors.labels(reason).inc()

    def wrote(self, done: str) -> None:
        """A Secret was created, updated or deleted."""
        self._writes.labels(done).inc()

    def called(self, calls: Sequence[Call]) -> None:
        """Calls to AWS were made."""
        for call in calls:
            self._requests.labels(call.source, call.operation, call.code).inc()

    def leads(self, *, leads: bool) -> None:
        """The process has begun or ceased to lead."""
        self._leader.set(leads)
