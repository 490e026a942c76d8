"""Regions that go away and come back: who is asked, what is published, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent.core import status
from agent.core.model import Kind, Place, Ref
from agent.core.record import replace
from agent.observe import events, metrics, report
from tests.engine.test_kinds import Kept
from tests.support.services import Services, denied, error, serving

HOME, AWAY, FAR = "eu-west-1", "eu-central-1", "us-east-1"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def aws() -> Iterator[tuple[Services, str]]:
    with serving() as served:
        yield served


def replicated(url: str, *regions: str, kind: Kind = "secretsmanager", given: str = "db") -> Ref:
    first, *others = (Ref(given, Place(region, url), kind=kind) for region in (HOME, *(regions or (AWAY,))))
    return Ref(first.id, first.place, kind=kind, replicas=tuple(others))


class Log:
    """What is logged, as names of events."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, event: str, **_: Any) -> None:
        self.said.append(event)

    warning = error = info


class Watched(Kept):
    """With its status and its log."""

    def __init__(self, ref: Ref, **how: Any) -> None:
        super().__init__(ref, **how)
        self.status = status.begin(self.agent.bundle, "test", 0.0)
        self.log = Log()

    def one_pass(self) -> Any:
        result = super().one_pass()
        events.passed(self.log, self.status, result)
        self.status = status.after(self.status, result)
        return result

    @property
    def secret(self) -> status.SecretStatus:
        return self.status.secrets["app"]


def test_a_first_start_succeeds_from_a_replica_and_says_so(aws: tuple[Services, str]) -> None:
    """Status, log and metric name the region; the first one is counted as failing. When it answers, it serves again,
    and nobody is notified: it is the same version."""
    services, url = aws
    services.put("db", "x")
    services.replicate("db", AWAY)
    services.away.add(HOME)
    kept = Watched(replicated(url))
    kept.one_pass()
    assert kept.files == {"app": "x"} and kept.status.started
    assert (kept.secret.region, kept.secret.up_to_date, kept.secret.failure) == (AWAY, True, None)
    assert kept.secret.instead and HOME in kept.secret.instead.message
    assert kept.secret.errors["timeout"] == 1
    assert "served by a replica" in kept.log.said
    kept.one_pass()
    assert kept.log.said.count("served by a replica") == 1 and kept.secret.errors["timeout"] == 2
    services.away.clear()
    kept.one_pass()
    assert (kept.secret.region, kept.secret.instead) == (HOME, None)
    assert kept.log.said[-1] == "served by its first region again" and kept.told == 0
    asked = len(services.calls)
    kept.one_pass()
    assert {call.region for call in services.calls[asked:]} == {HOME}


def test_replicas_are_asked_in_order(aws: tuple[Services, str]) -> None:
    """The next one where the one before does not answer, or does not have it."""
    services, url = aws
    services.put("db", "x", FAR)
    services.away.add(HOME)
    kept = Watched(replicated(url, AWAY, FAR))
    kept.one_pass()
    assert kept.files == {"app": "x"} and kept.secret.region == FAR
    assert [call.region for call in services.calls] == [HOME, AWAY, FAR]


def test_when_none_answers_all_are_named(aws: tuple[Services, str]) -> None:
    """And what is published stays."""
    services, url = aws
    services.put("db", "x")
    kept = Watched(replicated(url))
    kept.one_pass()
    services.away |= {HOME, AWAY}
    failure = kept.one_pass().failures["app"]
    assert failure.reason == "timeout" and HOME in failure.message and AWAY in failure.message
    assert kept.files == {"app": "x"} and kept.secret.instead is None


def test_a_replica_that_lags_never_moves_a_version_backwards(aws: tuple[Services, str]) -> None:
    """It is looked at once; what is published stays, and the secret is stale with a sentence. When it has caught up, it
    confirms; when it is ahead, it is followed."""
    services, url = aws
    services.put("db", "1")
    services.replicate("db", AWAY)
    services.put("db", "2")
    kept = Watched(replicated(url))
    kept.one_pass()
    assert kept.files == {"app": "2"}
    services.away.add(HOME)
    for _ in range(3):
        failure = kept.one_pass().failures["app"]
        assert failure.reason == "timeout" and AWAY in failure.message and "behind" in failure.message
    assert kept.files == {"app": "2"} and kept.told == 0 and not kept.secret.up_to_date
    assert services.count("GetSecretValue", AWAY) == 1
    services.replicate("db", AWAY)
    assert not kept.one_pass().failures
    assert kept.files == {"app": "2"} and kept.told == 0 and kept.secret.up_to_date
    services.put("db", "3", AWAY)
    kept.one_pass()
    assert kept.files == {"app": "3"} and kept.told == 1


