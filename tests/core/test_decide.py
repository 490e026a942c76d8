"""The decision, case by case, then the small world exhaustively, then every plan interrupted after each step."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from agent.core.decide import Desired, Step, compose, decide, pending_deliveries, to_describe, together
from agent.core.errors import REASONS, Failure
from agent.core.model import (
    Answer,
    Observation,
    Publication,
    Published,
    PublishedSecret,
    Refusal,
    Rotation,
    Target,
    Unasked,
    Wanted,
)
from agent.core.record import replace
from tests.support.words import fetched, output, projected, target, wanted

DB = wanted("db")
PINNED = wanted("db", version_stage=None, version_id="v1")
QUIET = Rotation(None, None, None)


def seen(version: str) -> Observation:
    return Observation(version, ("AWSCURRENT",), QUIET)


def published(
    *secrets: tuple[Wanted, str, int], generation: int = 1, damaged: frozenset[str] = frozenset(), **fields: object
) -> Published:
    """Each secret with its version and the generation that last changed it."""
    return replace(
        Published(
            generation=generation,
            secrets={
                s.name: PublishedSecret(
                    v, ("AWSCURRENT",), s.fingerprint, n, float(n), None, float(n), tuple(o.path for o in s.outputs)
                )
                for s, v, n in secrets
            },
            damaged=damaged,
        ),
        **fields,  # type: ignore[arg-type]
    )


def refusal(version: str, of: Wanted = DB) -> Refusal:
    return Refusal(version, of.fingerprint, Failure("projection", "no"))


@pytest.mark.parametrize(
    ("before", "answer", "wanted", "expected"),
    [
        # nothing published
        (Published(), None, Desired((DB,)), Step("db", "keep", "not due")),
        (Published(), Unasked(), Desired((DB,)), Step("db", "fetch", "new")),
        (Published(), Unasked(), Desired((PINNED,)), Step("db", "fetch", "new", "v1")),
        (Published(), Failure("timeout", ""), Desired((DB,)), Step("db", "keep", "failed")),
        (Published(), seen("v1"), Desired((DB,), {"db": refusal("v1")}), Step("db", "keep", "unprojectable")),
        (Published(), seen("v2"), Desired((DB,), {"db": refusal("v1")}), Step("db", "fetch", "new", "v2")),
        # published and whole
        (published((DB, "v1", 1)), seen("v1"), Desired((DB,)), Step("db", "keep", "current")),
        (published((DB, "v1", 1)), seen("v2"), Desired((DB,)), Step("db", "fetch", "moved", "v2")),
        (published((DB, "v1", 1)), seen("v2"), Desired((DB,), settling=True), Step("db", "keep", "settling")),
        (published((DB, "v1", 1)), seen("v1"), Desired((DB,), settling=True), Step("db", "keep", "current")),
        (published((DB, "v1", 1)), Failure("not_found", ""), Desired((DB,)), Step("db", "keep", "failed")),
        (published((DB, "v1", 1)), Failure("deleted", ""), Desired((DB,)), Step("db", "keep", "failed")),
        (
            published((DB, "v1", 1)),
            seen("v2"),
            Desired((DB,), {"db": refusal("v2")}),
            Step("db", "keep", "unprojectable"),
        ),
        (published((PINNED, "v1", 1)), Unasked(), Desired((PINNED,)), Step("db", "keep", "pinned")),
        # published under another spec, or damaged
        (published((PINNED, "v1", 1)), Unasked(), Desired((DB,)), Step("db", "fetch", "spec changed")),
        (published((DB, "v1", 1), damaged=frozenset({"db"})), Unasked(), Desired((DB,)), Step("db", "fetch", "repair")),
        (
            published((DB, "v1", 1), damaged=frozenset({"db"})),
            Unasked(),
            Desired((DB,), settling=True),
            Step("db", "fetch", "repair"),
        ),
        # not wanted any more
        (published((DB, "v1", 1)), None, Desired(()), Step("db", "drop", "left the config")),
    ],
)
def test_each_case(before: Published, answer: Answer | None, wanted: Desired, expected: Step) -> None:
    """The specification."""
    observed = {} if answer is None else {"db": answer}
    assert decide(wanted, before, observed).steps == (expected,)


def test_only_what_stands_is_described() -> None:
    """What is fetched anyway, pinned or not due is not asked about."""
    whole = published((DB, "v1", 1))
    assert to_describe(Desired((DB,)), whole, ["db"]) == {"db"}
    assert to_describe(Desired((DB,)), whole, []) == set()
    assert to_describe(Desired((DB,)), Published(), ["db"]) == set()
    assert to_describe(Desired((DB,)), replace(whole, damaged=frozenset({"db"})), ["db"]) == set()
    assert to_describe(Desired((DB,)), published((PINNED, "v1", 1)), ["db"]) == set()
    assert to_describe(Desired((PINNED,)), published((PINNED, "v1", 1)), ["db"]) == set()
    # A version that could not be projected is looked at before it is fetched again.
    assert to_describe(Desired((DB,), {"db": refusal("v1")}), Published(), ["db"]) == {"db"}


_STATES = {
    "nothing": Published(),
    "v1": published((DB, "v1", 1)),
    "other spec": published((wanted("db", secret_id="other"), "v1", 1)),
    "damaged": published((DB, "v1", 1), damaged=frozenset({"db"})),
    "pinned v1": published((PINNED, "v1", 1)),
}
_ANSWERS: tuple[Answer | None, ...] = (
    None, Unasked(), *(Failure(reason, "") for reason in REASONS), seen("v1"), seen("v2"),
)  # fmt: skip


@pytest.mark.parametrize("state", _STATES)
def test_the_small_world_keeps_its_laws(state: str) -> None:
    """Every answer × memory × settling × kind of secret × wanted or not, on every state of the volume."""
    before = _STATES[state]
    for answer, version, settling, wanted_secret in itertools.product(
        _ANSWERS, (None, "v1", "v2"), (False, True), (DB, PINNED, None)
    ):
        secrets = (wanted_secret,) if wanted_secret else ()
        refused = {"db": refusal(version, wanted_secret)} if version and wanted_secret else {}
        steps = decide(Desired(secrets, refused, settling), before, {} if answer is None else {"db": answer}).steps
        # Exactly one step for what is wanted or published.
        assert [step.secret for step in steps] == (["db"] if wanted_secret or before.secrets else [])
        for step in steps:
            # Only leaving the config drops, and it always does.
            assert (step.action == "drop") is (wanted_secret is None)
            if wanted_secret is None:
                continue
            # No error and no silence fetches.
            if answer is None or isinstance(answer, Failure):
                assert step.action == "keep"
            # What stands and is current is never fetched.
            if before.stands(wanted_secret) and answer == seen("v1"):
                assert step.action == "keep"
            # What was refused is not fetched again.
            if isinstance(answer, Observation) and answer.version_id == version:
                assert step.action == "keep"
            # What is not whole is fetched at once, settling or not, unless that very version was refused.
            if isinstance(answer, Unasked) and not before.stands(wanted_secret) and not version:
                assert step.action == "fetch"
            # A pinned secret is only ever fetched by its version.
            if step.action == "fetch" and wanted_secret is PINNED and isinstance(answer, Unasked):
                assert step.version_id == "v1"


# -- outputs of several secrets ------------------------------------------------------------------------------------

DENIED = Failure("access_denied", "")
BOTH = output("app.conf", "a", "b")
A, B = wanted("a", outputs=(output("a"), BOTH)), wanted("b", outputs=(BOTH,))
SPARE = wanted("b", outputs=(BOTH,), optional=True)
ALONE = wanted("c")
BOTH_THERE = published((A, "v1", 1), (B, "v1", 1), (ALONE, "v1", 1))


@pytest.mark.parametrize(
    ("second", "before", "observed", "expected"),
    [
        # nobody moved
        (B, BOTH_THERE, {"a": seen("v1"), "b": seen("v1")}, {"a": "current", "b": "current"}),
        # one moved: the other is fetched with it, at the version that is current, due or not
        (B, BOTH_THERE, {"a": seen("v2"), "b": seen("v1")}, {"a": ("moved", "v2"), "b": ("input moved", "v1")}),
        (B, BOTH_THERE, {"a": seen("v2")}, {"a": ("moved", "v2"), "b": ("input moved", None)}),
        (B, BOTH_THERE, {"b": seen("v2")}, {"a": ("input moved", None), "b": ("moved", "v2")}),
        # one moved and the other cannot be had: neither is fetched
        (B, BOTH_THERE, {"a": seen("v2"), "b": DENIED}, {"a": "input failed", "b": "failed"}),
        # one that never was there and need not be there holds up nobody
        (SPARE, published((A, "v1", 1)), {"a": seen("v2"), "b": DENIED}, {"a": ("moved", "v2"), "b": "failed"}),
        (SPARE, published((A, "v1", 1)), {"a": seen("v1"), "b": DENIED}, {"a": "current", "b": "failed"}),
        # but once it was, the file is made of it
        (SPARE, BOTH_THERE, {"a": seen("v2"), "b": DENIED}, {"a": "input failed", "b": "failed"}),
    ],
)
def test_secrets_of_one_file_move_together(
    second: Wanted, before: Published, observed: Mapping[str, Answer], expected: Mapping[str, object]
) -> None:
    """All of them or none, and no other secret with them."""
    steps = {step.secret: step for step in decide(Desired((A, second, ALONE)), before, observed).steps}
    assert steps.pop("c").action in ("keep", "fetch")
    assert {
        name: (step.because, step.version_id) if step.action == "fetch" else step.because
        for name, step in steps.items()
    } == expected


def test_which_secrets_are_published_together() -> None:
    """Those that one file joins, and those that are joined with them."""
    d = wanted("d", outputs=(output("one", "d", "e"), output("two", "d", "f")))
    e, f = wanted("e", outputs=(output("one", "d", "e"),)), wanted("f", outputs=(output("two", "d", "f"),))
    assert together((A, B, ALONE)) == [{"a", "b"}]
    assert together((ALONE,)) == []
    assert sorted(map(sorted, together((e, A, f, B, d)))) == [["a", "b"], ["d", "e", "f"]]


def test_a_spare_input_is_looked_for_before_it_is_fetched() -> None:
    """Otherwise the others would be fetched with it each time that it is not there."""
    before = published((A, "v1", 1))
    assert to_describe(Desired((A, SPARE)), before, {"a", "b"}) == {"a", "b"}
    assert to_describe(Desired((A, B)), before, {"a", "b"}) == {"a"}


# -- compose -------------------------------------------------------------------------------------------------------

API, EXTRA = wanted("api"), wanted("extra", optional=True)
APP = target("app")


def fresh(*secrets: Wanted, version: str = "v1") -> dict[str, tuple[object, Mapping[str, object]]]:
    return {s.name: (fetched(version), {o.path: projected(s.name) for o in s.outputs}) for s in secrets}


def next_one(
    wanted: tuple[Wanted, ...],
    before: Published,
    new: object,
    *targets: Target,
    quiet: bool = False,
    alike: frozenset[str] = frozenset(),
) -> Publication | None:
    return compose(Desired(wanted), before, new, targets, quiet=quiet, alike=alike)  # type: ignore[arg-type]


def test_the_first_generation_is_all_or_nothing() -> None:
    """Optional secrets aside."""
    assert next_one((DB, API, EXTRA), Published(), fresh(DB)) is None
    whole = next_one((DB, API, EXTRA), Published(), fresh(DB, API))
    assert whole is not None and sorted(whole.entries) == ["api", "db"]


def test_later_ones_keep_the_last_good() -> None:
    """What failed is carried over as it is."""
    made = next_one((DB, API), published((DB, "v1", 1), (API, "v1", 1)), fresh(DB, version="v2"))
    assert made is not None
    assert {name: (e.version_id, e.changed, e.files is None) for name, e in made.entries.items()} == {
        "api": ("v1", False, True),
        "db": ("v2", True, False),
    }


@pytest.mark.parametrize(
    ("secrets", "alike", "before", "silent"),
    [
        ((DB, API), {"db"}, published((DB, "v1", 1), (API, "v1", 1)), True),
        ((DB, API), {"db", "api"}, published((DB, "v1", 1), (API, "v1", 1)), True),
        ((DB, API), {"db"}, published((DB, "v1", 1), (API, "v1", 1), damage={"db": "no link"}), False),
        ((DB,), {"db"}, published((DB, "v1", 1), (API, "v1", 1)), False),
        ((DB, API), {"db"}, published((DB, "v1", 1)), False),
    ],
)
def test_the_same_content_is_carried_over_and_changes_nothing(
    secrets: tuple[Wanted, ...], alike: set[str], before: Published, silent: bool
) -> None:
    """It is the version that is written. Only where nothing else is to be done no generation is made of it."""
    new = fresh(*(s for s in secrets if s.name in alike or s.name not in before.secrets), version="v2")
    made = next_one(secrets, before, new, APP, alike=frozenset(alike))
    assert made is not None and made.changes_no_file(before) is silent
    for name in alike:
        entry = made.entries[name]
        assert (entry.version_id, entry.changed, entry.files) == ("v2", False, None)
    assert made.paths(before) == {s.name for s in secrets}


def test_nothing_new_publishes_nothing() -> None:
    """A pass without a change writes no generation."""
    assert next_one((DB,), published((DB, "v1", 1)), {}) is None


def test_a_repair_is_no_change() -> None:
    """The same version under the same spec gives readers nothing new."""
    made = next_one((DB,), published((DB, "v1", 1), damaged=frozenset({"db"})), fresh(DB))
    assert made is not None and not made.entries["db"].changed
    moved = next_one((DB,), published((DB, "v1", 1), damaged=frozenset({"db"})), fresh(DB, version="v2"))
    assert moved is not None and moved.entries["db"].changed


def test_leaving_the_config_drops() -> None:
    """The file goes with its secret."""
    made = next_one((DB,), published((DB, "v1", 1), (API, "v1", 1)), {})
    assert made is not None and list(made.entries) == ["db"]


def test_a_renamed_secret_keeps_its_file_until_its_new_entry_is_there() -> None:
    """A rename while AWS is out of reach takes nothing away."""
    before, renamed = published((DB, "v1", 1)), wanted("database", secret_id="db", outputs=DB.outputs)
    assert next_one((renamed,), before, {}) is None
    made = next_one((renamed,), before, fresh(renamed))
    assert made is not None and list(made.entries) == ["database"]


def test_paths_that_are_swapped_never_collide() -> None:
    """A secret waits, with what it had, while another still holds its path."""
    a, b = wanted("a"), wanted("b")
    before = published((a, "v1", 1), (b, "v1", 1))
    a2, b2 = replace(a, outputs=b.outputs), replace(b, outputs=a.outputs)
    assert next_one((a2, b2), before, fresh(a2)) is None
    made = next_one((a2, b2), before, fresh(a2, b2))
    assert made is not None and all(entry.files is not None for entry in made.entries.values())
    new = wanted("new", outputs=a.outputs)
    blocked = next_one((a2, b, new), before, fresh(new))
    assert blocked is None


def test_the_first_generation_and_init_tell_nobody() -> None:
    """Such acceptances are part of the publication itself; who was owed before stays owed."""
    first = next_one((DB,), Published(), fresh(DB), APP)
    assert first is not None and first.accepted == {"app": None}
    before = published((DB, "v1", 1), accepted={"app": 1})
    later = next_one((DB,), before, fresh(DB, version="v2"), APP)
    assert later is not None and later.accepted == {"app": 1}
    quiet = next_one((DB,), before, fresh(DB, version="v2"), APP, quiet=True)
    assert quiet is not None and quiet.accepted == {"app": None}
    behind = published((DB, "v2", 2), generation=2, accepted={"app": 1})
    still = next_one((DB,), behind, fresh(DB, version="v3"), APP, quiet=True)
    assert still is not None and still.accepted == {"app": 1}


# -- owed ----------------------------------------------------------------------------------------------------------


def test_who_is_owed() -> None:
    """Who watches a secret that changed later than what it has accepted; of several changes the latest."""
    before = published((DB, "v2", 3), (API, "v2", 4), generation=5, accepted={"app": 2, "db": 3, "all": 4})
    one, two, new = target("db", "db"), target("all"), target("new")
    assert [
        (o.target.name, o.generation, o.visible_since) for o in pending_deliveries((APP, one, two, new), before)
    ] == [("app", 4, 4.0)]
    assert [o.target.name for o in pending_deliveries((APP, one, two, new), replace(before, record_lost=True))] == [
        "app", "db", "all", "new",
    ]  # fmt: skip


# -- every plan, interrupted ---------------------------------------------------------------------------------------


@dataclass
class World:
    """A volume, AWS and two targets in memory; the decisions are the real ones."""

    aws: dict[str, int] = field(default_factory=lambda: {"db": 1, "api": 1})
    down: set[str] = field(default_factory=set)
    disk: Published = field(default_factory=Published)
    told: list[tuple[str, dict[str, int]]] = field(default_factory=list)  # target, and the versions that it could read
    targets: tuple[Target, ...] = (APP, target("only-db", "db"))
    unrecorded: bool = False  # a kill came between a delivery and its record

    def versions(self) -> dict[str, int]:
        return {name: int(s.version_id) for name, s in self.disk.secrets.items()}

    def one_pass(self, kill: str = "") -> None:
        """One pass, which ends early where it is killed: before the publish, before or after a delivery."""
        wanted = Desired((DB, API))
        due = {"db", "api"}
        describe = to_describe(wanted, self.disk, due)
        observed: dict[str, Answer] = dict.fromkeys(due, Unasked())
        for name in describe:
            observed[name] = Failure("timeout", "") if name in self.down else seen(str(self.aws[name]))
        plan = decide(wanted, self.disk, observed)
        new = {
            name: (fetched(str(self.aws[name])), {name: projected("x")})
            for name in plan.fetches
            if name not in self.down
        }
        publication = compose(wanted, self.disk, new, self.targets, quiet=False)
        if kill == "before publish":
            return
        if publication:
            self._publish(publication)
        if kill == "after publish":
            return
        for each in pending_deliveries(self.targets, self.disk):
            if kill == "before delivery":
                return
            self.told.append((each.target.name, self.versions()))
            if kill == "before record":
                return
            accepted = {t.name: self.disk.accepted_by(t) for t in self.targets}
            self.disk = replace(self.disk, accepted={**accepted, each.target.name: each.generation})

    def _publish(self, publication: Publication) -> None:
        number = self.disk.generation + 1
        secrets = {}
        for name, entry in publication.entries.items():
            before = self.disk.secrets.get(name)
            changed = number if entry.changed or not before else before.changed
            secrets[name] = PublishedSecret(
                entry.version_id, entry.stages, entry.fingerprint, changed, 0.0, None, None, (name,)
            )
        accepted = {name: number if reached is None else reached for name, reached in publication.accepted.items()}
        self.disk = Published(number, 0.0, secrets, accepted)


_EVENTS = (
    "rotate db", "rotate api", "rotate both", "fail db", "heal", "pass", "before publish", "after publish",
    "before delivery", "before record", "add target",
)  # fmt: skip


def after(before: World, event: str) -> World:
    """The world one event later."""
    world = dataclasses.replace(before, aws=dict(before.aws), down=set(before.down), told=list(before.told))
    if event.startswith("rotate"):
        for name in ("db", "api") if event.endswith("both") else (event.split()[1],):
            world.aws[name] += 1
    elif event == "fail db":
        world.down = {"db"}
    elif event == "heal":
        world.down = set()
    elif event == "add target":
        world.targets = (APP, target("only-db", "db"), target("late"))
    else:
        world.one_pass("" if event == "pass" else event)
        world.unrecorded |= event == "before record"
    return world


def test_every_interruption_still_tells_each_change() -> None:
    """After any four events, passes that go well tell each target of what it reads, and nobody for nothing.

    Sequences that lead to the same world go on as one.
    """
    first = after(World(), "pass")
    assert first.told == [], "the first generation notifies nobody"
    reached = {repr(first): (first, ())}
    for _ in range(4):
        ways = [(after(world, event), (*way, event)) for world, way in reached.values() for event in _EVENTS]
        reached = {repr(world): (world, way) for world, way in ways}
    assert len(reached) > 500
    for reached_world, events in reached.values():
        world = after(after(reached_world, "heal"), "pass")
        told = world.told
        world = after(world, "pass")
        assert world.told == told, f"told again for nothing: {events}"
        assert world.versions() == world.aws
        last = dict(world.told)
        rotated = {name for name in ("db", "api") if world.aws[name] > 1}
        if rotated:
            assert last.get("app") == world.aws, f"app was not told of the latest: {events}"
        if "db" in rotated:
            assert last["only-db"]["db"] == world.aws["db"]
        else:
            assert "only-db" not in last, f"told of a secret that it does not watch: {events}"
        if not rotated:
            assert world.told == []
        doubled = [told for told in world.told if world.told.count(told) > 1 and told[0] == "app"]
        assert not doubled or world.unrecorded, f"told twice without a kill in between: {events}"


@pytest.mark.parametrize(
    ("stands", "asked", "complete"),
    [
        (Published(), DB, False),
        (published((DB, "v1", 1)), DB, True),
        (published((DB, "v1", 1), damaged=frozenset({"db"})), DB, False),
        (published((wanted("other"), "v1", 1)), DB, False),
        # by name only: the files are not those that are asked for
        (published((DB, "v1", 1)), wanted("db", outputs=()), False),
        (published((DB, "v1", 1)), wanted("db", secret_id="moved"), False),
        (published((DB, "v1", 1)), wanted("db", version_stage="AWSPREVIOUS"), False),
        (published((DB, "v1", 1)), PINNED, False),
        # a pin that has run out left another version of the same files
        (published((PINNED, "v1", 1)), DB, True),
        (published((PINNED, "v1", 1)), wanted("db", outputs=()), False),
        (published((wanted("db", version_stage=None, version_id="v2"), "v2", 1)), PINNED, False),
        # optional ones aside
        (published((DB, "v1", 1), damaged=frozenset({"db"})), wanted("db", optional=True), True),
        (Published(), wanted("db", optional=True), False),
    ],
)
def test_complete_means_every_file_as_it_is_asked_for(stands: Published, asked: Wanted, complete: bool) -> None:
    """Not names alone, and not damaged; something must be published at all."""
    assert stands.complete([asked]) is complete
