"""AWS with the credentials of others: each is used for its own places alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.core.errors import Failure
from agent.core.model import Place, Request
from agent.core.value import Fetched, SecretValue
from agent.sources.aws import identities
from agent.sources.aws.credentials import NoCredentials
from agent.sources.aws.identities import Identified, Keys, WebIdentity
from tests.support import words
from tests.support.services import REGION, Services, serving, sts_denied

ROLE = "arn:aws:iam::111122223333:role/irsa"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    with serving() as (services, url):
        for name in ("SECRETS_MANAGER", "SSM", "STS"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
        services.put("x", "CANARY")
        yield services


def text(value: str) -> SecretValue:
    return SecretValue(value.encode(), text=True)


def keys(name: str) -> Keys:
    return Keys(f"the access key {name}", text(name), text("secret"))


def asked(source: Identified, identity: str | None, **place: object) -> Fetched | Failure:
    """Who gets the secret, asked for with an identity."""
    secret = words.secret("x", place=Place(REGION, None, identity=identity, **place))  # type: ignore[arg-type]
    return source.fetch((Request(secret),)).results["x"]


def test_each_asks_as_itself(aws: Services) -> None:
    source = Identified()
    source.use("a", keys("tenant-a"))
    source.use("b", keys("tenant-b"))
    for identity, by in (("a", "tenant-a"), (None, "pod"), ("b", "tenant-b"), ("a", "tenant-a")):
        assert isinstance(asked(source, identity), Fetched)
        assert aws.calls[-1].by == by


def test_who_is_not_known_gets_nothing(aws: Services) -> None:
    found = asked(Identified(), "stranger")
    assert isinstance(found, Failure)
    assert aws.calls == []


def test_a_role_is_assumed_by_its_own_identity(aws: Services) -> None:
    """The same role, asked for by two, is assumed by each of them."""
    source = Identified()
    source.use("a", keys("tenant-a"))
    for identity in ("a", None):
        asked(source, identity, roles=("arn:aws:iam::111122223333:role/reader",))
    assert [call.by for call in aws.calls if call.operation == "AssumeRole"] == ["tenant-a", "pod"]


def test_a_web_identity_assumes_its_role_and_signs_nothing(aws: Services) -> None:
    source, given = Identified(), list[int]()

    def token() -> SecretValue:
        given.append(1)
        return text("a.b.c")

    source.use("w", WebIdentity("service account shop/reader", ROLE, REGION, token))
    for _ in range(2):
        assert isinstance(asked(source, "w"), Fetched)
        assert aws.calls[-1].by == "irsa"
    (assumed,) = [call for call in aws.calls if call.operation == "AssumeRoleWithWebIdentity"]
    assert (assumed.by, assumed.sent["WebIdentityToken"]) == ("", "a.b.c")
    assert len(given) == 1


def test_what_is_refused_names_who(aws: Services) -> None:
    source = Identified()
    source.use("w", WebIdentity("service account shop/reader", ROLE, REGION, lambda: text("CANARY-token")))
    aws.faults[None, "AssumeRoleWithWebIdentity"] = sts_denied(ROLE)
    found = asked(source, "w")
    assert isinstance(found, Failure)
    assert found.reason == "credentials"
    assert "service account shop/reader" in found.message
    assert "CANARY" not in found.message

    def none() -> SecretValue:
        raise NoCredentials("no token: forbidden")

    source.use("n", WebIdentity("service account shop/none", ROLE, REGION, none))
    found = asked(source, "n")
    assert isinstance(found, Failure)
    assert "no token: forbidden" in found.message


@pytest.mark.parametrize("bad", ["", "two words", "line\nbreak", "\xff"])
def test_an_access_key_that_is_none_is_refused_without_its_text(aws: Services, bad: str) -> None:
    source = Identified()
    source.use("k", Keys("the access key in Secret shop/keys", text(bad), text("CANARY")))
    found = asked(source, "k")
    assert isinstance(found, Failure)
    assert "shop/keys" in found.message
    assert "CANARY" not in found.message
    assert aws.calls == []


def test_what_is_kept_is_bounded(aws: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "MOST", 3)
    source = Identified()
    for number in range(8):
        source.use(f"k{number}", keys(f"key-{number}"))
        asked(source, f"k{number}")
        assert aws.calls[-1].by == f"key-{number}"
    assert max(len(source._given), len(source._clients)) <= 3
    assert isinstance(asked(source, "k0"), Failure), "its identity must be given anew"
