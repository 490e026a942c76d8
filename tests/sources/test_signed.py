"""An answer to DescribeSecret means the same, whoever asked."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from agent.core.errors import Failure
from agent.core.model import Place, Ref, Secret
from agent.demo.server import Exchange, Server
from agent.sources.aws import signed
from agent.sources.aws.secrets_manager import SecretsManager

STAGES = ("AWSCURRENT", "AWSPENDING", "blue")
WHOLE = {
    "ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf",
    "Name": "db",
    "VersionIdsToStages": {"a" * 36: ["AWSCURRENT", "blue"], "b" * 36: ["AWSPENDING"]},
    "RotationEnabled": True,
    "NextRotationDate": 1797724799.999,
    "RotationRules": {"ScheduleExpression": "rate(4 hours)", "Duration": "2h"},
}


class Fixed(Server):
    """Answers everything alike."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        super().__init__()

    def respond(self, exchange: Exchange) -> None:
        exchange.answer(200, self._body)


def both(body: bytes) -> tuple[Any, Any]:
    """What it means by botocore, and read here; an exception is None."""
    with Fixed(body) as aws:
        secret = Secret("db", Ref("db", Place("eu-west-1", aws.url)), 60.0, optional=False)
        by_botocore = SecretsManager().describe_stages(secret, STAGES).result
        try:
            return by_botocore, signed.read(secret, STAGES, body)
        except Exception:
            return by_botocore, None


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"NextRotationDate": 1797724800},
        {"RotationEnabled": False},
        {"NextRotationDate": None},
        {"RotationRules": None},
        {"DeletedDate": 1764147000.5},
        {"VersionIdsToStages": None},
        {"Tags": [{"Key": "a", "Value": "b"}], "OwningService": "rds", "KmsKeyId": None},
    ],
    ids=lambda changed: ", ".join(changed) or "whole",
)
def test_it_is_read_as_botocore_reads_it(changed: dict[str, Any]) -> None:
    by_botocore, read = both(json.dumps({k: v for k, v in (WHOLE | changed).items() if v is not None}).encode())
    assert read is not None and read == by_botocore and set(read) == set(STAGES)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {"AWS_ENDPOINT_URL_SECRETS_MANAGER": "https://gateway.example:8443/aws/secrets"},
        {"AWS_ENDPOINT_URL": "http://nobody.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
    ],
    ids=lambda environment: ", ".join(environment) or "nothing",
)
def test_the_way_leads_where_botocore_sent_its_request(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """Whatever the environment makes of that, which the metadata of a client do not always say. Before the first
    request there is none."""
    sent: list[AWSPreparedRequest] = []

    def send(_: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, _Raw(json.dumps(WHOLE).encode()))

    for name, value in {"AWS_ACCESS_KEY_ID": "pod", "AWS_SECRET_ACCESS_KEY": "testing", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(URLLib3Session, "send", send)
    secret = Secret("db", Ref("db", Place("eu-west-1", None)), 60.0, optional=False)
    source = SecretsManager()
    assert signed.way(source, secret.ref.place) is None
    assert not isinstance(source.describe(secret).result, Failure)
    way = signed.way(source, secret.ref.place)
    assert way and way.url == sent[-1].url


class _Raw(io.BytesIO):
    """A body, as urllib3 hands it over."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>",
        b'{"ARN": "x"',
        b"\xff\xfe",
        b'{"VersionIdsToStages": {"a": "AWSCURRENT"}}',
        b'{"VersionIdsToStages": {"a": [7]}}',
        b'{"VersionIdsToStages": ["AWSCURRENT"]}',
        b'{"ARN": "a", "VersionIdsToStages": {"a\\u0000": ["AWSCURRENT"]}}',
        json.dumps(WHOLE | {"NextRotationDate": "tomorrow"}).encode(),
        json.dumps(WHOLE | {"NextRotationDate": 1e300}).encode(),
        json.dumps(WHOLE | {"DeletedDate": []}).encode(),
        json.dumps(WHOLE | {"RotationRules": []}).encode(),
        json.dumps(WHOLE | {"RotationRules": {"Duration": 7}}).encode(),
    ],
    ids=lambda body: body[:40].decode(errors="replace"),
)
def test_what_aws_would_not_send_is_no_version(body: bytes) -> None:
    """It is left to botocore, or means what it means there: never a version that botocore does not see."""
    by_botocore, read = both(body)
    assert read is None or read == by_botocore or all(isinstance(each, Failure) for each in read.values())
