"""Results folded into one `Status`, of which metrics, health pages and logs are views.

Pure: each pass's `PassResult` makes the next `Status` from the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agent.core.errors import REASONS, Failure, Reason
from agent.core.model import CALLS, OK, OUTCOMES, Bundle, Operation, Outcome, PassResult, PublishedSecret
from agent.core.record import Record, field, replace

if TYPE_CHECKING:
    from agent.core.pins import Pin


class Histogram(Record):
    """Observations counted in buckets. `bounds` are upper limits, ascending; `counts` has one more, for +Inf."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    @classmethod
    def empty(cls, *bounds: float) -> Histogram:
        """One without observations, with these upper limits."""
        return cls(bounds, (0,) * (len(bounds) + 1))

    def observe(self, value: float) -> Histogram:
        """The histogram with one more observation."""
        index = sum(value > bound for bound in self.bounds)
        counts = (*self.counts[:index], self.counts[index] + 1, *self.counts[index + 1 :])
        return Histogram(self.bounds, counts, self.total + value)


class SecretStatus(Record):
    """One secret of the config. Times are epoch seconds; None until the first such event.

    `version_id` is what is published, created at `created_at`; `version_stage` what the config asks for, None for a
    fixed version. `as_asked`: what is published has the files that the config asks for now. `seen_version` is what AWS
    said was current when last asked, `seen_at` when this agent first saw it. `pinned_version` is what `freshmount pin`
    asks for until `pinned_until`, published or not.
    """

    name: str
    period: float
    optional: bool
    version_id: str | None = None
    version_stage: str | None = None
    created_at: float | None = None
    seen_version: str | None = None
    seen_at: float | None = None
    published_at: float | None = None
    next_poll: float | None = None
    last_success: float | None = None
    next_rotation: float | None = None
    pinned_version: str | None = None
    pinned_until: float | None = None
    up_to_date: bool = False
    as_asked: bool = False
    failure: Failure | None = None  # of the last attempt
    region: str | None = None  # of the place that answered last, for a secret with replicas
    instead: Failure | None = None  # why its first place did not
    errors: Mapping[Reason, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))


class TargetStatus(Record):
    """One target of the config. `generation` is the highest that it accepted, `pending` the one that it has not
    accepted yet."""

    name: str
    generation: int | None = None
    accepted_at: float | None = None  # epoch seconds; None if not by this agent since its start
    pending: int | None = None
    next_try: float | None = None
    accepted: int = 0
    refused: int = 0
    message: str | None = None  # of the last delivery


class HubStatus(Record):
    """The hub that a config names. `connected`: it answers; `answered_at` is when it last did (epoch seconds), and
    `trouble` why it does not. `looks` holds when (epoch seconds) the agent looks itself at the secrets (by name) that
    the hub answers for."""

    url: str
    connected: bool = False
    answered_at: float | None = None
    trouble: str | None = None
    looks: Mapping[str, float] = field(default_factory=dict)


