"""A day without AWS, in simulated time: the real passes, the real volume, a clock that jumps to whatever is due.

Only AWS is a fake here, named as such: a source that answers from a table while it is up, behind the two methods that a
pass calls.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from agent import schedule
from agent.config import Config, Secret
from agent.decide import Observation
from agent.errors import Failure
from agent.schedule import BACKOFF_AT_MOST, JITTER, Now, Rotation
from agent.secret import Fetched
from agent.secrets_manager import Answer, SecretsManager
from agent.status import OK, Call, Operation
from agent.sync import Fresh, Hands, sync
from agent.volume import Volume
from tests.torture.conftest import Length, Report
from tests.words import config, secret, value

DAY = 86_400.0
PERIOD = 60.0


@dataclass
class FakeSource:
    """A fake of `SecretsManager`: each secret has one current version; `down` while there is an outage."""

    clock: Clock
    down: bool = False
    versions: dict[str, str] = field(default_factory=lambda: defaultdict(lambda: "v1"))
    asked: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def observe(self, wanted: Secret) -> Answer[Observation]:
        found = Observation(self.versions[wanted.name], ("AWSCURRENT",), Rotation(None, None, None))
        return cast(Answer[Observation], self._answer("DescribeSecret", wanted, found))

    def fetch(self, wanted: Secret, _version: str | None) -> Answer[Fetched]:
        version = self.versions[wanted.name]
        found = Fetched(version, ("AWSCURRENT",), None, value(f"{wanted.name} {version}"))
        return cast(Answer[Fetched], self._answer("GetSecretValue", wanted, found))

    def _answer(
        self, operation: Operation, wanted: Secret, found: Observation | Fetched
    ) -> Answer[Observation] | Answer[Fetched]:
        self.asked[wanted.name].append(self.clock.seconds)
        if self.down:
            return Answer(Failure("timeout", "no answer"), Call(operation, "timeout", 0.0))
        return cast(Answer[Fetched], Answer(found, Call(operation, OK, 0.0)))  # type: ignore[type-var]


@dataclass
class Clock:
    """Simulated time, in seconds since the start."""

    seconds: float = 0.0

    def now(self) -> Now:
        return Now(self.seconds, 1_800_000_000.0 + self.seconds)


class Day:
    """One agent in simulated time."""

    def __init__(self, home: Path, wanted: Config, seed: int) -> None:
        self.clock = Clock()
        self.source = FakeSource(self.clock)
        self.config = wanted
        self.volume = Volume(str(home))
        self.hands = Hands(
            cast(SecretsManager, self.source), self.volume, lambda: False, random.Random(seed), self.clock.now
        )
        self.agenda = schedule.begin(wanted, self.clock.now())
        self.withheld: Fresh = {}

    def live_until(self, end: float) -> None:
        """Pass whenever something is due, until then."""
        while True:
            done = sync(self.config, self.agenda, self.withheld, self.hands)
            self.agenda, self.withheld = done.agenda, done.withheld
            if self.agenda.next_due > end:
                self.clock.seconds = end
                return
            self.clock.seconds = max(self.clock.seconds, self.agenda.next_due)


def test_a_day_without_aws_costs_no_file_and_ends_without_a_herd(home: Path, length: Length, report: Report) -> None:
    """The last good values stay, at most one call a period and secret is made, and all is new again soon after."""
    violations: list[str] = []
    recovered: list[float] = []
    calls, passes_of = 0, length.choose(20, 1)
    names = [f"s{number}" for number in range(5)]
    wanted = config(*map(secret, names), period=PERIOD)
    for seed in range(passes_of):
        day = Day(home / str(seed), wanted, seed)
        day.live_until(3600)
        day.source.asked.clear()
        day.source.down = True
        day.live_until(3600 + DAY)
        for name in names:
            content = (home / str(seed) / name).read_text()
            if content != f"{name} v1":
                violations.append(f"{name} became {content!r} in the outage")
            moments = day.source.asked[name]
            calls += len(moments)
            gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
            violations += [f"{name} was asked again after {gap:.1f} s" for gap in gaps if gap < PERIOD * (1 - JITTER)]
            day.source.versions[name] = "v2"
        day.source.down = False
        for name in names:
            while (home / str(seed) / name).read_text() != f"{name} v2":
                day.live_until(day.clock.seconds + 1)
            recovered.append(day.clock.seconds - 3600 - DAY)
        day.volume.close()
    bound = PERIOD * (1 + JITTER) + BACKOFF_AT_MOST
    violations += [f"recovered only after {seconds:.0f} s" for seconds in recovered if seconds > bound + 1]
    report.row(
        f"24 h without AWS: files stay, a call a period and secret at most, back within period + {BACKOFF_AT_MOST:g} s",
        f"{passes_of} simulated days × {len(names)} secrets, {calls:,} calls "
        f"({calls / (passes_of * len(names) * DAY / PERIOD):.2f} a period and secret), "
        f"recovery {statistics.median(recovered):.0f} s at the median",
        violations,
        f"{max(recovered):.0f} s",
    )
