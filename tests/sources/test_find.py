"""Sets of secrets by name, path and tags, over HTTP: exactly what matches, and nothing that vanishes in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from agent.core.errors import Failure
from agent.core.model import Observation, Place, Query, Ref, Request, Secret
from agent.core.value import Fetched
from agent.sources.aws.source import Aws
from tests.support.aws import MotoStandIn
from tests.support.services import denied, error, serving


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def aws() -> Iterator[Any]:
    with serving() as (services, url):
        services.url = url  # type: ignore[attr-defined]
        yield services


def finding(aws: Any, name: str | None = None, path: str | None = None, **tags: str) -> Secret:
    query = Query(name, path, tuple(sorted(tags.items())))
    ref = Ref(query.shown, Place("eu-west-1", aws.url), kind="find", query=query)
    return Secret("set", ref, 60.0, optional=False)


def observed(wanted: Secret) -> Observation | Failure:
    return Aws().observe((Request(wanted),)).results["set"]


def got(wanted: Secret) -> Fetched | Failure:
    return Aws().fetch((Request(wanted),)).results["set"]


def names(wanted: Secret) -> list[str]:
    value = got(wanted)
    assert isinstance(value, Fetched), value
    return list(json.loads(value.value.reveal()))


def test_all_must_be_met_exactly(aws: Any) -> None:
    """AWS finds by beginnings and does not pair a tag's name with its value; the agent does both."""
    aws.put("prod/a", "A", team="payments")
    aws.put("prod/b", "B", team="payments-x")
    aws.put("prod/c", "C", cluster="payments", team="other")
    aws.put("prod/deep/d", "D", team="payments", stage="1")
    aws.put("test/prod/a", "E", team="payments")
    assert names(finding(aws, team="payments")) == ["prod/a", "prod/deep/d", "test/prod/a"]
    assert names(finding(aws, path="prod/", team="payments")) == ["prod/a", "prod/deep/d"]
    assert names(finding(aws, name="^prod/[a-c]$")) == ["prod/a", "prod/b", "prod/c"]
    assert names(finding(aws, name="/d$", path="prod/", team="payments", stage="1")) == ["prod/deep/d"]
    assert json.loads(got(finding(aws, name="^prod/a")).value.reveal()) == {"prod/a": "A"}  # type: ignore[union-attr]


def test_moto_agrees() -> None:
    """On filters, tags, versions, values, and what has none yet."""
    with MotoStandIn() as stand_in:
        keys: Any = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        client = boto3.session.Session().client(
            "secretsmanager", region_name="eu-west-1", endpoint_url=stand_in.url, **keys
        )
        for name, team in (("found/a", "x"), ("found/b", "x"), ("found/c", "y")):
            client.create_secret(Name=name, SecretString=name.upper(), Tags=[{"Key": "team", "Value": team}])
        client.create_secret(Name="found/empty", Tags=[{"Key": "team", "Value": "x"}])
        wanted = finding(stand_in, path="found/", team="x")
        seen, value = observed(wanted), got(wanted)
        assert isinstance(seen, Observation) and isinstance(value, Fetched)
        assert json.loads(value.value.reveal()) == {"found/a": "FOUND/A", "found/b": "FOUND/B"}
        assert seen.version_id == value.version_id


def test_pages_and_batches(aws: Any) -> None:
    """250 secrets are 3 pages of a list and 13 batches of values; observing asks for no value."""
    for number in range(250):
        aws.put(f"many/{number:03}", f"v{number}")
    wanted = finding(aws, path="many/")
    seen = observed(wanted)
    assert isinstance(seen, Observation) and seen.version_id.startswith("250-")
    assert [call.operation for call in aws.calls] == ["ListSecrets"] * 3
    value = got(wanted)
    assert isinstance(value, Fetched) and value.version_id == seen.version_id
    assert json.loads(value.value.reveal())["many/249"] == "v249"
    assert [len(c.names) for c in aws.calls if c.operation == "BatchGetSecretValue"] == [20] * 12 + [10]


def test_the_version_is_of_names_and_versions_alone(aws: Any) -> None:
    """It moves when a member comes, goes or moves, and stays when tags or dates do."""
    aws.put("s/a", "1", version="a" * 32)
    aws.put("s/b", "1", version="b" * 32)
    wanted = finding(aws, path="s/")

    def version() -> str:
        seen = observed(wanted)
        assert isinstance(seen, Observation)
        return seen.version_id

    versions = [version()]
    aws.tags["eu-west-1", "s/a"]["new"] = "tag"
    aws.secrets["eu-west-1", "s/a"] = [made._replace(at=made.at + 9) for made in aws.secrets["eu-west-1", "s/a"]]
    assert version() == versions[0]
    for move in (
        lambda: aws.put("s/a", "2"),
        lambda: aws.put("s/c", "1"),
        lambda: aws.secrets.pop(("eu-west-1", "s/b")),
    ):
        move()
        versions.append(version())
    assert len(set(versions)) == 4


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (denied("secretsmanager:GetSecretValue"), "access_denied"),
        (error("DecryptionFailure"), "invalid"),
        (error("ResourceNotFoundException"), "not_found"),
    ],
)
def test_one_that_cannot_be_read_fails_the_whole_by_its_name(aws: Any, fault: Any, reason: str) -> None:
    """AWS lists it in `Errors`, beside the values of the others."""
    for name in ("s/a", "s/b", "s/c"):
        aws.put(name, "x")
    aws.faults["eu-west-1", "batch:s/b"] = fault
    failure = got(finding(aws, path="s/"))
    assert isinstance(failure, Failure) and failure.reason == reason
    assert "s/b" in failure.message and "s/a" not in failure.message


def test_one_that_is_binary_fails_the_whole_by_its_name(aws: Any) -> None:
    """It has no text; nothing is encoded that nobody asked for."""
    aws.put("s/a", "x")
    aws.put("s/b", b"\x00\xff")
    failure = got(finding(aws, path="s/"))
    assert isinstance(failure, Failure) and failure.reason == "invalid" and "s/b" in failure.message


def test_a_denied_list_names_what_would_allow_it(aws: Any) -> None:
    """ListSecrets knows no resource but `*`."""
    aws.faults[None, "ListSecrets"] = denied("secretsmanager:ListSecrets")
    failure = observed(finding(aws, path="s/"))
    assert isinstance(failure, Failure) and failure.reason == "access_denied"
    assert '"Action": "secretsmanager:ListSecrets", "Resource": "*"' in failure.message


def test_nothing_that_matches_is_not_found(aws: Any) -> None:
    """It must not take the files away."""
    aws.put("prod/a", "x")
    failure = observed(finding(aws, name="^nope"))
    assert isinstance(failure, Failure) and failure.reason == "not_found" and "^nope" in failure.message


def test_a_pattern_that_tries_one_way_after_the_other_elsewhere_takes_no_time(aws: Any) -> None:
    """RE2: what would take years is linear, and what it does not have is refused by the config."""
    name = "a" * 400
    aws.put(name, "x")
    assert isinstance(observed(finding(aws, name="^(a+)+b$")), Failure)
    assert isinstance(observed(finding(aws, name="^(a+)+$")), Observation)
