"""What an agent asks: one request, read and bounded."""

from __future__ import annotations

import functools
import json
import math
from typing import Any, Literal

from agent.core import arn
from agent.core.record import Record

SECRETS = 100  # of one request, at most

BODY = 1 << 16  # bytes of one request, at most

WAIT = 55.0  # seconds that a request may wait, at most

_TEXT = 2048  # characters of an id, AWS's limit of an ARN

_REMEMBERED = 5_000  # questions about one secret; agents ask the same again each minute, and many the same

Kind = Literal["secretsmanager", "parameter"]


class Subject(Record):
    """What AWS is asked about: a secret or a parameter. A parameter's label is a part of it, since it is asked for by
    `name:label`."""

    kind: Kind
    id: str
    region: str
    label: str


class Asked(Record):
    """One secret of a request: its stage, and the version that the caller knows."""

    subject: Subject
    stage: str
    version: str | None


class Question(Record):
    """One request: how many seconds it waits for news, and of what."""

    wait: float
    secrets: tuple[Asked, ...]


class NoQuestion(ValueError):
    """The request cannot be answered; says why, for the caller."""


def read(body: bytes) -> Question:
    """The question that a body asks. Raises NoQuestion."""
    try:
        asked = json.loads(body.decode())
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("secrets"), list):
        raise NoQuestion('the body must be JSON: {"wait": 55, "secrets": [{"kind": …, "id": …, "region": …, …}]}')
    wait = asked.get("wait", 0)
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not math.isfinite(wait) or wait < 0:
        raise NoQuestion("wait must be a number of seconds")
    if not 0 < len(asked["secrets"]) <= SECRETS:
        raise NoQuestion(f"secrets must be 1 to {SECRETS}; ask about the others in another request")
    return Question(min(float(wait), WAIT), tuple(map(_asked, asked["secrets"])))


def _asked(entry: Any) -> Asked:
    if not isinstance(entry, dict):
        raise NoQuestion("each of secrets must be an object")
    try:
        return _understood(
            entry.get("kind"),
            entry.get("id"),
            entry.get("region"),
            entry.get("stage", "AWSCURRENT"),
            entry.get("version"),
        )
    except TypeError:  # what cannot be looked up is a list or an object
        pass
    raise NoQuestion("kind, id, region, stage and version must be texts")


@functools.lru_cache(_REMEMBERED)
def _understood(kind: Any, given: Any, region: Any, stage: Any, version: Any) -> Asked:
    if kind not in ("secretsmanager", "parameter"):
        raise NoQuestion("kind must be secretsmanager or parameter")
    if not isinstance(region, str) or len(region) > 32 or not arn.REGION.fullmatch(region):
        raise NoQuestion("region must be one such as eu-west-1")
    patterns = (
        (arn.SECRET_ARN, arn.SECRET_NAME) if kind == "secretsmanager" else (arn.PARAMETER_ARN, arn.PARAMETER_NAME)
    )
    if not isinstance(given, str) or len(given) > _TEXT or not any(each.fullmatch(given) for each in patterns):
        raise NoQuestion("id must be a name or an ARN")
    if given.startswith("arn:") and given.split(":")[3] != region:
        raise NoQuestion("region must be that of the ARN")
    if not _word(stage) or not (version is None or _word(version)):
        raise NoQuestion("stage and version must be texts of 1 to 256 printable characters")
    label = stage if kind == "parameter" and stage != "AWSCURRENT" else ""
    if label and not arn.PARAMETER_LABEL.fullmatch(label):
        raise NoQuestion("the stage of a parameter must be AWSCURRENT or a label")
    return Asked(Subject(kind, given, region, label), stage, version)


def _word(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 256 and text.isprintable()
