"""What EventBridge says: which secret or parameter something happened to. Nothing else of an event is believed."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

from agent.controller.hub.question import Kind, Subject
from agent.core import arn
from agent.core.record import Record

_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}$")

_REMEMBERED = 10_000  # ids of events


class Event(Record):
    """Something happened to a secret or parameter, that is called by any of these ids. `version` is the version that
    the event names for `stage`, if it names one."""

    id: str
    kind: Kind
    region: str
    ids: tuple[str, ...]
    stage: str | None
    version: str | None


class Foreign(ValueError):
    """An event of something else."""


class Malformed(ValueError):
    """No event."""


def read(body: str) -> Event:
    """The event in a message. Raises Foreign or Malformed."""
    try:
        found = json.loads(body)
        source, kind, detail = found["source"], found["detail-type"], found["detail"]
        identity, region = _text(found["id"]), _text(found["region"])
        resources = [_text(each) for each in found["resources"]]
        if (source, kind) == ("aws.secretsmanager", "Secret Label Updated"):
            return _of_secret(identity, region, resources, detail)
        if (source, kind) == ("aws.ssm", "Parameter Store Change"):
            return _of_parameter(identity, region, resources, detail)
    except Malformed:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        source = None
    if source is None:
        raise Malformed("the message is no event")
    raise Foreign(f"an event of {str(source)[:64]}")


def _of_secret(identity: str, region: str, resources: list[str], detail: Any) -> Event:
    given = [*resources, _text(detail["name"])]
    ids = [each for each in given if arn.SECRET_ARN.fullmatch(each)]
    # AWS adds a dash and six characters to the name; people write the ARN without them, or the name alone.
    ids += [each[:-7] for each in ids if _SUFFIX.search(each)]
    ids += [each.split(":", 6)[6] for each in ids]
    ids += [each for each in given if not each.startswith("arn:") and arn.SECRET_NAME.fullmatch(each)]
    if not ids:
        raise Malformed("the event names no secret")
    stage, version = detail.get("labelUpdated"), detail.get("versionId")
    named = isinstance(stage, str) and isinstance(version, str)
    return Event(identity, "secretsmanager", region, _once(ids), stage if named else None, version if named else None)


def _of_parameter(identity: str, region: str, resources: list[str], detail: Any) -> Event:
    name = _text(detail["name"])
    ids = [each for each in resources if arn.PARAMETER_ARN.fullmatch(each)]
    ids += [name, name.removeprefix("/")] if arn.PARAMETER_NAME.fullmatch(name) else []
    if not ids:
        raise Malformed("the event names no parameter")
    return Event(identity, "parameter", region, _once(ids), None, None)


def _once(ids: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))


def _text(found: object) -> str:
    if isinstance(found, str) and 0 < len(found) <= 2048:
        return found
    raise Malformed("the event has no text where one belongs")


class Recent:
    """The ids of the events that came last: a queue may give each more than once."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def new(self, identity: str) -> bool:
        """Whether that id did not come before."""
        if identity in self._ids:
            return False
        self._ids[identity] = None
        if len(self._ids) > _REMEMBERED:
            self._ids.popitem(last=False)
        return True

    def forget(self, identity: str) -> None:
        """Let that event count when it comes again."""
        self._ids.pop(identity, None)


def subjects(event: Event, known: Collection[Subject]) -> list[Subject]:
    """Those of the known subjects that the event is about."""
    if event.kind == "secretsmanager":
        candidates = [Subject(event.kind, each, event.region, "") for each in event.ids]
        return [each for each in candidates if each in known]
    ids = set(event.ids)  # a parameter may be asked about with a label
    return [s for s in known if s.kind == event.kind and s.region == event.region and s.id in ids]