def test_the_first_region_is_believed_although_a_replica_was_not(aws: tuple[Services, str]) -> None:
    """A version that was refused from a replica is published when the first region goes back to it."""
    services, url = aws
    old = services.put("db", "1")
    services.replicate("db", AWAY)
    services.put("db", "2")
    kept = Watched(replicated(url))
    kept.one_pass()
    services.away.add(HOME)
    kept.one_pass()
    services.away.clear()
    services.secrets[HOME, "db"] = services.secrets[HOME, "db"][::-1]  # somebody moves the stage back
    assert services.secrets[HOME, "db"][-1].version == old
    kept.one_pass()
    assert kept.files == {"app": "1"}


@pytest.mark.parametrize("fault", [denied("secretsmanager:GetSecretValue"), error("ResourceNotFoundException")])
def test_a_region_that_answers_is_not_covered_up(aws: tuple[Services, str], fault: Any) -> None:
    """A permission that was taken away, or a secret that was deleted, does not come back by a replica: neither for a
    first generation nor later. It is said and counted, and the replica is not even asked."""
    services, url = aws
    services.put("db", "x")
    services.replicate("db", AWAY)
    services.faults[HOME, "GetSecretValue"] = services.faults[HOME, "DescribeSecret"] = fault
    kept = Watched(replicated(url))
    failure = kept.one_pass().failures["app"]
    assert failure.reason in ("access_denied", "not_found") and kept.files == {}
    assert kept.secret.errors[failure.reason] == 1
    assert services.count("GetSecretValue", AWAY) == services.count("DescribeSecret", AWAY) == 0


@pytest.mark.parametrize("fault", [error("ThrottlingException"), error("InternalServiceError", status=500)])
def test_a_region_in_trouble_is_away(aws: tuple[Services, str], fault: Any) -> None:
    """As one that does not answer."""
    services, url = aws
    services.put("db", "x")
    services.replicate("db", AWAY)
    services.faults[HOME, None] = fault
    kept = Watched(replicated(url))
    kept.one_pass()
    assert kept.files == {"app": "x"} and kept.secret.region == AWAY


def test_parameters_are_compared_by_their_dates(aws: tuple[Services, str]) -> None:
    """Each region counts its own versions: the same number is not the same, and another may be."""
    services, url = aws
    services.put_parameter("db", "old", AWAY)
    services.put_parameter("db", "new")
    kept = Watched(replicated(url, kind="parameter"))
    kept.one_pass()
    services.away.add(HOME)
    failure = kept.one_pass().failures["app"]  # version 1, as is published, and older
    assert "behind" in failure.message and kept.files == {"app": "new"}
    services.put_parameter("db", "new", AWAY)
    assert not kept.one_pass().failures and kept.told == 0  # version 2: a copy of what is published confirms it
    services.put_parameter("db", "newer", AWAY)
    kept.one_pass()
    assert kept.files == {"app": "newer"} and kept.told == 1
    services.away.clear()
    kept.one_pass()
    assert kept.files == {"app": "new"}, "the first region is the truth when it answers"


def test_metrics_and_status_name_the_region(aws: tuple[Services, str]) -> None:
    """Of a secret with failover alone."""
    services, url = aws
    services.put("db", "x")
    services.replicate("db", AWAY)
    services.away.add(HOME)
    kept, plain = Watched(replicated(url)), Watched(Ref("db", Place(AWAY, url)))
    kept.one_pass()
    plain.one_pass()

    def exposed(watched: Watched) -> str:
        return metrics.exposition(watched.status)[1].decode()

    assert f'freshmount_secret_region_info{{secret="app",region="{AWAY}"}} 1' in exposed(kept)
    assert 'freshmount_secret_errors_total{secret="app",reason="timeout"} 1' in exposed(kept)
    assert "freshmount_secret_region_info{" not in exposed(plain)
    (shown,) = report.of_agent(kept.status, 1e9)["secrets"]
    assert shown["region"] == AWAY and shown["servedInstead"]["reason"] == "timeout"
    assert AWAY in report.text(report.of_agent(kept.status, 1e9))
    (shown,) = report.of_agent(plain.status, 1e9)["secrets"]
    assert shown["region"] is None and shown["servedInstead"] is None


def test_a_replica_that_is_asked_if_denied_stands_in_for_a_denial_alone(aws: tuple[Services, str]) -> None:
    """And says why; one that is not does not, and nothing stands in for a secret that is not there."""
    services, url = aws
    services.put("db", "x")
    services.replicate("db", AWAY)
    services.faults[HOME, "GetSecretValue"] = denied("secretsmanager:GetSecretValue")
    plain = replicated(url)
    asked = replace(plain, replicas=tuple(replace(each, if_denied=True) for each in plain.replicas))
    kept = Watched(asked)
    kept.one_pass()
    assert kept.files == {"app": "x"} and kept.secret.instead is not None
    assert kept.secret.instead.reason == "access_denied"
    services.faults[HOME, "GetSecretValue"] = error("ResourceNotFoundException")
    kept = Watched(asked)
    kept.one_pass()
    assert kept.files == {}
