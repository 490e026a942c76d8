"""One pass: from what AWS and the volume say to files, notifications and a `SyncResult`.

Errors of AWS, of the volume and of targets are values of the result, and so is whatever a call raises; what is raised
here is a bug.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial

from agent.core import schedule
from agent.core.decide import Desired, Step, compose, decide, pending_deliveries, to_describe
from agent.core.errors import Failure, ProjectionError, SecretError, VolumeError
from agent.core.model import (
    Answer,
    Call,
    Config,
    Delivery,
    Now,
    Observation,
    Operation,
    PassResult,
    Pending,
    Publication,
    Published,
    Refusal,
    Secret,
    Unasked,
)
from agent.core.record import Record, field, replace
from agent.core.schedule import PassOutcome, Schedule
from agent.core.value import Fetched, ProjectedFile
from agent.engine.pool import Pool, Raised, Unanswered
from agent.render import require
from agent.render.files import project
from agent.sinks.volume.volume import Volume
from agent.sources.aws.secrets_manager import CALL_LIMIT, SecretsManager
from agent.targets import notify

NOTIFY_LIMIT = 6.0  # seconds for all deliveries of a pass

_log = logging.getLogger(__name__)

Fresh = Mapping[str, tuple[Fetched, Mapping[str, ProjectedFile]]]


def pass_limit(calls: int) -> float:
    """Seconds for all calls of one step of a pass: twice what the slowest allowed call can take, and a turn for each of
    many. One call alone is given up after CALL_LIMIT."""
    return 2 * CALL_LIMIT + calls * 0.5


class Adapters(Record):
    """What a pass acts with. `stopped` tells whether a stop was asked for; `now` and `dice` are clock and chance.

    Calls to AWS and deliveries have threads of their own: a URL that hangs takes none from AWS.
    """

    source: SecretsManager
    volume: Volume
    stopped: Callable[[], bool]
    rng: random.Random = field(default_factory=random.Random)
    now: Callable[[], Now] = lambda: Now(time.monotonic(), time.time())
    calls: Pool = field(default_factory=lambda: Pool("aws"))
    deliveries: Pool = field(default_factory=lambda: Pool("notify", keeps_late=True))


class Pass(Record):
    """What one pass leaves for the next: the result to report, when to do what, and the values fetched for a first
    generation that could not be made whole yet."""

    result: PassResult
    upcoming: Schedule
    waiting: Fresh = field(default_factory=dict)


def sync(
    config: Config,
    upcoming: Schedule,
    waiting: Fresh,
    adapters: Adapters,
    *,
    quiet: bool = False,
    unpinned: Config | None = None,
) -> Pass:
    """Do one pass. With `quiet` what it publishes tells no target (`init` runs before the app). `unpinned` is the
    config without the pins that are in force: a pin that cannot be had leaves complete what was.

    1. Read back what is published.
    2. Observe the secrets that are due; what will be fetched anyway is not described.
    3. Decide.
    4. Fetch the versions decided on.
    5. Project them into files.
    6. Publish one generation, then
    7. notify: nobody is told before the files are there.
    """
    began = adapters.now()
    # 1.
    try:
        before = adapters.volume.published()
    except VolumeError as error:
        ended = adapters.now()
        upcoming = _retry(upcoming, config, began, ended, adapters)
        result = PassResult(
            started_at=began.wall,
            seconds=ended.monotonic - began.monotonic,
            published=Published(),
            trouble=str(error),
            next_polls={name: _epoch(timing.due, ended) for name, timing in upcoming.secrets.items()},
            unread=True,
        )
        return Pass(result, upcoming, waiting)
    due = upcoming.due(began) | {
        name for name in before.damaged if name in upcoming.secrets and _not_in_backoff(upcoming, name)
    }
    wanted = Desired(config.secrets, upcoming.refused, upcoming.settling(config, began))
    # 2.
    observed, describes = _observe(wanted, before, due, adapters)
    # 3.
    plan = decide(wanted, before, observed)
    failures = {name: answer for name, answer in observed.items() if isinstance(answer, Failure)}
    failures |= {s: upcoming.refused[s].failure for s, step in plan["keep"].items() if step.because == "unprojectable"}
    # 4.
    values, gets = _fetch(config, plan["fetch"], adapters)
    failures |= {name: value for name, value in values.items() if isinstance(value, Failure)}
    # 5.
    fresh, refused, unchecked = _project(config, values, adapters.stopped)
    failures |= unchecked
    failures |= {name: refusal.failure for name, refusal in refused.items()}
    refused |= {name: refusal for name, refusal in upcoming.refused.items() if name in failures and name not in refused}
    fresh = {**{name: value for name, value in waiting.items() if name not in refused}, **fresh}
    fresh, blocked = _unblocked(fresh, before, adapters.volume)
    failures |= blocked
    # 6.
    interrupted = adapters.stopped()
    alike = frozenset(name for name, (_, files) in fresh.items() if adapters.volume.holds(before, name, files))
    publication = None if interrupted else compose(wanted, before, fresh, config.targets, quiet=quiet, alike=alike)
    first_waits = publication is None and before.generation == 0
    published, trouble = _publish(publication, before, adapters.volume)
    repaired = {path: finding for path, finding in before.damage.items() if path not in published.damage}
    for name, kept in adapters.volume.set_aside().items():
        repaired[name] = f"{before.damage.get(name, 'replaced')}; what stood there is kept as {kept}"
    if publication and trouble:
        failures |= {name: Failure("publish", trouble) for name in fresh}
    # 7.
    ended = adapters.now()
    asked = frozenset(observed)
    settling = frozenset(name for name, step in plan["keep"].items() if step.because == "settling")
    complete = published.complete(_lenient(config, unpinned or config, published))
    outcome = PassOutcome(
        asked=asked,
        failed=frozenset(failures),
        rotations={name: a.rotation for name, a in observed.items() if isinstance(a, Observation)},
        refused=refused,
        moved=bool(settling),
        started=complete,
    )
    upcoming = schedule.after_secrets(upcoming, config, outcome, ended, adapters.rng)
    deliveries: tuple[Delivery, ...] = ()
    if not (quiet or interrupted):
        upcoming, deliveries, record_trouble = _notify(config, upcoming, published, adapters)
        trouble = trouble or record_trouble
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
        observations={name: a for name, a in observed.items() if isinstance(a, Observation)},
        succeeded=frozenset() if interrupted else asked - failures.keys() - settling,
        failures=failures,
        settling=settling,
        waiting=first_waits,
        hopeless=first_waits and _hopeless(wanted, fresh, upcoming.refused.keys() | blocked.keys()),
        trouble=trouble,
        interrupted=interrupted,
        deliveries=deliveries,
        pending={name: attempt.generation for name, attempt in upcoming.targets.items()},
        next_polls={name: _epoch(timing.due, ended) for name, timing in upcoming.secrets.items()},
        next_tries={name: _epoch(attempt.due, ended) for name, attempt in upcoming.targets.items()},
        calls=(*describes, *gets),
        sweep_in=adapters.volume.sweep(),
        complete=complete,
        as_asked=frozenset(secret.name for secret in config.secrets if published.as_asked(secret)),
    )
    return Pass(result, upcoming, fresh if first_waits else {})


def _moved(name: str, before: Published, after: Published) -> bool:
    """Whether a published secret is of another version than before."""
    was, now = before.secrets.get(name), after.secrets.get(name)
    return was is not None and now is not None and was.version_id != now.version_id


def _hopeless(wanted: Desired, fresh: Fresh, unfit: Collection[str]) -> bool:
    """Whether trying again brings no first generation: all that it lacks was had, and cannot be published as it is."""
    lacking = {secret.name for secret in wanted.secrets if not secret.optional and secret.name not in fresh}
    return bool(lacking) and lacking <= set(unfit)


def _unblocked(
    fresh: dict[str, tuple[Fetched, Mapping[str, ProjectedFile]]], before: Published, volume: Volume
) -> tuple[dict[str, tuple[Fetched, Mapping[str, ProjectedFile]]], dict[str, Failure]]:
    """The secrets whose names in the volume are free or ours, and why the others cannot be published. So what is in the
    way of one holds up no other."""
    try:
        blocked = volume.blocked(before, {name: files.keys() for name, (_, files) in fresh.items()})
    except VolumeError:
        return fresh, {}  # publishing says it, of all
    free = {name: value for name, value in fresh.items() if name not in blocked}
    return free, {name: Failure("publish", why) for name, why in blocked.items()}


def _lenient(config: Config, unpinned: Config, published: Published) -> list[Secret]:
    """The secrets as they are asked for; one whose pin has brought nothing, as it is asked for without."""
    plain = {secret.name: secret for secret in unpinned.secrets}
    return [s if published.as_asked(s) else plain.get(s.name, s) for s in config.secrets]


def _epoch(due: float, now: Now) -> float:
    """A due time as people read it."""
    return now.wall + due - now.monotonic


def _not_in_backoff(upcoming: Schedule, name: str) -> bool:
    """Whether a secret is not in backoff: damage is mended at once, but not by hammering AWS."""
    return upcoming.secrets[name].failures == 0


def _retry(upcoming: Schedule, config: Config, began: Now, now: Now, adapters: Adapters) -> Schedule:
    """The agenda when the volume could not even be read: what was due failed, and who is owed is not known."""
    due = upcoming.due(began)
    outcome = PassOutcome(due, due, {}, upcoming.refused, moved=False, started=False)
    # No call to AWS is made with it, so it need not wait as long as a failing one.
    soon = schedule.after_secrets(replace(upcoming, started=False), config, outcome, now, adapters.rng)
    return replace(schedule.with_pending(soon, {}, (), now, adapters.rng), started=upcoming.started)


_LATE = Failure("timeout", "AWS did not answer within the time of one call; asked again when the backoff is due")

_NOT_ASKED = Failure(
    "timeout", "not asked: an earlier call for it is unanswered, or slow ones took the whole time of this pass"
)

_NOT_READ = Failure(
    "other",
    "what was answered could not be read; the log at level debug says where; asked again when the backoff is due",
)


def _observe(
    wanted: Desired, before: Published, due: frozenset[str], adapters: Adapters
) -> tuple[dict[str, Answer], list[Call]]:
    """An answer for every due secret, and the calls that it took."""
    describe = [secret for secret in wanted.secrets if secret.name in to_describe(wanted, before, due)]
    observed: dict[str, Answer] = dict.fromkeys(due, Unasked())
    calls = []
    asks = {secret.name: partial(adapters.source.observe, secret) for secret in describe}
    for name, answer in adapters.calls.ask(
        asks, each=CALL_LIMIT, total=pass_limit(len(asks)), stopped=adapters.stopped
    ):
        if isinstance(answer, (Unanswered, Raised)):
            observed[name], made = _unanswered(answer, "DescribeSecret")
            calls += made
        else:
            observed[name] = answer.result
            calls.append(answer.call)
    return observed, calls


def _fetch(
    config: Config, steps: Mapping[str, Step], adapters: Adapters
) -> tuple[dict[str, Fetched | Failure], list[Call]]:
    """The value of each version decided on or why it could not be had, and the calls that it took."""
    values: dict[str, Fetched | Failure] = {}
    calls: list[Call] = []
    asks = {
        secret.name: partial(_fetch_one, secret, steps[secret.name].version_id, adapters.source)
        for secret in config.secrets
        if secret.name in steps
    }
    for name, answer in adapters.calls.ask(
        asks, each=CALL_LIMIT, total=pass_limit(len(asks)), stopped=adapters.stopped
    ):
        values[name], made = (
            _unanswered(answer, "GetSecretValue") if isinstance(answer, (Unanswered, Raised)) else answer
        )
        calls += made
    return values, calls


def _unanswered(why: Unanswered | Raised, operation: Operation) -> tuple[Failure, list[Call]]:
    """What it means for a secret that no answer came in time, or none that could be read, and the call that it took,
    for the books."""
    if isinstance(why, Raised):
        _log.debug("a call failed", exc_info=why.error)
        return _NOT_READ, [Call(operation, "unknown", 0.0)]
    return (_LATE, [Call(operation, "timeout", CALL_LIMIT)]) if why.made else (_NOT_ASKED, [])


def _fetch_one(secret: Secret, version_id: str | None, source: SecretsManager) -> tuple[Fetched | Failure, list[Call]]:
    """One value. A version that vanished since it was observed is looked for once more."""
    version_id = secret.version_id or version_id
    answer = source.fetch(secret, version_id)
    calls = [answer.call]
    gone = isinstance(answer.result, Failure) and answer.result.reason == "not_found"
    if gone and version_id and not secret.version_id:
        again = source.observe(secret)
        calls.append(again.call)
        if isinstance(again.result, Observation) and again.result.version_id != version_id:
            answer = source.fetch(secret, again.result.version_id)
            calls.append(answer.call)
    return answer.result, calls


def _project(
    config: Config, values: Mapping[str, Fetched | Failure], stopped: Callable[[], bool]
) -> tuple[dict[str, tuple[Fetched, Mapping[str, ProjectedFile]]], dict[str, Refusal], dict[str, Failure]]:
    """The files of each value that was fetched, the versions that cannot be turned into files, and what could not be
    checked for a reason that is not the version's."""
    unchecked: dict[str, Failure] = {}
    fresh: dict[str, tuple[Fetched, Mapping[str, ProjectedFile]]] = {}
    refused: dict[str, Refusal] = {}
    for secret in config.secrets:
        fetched = values.get(secret.name)
        if isinstance(fetched, Fetched) and not stopped():
            files: Mapping[str, ProjectedFile] = {}
            problems: tuple[str, ...] = ()
            try:
                require.check(fetched.value, secret.require)
            except ProjectionError as error:
                problems = error.problems
            except SecretError as error:
                unchecked[secret.name] = error.failure
            try:
                files = project(fetched.value, secret.files)
            except ProjectionError as error:
                problems += error.problems
            if problems:
                failure = ProjectionError(*problems).failure
                failure = Failure(failure.reason, f"version {fetched.version_id}: {failure.message}")
                refused[secret.name] = Refusal(fetched.version_id, secret.fingerprint, failure)
            elif secret.name not in unchecked:
                fresh[secret.name] = fetched, files
    return fresh, refused, unchecked


