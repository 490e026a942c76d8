"""Roles and chains of them: who asks, how often STS is asked, and which link is named when one is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import Failure
from agent.core.model import OK, Call, Place, Request, Secret
from agent.core.value import Fetched
from agent.sources.aws import roles
from agent.sources.aws.source import Aws
from tests.support.answers import Answer
from tests.support.clock import Clock
from tests.support.running import until
from tests.support.services import error, serving, sts_denied
from tests.support.words import secret

HUB, READER = "arn:aws:iam::111122223333:role/hub", "arn:aws:iam::222233334444:role/path/reader"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("HOSTNAME", "web-7d9f8-abcde")
    monkeypatch.setenv("POD_NAMESPACE", "shop")
    with serving() as (services, url):
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        services.url = url  # type: ignore[attr-defined]
        services.put("db", "x")
        services.put("api", "y")
        yield services


def asked_as(aws: Any, *chain: str, name: str = "db", region: str = "eu-west-1", **fields: Any) -> Secret:
    return secret(name, place=Place(region, aws.url, chain, **fields))


def fetch(source: Aws, wanted: Secret) -> tuple[Fetched | Failure, tuple[Call, ...]]:
    answers = source.fetch((Request(wanted),))
    return answers.results[wanted.name], answers.calls


def test_each_link_is_assumed_with_the_one_before_it(aws: Any) -> None:
    """And the secret is asked for with the last. External id and tags go to that one alone."""
    wanted = asked_as(aws, HUB, READER, external_id="x:1", tags=(("team", "a"),))
    found, calls = fetch(Aws(), wanted)
    assert isinstance(found, Fetched)
    assert [(call.operation, call.by) for call in aws.calls] == [
        ("AssumeRole", "pod"),
        ("AssumeRole", "hub"),
        ("GetSecretValue", "reader"),
    ]
    first, second = aws.calls[0].sent, aws.calls[1].sent
    assert "ExternalId" not in first and not [key for key in first if key.startswith("Tags")]
    assert second["ExternalId"] == "x:1" and second["Tags.member.1.Key"] == "team"
    assert first["RoleSessionName"] == second["RoleSessionName"] == "shop.web-7d9f8-abcde"
    counted = [(call.source, call.operation, call.code) for call in calls]
    assert counted.count(("sts", "AssumeRole", OK)) == 2


def test_sts_is_asked_once_for_all_secrets_and_passes(aws: Any) -> None:
    """Places share the roles that they have in common, and many threads one call."""
    source = Aws()
    wanted = [asked_as(aws, HUB, READER), asked_as(aws, HUB, name="api"), asked_as(aws, HUB, READER, name="api")]
    threads = [threading.Thread(target=fetch, args=(source, each)) for each in wanted * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [isinstance(fetch(source, each)[0], Fetched) for each in wanted] == [True] * 3
    assert aws.count("AssumeRole") == 2


def test_credentials_are_renewed_before_they_expire_and_beside(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After half of their time, which is some minutes here. Nobody waits for STS while those in hand still do."""
    clock = Clock()
    for module in ("credentials", "roles"):
        monkeypatch.setattr(f"agent.sources.aws.{module}.time", clock)
    aws.lifetime = 400.0
    source, wanted = Aws(), asked_as(aws, READER)
    for clock.later in (0.0, 100.0):
        assert isinstance(fetch(source, wanted)[0], Fetched)
    assert aws.count("AssumeRole") == 1
    aws.faults[None, "AssumeRole"] = Answer(drips=True)
    clock.later = 210.0
    assert isinstance(fetch(source, wanted)[0], Fetched)
    until(lambda: aws.count("AssumeRole") == 2)
    aws.faults.clear()
    aws.lifetime = 3600.0
    clock.later = 250.0  # that call has been given up

    def renewed() -> bool:
        assert isinstance(fetch(source, wanted)[0], Fetched)
        return bool(aws.count("AssumeRole") > 2)

    until(renewed)
    clock.later = 500.0  # the first ones have expired; STS may have been asked and not have answered yet
    assert isinstance(fetch(source, wanted)[0], Fetched)
    made = aws.count("AssumeRole")
    assert isinstance(fetch(source, wanted)[0], Fetched) and aws.count("AssumeRole") == made <= 4


