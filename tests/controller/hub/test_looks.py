"""The hub's looks at AWS: by botocore, and quickly by the way that it went a moment ago."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from agent.controller.hub.board import Row, Topic
from agent.controller.hub.looks import Looks
from agent.controller.hub.question import Subject
from agent.core.errors import Failure
from agent.core.model import Call, Observation
from agent.demo.server import Exchange, Server
from tests.support.aws import Fault, Proxy, QuickStandIn

NAMES = ("db", "api", "mq")


class Watched(Server):
    """A server that keeps what it was sent, whole."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.sent: list[tuple[dict[str, str], bytes]] = []
        super().__init__(*args, **more)

    def respond(self, exchange: Exchange) -> None:
        self.sent.append((dict(exchange.headers.items()), exchange.body))
        super().respond(exchange)

    def by(self) -> str:
        """Who sent the requests since this was last asked: a letter for each, of botocore or of quick ones."""
        sent, self.sent = self.sent, []
        return "".join("b" if "Botocore" in headers["User-Agent"] else "q" for headers, _ in sent)


class WatchedProxy(Watched, Proxy):
    pass


class WatchedStandIn(Watched, QuickStandIn):
    """Each request needs a connection of its own."""

    def respond(self, exchange: Exchange) -> None:
        end = exchange.end_headers

        def closing() -> None:
            exchange.send_header("Connection", "close")
            end()

        exchange.end_headers = closing  # type: ignore[method-assign]
        super().respond(exchange)


