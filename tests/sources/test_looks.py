"""Looks by a list, over HTTP: what one ListSecrets confirms, and all that it must not be believed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from agent.core.errors import Failure
from agent.core.model import OK, Answers, Observation, Place, Request, Rotation
from agent.core.record import replace
from agent.sources.aws.source import Aws
from tests.support.answers import Answer
from tests.support.aws import MotoStandIn, QuickStandIn, StandIn
from tests.support.services import REGION, Services, denied, serving
from tests.support.words import secret

ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:"
V = "0" * 31
ONE, TWO, THREE = (V + digit for digit in "123")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def aws() -> Iterator[tuple[Services, str]]:
    with serving() as served:
        yield served


def asking(url: str, known: dict[str, str], **fields: Any) -> list[Request]:
    """By the id of each secret, whether that version is still current."""
    place = Place(REGION, url)
    return [Request(secret(each, secret_id=each, place=place, **fields), known=v) for each, v in known.items()]


def looked(requests: list[Request]) -> Answers[Observation]:
    source = Aws(connect_timeout=3.0, read_timeout=3.0, attempts=1)
    (batch,) = source.batches(requests)
    return source.observe(batch)


def confirmed(found: Answers[Observation]) -> dict[str, str]:
    return {name: each.version_id for name, each in found.results.items() if isinstance(each, Observation)}


@pytest.mark.parametrize("kind", [MotoStandIn, QuickStandIn])
def test_one_list_confirms_secrets_by_name_arn_and_partial_arn(kind: Any) -> None:
    """What moved, or is to be deleted, is not confirmed, and nothing is said of it."""
    aws: StandIn
    with kind() as aws:
        start = f"looks-{uuid.uuid4().hex[:8]}x/"
        arns = {name: aws.put(start + name, "1") for name in ("db", "db/more", "part", "moved", "gone")}
        ids = [start + "db", arns["db/more"], arns["part"][:-7], start + "moved", start + "gone"]
        known = {each: current(aws, each) for each in ids}
        aws.rotate(start + "moved", "2")
        aws.ask("secretsmanager.DeleteSecret", SecretId=start + "gone", RecoveryWindowInDays=7)
        found = looked(asking(aws.url, known))
        assert confirmed(found) == {each: known[each] for each in ids[:3]}
        assert [(call.operation, call.code) for call in found.calls] == [("ListSecrets", OK)]


def current(aws: StandIn, secret_id: str) -> str:
    """The version that holds AWSCURRENT."""
    stages = aws.ask("secretsmanager.DescribeSecret", SecretId=secret_id)["VersionIdsToStages"]
    return next(version for version, labels in stages.items() if "AWSCURRENT" in labels)


def test_only_the_secret_itself_confirms_its_version(aws: tuple[Services, str]) -> None:
    """Not one whose name only begins like it, nor one of another account, nor one that an ARN may mean or not."""
    services, url = aws
    services.put("prod/db-2", "x", version=ONE)
    services.put("prod/db-master", "x", version=TWO)
    services.put("prod/api", "x", version=THREE)
    known = {
        "prod/db": ONE,
        "prod/DB-2": ONE,
        f"{ARN}prod/db-master": TWO,
        f"{ARN.replace('1111', '9999')}prod/api-AbCdEf": THREE,
        f"{ARN}prod/api-ZyXwVu": THREE,
        "prod/api": THREE,
    }
    assert confirmed(looked(asking(url, known))) == {"prod/api": THREE}
    (listed,) = services.calls
    assert listed.sent["Filters"] == [{"Key": "name", "Values": ["prod/db", "prod/DB-2", "prod/api"]}], (
        "of an ARN that may end in a word, all that it may mean"
    )


def test_the_stage_that_is_followed_is_the_one_that_counts(aws: tuple[Services, str]) -> None:
    services, url = aws
    for version in (ONE, TWO):
        services.put("a", "x", version=version)
        services.put("b", "x", version=version)
    assert confirmed(looked(asking(url, {"a": ONE, "b": TWO}, version_stage="AWSPREVIOUS"))) == {"a": ONE}
    assert confirmed(looked(asking(url, {"a": ONE, "b": TWO}))) == {"b": TWO}


def test_the_first_page_is_the_only_one(aws: tuple[Services, str]) -> None:
    """A beginning may be that of thousands. What comes later is not confirmed."""
    services, url = aws
    for number in range(150):
        services.put(f"many/{number:03}", "x", version=ONE)
    assert confirmed(looked(asking(url, {"many/": ONE, "many/000": ONE, "many/149": ONE}))) == {"many/000": ONE}
    assert len(services.calls) == 1


def test_what_is_known_of_a_rotation_comes_along(aws: tuple[Services, str]) -> None:
    """As DescribeSecret says it, so that the schedule stays as it was."""
    services, url = aws
    entry = {
        "ARN": f"{ARN}db-AbCdEf",
        "Name": "db",
        "RotationEnabled": True,
        "NextRotationDate": 1_800_000_000.0,
        "RotationRules": {"Duration": "2h"},
        "SecretVersionsToStages": {ONE: ["AWSCURRENT"], TWO: ["AWSPENDING"]},
    }
    services.faults[None, "ListSecrets"] = Answer(json.dumps({"SecretList": [entry]}).encode())
    seen = looked(asking(url, {"db": ONE, "api": ONE})).results["db"]
    assert isinstance(seen, Observation)
    assert seen.rotation == Rotation(1_800_000_000.0, 7200.0, TWO) and seen.stages == ("AWSCURRENT",)


def test_ten_secrets_of_one_place_share_a_list() -> None:
    """One that is left alone does not come with them, nor one that a filter would take for a negation: to describe
    those costs the same."""
    source = Aws()
    here = asking("http://here", {f"s{number}": ONE for number in range(11)})
    there = asking("http://there", {"a": ONE, "!b": ONE, "c": ONE})
    assert [len(batch) for batch in source.batches([*here, *there])] == [10, 2]
    assert source.batches(there[:2]) == []
    plain = [replace(request, known=None) for request in here]
    assert source.batches(plain) == [(each,) for each in plain]


def test_a_denied_list_says_what_is_missing(aws: tuple[Services, str]) -> None:
    """The permission has no resource but all, and the call is counted with AWS's code."""
    services, url = aws
    services.faults[None, "ListSecrets"] = denied("secretsmanager:ListSecrets", "*")
    found = looked(asking(url, {"a": ONE, "b": ONE}))
    assert [(call.operation, call.code) for call in found.calls] == [("ListSecrets", "AccessDeniedException")]
    for failure in found.results.values():
        assert isinstance(failure, Failure) and failure.reason == "access_denied"
        assert '"Action": "secretsmanager:ListSecrets", "Resource": "*"' in failure.message


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[]",
        b'{"SecretList": null}',
        b'{"SecretList": ["a"]}',
        b'{"SecretList": [{"Name": "a"}]}',
        b'{"SecretList": [{"Name": "a", "SecretVersionsToStages": {"\\n": ["AWSCURRENT"]}}]}',
        b"<html>",
    ],
)
def test_nonsense_confirms_nothing(aws: tuple[Services, str], answer: bytes) -> None:
    services, url = aws
    services.faults[None, "ListSecrets"] = Answer(answer)
    found = looked(asking(url, {"a": ONE, "b": ONE}))
    assert confirmed(found) == {} and found.results.keys() == {"a", "b"}
