"""Which place is asked for a secret that has replicas, and what may be published of what a replica says.

Pure. A replica stands in for a first place that is *away*: that does not answer, throttles, or is in trouble. It does
not for one that answers: who is denied, or asks for what is deleted or never was, learns that, although a replica would
give it. A permission that was taken away, and a secret that was deleted, must not come back by another region. The
exception is a replica with `if_denied`, which a config asks for: it stands in for a place that denies access, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from agent.core.errors import Failure, Reason
from agent.core.model import Bundle, Observation, Published, Ref, Request, Served, Wanted
from agent.core.record import Record, replace
from agent.core.value import Fetched

AWAY: frozenset[Reason] = frozenset({"timeout", "throttled", "credentials", "other"})

R = TypeVar("R", Observation, Fetched)


class Asked(Record, Generic[R]):
    """What was answered, by secret, and which place answered for those that have replicas."""

    results: Mapping[str, R | Failure]
    served: Mapping[str, Served]


def in_turn(
    requests: Sequence[Request],
    ask: Callable[[list[Request]], Mapping[str, R | Failure]],
    begin: Mapping[str, Served],
) -> Asked[R]:
    """Ask for each secret at its place, and while that is away at its replicas in their order. `begin` says where to
    begin: at the place that answered before in this pass."""
    results: dict[str, R | Failure] = {}
    served: dict[str, Served] = {}
    why: dict[str, list[Failure]] = {}
    turn = {r.secret.name: begin[r.secret.name].turn if r.secret.name in begin else 0 for r in requests}
    left = list(requests)
    while left:
        results |= ask([_at(request, turn[request.secret.name]) for request in left])
        again = []
        for request in left:
            name, places = request.secret.name, request.secret.ref.places
            answer = results[name]
            if len(places) == 1:
                continue
            if not isinstance(answer, Failure):
                before = begin[name].instead if name in begin else None
                instead = why[name][0] if name in why else before
                served[name] = Served(turn[name], region(places[turn[name]]), instead)
                continue
            why.setdefault(name, []).append(answer)
            if turn[name] + 1 == len(places):
                continue
            denied = answer.reason == "access_denied" and places[turn[name] + 1].if_denied
            if turn[name] or answer.reason in AWAY or denied:
                turn[name] += 1
                again.append(request)
        left = again
    failed = {name: _all_of(why[name]) for name in why if isinstance(results[name], Failure)}
    return Asked({**results, **failed}, served)


def region(ref: Ref) -> str:
    """The region of a place, as it is shown."""
    return ref.place.region or "the environment's"


def rounds(bundle: Bundle) -> int:
    """How many places one after the other may be asked for a secret, at most."""
    return max((len(secret.ref.places) for secret in bundle.secrets), default=1)


def falls_back(wanted: Wanted, published: Published, fetched: Fetched) -> bool:
    """Whether what a replica gave is not known to be newer than what is published: then it must not replace it. What is
    fixed by its id is what was asked for."""
    before, ref = published.secrets.get(wanted.name), wanted.secret.ref
    if before is None or ref.version_id is not None:
        return False
    was, now = before.created_at, fetched.created_at
    if before.version_id == fetched.version_id and (ref.kind == "secretsmanager" or was == now):
        return False
    return was is None or now is None or now <= was


def behind(served: Served, fetched: Fetched) -> Failure:
    """Why a version of a replica is not published."""
    instead = served.instead
    away = f"; its first place is away: {instead.message}" if instead else ""
    return Failure(
        instead.reason if instead else "other",
        f"{served.region} is behind: its version {fetched.version_id} is not known to be newer than the published one, "
        f"which stays{away}",
    )


def _at(request: Request, turn: int) -> Request:
    """The request for the place whose turn it is."""
    if turn == 0:
        return request
    return replace(request, secret=replace(request.secret, ref=request.secret.ref.places[turn]))


def _all_of(failures: list[Failure]) -> Failure:
    """Why none answered: the first one's reason, and all sentences."""
    if len(failures) == 1:
        return failures[0]
    return Failure(failures[0].reason, "; then ".join(failure.message for failure in failures))
