"""AWS as one source: each batch goes to what reads its kind of secret.

What a config of Secrets Manager alone does not need is imported when the first secret of its kind is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from agent.core.model import CALLS, Answers, Kind, Observation, Request
from agent.core.record import replace
from agent.core.value import Fetched
from agent.sources.aws.clients import Service
from agent.sources.aws.secrets_manager import SecretsManager


def service(kind: Kind) -> Service:
    """The service that holds secrets of a kind."""
    return "ssm" if CALLS[kind][0] == "ssm" else "secretsmanager"


class _Reads(Protocol):
    """What reads secrets of one kind, as `ports.Source` has it."""

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]: ...

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]: ...

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]: ...


_LOOKS = "looks"  # beside the kinds: secrets of Secrets Manager whose version is known


class Aws(SecretsManager):
    """Every kind of secret that a config can name. Any thread may call it.

    Secrets of Secrets Manager are its own; for each other kind there is a reader, which asks through it, and one that
    looks at several whose version is known.
    """

    def __init__(self, **limits: Any) -> None:
        """`limits` are those of `Clients`."""
        super().__init__(**limits)
        self._readers: dict[str, _Reads] = {}

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """The requests in the groups in which they are best sent, each of one kind and one place."""
        alike: dict[tuple[Kind, bool], list[Request]] = {}
        for request in requests:
            alike.setdefault((request.secret.ref.kind, request.known is not None), []).append(request)
        return [batch for group in alike.values() for batch in self._divided(group)]

    def _divided(self, requests: list[Request]) -> list[tuple[Request, ...]]:
        reader = self._reader(requests[0])
        return reader.batches(requests) if reader else super().batches(requests)

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """For each secret of the batch which version is wanted now."""
        reader = self._reader(batch[0])
        answers = reader.observe(batch) if reader else super().observe(batch)
        return replace(answers, calls=answers.calls + self.sts_calls())

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """The value of each secret of the batch."""
        reader = self._reader(batch[0])
        answers = reader.fetch(batch) if reader else super().fetch(batch)
        return replace(answers, calls=answers.calls + self.sts_calls())

    def _reader(self, request: Request) -> _Reads | None:
        """What reads such a secret; None: this class does. Two threads may make it at once; the first one stays."""
        kind, readers = request.secret.ref.kind, self._readers
        if kind == "secretsmanager" and request.known is None:
            return None
        if kind == "secretsmanager":
            if _LOOKS not in readers:
                from agent.sources.aws.looks import Looks

                readers.setdefault(_LOOKS, Looks(self))
            return readers[_LOOKS]
        if kind == "find" and kind not in readers:
            from agent.sources.aws.find import Find

            readers.setdefault(kind, Find(self))
        elif kind in ("tags", "parameterTags") and kind not in readers:
            from agent.sources.aws.tags import Tags

            readers.setdefault(kind, Tags(self))
        elif kind == "matching" and kind not in readers:
            from agent.sources.aws.matching import Matching

            readers.setdefault(kind, Matching(self))
        elif kind not in readers:
            from agent.sources.aws import parameter_store

            parameters = parameter_store.Parameters(self)
            readers.setdefault("parameter", parameters)
            readers.setdefault("parameters", parameter_store.Beneath(self, parameters.pace))
        return readers[kind]
