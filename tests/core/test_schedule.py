"""When things are due, in simulated time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from agent.config.native import least_stale_after
from agent.core import schedule
from agent.core.model import FAST_AT_MOST, Bundle, Now, Rotation
from agent.core.record import replace
from agent.core.schedule import BACKOFF_AT_MOST, JITTER, PassOutcome, Schedule
from tests.support.words import bundle, target, wanted

WALL = 1_800_000_000.0
DB, API = wanted("db"), wanted("api")


def at(seconds: float) -> Now:
    return Now(seconds, WALL + seconds)


def outcome(*asked: str, failed: tuple[str, ...] = (), rotation: Rotation | None = None, **fields: bool) -> PassOutcome:
    rotations = dict.fromkeys(asked, rotation) if rotation else {}
    given = {"moved": False, "started": True, **fields}
    return PassOutcome(frozenset(asked), frozenset(failed), rotations, {}, **given)  # type: ignore[arg-type]


def polls(
    conf: Bundle,
    until: float,
    rotation: Rotation | None = None,
    *,
    seed: int = 0,
    failed: tuple[str, ...] = (),
    start: float = 0.0,
) -> Iterator[tuple[float, frozenset[str]]]:
    """Each pass with what was due, as an agent would do it until the given second."""
    rng, upcoming, now = random.Random(seed), schedule.begin(conf, at(start)), start
    while now <= until:
        due = upcoming.due(at(now))
        yield now, due
        upcoming = schedule.after_secrets(upcoming, conf, outcome(*due, failed=failed, rotation=rotation), at(now), rng)
        assert upcoming.next_due > now
        now = upcoming.next_due


def test_secrets_of_one_period_stay_in_one_pass() -> None:
    """Jitter moves the pass, not the secret, so what rotates together is seen together."""
    for _, due in polls(bundle(DB, API), 3600):
        assert due == {"db", "api"}


@pytest.mark.parametrize("seed", range(5))
def test_secrets_that_fail_together_stay_in_one_pass(seed: int) -> None:
    """An outage would otherwise leave each of them with passes of its own, for ever."""
    for _, due in polls(bundle(DB, API), 3600, seed=seed, failed=("db", "api")):
        assert due == {"db", "api"}


@pytest.mark.parametrize("seed", range(5))
def test_what_drifted_apart_finds_together(seed: int) -> None:
    """One that failed alone has times of its own; what is due soon comes along, and from then on they stay."""
    rng, conf = random.Random(seed), bundle(DB, API)
    upcoming, now, passes = schedule.begin(conf, at(0)), 0.0, []
    while now < 8 * 3600:
        due = upcoming.due(at(now))
        passes.append(due)
        failed = ("api",) if now < 600 else ()
        upcoming = schedule.after_secrets(upcoming, conf, outcome(*due, failed=failed), at(now), rng)
        now = upcoming.next_due
    assert frozenset({"db"}) in passes
    assert set(passes[-50:]) == {frozenset({"db", "api"})}


@pytest.mark.parametrize("seed", range(5))
def test_the_period_is_kept_within_its_jitter(seed: int) -> None:
    """±10 %, and on average the period."""
    times = [now for now, _ in polls(bundle(DB), 60_000, seed=seed)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(60 * (1 - JITTER) <= gap <= 60 * (1 + JITTER) for gap in gaps)
    assert 58 < sum(gaps) / len(gaps) < 62
    assert len({round(gap, 3) for gap in gaps}) > 100


def test_each_secret_has_its_own_period() -> None:
    """A slow one is not dragged along."""
    slow = wanted("slow", period=600.0)
    due = [names for _, names in polls(bundle(DB, slow), 6000)]
    assert 8 <= sum("slow" in names for names in due) <= 12
    assert 90 <= sum("db" in names for names in due) <= 112


@pytest.mark.parametrize("seed", range(5))
def test_a_failing_secret_backs_off_and_never_asks_more_than_once_a_period(seed: int) -> None:
    """At most one call per period, at least one per period and longest backoff; different pods at different times."""
    times = [now for now, _ in polls(bundle(DB), 100_000, seed=seed, failed=("db",))]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 60 * (1 - JITTER)
    assert max(gaps) <= 60 * (1 + JITTER) + BACKOFF_AT_MOST
    assert max(gaps) > 200


@pytest.mark.parametrize("seed", range(5))
def test_the_least_stale_after_is_what_one_failed_attempt_costs(seed: int) -> None:
    """Each second attempt fails, and nothing grows staler than the shortest `staleAfter` that a config may have."""
    rng, conf, now = random.Random(seed), bundle(DB), 0.0
    upcoming, confirmed, gaps = schedule.begin(conf, at(0)), 0.0, []
    for attempt in range(2000):
        failed = ("db",) if attempt % 2 else ()
        if not failed:
            gaps.append(now - confirmed)
            confirmed = now
        upcoming = schedule.after_secrets(upcoming, conf, outcome("db", failed=failed), at(now), rng)
        now = upcoming.next_due
    assert 0.95 * least_stale_after(0.0, conf.secrets) < max(gaps) <= least_stale_after(0.0, conf.secrets)


def test_what_was_started_once_is_not_hurried_again() -> None:
    """An edit that cannot be had is asked for once a period, not as a pod that waits for its start."""
    conf, rng = bundle(DB, API), random.Random(1)
    upcoming = schedule.after_secrets(schedule.begin(conf, at(0)), conf, outcome("db", "api"), at(0), rng)
    upcoming = schedule.reload(upcoming, conf, conf, at(100))
    upcoming = schedule.after_secrets(upcoming, conf, outcome("db", failed=("db",), started=False), at(100), rng)
    assert upcoming.secrets["db"].due >= 100 + 60 * (1 - JITTER)


def test_a_failing_secret_does_not_delay_another() -> None:
    """Backoff is per secret."""
    healthy = [now for now, due in polls(bundle(DB, API), 6000, failed=("db",)) if "api" in due]
    assert 90 <= len(healthy) <= 112


def test_a_success_ends_the_backoff() -> None:
    """The next look comes with the period again."""
    conf, rng = bundle(DB), random.Random(1)
    upcoming = schedule.begin(conf, at(0))
    for _ in range(8):
        upcoming = schedule.after_secrets(upcoming, conf, outcome("db", failed=("db",)), at(0), rng)
    upcoming = schedule.after_secrets(upcoming, conf, outcome("db"), at(0), rng)
    assert upcoming.next_due <= 66


def test_a_waiting_pod_tries_again_soon() -> None:
    """Before the first generation the period does not matter."""
    conf, rng = bundle(DB), random.Random(1)
    upcoming = schedule.begin(conf, at(0))
    waits = []
    for _ in range(20):
        upcoming = schedule.after_secrets(upcoming, conf, outcome("db", failed=("db",), started=False), at(0), rng)
        waits.append(upcoming.next_due)
    assert waits[0] <= 1.0 and max(waits) <= 15.0 and min(waits) >= 0.1


def test_a_short_window_is_polled_quickly_from_its_start_to_its_end() -> None:
    """Outside of it the period holds."""
    rotation = Rotation(WALL + 10_000, 1800.0, None)
    times = [now for now, _ in polls(bundle(DB), 12_000, rotation)]
    inside = [now for now in times if 8200 <= now <= 10_000]
    assert inside[0] <= 8200 + 10
    gaps = [later - earlier for earlier, later in itertools.pairwise(inside)]
    assert max(gaps) <= 10 * (1 + JITTER)
    outside = [now for now in times if now < 8100 or now > 10_100]
    assert len(outside) < 10_000 / 60 * 1.2


def test_a_window_is_polled_quickly_for_an_hour_at_most() -> None:
    """AWSPENDING that a failed rotation left behind does not poll quickly for ever."""
    rotation = Rotation(WALL - 5000, 86_400.0, "v-pending")
    times = [now for now, _ in polls(bundle(DB), 20_000, rotation)]
    assert len([now for now in times if now <= FAST_AT_MOST]) > 300
    assert len([now for now in times if now > FAST_AT_MOST + 60]) < 17_000 / 60 * 1.2


def test_a_long_window_waits_for_awspending() -> None:
    """Within a day's window only a pending version makes it quick."""
    quiet = Rotation(WALL + 40_000, 86_400.0, None)
    assert len(list(polls(bundle(DB), 6000, quiet))) < 112
    busy = replace(quiet, pending="v2")
    assert len(list(polls(bundle(DB), 1000, busy))) > 90