class Status(Record):
    """Everything that the agent reports about itself. Times are epoch seconds, except `turns_by`.

    `turns_by` is on the monotonic clock: the moment by which the loop must turn again. After that the agent is
    not live. `started` stays true once a complete generation was published.
    """

    version: str
    turns_by: float
    up_since: float | None = None
    config_path: str = ""
    volume_path: str = ""
    identity: str = ""
    stale_after: float = 0.0
    started: bool = False
    generation: int = 0
    generation_at: float | None = None
    last_pass: float | None = None
    passes: Mapping[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    repairs: int = 0
    secrets: Mapping[str, SecretStatus] = field(default_factory=dict)
    targets: Mapping[str, TargetStatus] = field(default_factory=dict)
    source_requests: Mapping[tuple[str, Operation, str], int] = field(default_factory=dict)
    pass_seconds: Histogram = Histogram.empty(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
    source_seconds: Mapping[tuple[str, Operation], Histogram] = field(default_factory=dict)
    publish_to_notify: Histogram = Histogram.empty(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300)
    rotation_to_file: Histogram = Histogram.empty(1, 5, 10, 15, 30, 60, 90, 120, 300, 900, 3600)
    config_reload_success: bool = True
    config_last_reload: float | None = None
    config_problems: tuple[str, ...] = ()  # of the file, while it is refused
    hub: HubStatus | None = None


_CALL = Histogram.empty(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


def begin(
    bundle: Bundle,
    version: str,
    turns_by: float,
    *,
    up_since: float = 0.0,
    config_path: str = "",
    volume_path: str = "",
) -> Status:
    """The status of an agent that has done nothing yet."""
    return configured(Status(version, turns_by, up_since, config_path, volume_path), bundle)


def asked_through(status: Status, hub: HubStatus) -> Status:
    """The status of an agent that asks a hub. What the hub confirms counts as confirmed, until the next own look."""
    secrets = dict(status.secrets)
    for name, moment in hub.looks.items():
        if (secret := secrets.get(name)) and secret.up_to_date and not secret.failure:
            last = max(secret.last_success or 0.0, hub.answered_at or 0.0)
            secrets[name] = replace(secret, last_success=last, next_poll=moment)
    return replace(status, hub=hub, secrets=secrets)


def configured(status: Status, bundle: Bundle, pinned: Mapping[str, Pin] | None = None) -> Status:
    """The status of a bundle: what is new starts empty, what left is gone. `pinned`: the secrets that are pinned.

    Calls are counted from 0 for what the bundle asks for, and for nothing else.
    """
    calls = [(CALLS[kind][0], each) for kind in {s.ref.kind: None for s in bundle.secrets} for each in CALLS[kind][1:]]
    return replace(
        status,
        source_requests={**{(*call, OK): 0 for call in calls}, **status.source_requests},
        source_seconds={**dict.fromkeys(calls, _CALL), **status.source_seconds},
        stale_after=bundle.timing.stale_after,
        secrets={
            secret.name: _held(
                replace(
                    status.secrets.get(secret.name, SecretStatus(secret.name, secret.period, secret.optional)),
                    period=secret.period,
                    optional=secret.optional,
                    version_stage=None if secret.ref.version_id else secret.ref.version_stage,
                    **({} if secret.ref.replicas else {"region": None, "instead": None}),
                ),
                (pinned or {}).get(secret.name),
            )
            for secret in bundle.secrets
        },
        targets={target.name: status.targets.get(target.name, TargetStatus(target.name)) for target in bundle.targets},
    )


def _held(secret: SecretStatus, pin: Pin | None) -> SecretStatus:
    """The secret with its pin, or without one. A failure of another version says nothing about this one."""
    version = pin.version_id if pin else None
    return replace(
        secret,
        pinned_version=version,
        pinned_until=pin.until if pin else None,
        failure=secret.failure if version == secret.pinned_version else None,
    )


def reloaded(status: Status, now: float, *, success: bool, problems: tuple[str, ...] = ()) -> Status:
    """The status after a config was read again; `now` is epoch seconds. A refused one, with its `problems`, changes no
    timestamp."""
    return replace(
        status,
        config_reload_success=success,
        config_last_reload=now if success else status.config_last_reload,
        config_problems=problems,
    )


def after(status: Status, result: PassResult) -> Status:
    """The status after one more pass. One that could not read the volume says nothing about what is published."""
    ended = result.started_at + result.seconds
    if result.unread:
        return replace(
            status,
            last_pass=ended,
            passes={**status.passes, result.outcome: status.passes[result.outcome] + 1},
            pass_seconds=status.pass_seconds.observe(result.seconds),
            secrets={
                name: replace(secret, next_poll=result.next_polls.get(name, secret.next_poll))
                for name, secret in status.secrets.items()
            },
        )
    published = result.published
    lacking = rightly_absent(status, result)
    failures = {name: failure for name, failure in result.failures.items() if name not in lacking}
    outcome = replace(result, failures=failures).outcome
    seconds = dict(status.source_seconds)
    requests = dict(status.source_requests)
    for call in result.calls:
        operation, request = (call.source, call.operation), (call.source, call.operation, call.code)
        seconds[operation] = seconds.get(operation, _CALL).observe(call.seconds)
        requests[request] = requests.get(request, 0) + 1
    notified = status.publish_to_notify
    for delivery in result.deliveries:
        if delivery.seconds is not None:
            notified = notified.observe(delivery.seconds)
    rotated = status.rotation_to_file
    for name in result.changed:
        rotated = _rotated(rotated, status.secrets.get(name), published.secrets[name])
    return replace(
        status,
        started=status.started or result.complete,
        generation=published.generation,
        generation_at=published.published_at if published.generation else None,
        last_pass=ended,
        passes={**status.passes, outcome: status.passes[outcome] + 1},
        repairs=status.repairs + len(result.repaired),
        secrets={
            name: _secret_after(secret, result, ended, absent=name in lacking)
            for name, secret in status.secrets.items()
        },
        targets={name: _target_after(target, result, ended) for name, target in status.targets.items()},
        source_requests=requests,
        source_seconds=seconds,
        pass_seconds=status.pass_seconds.observe(result.seconds),
        publish_to_notify=notified,
        rotation_to_file=rotated,
    )


def rightly_absent(status: Status, result: PassResult) -> frozenset[str]:
    """The optional secrets that AWS does not have and of which nothing is published: they need not exist, so nobody
    must be woken for them."""
    return frozenset(
        name
        for name, failure in result.failures.items()
        if failure.reason == "not_found"
        and name not in result.published.secrets
        and (secret := status.secrets.get(name))
        and secret.optional
        and not secret.pinned_version
    )


def absent(status: Status) -> frozenset[str]:
    """The secrets that an earlier pass found to be rightly absent."""
    return frozenset(
        name
        for name, secret in status.secrets.items()
        if secret.failure and secret.up_to_date and not secret.version_id
    )


def _rotated(histogram: Histogram, before: SecretStatus | None, now: PublishedSecret) -> Histogram:
    """The histogram with the time from a version's creation to its files, if it replaced another version.

    A version that is older than the one it replaces was restored, by a pin or manually: that is not a rotation.
    """
    if before is None or before.version_id in (None, now.version_id) or now.created_at is None:
        return histogram
    if now.created_at < (before.published_at or 0.0):
        return histogram
    return histogram.observe(max(0.0, now.changed_at - now.created_at))


def _secret_after(secret: SecretStatus, result: PassResult, ended: float, *, absent: bool) -> SecretStatus:
    """First what is published, then what AWS said and where, then how this attempt ended."""
    said = _served(_observed(_published(secret, result), result, ended), result)
    return _attempted(said, result, ended, absent=absent)


def _served(secret: SecretStatus, result: PassResult) -> SecretStatus:
    """A place that did not answer is counted, although a replica did."""
    served = result.served.get(secret.name)
    if served is None:
        none_answered = secret.region is not None and secret.name in result.failures
        return replace(secret, instead=None) if none_answered else secret
    errors = secret.errors
    if served.instead and secret.name not in result.failures:
        errors = {**errors, served.instead.reason: errors[served.instead.reason] + 1}
    return replace(secret, region=served.region, instead=served.instead, errors=errors)


def _published(secret: SecretStatus, result: PassResult) -> SecretStatus:
    stands = result.published.secrets.get(secret.name)
    return replace(
        secret,
        version_id=stands.version_id if stands else None,
        created_at=stands.created_at if stands else None,
        published_at=stands.changed_at if stands else None,
        as_asked=secret.name in result.as_asked,
    )


def _observed(secret: SecretStatus, result: PassResult, ended: float) -> SecretStatus:
    """A published version counts as seen: an earlier pass or agent saw it."""
    observed = result.observations.get(secret.name)
    version = observed.version_id if observed else secret.version_id
    if version and version != secret.seen_version:
        secret = replace(secret, seen_version=version, seen_at=ended)
    return replace(secret, next_rotation=observed.rotation.next_at) if observed else secret


def _attempted(secret: SecretStatus, result: PassResult, ended: float, *, absent: bool) -> SecretStatus:
    """A pass that did not ask about the secret changes nothing about its last attempt."""
    secret = replace(secret, next_poll=result.next_polls.get(secret.name, secret.next_poll))
    there = secret.version_id is not None
    if failure := result.failures.get(secret.name):
        if absent:
            return replace(secret, up_to_date=True, failure=failure)
        errors = {**secret.errors, failure.reason: secret.errors[failure.reason] + 1}
        return replace(secret, up_to_date=False, failure=failure, errors=errors)
    if secret.name in result.succeeded:
        return replace(secret, up_to_date=there or secret.optional, last_success=ended, failure=None)
    settled = secret.up_to_date and secret.name not in result.settling
    return replace(secret, up_to_date=settled and (there or secret.optional))


def _target_after(target: TargetStatus, result: PassResult, ended: float) -> TargetStatus:
    accepted = result.published.accepted.get(target.name)
    for delivery in result.deliveries:
        if delivery.target == target.name:
            target = replace(
                target,
                accepted_at=ended if delivery.accepted else target.accepted_at,
                accepted=target.accepted + delivery.accepted,
                refused=target.refused + (not delivery.accepted),
                message=delivery.message,
            )
            accepted = delivery.generation if delivery.accepted else accepted
    return replace(
        target,
        generation=max(accepted or 0, target.generation or 0) or None,
        pending=result.pending.get(target.name),
        next_try=result.next_tries.get(target.name),
    )
