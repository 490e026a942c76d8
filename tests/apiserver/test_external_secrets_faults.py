"""The controller under fire, in short. `python -m tests.apiserver.faults` does it at full length."""

from __future__ import annotations

import pytest

from tests.apiserver import faults
from tests.apiserver.faults import CHANGES, NONSENSE, Change, Row
from tests.apiserver.server import ApiServer


def holds(row: Row) -> None:
    print(row)
    assert row.violations == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name.replace(" ", "-"))
def test_kill_9_at_steps_of_a_change_leaves_nothing_half(installed: ApiServer, change: Change) -> None:
    row = faults.kills(installed, change, most=2)
    holds(row)
    assert not row.tried.startswith("0 ")


def test_the_api_server_is_away_or_hangs(installed: ApiServer) -> None:
    holds(faults.away(installed, times=1, seconds=1.0))
    holds(faults.hangs(installed, times=1, seconds=6.0))


@pytest.mark.parametrize("what", NONSENSE, ids=lambda what: what.replace(" ", "-"))
def test_the_api_server_answers_badly(installed: ApiServer, what: str) -> None:
    holds(faults.answers(installed, what, seconds=2.5))


def test_watches_have_expired(installed: ApiServer) -> None:
    holds(faults.expired(installed, seconds=2.0))


def test_somebody_edits_the_secret_all_the_time(installed: ApiServer) -> None:
    holds(faults.conflicts(installed, rotations=3))


@pytest.mark.parametrize("how", ["killed", "paused and continued"], ids=lambda how: how.replace(" ", "-"))
def test_one_replica_writes(installed: ApiServer, how: str) -> None:
    holds(faults.leaders(installed, how, rounds=1))


def test_a_write_that_arrives_after_another_has_written_is_refused(installed: ApiServer) -> None:
    holds(faults.late(installed, rounds=1))


def test_aws_is_away(installed: ApiServer) -> None:
    holds(faults.aws_away(installed, periods=15))
