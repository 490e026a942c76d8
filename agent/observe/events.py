"""What a pass did, as events in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core import status
from agent.core.model import PassResult
from agent.core.status import Status

if TYPE_CHECKING:
    from agent.core.ports import Log


def passed(log: Log, before: Status, result: PassResult) -> None:
    """Log one event per change or failure, and none for a pass in which nothing happened."""
    published = result.published
    if result.generation_made:
        log.info(
            "published",
            generation=published.generation,
            changed={name: published.secrets[name].version_id for name in result.changed},
            dropped=list(result.dropped),
            seconds=round(result.seconds, 4),
        )
    for name, version in sorted(result.recorded.items()):
        log.info(
            "same content",
            secret=name,
            version=version,
            message="no target is notified; this version is now the published one",
        )
    if result.repaired:
        log.warning("repaired", generation=published.generation, found=dict(result.repaired))
    _failures(log, before, result)
    _replicas(log, before, result)
    for name in sorted(result.succeeded):
        known = before.secrets.get(name)
        if known and known.failure:
            log.info("secret recovered", secret=name, was=known.failure.reason)
    if result.trouble:
        log.error("volume", message=result.trouble)
    for delivery in result.deliveries:
        if delivery.accepted:
            log.info(
                "notified",
                target=delivery.target,
                generation=delivery.generation,
                message=delivery.message,
                seconds=delivery.seconds,
            )
        else:
            log.warning(
                "notification refused",
                target=delivery.target,
                generation=delivery.generation,
                message=delivery.message,
            )


def _failures(log: Log, before: Status, result: PassResult) -> None:
    absent = status.rightly_absent(before, result)
    for name, secret in before.secrets.items():
        failure = result.failures.get(name)
        if failure is None or (failure.reason == "projection" and secret.failure == failure):
            continue  # already logged for this version
        if name not in absent:
            log.warning("secret failed", secret=name, reason=failure.reason, message=failure.message)
        elif name not in status.absent(before):  # logged once, as it is not a problem
            log.info("optional secret is absent", secret=name, message=failure.message)


def _replicas(log: Log, before: Status, result: PassResult) -> None:
    """Once for each change of the place that answers."""
    for name, served in sorted(result.served.items()):
        known = before.secrets.get(name)
        was_instead = known.instead if known else None
        if served.instead and (was_instead is None or known is None or known.region != served.region):
            why = served.instead
            log.warning(
                "served by a replica", secret=name, region=served.region, reason=why.reason, message=why.message
            )
        elif was_instead and not served.instead:
            log.info("served by its first region again", secret=name, region=served.region)
