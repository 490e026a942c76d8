"""AWS Systems Manager Parameter Store: parameters by name, and all that lie beneath a path.

It has no call that tells a version alone. So a parameter is observed as it is fetched, but without decryption: that
needs no permission for a key, and no SecureString is transferred in the clear.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from agent.core.errors import Failure
from agent.core.model import Answers, Call, Observation, Place, Request, Rotation, Secret, counted
from agent.core.value import Fetched, SecretValue
from agent.sources.aws import errors, sets
from agent.sources.aws.clients import Answer, Clients
from agent.sources.aws.sets import Member

AT_ONCE = 10  # parameters of one call, AWS's limit

R = TypeVar("R", Observation, Fetched)

RATE, BURST = 20.0, 10  # calls a second of one agent at one place, and how many may come together

# Of one parameter, and not of the call as a whole: the others of its batch are asked for without it.
_OF_ONE = frozenset({"access_denied", "invalid", "not_found"})


_Parameter = tuple[str, Any]  # a name, and what AWS says of it

_Page = tuple[list[_Parameter], str | None]


class Pace:
    """Lets calls begin no faster than a rate. All that use Parameter Store in an account and a region share 40 calls a
    second unless they pay for more; https://docs.aws.amazon.com/general/latest/gr/ssm.html
    """

    def __init__(
        self,
        rate: float = RATE,
        burst: int = BURST,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gap, self._burst = 1 / rate, burst
        self._clock, self._pause = clock, pause
        self._lock = threading.Lock()
        self._next: dict[Place, float] = {}  # when the next call would begin without a burst

    def wait(self, place: Place) -> None:
        """Return when a call there may begin. Blocks."""
        with self._lock:
            now = self._clock()
            due = max(self._next.get(place, now), now)
            self._next[place] = due + self._gap
        if (ahead := due - self._gap * (self._burst - 1) - now) > 0:
            self._pause(ahead)


class Parameters:
    """Parameters by their names, ten a call."""

    def __init__(self, clients: Clients, pace: Pace | None = None) -> None:
        self._clients = clients
        self.pace = pace or Pace()
        self._alone: set[tuple[Place, str]] = set()  # those that made a call fail for others

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """Ten parameters of one place a batch, each of another name: an answer does not say for which of two versions
        of one parameter it is. What made a call fail before is asked for alone, until it can be had."""
        batches: list[list[Request]] = []
        open_batches: dict[Place, list[list[Request]]] = {}
        for request in requests:
            ref = request.secret.ref
            open_here = open_batches.setdefault(ref.place, [])
            fits = (
                batch
                for batch in open_here
                if len(batch) < AT_ONCE and all(each.secret.ref.id != ref.id for each in batch)
            )
            if (ref.place, ref.id) in self._alone:
                batches.append([request])
            elif batch := next(fits, None):
                batch.append(request)
            else:
                open_here.append([request])
                batches.append(open_here[-1])
        return [tuple(batch) for batch in batches]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """Which version each parameter is at."""
        return self._get(batch, _observation, decrypt=False)

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """The value of each parameter, at the version that is asked for."""
        return self._get(batch, _fetched, decrypt=True)

    def _get(
        self, batch: tuple[Request, ...], read: Callable[[Request, Any], R | Failure], *, decrypt: bool
    ) -> Answers[R]:
        """What was read of each parameter. AWS refuses a call whole for one parameter that it refuses, so then each is
        asked for by itself: none fails for another."""
        names = [_named(request) for request in batch]
        first, place = batch[0].secret, batch[0].secret.ref.place
        of = names[0] if len(names) == 1 else f"{counted(len(names), 'parameter')} ({', '.join(names)})"
        self.pace.wait(place)
        answer = self._clients.ask(
            "GetParameters", first, lambda client: _found(client, names, decrypt=decrypt), "ssm", of=of
        )
        if not isinstance(answer.result, Failure):
            self._alone -= {(place, request.secret.ref.id) for request in batch if len(batch) == 1}
            results = {request.secret.name: _read(request, answer.result, read) for request in batch}
            return Answers(results, (answer.call,))
        if len(batch) == 1 or answer.result.reason not in _OF_ONE:
            return Answers({request.secret.name: answer.result for request in batch}, (answer.call,))
        alone: dict[str, R | Failure] = {}
        calls: tuple[Call, ...] = (answer.call,)
        for request in batch:
            one = self._get((request,), read, decrypt=decrypt)
            alone, calls = {**alone, **one.results}, calls + one.calls
            if isinstance(one.results[request.secret.name], Failure):
                self._alone.add((place, request.secret.ref.id))
        return Answers(alone, calls)


class Beneath:
    """All parameters beneath a path, as one object: the rest of each name to its text."""

    def __init__(self, clients: Clients, pace: Pace) -> None:
        self._clients, self._pace = clients, pace

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """One path a batch."""
        return [(request,) for request in requests]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """Which parameters there are, and at which versions."""
        (request,) = batch
        found, calls = self._list(request.secret, decrypt=False)
        result = found if isinstance(found, Failure) else sets.observed(request.secret, _members(found), "parameter")
        return Answers({request.secret.name: result}, calls)

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """All of them with their values."""
        (request,) = batch
        found, calls = self._list(request.secret, decrypt=True)
        result: Fetched | Failure = found if isinstance(found, Failure) else _object(request.secret, found)
        return Answers({request.secret.name: result}, calls)

    def _list(self, secret: Secret, *, decrypt: bool) -> tuple[list[_Parameter] | Failure, tuple[Call, ...]]:
        """Name relative to the path, and what AWS says of it, for all that lie beneath; page by page."""
        path = secret.ref.id.rstrip("/")
        asked: dict[str, Any] = {"Path": path or "/", "Recursive": True, "WithDecryption": decrypt, "MaxResults": 10}

        def ask(one: dict[str, Any]) -> Answer[_Page]:
            self._pace.wait(secret.ref.place)
            return self._clients.ask("GetParametersByPath", secret, partial(_page, one), "ssm")

        found, calls = sets.pages(secret, "GetParametersByPath", asked, ask)
        if isinstance(found, Failure):
            return found, calls
        return [(name.removeprefix(path + "/"), parameter) for name, parameter in found], calls


def _page(asked: dict[str, Any], client: Any) -> _Page | Failure:
    answer = client.get_parameters_by_path(**asked)
    return [(sets.named(each["Name"]), each) for each in answer["Parameters"]], answer.get("NextToken")


def _members(found: list[_Parameter]) -> list[Member]:
    return [Member(name, _version(parameter), _made_at(parameter)) for name, parameter in found]


def _object(secret: Secret, found: list[_Parameter]) -> Fetched | Failure:
    return sets.fetched(secret, _members(found), [(name, _text(parameter)) for name, parameter in found], "parameter")


def _named(request: Request) -> str:
    """A parameter as GetParameters takes it: with its version, or its label."""
    ref = request.secret.ref
    selector = (
        request.version_id or ref.version_id or (ref.version_stage if ref.version_stage != "AWSCURRENT" else None)
    )
    return f"{ref.id}:{selector}" if selector else ref.id


def _found(client: Any, names: list[str], *, decrypt: bool) -> dict[str, Any]:
    """What AWS says of each parameter, by its name and by its ARN."""
    answer = client.get_parameters(Names=names, WithDecryption=decrypt)
    # Of a parameter that is asked for by its ARN, as one that another account shares, AWS may give either.
    return {sets.named(each[key]): each for each in answer["Parameters"] for key in ("ARN", "Name") if each.get(key)}


def _read(request: Request, found: dict[str, Any], read: Callable[[Request, Any], R | Failure]) -> R | Failure:
    ref = request.secret.ref
    parameter = found.get(ref.id) or found.get(ref.id.rpartition(":parameter")[2])
    if parameter is None:
        return errors.no_parameter(_named(request), ref, followed=request.version_id if not ref.version_id else None)
    try:
        return read(request, parameter)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        failure = Failure("other", f"GetParameters of {ref.id}: the answer cannot be understood: {errors.kind(error)}")
    return failure


def _observation(request: Request, parameter: Any) -> Observation:
    stage = request.secret.ref.version_stage
    rotation = Rotation(None, None, None)
    return Observation(_version(parameter), (stage,) if stage else (), rotation, _made_at(parameter))


def _fetched(request: Request, parameter: Any) -> Fetched:
    stage = request.secret.ref.version_stage
    value = SecretValue(_text(parameter).encode("utf-8", "surrogatepass"), text=True)
    return Fetched(_version(parameter), (stage,) if stage else (), _made_at(parameter), value)


def _version(parameter: Any) -> str:
    number = parameter["Version"]
    if not isinstance(number, int):
        raise TypeError("no version")
    return str(number)


def _made_at(parameter: Any) -> float:
    return float(parameter["LastModifiedDate"].timestamp())


def _text(parameter: Any) -> str:
    text = parameter["Value"]
    if not isinstance(text, str):
        raise TypeError("no value")
    return text
