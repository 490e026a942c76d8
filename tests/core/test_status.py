"""Results folded into one status."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core import status
from agent.core.errors import Failure
from agent.core.model import OK, Call, Delivery, Observation, PassResult, Published, PublishedSecret, Rotation
from agent.core.record import replace
from agent.core.status import Histogram
from tests.support.words import bundle, target, wanted

CONFIG = bundle(wanted("db"), wanted("api", optional=True), targets=(target("app"),))


def published(*names: str, generation: int = 1, **fields: Any) -> Published:
    return Published(
        generation=generation,
        published_at=50.0,
        secrets={name: PublishedSecret("v1", ("AWSCURRENT",), "f", 1, 40.0, None, None) for name in names},
        **fields,
    )


def result(stands: Published, **fields: Any) -> PassResult:
    """What a pass leaves that found published what is asked for; with `db` there, nothing is missing."""
    fields = {"complete": "db" in stands.secrets, "as_asked": frozenset(stands.secrets), **fields}
    return PassResult(started_at=100.0, seconds=0.5, published=stands, **fields)


BEGIN = status.begin(CONFIG, "1.2.3", 0.0)


def test_at_the_beginning_counters_are_zero_and_nothing_has_happened() -> None:
    """A counter that appears with its first event cannot be alerted on."""
    assert set(BEGIN.passes.values()) == {0} and set(BEGIN.source_requests.values()) == {0}
    assert set(BEGIN.secrets["db"].errors.values()) == {0} and len(BEGIN.secrets["db"].errors) == 10
    assert (BEGIN.last_pass, BEGIN.generation_at, BEGIN.secrets["db"].last_success) == (None, None, None)
    assert not BEGIN.started


def test_a_success_is_told() -> None:
    """What is published, when, and that it is current."""
    observation = Observation("v1", ("AWSCURRENT",), Rotation(900.0, None, None))
    describe = ("secretsmanager", "DescribeSecret")
    after = status.after(
        BEGIN,
        result(
            published("db"),
            generation_made=True,
            observations={"db": observation},
            succeeded=frozenset({"db"}),
            calls=(Call(*describe, OK, 0.02), Call(*describe, "Throttling", 0.2)),
            repaired={"db": "missing"},
        ),
    )
    db = after.secrets["db"]
    assert (db.version_id, db.version_stage, db.published_at) == ("v1", "AWSCURRENT", 40.0)
    assert (db.last_success, db.next_rotation, db.up_to_date, db.failure) == (100.5, 900.0, True, None)
    assert (after.started, after.generation, after.generation_at, after.last_pass) == (True, 1, 50.0, 100.5)
    assert after.passes == {"success": 1, "noop": 0, "error": 0} and after.repairs == 1
    assert after.source_requests[(*describe, OK)] == after.source_requests[(*describe, "Throttling")] == 1
    assert after.source_seconds[describe].counts[2] == 1
    assert not after.secrets["api"].up_to_date


def test_a_failure_is_counted_and_stays_until_a_success() -> None:
    """A pass that did not ask about the secret changes nothing about it."""
    good = status.after(BEGIN, result(published("db"), succeeded=frozenset({"db"})))
    failure = Failure("throttled", "slow down")
    bad = status.after(good, result(published("db"), failures={"db": failure}))
    assert (bad.secrets["db"].up_to_date, bad.secrets["db"].failure, bad.passes["error"]) == (False, failure, 1)
    assert bad.secrets["db"].errors["throttled"] == 1 and bad.secrets["db"].last_success == 100.5
    quiet = status.after(bad, result(published("db")))
    assert (quiet.secrets["db"].failure, quiet.secrets["db"].up_to_date) == (failure, False)
    again = status.after(quiet, result(published("db"), succeeded=frozenset({"db"})))
    assert (again.secrets["db"].failure, again.secrets["db"].up_to_date) == (None, True)


def test_an_optional_secret_that_aws_does_not_have_is_no_failure() -> None:
    """Nothing is counted; whatever else goes wrong with it is, and so is its loss once it was published."""
    gone = Failure("not_found", "no such secret")
    away = status.after(BEGIN, result(published("db"), failures={"api": gone}))
    assert away.secrets["api"].errors["not_found"] == 0 and away.secrets["api"].up_to_date
    assert away.passes["error"] == 0 and status.absent(away) == {"api"}
    both = result(published("db"), failures={"api": gone, "db": Failure("timeout", "")})
    assert status.rightly_absent(away, both) == {"api"} and status.after(away, both).passes["error"] == 1
    denied = status.after(away, result(published("db"), failures={"api": Failure("access_denied", "")}))
    assert denied.secrets["api"].errors["access_denied"] == 1 and not denied.secrets["api"].up_to_date
    lost = status.after(BEGIN, result(published("db", "api"), failures={"api": gone}))
    assert lost.secrets["api"].errors["not_found"] == 1 and status.absent(lost) == frozenset()


def test_what_settles_is_not_up_to_date() -> None:
    """A moved version that is not published yet is told as that."""
    good = status.after(BEGIN, result(published("db"), succeeded=frozenset({"db"})))
    assert not status.after(good, result(published("db"), settling=frozenset({"db"}))).secrets["db"].up_to_date


def test_started_stays() -> None:
    """What is asked for later, and cannot be had, does not unstart a pod."""
    good = status.after(BEGIN, result(published("db")))
    assert good.started and status.after(good, result(published("db"), complete=False)).started
    assert not status.after(BEGIN, result(published("db"), complete=False)).started


def test_a_pass_that_cannot_read_the_volume_forgets_nothing() -> None:
    """What was published still is; the pass is counted as the failed one that it was."""
    good = status.after(
        BEGIN, result(published("db", accepted={"app": 1}), succeeded=frozenset({"db"}), pending={"app": 1})
    )
    unread = result(Published(), trouble="gone", unread=True, next_polls={"db": 107.0})
    after = status.after(good, unread)
    assert (
        replace(
            after,
            passes=good.passes,
            pass_seconds=good.pass_seconds,
            secrets={**after.secrets, "db": replace(after.secrets["db"], next_poll=good.secrets["db"].next_poll)},
        )
        == good
    )
    assert after.passes == {"success": 0, "noop": 1, "error": 1}
    assert (after.secrets["db"].next_poll, sum(after.pass_seconds.counts)) == (107.0, 2)


def test_a_config_brings_and_takes_series() -> None:
    """What stays keeps its counts."""
    counted = status.after(BEGIN, result(published("db"), failures={"db": Failure("other", "x")}))
    after = status.configured(counted, bundle(wanted("db", period=5.0), wanted("new")))
    assert after.secrets.keys() == {"db", "new"} and after.targets == {}
    assert (after.secrets["db"].errors["other"], after.secrets["db"].period) == (1, 5.0)


def test_deliveries_are_counted_by_result() -> None:
    """And the time from publish to acceptance is kept."""
    refused = Delivery("app", 2, accepted=False, message="no handler")
    accepted = Delivery("app", 2, accepted=True, message="sent", seconds=0.2)
    after = status.after(BEGIN, result(published("db"), deliveries=(refused,), pending={"app": 2}))
    assert (after.targets["app"].refused, after.targets["app"].pending, after.passes["noop"]) == (1, 2, 1)
    after = status.after(after, result(published("db"), deliveries=(accepted,)))
    app = after.targets["app"]
    assert (app.accepted, app.pending, app.message) == (1, None, "sent")
    assert (app.generation, app.accepted_at) == (2, 100.5)
    assert sum(after.publish_to_notify.counts) == 1 and after.passes["success"] == 1


def test_reloads_are_told() -> None:
    """A rejected config moves no timestamp."""
    good = status.reloaded(BEGIN, 10.0, success=True)
    bad = status.reloaded(good, 20.0, success=False)
    assert (bad.config_reload_success, bad.config_last_reload) == (False, 10.0)


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, "noop"),
        ({"generation_made": True}, "success"),
        ({"repaired": {"a": "missing"}}, "success"),
        ({"failures": {"db": Failure("other", "")}, "generation_made": True}, "error"),
        ({"trouble": "full"}, "error"),
    ],
)
def test_outcomes(fields: dict[str, Any], outcome: str) -> None:
    """Three values, as git-sync has them."""
    assert result(published("db"), **fields).outcome == outcome


def test_a_histogram_counts_each_observation_once() -> None:
    """A bound belongs to its own bucket."""
    histogram = replace(Histogram.empty(1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram = histogram.observe(value)
    assert (histogram.counts, histogram.total) == ((2, 2, 1), 8.0)


def test_the_time_from_rotation_to_file() -> None:
    """Of a version that took the place of another; one that comes back, by a pin or by hand, is no rotation."""

    def stands(version: str, created: float, changed: float) -> Published:
        secret = PublishedSecret(version, ("AWSCURRENT",), "f", 1, changed, created, None)
        return Published(generation=1, published_at=changed, secrets={"db": secret})

    first = status.after(BEGIN, result(stands("v1", 10.0, 50.0), generation_made=True, changed=("db",)))
    assert sum(first.rotation_to_file.counts) == 0
    second = status.after(first, result(stands("v2", 60.0, 72.0), generation_made=True, changed=("db",)))
    assert (sum(second.rotation_to_file.counts), second.rotation_to_file.total) == (1, 12.0)
    back = status.after(second, result(stands("v1", 10.0, 90.0), generation_made=True, changed=("db",)))
    again = status.after(back, result(stands("v2", 60.0, 95.0), generation_made=True, changed=("db",)))
    assert again.rotation_to_file == second.rotation_to_file