def standing(authority: trustme.CA, port: int = 0) -> WatchedStandIn:
    """AWS by TLS, on that port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return WatchedStandIn(context=context, port=port)


async def look(looks: Looks, name: str, error: str | None = None) -> Observation | Failure:
    """One look at the current version, as the hub makes it; `error` is what was known of the secret before."""
    topic = Topic(Subject("secretsmanager", name, "eu-west-1", ""), "shop", 0.0)
    topic.rows["AWSCURRENT"] = row = Row(topic, "AWSCURRENT")
    row.error = error
    return (await looks.look([topic]))[topic.subject]["AWSCURRENT"]


class Scene:
    def __init__(self, proxy: WatchedProxy, versions: dict[str, str]) -> None:
        self.proxy, self.versions = proxy, versions
        self.calls: list[Call] = []
        self.looks = Looks(self.calls.append)

    async def version(self, name: str) -> str:
        found = await look(self.looks, name)
        assert isinstance(found, Observation), found
        return found.version_id


def made(aws: QuickStandIn, *names: str) -> dict[str, str]:
    """The versions of these secrets, which are made."""
    return {name: aws.rotate(aws.put(name, "x"), "y") for name in names}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with QuickStandIn() as aws, WatchedProxy(aws.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", proxy.url)
        yield Scene(proxy, made(aws, *NAMES))


def in_a_loop(scene: Scene, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        try:
            await test()
        finally:
            await scene.looks.close()

    asyncio.run(run())


def test_a_look_by_botocore_shows_the_way(scene: Scene) -> None:
    """One for all secrets of the region. Both say the same, of every stage, and each call is counted."""

    async def test() -> None:
        topic = Topic(Subject("secretsmanager", "db", "eu-west-1", ""), "shop", 0.0)
        topic.rows.update({stage: Row(topic, stage) for stage in ("AWSCURRENT", "AWSPENDING")})
        first, again = await scene.looks.look([topic]), await scene.looks.look([topic])
        assert first == again and set(first[topic.subject]) == {"AWSCURRENT", "AWSPENDING"}
        assert [await scene.version(name) for name in NAMES] == list(scene.versions.values())
        assert scene.proxy.by() == "bqqqq"
        assert [(call.operation, call.code) for call in scene.calls] == [("DescribeSecret", "OK")] * 5

    in_a_loop(scene, test)


def test_what_arrives_is_what_was_signed(scene: Scene) -> None:
    """With every header that says what is asked, of whom, and until when."""

    async def test() -> None:
        await scene.version("db")
        await scene.version("db")
        headers, body = scene.proxy.sent[-1]
        of = dict(part.split("=", 1) for part in headers["Authorization"].split(" ", 1)[1].split(", "))
        signed = of["SignedHeaders"].split(";")
        assert {"host", "x-amz-date", "x-amz-target", "content-type"} <= set(signed)
        assert headers["Host"] == urlsplit(scene.proxy.url).netloc and json.loads(body) == {"SecretId": "db"}
        arrived = {name: value for name, value in headers.items() if name.lower() in signed}
        request = AWSRequest("POST", scene.proxy.url + "/", data=body, headers=arrived)
        request.context["timestamp"] = headers["X-Amz-Date"]
        auth = SigV4Auth(Credentials("testing", "testing"), "secretsmanager", "eu-west-1")
        wanted = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        assert of["Signature"] == wanted
        assert hashlib.sha256(body).hexdigest() in auth.canonical_request(request)

    in_a_loop(scene, test)


def test_what_cannot_be_sent_quickly_is_botocores_matter(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a URL with a user, which botocore leaves out. No secret stays without a look because of it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", scene.proxy.url.replace("://", "://user:word@"))

    async def test() -> None:
        for _ in range(3):
            assert await scene.version("db") == scene.versions["db"]
        assert scene.proxy.by() == "bbb" and [call.code for call in scene.calls].count("OK") == 3

    in_a_loop(scene, test)


@pytest.mark.parametrize(
    ("fault", "reason", "code"),
    [
        (Fault.access_denied(), "access_denied", "400"),
        (Fault.throttle(), "throttled", "400"),
        (Fault.expired_token(), "credentials", "400"),
        (Fault.internal_error(), "other", "500"),
        (Fault.reset(), "timeout", None),
        (Fault.wrong_content_type(), "other", "unknown"),
        (Fault.malformed(), "other", "unknown"),
    ],
    ids=["denied", "throttled", "expired", "500", "reset", "a page", "half"],
)
def test_whatever_else_happens_is_botocores_matter(scene: Scene, fault: Fault, reason: str, code: str | None) -> None:
    """One quick call more, then as ever; while it lasts there is no other quick one, and afterwards there is again."""

    async def test() -> None:
        await scene.version("db")
        scene.proxy.by()
        scene.proxy.fail(fault)
        for asked in ("qb", "b"):
            found = await look(scene.looks, "db")
            assert isinstance(found, Failure) and found.reason == reason
            assert "".join(dict.fromkeys(scene.proxy.by())) == asked  # botocore may try again
        assert code is None or scene.calls[1].code == code
        scene.proxy.heal()
        assert await scene.version("db") == scene.versions["db"]
        assert await scene.version("db") == scene.versions["db"]
        assert scene.proxy.by() == "bq"

    in_a_loop(scene, test)


def test_a_secret_that_is_refused_leaves_the_way_to_the_others(scene: Scene) -> None:
    """It is asked for by botocore as long as it is; one call more when it began."""

    async def test() -> None:
        await scene.version("db")
        scene.proxy.fail(Fault.access_denied(), secret="api")
        scene.proxy.by()
        assert isinstance(await look(scene.looks, "api"), Failure)
        assert scene.proxy.by() == "qb"
        await scene.version("db")
        await look(scene.looks, "api", error="access_denied")
        await scene.version("mq")
        assert scene.proxy.by() == "bbq"

    in_a_loop(scene, test)


def test_a_way_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that keys that were renewed are used."""
    monkeypatch.setattr("agent.controller.hub.looks.WAY", 0.0)

    async def test() -> None:
        await scene.version("db")
        await scene.version("db")
        assert scene.proxy.by() == "bb"

    in_a_loop(scene, test)


def test_through_a_proxy_all_goes_by_botocore(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", scene.proxy.url)
    monkeypatch.setenv("NO_PROXY", "")

    async def test() -> None:
        await scene.version("db")
        await scene.version("db")
        assert scene.proxy.by() == "bb"

    in_a_loop(scene, test)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_tls_is_checked_as_botocore_checks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Against the bundle of the environment, which may change. Whoever takes AWS's place between two looks is not
    asked."""
    first, second, bundle = trustme.CA(), trustme.CA(), tmp_path / "bundle.pem"
    first.cert_pem.write_to_path(str(bundle))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, str(bundle))
    calls: list[Call] = []
    looks = Looks(calls.append)

    async def test() -> None:
        try:
            with standing(first) as aws:
                monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws.url)
                aws.put("db", "x")
                for _ in range(3):
                    assert isinstance(await look(looks, "db"), Observation)
                assert aws.by() == "bqq"
            with standing(second, aws.port) as aws:
                aws.put("db", "x")
                found = await look(looks, "db")
                assert isinstance(found, Failure) and "TLS" in found.message
                assert aws.sent == [] and calls[-2].code == "ClientConnectorCertificateError"
                second.cert_pem.write_to_path(str(bundle))
                for _ in range(3):
                    assert isinstance(await look(looks, "db"), Observation)
                assert aws.by() == "bqq"
        finally:
            await looks.close()

    asyncio.run(test())
