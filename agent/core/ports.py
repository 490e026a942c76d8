"""The seams: what a pass needs of the world outside, as Protocols.

Each is here because it has two real implementations, or is to have them: a second source, a second sink, targets of
three kinds. `engine` knows these and no adapter; `commands` puts the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from agent.core.model import (
    Answers,
    Delivery,
    Identity,
    Observation,
    Operation,
    Pending,
    Publication,
    Published,
    Request,
    Secret,
)
from agent.core.pins import Pins
from agent.core.value import Fetched, ProjectedFile


class Source(Protocol):
    """Where versions and values come from. `observe` and `fetch` block, and are called by several threads at once.

    An error of one secret is its `Failure`. What is raised all the same is taken for one, too.
    """

    limit: float  # seconds that one call takes at most, a second attempt included
    name: str  # of the source, in metrics
    operations: tuple[Operation, Operation]  # names of the calls of `observe` and of `fetch`, in metrics

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """The requests in the groups in which they are best asked: one call each."""

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """For each secret which version is wanted now; no value passes."""

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """The value of each version asked for; without one, of whichever is wanted now."""

    def identity(self, seconds: float) -> Identity:
        """Where the credentials come from, if that is known within so many seconds. Raises nothing."""

    def present_identity(self) -> Identity | None:
        """The same by what the calls have found since, without a call. None: nothing is known."""


class Sink(Protocol):
    """Where generations are published; the only place that remembers.

    Everything raises VolumeError when it cannot be done; then what was published stands.
    """

    def read(self) -> Published:
        """What is published now."""

    def blocked(self, published: Published, paths: Mapping[str, Iterable[str]]) -> Mapping[str, str]:
        """The secrets (name to paths) not to be published, since a name is somebody else's, each with a sentence."""

    def holds(self, published: Published, name: str, wanted: Mapping[str, ProjectedFile]) -> bool:
        """Whether a published secret's files are exactly these. False where that cannot be told."""

    def publish(self, publication: Publication, published: Published) -> Published:
        """Replace what is published, as one step for every reader; what is published then."""

    def mend(self, published: Published) -> None:
        """Put right what leads to the published generation."""

    def set_aside(self) -> Mapping[str, str]:
        """What stood in place of ours and was moved since the last call: its name, and the one that it has now."""

    def record_deliveries(self, accepted: Mapping[str, int]) -> None:
        """Write down the highest generation that each target has accepted. Held until that can be done."""

    @property
    def unrecorded(self) -> Mapping[str, int]:
        """Acceptances that could not be written down yet."""

    def tidy(self) -> float | None:
        """Remove what is superseded; the seconds until more is due, or None. Never raises."""

    def pins(self) -> Pins:
        """The secrets that a person holds at a version."""


class Target(Protocol):
    """One who is notified."""

    def deliver(self, pending: Pending) -> Delivery:
        """Notify once; the outcome is a value, whatever goes wrong. Blocks."""

    def examine(self) -> tuple[bool, str]:
        """Whether `deliver` would reach it now, and what was found; it is told nothing. Blocks."""


class Renderer(Protocol):
    """From values to files."""

    def __call__(self, secret: Secret, fetched: Fetched) -> Mapping[str, ProjectedFile]:
        """The files that one version of a secret becomes, path to content and mode, once it meets what is required.

        All of them or none. Raises ProjectionError with every problem of the version, or SecretError when it cannot be
        told now; no value is in either.
        """


class Trigger(Protocol):
    """What tells that something may have changed before its time has come."""

    @property
    def active(self) -> bool:
        """False: it tells nothing, and `reason` says why."""

    @property
    def reason(self) -> str | None:
        """Why it is not active."""

    def close(self) -> None:
        """Tell nothing any more."""


class Frontend(Protocol):
    """From a text to a config."""

    def __call__(self, text: str, source: str) -> object:
        """The config that the text means. Raises ConfigError with every problem in it."""


class Log(Protocol):
    """Where events are told: a sentence and facts by name."""

    info: Callable[..., None]
    warning: Callable[..., None]
    error: Callable[..., None]
