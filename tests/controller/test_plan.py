"""What is to be done for one ExternalSecret: the policies as a table."""

from __future__ import annotations

from typing import Any

import pytest

from agent.controller.external_secrets import plan
from agent.controller.external_secrets.asked import Policy
from agent.controller.external_secrets.plan import DELETED, MISSING, RETAINED, Look, Outcome, State, look
from agent.core.errors import Failure
from agent.core.model import Observation, Rotation
from agent.core.record import replace
from agent.core.windows import Window, Windows, schedule
from agent.sinks.kubernetes_secret.secret import Held
from tests.support import words

NOW = 1000.0
HELD = Held("web", "u", "7", {"db": "v1"}, "asked", whole=True, owner="es", marked=True)
DONE = State(refreshed_at=NOW - 10, version="1-a", ready=True, reason="SecretSynced", message=plan.SYNCED)


def looked(policy: Policy | None = None, state: State = DONE, held: Held | None = HELD, version: str = "1-a") -> Look:
    return look(policy or Policy(), state, held, version, NOW)


def test_what_is_done_waits_for_its_interval() -> None:
    assert looked() == Look(ask=False, until=NOW - 10 + 3600)
    assert looked(Policy(interval=5.0)).ask
    assert looked(Policy(interval=10.0)).ask


@pytest.mark.parametrize("state", [State(), replace(DONE, ready=False), replace(DONE, refreshed_at=None)])
@pytest.mark.parametrize("refresh", ["Periodic", "CreatedOnce", "OnChange"])
def test_what_was_never_done_or_failed_is_done(state: State, refresh: str) -> None:
    assert looked(Policy(refresh=refresh, interval=None), state).ask


@pytest.mark.parametrize(
    ("refresh", "interval", "asks"),
    [("Periodic", 60.0, True), ("Periodic", None, False), ("OnChange", None, True), ("CreatedOnce", None, False)],
)
def test_a_change_of_what_is_asked(refresh: str, interval: float | None, asks: bool) -> None:
    """With an interval of 0 nothing but a Secret that is wrong brings it to ask again, as with ESO."""
    assert looked(Policy(refresh=refresh, interval=interval), version="2-a").ask is asks


@pytest.mark.parametrize("refresh", ["Periodic", "CreatedOnce", "OnChange"])
@pytest.mark.parametrize(
    "held",
    [
        None,
        replace(HELD, whole=False),
        replace(HELD, others=frozenset({"more"})),
        replace(HELD, deleted=True),
    ],
    ids=["gone", "changed", "with another's key", "being deleted"],
)
def test_a_secret_that_is_wrong_is_put_right_whatever_the_policy(refresh: str, held: Held | None) -> None:
    assert looked(Policy(refresh=refresh, interval=None), held=held).ask


def test_keys_of_others_belong_to_a_shared_secret() -> None:
    others = replace(HELD, others=frozenset({"more"}), owner=None)
    assert not looked(Policy(creation="Merge"), held=others).ask
    assert not looked(Policy(creation="CreateOrMerge"), held=others).ask


@pytest.mark.parametrize("message", [RETAINED, DELETED, MISSING])
def test_where_there_rightly_is_no_secret_the_interval_counts(message: str) -> None:
    assert not looked(state=replace(DONE, message=message), held=None).ask


def test_one_that_waits_for_a_secret_goes_on_when_it_appears() -> None:
    assert looked(Policy(creation="Merge"), replace(DONE, message=MISSING), replace(HELD, whole=False)).ask


def test_an_immutable_secret_stands_whatever_others_do() -> None:
    assert not looked(Policy(immutable=True), held=replace(HELD, whole=False)).ask


ALWAYS = Window(schedule("* * * * *"), 3600.0)
NOW_AND_THEN = Window(schedule("0 12 1 1 *"), 3600.0)


