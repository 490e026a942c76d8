"""Own looks by a list, through the whole pass: a list decides nothing but that nothing moved, whatever it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from agent.core import schedule
from agent.core.model import Answers, Observation, PassResult, Place, Ref, Request, Rotation
from agent.core.record import replace
from agent.engine.pool import Unanswered
from agent.sources.aws.source import Aws
from tests.support.adapters import Clock, Directly, MemorySink, Simulated
from tests.support.answers import Answer
from tests.support.services import Services, denied, error, serving
from tests.support.words import bundle, wanted

HOME, AWAY = "eu-west-1", "eu-central-1"
NAMES = frozenset("abcde")
CURRENT = ["AWSCURRENT"]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "pod")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


class Kept:
    """An agent with five secrets, which are published, and a hub that confirms all of them."""

    def __init__(self, services: Services, url: str, *replicas: str, settle: float = 0.0) -> None:
        self.services, self.clock = services, Clock()
        self.sink = MemorySink(self.clock.now)

        def ref(name: str) -> Ref:
            places = tuple(Ref(name, Place(region, url)) for region in replicas)
            return Ref(name, Place(HOME, url), replicas=places)

        for name in sorted(NAMES):
            services.put(name, f"{name}1")
        secrets = [wanted(name, ref=ref(name)) for name in sorted(NAMES)]
        source = Aws(connect_timeout=1.0, read_timeout=1.0, attempts=1)
        self.agent = Simulated(bundle(*secrets, settle=settle), source, self.sink, self.clock)
        self.agent.do()
        self.services.calls.clear()

    def look(self, confirmed: frozenset[str] = NAMES, moved: frozenset[str] = frozenset()) -> PassResult:
        """A pass an hour and a half later: all is due at its floor, as the hub has it."""
        self.clock.seconds += 5400
        now = self.clock.now()
        self.agent.upcoming = schedule.heed(self.agent.upcoming, frozenset(), moved, now, confirmed)
        self.services.calls.clear()
        return self.agent.do()

    @property
    def calls(self) -> list[tuple[str, ...]]:
        """What was asked, in an order of its own: the operation, and the secret of all but lists."""
        return sorted(
            (call.operation, *(call.names if call.operation != "ListSecrets" else ())) for call in self.services.calls
        )

    @property
    def files(self) -> dict[str, str]:
        return {path: file.content.reveal().decode() for path, file in self.sink.files.items()}

    def lists(self, *entries: dict[str, Any]) -> None:
        """From now on every list shows these."""
        self.services.faults[None, "ListSecrets"] = Answer(json.dumps({"SecretList": entries}).encode())


LIST = ("ListSecrets",)
ALL = [("DescribeSecret", name) for name in sorted(NAMES)]


@pytest.fixture
def kept() -> Iterator[Kept]:
    with serving() as (services, url):
        yield Kept(services, url)


def test_nothing_moved_is_one_call(kept: Kept) -> None:
    """Each time; every secret counts as confirmed, and the next look is as far away as ever."""
    for _ in range(3):
        result = kept.look()
        assert kept.calls == [LIST]
        assert result.outcome == "noop" and result.succeeded == NAMES == result.observations.keys()
        assert {call.operation for call in result.calls} == {"ListSecrets"}
        assert all(poll.floor and poll.failures == 0 for poll in kept.agent.upcoming.secrets.values())
    assert kept.files == {name: f"{name}1" for name in NAMES}


def test_what_moved_is_described_before_it_is_fetched(kept: Kept) -> None:
    kept.services.put("c", "c2")
    result = kept.look()
    assert kept.calls == [("DescribeSecret", "c"), ("GetSecretValue", "c"), LIST]
    assert result.changed == ("c",) and kept.files["c"] == "c2" and kept.files["a"] == "a1"


def test_a_list_that_is_behind_delays_a_rotation_and_no_more(kept: Kept) -> None:
    """As AWS says that it may be, for five minutes."""
    kept.lists(*entries(kept))
    kept.services.put("c", "c2")
    assert kept.look().outcome == "noop" and kept.calls == [LIST]
    del kept.services.faults[None, "ListSecrets"]
    assert kept.look().changed == ("c",) and kept.files["c"] == "c2"
    kept.lists(*entries(kept, c="0" * 31 + "3"))  # as before the rotation: the agent knows better
    assert kept.look().outcome == "noop"
    assert kept.calls == [("DescribeSecret", "c"), LIST] and kept.files["c"] == "c2"


def entries(kept: Kept, **versions: str) -> list[dict[str, Any]]:
    """What a list shows of all secrets now, but for the versions that are given."""
    current = {name: kept.services.secrets[HOME, name][-1].version for name in sorted(NAMES)}
    return [{"Name": name, "SecretVersionsToStages": {v: CURRENT}} for name, v in {**current, **versions}.items()]


LIES: dict[str, Any] = {
    "another version of each": [{"Name": n, "SecretVersionsToStages": {"f" * 32: CURRENT}} for n in sorted(NAMES)],
    "no version": [{"Name": n, "SecretVersionsToStages": {}} for n in sorted(NAMES)],
    "deleted": [{"Name": n, "DeletedDate": 1_700_000_000.0} for n in sorted(NAMES)],
    "empty": [],
    "no entries": ["a", None],
    "others": [{"Name": n.upper(), "SecretVersionsToStages": {"f" * 32: CURRENT}} for n in sorted(NAMES)],
}


@pytest.mark.parametrize("shown", LIES.values(), ids=LIES)
def test_whatever_a_list_says_else_every_secret_is_described(kept: Kept, shown: list[Any]) -> None:
    """In the same pass. Nothing fails, and nothing is fetched for it."""
    kept.lists(*shown)
    result = kept.look()
    assert kept.calls == [*ALL, LIST] and result.outcome == "noop" and result.succeeded == NAMES
    kept.services.put("c", "c2")
    assert kept.look().changed == ("c",) and kept.files["c"] == "c2"


class Wrong(Aws):
    """A source that takes a list for an answer of its own."""

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        found = super().observe(batch)
        if batch[0].known is None:
            return found
        seen = Observation("f" * 32, ("AWSCURRENT",), Rotation(None, None, None))
        return replace(found, results=dict.fromkeys(found.results, seen))


def test_the_pass_itself_believes_no_other_version(kept: Kept) -> None:
    kept.agent.adapters = replace(kept.agent.adapters, source=Wrong(attempts=1))
    assert kept.look().outcome == "noop" and kept.calls == [*ALL, LIST]


@pytest.mark.parametrize(
    "fault",
    [error("ThrottlingException"), error("InternalServiceError", status=500), Answer(b"<html>")],
    ids=["throttled", "error", "nonsense"],
)
def test_a_list_that_fails_fails_no_secret(kept: Kept, fault: Answer) -> None:
    """It is counted as a call, with its code; each secret is described in the same pass."""
    kept.services.faults[None, "ListSecrets"] = fault
    kept.services.put("c", "c2")
    result = kept.look()
    assert result.failures == {} and result.changed == ("c",) and kept.files["c"] == "c2"
    assert [name for operation, *name in kept.calls if operation == "DescribeSecret"] == [[n] for n in sorted(NAMES)]
    (listed,) = [call for call in result.calls if call.operation == "ListSecrets"]
    assert listed.code != "OK" and result.list_denied is None


class Hangs(Directly):
    """Threads in which every list hangs until it is given up."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def ask(self, asks: Mapping[str, Callable[[], Any]], **how: Any) -> Iterator[tuple[str, Any]]:
        for name, answer in super().ask(asks, **how):
            self.asked.append(name)
            listed = any(call.operation == "ListSecrets" for call in getattr(answer, "calls", ()))
            yield name, Unanswered(asked=True) if listed else answer


