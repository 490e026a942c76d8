"""Events of EventBridge, and the queue that brings them: moto's SQS over HTTP, and a hub as a real process."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from agent.controller.hub.events import Foreign, Malformed, Recent, read, subjects
from agent.controller.hub.question import Subject
from agent.demo.server import Exchange, Server
from tests.support.aws import REGION, MotoStandIn, Proxy, QuickStandIn
from tests.support.hub import Hub, TokenReviews, hub
from tests.support.running import until

ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"


def secret_event(arn: str = ARN, version: str = "v2", **changes: Any) -> dict[str, Any]:
    """As AWS documents it: `detail` names the secret, the label that moved and the version that it is on now."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Secret Label Updated",
        "source": "aws.secretsmanager",
        "account": "111122223333",
        "time": "2026-01-01T00:00:00Z",
        "region": REGION,
        "resources": [arn],
        "detail": {"name": "prod/db", "labelUpdated": "AWSCURRENT", "versionId": version},
        **changes,
    }


def parameter_event(name: str = "/prod/flags") -> dict[str, Any]:
    return {
        **secret_event(),
        "source": "aws.ssm",
        "detail-type": "Parameter Store Change",
        "resources": [f"arn:aws:ssm:eu-west-1:111122223333:parameter/{name.strip('/')}"],
        "detail": {"operation": "Update", "name": name, "type": "SecureString"},
    }


def of_secret(given: str, region: str = REGION) -> Subject:
    return Subject("secretsmanager", given, region, "")


def test_a_secret_is_found_by_its_arn_with_and_without_suffix_and_by_its_name() -> None:
    event = read(json.dumps(secret_event()))
    asked = [of_secret(ARN), of_secret(ARN[:-7]), of_secret("prod/db")]
    others = [of_secret("prod/db2"), of_secret("prod/db", "us-east-1"), Subject("parameter", "prod/db", REGION, "")]
    assert set(subjects(event, {*asked, *others})) == {*asked}
    assert (event.stage, event.version) == ("AWSCURRENT", "v2")


def test_a_parameter_is_found_by_its_arn_and_by_its_name_with_whatever_label() -> None:
    event = read(json.dumps(parameter_event()))
    asked = [
        Subject("parameter", "/prod/flags", REGION, ""),
        Subject("parameter", "/prod/flags", REGION, "live"),
        Subject("parameter", "arn:aws:ssm:eu-west-1:111122223333:parameter/prod/flags", REGION, ""),
    ]
    assert set(subjects(event, {*asked, of_secret("prod/flags")})) == {*asked}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("", Malformed),
        ("x" * 1000, Malformed),
        ("[" * 100_000, Malformed),
        ("[]", Malformed),
        ("{}", Malformed),
        (json.dumps(secret_event(resources=[], detail={})), Malformed),
        (json.dumps(secret_event(resources="x", detail=[])), Malformed),
        (json.dumps(secret_event(resources=["\x00"], detail={"name": "a b"})), Malformed),
        (json.dumps(secret_event(resources=[1])), Malformed),
        (json.dumps(secret_event(id="")), Malformed),
        (json.dumps(secret_event(source="aws.s3")), Foreign),
        (json.dumps(secret_event(**{"detail-type": "AWS API Call via CloudTrail"})), Foreign),
    ],
    ids=range(12),
)
def test_what_is_no_event_of_ours_is_said_to_be_none(body: str, wrong: type[Exception]) -> None:
    with pytest.raises(wrong):
        read(body)


def test_an_event_that_comes_twice_is_known_by_its_id() -> None:
    recent = Recent()
    assert recent.new("a") and not recent.new("a")
    recent.forget("a")
    assert recent.new("a")


class Queue:
    """A queue of moto's, over HTTP."""

    def __init__(self, url: str) -> None:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        self._sqs = boto3.session.Session().client("sqs", region_name=REGION, endpoint_url=url, **keys)
        self.url = self._sqs.create_queue(QueueName=f"events-{uuid.uuid4().hex}")["QueueUrl"]

    def send(self, event: object) -> None:
        body = event if isinstance(event, str) else json.dumps(event)
        self._sqs.send_message(QueueUrl=self.url, MessageBody=body)

    def left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(map(int, found.values()))


