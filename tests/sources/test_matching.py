"""Sets of parameters by name, path and tags, and the tags of secrets and parameters, against moto over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from agent.core.errors import Failure
from agent.core.model import Kind, Observation, Place, Query, Ref, Request, Secret
from agent.core.value import Fetched
from agent.sources.aws.source import Aws
from tests.support.aws import MotoStandIn

KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with MotoStandIn() as stand_in:
        made: Any = {**KEYS, "region_name": "eu-west-1", "endpoint_url": stand_in.url}
        ssm, secrets = boto3.client("ssm", **made), boto3.client("secretsmanager", **made)
        for number in range(12):
            tags = [{"Key": "team", "Value": "pay" if number % 2 else "payroll"}]
            name = f"/app/p{number:02}"
            ssm.put_parameter(
                Name=name, Value=f"v{number}", Type="SecureString" if number == 3 else "String", Tags=tags
            )
        ssm.put_parameter(Name="/apple", Value="fruit", Type="String")
        secrets.create_secret(Name="tagged", SecretString="c4n4ry", Tags=[{"Key": "b", "Value": "<2>"}])
        yield stand_in.url


def wanted(url: str, kind: Kind, given: str = "", query: Query | None = None) -> Secret:
    ref = Ref(query.shown if query else given, Place("eu-west-1", url), kind=kind, query=query)
    return Secret("one", ref, 60.0, optional=False)


def observed(secret: Secret) -> Observation | Failure:
    return Aws().observe((Request(secret),)).results["one"]


def fetched(secret: Secret) -> Fetched | Failure:
    return Aws().fetch((Request(secret),)).results["one"]


def held(secret: Secret) -> dict[str, str]:
    found = fetched(secret)
    assert isinstance(found, Fetched), found
    seen = observed(secret)
    assert isinstance(seen, Observation), seen
    assert seen.version_id == found.version_id, "what is observed is what is fetched"
    return dict(json.loads(found.value.reveal()))


def test_beneath_a_path_by_name_over_several_pages(url: str) -> None:
    assert held(wanted(url, "matching", query=Query("p", "/app"))) == {f"/app/p{n:02}": f"v{n}" for n in range(12)}
    assert held(wanted(url, "matching", query=Query("3$", "/app"))) == {"/app/p03": "v3"}
    assert held(wanted(url, "matching", query=Query("fr|apple"))) == {"/apple": "fruit"}


def test_by_tags_exactly_in_tens(url: str) -> None:
    odd = {f"/app/p{n:02}": f"v{n}" for n in range(1, 12, 2)}
    assert held(wanted(url, "matching", query=Query(tags=(("team", "pay"),)))) == odd
    assert held(wanted(url, "matching", query=Query("11", tags=(("team", "pay"),)))) == {"/app/p11": "v11"}


def test_a_loose_set_may_be_empty_and_another_not(url: str) -> None:
    assert held(wanted(url, "matching", query=Query("zzz", loose=True))) == {}
    nothing = fetched(wanted(url, "matching", query=Query("zzz")))
    assert isinstance(nothing, Failure) and nothing.reason == "not_found"


def test_tags_are_an_object_whose_version_moves_with_them(url: str) -> None:
    secret = wanted(url, "tags", "tagged")
    assert held(secret) == {"b": "<2>"}
    before = observed(secret)
    made: Any = {**KEYS, "region_name": "eu-west-1", "endpoint_url": url}
    boto3.client("secretsmanager", **made).tag_resource(SecretId="tagged", Tags=[{"Key": "a", "Value": "1"}])
    after = fetched(secret)
    assert isinstance(before, Observation) and isinstance(after, Fetched)
    assert after.version_id != before.version_id
    assert after.value.reveal() == b'{"a":"1","b":"\\u003c2\\u003e"}'
    assert held(wanted(url, "parameterTags", "/app/p01")) == {"team": "pay"}


def test_what_is_not_there_is_named(url: str) -> None:
    for secret in (wanted(url, "tags", "nobody"), wanted(url, "parameterTags", "/nobody")):
        found = fetched(secret)
        assert isinstance(found, Failure) and "nobody" in found.message