def test_a_list_that_hangs_fails_no_secret_either(kept: Kept) -> None:
    """Its call has a name of its own: while that hangs, the same secret is described."""
    threads = Hangs()
    kept.agent.adapters = replace(kept.agent.adapters, calls=threads)
    result = kept.look()
    assert result.failures == {} and result.succeeded == NAMES and kept.calls == [*ALL, LIST]
    assert [(c.operation, c.code) for c in result.calls if c.code != "OK"] == [("ListSecrets", "timeout")]
    assert len(threads.asked) == len(set(threads.asked)) == 6


def test_a_denied_list_is_no_failure_of_a_secret(kept: Kept) -> None:
    """The result says why, so that it can be said once."""
    kept.services.faults[None, "ListSecrets"] = denied("secretsmanager:ListSecrets", "*")
    result = kept.look()
    assert kept.calls == [*ALL, LIST]
    assert result.outcome == "noop" and result.failures == {} and result.succeeded == NAMES
    assert result.list_denied and "secretsmanager:ListSecrets" in result.list_denied


def test_only_what_the_hub_confirms_is_listed(kept: Kept) -> None:
    """While it is silent, all is described. What it says has moved is, too, and what goes along with that."""
    kept.look(NAMES - {"c"})
    assert kept.calls == [("DescribeSecret", "c"), LIST]
    assert [call.sent["Filters"][0]["Values"] for call in kept.services.calls if call.operation == "ListSecrets"] == [
        ["a", "b", "d", "e"]
    ]
    kept.look(frozenset())
    assert kept.calls == ALL
    kept.look(moved=frozenset("c"))
    assert kept.calls == ALL


def test_a_person_who_wants_to_know_now_gets_no_list(kept: Kept) -> None:
    kept.agent.upcoming = schedule.heed(kept.agent.upcoming, frozenset(), (), kept.clock.now(), NAMES)
    kept.agent.upcoming = schedule.expedite(kept.agent.upcoming, kept.clock.now())
    kept.agent.do()
    assert kept.calls == ALL


def test_what_failed_last_time_is_not_listed(kept: Kept) -> None:
    kept.services.faults[None, "c"] = error("InternalServiceError", status=500)
    kept.look(NAMES - {"c"})
    kept.services.faults.clear()
    kept.look()
    assert kept.calls == [("DescribeSecret", "c"), LIST]


def test_rotations_that_come_together_are_looked_for_without_a_list() -> None:
    """A list that is behind would publish half of them."""
    with serving() as (services, url):
        kept = Kept(services, url, settle=30.0)
        kept.lists(*entries(kept))
        services.put("c", "c2")
        services.put("d", "d2")
        kept.look(NAMES - {"c"}, moved=frozenset("c"))
        assert kept.files["c"] == "c1", "it settles"
        assert kept.look().changed == ("c", "d")
        assert [each for each in kept.calls if each[0] != "GetSecretValue"] == ALL


def test_a_secret_with_replicas_is_listed_at_its_first_place_alone() -> None:
    """While that is away, replicas are described; a list does not ask them."""
    with serving() as (services, url):
        kept = Kept(services, url, AWAY)
        for name in NAMES:
            services.replicate(name, AWAY)
        result = kept.look()
        assert kept.calls == [LIST]
        assert {served.region for served in result.served.values()} == {HOME} and result.served.keys() == NAMES
        services.away.add(HOME)
        result = kept.look()
        assert result.failures == {} and {served.region for served in result.served.values()} == {AWAY}
        assert sorted((c.operation, *c.names) for c in services.calls if c.region == AWAY) == ALL
        assert kept.services.count("ListSecrets", HOME) == 1