def test_a_date_in_the_past_is_not_polled_quickly() -> None:
    """NextRotationDate may lie in the past after a failed rotation."""
    assert len(list(polls(bundle(DB), 6000, Rotation(WALL - 5000, 3600.0, None)))) < 112


def test_settle_waits_once_and_then_asks_all() -> None:
    """Later moves do not put it off, passes in between do not end it, and its end asks about everything."""
    conf, rng = bundle(DB, API, settle=5.0), random.Random(1)
    upcoming = schedule.begin(conf, at(0))
    upcoming = schedule.after_secrets(upcoming, conf, outcome("db", "api"), at(0), rng)
    assert upcoming.settling(conf.timing, at(100))
    upcoming = schedule.after_secrets(upcoming, conf, outcome("db", moved=True), at(100), rng)
    assert upcoming.settle_at == 105
    upcoming = schedule.after_secrets(upcoming, conf, outcome("api", moved=True), at(103), rng)
    upcoming = schedule.after_secrets(upcoming, conf, outcome("api"), at(104), rng)
    assert upcoming.settle_at == 105 and upcoming.settling(conf.timing, at(104)) and upcoming.next_due <= 105
    assert not upcoming.settling(conf.timing, at(105))
    assert upcoming.due(at(105)) == {"db", "api"}
    upcoming = schedule.after_secrets(upcoming, conf, outcome("db", "api"), at(105), rng)
    assert upcoming.settle_at is None


