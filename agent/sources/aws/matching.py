"""All parameters of Parameter Store that match a query, as one object of full name to text.

Those beneath a path come with one call a page. By tags, or where that call is denied, they are listed first, and then
read ten a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from agent.core import re2
from agent.core.errors import Failure
from agent.core.model import Answers, Call, Observation, Query, Request, Secret
from agent.core.record import Record
from agent.core.value import Fetched
from agent.sources.aws import sets
from agent.sources.aws.clients import Answer, Clients, word
from agent.sources.aws.parameter_store import AT_ONCE, Pace
from agent.sources.aws.sets import Member

_Listed = tuple["_Parameter", ...]


class _Parameter(Record):
    """A parameter that matches, and its text, if that is known."""

    name: str
    version: str
    text: str | None = None


class Matching:
    """Sets of parameters, by their queries."""

    def __init__(self, clients: Clients, pace: Pace | None = None) -> None:
        self._clients, self._pace = clients, pace or Pace()

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """One query a batch."""
        return [(request,) for request in requests]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """Which parameters match, and at which versions."""
        (request,) = batch
        found, calls = self._matching(request.secret, decrypt=False)
        if isinstance(found, Failure):
            return Answers({request.secret.name: found}, calls)
        return Answers({request.secret.name: sets.observed(request.secret, _members(found), "parameter")}, calls)

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """All of them with their values."""
        (request,) = batch
        found, calls = self._matching(request.secret, decrypt=True)
        if not isinstance(found, Failure):
            found, more = self._with_texts(request.secret, found)
            calls += more
        if isinstance(found, Failure):
            return Answers({request.secret.name: found}, calls)
        texts = [(each.name, each.text) for each in found]
        return Answers({request.secret.name: sets.fetched(request.secret, _members(found), texts, "parameter")}, calls)

    def _matching(self, secret: Secret, *, decrypt: bool) -> tuple[_Listed | Failure, tuple[Call, ...]]:
        query = secret.ref.query or Query()
        calls: tuple[Call, ...] = ()
        if not query.tags:
            asked = {"Path": query.path or "/", "Recursive": True, "WithDecryption": decrypt, "MaxResults": 10}
            found, calls = self._pages(secret, "GetParametersByPath", asked, query)
            if not (isinstance(found, Failure) and found.reason == "access_denied"):
                return found, calls
        filters = [{"Key": f"tag:{name}", "Option": "Equals", "Values": [value]} for name, value in query.tags]
        if query.path:
            filters.append({"Key": "Path", "Option": "Recursive", "Values": [query.path.rstrip("/") or "/"]})
        asked = {"ParameterFilters": filters, "MaxResults": 50} if filters else {"MaxResults": 50}
        listed, more = self._pages(secret, "DescribeParameters", asked, query)
        if not query.tags and isinstance(listed, Failure):
            return found, calls + more  # what was denied first says what to allow
        return listed, calls + more

    def _pages(
        self, secret: Secret, operation: Any, asked: dict[str, Any], query: Query
    ) -> tuple[_Listed | Failure, tuple[Call, ...]]:
        def ask(one: dict[str, Any]) -> Answer[tuple[list[_Parameter], str | None]]:
            self._pace.wait(secret.ref.place)
            return self._clients.ask(operation, secret, partial(_page, operation, one, query), "ssm")

        found, calls = sets.pages(secret, operation, asked, ask)
        return found if isinstance(found, Failure) else tuple(found), calls

    def _with_texts(self, secret: Secret, found: _Listed) -> tuple[_Listed | Failure, tuple[Call, ...]]:
        """The same with the texts of all."""
        calls: tuple[Call, ...] = ()
        texts: dict[str, _Parameter] = {each.name: each for each in found if each.text is not None}
        names = [each.name for each in found if each.text is None]
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            self._pace.wait(secret.ref.place)
            answer = self._clients.ask("GetParameters", secret, partial(_read, some), "ssm", of=", ".join(some))
            calls += (answer.call,)
            if isinstance(answer.result, Failure):
                return answer.result, calls
            texts |= {each.name: each for each in answer.result}
        gone = [each.name for each in found if each.name not in texts]
        if gone:
            return Failure(
                "not_found", f"GetParameters of {', '.join(gone[:AT_ONCE])}: gone since it was listed"
            ), calls
        return tuple(texts[each.name] for each in found), calls


def _page(operation: str, asked: dict[str, Any], query: Query, client: Any) -> tuple[list[_Parameter], str | None]:
    by_path = operation == "GetParametersByPath"
    answer = client.get_parameters_by_path(**asked) if by_path else client.describe_parameters(**asked)
    pattern = re2.compile(query.name) if query.name is not None else None
    found = [
        _parameter(each, with_text=by_path)
        for each in answer["Parameters"]
        if pattern is None or pattern.matches(word(each["Name"]))
    ]
    return found, answer.get("NextToken")


def _read(names: list[str], client: Any) -> _Listed:
    answer = client.get_parameters(Names=names, WithDecryption=True)
    return tuple(_parameter(each, with_text=True) for each in answer["Parameters"])


def _parameter(given: Any, *, with_text: bool) -> _Parameter:
    """Raises TypeError, or KeyError, if AWS did not send it."""
    version, text = given["Version"], given["Value"] if with_text else None
    if not isinstance(version, int) or (with_text and not isinstance(text, str)):
        raise TypeError("no parameter")
    return _Parameter(word(given["Name"]), str(version), text)


def _members(found: _Listed) -> list[Member]:
    return [Member(each.name, each.version, None, dated=False) for each in found]
