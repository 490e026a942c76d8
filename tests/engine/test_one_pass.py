"""One pass, with the real hands: AWS over HTTP, a real volume, a pool of threads."""

from __future__ import annotations

import json
import os
import random
import resource
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core import pins, schedule
from agent.core.model import Bundle, Now, PassResult, Place, Request, Require, Secret, Target, Touch
from agent.engine.one_pass import Adapters, Fresh, one_pass
from agent.engine.pool import Pool
from agent.render.files import render
from agent.sinks.volume.volume import Volume
from agent.sources.aws.secrets_manager import SecretsManager
from agent.targets.notify import Notified
from tests.support.aws import Fault, MotoStandIn, Proxy
from tests.support.running import until
from tests.support.words import bundle, output, wanted


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoStandIn]:
    with MotoStandIn() as stand_in:
        yield stand_in


class Agent:
    """Passes by hand, with a clock of its own."""

    def __init__(self, aws: MotoStandIn, home: Path) -> None:
        self.aws = aws
        self.proxy = Proxy(aws.url)
        self.home = home
        self.suffix = uuid.uuid4().hex[:8]
        self.clock = 1000.0
        self.stopped = False
        self.volume = Volume(str(home / "v"))
        self.calls_to_aws, self.deliveries = Pool("aws"), Pool("notify", keeps_late=True)
        self.source = SecretsManager(connect_timeout=1.5, read_timeout=1.5)
        self.target: Any = Notified
        self.bundle = bundle()
        self.upcoming = schedule.begin(self.bundle, self.now())
        self.waiting: Fresh = {}

    def now(self) -> Now:
        return Now(self.clock, 1_800_000_000.0 + self.clock)

    def id(self, name: str) -> str:
        return f"{name}-{self.suffix}"

    def wants(self, *names: str, **fields: Any) -> Bundle:
        """Let the config be of these secrets, which need not exist."""
        place = Place("eu-west-1", self.proxy.url)
        secrets = [
            wanted(name, **{"secret_id": self.id(name), "place": place, **fields.get(name, {})}) for name in names
        ]
        targets = (Target("marker", Touch(str(self.home / "marker")), None, 0.0),)
        before, self.bundle = self.bundle, bundle(*secrets, targets=targets, settle=fields.get("settle", 0.0))
        self.source.prepare(each.secret for each in secrets)
        self.upcoming = schedule.reload(self.upcoming, before, self.bundle, self.now())
        return self.bundle

    def do(self, *, later: float = 0.0, quiet: bool = False, unpinned: Bundle | None = None) -> PassResult:
        self.clock += later
        adapters = Adapters(
            self.source,
            self.volume,
            render,
            self.target,
            lambda: self.stopped,
            rng=random.Random(1),
            now=self.now,
            calls=self.calls_to_aws,
            deliveries=self.deliveries,
        )
        done = one_pass(self.bundle, self.upcoming, self.waiting, adapters, quiet=quiet, unpinned=unpinned)
        self.upcoming, self.waiting = done.upcoming, done.waiting
        return done.result

    def calls(self) -> list[str]:
        """The operations since the last look."""
        found = [operation for operation, _ in self.proxy.calls]
        self.proxy.calls.clear()
        return found

    def read(self, path: str) -> str:
        return (self.home / "v" / path).read_text()

    def told(self) -> bool:
        marker = self.home / "marker"
        found = marker.exists()
        marker.unlink(missing_ok=True)
        return found


