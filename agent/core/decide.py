"""What to do about each secret and each target, given what is desired, published and observed.

Pure: values in, values out. One pass asks four questions, in this order: which secrets to describe (`to_describe`),
what to do about each (`decide`), what the next generation holds (`compose`), and which targets
are pending (`pending_deliveries`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
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
    Target,
    Unasked,
    Wanted,
)
from agent.core.record import Record, field
from agent.core.value import Fetched, ProjectedFile


class Desired(Record):
    """What the config asks for, and what only this process knows about it.

    `refused` holds what could not be projected: fetching that again would bring the same error. `settling`: a move
    was seen so recently that others may belong to it.
    """

    secrets: tuple[Wanted, ...]
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    settling: bool = False


Action = Literal["fetch", "keep", "drop"]

Because = Literal[
    "new", "moved", "spec changed", "repair", "input moved",  # fetch
    "current", "pinned", "not due", "settling", "failed", "unprojectable", "input failed",  # keep
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
    def held_back(self) -> frozenset[str]:
        """The secrets that are not fetched, since one that they are published together with failed."""
        return frozenset(step.secret for step in self.steps if step.because == "input failed")

    @property
    def refused(self) -> frozenset[str]:
        """The secrets whose wanted version is known to be unusable."""
        return frozenset(step.secret for step in self.steps if step.because == "unprojectable")


def to_describe(desired: Desired, published: Published, due: Iterable[str]) -> frozenset[str]:
    """The due secrets that DescribeSecret must be asked about.

    GetSecretValue returns value and version in one call, so what is fetched anyway is not described first: but for an
    optional secret that others are published together with, since they would be fetched each time that it is not there.
    A pinned version is never described: AWS lists only versions with a label.
    """
    due = frozenset(due)
    return frozenset(
        wanted.name
        for wanted in desired.secrets
        if wanted.name in due
        and wanted.secret.ref.version_id is None
        and (published.stands(wanted) or _was_refused(desired, wanted) is not None or _may_be_left_out(wanted))
    )


def decide(desired: Desired, published: Published, observed: Mapping[str, Answer]) -> Plan:
    """What to do about every secret. A wanted secret that is missing from `observed` is not due.

    An error keeps what is published, whatever the error: only leaving the config drops a secret.
    """
    steps = {each.name: _step(each, desired, published, observed.get(each.name)) for each in desired.secrets}
    for names in together(desired.secrets):
        steps |= _jointly(names, steps, desired, published, observed)
    gone = sorted(published.secrets.keys() - steps.keys())
    return Plan((*steps.values(), *(Step(name, "drop", "left the config") for name in gone)))


def together(wanted: Iterable[Wanted]) -> list[frozenset[str]]:
    """The names of the secrets that are published together, since an output is made of several of them."""
    groups: list[frozenset[str]] = []
    for each in wanted:
        joined = {each.name}.union(*(output.inputs for output in each.outputs))
        if len(joined) > 1:
            touching = [group for group in groups if group & joined]
            groups = [group for group in groups if not group & joined]
            groups.append(frozenset(joined.union(*touching)))
    return groups


def left_out(wanted: Iterable[Wanted], published: Published, failed: Collection[str]) -> frozenset[str]:
    """The optional secrets that failed and were never published: the outputs that need one of them are left out."""
    return frozenset(
        each.name
        for each in wanted
        if each.secret.optional and each.name in failed and each.name not in published.secrets
    )


def _may_be_left_out(wanted: Wanted) -> bool:
    return wanted.secret.optional and any(len(output.inputs) > 1 for output in wanted.outputs)


def _jointly(
    names: frozenset[str],
    steps: Mapping[str, Step],
    desired: Desired,
    published: Published,
    observed: Mapping[str, Answer],
) -> dict[str, Step]:
    """The steps for secrets that are published together: all of them are fetched, or none."""
    if not any(steps[name].action == "fetch" for name in names):
        return {}
    failed = {name for name in names if steps[name].because == "failed"}
    if failed - left_out(desired.secrets, published, failed):
        return {name: Step(name, "keep", "input failed") for name in names - failed}
    return {
        each.name: Step(each.name, "fetch", "input moved", _version(each, observed.get(each.name)))
        for each in desired.secrets
        if each.name in names - failed and steps[each.name].action == "keep"
    }


def _step(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step:
    for check in _CHECKS:
        if step := check(wanted, desired, published, answer):
            return step
    raise AssertionError(f"no check decides about {wanted.name}")


_Check = Callable[[Wanted, Desired, Published, Answer | None], Step | None]


def _not_due(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(wanted.name, "keep", "not due") if answer is None else None


def _failed(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(wanted.name, "keep", "failed") if isinstance(answer, Failure) else None


def _unprojectable(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    refused = _was_refused(desired, wanted)
    if refused is None or refused.version_id != _version(wanted, answer) or _remade(refused.created_at, answer):
        return None
    replica = answer.replica if isinstance(answer, Observation) else None
    return Step(wanted.name, "keep", "unprojectable") if refused.replica in (None, replica) else None


def _new(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    return None if wanted.name in published.secrets else Step(wanted.name, "fetch", "new", _version(wanted, answer))


def _spec_changed(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    if published.secrets[wanted.name].fingerprint == wanted.fingerprint:
        return None
    return Step(wanted.name, "fetch", "spec changed", _version(wanted, answer))


def _repair(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    if wanted.name not in published.damaged:
        return None
    return Step(wanted.name, "fetch", "repair", _version(wanted, answer))


def _pinned(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(wanted.name, "keep", "pinned") if isinstance(answer, Unasked) else None


def _current(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    before = published.secrets[wanted.name]
    same = before.version_id == _version(wanted, answer) and not _remade(before.created_at, answer)
    return Step(wanted.name, "keep", "current") if same else None


def _settling(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(wanted.name, "keep", "settling") if desired.settling else None


def _moved(wanted: Wanted, desired: Desired, published: Published, answer: Answer | None) -> Step | None:
    return Step(wanted.name, "fetch", "moved", _version(wanted, answer))


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


def _version(wanted: Wanted, answer: Answer | None) -> str | None:
    """The version that is wanted now, as far as it is known."""
    return answer.version_id if isinstance(answer, Observation) else wanted.secret.ref.version_id


def _remade(created_at: float | None, answer: Answer | None) -> bool:
    """Whether the version that was observed is known to be another than the one of that time, whatever it is called: a
    parameter that is deleted and made again begins at version 1 again."""
    found = answer.created_at if isinstance(answer, Observation) else None
    return None not in (created_at, found) and created_at != found


def _was_refused(desired: Desired, wanted: Wanted) -> Refusal | None:
    refusal = desired.refused.get(wanted.name)
    return refusal if refusal and refusal.fingerprint == wanted.fingerprint else None


def compose(
    desired: Desired,
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
    if first and any(not each.secret.optional and each.name not in fresh for each in desired.secrets):
        return None
    kept, taken = _divide(desired, published, fresh)
    entries = {
        name: Entry(before.version_id, before.stages, before.fingerprint, before.created_at, None, False)
        for name, before in published.secrets.items()
        if name in kept
    }
    for wanted in desired.secrets:
        if wanted.name in taken:
            fetched, files = fresh[wanted.name]
            before = published.secrets.get(wanted.name)
            same = before and (before.version_id, before.fingerprint) == (fetched.version_id, wanted.fingerprint)
            numbered = wanted.secret.ref.kind == "parameter"  # one that was made again has the same number
            same = same and not (numbered and before and before.created_at != fetched.created_at)
            entries[wanted.name] = Entry(
                fetched.version_id,
                fetched.stages,
                wanted.fingerprint,
                fetched.created_at,
                None if wanted.name in alike else files,
                not same and wanted.name not in alike,
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
    desired: Desired, published: Published, fresh: Mapping[str, tuple[Fetched, Mapping[str, ProjectedFile]]]
) -> tuple[set[str], set[str]]:
    """The published secrets that the next generation carries over as they are, and the fresh ones that it takes.

    1. What is wanted and not fresh keeps its last good value.
    2. What left the config stays while a secret that claims its path has no value yet: a renamed secret must not take
       the file away because AWS cannot be reached at that moment.
    3. A fresh secret waits, with what it had, while a kept one still holds one of its paths; those that are published
       together with it wait, too.
    """
    names = {wanted.name for wanted in desired.secrets}
    lacking = [each for each in desired.secrets if each.name not in fresh and not published.stands(each)]
    claimed = {output.path for wanted in lacking for output in wanted.outputs}
    groups = together(desired.secrets)
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
        waiting |= taken & frozenset().union(*(group for group in groups if group & waiting))
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
