"""A day without AWS, in simulated time."""

from __future__ import annotations

import itertools
import random
import statistics
from pathlib import Path

from agent.core.schedule import BACKOFF_AT_MOST, JITTER
from agent.sinks.volume.volume import Volume
from tests.support.adapters import Clock, Simulated, TableSource
from tests.support.words import bundle, wanted
from tests.torture.conftest import Length, Report

DAY, HOUR = 86_400.0, 3_600.0
PERIOD = 60.0


def _live(agent: Simulated, end: float) -> None:
    for _ in agent.live_until(end):
        pass


def test_a_day_without_aws_costs_no_file_and_ends_without_a_herd(home: Path, length: Length, report: Report) -> None:
    """The last good values stay, at most one call a period and secret is made, and all is new again soon after."""
    violations: list[str] = []
    recovered: list[float] = []
    calls, days = 0, length.choose(10, 1)
    names = [f"s{number}" for number in range(5)]
    asked = bundle(*map(wanted, names), period=PERIOD)
    for seed in range(days):
        clock = Clock()
        source = TableSource(clock)
        for name in names:
            source.rotate(name, f"{name} old")
        volume = Volume(str(home / str(seed)))
        agent = Simulated(asked, source, volume, clock, rng=random.Random(seed))
        _live(agent, HOUR)
        source.asked.clear()
        source.failing = dict.fromkeys(names, "timeout")
        _live(agent, HOUR + DAY)
        for name in names:
            content = (home / str(seed) / name).read_text()
            if content != f"{name} old":
                violations.append(f"{name} became {content!r} in the outage")
            moments = source.asked[name]
            calls += len(moments)
            gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
            violations += [f"{name} was asked again after {gap:.1f} s" for gap in gaps if gap < PERIOD * (1 - JITTER)]
            source.rotate(name, f"{name} new")
        source.failing = {}
        for name in names:
            while (home / str(seed) / name).read_text() != f"{name} new":
                _live(agent, clock.seconds + 1)
            recovered.append(clock.seconds - HOUR - DAY)
        volume.close()
    bound = PERIOD * (1 + JITTER) + BACKOFF_AT_MOST
    violations += [f"recovered only after {seconds:.0f} s" for seconds in recovered if seconds > bound + 1]
    report.row(
        f"24 h without AWS: files stay, a call a period and secret at most, back within period + {BACKOFF_AT_MOST:g} s",
        f"{days} simulated days × {len(names)} secrets, {calls:,} calls "
        f"({calls / (days * len(names) * DAY / PERIOD):.2f} a period and secret), "
        f"recovery {statistics.median(recovered):.0f} s at the median",
        violations,
        f"{max(recovered):.0f} s",
    )
