"""The real process with secrets of every kind, in three regions and by two roles: files, calls, metrics, status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws import environment
from tests.support.running import freshmount, running, until
from tests.support.services import Services, serving, sts_denied

READER = "arn:aws:iam::222233334444:role/reader"

CONFIG = """\
apiVersion: freshmount.dev/v1
kind: Config
region: eu-west-1
endpointUrl: {url}
volume: {{path: {volume}}}
poll: {{period: 1s}}
listen: 127.0.0.1:0
secrets:
  - {{name: db, secretId: prod/db, failover: {{region: eu-central-1}}, files: [{{path: db}}]}}
  - {{name: flags, parameter: /prod/flags, files: [{{path: flags}}]}}
  - {{name: app, parameters: /prod/app/, files: [{{directory: app}}]}}
  - {{name: team, find: {{name: '^team/', tags: {{team: a}}}}, files: [{{path: team.json, format: json}}]}}
  - {{name: far, secretId: far/key, roleArn: {role}, optional: true, files: [{{path: far}}]}}
notify:
  - {{name: web, touch: {touch}}}
"""


@pytest.fixture
def aws() -> Iterator[tuple[Services, str]]:
    with serving() as (services, url):
        services.put("prod/db", "CANARY-db-1")
        services.replicate("prod/db", "eu-central-1")
        services.put_parameter("/prod/flags", "CANARY-flags-1")
        services.put_parameter("/prod/app/a", "CANARY-a")
        services.put_parameter("/prod/app/deep/b", "CANARY-b")
        services.put("team/x", "CANARY-x", team="a")
        services.put("team/y", "CANARY-y", team="another")
        services.put("far/key", "CANARY-far")
        yield services, url


@pytest.fixture
def config(aws: tuple[Services, str], tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    volume, touch = tmp_path / "secrets", tmp_path / "touched"
    path.write_text(CONFIG.format(url=aws[1], volume=volume, role=READER, touch=touch))
    return path


def env(url: str) -> dict[str, str]:
    return {**environment(), "AWS_ACCESS_KEY_ID": "pod", "AWS_ENDPOINT_URL_STS": url}


def files(tmp_path: Path) -> dict[str, str]:
    data = tmp_path / "secrets" / "..data"
    return {
        str(path.relative_to(data)): path.read_text()
        for path in sorted(data.rglob("*"))
        if path.is_file() and not path.name.startswith("..")
    }


def test_every_kind_becomes_its_files_and_follows_what_moves(
    aws: tuple[Services, str], config: Path, tmp_path: Path
) -> None:
    """Also while the first region is away; and no value is in any stream or page."""
    services, url = aws
    with running("run", config, env(url)) as agent:
        agent.ready()
        assert files(tmp_path) == {
            "db": "CANARY-db-1",
            "flags": "CANARY-flags-1",
            "app/a": "CANARY-a",
            "app/deep/b": "CANARY-b",
            "team.json": '{"team/x":"CANARY-x"}',
            "far": "CANARY-far",
        }
        services.put_parameter("/prod/flags", "CANARY-flags-2")
        services.put_parameter("/prod/app/new", "CANARY-new")
        services.put("team/z", "CANARY-z", team="a")
        until(lambda: files(tmp_path)["flags"] == "CANARY-flags-2" and "app/new" in files(tmp_path))
        until(lambda: "CANARY-z" in files(tmp_path)["team.json"])
        metrics = agent.metrics()
        # Once by the process that made the first generation, and once by the worker that stays.
        assert metrics['source_requests_total{code="OK",operation="AssumeRole",source="sts"}'] in (1, 2)
        assert metrics['source_requests_total{code="OK",operation="GetParameters",source="ssm"}'] > 0
        assert metrics['secret_region_info{region="eu-west-1",secret="db"}'] == 1
        services.away.add("eu-west-1")
        agent.event("served by a replica", secret="db", region="eu-central-1")
        services.put("prod/db", "CANARY-db-2", "eu-central-1")
        until(lambda: files(tmp_path)["db"] == "CANARY-db-2")

        def moved(report: dict[str, Any]) -> bool:
            found = {each["name"]: each for each in report["secrets"]}
            return found["db"]["region"] == "eu-central-1" and bool(found["flags"]["error"])

        secrets = {each["name"]: each for each in agent.knows(moved)["secrets"]}
        assert secrets["db"]["region"] == "eu-central-1" and secrets["flags"]["error"]["reason"] == "timeout"
        assert secrets["app"]["versionId"].startswith("3-")
        said = agent.page("/status")[1] + agent.page("/")[1] + agent.page("/metrics")[1]
        assert agent.stop() == 0
        assert "CANARY" not in said + agent.stderr


def test_doctor_looks_at_every_region_and_role(aws: tuple[Services, str], config: Path) -> None:
    """And names the one that is wrong."""
    services, url = aws

    def findings() -> dict[str, Any]:
        said = freshmount("doctor", "--json", "--config", str(config), env=env(url))
        assert "CANARY" not in said.stdout + said.stderr
        return {each["check"]: (each["outcome"], each["message"]) for each in json.loads(said.stdout)}

    found = findings()
    for check in ("secret db", "secret db in eu-central-1", "secret flags", "secret app", "secret team", "secret far"):
        assert found[check][0] == "ok", found[check]
    assert found["endpoint ssm eu-west-1"][0] == found["endpoint eu-central-1"][0] == "ok"
    assert "/reader/" in found["role 222233334444/reader"][1] and "/pod/" in found["caller"][1]
    services.faults[None, READER] = sts_denied(READER)
    services.away.add("eu-central-1")
    found = findings()
    assert found["secret far"][0] == "bad" and READER in found["secret far"][1]
    assert found["secret db in eu-central-1"][0] == "bad" and found["secret db"][0] == "ok"
