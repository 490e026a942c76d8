"""How a pass asks its source: in batches side by side, each secret at its places in turn, and within limits.

No answer in time, and none that could be read, is a failure of each secret that was asked about; nothing is raised.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from agent.core import failover
from agent.core.errors import Failure
from agent.core.model import CALLS, Answers, Call, Observation, Request, Served
from agent.core.record import Record, field
from agent.core.value import Fetched
from agent.engine.pool import Pool, Raised, Unanswered

if TYPE_CHECKING:
    from agent.core.ports import Source

_log = logging.getLogger(__name__)

R = TypeVar("R", Observation, Fetched)

_LATE = Failure("timeout", "AWS did not answer within the time of one call; asked again when the backoff is due")
_NOT_ASKED = Failure(
    "timeout", "not asked: an earlier call for it is unanswered, or slow ones took the whole time of this pass"
)
_NOT_READ = Failure(
    "other",
    "what was answered could not be read; the log at level debug says where; asked again when the backoff is due",
)


def pass_limit(source: Source, calls: int) -> float:
    """Seconds for all calls of one step of a pass: twice what the slowest allowed call can take, and half a second for
    each call. A single call is given up after the source's limit."""
    return 2 * source.limit + calls * 0.5


class Line(Record):
    """What is asked by: the source, threads for its calls, and whether a stop was asked for."""

    source: Source
    calls: Pool
    stopped: Callable[[], bool]


class Asked(Record, Generic[R]):
    """What was answered for each secret, the calls that were made, and which place answered for those with replicas."""

    results: Mapping[str, R | Failure]
    calls: tuple[Call, ...]
    served: Mapping[str, Served] = field(default_factory=dict)


def observed(line: Line, requests: Sequence[Request]) -> Asked[Observation]:
    """Which version each secret wants now, said by its first place or by a replica."""
    return _in_turn(line, requests, line.source.observe, {}, fetching=False)


def listed(line: Line, requests: Sequence[Request]) -> Asked[Observation]:
    """What lists say of secrets whose version is known, at their first places; a failure where nothing can be said."""
    results: dict[str, Observation | Failure] = {}
    calls: tuple[Call, ...] = ()
    for batch, answer in _ask(line, requests, line.source.observe) if requests else ():
        answers, made = _answers(batch, answer, line.source.limit, fetching=False)
        results |= answers
        calls += made
    return Asked(results, calls)


def fetched(line: Line, requests: Sequence[Request], served: Mapping[str, Served]) -> Asked[Fetched]:
    """The values of the versions that are asked for, where possible from the place that answered before in this pass.
    A version that vanished since it was observed is looked for once more."""
    return _in_turn(line, requests, partial(_fetch, line.source), served, fetching=True)


def _in_turn(
    line: Line,
    requests: Sequence[Request],
    how: Callable[[tuple[Request, ...]], Answers[R]],
    served: Mapping[str, Served],
    *,
    fetching: bool,
) -> Asked[R]:
    calls: list[Call] = []

    def ask(at_one_place: list[Request]) -> dict[str, R | Failure]:
        results: dict[str, R | Failure] = {}
        for batch, answer in _ask(line, at_one_place, how):
            answers, made = _answers(batch, answer, line.source.limit, fetching=fetching)
            results |= answers
            calls.extend(made)
        return results

    asked = failover.in_turn(requests, ask, served)
    return Asked(asked.results, tuple(calls), asked.served)


def _ask(
    line: Line, requests: Sequence[Request], how: Callable[[tuple[Request, ...]], Answers[R]]
) -> Iterator[tuple[tuple[Request, ...], Answers[R] | Unanswered | Raised]]:
    """Each batch of the requests with what was answered, or why nothing was."""
    source = line.source
    batches = {_name_of(batch[0]): batch for batch in source.batches(requests)}
    asks = {name: partial(how, batch) for name, batch in batches.items()}
    lanes = {name: batch[0].secret.ref.place for name, batch in batches.items()}
    limit = pass_limit(source, len(asks))
    for name, answer in line.calls.ask(asks, each=source.limit, total=limit, stopped=line.stopped, lanes=lanes):
        yield batches[name], answer


def _name_of(request: Request) -> str:
    """What a call is known by while it hangs: a replica is asked although the first place hangs, and a secret although
    a list does."""
    place = request.secret.ref.place
    return f"{request.secret.name} {place.region} {place.endpoint_url or ''}{' by list' if request.known else ''}"


def _answers(
    batch: tuple[Request, ...], answer: Answers[R] | Unanswered | Raised, limit: float, *, fetching: bool
) -> tuple[Mapping[str, R | Failure], tuple[Call, ...]]:
    """The answer for each secret of a batch, and the calls to be counted. No answer in time, or none that could be
    read, is the failure of each of them."""
    if isinstance(answer, Answers):
        return answer.results, answer.calls
    source, *operations = CALLS[batch[0].secret.ref.kind]
    operation = "ListSecrets" if batch[0].known else operations[fetching]
    failure, calls = _NOT_ASKED, tuple[Call, ...]()
    if isinstance(answer, Raised):
        _log.debug("a call failed", exc_info=answer.error)
        failure, calls = _NOT_READ, (Call(source, operation, "unknown", 0.0),)
    elif answer.asked:
        failure, calls = _LATE, (Call(source, operation, "timeout", limit),)
    return dict.fromkeys((request.secret.name for request in batch), failure), calls


def _fetch(source: Source, batch: tuple[Request, ...]) -> Answers[Fetched]:
    """The values of a batch. A version that vanished since it was observed is looked for once more."""
    answers = source.fetch(batch)
    gone = tuple(request for request in batch if _has_gone(request, answers.results[request.secret.name]))
    if not gone:
        return answers
    seen = source.observe(gone)
    again = tuple(
        Request(request.secret, found.version_id)
        for request in gone
        if isinstance(found := seen.results[request.secret.name], Observation)
        and found.version_id != request.version_id
    )
    calls = answers.calls + seen.calls
    if not again:
        return Answers(answers.results, calls)
    anew = source.fetch(again)
    return Answers({**answers.results, **anew.results}, calls + anew.calls)


def _has_gone(request: Request, answer: Fetched | Failure) -> bool:
    followed = request.version_id is not None and request.secret.ref.version_id is None
    return followed and isinstance(answer, Failure) and answer.reason == "not_found"
