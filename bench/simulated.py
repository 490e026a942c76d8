"""One pod in simulated time, by the agent's own `schedule` and `decide`; only AWS and the clock are made up.

Calls to AWS take no time here and files none either, so what comes out is when the agent acts and how often it asks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from agent.config import native
from agent.core import hub, schedule
from agent.core.decide import Desired, decide, to_describe
from agent.core.errors import Failure
from agent.core.hub import Answered, Hearing
from agent.core.model import Answer, Bundle, Now, Observation, Published, PublishedSecret, Rotation, Unasked
from agent.core.record import replace
from agent.core.rest import Asking
from agent.core.schedule import PassOutcome, Schedule

_DOWN = Failure("timeout", "an outage")


@dataclass(frozen=True, slots=True)
class World:
    """What AWS would say at a moment (seconds): the version and rotation of a secret; and whether it answers."""

    version: Callable[[str, float], str]
    rotation: Callable[[str, float], Rotation] = lambda _name, _moment: Rotation(None, None, None)
    down: Callable[[float], bool] = lambda _moment: False


class Happened(NamedTuple):
    """One pass: when, the secrets described and those fetched, and how many lists were asked for."""

    moment: float
    described: frozenset[str]
    fetched: frozenset[str]
    lists: int = 0


def parsed(secrets: int, poll: str = "{}") -> Bundle:
    """The bundle of so many secrets, `poll` in YAML."""
    entries = "\n".join(f"  - {{name: s{n}, secretId: bench/s{n}, files: [{{path: s{n}}}]}}" for n in range(secrets))
    text = (
        f"apiVersion: freshmount.dev/v1\nkind: Config\nregion: eu-west-1\npoll: {poll}\n"
        f"volume: {{path: /v}}\nsecrets:\n{entries}\n"
    )
    return native.parse(text, "bench").bundle


def live(bundle: Bundle, world: World, begins: float, ends: float, rng: random.Random) -> Iterator[Happened]:
    """The passes of one pod's life; a pod that begins has nothing published.

    A pass here asks the agent's own `schedule` and `decide` and nothing else: ten thousand pods' days by the whole pass
    would take hours. `tests/engine/test_simulated.py` holds it against the whole.
    """
    pod = _Pod(bundle, schedule.begin(bundle, Now(begins, begins)), Published(), {})
    moment = begins
    while moment < ends:
        pod, happened = _passed(pod, world, moment, rng)
        yield happened
        moment = max(pod.upcoming.next_due, moment + 1e-6)


@dataclass(frozen=True, slots=True)
class HubWorld:
    """What a hub says at a moment (seconds): the version of a secret, None for an error; and whether it answers.

    `changes` are the moments at which any of that changes for an agent, ascending. Between them its long polls bring
    nothing new, but of a secret that it did not ask about before.
    """

    version: Callable[[str, float], str | None]
    changes: tuple[float, ...]
    up: Callable[[float], bool] = lambda _moment: True
    spread: float = 0.0


def live_by_hub(
    bundle: Bundle,
    world: World,
    says: HubWorld,
    begins: float,
    ends: float,
    *,
    rng: random.Random,
    lists: bool = False,
) -> Iterator[Happened]:
    """The same with a hub, by the agent's own `core.hub`, and with `ownLooks: list` if `lists` is set. The first answer
    comes right after the first pass."""
    pod, happened = _passed(
        _Pod(bundle, schedule.begin(bundle, Now(begins, begins)), Published(), {}), world, begins, rng
    )
    yield happened
    hearing, asking, moment = Hearing(), _asking(pod), begins
    changes = iter([begins, *(each for each in says.changes if each > begins), float("inf")])
    change, again, asked = next(changes), float("inf"), _keys(asking)
    while (moment := max(moment, min(change, again, hub.look(hearing, asking, moment).due))) < ends:
        if moment >= min(change, again):
            hearing, again, asked = _heard(hearing, asking, says, moment, rng), float("inf"), _keys(asking)
            change = next(changes) if moment >= change else change
            continue
        if hearing.connected and says.up(moment) and moment >= hearing.until:  # long polls that brought nothing new
            hearing = replace(hearing, until=moment + asking.wait + hub.PATIENCE)
            continue
        look = hub.look(hearing, asking, moment)
        listed = look.confirmed if lists else frozenset[str]()
        heeded = schedule.heed(pod.upcoming, look.held, look.moved, Now(moment, moment), listed)
        pod, happened = _passed(pod._replace(upcoming=heeded), world, moment, rng)
        before, asking = asking, _asking(pod)
        hearing = hub.looked(hearing, before, asking, moment)
        if _keys(asking) - asked:  # the next long poll asks about what answers again, too
            again = min(again, moment + rng.uniform(0.0, asking.wait))
        if happened.described or happened.fetched or happened.lists:
            yield happened


def _heard(hearing: Hearing, asking: Asking, says: HubWorld, moment: float, rng: random.Random) -> Hearing:
    if not says.up(moment):
        return hub.silent(hearing, asking, "down", now=moment, rng=rng)
    said = {each.key: says.version(each.name, moment) for each in asking.watched}
    versions = {key: version for key, version in said.items() if version is not None}
    return hub.heard(hearing, asking, Answered(versions, says.spread), now=moment, wall=moment, rng=rng)


def _keys(asking: Asking) -> frozenset[str]:
    return frozenset(each.key for each in asking.watched)


class _Pod(NamedTuple):
    """What one pod has: what is due, what is published, and the version that it saw last of each secret."""

    bundle: Bundle
    upcoming: Schedule
    published: Published
    seen: dict[str, str]


def _asking(pod: _Pod) -> Asking:
    found = (
        schedule.watched(each, pod.upcoming.secrets[each.name], pod.seen.get(each.name), None)
        for each in pod.bundle.secrets
    )
    watched = tuple(each for each in found if each)
    other = pod.upcoming.next_due_beside({each.name for each in watched})
    return Asking("http://hub", "/token", 55.0, other, watched)


def _passed(pod: _Pod, world: World, moment: float, rng: random.Random) -> tuple[_Pod, Happened]:
    """One pass at that moment."""
    bundle, upcoming, published, seen = pod
    now = Now(moment, moment)
    due = upcoming.due(now)
    wanted = Desired(bundle.wanted, upcoming.refused, upcoming.settling(bundle.timing, now))
    described = to_describe(wanted, published, due)
    down = world.down(moment)
    listed = described & upcoming.by_list
    listed = listed if len(listed) > 1 else frozenset()  # one list shows up to ten, and no pod here has more
    unmoved = {n for n in listed if not down and world.version(n, moment) == published.secrets[n].version_id}
    observed: dict[str, Answer] = {}
    for name in due:
        if name not in described:
            observed[name] = Unasked()
        elif down:
            observed[name] = _DOWN
        else:
            version = world.version(name, moment)
            observed[name] = Observation(version, ("AWSCURRENT",), world.rotation(name, moment))
    plan = decide(wanted, published, observed)
    fetched = frozenset(plan.fetches)
    failed = {name for name, answer in observed.items() if answer is _DOWN} | (fetched if down else set())
    if fetched and not down:
        published = _publish(bundle, published, {name: world.version(name, moment) for name in fetched}, moment)
    seen = {name: stands.version_id for name, stands in published.secrets.items()} | {
        name: answer.version_id for name, answer in observed.items() if isinstance(answer, Observation)
    }
    rotations = {name: a.rotation for name, a in observed.items() if isinstance(a, Observation)}
    outcome = PassOutcome(
        due, frozenset(failed), rotations, {}, moved=bool(plan.settling), started=published.generation > 0
    )
    upcoming = schedule.after_secrets(upcoming, bundle, outcome, now, rng)
    happened = Happened(moment, described - unmoved, fetched, bool(listed))
    return _Pod(bundle, upcoming, published, {**pod.seen, **seen}), happened


def _publish(bundle: Bundle, before: Published, versions: dict[str, str], moment: float) -> Published:
    generation = before.generation + 1
    fresh = {
        secret.name: PublishedSecret(
            versions[secret.name], ("AWSCURRENT",), secret.fingerprint, generation, moment, None, None
        )
        for secret in bundle.wanted
        if secret.name in versions
    }
    return Published(generation, moment, {**before.secrets, **fresh})


def noticing(rotations: int) -> Iterator[tuple[str, list[float]]]:
    """Seconds from a rotation to the pass that fetches it, at the default periods: by hand, in a window of an hour that
    AWS announces, and in a window of a day, in which AWSPENDING shows first."""
    bundle, rng, hour = parsed(1), random.Random(1), 3600.0
    yield (
        "by hand (period 60 s)",
        list(_delays(bundle, rotations, rng, lambda _at, _moment: Rotation(None, None, None))),
    )
    yield (
        "inside an announced window of 1 h (rotationPeriod 10 s)",
        list(_delays(bundle, rotations, rng, lambda at, _moment: Rotation(at - at % hour + hour, hour, None))),
    )
    yield (
        "in a window of a day, AWSPENDING 90 s before (rotationPeriod 10 s)",
        list(
            _delays(
                bundle,
                rotations,
                rng,
                lambda at, moment: Rotation(at + 8 * hour, 24 * hour, "next" if at - 90 <= moment < at else None),
            )
        ),
    )


def _delays(
    bundle: Bundle, rotations: int, rng: random.Random, rotation: Callable[[float, float], Rotation]
) -> Iterator[float]:
    for _ in range(rotations):
        at = rng.uniform(7200.0, 10800.0)
        world = World(
            version=lambda _name, moment, at=at: "after" if moment >= at else "before",
            rotation=lambda _name, moment, at=at: rotation(at, moment),
        )
        # It has run for a while: a pod that starts right now would see everything at once.
        for happened in live(bundle, world, at - rng.uniform(3700.0, 5000.0), at + 7200.0, rng):
            if happened.moment >= at and happened.fetched:
                yield happened.moment - at
                break
