"""When things are due, in simulated time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from agent import schedule
from agent.config import Config, least_stale_after
from agent.record import replace
from agent.schedule import BACKOFF_AT_MOST, FAST_AT_MOST, JITTER, Agenda, Lesson, Now, Rotation
from tests.words import config, secret, target

WALL = 1_800_000_000.0
DB, API = secret("db"), secret("api")


def at(seconds: float) -> Now:
    return Now(seconds, WALL + seconds)


def lesson(*asked: str, failed: tuple[str, ...] = (), rotation: Rotation | None = None, **fields: bool) -> Lesson:
    rotations = dict.fromkeys(asked, rotation) if rotation else {}
    given = {"moved": False, "started": True, **fields}
    return Lesson(frozenset(asked), frozenset(failed), rotations, {}, **given)  # type: ignore[arg-type]


def polls(
    conf: Config,
    until: float,
    rotation: Rotation | None = None,
    *,
    seed: int = 0,
    failed: tuple[str, ...] = (),
    start: float = 0.0,
) -> Iterator[tuple[float, frozenset[str]]]:
    """Each pass with what was due, as an agent would do it until the given second."""
    dice, agenda, now = random.Random(seed), schedule.begin(conf, at(start)), start
    while now <= until:
        due = agenda.due(at(now))
        yield now, due
        agenda = schedule.after_secrets(agenda, conf, lesson(*due, failed=failed, rotation=rotation), at(now), dice)
        assert agenda.next_due > now
        now = agenda.next_due


def test_secrets_of_one_period_stay_in_one_pass() -> None:
    """Jitter moves the pass, not the secret, so what rotates together is seen together."""
    for _, due in polls(config(DB, API), 3600):
        assert due == {"db", "api"}


@pytest.mark.parametrize("seed", range(5))
def test_secrets_that_fail_together_stay_in_one_pass(seed: int) -> None:
    """An outage would otherwise leave each of them with passes of its own, for ever."""
    for _, due in polls(config(DB, API), 3600, seed=seed, failed=("db", "api")):
        assert due == {"db", "api"}


@pytest.mark.parametrize("seed", range(5))
def test_what_drifted_apart_finds_together(seed: int) -> None:
    """One that failed alone has times of its own; what is due soon comes along, and from then on they stay."""
    dice, conf = random.Random(seed), config(DB, API)
    agenda, now, passes = schedule.begin(conf, at(0)), 0.0, []
    while now < 8 * 3600:
        due = agenda.due(at(now))
        passes.append(due)
        failed = ("api",) if now < 600 else ()
        agenda = schedule.after_secrets(agenda, conf, lesson(*due, failed=failed), at(now), dice)
        now = agenda.next_due
    assert frozenset({"db"}) in passes
    assert set(passes[-50:]) == {frozenset({"db", "api"})}


@pytest.mark.parametrize("seed", range(5))
def test_the_period_is_kept_within_its_jitter(seed: int) -> None:
    """±10 %, and on average the period."""
    times = [now for now, _ in polls(config(DB), 60_000, seed=seed)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(60 * (1 - JITTER) <= gap <= 60 * (1 + JITTER) for gap in gaps)
    assert 58 < sum(gaps) / len(gaps) < 62
    assert len({round(gap, 3) for gap in gaps}) > 100


def test_each_secret_has_its_own_period() -> None:
    """A slow one is not dragged along."""
    slow = secret("slow", period=600.0)
    due = [names for _, names in polls(config(DB, slow), 6000)]
    assert 8 <= sum("slow" in names for names in due) <= 12
    assert 90 <= sum("db" in names for names in due) <= 112


@pytest.mark.parametrize("seed", range(5))
def test_a_failing_secret_backs_off_and_never_asks_more_than_once_a_period(seed: int) -> None:
    """At most one call per period, at least one per period and longest backoff; different pods at different times."""
    times = [now for now, _ in polls(config(DB), 100_000, seed=seed, failed=("db",))]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 60 * (1 - JITTER)
    assert max(gaps) <= 60 * (1 + JITTER) + BACKOFF_AT_MOST
    assert max(gaps) > 200


@pytest.mark.parametrize("seed", range(5))
def test_the_least_stale_after_is_what_one_failed_attempt_costs(seed: int) -> None:
    """Each second attempt fails, and nothing grows staler than the shortest `staleAfter` that a config may have."""
    dice, conf, now = random.Random(seed), config(DB), 0.0
    agenda, confirmed, gaps = schedule.begin(conf, at(0)), 0.0, []
    for attempt in range(2000):
        failed = ("db",) if attempt % 2 else ()
        if not failed:
            gaps.append(now - confirmed)
            confirmed = now
        agenda = schedule.after_secrets(agenda, conf, lesson("db", failed=failed), at(now), dice)
        now = agenda.next_due
    assert 0.95 * least_stale_after(0.0, conf.secrets) < max(gaps) <= least_stale_after(0.0, conf.secrets)


def test_what_was_started_once_is_not_hurried_again() -> None:
    """An edit that cannot be had is asked for once a period, not as a pod that waits for its start."""
    conf, dice = config(DB, API), random.Random(1)
    agenda = schedule.after_secrets(schedule.begin(conf, at(0)), conf, lesson("db", "api"), at(0), dice)
    agenda = schedule.reload(agenda, conf, conf, at(100))
    agenda = schedule.after_secrets(agenda, conf, lesson("db", failed=("db",), started=False), at(100), dice)
    assert agenda.secrets["db"].due >= 100 + 60 * (1 - JITTER)


def test_a_failing_secret_does_not_delay_another() -> None:
    """Backoff is per secret."""
    healthy = [now for now, due in polls(config(DB, API), 6000, failed=("db",)) if "api" in due]
    assert 90 <= len(healthy) <= 112


def test_a_success_ends_the_backoff() -> None:
    """The next look comes with the period again."""
    conf, dice = config(DB), random.Random(1)
    agenda = schedule.begin(conf, at(0))
    for _ in range(8):
        agenda = schedule.after_secrets(agenda, conf, lesson("db", failed=("db",)), at(0), dice)
    agenda = schedule.after_secrets(agenda, conf, lesson("db"), at(0), dice)
    assert agenda.next_due <= 66


def test_a_waiting_pod_tries_again_soon() -> None:
    """Before the first generation the period does not matter."""
    conf, dice = config(DB), random.Random(1)
    agenda = schedule.begin(conf, at(0))
    waits = []
    for _ in range(20):
        agenda = schedule.after_secrets(agenda, conf, lesson("db", failed=("db",), started=False), at(0), dice)
        waits.append(agenda.next_due)
    assert waits[0] <= 1.0 and max(waits) <= 15.0 and min(waits) >= 0.1


def test_a_short_window_is_polled_quickly_from_its_start_to_its_end() -> None:
    """Outside of it the period holds."""
    rotation = Rotation(WALL + 10_000, 1800.0, None)
    times = [now for now, _ in polls(config(DB), 12_000, rotation)]
    inside = [now for now in times if 8200 <= now <= 10_000]
    assert inside[0] <= 8200 + 10
    gaps = [later - earlier for earlier, later in itertools.pairwise(inside)]
    assert max(gaps) <= 10 * (1 + JITTER)
    outside = [now for now in times if now < 8100 or now > 10_100]
    assert len(outside) < 10_000 / 60 * 1.2


def test_a_window_is_polled_quickly_for_an_hour_at_most() -> None:
    """AWSPENDING that a failed rotation left behind does not poll quickly for ever."""
    rotation = Rotation(WALL - 5000, 86_400.0, "v-pending")
    times = [now for now, _ in polls(config(DB), 20_000, rotation)]
    assert len([now for now in times if now <= FAST_AT_MOST]) > 300
    assert len([now for now in times if now > FAST_AT_MOST + 60]) < 17_000 / 60 * 1.2


def test_a_long_window_waits_for_awspending() -> None:
    """Within a day's window only a pending version makes it quick."""
    quiet = Rotation(WALL + 40_000, 86_400.0, None)
    assert len(list(polls(config(DB), 6000, quiet))) < 112
    busy = replace(quiet, pending="v2")
    assert len(list(polls(config(DB), 1000, busy))) > 90


