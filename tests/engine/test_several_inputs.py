"""A file that is made of several secrets, by the real pass and a real volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agent.core.errors import ProjectionError
from agent.core.model import Bundle, Output, Secret
from agent.core.value import Fetched, ProjectedFile
from agent.sinks.volume.volume import Volume
from tests.support.adapters import Clock, Simulated, TableSource
from tests.support.words import bundle, output, projected, target, wanted

BOTH = output("app.conf", "a", "b")


def joined(
    inputs: Sequence[tuple[Secret, Fetched]], outputs: Sequence[Output]
) -> Mapping[Output, Mapping[str, ProjectedFile]]:
    """The values of the inputs with a plus between them. One that is `bad` becomes no file."""
    values = {secret.name: fetched.value.reveal().decode() for secret, fetched in inputs}
    if "bad" in values.values():
        raise ProjectionError("file app.conf: does not fit")
    return {made: {made.path: projected("+".join(values[name] for name in made.inputs))} for made in outputs}


class Agent(Simulated):
    """Two secrets, a file of its own for one of them and a file of both."""

    def __init__(self, home: Path, *, optional: bool = False) -> None:
        self.home = home
        self.table = TableSource(Clock())
        self.table.rotate("a", "a1")
        self.table.rotate("b", "b1")
        super().__init__(asked(optional=optional), self.table, Volume(str(home / "v")), self.table.clock, render=joined)

    def read(self, path: str) -> str:
        return (self.home / "v" / path).read_text()

    def later(self, seconds: float = 400.0) -> None:
        self.clock.seconds += seconds


def asked(*, optional: bool = False) -> Bundle:
    return bundle(
        wanted("a", outputs=(output("a"), BOTH)),
        wanted("b", outputs=(BOTH,), optional=optional),
        wanted("c"),
        targets=(target("app"),),
    )


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    agent = Agent(tmp_path)
    agent.table.rotate("c", "c1")
    assert agent.do().complete and agent.read("app.conf") == "a1+b1"
    return agent


def test_it_is_made_anew_when_one_of_them_moves(agent: Agent) -> None:
    """In the same generation as the other files; only the one that moved has changed, and one notification is sent."""
    agent.table.rotate("b", "b2")
    agent.later()
    result = agent.do()
    assert (result.changed, result.failures) == (("b",), {})
    assert (agent.read("app.conf"), agent.read("a"), agent.read("c")) == ("a1+b2", "a1", "c1")
    assert [pending.generation for pending in agent.deliveries] == [2]


def test_nothing_moves_while_one_of_them_cannot_be_had(agent: Agent) -> None:
    """The others say why they wait; a secret that has no part in it is not delayed."""
    agent.table.rotate("a", "a2")
    agent.table.rotate("c", "c2")
    agent.table.failing["b"] = "access_denied"
    agent.later()
    result = agent.do()
    assert {name: failure.reason for name, failure in result.failures.items()} == dict.fromkeys("ab", "access_denied")
    assert " b:" in result.failures["a"].message
    assert (agent.read("app.conf"), agent.read("a"), agent.read("c")) == ("a1+b1", "a1", "c2")
    agent.table.failing.clear()
    agent.later()
    assert not agent.do().failures and agent.read("app.conf") == "a2+b1" and agent.read("a") == "a2"


def test_what_does_not_fit_is_tried_again_when_one_of_them_moves(agent: Agent) -> None:
    """Until then it is not fetched again, and the old files stay whole."""
    agent.table.rotate("a", "bad")
    agent.later()
    assert {name: f.reason for name, f in agent.do().failures.items()} == dict.fromkeys("ab", "projection")
    agent.later()
    calls = agent.do().calls
    assert {call.operation for call in calls} == {"DescribeSecret"} and agent.read("app.conf") == "a1+b1"
    agent.table.rotate("a", "a3")
    agent.later()
    assert agent.do().changed == ("a",) and agent.read("app.conf") == "a3+b1"


def test_a_restart_finds_it_and_a_repair_tells_nobody(agent: Agent) -> None:
    """Its record names both secrets."""
    agent.restart(Volume(str(agent.home / "v")))
    assert (agent.do().outcome, agent.deliveries) == ("noop", [])
    (agent.home / "v" / "..data" / "app.conf").unlink()
    result = agent.do()
    assert result.repaired.keys() == {"app.conf"} and (result.changed, agent.deliveries) == ((), [])
    assert agent.read("app.conf") == "a1+b1"


def test_without_an_optional_secret_it_is_left_out(tmp_path: Path) -> None:
    """The others are published, with one look at AWS a period, and it comes with the secret."""
    agent = Agent(tmp_path, optional=True)
    agent.table.rotate("c", "c1")
    agent.table.failing["b"] = "not_found"
    result = agent.do()
    assert result.complete and agent.read("a") == "a1" and not (tmp_path / "v" / "app.conf").exists()
    agent.later()
    assert {call.operation for call in agent.do().calls} == {"DescribeSecret"}
    agent.table.failing.clear()
    agent.later()
    assert not agent.do().failures and agent.read("app.conf") == "a1+b1"


def test_it_goes_with_the_config(agent: Agent) -> None:
    """A file of one of them takes its place, and what is left over is removed."""
    alone = bundle(wanted("a", outputs=(output("a"), output("app.conf"))), wanted("c"), targets=(target("app"),))
    agent.reload(alone)
    result = agent.do()
    assert result.dropped == ("b",) and agent.read("app.conf") == "a1"
