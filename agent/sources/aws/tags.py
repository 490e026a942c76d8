"""The tags of a secret or of a parameter, as a JSON object: what ESO's `metadataPolicy: Fetch` asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from agent.core.errors import Failure
from agent.core.model import Answers, Call, Observation, Request, Rotation, Secret
from agent.core.value import Fetched, SecretValue
from agent.sources.aws.clients import Clients

_ESCAPED = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})  # as Go writes them


class Tags:
    """Tags have no version, so a digest of them is one. They are not secret."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """One a batch."""
        return [(request,) for request in requests]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """A version that changes with the tags."""
        (request,) = batch
        found, call = self._ask(request.secret)
        if isinstance(found, Failure):
            return Answers({request.secret.name: found}, (call,))
        observation = Observation(_version(found), ("AWSCURRENT",), Rotation(None, None, None))
        return Answers({request.secret.name: observation}, (call,))

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """The tags themselves."""
        (request,) = batch
        found, call = self._ask(request.secret)
        if isinstance(found, Failure):
            return Answers({request.secret.name: found}, (call,))
        value = SecretValue(_text(found).encode("utf-8", "surrogatepass"), text=True)
        return Answers({request.secret.name: Fetched(_version(found), ("AWSCURRENT",), None, value)}, (call,))

    def _ask(self, secret: Secret) -> tuple[dict[str, str] | Failure, Call]:
        if secret.ref.kind == "tags":
            answer = self._clients.ask("DescribeSecret", secret, partial(_of_secret, secret.ref.id))
        else:
            answer = self._clients.ask("ListTagsForResource", secret, partial(_of_parameter, secret.ref.id), "ssm")
        return answer.result, answer.call


def _of_secret(given: str, client: Any) -> dict[str, str]:
    return _tags(client.describe_secret(SecretId=given).get("Tags"))


def _of_parameter(given: str, client: Any) -> dict[str, str]:
    named = given.rpartition(":parameter")[2] if given.startswith("arn:") else given
    return _tags(client.list_tags_for_resource(ResourceType="Parameter", ResourceId=named).get("TagList"))


def _tags(listed: Any) -> dict[str, str]:
    """Raises TypeError, or KeyError, if AWS did not send it."""
    found = {each["Key"]: each["Value"] for each in listed or ()}
    if not all(isinstance(text, str) for pair in found.items() for text in pair):
        raise TypeError("no tag")
    return dict(sorted(found.items()))


def _text(tags: Mapping[str, str]) -> str:
    return json.dumps(tags, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED)


def _version(tags: Mapping[str, str]) -> str:
    return f"tags-{hashlib.sha256(json.dumps(tags).encode()).hexdigest()[:24]}"