def test_a_date_in_the_past_is_not_polled_quickly() -> None:
    """NextRotationDate may lie in the past after a failed rotation."""
    assert len(list(polls(config(DB), 6000, Rotation(WALL - 5000, 3600.0, None)))) < 112


def test_settle_waits_once_and_then_asks_all() -> None:
    """Later moves do not put it off, passes in between do not end it, and its end asks about everything."""
    conf, dice = config(DB, API, settle=5.0), random.Random(1)
    agenda = schedule.begin(conf, at(0))
    agenda = schedule.after_secrets(agenda, conf, lesson("db", "api"), at(0), dice)
    assert agenda.settling(conf, at(100))
    agenda = schedule.after_secrets(agenda, conf, lesson("db", moved=True), at(100), dice)
    assert agenda.settle_at == 105
    agenda = schedule.after_secrets(agenda, conf, lesson("api", moved=True), at(103), dice)
    agenda = schedule.after_secrets(agenda, conf, lesson("api"), at(104), dice)
    assert agenda.settle_at == 105 and agenda.settling(conf, at(104)) and agenda.next_due <= 105
    assert not agenda.settling(conf, at(105))
    assert agenda.due(at(105)) == {"db", "api"}
    agenda = schedule.after_secrets(agenda, conf, lesson("db", "api"), at(105), dice)
    assert agenda.settle_at is None


