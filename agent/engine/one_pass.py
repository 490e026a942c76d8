"""One pass: from the answers of source and sink to files, notifications and a `PassResult`.

Errors of sources, sinks and targets are values of the result, and so is whatever a call raises; what is raised here is
a bug.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.core import failover, schedule
from agent.core.decide import Desired, Step, compose, decide, left_out, pending_deliveries, to_describe, together
from agent.core.errors import Failure, ProjectionError, SecretError, VolumeError, cause
from agent.core.model import (
    Answer,
    Bundle,
    Call,
    Delivery,
    Now,
    Observation,
    PassResult,
    Pending,
    Publication,
    Published,
    Refusal,
    Request,
    Served,
    Target,
    Unasked,
    Wanted,
)
from agent.core.record import Record, field, replace
from agent.core.schedule import PassOutcome, Schedule
from agent.core.value import Fetched, ProjectedFile
from agent.engine import asking
from agent.engine.asking import Asked, Line
from agent.engine.pool import Pool, Raised, Unanswered

if TYPE_CHECKING:
    from agent.core.ports import Renderer, Sink, Source
    from agent.core.ports import Target as TargetPort

NOTIFY_LIMIT = 6.0  # seconds for all deliveries of a pass
_log = logging.getLogger(__name__)

Fresh = Mapping[str, tuple[Fetched, Mapping[str, ProjectedFile]]]


class Adapters(Record):
    """What a pass works with. `stopped` says whether a stop was asked for; `now` and `rng` are clock and randomness.

    Calls to the source and deliveries have separate threads: a URL that hangs takes none from the source.
    """

    source: Source
    sink: Sink
    render: Renderer
    target: Callable[[Target], TargetPort]
    stopped: Callable[[], bool]
    rng: random.Random = field(default_factory=random.Random)
    now: Callable[[], Now] = lambda: Now(time.monotonic(), time.time())
    calls: Pool = field(default_factory=lambda: Pool("aws"))
    deliveries: Pool = field(default_factory=lambda: Pool("notify", keeps_late=True))

    @property
    def line(self) -> Line:
        """What the source is asked by."""
        return Line(self.source, self.calls, self.stopped)


class Pass(Record):
    """What one pass leaves for the next: the result to report, when to do what, and the values fetched for a first
    generation that is not complete yet."""

    result: PassResult
    upcoming: Schedule
    waiting: Fresh = field(default_factory=dict)


class Trouble(Record):
    """What went wrong with secrets in a pass, the calls that were made, which place answered for those that have
    replicas, and why a list was denied, if one was: each step adds to it."""

    failures: Mapping[str, Failure] = field(default_factory=dict)
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    served: Mapping[str, Served] = field(default_factory=dict)
    list_denied: str | None = None

    def failed(self, failures: Mapping[str, Failure]) -> Trouble:
        """With failures of secrets; a later one replaces an earlier one, since it says more."""
        return replace(self, failures={**self.failures, **failures})

    def refusing(self, refused: Mapping[str, Refusal]) -> Trouble:
        """With versions that cannot become the files that are asked for; each is a failure of its secret, too."""
        failures = {name: refusal.failure for name, refusal in refused.items()}
        return replace(self.failed(failures), refused={**self.refused, **refused})

    def asked(self, asked: Asked[Any]) -> Trouble:
        """With the calls that were made, and the places that answered."""
        return replace(self, calls=self.calls + asked.calls, served={**self.served, **asked.served})


def one_pass(
    bundle: Bundle,
    upcoming: Schedule,
    waiting: Fresh,
    adapters: Adapters,
    *,
    quiet: bool = False,
    unpinned: Bundle | None = None,
) -> Pass:
    """Do one pass. With `quiet` what it publishes notifies no target (`init` runs before the app). `unpinned` is the
    bundle without the pins that are in force: a pin whose version cannot be published does not make a complete
    generation incomplete.

    1. Read back what is published.
    2. Observe the secrets that are due; what will be fetched anyway is not observed first.
    3. Decide.
    4. Acquire the versions decided on: fetch them and render their files.
    5. Commit: publish one generation.
    6. Notify: nobody is notified before the files are there.
    """
    began = adapters.now()
    # 1.
    try:
        before = adapters.sink.read()
    except VolumeError as error:
        return _unread(bundle, upcoming, waiting, adapters, began=began, problem=str(error))
    hurt = {name for name in before.damaged if name in upcoming.secrets and _not_in_backoff(upcoming, name)}
    desired = Desired(bundle.wanted, upcoming.refused, upcoming.settling(bundle.timing, began))
    # 2.
    observed, trouble = _observe(desired, before, upcoming.due(began) | hurt, upcoming.by_list, adapters.line)
    # 3.
    plan = decide(desired, before, observed)
    trouble = trouble.failed({name: upcoming.refused[name].failure for name in plan.refused})
    trouble = _held_back(trouble, desired, before, plan.held_back)
    # 4.
    fresh, trouble = _acquire(desired, before, plan.fetches, waiting, adapters, trouble=trouble)
    fresh, trouble, blocked = _unblocked(fresh, desired, before, adapters.sink, trouble)
    # 5.
    interrupted = adapters.stopped()
    alike = frozenset(name for name, (_, files) in fresh.items() if adapters.sink.holds(before, name, files))
    fresh, trouble = _newer(fresh, alike, desired, before, trouble)
    publication = None if interrupted else compose(desired, before, fresh, bundle.targets, quiet=quiet, alike=alike)
    published, problem = _commit(publication, before, adapters.sink)
    repaired = _repaired(before, published, adapters.sink)
    if publication and problem:
        trouble = trouble.failed({name: Failure("publish", problem) for name in fresh})
    first_waits = publication is None and before.generation == 0
    ended = adapters.now()
    complete = published.complete(_lenient(desired.secrets, (unpinned or bundle).wanted, published))
    outcome = PassOutcome(
        asked=frozenset(observed),
        failed=frozenset(trouble.failures),
        rotations={name: answer.rotation for name, answer in observed.items() if isinstance(answer, Observation)},
        refused=trouble.refused,
        moved=bool(plan.settling),
        started=complete,
    )
    upcoming = schedule.after_secrets(upcoming, bundle, outcome, ended, adapters.rng)
    # 6.
    deliveries: tuple[Delivery, ...] = ()
    if not (quiet or interrupted):
        upcoming, deliveries, unrecorded = _notify(bundle, upcoming, published, adapters)
        problem = problem or unrecorded
    ended = adapters.now()
    result = PassResult(
        started_at=began.wall,
        seconds=ended.monotonic - began.monotonic,
        published=published,
        generation_made=published.generation > before.generation,
        changed=tuple(name for name, secret in published.secrets.items() if secret.changed > before.generation),
        dropped=tuple(sorted(before.secrets.keys() - published.secrets.keys())),
        recorded={name: fresh[name][0].version_id for name in alike if _moved(name, before, published)},
        repaired=repaired,
        observations={name: answer for name, answer in observed.items() if isinstance(answer, Observation)},
        succeeded=frozenset() if interrupted else outcome.asked - outcome.failed - plan.settling,
        failures=trouble.failures,
        settling=plan.settling,
        waiting=first_waits,
        hopeless=first_waits and _hopeless(desired, fresh, upcoming.refused.keys() | blocked),
        trouble=problem,
        interrupted=interrupted,
        deliveries=deliveries,
        pending={name: each.generation for name, each in upcoming.targets.items()},
        next_polls={name: _epoch(each.due, ended) for name, each in upcoming.secrets.items()},
        next_tries={name: _epoch(each.due, ended) for name, each in upcoming.targets.items()},
        calls=trouble.calls,
        served=trouble.served,
        sweep_in=adapters.sink.tidy(),
        complete=complete,
        as_asked=frozenset(wanted.name for wanted in desired.secrets if published.as_asked(wanted)),
        list_denied=trouble.list_denied,
    )
    return Pass(result, upcoming, fresh if first_waits else {})


# -- the result of a pass ----------------------------------------------------------------------------------------------


def _unread(
    bundle: Bundle, upcoming: Schedule, waiting: Fresh, adapters: Adapters, *, began: Now, problem: str
) -> Pass:
    """A pass in which the sink could not even be read: what was due failed, and it is not known which targets are
    pending."""
    ended, due = adapters.now(), upcoming.due(began)
    outcome = PassOutcome(due, due, {}, upcoming.refused, moved=False, started=False)
    # It makes no call to the source, so it need not wait as long as one that fails.
    soon = schedule.after_secrets(replace(upcoming, started=False), bundle, outcome, ended, adapters.rng)
    soon = replace(schedule.with_pending(soon, {}, (), ended, adapters.rng), started=upcoming.started)
    result = PassResult(
        started_at=began.wall,
        seconds=ended.monotonic - began.monotonic,
        published=Published(),
        trouble=problem,
        next_polls={name: _epoch(each.due, ended) for name, each in soon.secrets.items()},
        unread=True,
    )
    return Pass(result, soon, waiting)


def _moved(name: str, before: Published, after: Published) -> bool:
    """Whether a published secret has another version than before."""
    was, now = before.secrets.get(name), after.secrets.get(name)
    return was is not None and now is not None and was.version_id != now.version_id


def _hopeless(desired: Desired, fresh: Fresh, unfit: Collection[str]) -> bool:
    """Whether trying again brings no first generation: all that it lacks was fetched, and cannot be published as it
    is."""
    lacking = {each.name for each in desired.secrets if not each.secret.optional and each.name not in fresh}
    return bool(lacking) and lacking <= set(unfit)


def _lenient(acting: tuple[Wanted, ...], unpinned: tuple[Wanted, ...], published: Published) -> list[Wanted]:
    """The secrets as they are asked for; one whose pin published nothing, as the config asks for it without the pin."""
    plain = {wanted.name: wanted for wanted in unpinned}
    return [each if published.as_asked(each) else plain.get(each.name, each) for each in acting]


def _repaired(before: Published, published: Published, sink: Sink) -> dict[str, str]:
    """What was found altered and has been repaired, by path, with what was found."""
    repaired = {path: finding for path, finding in before.damage.items() if path not in published.damage}
    for name, kept in sink.set_aside().items():
        repaired[name] = f"{before.damage.get(name, 'replaced')}; what stood there is kept as {kept}"
    return repaired


def _epoch(due: float, now: Now) -> float:
    """A due time (monotonic) in epoch seconds."""
    return now.wall + due - now.monotonic


def _not_in_backoff(upcoming: Schedule, name: str) -> bool:
    """Damage is repaired at once, but not by hammering the source."""
    return upcoming.secrets[name].failures == 0


# -- observe -----------------------------------------------------------------------------------------------------------


def _observe(
    desired: Desired, before: Published, due: frozenset[str], by_list: frozenset[str], line: Line
) -> tuple[dict[str, Answer], Trouble]:
    """An answer for every secret that is due, and what went wrong. What a list does not show unmoved is asked about as
    if there were no list."""
    names = to_describe(desired, before, due)
    wanted = [each for each in desired.secrets if each.name in names]
    unmoved, trouble = _unmoved([each for each in wanted if each.name in by_list], before, line)
    asked = asking.observed(line, [Request(each.secret) for each in wanted if each.name not in unmoved])
    trouble = trouble.asked(asked)
    observed: dict[str, Answer] = {**dict.fromkeys(due, Unasked()), **unmoved}
    observed |= {name: _of_replica(name, answer, trouble) for name, answer in asked.results.items()}
    return observed, trouble.failed({name: a for name, a in observed.items() if isinstance(a, Failure)})


def _unmoved(wanted: list[Wanted], before: Published, line: Line) -> tuple[dict[str, Observation], Trouble]:
    """Those of these secrets that lists show at the version that is published, with their next rotation, and nothing
    of the others: a list may be behind, or short. And the calls that were made."""
    known = {
        each.name: before.secrets[each.name].version_id
        for each in wanted
        if each.secret.ref.kind == "secretsmanager" and before.stands(each)
    }
    asked = asking.listed(line, [Request(w.secret, known=known[w.name]) for w in wanted if w.name in known])
    shown = {
        name: found
        for name, found in asked.results.items()
        if isinstance(found, Observation) and found.version_id == known[name]
    }
    denied = (f.message for f in asked.results.values() if isinstance(f, Failure) and f.reason == "access_denied")
    refs = {each.name: each.secret.ref for each in wanted if each.name in shown and each.secret.ref.replicas}
    served = {name: Served(0, failover.region(ref), None) for name, ref in refs.items()}
    return shown, Trouble(calls=asked.calls, served=served, list_denied=next(denied, None))


def _of_replica(name: str, answer: Observation | Failure, trouble: Trouble) -> Observation | Failure:
    served = trouble.served.get(name)
    return (
        replace(answer, replica=served.region) if isinstance(answer, Observation) and served and served.turn else answer
    )


# -- acquire -----------------------------------------------------------------------------------------------------------


def _acquire(
    desired: Desired,
    before: Published,
    steps: Mapping[str, Step],
    waiting: Fresh,
    adapters: Adapters,
    *,
    trouble: Trouble,
) -> tuple[Fresh, Trouble]:
    """The values of the versions decided on with their files, including those that wait for a first generation; and
    what went wrong.

    Secrets that are published together are rendered together: what is wrong with one holds back the others. A version
    that was refused before, and is still the wanted one, is a failure of this pass, too.
    """
    wanted = {each.name: each for each in desired.secrets if each.name in steps}
    requests = [Request(w.secret, w.secret.ref.version_id or steps[name].version_id) for name, w in wanted.items()]
    asked = asking.fetched(adapters.line, requests, trouble.served)
    failures = {name: answer for name, answer in asked.results.items() if isinstance(answer, Failure)}
    trouble = trouble.asked(asked).failed(failures)
    values = {name: answer for name, answer in asked.results.items() if isinstance(answer, Fetched)}
    trouble = _held_back(trouble, desired, before, wanted)
    fresh: Fresh = {}
    for group in _groups(desired, values.keys() - trouble.failures.keys()):
        if not adapters.stopped():
            made, trouble = _rendered([wanted[name] for name in group], values, adapters.render, trouble)
            fresh = {**fresh, **made}
    remembered = {n: r for n, r in desired.refused.items() if n in trouble.failures and n not in trouble.refused}
    trouble = replace(trouble, refused={**trouble.refused, **remembered})
    return {**{n: value for n, value in waiting.items() if n not in trouble.refused}, **fresh}, trouble


def _groups(desired: Desired, names: Collection[str]) -> list[list[str]]:
    """The names, those that are published together in one list, in the order of the config."""
    joined = {name: group for group in together(desired.secrets) for name in group}
    groups: dict[frozenset[str], list[str]] = {}
    for wanted in desired.secrets:
        if wanted.name in names:
            groups.setdefault(joined.get(wanted.name, frozenset({wanted.name})), []).append(wanted.name)
    return list(groups.values())


def _rendered(
    group: list[Wanted], values: Mapping[str, Fetched], render: Renderer, trouble: Trouble
) -> tuple[Fresh, Trouble]:
    """The files of the secrets of a group, each shared one with each of its inputs; or why there are none."""
    inputs = [(wanted.secret, values[wanted.name]) for wanted in group]
    names = {wanted.name for wanted in group}
    outputs = list(dict.fromkeys(o for wanted in group for o in wanted.outputs if o.made_of(names)))
    try:
        files = render(inputs, outputs)
    except ProjectionError as error:
        refused = {}
        for wanted in group:
            version, made_at = values[wanted.name].version_id, values[wanted.name].created_at
            failure = Failure(error.failure.reason, f"version {version}: {error.failure.message}")
            refused[wanted.name] = Refusal(version, wanted.fingerprint, failure, made_at)
        return {}, trouble.refusing(refused)
    except SecretError as error:
        return {}, trouble.failed(dict.fromkeys(names, error.failure))
    except (ImportError, OSError) as error:  # some formats are imported when they are first asked for
        return {}, trouble.failed(dict.fromkeys(names, Failure("other", _cannot_render(error))))
    made: dict[str, dict[str, ProjectedFile]] = {name: {} for name in names}
    for output, of_output in files.items():
        for name in names.intersection(output.inputs):
            made[name] |= of_output
    return {name: (values[name], made[name]) for name in names}, trouble


def _held_back(trouble: Trouble, desired: Desired, before: Published, concerned: Collection[str]) -> Trouble:
    """With a failure for each of these secrets that is published together with one that failed."""
    dispensable = left_out(desired.secrets, before, trouble.failures.keys())
    held: dict[str, Failure] = {}
    for group in together(desired.secrets):
        causes = sorted(name for name in group & trouble.failures.keys() if name not in dispensable)
        for name in (group & set(concerned)) - trouble.failures.keys() if causes else ():
            first = trouble.failures[causes[0]]
            why = f"held back, since a file is made of it and of {causes[0]}: {first.message}"
            held[name] = Failure(first.reason, why)
    return trouble.failed(held)


def _cannot_render(error: ImportError | OSError) -> str:
    reason = cause(error) if isinstance(error, OSError) else "a module is missing"
    return f"what its files need cannot be loaded now: {reason}; tried again when the backoff is due"


def _unblocked(
    fresh: Fresh, desired: Desired, before: Published, sink: Sink, trouble: Trouble
) -> tuple[Fresh, Trouble, frozenset[str]]:
    """The secrets whose names in the sink are free or ours; the others become failures, and hold back those that are
    published together with them. So what is in the way of one secret delays no other."""
    try:
        blocked = sink.blocked(before, {name: files.keys() for name, (_, files) in fresh.items()})
    except VolumeError:
        return fresh, trouble, frozenset()  # publishing will report it, for all of them
    if not blocked:
        return fresh, trouble, frozenset()
    stopped = trouble.failed({name: Failure("publish", why) for name, why in blocked.items()})
    stopped = _held_back(stopped, desired, before, fresh.keys())
    unfit = blocked.keys() | (stopped.failures.keys() - trouble.failures.keys())
    return {name: value for name, value in fresh.items() if name not in unfit}, stopped, frozenset(unfit)


def _newer(
    fresh: Fresh, alike: frozenset[str], desired: Desired, before: Published, trouble: Trouble
) -> tuple[Fresh, Trouble]:
    """Without what a replica gave that is not known to be newer than what is published. What is the same, whatever its
    version is called, confirms it."""
    refused = {}
    for wanted in desired.secrets:
        served = trouble.served.get(wanted.name)
        if served is None or served.turn == 0 or wanted.name not in fresh or wanted.name in alike:
            continue
        fetched, _ = fresh[wanted.name]
        if failover.falls_back(wanted, before, fetched):
            why = failover.behind(served, fetched)
            refused[wanted.name] = Refusal(
                fetched.version_id, wanted.fingerprint, why, fetched.created_at, served.region
            )
    if not refused:
        return fresh, trouble
    trouble = _held_back(trouble.refusing(refused), desired, before, fresh.keys())
    return {name: value for name, value in fresh.items() if name not in trouble.failures}, trouble


# -- commit ------------------------------------------------------------------------------------------------------------


def _commit(publication: Publication | None, before: Published, sink: Sink) -> tuple[Published, str | None]:
    """What is published afterwards, and what went wrong. Links alone are repaired without a new generation."""
    try:
        if publication:
            return sink.publish(publication, before), None
        if before.damage and before.generation:
            sink.mend(before)
            return sink.read(), None
    except VolumeError as error:
        return before, str(error)
    return before, None


# -- notify ------------------------------------------------------------------------------------------------------------


def _notify(
    bundle: Bundle, upcoming: Schedule, published: Published, adapters: Adapters
) -> tuple[Schedule, tuple[Delivery, ...], str | None]:
    """Notify the pending targets that are due. Each acceptance is recorded before the next is waited for."""
    pending = {each.target.name: each for each in pending_deliveries(bundle.targets, published)}
    now = adapters.now()
    generations = {name: each.generation for name, each in pending.items()}
    upcoming = schedule.with_pending(upcoming, generations, bundle.targets, now, adapters.rng)
    due = {name: pending[name] for name, each in upcoming.targets.items() if each.due <= now.monotonic}
    accepted = {target.name: published.accepted_by(target) for target in bundle.targets}
    deliveries, problem = [], _record(adapters.sink, adapters.sink.unrecorded)
    asks = {name: partial(adapters.target(each.target).deliver, each) for name, each in due.items()}
    for name, answer in adapters.deliveries.ask(asks, each=NOTIFY_LIMIT, total=NOTIFY_LIMIT, stopped=adapters.stopped):
        if isinstance(answer, Unanswered) and adapters.stopped():
            continue
        delivery = answer if isinstance(answer, Delivery) else _undelivered(due[name], answer)
        if not (isinstance(answer, Unanswered) and not answer.asked):
            deliveries.append(delivery)
        if delivery.accepted:
            accepted[name] = delivery.generation
            problem = _record(adapters.sink, accepted) or problem
        if delivery.accepted and delivery.generation < due[name].generation:
            continue  # a late answer about an earlier generation: the latest is still pending, and due now
        upcoming = schedule.after_delivery(upcoming, name, adapters.now(), adapters.rng, accepted=delivery.accepted)
    return upcoming, tuple(deliveries), problem


def _undelivered(pending: Pending, why: Unanswered | Raised) -> Delivery:
    """A missing or unreadable answer counts as a refusal."""
    message = f"no answer within {NOTIFY_LIMIT:g} s; tried again later"
    if isinstance(why, Raised):
        _log.debug("a delivery failed", exc_info=why.error)
        message = "what was answered could not be read; the log at level debug says where; tried again later"
    return Delivery(pending.target.name, pending.generation, False, message)


def _record(sink: Sink, accepted: Mapping[str, int]) -> str | None:
    if not accepted:
        return None
    try:
        sink.record_deliveries(accepted)
    except VolumeError as error:
        return str(error)
    return None