def test_without_settle_nothing_waits() -> None:
    """The default publishes at once."""
    assert not schedule.begin(bundle(DB), at(0)).settling(bundle(DB).timing, at(0))


def test_expedite_makes_everything_due() -> None:
    """SIGUSR1 knows no period and no backoff."""
    conf, rng = bundle(DB, API, targets=(target("app"),)), random.Random(1)
    upcoming = schedule.after_secrets(
        schedule.begin(conf, at(0)), conf, outcome("db", "api", failed=("db",)), at(0), rng
    )
    upcoming = schedule.with_pending(upcoming, {"app": 2}, conf.targets, at(0), rng)
    upcoming = schedule.after_delivery(upcoming, "app", at(0), rng, accepted=False)
    upcoming = schedule.expedite(upcoming, at(0.1))
    assert upcoming.due(at(0.1)) == {"db", "api"} and upcoming.next_due == 0.1


def test_a_reload_asks_about_what_was_edited() -> None:
    """The rest keeps its time, and who left is forgotten."""
    before, rng = bundle(DB, API, wanted("old")), random.Random(1)
    upcoming = schedule.after_secrets(schedule.begin(before, at(0)), before, outcome("db", "api", "old"), at(0), rng)
    after = bundle(DB, wanted("api", secret_id="other"), wanted("new"))
    upcoming = schedule.reload(upcoming, before, after, at(1))
    assert upcoming.due(at(1)) == {"api", "new"}
    assert upcoming.secrets.keys() == {"db", "api", "new"}


def deliveries(upcoming: Schedule, name: str) -> float:
    return upcoming.targets[name].due


def test_a_splay_is_random_within_its_bound() -> None:
    """So that a fleet does not reload at once."""
    conf = bundle(DB, targets=(target("app", splay=30.0),))
    found = {
        deliveries(
            schedule.with_pending(schedule.begin(conf, at(0)), {"app": 2}, conf.targets, at(0), random.Random(n)), "app"
        )
        for n in range(50)
    }
    assert min(found) >= 0 and max(found) <= 30 and len(found) == 50


def test_a_refusal_backs_off_and_a_later_generation_starts_anew() -> None:
    """The latest generation is what counts; who accepted is done with."""
    conf, rng = bundle(DB, targets=(target("app"),)), random.Random(1)
    upcoming = schedule.with_pending(schedule.begin(conf, at(0)), {"app": 2}, conf.targets, at(0), rng)
    waits = []
    for _ in range(10):
        upcoming = schedule.after_delivery(upcoming, "app", at(0), rng, accepted=False)
        upcoming = schedule.with_pending(upcoming, {"app": 2}, conf.targets, at(0), rng)
        waits.append(deliveries(upcoming, "app"))
    assert 0.5 <= waits[0] <= 1 and 30 <= waits[-1] <= 60
    upcoming = schedule.with_pending(upcoming, {"app": 3}, conf.targets, at(0), rng)
    assert deliveries(upcoming, "app") == 0
    assert schedule.after_delivery(upcoming, "app", at(0), rng, accepted=True).targets == {}
    assert schedule.with_pending(upcoming, {}, conf.targets, at(0), rng).targets == {}
