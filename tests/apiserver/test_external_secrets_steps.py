"""The policies of ExternalSecrets step by step, on a real API server, with AWS as a sample says.

Time passes by a status that says
that the last refresh was so long ago, and a controller that is started anew.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from lightkube.resources.core_v1 import Secret
from lightkube.types import PatchType

from agent.config import external_secret
from agent.controller.external_secrets import part
from tests.apiserver.controlled import ExternalSecret, Space, store, until
from tests.apiserver.sampled import Aws, Running
from tests.apiserver.server import ApiServer
from tests.support.services import Services

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "policies.yaml").read_text())

_numbers = itertools.count(1)

SENTINEL = "sentinel"  # a secret that is always there


def held(secrets: dict[str, Any]) -> dict[str, Any]:
    """What AWS holds, as a sample has it. Another value is another version."""
    found = {name: _versioned(entry) for name, entry in {**secrets, SENTINEL: {"string": "x"}}.items()}
    return {"secretsmanager": found}


def _versioned(entry: dict[str, Any]) -> dict[str, Any]:
    if "string" not in entry:
        return entry
    version = hashlib.sha256(entry["string"].encode()).hexdigest()[:32]
    return {"versions": [{"id": version, "stages": ["AWSCURRENT"], "string": entry["string"]}]}


class Story:
    """One case: what its steps change, and whether all is as they say then."""

    def __init__(self, server: ApiServer, aws: Aws, running: Running, case: dict[str, Any]) -> None:
        self.space = Space(server, cast(Services, None))
        self._aws, self._running, self._case = aws, running, case
        self._name = self._subject = "web"
        self._target = str((case["spec"].get("target") or {}).get("name") or self._name)
        self._before: str | None = None
        self._sentinels = 0
        self._due: str | None = None

    def _external(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        whole = {"secretStoreRef": {"name": "aws"}, **spec}
        return {
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": name}, "spec": whole
        }  # fmt: skip

    def _apply(self, *documents: dict[str, Any]) -> None:
        self.space.apply(yaml.safe_dump_all(documents))

    def begin(self) -> None:
        self._aws.hold(held(self._case["sample"]))
        self.space.apply(store(controller=self._running.controller_class))
        self._apply(*self._case.get("beside", ()), self._external(self._name, self._case["spec"]))
        self._running.start()

    def change(self, step: dict[str, Any]) -> None:
        """1. Time passes. 2. AWS changes. 3. People do something."""
        found = self.space.secret(self._target)
        self._before = found.metadata.resourceVersion if found else None
        # 1.
        if "wait" in step:
            self._running.stop()
            self._pass(external_secret.seconds(step["wait"]) or 0.0)
        # 2.
        if "aws" in step:
            self._aws.hold(held(step["aws"]))
        self._aws.asked.clear()
        # 3.
        if "apply" in step:
            document = step["apply"]
            if document["kind"] == "ExternalSecret":
                self._subject = document["metadata"]["name"]
                document = self._external(self._subject, document["spec"])
            self._apply(document)
        if "patch_target" in step:
            self.space.patch(Secret, self._target, step["patch_target"])
            found = self.space.secret(self._target)
            self._before = found.metadata.resourceVersion
        if "patch_external_secret" in step:
            self.space.patch(ExternalSecret, self._name, step["patch_external_secret"])
        if step.get("delete") == "Secret":
            self.space.delete(Secret, self._target)
        if step.get("delete") == "ExternalSecret":
            self.space.delete(ExternalSecret, self._name)
        if "wait" in step:
            self._running.start()

    def _pass(self, seconds: float) -> None:
        then = datetime.now(UTC) - timedelta(seconds=seconds)
        self._due = then.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.space.client.patch(
            ExternalSecret.Status,
            self._name,
            {"status": {"refreshTime": self._due}},
            namespace=self.space.name,
            patch_type=PatchType.MERGE,
        )

    def happened(self, then: dict[str, Any]) -> None:
        """Wait for what shows that the controller has looked at it."""
        if then.get("asks") is False and then["status"] != "none":
            self._sentinels += 1
            name = f"{SENTINEL}-{self._sentinels}"
            self._apply(self._external(name, {"data": [{"secretKey": "v", "remoteRef": {"key": SENTINEL}}]}))
            self.space.wait_for(name, "True", "SecretSynced")
        elif self._due is not None:
            until(self._looked)
        self._due = None

    def _looked(self) -> bool:
        status = self.space.external_secret(self._name).get("status") or {}
        return bool(status.get("refreshTime") != self._due or self.space.condition(self._name)[0] == "False")

    def wrong(self, then: dict[str, Any]) -> dict[str, Any]:
        """What is not as the step says."""
        found = self.space.secret(self._target)
        seen: dict[str, Any] = {"data": self.space.data(self._target), "status": self._status()}
        if "owned" in then:
            seen["owned"] = found is not None and bool(found.metadata.ownerReferences)
        if "rewritten" in then:
            seen["rewritten"] = found is not None and found.metadata.resourceVersion != self._before
        if then.get("asks") is False:
            seen["asks"] = [each for each in self._aws.asked if each != SENTINEL] != []
        return {key: (value, then[key]) for key, value in seen.items() if value != then[key]}

    def _status(self) -> str:
        try:
            ready, reason, _ = self.space.condition(self._subject)
        except Exception:
            return "none"
        if ready == "False":
            return "error"
        return {"SecretSynced": "synced", "SecretMissing": "missing"}.get(reason, reason)


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def running(installed: ApiServer, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Of a class of its own: what other cases left behind asks AWS, too."""
    monkeypatch.setenv("KUBECONFIG", str(installed.kubeconfig))
    monkeypatch.setattr(part, "Identified", lambda: aws)
    found = Running(f"steps-{next(_numbers)}")
    yield found
    found.stop()
    assert found.log.errors == []


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_each_step_comes_to_what_it_says(
    installed: ApiServer, aws: Aws, running: Running, case: dict[str, Any]
) -> None:
    story = Story(installed, aws, running, case)
    story.begin()
    for number, step in enumerate(case["steps"]):
        if number:
            story.change(step)
        story.happened(step["then"])
        until(lambda step=step: not story.wrong(step["then"]))  # type: ignore[misc]