@pytest.mark.parametrize(("refused", "named"), [(HUB, "link 1 of 2"), (READER, "link 2 of 2")])
def test_a_refused_link_is_named(aws: Any, refused: str, named: str) -> None:
    """With its place in the chain, the caller, and what must allow it; nothing is asked with other credentials."""
    aws.faults[None, refused] = sts_denied(refused)
    failure, calls = fetch(Aws(attempts=1), asked_as(aws, HUB, READER))
    assert isinstance(failure, Failure) and failure.reason == "credentials"
    assert refused in failure.message and named in failure.message and "trust policy" in failure.message
    assert aws.count("GetSecretValue") == 0
    assert ("sts", "AssumeRole", "AccessDenied") in [(call.source, call.operation, call.code) for call in calls]


def test_a_role_that_is_refused_later_is_tried_again(aws: Any) -> None:
    """By the next attempt; a trust policy that is mended needs no restart."""
    aws.faults[None, READER] = sts_denied(READER)
    source, wanted = Aws(attempts=1), asked_as(aws, READER)
    assert isinstance(fetch(source, wanted)[0], Failure)
    aws.faults.clear()
    until(lambda: isinstance(fetch(source, wanted)[0], Fetched))


def test_an_expired_session_is_assumed_anew(aws: Any) -> None:
    """AWS says so before its time, as when a role's sessions are revoked."""
    source, wanted = Aws(attempts=1), asked_as(aws, READER)
    assert isinstance(fetch(source, wanted)[0], Fetched)
    aws.faults[None, "GetSecretValue"] = error("ExpiredTokenException", "The security token is expired")
    failure, _ = fetch(source, wanted)
    assert isinstance(failure, Failure) and failure.reason == "credentials"
    aws.faults.clear()
    assert isinstance(fetch(source, wanted)[0], Fetched)
    assert aws.count("AssumeRole") == 2


def test_a_role_that_cannot_be_assumed_fails_for_no_other(aws: Any) -> None:
    """The pod's own secrets, and those of another role, are asked for as ever."""
    aws.faults[None, READER] = sts_denied(READER)
    source = Aws(attempts=1)
    assert isinstance(fetch(source, asked_as(aws, READER))[0], Failure)
    assert isinstance(fetch(source, asked_as(aws))[0], Fetched)
    assert isinstance(fetch(source, asked_as(aws, HUB))[0], Fetched)


def test_without_credentials_the_role_is_named_and_what_is_missing(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the role that is wrong."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    failure, _ = fetch(Aws(attempts=1), asked_as(aws, READER))
    assert isinstance(failure, Failure) and failure.reason == "credentials"
    assert READER in failure.message and "none were found" in failure.message and not aws.calls


def test_sts_that_is_away_is_named(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the role, and where it was asked."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    failure, _ = fetch(Aws(attempts=1), asked_as(aws, READER))
    assert isinstance(failure, Failure) and READER in failure.message and "127.0.0.1:1" in failure.message


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"POD_NAMESPACE": "shop", "HOSTNAME": "web-0"}, "shop.web-0"),
        ({"HOSTNAME": "web-0"}, "web-0"),
        ({"AWS_ROLE_SESSION_NAME": "mine", "HOSTNAME": "web-0"}, "mine"),
        ({"HOSTNAME": "a b"}, "a-b"),
        ({"HOSTNAME": "x"}, "freshmount-x"),
        ({"POD_NAMESPACE": "n" * 63, "HOSTNAME": "h" * 200 + "-abcde"}, "n" * 24 + "." + "h" * 33 + "-abcde"),
    ],
)
def test_the_session_says_which_pod_it_is(environment: dict[str, str], name: str, tmp_path: Path) -> None:
    """As AssumeRole takes it: 2 to 64 characters of its set."""
    assert roles.session_name(environment, str(tmp_path / "none")) == name


def test_the_namespace_is_read_where_kubelet_puts_it(tmp_path: Path) -> None:
    """No downward API is needed."""
    (tmp_path / "namespace").write_text("shop\n")
    assert roles.session_name({"HOSTNAME": "web-0"}, str(tmp_path / "namespace")) == "shop.web-0"