def test_without_settle_nothing_waits() -> None:
    """The default publishes at once."""
    assert not schedule.begin(config(DB), at(0)).settling(config(DB), at(0))


def test_expedite_makes_everything_due() -> None:
    """SIGUSR1 knows no period and no backoff."""
    conf, dice = config(DB, API, targets=(target("app"),)), random.Random(1)
    agenda = schedule.after_secrets(schedule.begin(conf, at(0)), conf, lesson("db", "api", failed=("db",)), at(0), dice)
    agenda = schedule.owing(agenda, {"app": 2}, conf.targets, at(0), dice)
    agenda = schedule.after_delivery(agenda, "app", at(0), dice, accepted=False)
    agenda = schedule.expedite(agenda, at(0.1))
    assert agenda.due(at(0.1)) == {"db", "api"} and agenda.next_due == 0.1


def test_a_reload_asks_about_what_was_edited() -> None:
    """The rest keeps its time, and who left is forgotten."""
    before, dice = config(DB, API, secret("old")), random.Random(1)
    agenda = schedule.after_secrets(schedule.begin(before, at(0)), before, lesson("db", "api", "old"), at(0), dice)
    after = config(DB, replace(API, secret_id="other"), secret("new"))
    agenda = schedule.reload(agenda, before, after, at(1))
    assert agenda.due(at(1)) == {"api", "new"}
    assert agenda.secrets.keys() == {"db", "api", "new"}


def deliveries(agenda: Agenda, name: str) -> float:
    return agenda.targets[name].due


def test_a_splay_is_random_within_its_bound() -> None:
    """So that a fleet does not reload at once."""
    conf = config(DB, targets=(target("app", splay=30.0),))
    found = {
        deliveries(
            schedule.owing(schedule.begin(conf, at(0)), {"app": 2}, conf.targets, at(0), random.Random(n)), "app"
        )
        for n in range(50)
    }
    assert min(found) >= 0 and max(found) <= 30 and len(found) == 50


def test_a_refusal_backs_off_and_a_later_generation_starts_anew() -> None:
    """The latest generation is what counts; who accepted is done with."""
    conf, dice = config(DB, targets=(target("app"),)), random.Random(1)
    agenda = schedule.owing(schedule.begin(conf, at(0)), {"app": 2}, conf.targets, at(0), dice)
    waits = []
    for _ in range(10):
        agenda = schedule.after_delivery(agenda, "app", at(0), dice, accepted=False)
        agenda = schedule.owing(agenda, {"app": 2}, conf.targets, at(0), dice)
        waits.append(deliveries(agenda, "app"))
    assert 0.5 <= waits[0] <= 1 and 30 <= waits[-1] <= 60
    agenda = schedule.owing(agenda, {"app": 3}, conf.targets, at(0), dice)
    assert deliveries(agenda, "app") == 0
    assert schedule.after_delivery(agenda, "app", at(0), dice, accepted=True).targets == {}
    assert schedule.owing(agenda, {}, conf.targets, at(0), dice).targets == {}
