"""The hub, agents and AWS, each as its own process: who asks whom, and what comes of it when one of them fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.demo.server import Exchange
from tests.support.aws import Fault, Proxy, QuickStandIn
from tests.support.hub import FalseHub, TokenReviews, ask, hub, says
from tests.support.monitored import free_port
from tests.support.pod import Pod
from tests.support.resting import rested, rests, workers
from tests.support.running import Agent, running, until


class Scene:
    """One secret at AWS, the way of the hub to it, the way of the agent, and who reviews tokens."""

    def __init__(self, pod: Pod, reviews: TokenReviews, of_hub: Proxy) -> None:
        self.pod, self.reviews, self.of_hub = pod, reviews, of_hub
        self.pod.put("db", "1")
        self.token = pod.home / "token"
        self.token.write_text(reviews.token("agent"))

    def hub(self, *flags: str, listen: str = "127.0.0.1:0") -> Any:
        return hub(self.reviews, self.of_hub.url, self.pod.home, "--hub-period", "1s", *flags, listen=listen)

    def config(self, url: str, period: str = "300s", more: str = "") -> Path:
        extra = f"hub: {{url: {url}, tokenPath: {self.token}}}\n{more}"
        return self.pod.write(self.pod.secret("db", "{path: db}"), period=period, extra=extra)

    def looks(self) -> int:
        """How often the agent asked AWS which version is current."""
        return sum(operation == "DescribeSecret" for operation, _ in self.pod.proxy.calls)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with QuickStandIn() as aws, Proxy(aws.url) as of_agent, Proxy(aws.url) as of_hub, TokenReviews() as reviews:
        yield Scene(Pod(aws, of_agent, tmp_path), reviews, of_hub)


def hub_of(agent: Agent) -> Any:
    """What the status says of the hub."""
    return json.loads(agent.page("/status")[1])["agent"]["hub"]


def connected(agent: Agent) -> Agent:
    """The agent once it is at rest and the hub answers for all that it keeps."""
    agent.ready()
    until(lambda: rests(agent))  # a worker may be there by then, and stay
    until(lambda: hub_of(agent)["answersFor"] == ["db"])
    return agent


def test_a_rotation_comes_by_the_hub_long_before_the_period(scene: Scene) -> None:
    """The agent looks itself once it was told to, with its own identity; the hub never asks for a value."""
    with scene.hub() as hub, running("run", scene.config(hub.url)) as agent:
        connected(agent)
        before = scene.looks()
        scene.pod.rotate("db", "2")
        until(lambda: scene.pod.read("db") == "2")
        assert scene.looks() == before + 1
        assert {operation for operation, _ in scene.of_hub.calls} == {"DescribeSecret"}
        assert agent.stop() == 0


def test_the_hub_asks_about_a_secret_once_for_all(scene: Scene) -> None:
    """Two callers, two stages and five requests: one DescribeSecret each period, and none when nobody asks."""
    with scene.hub() as hub:
        token, other = scene.token.read_text(), scene.reviews.token("other", namespace="bank")
        db = {"kind": "secretsmanager", "id": f"db-{scene.pod.suffix}", "region": "eu-west-1", "version": None}
        status, said = hub.ask(token, {**db, "stage": "AWSCURRENT"}, {**db, "stage": "AWSPREVIOUS"})
        assert status == 200 and said["spread"] == 0
        assert said["secrets"][0]["stages"] == ["AWSCURRENT"] and said["secrets"][1] == {"error": "not_found"}
        asked = len(scene.of_hub.calls)
        for _ in range(3):
            assert hub.ask(other, {**db, "stage": "AWSCURRENT"})[1]["secrets"][0] == {
                **said["secrets"][0],
                "observed": pytest.approx(said["secrets"][0]["observed"], abs=60),
            }
        assert asked <= 2
        assert scene.reviews.reviewed.count(token) == scene.reviews.reviewed.count(other) == 1
        metrics = hub.page("/metrics")[1]
        assert "freshmount_controller_hub_versions 1.0" in metrics
        assert hub.stop() == 0


def test_who_waits_is_answered_when_the_hub_stops(scene: Scene) -> None:
    """So a rolled replica sends its agents to another one at once."""
    db = {"kind": "secretsmanager", "id": f"db-{scene.pod.suffix}", "region": "eu-west-1", "stage": "AWSCURRENT"}
    with scene.hub() as hub, ThreadPoolExecutor(1) as threads:
        token = scene.token.read_text()
        version = hub.ask(token, {**db, "version": None})[1]["secrets"][0]["version"]
        waits = threads.submit(hub.ask, token, {**db, "version": version}, wait=55)
        until(lambda: hub.metrics()["controller_hub_agents"] == 1)
        assert hub.stop() == 0
        status, said = waits.result()
        assert status == 200 and said["secrets"][0]["version"] == version


def test_the_hub_refuses_whom_the_api_server_does_not_know(scene: Scene) -> None:
    """Nothing is asked of AWS for them."""
    db = {"kind": "secretsmanager", "id": "db", "region": "eu-west-1", "stage": "AWSCURRENT", "version": None}
    with scene.hub() as hub:
        assert hub.ask(None, db)[0] == 401
        assert hub.ask("unknown", db)[0] == 401
        assert hub.ask(scene.reviews.token("vault", audience="vault"), db)[0] == 401
        scene.reviews.down = True
        assert hub.ask(scene.reviews.token("late"), db)[0] == 503
        scene.reviews.down = False
        token = scene.reviews.token("agent")
        assert hub.ask(token, {**db, "id": "no such\nsecret"})[0] == 400
        assert ask(hub.url, token, b" " * 100_000)[0] in (400, 413)
        assert hub.page("/v1/versions")[0] == 405
    assert scene.of_hub.calls == []


def test_what_the_hub_is_denied_the_agent_asks_itself(scene: Scene) -> None:
    scene.of_hub.fail(Fault.access_denied())
    with scene.hub() as hub, running("run", scene.config(hub.url, period="1s")) as agent:
        agent.ready()
        until(lambda: agent.metrics().get("hub_connected") == 1)
        scene.pod.rotate("db", "2")
        until(lambda: scene.pod.read("db") == "2")
        assert hub_of(agent)["answersFor"] == []


def test_a_hub_that_vanishes_and_comes_back_is_noticed_both_times(scene: Scene) -> None:
    """Without it the agent polls by itself; with it the period no longer counts."""
    port = free_port()
    with scene.hub(listen=f"127.0.0.1:{port}") as hub, running("run", scene.config(hub.url, period="2s")) as agent:
        connected(agent)
        hub.stop()
        agent.event("the hub does not answer; the agent polls by itself")
        scene.pod.rotate("db", "2")
        until(lambda: scene.pod.read("db") == "2")
        with scene.hub(listen=f"127.0.0.1:{port}"):
            agent.event("the hub answers")
            until(lambda: hub_of(agent)["answersFor"] == ["db"])
            agent.stop()


def test_a_hub_that_lies_costs_looks_and_publishes_nothing(scene: Scene) -> None:
    """The version that it makes up is asked for by nobody: the agent asks AWS which one is current."""

    def lie(exchange: Exchange, asked: dict[str, Any]) -> None:
        says(exchange, *(f"made-up-{len(hub.asked)}" for _ in asked["secrets"]))

    with FalseHub(lie) as hub, running("run", scene.config(hub.url)) as agent:
        rested(agent)
        until(lambda: scene.looks() >= 1)
        until(lambda: len(hub.asked) >= 3)
        until(lambda: not workers(agent))
        assert scene.looks() == 1, "for the next period it wakes nobody"
        assert {operation for operation, _ in scene.pod.proxy.calls} == {"GetSecretValue", "DescribeSecret"}
        assert sum(operation == "GetSecretValue" for operation, _ in scene.pod.proxy.calls) == 1
        assert scene.pod.read("db") == "1" and agent.metrics()["generation_timestamp_seconds"] > 0


def test_an_edit_takes_the_hub_away_and_gives_it_back(scene: Scene) -> None:
    """It is no key that needs a restart. Without it nothing of it is shown."""
    with scene.hub() as hub, running("run", scene.config(hub.url)) as agent:
        connected(agent)
        text = scene.pod.config.read_text()
        scene.pod.edit("\n".join(line for line in text.splitlines() if not line.startswith("hub:")))
        agent.event("config reloaded")
        until(lambda: "hub_connected" not in agent.metrics())
        assert hub_of(agent) is None
        scene.pod.edit(text)
        agent.event("config reloaded")
        until(lambda: (hub_of(agent) or {}).get("answersFor") == ["db"])


def test_an_agent_without_a_hub_says_nothing_of_one(scene: Scene) -> None:
    with running("run", scene.pod.write(scene.pod.secret("db", "{path: db}"), period="60s")) as agent:
        rested(agent)
        assert not any("hub" in name for name in agent.metrics())
        assert hub_of(agent) is None
