"""The fleet's simulation asks `schedule` and `decide` alone: it must come to what the whole pass comes to."""

from __future__ import annotations

import random

import pytest

from agent.core.errors import Failure
from agent.core.model import Answers, Observation, Request, Rotation
from agent.core.value import Fetched
from bench import simulated
from bench.simulated import Happened, World
from tests.support.adapters import Asked, Clock, MemorySink, Simulated
from tests.support.words import fetched

_DOWN = Failure("timeout", "an outage")
HOUR = 3600.0


class Source(Asked):
    """The world's answers, and what was asked of it."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world, self._clock = world, clock
        self.described: set[str] = set()
        self.fetched: set[str] = set()

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        name, moment = batch[0].secret.name, self._clock.seconds
        self.described.add(name)
        if self._world.down(moment):
            return Answers({name: _DOWN})
        version = self._world.version(name, moment)
        return Answers({name: Observation(version, ("AWSCURRENT",), self._world.rotation(name, moment))})

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        name, moment = batch[0].secret.name, self._clock.seconds
        self.fetched.add(name)
        return Answers({name: _DOWN if self._world.down(moment) else fetched(self._world.version(name, moment))})


@pytest.mark.parametrize(
    "world",
    [
        World(lambda _name, moment: f"v{moment // 5000:.0f}"),
        World(lambda name, moment: f"v{moment // 900:.0f}" if name == "s1" else "v", down=lambda m: 2000 < m < 5000),
        World(
            lambda _name, moment: f"v{moment // HOUR:.0f}",
            lambda _name, moment: Rotation(moment - moment % HOUR + HOUR, HOUR, None),
        ),
    ],
    ids=["rotates", "outage", "announced"],
)
def test_the_fleet_passes_as_the_agent_does(world: World) -> None:
    """Moment by moment, with the same chance."""
    settings = simulated.parsed(3)
    quick = list(simulated.live(settings, world, 0.0, 2 * HOUR, random.Random(1)))
    clock = Clock(0.0, epoch=0.0)
    source = Source(world, clock)
    agent = Simulated(settings, source, MemorySink(clock.now), clock, rng=random.Random(1))
    whole = []
    while clock.seconds < 2 * HOUR:
        agent.do()
        whole.append(Happened(clock.seconds, frozenset(source.described), frozenset(source.fetched)))
        source.described.clear()
        source.fetched.clear()
        clock.seconds = max(agent.upcoming.next_due, clock.seconds + 1e-6)
    assert whole == quick
