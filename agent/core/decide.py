"""What to do about each secret and each target, given what is desired, published and observed.

Pure: values in, values out. One pass asks four questions, in this order: which secrets to describe (`to_describe`),
what to do about each (`decide`), what the next generation holds (`compose`), and which targets
are pending (`pending_deliveries`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from agent.core.errors import Failure
from agent.core.model import (
    Answer,
    Entry,
    Observation,
    Pending,
    Publication,
    Published,
    Refusal,
    Secret,
    Target,
    Unasked,
)
from agent.core.record import Record, field
from agent.core.value import Fetched, ProjectedFile


class Desired(Record):
    """What the config asks for, and what only this process knows about it.

    `refused` holds what could not be projected: fetching that again would bring the same error. `settling`: a move
    was seen so recently that others may belong to it.
    """

    secrets: tuple[Secret, ...]
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    settling: bool = False


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

    @property
    def fetches(self) -> dict[str, Step]:
        """The steps that fetch, by secret."""
        return {step.secret: step for step in self.steps if step.action == "fetch"}

    @property
    def settling(self) -> frozenset[str]:
        """The secrets whose moved version waits for others that may belong to it."""
        return frozenset(step.secret for step in self.steps if step.because == "settling")

    @property
    def refused(self) -> frozenset[str]:
        """The secrets whose wanted version is known to be unusable."""
        return frozenset(step.secret for step in self.steps if step.because == "unprojectable")


def to_describe(wanted: Desired, published: Published, due: Iterable[str]) -> frozenset[str]:
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


def decide(wanted: Desired, published: Published, observed: Mapping[str, Answer]) -> Plan:
    """What to do about every secret. A wanted secret that is missing from `observed` is not due.

    An error keeps what is published, whatever the error: only leaving the config drops a secret.
    """
    steps = [_step(secret, wanted, published, observed.get(secret.name)) for secret in wanted.secrets]
    gone = sorted(published.secrets.keys() - {secret.name for secret in wanted.secrets})
    return Plan((*steps, *(Step(name, "drop", "left the config") for name in gone)))


def _step(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step:
    for check in _CHECKS:
        if step := check(secret, wanted, published, answer):
            return step
    raise AssertionError(f"no check decides about {secret.name}")


_Check = Callable[[Secret, Desired, Published, Answer | None], Step | None]


def _not_due(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "keep", "not due") if answer is None else None


def _failed(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "keep", "failed") if isinstance(answer, Failure) else None


def _unprojectable(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    refused = _was_refused(wanted, secret)
    return Step(secret.name, "keep", "unprojectable") if refused and refused == _version(secret, answer) else None


def _new(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    return None if secret.name in published.secrets else Step(secret.name, "fetch", "new", _version(secret, answer))


def _spec_changed(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    if published.secrets[secret.name].fingerprint == secret.fingerprint:
        return None
    return Step(secret.name, "fetch", "spec changed", _version(secret, answer))


def _repair(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    if secret.name not in published.damaged:
        return None
    return Step(secret.name, "fetch", "repair", _version(secret, answer))


def _pinned(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "keep", "pinned") if isinstance(answer, Unasked) else None


def _current(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    same = published.secrets[secret.name].version_id == _version(secret, answer)
    return Step(secret.name, "keep", "current") if same else None


def _settling(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "keep", "settling") if wanted.settling else None


def _moved(secret: Secret, wanted: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(secret.name, "fetch", "moved", _version(secret, answer))


# The specification, read from the top: the first check that returns a step decides.
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


def _was_refused(wanted: Desired, secret: Secret) -> str | None:
    refusal = wanted.refused.get(secret.name)
    return refusal.version_id if refusal and refusal.fingerprint == secret.fingerprint else None


def compose(
    wanted: Desired,
    published: Published,
    fresh: Mapping[str, tuple[Fetched, Mapping[str, ProjectedFile]]],
    targets: Iterable[Target],
    *,
    quiet: bool,
    alike: frozenset[str] = frozenset(),
) -> Publication | None:
    """What the next generation holds, or None when there is nothing to publish.

    `alike` names the fresh secrets whose published files are exactly those of the new version. They are carried over,
    and only the new version is recorded.

    The first generation is all or nothing, optional secrets aside. Later ones keep the last good value of whatever
    is not in `fresh`, even of a damaged secret, whose remaining files are better than none.

    The first generation notifies no target: nobody can have read an earlier one, and SIGHUP ends a process that has not
    installed its handler yet. With `quiet` this one notifies nobody either (`init` runs before the app), but a target
    that is pending for an earlier generation stays pending.
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
                fetched.version_id,
                fetched.stages,
                secret.fingerprint,
                fetched.created_at,
                None if secret.name in alike else files,
                not same and secret.name not in alike,
            )
    if not first and not taken and kept == published.secrets.keys():
        return None
    targets = tuple(targets)
    behind = {o.target.name for o in pending_deliveries(targets, published)}
    accepted: dict[str, int | None] = {
        target.name: None
        if (first and target.name not in published.accepted) or (quiet and target.name not in behind)
        else published.accepted_by(target)
        for target in targets
    }
    return Publication(entries, accepted)


def _divide(
    wanted: Desired, published: Published, fresh: Mapping[str, tuple[Fetched, Mapping[str, ProjectedFile]]]
) -> tuple[set[str], set[str]]:
    """The published secrets that the next generation carries over as they are, and the fresh ones that it takes.

    1. What is wanted and not fresh keeps its last good value.
    2. What left the config stays while a secret that claims its path has no value yet: a renamed secret must not take
       the file away because AWS cannot be reached at that moment.
    3. A fresh secret waits, with what it had, while a kept one still holds one of its paths.
    """
    names = {secret.name for secret in wanted.secrets}
    lacking = [s for s in wanted.secrets if s.name not in fresh and not published.stands(s)]
    claimed = {spec.path for secret in lacking for spec in secret.files}
    kept = {
        name
        for name, before in published.secrets.items()
        if name not in fresh and (name in names or any(_ancestors(path) & claimed for path in before.paths))
    }
    taken = set(fresh)
    while True:
        held = {path for name in kept for path in published.secrets[name].paths}
        above = {step for path in held for step in _ancestors(path)}
        waiting = {name for name in taken if any(path in above or _ancestors(path) & held for path in fresh[name][1])}
        if not waiting:
            return kept, taken
        taken -= waiting
        kept |= waiting & published.secrets.keys()


def _ancestors(path: str) -> set[str]:
    """The path itself and every directory above it."""
    parts = path.split("/")
    return {"/".join(parts[: end + 1]) for end in range(len(parts))}


def pending_deliveries(targets: Iterable[Target], published: Published) -> tuple[Pending, ...]:
    """The targets that watch a secret which changed in a later generation than they have accepted.

    Each is pending for the latest such generation only: a reader of that one has all earlier changes, too.
    """
    pending = []
    for target in targets:
        accepted = published.accepted_by(target)
        later = [s for name, s in published.secrets.items() if target.watches(name) and s.changed > accepted]
        if later:
            latest = max(later, key=lambda secret: secret.changed)
            visible = [secret.visible_since for secret in later]
            since = None if None in visible else max(v for v in visible if v is not None)
            pending.append(Pending(target, latest.changed, latest.changed_at, since))
    return tuple(pending)
