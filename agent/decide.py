"""What to do about each secret and each target, given what is wanted, published and observed.

Pure: values in, values out. One pass asks four questions, in this order: which secrets to describe (`to_describe`),
what to do about each (`decide`), what the next generation holds (`compose`), and whom to tell (`owed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from agent.config import Secret, Target
from agent.errors import Failure
from agent.record import Record, field, replace
from agent.schedule import Refusal, Rotation
from agent.secret import Fetched, ProjectedFile


class Observation(Record):
    """What DescribeSecret says: the version that holds the wanted stage, that version's stages, and rotation."""

    version_id: str
    stages: tuple[str, ...]
    rotation: Rotation


class PublishedSecret(Record):
    """One secret as the manifest of the published generation tells it.

    `changed` is the generation that last changed it, `changed_at` that generation's time (epoch seconds),
    `visible_since` the moment from which every reader finds it, in seconds since boot; a process that started
    later has it. None: not known, for instance since another boot.
    """

    version_id: str
    stages: tuple[str, ...]
    fingerprint: str
    changed: int
    changed_at: float
    created_at: float | None
    visible_since: float | None
    paths: tuple[str, ...] = ()


class Published(Record):
    """What the volume says is published, read back. `generation` 0: nothing is.

    `accepted` holds per target the highest generation it accepted; with `record_lost` it could not be read and
    everyone is owed. `damage` tells by path what was found missing, altered or foreign; `damaged` names the secrets
    whose files are among it.
    """

    generation: int = 0
    published_at: float = 0.0
    secrets: Mapping[str, PublishedSecret] = field(default_factory=dict)
    accepted: Mapping[str, int] = field(default_factory=dict)
    record_lost: bool = False
    damage: Mapping[str, str] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset()

    def stands(self, secret: Secret) -> bool:
        """Whether the secret is published as its spec asks, every file of it as it was written."""
        published = self.secrets.get(secret.name)
        return published is not None and published.fingerprint == secret.fingerprint and secret.name not in self.damaged

    def as_asked(self, secret: Secret) -> bool:
        """Whether the files of the secret are those that its spec asks for, damage aside.

        Of a secret that follows a stage, any version will do: a pin that has run out leaves its files there, and which
        version is current is a matter of freshness.
        """
        published = self.secrets.get(secret.name)
        if published is None:
            return False
        if published.fingerprint == secret.fingerprint:
            return True
        held = replace(secret, version_stage=None, version_id=published.version_id)
        return secret.version_id is None and published.fingerprint == held.fingerprint

    def complete(self, secrets: Iterable[Secret]) -> bool:
        """Whether every file of every secret is there as it is asked for, optional secrets aside."""
        return self.generation > 0 and all(
            secret.optional or (self.as_asked(secret) and secret.name not in self.damaged) for secret in secrets
        )

    def accepted_by(self, target: Target) -> int:
        """The generation up to which the target has been told. A target not known yet starts at this one."""
        return 0 if self.record_lost else self.accepted.get(target.name, self.generation)


class Owed(Record):
    """A target that has not accepted `generation` yet, the latest that changed a secret it watches.

    `changed_at` is epoch seconds. A process that started later than `visible_since` (seconds since boot) has it.
    """

    target: Target
    generation: int
    changed_at: float
    visible_since: float | None


class Wanted(Record):
    """What the config asks for, and what only this process knows about it.

    `refused` holds what could not be projected: fetching that again would bring the same error. `settling`: a move
    was seen so lately that others may belong to it.
    """

    secrets: tuple[Secret, ...]
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    settling: bool = False


class Unasked(Record):
    """A due secret that needed no DescribeSecret: its value is to be fetched anyway, or it is pinned."""


Answer = Observation | Unasked | Failure

Action = Literal["fetch", "keep", "drop"]
Because = Literal[
    "new", "moved", "spec changed", "repair",  # fetch
    "current", "pinned", "not due", "settling", "failed", "unprojectable",  # keep
    "left the config",  # drop
]  # fmt: skip


