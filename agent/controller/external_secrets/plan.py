"""What must be done for one ExternalSecret. Pure: the decision reads as the specification.

The invariant that all steps keep:

1. One writer: only the leader writes, and of each target one reconcile at a time. Each write names the version of the
   Secret that it was decided on, so one that was decided before somebody else's is refused by the API server.
2. No partial write: values, type, labels, annotations, and the versions that they are made of, move in one
   server-side apply. A Secret says truly what it holds.
3. An error never takes a key away: a Secret is written only with all of its inputs there. An input may be left out only
   where AWS said that the secret does not exist, and the policy says that this is allowed.
4. Nothing is fetched unless a version moved, something else was asked for, or somebody changed the Secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from agent.controller.external_secrets.asked import Policy
from agent.core.errors import Failure
from agent.core.model import Observation, Secret
from agent.core.record import Record, field
from agent.sinks.kubernetes_secret.secret import Held

Reason = Literal["SecretSynced", "SecretSyncedError", "SecretDeleted", "SecretMissing"]

SYNCED = "secret synced"
RETAINED = "secret retained due to DeletionPolicy=Retain"
BEHIND = (
    "secret synced, but AWS or the ExternalSecret has changed since, which an immutable Secret does not follow; "
    "delete the Secret to have it made anew"
)
DELETED = "secret deleted due to DeletionPolicy=Delete"
MISSING = "secret will not be created due to CreationPolicy=Merge"

_EMPTY = (RETAINED, DELETED, MISSING)  # states in which there may be no Secret, rightly


class State(Record):
    """What the status of an ExternalSecret says. `refreshed_at` is epoch seconds, `version` what it was synced at."""

    refreshed_at: float | None = None
    version: str = ""
    ready: bool | None = None
    reason: str = ""
    message: str = ""
    since: str = ""
    binding: str = ""


class Look(Record):
    """Whether AWS is asked now; if not, until when not (epoch seconds; None: until something changes)."""

    ask: bool
    until: float | None = None


def look(policy: Policy, state: State, held: Held | None, version: str, now: float) -> Look:
    """Whether AWS must be asked.

    1. What was never done is done.
    2. A Secret that is gone, or that somebody changed, is put right, whatever the policy says.
    3. What failed last is done again, and then the refresh policy.
    4. The windows hold back only what comes by the clock.
    """
    # 1.
    if state.refreshed_at is None or not state.version:
        return Look(ask=True)
    # 2.
    if policy.creation != "None":
        if held is None and state.message not in _EMPTY:
            return Look(ask=True)
        if held is not None and not stands(policy, held) and state.message not in (RETAINED, MISSING):
            return Look(ask=True)
        if held is not None and state.message == MISSING:
            return Look(ask=True)
    # 3.
    changed, failed = state.version != version, state.ready is not True
    if failed and (changed or policy.interval is None):
        return Look(ask=True)
    if policy.refresh == "CreatedOnce" or (policy.refresh == "OnChange" and not changed):
        return Look(ask=False)
    if policy.refresh == "OnChange":
        return Look(ask=True)
    if policy.interval is None:
        return Look(ask=False)
    due = state.refreshed_at + policy.interval
    if changed:
        return Look(ask=True)
    # 4.
    if not failed and now < due:
        return Look(ask=False, until=due)
    opens = now if policy.windows is None else policy.windows.opens(now)
    return Look(ask=opens == now, until=opens)


def stands(policy: Policy, held: Held) -> bool:
    """Whether a Secret is as it was written, by what its metadata tell. Where it is ours alone nobody else has keys in
    it."""
    if policy.immutable and held.marked:
        return True  # it cannot be changed: neither by others nor by us
    return held.whole and not held.deleted and (shares(policy) or not held.others)


def shares(policy: Policy) -> bool:
    """Whether others may have keys in the Secret."""
    return policy.creation in ("Merge", "CreateOrMerge")


def refusal(policy: Policy, held: Held | None, uid: str) -> str | None:
    """Why the Secret must not be written, if it belongs to another. Nothing of it is touched."""
    if held is None or shares(policy) or held.owner in (None, uid):
        return None
    return f"Secret {held.name} is owned by another object (uid {held.owner}); name another target, or delete it first"


def absent(secret: Secret, failure: Failure) -> bool:
    """Whether AWS said that a secret does not exist, where this is allowed. No other failure ever is."""
    return secret.optional and failure.reason in ("not_found", "deleted")


def moved(
    asked: str, secrets: tuple[Secret, ...], held: Held | None, observed: Mapping[str, Observation | Failure]
) -> bool:
    """Whether the values have to be fetched, by what was observed of all of them."""
    if held is None or held.asked != asked or held.versions.keys() != {secret.name for secret in secrets}:
        return True
    return any(_wanted(secret, observed) != held.versions[secret.name] for secret in secrets)


def _wanted(secret: Secret, observed: Mapping[str, Observation | Failure]) -> str:
    """The version that is wanted now; "": there is none."""
    if secret.ref.version_id is not None:
        return secret.ref.version_id
    found = observed.get(secret.name)
    return found.version_id if isinstance(found, Observation) else ""


class Outcome(Record):
    """How one reconcile ended, for status, events and metrics. `again` is in how many seconds it is tried again at the
    latest; None: when the policy says."""

    ready: bool
    reason: Reason
    message: str
    event: str = ""
    failure: str = ""  # the reason of the metric
    again: float | None = None
    retry: bool = True
    refreshed: bool = True
    bound: bool = False
    calls: Mapping[str, int] = field(default_factory=dict)


def status(outcome: Outcome, state: State, *, version: str, binding: str, now: str) -> dict[str, Any]:
    """The status that is written. `now` is the time as Kubernetes writes it."""
    ready = "True" if outcome.ready else "False"
    same = state.ready is outcome.ready and state.since
    condition = {
        "type": "Ready",
        "status": ready,
        "reason": outcome.reason,
        "message": outcome.message,
        "lastTransitionTime": state.since if same else now,
    }
    made: dict[str, Any] = {"conditions": [condition]}
    if outcome.ready:
        made |= {"syncedResourceVersion": version}
        if outcome.refreshed:
            made["refreshTime"] = now
    if outcome.bound:
        made["binding"] = {"name": binding}
    elif outcome.ready:
        made["binding"] = None
    return made
