"""What becomes of a version that AWS has and the API server did not store: a metric, and a command that lists it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lightkube import AsyncClient, KubeConfig
from prometheus_client import CollectorRegistry

from agent.controller.options import Listen
from agent.controller.push import certificate
from agent.controller.push.keeping import Directory
from agent.controller.push.push import Push
from agent.controller.push.review import Rules
from agent.controller.push.store import Store
from agent.sources.aws.clients import Clients
from tests.controller.push.cluster import HOST, Api, kubeconfig
from tests.controller.push.reviews import HELD, OURS, held, review, secret
from tests.support.aws import QuickStandIn
from tests.support.running import freshmount

TAGS = [{"Key": "freshmount.dev/pushed-by", "Value": "east/shop"}]


class Said:
    """A log that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def _note(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    debug = info = warning = error = _note


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"), ("REGION", "eu-west-1")):
        monkeypatch.setenv(f"AWS_{name}", value)


def looked_back(
    tmp_path: Path, given: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any] | None, version: str
) -> tuple[float, Said]:
    """How many were counted as rolled back, after a push between these two states of the API server."""
    _, pair = certificate.made([HOST], time.time())
    (tmp_path / "tls.crt").write_bytes(pair.certificate)
    (tmp_path / "tls.key").write_bytes(pair.key.reveal())
    registry, said = CollectorRegistry(), Said()
    with QuickStandIn() as aws, Api(0) as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws.url)
        if before is not None:
            api.secret("db", before)
            tags = [*TAGS, {"Key": "freshmount.dev/secret", "Value": "db"}]
            aws.ask("secretsmanager.CreateSecret", Name="shop/db", SecretString="{}", Tags=tags)

        async def one() -> float:
            rules = Rules("east")
            client = AsyncClient(KubeConfig.from_file(kubeconfig(tmp_path, api.url)).get())
            settle = asyncio.Event()
            push = Push(
                Listen(HOST, 0),
                rules,
                store=Store(Clients(), rules, window=30, region="eu-west-1"),
                client=client,
                keeper=Directory(tmp_path),
                registry=registry,
                log=said,  # type: ignore[arg-type]
                settle=settle.wait,
            )
            running = asyncio.create_task(push.run())
            await _until(lambda: any(event == "pushing" for event, _ in said.events))
            port = next(fields["port"] for event, fields in said.events if event == "pushing")
            await asyncio.to_thread(_post, port, given, pair.certificate)
            assert any(event == "pushed" for event, _ in said.events), said.events
            path = "/api/v1/namespaces/shop/secrets/db"
            api.objects.pop(path, None)
            if after is not None:
                api.secret("db", after)
            settle.set()
            await push.looked_back()
            running.cancel()
            await asyncio.wait([running])
            return registry.get_sample_value("freshmount_controller_push_rolled_back_total") or 0.0

        return asyncio.run(one()), said


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def _post(port: int, given: dict[str, Any], _certificate: bytes) -> None:
    import http.client
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(HOST, port, timeout=60, context=context)
    connection.request("POST", "/v1/push", json.dumps(given).encode())
    assert json.loads(connection.getresponse().read())["response"]["allowed"]
    connection.close()


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("change", "after", "lost"),
    [
        (False, None, 1.0),
        (False, held(), 0.0),
        (True, held(), 1.0),
        (True, held(annotations={"freshmount.dev/version": "v2"}), 0.0),
        (True, None, 0.0),
    ],
    ids=["never created", "created", "never changed", "changed", "deleted since"],
)
def test_what_was_not_stored_is_counted_and_logged(
    tmp_path: Path, change: bool, after: dict[str, Any] | None, lost: float
) -> None:
    given = review(secret(metadata={"uid": HELD}), held()) if change else review(secret())
    counted, said = looked_back(tmp_path, given, held() if change else None, after, "v1")
    assert counted == lost
    assert [event for event, _ in said.events if event == "rolled back"] == ["rolled back"] * int(lost)


@pytest.mark.usefixtures("keys")
def test_orphans_are_listed_with_the_reason(tmp_path: Path) -> None:
    with QuickStandIn() as aws, Api(0) as api, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws.url)
        patch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, api.url)))

        def put(name: str, cluster: str = "east") -> str:
            tags = {"freshmount.dev/pushed-by": f"{cluster}/shop", "freshmount.dev/secret": name}
            listed = [{"Key": key, "Value": text} for key, text in tags.items()]
            made = aws.ask("secretsmanager.CreateSecret", Name=f"shop/{name}", SecretString="s3cr3t-value", Tags=listed)
            return str(made["VersionId"])

        def run() -> str:
            done = freshmount("controller", "--push", "--push-cluster=east", "--push-list-orphans")
            assert done.returncode == 0, done.stderr
            assert "s3cr3t-value" not in done.stdout + done.stderr
            return done.stdout

        assert run() == "no orphan of cluster east\n"
        version = put("db")
        api.secret("db", held(annotations={"freshmount.dev/version": version}))
        put("gone"), put("west", "west"), put("other"), put("ahead")
        aws.put("shop/foreign", "theirs")
        api.secret("other", held())
        ahead = {"freshmount.dev/arn": OURS.replace("/db-", "/ahead-"), "freshmount.dev/version": "v1"}
        api.secret("ahead", held(annotations=ahead))
        lines = run().splitlines()
        assert [line.partition(":")[0] for line in lines] == ["shop/ahead", "shop/gone", "shop/other"]
        assert "is at version v1, AWS at" in lines[0]
        assert "does not exist" in lines[1] and OURS in lines[2]