class Scene:
    """A hub that looks once an hour by itself, a secret, and a queue."""

    def __init__(self, aws: QuickStandIn, proxy: Proxy, moto: MotoStandIn, reviews: TokenReviews, home: Path) -> None:
        self.aws, self.proxy, self.reviews, self.home = aws, proxy, reviews, home
        self.aws.put("prod/db", "1")
        self.queue, self.moto = Queue(moto.url), moto
        self.token = reviews.token("agent")
        self.db = {"kind": "secretsmanager", "id": "prod/db", "region": REGION, "stage": "AWSCURRENT", "version": None}

    def hub(self, queue: str | None = None) -> Any:
        flags = ("--hub-period", "1h", "--floor", "1h", "--events-queue", queue or self.queue.url)
        return hub(self.reviews, self.proxy.url, self.home, *flags, sqs=self.moto.url)

    def version(self, hub: Hub) -> str:
        """What the hub says; nothing when it is asked too often, or has not looked yet."""
        return str(hub.ask(self.token, self.db)[1].get("secrets", [{}])[0].get("version") or "")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with QuickStandIn() as aws, Proxy(aws.url) as proxy, MotoStandIn() as moto, TokenReviews() as reviews:
        yield Scene(aws, proxy, moto, reviews, tmp_path)


def counted(hub: Hub) -> dict[str, float]:
    """Events by what became of them."""
    samples = hub.metrics()
    return {
        name.partition('result="')[2].rstrip('"}'): value
        for name, value in samples.items()
        if name.startswith("controller_events_total{")
    }


def test_an_event_is_looked_at_at_once_and_deleted_when_it_was(scene: Scene) -> None:
    """Nothing of it is believed: the version that is answered is the one that DescribeSecret says."""
    with scene.hub() as hub:
        before = until(lambda: scene.version(hub), every=0.5)
        looks = len(scene.proxy.calls)
        assert scene.version(hub) == before and len(scene.proxy.calls) == looks, "the next look is in an hour"
        current = scene.aws.rotate("prod/db", "2")
        scene.queue.send(secret_event(version=current))
        until(lambda: scene.version(hub) == current, every=0.5)
        until(lambda: scene.queue.left() == 0)
        assert counted(hub) == {"answered": 1}


def test_whatever_else_is_in_the_queue_is_counted_and_deleted_and_holds_nothing_up(scene: Scene) -> None:
    with scene.hub() as hub:
        scene.version(hub)
        unknown = secret_event(ARN.replace("prod/db", "other"), detail={"name": "other"})
        for message in ("nonsense", "[" * 1000, secret_event(source="aws.s3"), unknown):
            scene.queue.send(message)
        current = scene.aws.rotate("prod/db", "2")
        twice = secret_event(version=current)
        scene.queue.send(twice)
        until(lambda: scene.version(hub) == current, every=0.5)
        looks = len(scene.proxy.calls)
        scene.queue.send(twice)
        until(lambda: sum(counted(hub).values()) == 6 and scene.queue.left() == 0)
        assert counted(hub) == {"malformed": 2, "foreign": 1, "unknown": 1, "answered": 1, "duplicate": 1}
        assert len(scene.proxy.calls) == looks, "a duplicate costs no look"


class Denied(Server):
    """An SQS that denies everything, until it is healed: then it forwards nothing, and has no message. It answers in
    JSON, or in XML to a botocore that asks by the protocol of before."""

    denied = True

    def respond(self, exchange: Exchange) -> None:
        status = 403 if self.denied else 200
        if "json" in exchange.headers["Content-Type"]:
            said = b'{"__type": "com.amazonaws.sqs#AccessDenied", "message": "no"}' if self.denied else b"{}"
            exchange.answer(status, said, "application/x-amz-json-1.0")
        elif self.denied:
            said = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
            exchange.answer(status, said, "text/xml")
        else:
            said = b"<ReceiveMessageResponse><ReceiveMessageResult/></ReceiveMessageResponse>"
            exchange.answer(status, said, "text/xml")


def test_a_queue_that_is_denied_is_said_and_polling_is_the_net(scene: Scene) -> None:
    with Denied() as sqs:
        flags = ("--hub-period", "1s", "--events-queue", f"{sqs.url}/111122223333/events")
        with hub(scene.reviews, scene.proxy.url, scene.home, *flags, sqs=sqs.url) as made:
            warned = made.event("the queue of events does not answer; secrets are polled")
            assert "AccessDenied" in warned["reason"]
            assert made.metrics()["controller_events_connected"] == 0
            scene.version(made)
            current = scene.aws.rotate("prod/db", "2")
            until(lambda: scene.version(made) == current, every=0.5)
            sqs.denied = False
            made.event("the queue of events answers")
            until(lambda: made.metrics()["controller_events_connected"] == 1)