@pytest.mark.parametrize(
    ("windows", "asks"),
    [
        (None, True),
        (Windows("deny", (ALWAYS,)), False),
        (Windows("allow", (ALWAYS,)), True),
        (Windows("deny", (NOW_AND_THEN,)), True),
        (Windows("allow", (NOW_AND_THEN,)), False),
        (Windows("allow", (NOW_AND_THEN, ALWAYS)), True),
    ],
)
@pytest.mark.parametrize("state", [DONE, replace(DONE, ready=False)], ids=["due", "failed"])
def test_a_window_holds_back_what_the_clock_brings(windows: Windows | None, asks: bool, state: State) -> None:
    found = looked(Policy(interval=5.0, windows=windows), state)
    assert found.ask is asks
    assert asks or (found.until or 0.0) > NOW, "it goes on when the window says"


@pytest.mark.parametrize(
    "given",
    [{"version": "2-a"}, {"held": None}, {"held": replace(HELD, whole=False)}, {"state": State()}],
    ids=["changed", "gone", "changed by another", "new"],
)
def test_a_window_holds_back_nothing_else(given: Any) -> None:
    assert looked(Policy(interval=5.0, windows=Windows("deny", (ALWAYS,))), **given).ask


@pytest.mark.parametrize(
    ("creation", "owner", "refused"),
    [("Owner", None, False), ("Owner", "es", False), ("Owner", "other", True), ("Orphan", "other", True),
     ("Merge", "other", False)],
)  # fmt: skip
def test_a_secret_of_another_is_not_touched(creation: str, owner: str | None, refused: bool) -> None:
    assert bool(plan.refusal(Policy(creation=creation), replace(HELD, owner=owner), "es")) is refused


def observation(version: str) -> Observation:
    return Observation(version, ("AWSCURRENT",), Rotation(None, None, None))


@pytest.mark.parametrize(
    ("held", "found", "fetches"),
    [
        (HELD, "v1", False),
        (HELD, "v2", True),
        (None, "v1", True),
        (replace(HELD, asked="else"), "v1", True),
        (replace(HELD, versions={}), "v1", True),
        (replace(HELD, versions={"db": "v1", "more": "v1"}), "v1", True),
    ],
)
def test_values_are_fetched_only_when_something_moved(held: Held | None, found: str, fetches: bool) -> None:
    assert plan.moved("asked", (words.secret("db"),), held, {"db": observation(found)}) is fetches


def test_a_fixed_version_is_not_observed() -> None:
    fixed = words.secret("db", version_id="v1", version_stage=None)
    assert not plan.moved("asked", (fixed,), HELD, {})


@pytest.mark.parametrize("reason", ["access_denied", "throttled", "timeout", "credentials", "invalid", "other"])
def test_no_error_but_absence_leaves_a_secret_out(reason: Any) -> None:
    optional = words.secret("db", optional=True)
    assert not plan.absent(optional, Failure(reason, ""))
    assert plan.absent(optional, Failure("not_found", ""))
    assert not plan.absent(words.secret("db"), Failure("not_found", ""))


def test_the_status_keeps_since_when_it_is_ready() -> None:
    state = replace(DONE, since="2026-01-01T00:00:00Z")
    good = Outcome(ready=True, reason="SecretSynced", message="m", bound=True)
    status = plan.status(good, state, version="1-b", binding="web", now="2026-02-02T00:00:00Z")
    (condition,) = status["conditions"]
    assert condition["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert (status["refreshTime"], status["syncedResourceVersion"]) == ("2026-02-02T00:00:00Z", "1-b")
    assert status["binding"] == {"name": "web"}
    bad = Outcome(ready=False, reason="SecretSyncedError", message="m")
    status = plan.status(bad, state, version="1-b", binding="web", now="2026-02-02T00:00:00Z")
    assert status["conditions"][0]["lastTransitionTime"] == "2026-02-02T00:00:00Z"
    assert status.keys() == {"conditions"}, "what was synced, and when, stays"