def _publish(publication: Publication | None, before: Published, volume: Volume) -> tuple[Published, str | None]:
    """What stands afterwards, and what went wrong. Links alone are mended without a new generation."""
    try:
        if publication:
            return volume.publish(publication, before), None
        if before.damage and before.generation:
            volume.relink(before)
            return volume.published(), None
    except VolumeError as error:
        return before, str(error)
    return before, None


def _notify(
    config: Config, upcoming: Schedule, published: Published, adapters: Adapters
) -> tuple[Schedule, tuple[Delivery, ...], str | None]:
    """Tell the owed targets that are due. Each acceptance is written down before the next is waited for."""
    pending = {each.target.name: each for each in pending_deliveries(config.targets, published)}
    now = adapters.now()
    generations = {name: each.generation for name, each in pending.items()}
    upcoming = schedule.with_pending(upcoming, generations, config.targets, now, adapters.rng)
    due = {name: pending[name] for name, attempt in upcoming.targets.items() if attempt.due <= now.monotonic}
    accepted = {target.name: published.accepted_by(target) for target in config.targets}
    deliveries, trouble = [], _write_down(adapters.volume, adapters.volume.unwritten)
    asks = {name: partial(notify.deliver, each) for name, each in due.items()}
    for name, answer in adapters.deliveries.ask(asks, each=NOTIFY_LIMIT, total=NOTIFY_LIMIT, stopped=adapters.stopped):
        if isinstance(answer, Unanswered) and adapters.stopped():
            continue
        delivery = _not_told(due[name], answer) if isinstance(answer, (Unanswered, Raised)) else answer
        if not (isinstance(answer, Unanswered) and not answer.made):
            deliveries.append(delivery)
        if delivery.accepted:
            accepted[name] = delivery.generation
            trouble = _write_down(adapters.volume, accepted) or trouble
        if delivery.accepted and delivery.generation < due[name].generation:
            continue  # a late answer about an earlier generation: the latest is owed still, and due now
        upcoming = schedule.after_delivery(upcoming, name, adapters.now(), adapters.rng, accepted=delivery.accepted)
    return upcoming, tuple(deliveries), trouble


def _not_told(each: Pending, why: Unanswered | Raised) -> Delivery:
    """The refusal that it is to have no answer, or none that could be read."""
    words = f"no answer within {NOTIFY_LIMIT:g} s; tried again later"
    if isinstance(why, Raised):
        _log.debug("a delivery failed", exc_info=why.error)
        words = "what was answered could not be read; the log at level debug says where; tried again later"
    return Delivery(each.target.name, each.generation, False, words)


def _write_down(volume: Volume, accepted: Mapping[str, int]) -> str | None:
    if not accepted:
        return None
    try:
        volume.mark_accepted(accepted)
    except VolumeError as error:
        return str(error)
    return None