class Step(Record):
    """What to do about one secret and why. `version_id` is the version to fetch; None: whichever has the stage."""

    secret: str
    action: Action
    because: Because
    version_id: str | None = None


class Plan(Record):
    """One step per secret that is wanted or published."""

    steps: tuple[Step, ...]

    def __getitem__(self, action: Action) -> dict[str, Step]:
        return {step.secret: step for step in self.steps if step.action == action}


def to_describe(wanted: Wanted, published: Published, due: Iterable[str]) -> frozenset[str]:
    """The due secrets that DescribeSecret must be asked about.

    GetSecretValue returns value and version in one call, so what is fetched anyway is not described first. A pinned
    version is never described: AWS lists only versions with a label.
    """
    due = frozenset(due)
    return frozenset(
        secret.name
        for secret in wanted.secrets
        if secret.name in due
        and secret.version_id is None
        and (published.stands(secret) or _was_refused(wanted, secret) is not None)
    )


def decide(wanted: Wanted, published: Published, observed: Mapping[str, Answer]) -> Plan:
    """What to do about every secret. A wanted secret that is missing from `observed` is not due.

    An error keeps what is published, whatever the error: only leaving the config drops a secret.
    """
    steps = [_step(secret, wanted, published, observed.get(secret.name)) for secret in wanted.secrets]
    gone = sorted(published.secrets.keys() - {secret.name for secret in wanted.secrets})
    return Plan((*steps, *(Step(name, "drop", "left the config") for name in gone)))


