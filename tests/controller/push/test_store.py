"""Pushed Secrets in Secrets Manager, against moto and against our own stand-in, which must agree."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from agent.controller.push import review as module
from agent.controller.push.review import Delete, Refusal, Rules, Write
from agent.controller.push.store import Store
from agent.sources.aws.clients import Clients
from tests.controller.push.reviews import CANARY, body, review, secret
from tests.support.aws import MotoStandIn, QuickStandIn, StandIn

RULES = Rules("east", "prefix/")


@pytest.fixture(scope="module", params=[MotoStandIn, QuickStandIn])
def aws(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    with request.param() as stand_in:
        yield stand_in


@pytest.fixture
def store(aws: StandIn, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"), ("REGION", "eu-west-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws.url)
    return Store(Clients(), RULES, window=7, region="eu-west-1")


def write(name: str, value: str, uid: str = "", *, dry_run: bool = False) -> Write:
    given = review(secret({"password": value}), uid=uid, name=name, dryRun=dry_run)
    found = module.decide(module.read(body(given)), RULES)
    assert isinstance(found, Write)
    return found


@pytest.fixture
def name() -> str:
    return f"db-{uuid.uuid4().hex[:8]}x"


def current(aws: StandIn, name: str) -> tuple[str, object]:
    answer = aws.ask("secretsmanager.GetSecretValue", SecretId=f"prefix/shop/{name}")
    return str(answer["VersionId"]), json.loads(answer["SecretString"])


def test_a_secret_is_created_once_and_then_gets_versions(aws: StandIn, store: Store, name: str) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    made = store.write(write(name, CANARY, first))
    assert made.version == first and f":secret:prefix/shop/{name}-" in made.arn
    assert store.write(write(name, CANARY, first)) == made
    assert store.write(write(name, "new", second)).version == second
    assert current(aws, name) == (second, {"password": "new"})
    assert store.write(write(name, "new", second)).arn == made.arn
    assert current(aws, name) == (second, {"password": "new"})


def test_a_dry_run_finds_the_arn_and_writes_nothing(aws: StandIn, store: Store, name: str) -> None:
    assert store.write(write(name, CANARY, dry_run=True)).arn.endswith(
        f":000000000000:secret:prefix/shop/{name}-DryRun"
    )
    made = store.write(write(name, CANARY))
    assert store.write(write(name, "new", dry_run=True)).arn == made.arn
    assert current(aws, name) == (made.version, {"password": CANARY})


def test_a_deleted_secret_has_to_be_restored(aws: StandIn, store: Store, name: str) -> None:
    wanted = write(name, CANARY)
    store.write(wanted)
    delete = Delete(wanted.asked, wanted.secret)
    assert store.delete(delete) is True
    assert store.delete(delete) is False
    with pytest.raises(Refusal, match="restore-secret"):
        store.write(write(name, "new"))
    aws.ask("secretsmanager.RestoreSecret", SecretId=wanted.secret)
    assert store.write(write(name, "new")).version


def test_a_deletion_of_what_is_not_there_is_nothing(store: Store, name: str) -> None:
    wanted = write(name, CANARY)
    assert store.delete(Delete(wanted.asked, wanted.secret)) is False


def test_a_version_with_another_value_is_not_replaced(aws: StandIn, store: Store, name: str) -> None:
    """AWS refuses a known token with another value: two reviews with one uid are not the API server's."""
    uid = str(uuid.uuid4())
    store.write(write(name, CANARY, uid))
    with pytest.raises(Refusal, match="with another value") as refused:
        store.write(write(name, "new", uid))
    assert CANARY not in str(refused.value)
    assert current(aws, name) == (uid, {"password": CANARY})
