"""An agent whose own looks are made by a list, as a real process: what it asks AWS, and what it finds and says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.demo.server import Exchange
from tests.support.aws import Fault, Proxy, QuickStandIn
from tests.support.hub import FalseHub, says
from tests.support.pod import Pod
from tests.support.resting import workers
from tests.support.running import Agent, running, until

NAMES = ("a", "b", "c", "d", "e")
LIST = ("ListSecrets", "")


class Scene:
    """Five secrets at AWS, an agent that looks at them each second, and a hub that says that nothing moves."""

    def __init__(self, pod: Pod, hub: FalseHub) -> None:
        self.pod = pod
        for name in NAMES:
            pod.put(name, "1")
        token = pod.home / "token"
        token.write_text("token")
        extra = f"hub: {{url: {hub.url}, tokenPath: {token}, ownLooks: list}}"
        secrets = [pod.secret(name, f"{{path: {name}}}") for name in NAMES]
        text = pod.write(*secrets, period="500ms", extra=extra).read_text()
        pod.edit(text.replace("poll: {period: 500ms}", "poll: {period: 500ms, floor: 1s}"))

    @property
    def calls(self) -> list[tuple[str, str]]:
        """What was asked: the operation, and the secret of all but lists."""
        return [(operation, given.partition("-")[0]) for operation, given in self.pod.proxy.calls]

    def await_list(self) -> int:
        """The place of a list among the calls that came after this was asked for."""
        begun = len(self.calls)
        until(lambda: LIST in self.calls[begun:])
        return begun + self.calls[begun:].index(LIST)


def nothing_moves(exchange: Exchange, asked: dict[str, Any]) -> None:
    """Whatever the agent saw last is what such a hub says."""
    says(exchange, *(secret["version"] for secret in asked["secrets"]))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with QuickStandIn() as aws, Proxy(aws.url) as proxy, FalseHub(nothing_moves) as hub:
        yield Scene(Pod(aws, proxy, tmp_path), hub)


def confirmed(agent: Agent) -> Agent:
    """The agent once the hub answers for all that it keeps."""
    agent.ready()
    until(lambda: (json.loads(agent.page("/status")[1])["agent"]["hub"] or {}).get("answersFor") == [*NAMES])
    return agent


def test_one_list_looks_at_all_secrets(scene: Scene) -> None:
    """Between one look and the next there is no other call, and files stay as they are."""
    with running("run", scene.pod.config) as agent:
        confirmed(agent)
        first = scene.await_list()
        until(lambda: scene.calls[first:].count(LIST) >= 3)
        assert set(scene.calls[first:]) == {LIST}
        assert [scene.pod.read(name) for name in NAMES] == ["1"] * 5
        assert agent.metrics()['source_requests_total{code="OK",operation="ListSecrets",source="secretsmanager"}'] >= 2
        assert agent.stop() == 0


def test_a_rotation_that_the_hub_hides_is_found_by_the_list(scene: Scene) -> None:
    """The list makes it look, and what is published is what AWS says of that secret by itself."""
    with running("run", scene.pod.config) as agent:
        confirmed(agent)
        first = scene.await_list()
        scene.pod.rotate("c", "2")
        until(lambda: scene.pod.read("c") == "2")
        found = scene.calls[first:]
        found = found[: found.index(("GetSecretValue", "c"))]
        assert [call for call in found if call != LIST] == [("DescribeSecret", "c")]
        assert [scene.pod.read(name) for name in NAMES] == ["1", "1", "2", "1", "1"]
        assert agent.stop() == 0


def test_a_denied_list_is_said_once_and_fails_nothing(scene: Scene) -> None:
    """Also by the next worker. Every secret is described instead, so a rotation is found all the same."""
    scene.pod.proxy.fail(Fault.access_denied("secretsmanager:ListSecrets"), operation="ListSecrets")
    with running("run", scene.pod.config) as agent:
        confirmed(agent)
        said = agent.event("own looks are made by DescribeSecret, since the list is denied")
        assert "secretsmanager:ListSecrets" in said["why"] and "ownLooks" in said["advice"]
        denied = 'source_requests_total{code="AccessDeniedException",operation="ListSecrets",source="secretsmanager"}'
        until(lambda: denied in agent.metrics())  # so the next worker is told of that pass
        for worker in workers(agent):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        scene.pod.rotate("c", "2")
        until(lambda: scene.pod.read("c") == "2")
        scene.await_list()
        scene.await_list()
        assert agent.metrics()[denied] >= 2
        assert agent.stop() == 0
        warnings = [each for each in agent.seen if each["event"] == said["event"]]
        assert len(warnings) == 1 and not any(each["event"] == "secret failed" for each in agent.seen)