@pytest.fixture
def agent(aws: MotoStandIn, tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(aws, tmp_path)
    yield agent
    agent.proxy.close()
    agent.volume.close()


def test_a_cold_start_costs_one_get_per_secret_and_an_idle_pass_one_describe(agent: Agent) -> None:
    """And no value travels when nothing changed."""
    for name in ("a", "b", "c"):
        agent.aws.put(agent.id(name), name)
    agent.wants("a", "b", "c")
    assert (agent.do().outcome, agent.calls()) == ("success", ["GetSecretValue"] * 3)
    assert (agent.do().outcome, agent.calls()) == ("noop", [])
    assert (agent.do(later=70).outcome, agent.calls()) == ("noop", ["DescribeSecret"] * 3)
    assert not agent.told()


def test_a_rotation_costs_one_get_of_that_version(agent: Agent) -> None:
    """The others are not fetched, and the target is told."""
    for name in ("a", "b"):
        agent.aws.put(agent.id(name), "1")
    agent.wants("a", "b")
    agent.do()
    agent.calls()
    version = agent.aws.rotate(agent.id("a"), "2")
    result = agent.do(later=70)
    assert (result.changed, result.published.secrets["a"].version_id) == (("a",), version)
    assert sorted(agent.calls()) == ["DescribeSecret", "DescribeSecret", "GetSecretValue"]
    assert (agent.read("a"), agent.read("b"), agent.told()) == ("2", "1", True)


def test_a_pinned_version_is_fetched_once_and_never_asked_about(agent: Agent) -> None:
    """AWS lists only versions with a label."""
    agent.aws.put(agent.id("a"), "old")
    version = agent.aws.client.get_secret_value(SecretId=agent.id("a"))["VersionId"]
    agent.aws.rotate(agent.id("a"), "new")
    agent.wants("a", a={"version_stage": None, "version_id": version})
    agent.do()
    assert (agent.read("a"), agent.calls()) == ("old", ["GetSecretValue"])
    assert (agent.do(later=70).outcome, agent.calls()) == ("noop", [])


def test_a_version_that_vanishes_before_it_is_fetched_is_looked_for_again(agent: Agent) -> None:
    """The stage moved on between Describe and Get."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    agent.aws.rotate(agent.id("a"), "2")
    moved: list[str] = []

    def vanish(handler: Any, _status: int, _body: bytes) -> None:
        moved.append(agent.aws.rotate(agent.id("a"), "3"))
        agent.proxy.heal()
        handler.answer(400, b'{"__type": "ResourceNotFoundException", "message": "no such version"}')

    agent.proxy.fail(Fault(vanish), operation="GetSecretValue")
    agent.calls()
    result = agent.do(later=70)
    assert agent.calls() == ["DescribeSecret", "GetSecretValue", "DescribeSecret", "GetSecretValue"]
    assert (agent.read("a"), result.published.secrets["a"].version_id, result.failures) == ("3", moved[0], {})


def test_one_bad_secret_delays_no_other(agent: Agent) -> None:
    """A hanging and a failing one among five: the others are published in the same pass."""
    names = ("a", "b", "c", "d", "e")
    for name in names:
        agent.aws.put(agent.id(name), "1")
    agent.wants(*names)
    agent.do()
    agent.proxy.fail(Fault.hang(), secret=agent.id("a"))
    agent.proxy.fail(Fault.throttle(), secret=agent.id("b"))
    for name in names:
        agent.aws.rotate(agent.id(name), "2")
    result = agent.do(later=70)
    assert {name: failure.reason for name, failure in result.failures.items()} == {"a": "timeout", "b": "throttled"}
    assert [agent.read(name) for name in names] == ["1", "1", "2", "2", "2"]
    assert result.changed == ("c", "d", "e") and result.outcome == "error"


def test_a_secret_whose_answer_drips_is_given_up_alone_and_not_asked_twice(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No read times out, so the call itself has a limit; the others go on pass after pass."""
    for name in ("a", "b"):
        agent.aws.put(agent.id(name), "1")
    agent.wants("a", "b")
    agent.do()
    monkeypatch.setattr(agent.source, "limit", 2.0)  # from now on: the first calls make the client
    agent.proxy.fail(Fault.drip(), secret=agent.id("a"))
    agent.calls()
    for turn in range(3):
        agent.aws.rotate(agent.id("b"), f"b{turn}")
        result = agent.do(later=1000)
        assert (result.failures["a"].reason, agent.read("b")) == ("timeout", f"b{turn}")
        assert [call.code for call in result.calls].count("timeout") == (turn == 0)
    assert agent.proxy.calls.count(("DescribeSecret", agent.id("a"))) == 1
    agent.proxy.heal()
    agent.aws.rotate(agent.id("a"), "2")
    while agent.read("a") != "2":
        agent.do(later=1000)


class Strange(SecretsManager):
    """A source that raises, for one secret, what nobody foresaw; at no time an answer of AWS's."""

    def __init__(self, bad: str, operation: str) -> None:
        super().__init__(connect_timeout=2.0, read_timeout=2.0)
        self.bad, self.operation = bad, operation

    def observe(self, batch: tuple[Request, ...]) -> Any:
        self._stumble(batch[0].secret, "observe")
        return super().observe(batch)

    def fetch(self, batch: tuple[Request, ...]) -> Any:
        self._stumble(batch[0].secret, "fetch")
        return super().fetch(batch)

    def _stumble(self, secret: Secret, operation: str) -> None:
        if (secret.name, operation) == (self.bad, self.operation):
            raise UnicodeDecodeError("utf-8", b"hunter2", 0, 1, "hunter2")


@pytest.mark.parametrize("operation", ["observe", "fetch"])
def test_whatever_a_call_raises_is_that_secrets_failure(
    agent: Agent, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The pass goes on, the others rotate, and the log may say where, but not what."""
    for name in ("a", "b"):
        agent.aws.put(agent.id(name), "1")
    agent.wants("a", "b")
    agent.do()
    for name in ("a", "b"):
        agent.aws.rotate(agent.id(name), "2")
    agent.source = Strange("a", operation)
    result = agent.do(later=1000)
    assert result.failures.keys() == {"a"} and result.failures["a"].reason == "other"
    assert (agent.read("a"), agent.read("b")) == ("1", "2")
    assert "hunter2" not in result.failures["a"].message and "Error" not in result.failures["a"].message
    agent.source = Strange("", "")
    agent.do(later=1000)
    assert agent.read("a") == "2"


def test_whatever_a_delivery_raises_is_that_targets_refusal(agent: Agent) -> None:
    """It is tried again, and told then."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    agent.aws.rotate(agent.id("a"), "2")

    def stumble(_owed: object) -> None:
        raise UnicodeDecodeError("utf-8", b"hunter2", 0, 1, "hunter2")

    agent.target = lambda _spec: SimpleNamespace(deliver=stumble)
    (delivery,) = agent.do(later=1000).deliveries
    agent.target = Notified
    assert not delivery.accepted and delivery.target == "marker" and "hunter2" not in delivery.message
    assert not agent.told()
    agent.do(later=1000)
    assert agent.told()


def test_a_stage_that_moves_on_is_followed_in_the_same_pass(agent: Agent) -> None:
    """AWS refuses a version that no longer holds the stage; the one that does is looked for and published."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    agent.aws.rotate(agent.id("a"), "2")

    def move(handler: Any, _status: int, _body: bytes) -> None:
        agent.proxy.heal()
        agent.aws.rotate(agent.id("a"), "3")
        handler.answer(*agent.proxy.forward(dict(handler.headers.items()), handler.body))

    agent.proxy.fail(Fault(move), operation="GetSecretValue")
    result = agent.do(later=1000)
    assert agent.read("a") == "3" and not result.failures


def test_values_of_an_incomplete_first_generation_are_kept_and_not_fetched_again(agent: Agent) -> None:
    """What waits for a missing secret costs no further call."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a", "b")
    first = agent.do()
    assert first.waiting and not (agent.home / "v" / "a").exists()
    agent.calls()
    agent.aws.put(agent.id("b"), "1")
    assert agent.do(later=5).generation_made
    assert (agent.calls(), agent.read("a"), agent.read("b")) == (["GetSecretValue"], "1", "1")


def test_what_cannot_be_projected_is_not_fetched_again_until_it_moves(agent: Agent) -> None:
    """Its failure is told each time, from memory."""
    agent.aws.put(agent.id("a"), '{"k": "1"}')
    spec = {"outputs": (output("a", jmes_path="k"),)}
    agent.wants("a", a=spec)
    agent.do()
    agent.aws.rotate(agent.id("a"), '{"x": "2"}')
    assert agent.do(later=70).failures["a"].reason == "projection"
    agent.calls()
    for _ in range(3):
        assert agent.do(later=400).failures["a"].reason == "projection"
    assert (agent.calls(), agent.read("a"), agent.told()) == (["DescribeSecret"] * 3, "1", False)
    agent.wants("a", a={"outputs": (output("a", jmes_path="x"),)})
    assert (agent.do().failures, agent.read("a"), agent.told()) == ({}, "2", True)


def test_a_version_with_the_same_content_tells_nobody_and_is_published(agent: Agent) -> None:
    """No generation is made; it is fetched once; the next change is told as ever."""
    for name in ("a", "b"):
        agent.aws.put(agent.id(name), '{"k": "1", "other": "x"}')
    spec = {"outputs": (output("a", jmes_path="k"),)}
    agent.wants("a", "b", a=spec)
    agent.do()
    before = agent.do(later=70).published
    version = agent.aws.rotate(agent.id("a"), '{"k": "1", "other": "y"}')
    result = agent.do(later=70)
    assert (result.recorded, result.changed, result.generation_made) == ({"a": version}, (), False)
    assert (result.published.generation, result.published.secrets["a"].version_id) == (before.generation, version)
    assert result.succeeded == {"a", "b"} and not result.failures and not result.pending and not agent.told()
    agent.calls()
    assert (agent.do(later=70).outcome, agent.calls()) == ("noop", ["DescribeSecret"] * 2)
    assert not agent.told()
    agent.aws.rotate(agent.id("a"), '{"k": "2"}')
    result = agent.do(later=70)
    assert (result.changed, agent.read("a"), agent.told()) == (("a",), "2", True)


def test_an_edit_that_leaves_the_files_as_they_are_tells_nobody(agent: Agent) -> None:
    """What is asked for otherwise and comes to the same is written down, and not fetched again."""
    agent.aws.put(agent.id("a"), '{"k": "1"}')
    agent.wants("a", a={"outputs": (output("a", jmes_path="k"),)})
    agent.do()
    agent.wants("a", a={"outputs": (output("a", jmes_path="k || other"),)})
    result = agent.do()
    assert (result.changed, result.generation_made, agent.told()) == ((), False, False)
    agent.calls()
    assert (agent.do(later=70).outcome, agent.calls()) == ("noop", ["DescribeSecret"])


def test_all_that_is_wrong_with_a_version_is_told_at_once(agent: Agent) -> None:
    """Of what is required and of each file."""
    agent.aws.put(agent.id("a"), '{"k": null, "l": ""}')
    files = (output("one", format="dotenv"), output("two", directory=True), output("three", jmes_path="x"))
    agent.wants("a", a={"outputs": files, "require": Require(keys=("host", "port"))})
    message = agent.do().failures["a"].message
    for words in ("'host'", "'port'", "file one: key 'k'", "directory two: key 'k'", "two: key 'l'", "file three"):
        assert words in message


@pytest.mark.parametrize("hopeless", [True, False])
def test_a_first_generation_that_no_try_can_bring_is_told_from_one_that_waits(agent: Agent, hopeless: bool) -> None:
    """Only when all that it lacks was had and does not fit; an optional secret is not lacked."""
    agent.aws.put(agent.id("a"), "no json")
    agent.aws.put(agent.id("b"), "1")
    (agent.home / "v" / "b").mkdir()
    names = ("a", "b", "missing") if hopeless else ("a", "b", "wanted")
    spec = {"outputs": (output("a", jmes_path="k"),)}
    agent.wants(*names, a=spec, missing={"optional": True})
    result = agent.do()
    assert (result.waiting, result.hopeless) == (True, hopeless)
    assert {result.failures[name].reason for name in ("a", "b")} == {"projection", "publish"}
    result = agent.do(later=400)
    assert (result.waiting, result.hopeless) == (True, hopeless)
    assert (agent.home / "v" / "b").is_dir() and not (agent.home / "v" / "..data").exists()


def test_what_is_in_the_way_of_one_secret_holds_up_no_other(agent: Agent) -> None:
    """It is named, and stays; the others are published, and it is, too, once the way is free."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    (agent.home / "v" / "b").mkdir()
    (agent.home / "v" / "b" / "precious").write_text("x")
    agent.aws.put(agent.id("b"), "1")
    agent.wants("a", "b")
    agent.aws.rotate(agent.id("a"), "2")
    result = agent.do(later=70)
    assert result.failures.keys() == {"b"} and result.failures["b"].reason == "publish"
    assert f"{agent.home}/v/b is in the way" in result.failures["b"].message
    assert (result.changed, agent.read("a"), agent.read("b/precious")) == (("a",), "2", "x")
    (agent.home / "v" / "b").rename(agent.home / "away")
    assert agent.do(later=400).changed == ("b",) and agent.read("b") == "1"


def test_what_took_the_place_of_a_link_is_told_with_its_new_name(agent: Agent) -> None:
    """The link is back in the same pass, and the log's line says where the other is."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    (agent.home / "v" / "a").unlink()
    (agent.home / "v" / "a").write_text("precious")
    said = agent.do().repaired["a"]
    (kept,) = (path for path in (agent.home / "v").iterdir() if path.name.startswith("a.found-"))
    assert kept.name in said and kept.read_text() == "precious" and agent.read("a") == "1" and not agent.told()


def test_damage_is_mended_at_once_and_tells_nobody(agent: Agent) -> None:
    """Whatever the period; the rest is carried over."""
    for name in ("a", "b"):
        agent.aws.put(agent.id(name), "1")
    agent.wants("a", "b")
    agent.do()
    agent.calls()
    (agent.home / "v" / "a").resolve().unlink()
    result = agent.do()
    assert (agent.calls(), result.repaired, agent.read("a")) == (["GetSecretValue"], {"a": "missing"}, "1")
    assert (result.changed, result.generation_made, agent.told()) == ((), True, False)


def test_damage_while_aws_is_away_is_not_hammered_and_other_links_stay(agent: Agent) -> None:
    """One try per backoff; what is whole stays readable."""
    for name in ("a", "b"):
        agent.aws.put(agent.id(name), "1")
    agent.wants("a", "b")
    agent.do()
    agent.proxy.fail(Fault.internal_error())
    (agent.home / "v" / "a").resolve().unlink()
    assert set(agent.do().failures) == {"a"}
    agent.calls()
    assert agent.do().failures == {} and agent.calls() == []
    assert agent.read("b") == "1"
    agent.proxy.heal()
    agent.do(later=400)
    assert agent.read("a") == "1" and not agent.told()


def test_settle_makes_one_generation_of_rotations_that_come_together(agent: Agent) -> None:
    """The first move waits for the second, which nobody was due to see yet."""
    for name in ("a", "b"):
        agent.aws.put(agent.id(name), "1")
    agent.wants("a", "b", b={"period": 600.0}, settle=5.0)
    agent.do()
    agent.aws.rotate(agent.id("a"), "2")
    waiting = agent.do(later=70)
    assert (waiting.settling, waiting.generation_made, agent.read("a")) == ({"a"}, False, "1")
    agent.aws.rotate(agent.id("b"), "2")
    done = agent.do(later=5)
    assert (sorted(done.changed), done.published.generation, agent.told()) == (["a", "b"], 2, True)


def test_a_stop_lets_no_publish_begin_and_waits_for_no_call(agent: Agent) -> None:
    """What is in flight is left behind."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    agent.aws.rotate(agent.id("a"), "2")
    fault = Fault.hang()
    agent.proxy.fail(fault, operation="GetSecretValue")
    seen = threading.Event()
    threading.Thread(target=lambda: _stop_at(agent, seen), daemon=True).start()
    result = agent.do(later=70)
    assert seen.is_set() and result.interrupted and not result.generation_made and agent.read("a") == "1"
    assert result.succeeded == frozenset()


def _stop_at(agent: Agent, seen: threading.Event) -> None:
    until(lambda: ("GetSecretValue", agent.id("a")) in agent.proxy.calls[1:])
    seen.set()
    agent.stopped = True


def test_a_quiet_pass_tells_nobody_now_or_later(agent: Agent) -> None:
    """What init publishes is there before the app is."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do(quiet=True)
    agent.aws.rotate(agent.id("a"), "2")
    agent.do(later=70, quiet=True)
    agent.do(later=70)
    assert agent.read("a") == "2" and not agent.told()


def test_a_volume_that_cannot_be_written_keeps_everything_and_says_so(agent: Agent) -> None:
    """The change is published when it can be, and told then."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    agent.aws.rotate(agent.id("a"), "2")
    before = agent.read("a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        result = agent.do(later=70)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert before == agent.read("a") == "1"
    assert result.trouble and result.failures["a"].reason == "publish" and not agent.told()
    agent.do(later=400)
    assert agent.read("a") == "2" and agent.told()


def test_no_file_descriptors_left_is_no_damage(agent: Agent) -> None:
    """Nothing is taken for missing, nobody is told, and the loop has something to wait for."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    agent.calls()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(taken) + len(taken), limits[1]))
    try:
        result = agent.do(later=70)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for handle in taken:
            os.close(handle)
    assert result.trouble is not None and "Too many open files" in result.trouble
    assert (result.unread, result.failures) == (True, {})
    assert (result.outcome, agent.calls(), agent.told()) == ("error", [], False)
    # sooner than after a call that failed, and what is started stays so
    assert agent.clock < agent.upcoming.next_due <= agent.clock + schedule.STARTUP_BACKOFF_AT_MOST
    assert agent.upcoming.started
    result = agent.do(later=400)
    assert (result.outcome, result.unread, result.complete) == ("noop", False, True)
    assert agent.read("a") == "1" and not agent.told()


def test_what_an_edit_asks_for_and_cannot_be_had_is_not_complete(agent: Agent) -> None:
    """Though a secret of that name is published: other files are asked for. What was asked for before stays."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    assert agent.do().as_asked == {"a"}
    agent.proxy.fail(Fault.internal_error())
    agent.wants("a", a={"outputs": (output("b"),)})
    result = agent.do()
    assert (result.complete, result.as_asked, agent.read("a")) == (False, frozenset(), "1")
    assert agent.upcoming.next_due > agent.clock + schedule.STARTUP_BACKOFF_AT_MOST  # nobody waits for a start
    agent.proxy.heal()
    assert agent.do(later=400).complete and agent.read("b") == "1"


def test_a_pin_that_cannot_be_had_leaves_complete_what_was(agent: Agent) -> None:
    """A restart under it must not keep the app from its files."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    version = agent.do().published.secrets["a"].version_id
    unpinned = agent.bundle
    agent.bundle = pins.apply(unpinned, {"a": pins.Pin(uuid.uuid4().hex, 1e10)}, 0.0)
    agent.upcoming = schedule.begin(agent.bundle, agent.now())
    result = agent.do(unpinned=unpinned)
    assert (result.complete, result.as_asked, result.failures["a"].reason) == (True, frozenset(), "not_found")
    assert result.published.secrets["a"].version_id == version


def test_a_renamed_secret_keeps_its_file_through_an_outage(agent: Agent) -> None:
    """The old entry stays until the new one is there."""
    agent.aws.put(agent.id("a"), "1")
    agent.wants("a")
    agent.do()
    agent.proxy.fail(Fault.internal_error())
    agent.wants("renamed", renamed={"secret_id": agent.id("a"), "outputs": (output("a"),)})
    assert agent.do().outcome == "error" and agent.read("a") == "1"
    agent.proxy.heal()
    result = agent.do(later=400)
    assert (result.dropped, agent.read("a")) == (("a",), "1")


def test_what_an_agent_of_the_format_before_published_is_taken_over(agent: Agent) -> None:
    """An upgrade of a running pod: nothing is fetched, nobody is told, and the next rotation is an ordinary one."""
    for name in ("a", "b"):
        agent.aws.put(agent.id(name), "1")
    agent.wants("a", "b")
    agent.do()
    agent.calls()
    generation = agent.home / "v" / "..data"
    record = json.loads((generation / "..generation.json").read_text())
    assert record.pop("format") == 2
    (generation / "..generation.json").unlink()
    (generation / "..manifest.json").write_text(json.dumps({"format": 1, **record}))
    agent.volume.close()
    agent.volume = Volume(str(agent.home / "v"))
    agent.upcoming = schedule.begin(agent.bundle, agent.now())
    result = agent.do()
    assert (result.outcome, agent.calls(), agent.told()) == ("noop", ["DescribeSecret"] * 2, False)
    assert not result.published.damage and result.complete
    agent.aws.rotate(agent.id("a"), "2")
    result = agent.do(later=70)
    assert (result.changed, agent.read("a"), agent.read("b"), agent.told()) == (("a",), "2", "1", True)
    assert (generation / "..generation.json").exists() and not (generation / "..manifest.json").exists()
