"""All secrets of AWS Secrets Manager that match, as one object: listed to see what moved, fetched twenty a call."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from agent.core import re2
from agent.core.errors import Failure, Reason
from agent.core.model import Answers, Call, Observation, Query, Request, Secret
from agent.core.record import Record
from agent.core.value import Fetched
from agent.sources.aws import errors, sets
from agent.sources.aws.clients import Clients, word
from agent.sources.aws.sets import Member

AT_ONCE = 20  # secrets of one BatchGetSecretValue, AWS's limit

_TAGS = 4  # that AWS is asked to look for: two filters each, and ten are its limit

_SHOWN = 5  # members that a sentence names


class _Entry(Record):
    """One secret that matches: its name, its ARN, and its current version."""

    name: str
    arn: str
    version: str


class _Value(Record):
    """The value of one secret, and when its version was made (epoch seconds). Bytes are an object of `base64`."""

    text: str | dict[str, str]
    made_at: float | None


class Find:
    """Sets of secrets, by their queries."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """One query a batch."""
        return [(request,) for request in requests]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """Which secrets match, and at which versions."""
        (request,) = batch
        found, calls = self._list(request.secret)
        if isinstance(found, Failure):
            return Answers({request.secret.name: found}, calls)
        return Answers({request.secret.name: sets.observed(request.secret, _members(found), "secret")}, calls)

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """All that match with their values. One that cannot be read fails the whole, by its name."""
        (request,) = batch
        secret = request.secret
        found, calls = self._list(secret)
        if isinstance(found, Failure):
            return Answers({secret.name: found}, calls)
        if isinstance(unfit := sets.observed(secret, _members(found), "secret"), Failure):
            return Answers({secret.name: unfit}, calls)
        values: dict[str, _Value] = {}
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            answer = self._clients.ask("BatchGetSecretValue", secret, partial(_values, secret, some))
            calls += (answer.call,)
            if isinstance(answer.result, Failure):
                return Answers({secret.name: answer.result}, calls)
            values |= answer.result
        texts = [(name, value.text) for name, value in values.items()]
        members = _members(found, max((v.made_at for v in values.values() if v.made_at is not None), default=None))
        return Answers({secret.name: sets.fetched(secret, members, texts, "secret")}, calls)

    def _list(self, secret: Secret) -> tuple[list[_Entry] | Failure, tuple[Call, ...]]:
        """All that match, page by page."""
        query = secret.ref.query or Query()
        asked: dict[str, Any] = {"MaxResults": 100}
        if filters := _filters(query):
            asked["Filters"] = filters
        matches = _matcher(query)
        return sets.pages(
            secret,
            "ListSecrets",
            asked,
            lambda one: self._clients.ask("ListSecrets", secret, partial(_page, matches, one)),
        )


def _filters(query: Query) -> list[dict[str, Any]]:
    """What AWS can look for itself: beginnings, each by itself, so all is compared again here. It takes a `!` in front
    for a negation."""
    wanted = [("name", query.path)] if query.path else []
    for name, value in query.tags[:_TAGS]:
        wanted += [("tag-key", name), ("tag-value", value)]
    return [{"Key": key, "Values": [text]} for key, text in wanted if not text.startswith("!")]


def _matcher(query: Query) -> Callable[[Any], bool]:
    pattern = re2.compile(query.name) if query.name is not None else None

    def matches(entry: Any) -> bool:
        name, tags = (
            sets.named(entry.get("Name")),
            {tag.get("Key"): tag.get("Value") for tag in entry.get("Tags") or ()},
        )
        return (
            name.startswith(query.path or "")
            and (pattern is None or pattern.matches(name))
            and all(tags.get(key) == value for key, value in query.tags)
        )

    return matches


def _page(matches: Callable[[Any], bool], asked: dict[str, Any], client: Any) -> tuple[list[_Entry], str | None]:
    """The entries that match and have a value: a secret without a current version never had one."""
    answer = client.list_secrets(**asked)
    found = []
    for entry in answer["SecretList"]:
        if matches(entry) and not entry.get("DeletedDate"):
            stages = (entry.get("SecretVersionsToStages") or {}).items()
            current = [word(version) for version, labels in stages if "AWSCURRENT" in labels]
            found += [_Entry(sets.named(entry["Name"]), sets.named(entry["ARN"]), version) for version in current[:1]]
    return found, answer.get("NextToken")


def _members(found: Iterable[_Entry], made_at: float | None = None) -> list[Member]:
    return [Member(entry.name, entry.version, made_at, dated=False) for entry in found]


def _values(secret: Secret, entries: list[_Entry], client: Any) -> dict[str, _Value] | Failure:
    """The value of each, by name. What AWS does not give is a failure that names it: it lists those that it cannot give
    in `Errors`, beside the others."""
    answer = client.batch_get_secret_value(SecretIdList=[entry.arn for entry in entries])
    names = {entry.arn: entry.name for entry in entries}
    wrong: dict[str, tuple[Reason, str]] = {}
    for refused in answer.get("Errors") or ():
        given = str(refused.get("SecretId"))
        code, said = str(refused.get("ErrorCode")), errors.line(str(refused.get("Message") or "AWS gives no reason"))
        wrong[names.get(given, given)] = errors.REASONS.get(code, "other"), f"{errors.line(code)}: {said}"
    values: dict[str, _Value] = {}
    for each in answer.get("SecretValues") or ():
        name, text, created = names.get(each.get("ARN")), each.get("SecretString"), each.get("CreatedDate")
        binary = each.get("SecretBinary")
        if name is not None and isinstance(text, str):
            values[name] = _Value(text, created.timestamp() if created else None)
        elif name is not None and secret.ref.query and secret.ref.query.loose and isinstance(binary, bytes):
            content = {"base64": base64.b64encode(binary).decode()}
            values[name] = _Value(content, created.timestamp() if created else None)
        elif name is not None:
            wrong[name] = "invalid", "is binary, and a set holds texts; give it a secretId of its own, and leave it out"
    for name in names.values():
        if name not in values and name not in wrong:
            wrong[name] = "other", "AWS gives neither a value nor an error"
    if not wrong:
        return values
    shown = [f"{name}: {why}" for name, (_, why) in list(wrong.items())[:_SHOWN]]
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    reason = next(iter(wrong.values()))[0]
    return Failure(reason, f"BatchGetSecretValue of {secret.ref.id}: {'; '.join([*shown, *more])}")
