"""The part's flags, and what it says of itself to probes."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from agent.controller import options
from agent.controller.external_secrets.part import ExternalSecrets
from agent.core.errors import StartError

PROBE_PERIOD = 10.0  # seconds, where a liveness probe says nothing else, as the chart's


class Log:
    def info(self, *_: Any, **__: Any) -> None: ...

    warning = error = info


def given(*arguments: str) -> options.Options:
    parser = argparse.ArgumentParser()
    options.add(parser)
    return options.read(parser, parser.parse_args(["--external-secrets", *arguments]))


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(path))


def test_the_defaults_of_its_flags() -> None:
    found = given().external_secrets
    assert (found.controller_class, found.namespaces, found.leader_election) == ("freshmount", (), True)
    assert (found.lease_name, found.service_account_tokens) == ("freshmount-external-secrets", False)
    other = given("--namespace", "a", "--namespace", "b", "--controller-class", "", "--no-leader-election")
    assert other.external_secrets.namespaces == ("a", "b")
    assert other.external_secrets.controller_class == ""
    assert not other.external_secrets.leader_election


@pytest.mark.parametrize("count", ["0", "-1", "many", "1001"])
def test_a_concurrency_that_is_none_is_refused(count: str) -> None:
    with pytest.raises(SystemExit):
        given("--concurrency", count)


@pytest.mark.usefixtures("kubeconfig")
def test_a_loop_that_stalls_fails_liveness_within_two_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns without an API server, too; then it turns no more."""

    async def test() -> tuple[str | None, str | None, str | None]:
        part = ExternalSecrets(given("--no-leader-election").external_secrets, CollectorRegistry(), Log())
        clock, late = time.monotonic, 0.0
        monkeypatch.setattr(time, "monotonic", lambda: clock() + late)
        late = 1000.0
        before = part.stalled()
        task = asyncio.create_task(part.run())
        await asyncio.sleep(0)  # a turn
        turned = part.stalled()
        task.cancel()
        late += 2 * PROBE_PERIOD
        await asyncio.wait([task])
        return before, turned, part.stalled()

    before, turned, after = asyncio.run(test())
    assert "has not turned" in (before or "")
    assert turned is None
    assert "has not turned" in (after or "")


@pytest.mark.usefixtures("kubeconfig")
def test_it_is_live_and_not_ready_until_it_has_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    part = ExternalSecrets(given().external_secrets, registry, Log())
    assert part.stalled() is None
    assert "has not answered" in (part.unready() or "")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61.0)
    assert "has not turned for 61 s" in (part.stalled() or "")
    assert b"freshmount_controller_leader 0.0" in generate_latest(registry)


def test_without_an_api_server_it_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(StartError, match="KUBECONFIG"):
        ExternalSecrets(given().external_secrets, CollectorRegistry(), Log())
