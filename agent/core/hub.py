"""What the hub says, and when that makes a secret due. Pure: the time and the random number generator are parameters.

An agent believes the hub nothing but "look now": it then asks AWS itself, by an ordinary pass. While the hub says the
version that the agent itself saw last, own looks are made at the floor. In every other case a secret is due as it is
without a hub:

1. The hub is silent, or says nothing of a secret. What would have been due meanwhile is due after a random part of a
   period, so that a hub that vanishes puts no herd on AWS.
2. It says another version, and an own look did not find that version. Then it wakes nobody for a period.

So a hub that lies costs a call a period, which is what an agent without a hub makes, or freshness until the floor.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from agent.core.record import Record, field, replace
from agent.core.rest import Asking, Watched

SPREAD_AT_MOST = 900.0  # seconds; a hub that asks for more lies

PATIENCE = 10.0  # seconds beyond what was agreed that an answer may take

_SLACK = 60.0  # seconds after which also a client that says nothing at all counts as silent


class Answered(Record):
    """An answer of the hub. `versions` by key of the secret; of what it has an error for there is none. `spread` is the
    seconds over which it wants looks to be spread."""

    versions: Mapping[str, str]
    spread: float


class Silent(Record):
    """The hub did not answer, and why: a sentence."""

    reason: str


class Hearing(Record):
    """What is known of the hub. Moments are monotonic, `answered_at` is epoch seconds.

    `said` is the version that it said last, by key. `alone` is the moment from which a secret may be due as without a
    hub, `wake` when a secret is looked at because the hub said another version, and `doubted` until when it wakes
    nobody. `until` is when the last answer ceases to count.
    """

    connected: bool = False
    said: Mapping[str, str] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)
    wake: Mapping[str, float] = field(default_factory=dict)
    doubted: Mapping[str, float] = field(default_factory=dict)
    until: float = 0.0
    answered_at: float | None = None
    trouble: str | None = None

    def answers_for(self, secret: Watched) -> bool:
        """Whether the hub says what the agent saw itself, so that the next own look is at the floor."""
        return self.connected and self.said.get(secret.key) == secret.version


class Look(Record):
    """When (monotonic) the next pass is due; which secrets it must not ask about although they would be due without a
    hub, and which it must because the hub says that they moved; and which are due at their floor alone, since the hub
    says of them what the agent saw itself."""

    due: float
    held: frozenset[str]
    moved: frozenset[str]
    confirmed: frozenset[str]


def heard(
    hearing: Hearing, asking: Asking, answer: Answered, *, now: float, wall: float, rng: random.Random
) -> Hearing:
    """After an answer. `now` is monotonic, `wall` epoch seconds."""
    before = hearing
    wake = dict(hearing.wake)
    spread = rng.uniform(0.0, min(max(answer.spread, 0.0), SPREAD_AT_MOST))
    for secret in asking.watched:
        version = answer.versions.get(secret.key)
        if version is None or version == secret.version:
            wake.pop(secret.key, None)
        elif now >= hearing.doubted.get(secret.key, now):
            wake.setdefault(secret.key, now + spread)
    hearing = replace(
        hearing,
        connected=True,
        said=dict(answer.versions),
        wake=wake,
        until=now + asking.wait + PATIENCE + _SLACK,
        answered_at=wall,
        trouble=None,
    )
    lost = [secret for secret in asking.watched if before.answers_for(secret) and secret.key not in answer.versions]
    alone = {key: moment for key, moment in hearing.alone.items() if key not in answer.versions}
    return replace(hearing, alone={**alone, **_spread(lost, now, rng)})


def silent(hearing: Hearing, asking: Asking, reason: str, *, now: float, rng: random.Random) -> Hearing:
    """After a request that the hub did not answer. A look that it asked for before is still made."""
    if not hearing.connected:
        return replace(hearing, trouble=reason)
    lost = [secret for secret in asking.watched if hearing.answers_for(secret)]
    return replace(hearing, connected=False, alone={**hearing.alone, **_spread(lost, now, rng)}, trouble=reason)


def _spread(secrets: Collection[Watched], now: float, rng: random.Random) -> dict[str, float]:
    """From when secrets may be due again as without a hub: one random number for all, so that they stay in one pass."""
    part = rng.random()
    return {secret.key: now + part * secret.period for secret in secrets}


def looked(hearing: Hearing, before: Asking, after: Asking, now: float) -> Hearing:
    """After a pass. What it looked at is no longer to be looked at because of the hub; where AWS says something else
    than the hub, the hub wakes nobody for a period. `before` and `after` are what was known before it and since."""
    dues = {secret.key: secret.due for secret in before.watched}
    known = {secret.key: secret for secret in after.watched}
    fresh = {key for key, secret in known.items() if dues.get(key) != secret.due}
    wrong = {key for key in fresh if hearing.said.get(key, known[key].version) != known[key].version}
    doubted = {key: until for key, until in hearing.doubted.items() if until > now}
    return replace(
        hearing,
        wake={key: moment for key, moment in hearing.wake.items() if key in known and key not in fresh},
        doubted={**doubted, **{key: now + known[key].period for key in wrong}},
    )


def look(hearing: Hearing, asking: Asking, now: float) -> Look:
    """What is due when."""
    moments = {secret.name: _due(hearing, secret) for secret in asking.watched}
    due = min([asking.other, *(at for at, _ in moments.values())])
    moved = frozenset(s.name for s in asking.watched if hearing.wake.get(s.key, float("inf")) <= now)
    some = any(at <= now for at, _ in moments.values())
    held = frozenset(name for name, (_, along) in moments.items() if along > now or not some) - moved
    if hearing.connected:
        due = min(due, hearing.until)
    return Look(due, held, moved, frozenset(each.name for each in asking.watched if hearing.answers_for(each)))


def own_look(hearing: Hearing, secret: Watched) -> float:
    """When (monotonic) a secret is looked at next."""
    return _due(hearing, secret)[0]


def _due(hearing: Hearing, secret: Watched) -> tuple[float, float]:
    """When a secret is due, and from when on it joins a pass that is made for others."""
    due, along = secret.floor, secret.floor_along
    if (wake := hearing.wake.get(secret.key)) is not None:
        return min(due, wake), min(along, wake)
    if hearing.answers_for(secret):
        return due, along
    alone = hearing.alone.get(secret.key, 0.0)
    return min(due, max(secret.due, alone)), min(along, max(secret.along, alone))
