"""When each secret and each target is due: period, jitter, backoff, rotation window.

Pure: the time and the random number generator are parameters; a `Schedule` goes in and the next one comes out.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping

from agent.core.model import FAST_AT_MOST, JITTER, Bundle, Now, Refusal, Rotation, Secret, Target, Timing
from agent.core.record import Record, field, replace
from agent.core.rest import Watched

BACKOFF_AT_MOST = 300.0  # seconds that backoff adds to a failing secret's period

STARTUP_BACKOFF_AT_MOST = 15.0  # seconds between attempts while a pod waits for its first generation

NOTIFY_BACKOFF_AT_MOST = 60.0  # seconds between attempts at a target that refuses


class NextPoll(Record):
    """When one secret is due (monotonic). From `along` on it joins a pass that is made for others.

    `fast_since` (wall) is when quick polling for rotation `fast_key` began. `floor` and `floor_along` are the same two
    moments for while the hub answers for it; None: the hub has no say, since the secret is new or fails.
    """

    due: float
    along: float
    failures: int = 0
    rotation: Rotation | None = None
    fast_key: str | None = None
    fast_since: float = 0.0
    floor: float | None = None
    floor_along: float = 0.0


class NextTry(Record):
    """When the next attempt at a pending target is due (monotonic), and for which generation."""

    generation: int
    due: float
    failures: int = 0


class PassOutcome(Record):
    """What one pass learned that matters to the next. `moved`: a moved version was seen and left to settle."""

    asked: frozenset[str]
    failed: frozenset[str]
    rotations: Mapping[str, Rotation]
    refused: Mapping[str, Refusal]
    moved: bool
    started: bool


class Schedule(Record):
    """What the agent remembers between passes about when to do what, because it cannot be read back."""

    secrets: Mapping[str, NextPoll]
    targets: Mapping[str, NextTry] = field(default_factory=dict)
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    settle_at: float | None = None  # monotonic; a move was seen, and others may belong to it until then
    started: bool = False  # the app once had everything it needs: from then on nobody waits for a retry
    held: frozenset[str] = frozenset()  # the hub answers for these, so they are not due before their floor
    listed: frozenset[str] = frozenset()  # the hub answers for these, and a list may look at them

    def due(self, now: Now) -> frozenset[str]:
        """The secrets to ask about now; all of them when settling ends, so that one pass sees what rotated together.

        Those that are due soon are included: secrets that drifted apart, since one failed or was edited, are asked
        about together again.
        """
        if self.settle_at is not None and self.settle_at <= now.monotonic:
            return frozenset(self.secrets)
        asked = {n: timing for n, timing in self.secrets.items() if n not in self.held or timing.floor is None}
        if not any(timing.due <= now.monotonic for timing in asked.values()):
            return frozenset()
        return frozenset(name for name, timing in asked.items() if timing.along <= now.monotonic)

    @property
    def by_list(self) -> frozenset[str]:
        """The secrets at which a list may look now. None while others that rotated with one that moved are waited for:
        a list may be some minutes behind."""
        if self.settle_at is not None:
            return frozenset()
        return frozenset(name for name in self.listed & self.secrets.keys() if self.secrets[name].floor is not None)

    def settling(self, timing: Timing, now: Now) -> bool:
        """Whether a moved version must wait for others that may belong to it."""
        return timing.settle > 0 and (self.settle_at is None or now.monotonic < self.settle_at)

    @property
    def next_due(self) -> float:
        """The moment (monotonic) of the next pass."""
        return self.next_due_beside(())

    def next_due_beside(self, names: Collection[str]) -> float:
        """The moment (monotonic) of the next pass for anything but asking about these secrets; may be infinite."""
        moments = [float("inf"), *(timing.due for name, timing in self.secrets.items() if name not in names)]
        moments += [attempt.due for attempt in self.targets.values()]
        return min(moments if self.settle_at is None else [*moments, self.settle_at])


def begin(bundle: Bundle, now: Now) -> Schedule:
    """The schedule of an agent that has just started: everything is due."""
    return Schedule({secret.name: NextPoll(now.monotonic, now.monotonic) for secret in bundle.secrets})


def reload(upcoming: Schedule, before: Bundle, after: Bundle, now: Now) -> Schedule:
    """The schedule of an edited bundle: what is new or was edited is due now, the rest keeps its time."""
    unchanged = set(before.wanted) if before.timing.period == after.timing.period else set()
    secrets = {
        each.name: upcoming.secrets[each.name] if each in unchanged else NextPoll(now.monotonic, now.monotonic)
        for each in after.wanted
    }
    names = {target.name for target in after.targets}
    return replace(
        upcoming,
        secrets=secrets,
        targets={name: attempt for name, attempt in upcoming.targets.items() if name in names},
        refused={name: refusal for name, refusal in upcoming.refused.items() if name in secrets},
    )


def expedite(upcoming: Schedule, now: Now) -> Schedule:
    """The schedule with everything due now, whatever its period or backoff."""
    return replace(
        upcoming,
        secrets={
            name: replace(timing, due=now.monotonic, along=now.monotonic) for name, timing in upcoming.secrets.items()
        },
        targets={name: replace(attempt, due=now.monotonic) for name, attempt in upcoming.targets.items()},
        settle_at=None if upcoming.settle_at is None else now.monotonic,
        held=frozenset(),
        listed=frozenset(),
    )


def heed(
    upcoming: Schedule,
    held: frozenset[str],
    moved: Collection[str],
    now: Now,
    listed: frozenset[str] = frozenset(),
) -> Schedule:
    """The schedule of a pass for which the hub answers for some secrets, and says that others moved: those are due.
    `listed` are those that it answers for, where a list may look at them. None does when something moved: many agents
    may look then, at what moved and what goes along, and an account has few lists a second.
    """
    secrets = {
        name: replace(timing, due=now.monotonic, along=now.monotonic) if name in moved else timing
        for name, timing in upcoming.secrets.items()
    }
    return replace(upcoming, secrets=secrets, held=held - frozenset(moved), listed=frozenset() if moved else listed)


def watched(secret: Secret, poll: NextPoll, seen: str | None, region: str | None) -> Watched | None:
    """The secret as the hub may be asked about it; None if it may not. `seen` is the version that the agent saw last,
    `region` that of the environment.

    It must follow a stage, and AWS must have answered last time. A name means something in one account only, so one
    that is reached by a role is left out: the hub may be of another account.
    """
    ref = secret.ref
    where = ref.place.region or region
    if ref.kind not in ("secretsmanager", "parameter") or not (ref.version_stage and seen and where):
        return None
    if poll.floor is None or (ref.place.roles and not ref.id.startswith("arn:")):
        return None
    return Watched(
        name=secret.name,
        kind=ref.kind,
        id=ref.id,
        region=where,
        stage=ref.version_stage,
        version=seen,
        period=secret.period,
        due=poll.due,
        along=poll.along,
        floor=poll.floor,
        floor_along=poll.floor_along,
    )


def after_secrets(upcoming: Schedule, bundle: Bundle, outcome: PassOutcome, now: Now, rng: random.Random) -> Schedule:
    """The schedule after a pass that asked about some secrets."""
    # One random number for the whole pass: secrets of one period, or that fail together, stay in one pass. So secrets
    # that rotate together are seen together, and an outage does not leave each of them with a pass of its own.
    jitter = rng.random()
    factor = 1 - JITTER + 2 * JITTER * jitter
    secrets = dict(upcoming.secrets)
    started = upcoming.started or outcome.started
    for secret in bundle.secrets:
        if secret.name in outcome.asked:
            poll = _observed(secrets[secret.name], outcome.rotations.get(secret.name), now)
            if secret.name not in outcome.failed:
                poll = replace(poll, failures=0)
                wait = _interval(secret, bundle.timing, poll, now, jitter) * factor
                along = wait * (1 - JITTER)
                floor = max(secret.period, bundle.timing.floor) * factor
                # Wide, so that a secret that moved alone is soon looked at together with the others again.
                poll = replace(poll, floor=now.monotonic + floor, floor_along=now.monotonic + floor / 2)
            else:
                poll = replace(poll, failures=poll.failures + 1, floor=None)
                interval = _interval(secret, bundle.timing, poll, now, jitter) * factor if started else None
                along = wait = _backoff(interval, poll.failures, jitter)
            secrets[secret.name] = replace(poll, due=now.monotonic + wait, along=now.monotonic + along)
    if upcoming.settle_at is not None and upcoming.settle_at > now.monotonic:
        settle_at: float | None = upcoming.settle_at
    else:
        settle_at = now.monotonic + bundle.timing.settle if outcome.moved else None
    kept = {name: refusal for name, refusal in upcoming.refused.items() if name not in outcome.asked}
    return replace(upcoming, secrets=secrets, refused={**kept, **outcome.refused}, settle_at=settle_at, started=started)


def _observed(poll: NextPoll, rotation: Rotation | None, now: Now) -> NextPoll:
    """The poll with what was learned about the rotation; a fetch alone says nothing about it."""
    rotation = rotation or poll.rotation
    if rotation is None or not _under_way(rotation, now) or poll.fast_key == rotation.key:
        return replace(poll, rotation=rotation)
    return replace(poll, rotation=rotation, fast_key=rotation.key, fast_since=now.wall)


def _under_way(rotation: Rotation, now: Now) -> bool:
    """Whether a rotation may happen at any moment. In a long window that is only known once AWSPENDING shows it."""
    window = rotation.short_window
    return rotation.pending is not None or (window is not None and window[0] <= now.wall <= window[1])


def _interval(secret: Secret, timing: Timing, poll: NextPoll, now: Now, jitter: float) -> float:
    """Seconds until a secret that does not fail is due again."""
    rotation = poll.rotation
    if rotation is None:
        return secret.period
    spent = now.wall - poll.fast_since
    if _under_way(rotation, now) and poll.fast_key == rotation.key and 0 <= spent < FAST_AT_MOST:
        return min(secret.period, timing.rotation_period)
    if (window := rotation.short_window) and 0 < window[0] - now.wall < secret.period:
        return window[0] - now.wall + jitter * timing.rotation_period
    return secret.period


def _backoff(interval: float | None, failures: int, jitter: float) -> float:
    """Seconds until a failing secret is due again; `interval` None while a pod waits for its first generation.

    Otherwise full jitter comes on top of the interval: never more than one call per period, and no stampede when AWS is
    back.
    """
    doubled = 2.0 ** min(failures, 10)
    if interval is None:
        return 0.1 + jitter * (min(STARTUP_BACKOFF_AT_MOST, 0.5 * doubled) - 0.1)
    return interval + jitter * min(BACKOFF_AT_MOST, interval * (doubled / 2 - 1))


def with_pending(
    upcoming: Schedule, pending: Mapping[str, int], targets: Iterable[Target], now: Now, rng: random.Random
) -> Schedule:
    """The schedule with an attempt for every pending target (name to generation) and none for others.

    A later generation starts splay and backoff again; the earlier one is no longer notified by itself.
    """
    attempts = {}
    for target in targets:
        if (generation := pending.get(target.name)) is not None:
            attempt = upcoming.targets.get(target.name)
            if attempt is None or attempt.generation != generation:
                attempt = NextTry(generation, now.monotonic + rng.uniform(0, target.splay))
            attempts[target.name] = attempt
    return replace(upcoming, targets=attempts)


def after_delivery(upcoming: Schedule, target: str, now: Now, rng: random.Random, *, accepted: bool) -> Schedule:
    """The schedule after one attempt at a target: removed, or due again after a backoff."""
    attempts = dict(upcoming.targets)
    attempt = attempts.pop(target)
    if not accepted:
        wait = min(NOTIFY_BACKOFF_AT_MOST, 2.0 ** min(attempt.failures, 10)) * rng.uniform(0.5, 1)
        attempts[target] = replace(attempt, failures=attempt.failures + 1, due=now.monotonic + wait)
    return replace(upcoming, targets=attempts)
