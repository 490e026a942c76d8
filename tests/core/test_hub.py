"""What an agent makes of the hub, in simulated time: what it believes, how late it learns, and what it asks AWS."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from bench.simulated import Happened, HubWorld, World, live, live_by_hub, parsed
from tests.support.length import often

HOUR, PERIOD, FLOOR = 3600.0, 60.0, 3600.0
JITTER = 1.1  # what a period comes to at most
LIFE = 6 * HOUR
MOVED = 3 * HOUR + 1234  # when AWS's version moves


def aws(_name: str, moment: float) -> str:
    return "new" if moment >= MOVED else "old"


def until(*moments: float) -> tuple[float, ...]:
    return tuple(sorted(moments))


class Case(NamedTuple):
    """A hub, the seconds within which the agent has the new version, and the looks that the hub may cost or save: the
    most per secret in the whole life."""

    hub: HubWorld
    late: float
    looks: float


ALONE = LIFE / (PERIOD * 0.9) + 2  # looks of an agent without a hub, at most
QUIET = LIFE / (FLOOR * 0.9) + 3  # of one whose hub answers: its floor, the start and the move
OUTAGE = 30.0 * 60
SEEN = 8.0  # seconds after which an honest hub has seen the move

CASES = {
    "honest": Case(HubWorld(lambda n, m: aws(n, m - SEEN), until(MOVED + SEEN)), SEEN, QUIET),
    "with spread": Case(HubWorld(lambda n, m: aws(n, m - SEEN), until(MOVED + SEEN), spread=20), SEEN + 20, QUIET),
    "down from the start": Case(HubWorld(aws, (), up=lambda _: False), PERIOD * JITTER, ALONE),
    "vanishes just before the move": Case(
        HubWorld(aws, until(MOVED - 1), up=lambda m: m < MOVED - 1), PERIOD + PERIOD * JITTER, QUIET + ALONE / 2
    ),
    "away for half an hour around the move": Case(
        HubWorld(
            aws,
            until(MOVED - OUTAGE / 2, MOVED + OUTAGE / 2),
            up=lambda m: not MOVED - OUTAGE / 2 <= m < MOVED + OUTAGE / 2,
        ),
        PERIOD * JITTER,
        QUIET + OUTAGE / PERIOD * 1.2 + 1,
    ),
    "says the old version for ever": Case(HubWorld(lambda *_: "old", ()), FLOOR * JITTER, ALONE),
    "says nonsense for ever": Case(HubWorld(lambda *_: "nonsense", ()), PERIOD * JITTER, ALONE),
    "says another version each second for an hour": Case(
        HubWorld(lambda _, m: f"{m:.0f}" if HOUR <= m < 2 * HOUR else aws(_, m), until(*range(3600, 7201), MOVED)),
        SEEN,
        QUIET + HOUR / PERIOD * 1.2,
    ),
    "truth and lie in turns": Case(
        HubWorld(
            lambda _, m: ("lie" if int(m) % 2 else "old") if HOUR <= m < 2 * HOUR else aws(_, m),
            until(*range(3600, 7201), MOVED),
        ),
        SEEN,
        QUIET + HOUR / PERIOD * 1.2,
    ),
    "goes back to the old version": Case(
        HubWorld(lambda n, m: aws(n, m) if m < MOVED + 60 else "old", until(MOVED, MOVED + 60)), SEEN, ALONE
    ),
    "is denied": Case(HubWorld(lambda *_: None, ()), PERIOD * JITTER, ALONE),
    "is denied from an hour on": Case(
        HubWorld(lambda n, m: aws(n, m) if m < HOUR else None, until(HOUR)), PERIOD * JITTER, ALONE
    ),
    "two that disagree for a while": Case(
        HubWorld(lambda n, m: aws(n, m - (0 if int(m) % 2 else 9)), until(*(MOVED + second for second in range(12)))),
        SEEN,
        QUIET + 3,
    ),
}


def life(
    hub: HubWorld,
    seed: int,
    *,
    world: World | None = None,
    secrets: int = 1,
    ends: float = LIFE,
    lists: bool = False,
) -> list[Happened]:
    bundle = parsed(secrets, "{period: 60s, floor: 1h}")
    return list(live_by_hub(bundle, world or World(aws), hub, 0.0, ends, rng=random.Random(seed), lists=lists))


def fetched(passes: list[Happened]) -> list[float]:
    return [each.moment for each in passes if each.fetched]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_whatever_the_hub_says_the_agent_is_bounded(case: Case) -> None:
    """The truth table of docs/scale.md: how late, how many looks, and never anything else than what AWS says."""
    for seed in range(often(5)):
        passes = life(case.hub, seed)
        first, *moved = fetched(passes)
        assert first == 0.0
        assert len(moved) == 1, "one move, one fetch: what the hub says is never fetched by itself"
        assert MOVED <= moved[0] <= MOVED + case.late + 1
        assert sum(len(each.described) for each in passes) <= case.looks


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_looks_by_lists_find_what_looks_find(case: Case) -> None:
    """At the same moments, whatever the hub says; and what moves is described by itself before it is fetched."""
    for seed in range(often(4)):
        plain = life(case.hub, seed, secrets=3)
        listed = life(case.hub, seed, secrets=3, lists=True)
        assert [(each.moment, each.fetched) for each in listed] == [(each.moment, each.fetched) for each in plain]
        assert all(each.described == also.described for each, also in zip(plain, listed, strict=True) if not also.lists)
        assert all(each.fetched <= each.described for each in listed if each.moment)


def test_lists_look_only_while_the_hub_confirms() -> None:
    """Without its word all is described, as without a hub."""
    gone, back = HOUR * 1.5, HOUR * 3
    hub = HubWorld(lambda *_: "old", until(gone, back), up=lambda m: not gone <= m < back)
    passes = life(hub, 1, world=World(lambda *_: "old"), secrets=5, lists=True)
    silent = [each for each in passes if gone + 180 <= each.moment < back]  # after it was noticed
    assert silent and not any(each.lists for each in silent)
    assert all(len(each.described) == 5 for each in silent)
    quiet = [each for each in passes if back + HOUR < each.moment]
    assert quiet and all(each.lists == 1 and not each.described for each in quiet)


def test_the_hub_that_vanishes_brings_no_herd() -> None:
    """Hundreds of agents lose it in one moment: what they ask in any second is what they ask without a hub."""
    gone, agents = 1000.0, 500
    hub = HubWorld(lambda *_: "old", until(gone), up=lambda m: m < gone)
    seconds = [0] * 200
    for seed in range(agents):
        for happened in life(hub, seed, ends=gone + 200):
            if gone <= happened.moment < gone + 200:
                seconds[int(happened.moment - gone)] += len(happened.described)
    assert max(seconds) <= 3 * agents / PERIOD
    assert sum(seconds[: int(PERIOD * JITTER)]) >= agents, "each looks within a period"


def test_a_rotation_of_a_shared_secret_is_spread() -> None:
    """As the hub asks for, and not before it says so."""
    hub = HubWorld(aws, until(MOVED), spread=20)
    moments = sorted(fetched(life(hub, seed, ends=MOVED + 60))[1] - MOVED for seed in range(200))
    assert 0 <= moments[0] < 1 and 18 < moments[-1] <= 20
    assert moments[100] == pytest.approx(10, abs=3)


def test_secrets_that_the_hub_answers_for_stay_in_one_pass() -> None:
    """An own look at the floor takes all of them; also after one of them moved."""
    world = World(lambda name, moment: aws(name, moment) if name == "s1" else "old")
    passes = life(HubWorld(world.version, until(MOVED)), 1, world=world, secrets=5)
    alone = [each for each in passes if each.described and len(each.described) < 5]
    assert len(alone) <= 2 + (LIFE - MOVED) / FLOOR


def test_after_an_outage_of_aws_the_hub_answers_for_all_secrets_again() -> None:
    """Also when it had its own answer before the agent had one, and so was not asked about them then."""
    gone, back = HOUR, 2 * HOUR
    world = World(lambda *_: "old", down=lambda m: gone <= m < back)
    hub = HubWorld(lambda _, m: None if gone <= m < back else "old", until(gone, back))
    for seed in range(5):
        later = [each for each in life(hub, seed, world=world, secrets=5) if each.moment >= back + 600]
        assert sum(len(each.described) for each in later) <= 5 * ((LIFE - back) / (FLOOR * 0.9) + 1)


def test_aws_down_is_an_outage_as_without_a_hub() -> None:
    """The hub says that something moved, AWS does not answer the agent: it tries as often as it would without a hub."""
    down: Callable[[float], bool] = lambda moment: MOVED <= moment < MOVED + HOUR  # noqa: E731
    passes = life(HubWorld(aws, until(MOVED)), 1, world=World(aws, down=down))
    tried = [each.moment for each in passes if down(each.moment)]
    without = [
        each.moment
        for each in live(parsed(1, "{period: 60s}"), World(aws, down=down), 0.0, LIFE, random.Random(1))
        if down(each.moment)
    ]
    assert 0 < len(tried) <= 2 * len(without), "the backoff is the same, its chance another"
    assert fetched(passes)[-1] <= MOVED + HOUR + 300 + PERIOD * JITTER
