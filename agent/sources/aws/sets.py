"""Sets: many parameters or secrets that are one secret to the agent, an object of name to text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from agent.core.errors import Failure
from agent.core.model import SET_LIMIT, Call, Observation, Rotation, Secret, counted
from agent.core.record import Record
from agent.core.value import Fetched, SecretValue
from agent.sources.aws.clients import Answer

MOST = 1000  # members of a set

PAGES = 500  # of one listing, so that a server that always names another page holds nobody up

_LONGEST = 2048  # characters of an ARN

T = TypeVar("T")


class Member(Record):
    """One member by the name that it has in the object. `made_at` is when its version was made (epoch seconds), if that
    is known. `dated`: the version may come again with another date, so both are needed to name it."""

    name: str
    version: str
    made_at: float | None
    dated: bool = True


def named(found: Any) -> str:
    """A name or an ARN, as AWS gives them. Raises ValueError."""
    if isinstance(found, str) and 0 < len(found) <= _LONGEST and found.isprintable():
        return found
    raise ValueError("no name")


def pages(
    secret: Secret,
    operation: str,
    asked: Mapping[str, Any],
    ask: Callable[[dict[str, Any]], Answer[tuple[list[T], str | None]]],
    *,
    most: float = MOST,
) -> tuple[list[T] | Failure, tuple[Call, ...]]:
    """All that a listing has, page by page, and the calls. `ask` makes one with the arguments that it is given, and
    answers with a page and the token of the next. It ends early where there is more than `most`, by default what a set
    may have; a listing that does not end is a failure, since what is missing would be taken for deleted."""
    found: list[T] = []
    calls: tuple[Call, ...] = ()
    token: str | None = None
    for _ in range(PAGES):
        page = ask({**asked, "NextToken": token} if token else dict(asked))
        calls += (page.call,)
        if isinstance(page.result, Failure):
            return page.result, calls
        more, token = page.result
        found += more
        if not token or len(found) > most:
            return found, calls
    many = f"{operation} of {secret.ref.id}: more than {PAGES} pages; give a path, so that fewer are listed"
    return Failure("invalid", many), calls


def observed(secret: Secret, members: Iterable[Member], noun: str) -> Observation | Failure:
    """What the set is at now. `noun` is what its members are called."""
    members = tuple(members)
    if trouble := _unfit(secret, members, noun):
        return trouble
    return Observation(version(members), ("AWSCURRENT",), Rotation(None, None, None), _made_at(members))


def fetched(
    secret: Secret, members: Iterable[Member], texts: Iterable[tuple[str, Any]], noun: str
) -> Fetched | Failure:
    """The set with its values, which are texts by the names of its members; of a loose set bytes, too, as an object."""
    members = tuple(members)
    if trouble := _unfit(secret, members, noun):
        return trouble
    made, wanted = version(members), secret.ref.version_id
    if wanted not in (None, made):
        return Failure("not_found", f"{secret.ref.id} is at {made} now; AWS keeps no earlier state of {noun}s together")
    content = json.dumps(dict(sorted(texts)), ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(content) > SET_LIMIT:
        return Failure("invalid", f"{secret.ref.id} has more than {SET_LIMIT >> 10} KiB in all; divide it")
    stages = () if secret.ref.version_id else ("AWSCURRENT",)
    return Fetched(made, stages, _made_at(members), SecretValue(content, text=True))


def version(members: Iterable[Member]) -> str:
    """What distinguishes a state of the set from others: how many members, and a digest of their names and versions."""
    named = sorted((m.name, m.version, m.made_at if m.dated else None) for m in members)
    return f"{len(named)}-{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:24]}"


def _made_at(members: tuple[Member, ...]) -> float | None:
    return max((member.made_at for member in members if member.made_at is not None), default=None)


def _unfit(secret: Secret, members: tuple[Member, ...], noun: str) -> Failure | None:
    if not members and not (secret.ref.query and secret.ref.query.loose):
        return Failure(
            "not_found", f"{secret.ref.id}: no {noun} belongs to it; check path, name, tags, region and account"
        )
    if len(members) > MOST:
        more = f"{secret.ref.id} has {counted(len(members), noun)}, more than {MOST}; name a narrower set"
        return Failure("invalid", more)
    names = [member.name for member in members]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return Failure("invalid", f"{secret.ref.id} has {twice} twice; name a narrower set")
    return None
