"""Small adapters for the real pass: a source that answers from a table, a sink in memory, calls without threads.

Each is a fake behind the same seam as the real one, for tests and benchmarks that need thousands of passes.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.core import schedule
from agent.core.errors import Failure, Reason
from agent.core.model import (
    OK,
    Answers,
    Bundle,
    Call,
    Delivery,
    Identity,
    Now,
    Observation,
    Operation,
    PassResult,
    Pending,
    Publication,
    Published,
    PublishedSecret,
    Request,
    Rotation,
    Target,
)
from agent.core.pins import Pins
from agent.core.ports import Renderer, Sink, Source
from agent.core.ports import Target as TargetPort
from agent.core.record import Record, replace
from agent.core.value import Fetched, ProjectedFile
from agent.engine.one_pass import Adapters, Fresh, one_pass
from agent.render.files import render
from tests.support.words import value


@dataclass
class Clock:
    """Simulated time, in seconds since the start, which was at `epoch`."""

    seconds: float = 0.0
    epoch: float = 1_800_000_000.0

    def now(self) -> Now:
        return Now(self.seconds, self.epoch + self.seconds)


class Directly:
    """A pool that asks one after the other, in this thread."""

    def ask(
        self,
        asks: Mapping[str, Callable[[], Any]],
        *,
        each: float,
        total: float,
        stopped: Callable[[], bool],
        **_: object,
    ) -> Iterator[tuple[str, Any]]:
        for name, ask in asks.items():
            yield name, ask()


class Asked:
    """What every fake source has in common: one secret a call, named as Secrets Manager names its calls."""

    limit = 15.0
    name: str = "secretsmanager"

    def batches(self, requests: Iterable[Request]) -> list[tuple[Request, ...]]:
        return [(request,) for request in requests]

    def identity(self, seconds: float) -> Identity:
        return Identity("a test")

    def present_identity(self) -> Identity | None:
        return None


@dataclass
class TableSource(Asked):
    """Per secret id its versions, the last one current, and why it fails, if it does."""

    clock: Clock
    versions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    failing: dict[str, Reason] = field(default_factory=dict)
    asked: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def rotate(self, secret_id: str, content: str) -> None:
        self.versions[secret_id].append(content)

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        def seen(request: Request) -> Observation:
            number = len(self.versions[request.secret.ref.id])
            return Observation(f"v{number}", ("AWSCURRENT",), Rotation(None, None, None))

        return self._answers(batch, "DescribeSecret", seen)

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        def fetched(request: Request) -> Fetched:
            held = self.versions[request.secret.ref.id]
            number = int(request.version_id[1:]) if request.version_id else len(held)
            return Fetched(f"v{number}", ("AWSCURRENT",), None, value(held[number - 1] if number else ""))

        return self._answers(batch, "GetSecretValue", fetched)

    def _answers(
        self, batch: tuple[Request, ...], operation: Operation, made: Callable[[Request], Any]
    ) -> Answers[Any]:
        results: dict[str, Any] = {}
        calls: list[Call] = []
        for request in batch:
            wanted = request.secret.ref.id
            self.asked[wanted].append(self.clock.seconds)
            reason = self.failing.get(wanted) or (None if self.versions[wanted] else "not_found")
            results[request.secret.name] = Failure(reason, "as the test wants it") if reason else made(request)
            calls.append(Call(self.name, operation, reason or OK, 0.0))
        return Answers(results, tuple(calls))


class MemorySink:
    """What is published, in memory: whole or not at all, and nobody else touches it."""

    def __init__(self, now: Callable[[], Now]) -> None:
        self._now = now
        self.published = Published()
        self.files: dict[str, ProjectedFile] = {}
        self.held: Pins = {}

    def read(self) -> Published:
        return self.published

    def blocked(self, published: Published, paths: Mapping[str, Iterable[str]]) -> dict[str, str]:
        return {}

    def holds(self, published: Published, name: str, wanted: Mapping[str, ProjectedFile]) -> bool:
        stands = published.secrets.get(name)
        if stands is None or set(stands.paths) != set(wanted):
            return False
        return all(
            self.files[path].mode == file.mode and self.files[path].content.reveal() == file.content.reveal()
            for path, file in wanted.items()
        )

    def publish(self, publication: Publication, published: Published) -> Published:
        number, wall = published.generation + 1, self._now().wall
        secrets, files = {}, {}
        for name, entry in publication.entries.items():
            before = published.secrets.get(name)
            paths = before.paths if entry.files is None and before else tuple(entry.files or {})
            files |= {path: self.files[path] for path in paths} if entry.files is None else dict(entry.files)
            changed = before is None or entry.changed
            secrets[name] = PublishedSecret(
                entry.version_id,
                entry.stages,
                entry.fingerprint,
                number if before is None or changed else before.changed,
                wall if before is None or changed else before.changed_at,
                entry.created_at,
                None,
                paths,
            )
        accepted = {name: number if reached is None else reached for name, reached in publication.accepted.items()}
        self.files = files
        self.published = Published(number, wall, secrets, accepted)
        return self.published

    def mend(self, published: Published) -> None:
        pass

    def set_aside(self) -> dict[str, str]:
        return {}

    def record_deliveries(self, accepted: Mapping[str, int]) -> None:
        self.published = replace(self.published, accepted=dict(accepted))

    @property
    def unrecorded(self) -> Mapping[str, int]:
        return {}

    def tidy(self) -> float | None:
        return None

    def pins(self) -> Pins:
        return self.held


class Told(Record):
    """A target that accepts, and says so in a list."""

    spec: Target
    deliveries: list[Pending]

    def deliver(self, pending: Pending) -> Delivery:
        self.deliveries.append(pending)
        return Delivery(self.spec.name, pending.generation, True, "told", 0.0)

    def examine(self) -> tuple[bool, str]:
        return True, "would be told"


class Simulated:
    """One agent in simulated time: the real pass, and a clock that jumps to whatever is due.

    `restart` forgets all that is not in the sink, as a new process does.
    """

    def __init__(
        self,
        bundle: Bundle,
        source: Source,
        sink: Sink,
        clock: Clock,
        *,
        rng: random.Random | None = None,
        target: Callable[[Target], TargetPort] | None = None,
        render: Renderer = render,
    ) -> None:
        self.bundle, self.source, self.clock, self.rng = bundle, source, clock, rng or random.Random(0)
        self.deliveries: list[Pending] = []
        self._render = render
        self._target = target or (lambda spec: Told(spec, self.deliveries))
        self.restart(sink)

    def restart(self, sink: Sink) -> None:
        self.sink = sink
        self.adapters = Adapters(
            self.source,
            sink,
            self._render,
            self._target,
            lambda: False,
            rng=self.rng,
            now=self.clock.now,
            calls=Directly(),
            deliveries=Directly(),
        )
        self.upcoming = schedule.begin(self.bundle, self.clock.now())
        self.waiting: Fresh = {}

    def reload(self, bundle: Bundle) -> None:
        self.upcoming = schedule.reload(self.upcoming, self.bundle, bundle, self.clock.now())
        self.waiting = {}
        self.bundle = bundle

    def do(self, *, quiet: bool = False) -> PassResult:
        """One pass, now."""
        done = one_pass(self.bundle, self.upcoming, self.waiting, self.adapters, quiet=quiet)
        self.upcoming, self.waiting = done.upcoming, done.waiting
        return done.result

    def live_until(self, end: float) -> Iterator[PassResult]:
        """Pass whenever something is due, until then."""
        while True:
            yield self.do()
            if self.upcoming.next_due > end:
                self.clock.seconds = end
                return
            self.clock.seconds = max(self.clock.seconds, self.upcoming.next_due)
