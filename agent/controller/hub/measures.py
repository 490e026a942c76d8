"""The hub's metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from agent.controller.part import Registry
from agent.core.model import Call

_PREFIX = "freshmount_controller"


class Measures:
    """The metrics, in a registry. `agents` and `versions` say how many there are at the time of a scrape. With `queue`
    there is a queue of events."""

    def __init__(
        self, registry: Registry, agents: Callable[[], int], versions: Callable[[], int], *, queue: bool
    ) -> None:
        waiting = Gauge(f"{_PREFIX}_hub_agents", "Requests of agents that wait.", registry=registry)
        waiting.set_function(agents)
        known = Gauge(f"{_PREFIX}_hub_versions", "Secrets and parameters that are looked at.", registry=registry)
        known.set_function(versions)
        self._moves = Counter(f"{_PREFIX}_hub_moves", "Versions that were seen to move.", registry=registry)
        self._answers = Histogram(
            f"{_PREFIX}_hub_move_to_answer_seconds",
            "Time from the look that brought news until an agent that waited was answered.",
            registry=registry,
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self._requests = Counter(
            f"{_PREFIX}_hub_requests", "Requests of agents, by HTTP status.", ["status"], registry=registry
        )
        self._good = self._requests.labels("200")  # looked up once: it is counted for each request
        self._calls = Counter(
            f"{_PREFIX}_hub_source_requests",
            "Calls to AWS, by result code.",
            ["source", "operation", "code"],
            registry=registry,
        )
        of_queue = registry if queue else None
        self._events = Counter(
            f"{_PREFIX}_events", "Events of the queue, by what became of them.", ["kind", "result"], registry=of_queue
        )
        self._connected = Gauge(
            f"{_PREFIX}_events_connected", "Whether the queue of events answers.", registry=of_queue
        )

    def event(self, kind: str, result: str) -> None:
        """An event was dealt with."""
        self._events.labels(kind, result).inc()

    def connected(self, answers: bool) -> None:
        """The queue answers, or does not."""
        self._connected.set(int(answers))

    def moved(self, count: int) -> None:
        """So many stages moved."""
        if count:
            self._moves.inc(count)

    def answered(self, seconds: float) -> None:
        """An agent that waited was answered so many seconds after the news."""
        self._answers.observe(seconds)

    def requests(self, status: str) -> None:
        """A request was answered."""
        (self._good if status == "200" else self._requests.labels(status)).inc()

    def called(self, call: Call) -> None:
        """A call to AWS was made."""
        self._calls.labels(call.source, call.operation, call.code).inc()