def _step(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step:
    for check in _CHECKS:
        if step := check(secret, wanted, published, answer):
            return step
    raise AssertionError(f"no check decides about {secret.name}")


_Check = Callable[[Secret, Wanted, Published, Answer | None], Step | None]


def _not_due(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "keep", "not due") if answer is None else None


def _failed(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "keep", "failed") if isinstance(answer, Failure) else None


def _unprojectable(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    refused = _was_refused(wanted, secret)
    return Step(secret.name, "keep", "unprojectable") if refused and refused == _version(secret, answer) else None


def _new(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    return None if secret.name in published.secrets else Step(secret.name, "fetch", "new", _version(secret, answer))


def _spec_changed(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    if published.secrets[secret.name].fingerprint == secret.fingerprint:
        return None
    return Step(secret.name, "fetch", "spec changed", _version(secret, answer))


def _repair(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    if secret.name not in published.damaged:
        return None
    return Step(secret.name, "fetch", "repair", _version(secret, answer))


def _pinned(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "keep", "pinned") if isinstance(answer, Unasked) else None


def _current(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    same = published.secrets[secret.name].version_id == _version(secret, answer)
    return Step(secret.name, "keep", "current") if same else None


def _settling(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "keep", "settling") if wanted.settling else None


def _moved(secret: Secret, wanted: Wanted, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "fetch", "moved", _version(secret, answer))


# The specification, read from the top: the first check that has an opinion decides.
_CHECKS: tuple[_Check, ...] = (
    _not_due,
    _failed,
    _unprojectable,
    _new,
    _spec_changed,
    _repair,
    _pinned,
    _current,
    _settling,
    _moved,
)


def _version(secret: Secret, answer: Answer | None) -> str | None:
    """The version that is wanted now, as far as it is known."""
    return answer.version_id if isinstance(answer, Observation) else secret.version_id


def _was_refused(wanted: Wanted, secret: Secret) -> str | None:
    refusal = wanted.refused.get(secret.name)
    return refusal.version_id if refusal and refusal.fingerprint == secret.fingerprint else None


class Entry(Record):
    """One secret of the next generation. `files` None: those that are published are carried over unread.

    `changed` tells whether readers find something else than before; a repair brings back what they had.
    """

    version_id: str
    stages: tuple[str, ...]
    fingerprint: str
    created_at: float | None
    files: Mapping[str, ProjectedFile] | None
    changed: bool


class Publication(Record):
    """The next generation, whole. `accepted` is the highest generation each target has been told of; None: this one."""

    entries: Mapping[str, Entry]
    accepted: Mapping[str, int | None]


def compose(
    wanted: Wanted,
    published: Published,
    fresh: Mapping[str, tuple[Fetched, Mapping[str, ProjectedFile]]],
    targets: Iterable[Target],
    *,
    quiet: bool,
) -> Publication | None:
    """What the next generation holds, or None when there is nothing to publish.

    The first generation is all or nothing, optional secrets aside. Later ones keep the last good value of whatever
    is not in `fresh`, even of a damaged secret, whose remaining files are better than none.

    The first generation tells no target: nobody can have read an earlier one, and SIGHUP ends a process that has not
    installed its handler yet. `quiet` says the same of this one (`init` runs before the app), but who is owed an
    earlier generation stays owed.
    """
    first = published.generation == 0
    if first and any(not secret.optional and secret.name not in fresh for secret in wanted.secrets):
        return None
    kept, taken = _divide(wanted, published, fresh)
    entries = {
        name: Entry(before.version_id, before.stages, before.fingerprint, before.created_at, None, False)
        for name, before in published.secrets.items()
        if name in kept
    }
    for secret in wanted.secrets:
        if secret.name in taken:
            fetched, files = fresh[secret.name]
            before = published.secrets.get(secret.name)
            same = before and (before.version_id, before.fingerprint) == (fetched.version_id, secret.fingerprint)
            entries[secret.name] = Entry(
                fetched.version_id, fetched.stages, secret.fingerprint, fetched.created_at, files, not same
            )
    if not first and not taken and kept == published.secrets.keys():
        return None
    targets = tuple(targets)
    behind = {o.target.name for o in owed(targets, published)}
    accepted: dict[str, int | None] = {
        target.name: None
        if (first and target.name not in published.accepted) or (quiet and target.name not in behind)
        else published.accepted_by(target)
        for target in targets
    }
    return Publication(entries, accepted)


def _divide(
    wanted: Wanted, published: Published, fresh: Mapping[str, tuple[Fetched, Mapping[str, ProjectedFile]]]
) -> tuple[set[str], set[str]]:
    """The published secrets that the next generation carries over as they are, and the fresh ones that it takes.

    1. What is wanted and not fresh keeps its last good value.
    2. What left the config stays while a secret that claims its path has no value yet: a renamed secret must not take
       the file away because AWS is out of reach at that moment.
    3. A fresh secret waits, with what it had, while a kept one still holds one of its paths.
    """
    names = {secret.name for secret in wanted.secrets}
    lacking = [s for s in wanted.secrets if s.name not in fresh and not published.stands(s)]
    claimed = {spec.path for secret in lacking for spec in secret.files}
    kept = {
        name
        for name, before in published.secrets.items()
        if name not in fresh and (name in names or any(_way(path) & claimed for path in before.paths))
    }
    taken = set(fresh)
    while True:
        held = {path for name in kept for path in published.secrets[name].paths}
        above = {step for path in held for step in _way(path)}
        waiting = {name for name in taken if any(path in above or _way(path) & held for path in fresh[name][1])}
        if not waiting:
            return kept, taken
        taken -= waiting
        kept |= waiting & published.secrets.keys()


def _way(path: str) -> set[str]:
    """The path itself and every directory above it."""
    parts = path.split("/")
    return {"/".join(parts[: end + 1]) for end in range(len(parts))}


def owed(targets: Iterable[Target], published: Published) -> tuple[Owed, ...]:
    """The targets that watch a secret which changed in a later generation than they have accepted.

    Each is owed the latest such generation only: whoever reads after that has all the changes before it.
    """
    debts = []
    for target in targets:
        accepted = published.accepted_by(target)
        later = [s for name, s in published.secrets.items() if target.watches(name) and s.changed > accepted]
        if later:
            latest = max(later, key=lambda secret: secret.changed)
            visible = [secret.visible_since for secret in later]
            since = None if None in visible else max(v for v in visible if v is not None)
            debts.append(Owed(target, latest.changed, latest.changed_at, since))
    return tuple(debts)
