"""The seams: what a pass needs from the world outside, as Protocols.

Each is here because it has two real implementations, or will have them: a second source, a second sink, targets of
three kinds. `engine` knows these and no adapter; `commands` connects the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from agent.core.model import (
    Answers,
    Delivery,
    Identity,
    Observation,
    Output,
    Pending,
    Publication,
    Published,
    Request,
    Secret,
)
from agent.core.pins import Pins
from agent.core.value import Fetched, ProjectedFile

if TYPE_CHECKING:
    from agent.core.hub import Answered, Silent
    from agent.core.rest import Asking


class Source(Protocol):
    """Where versions and values come from. `observe` and `fetch` block, and are called by several threads at once.

    An error of one secret is returned as its `Failure`. An exception that is raised all the same counts as one, too.
    """

    limit: float  # seconds that one batch takes at most, second attempts included

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """The requests in the groups in which they are best sent, each of one kind and one place. Of those with
        `known` only the ones for which that saves a call; the others have to be sent without it."""

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """For each secret which version is wanted now; no value is transferred. Of a request with `known`: that
        version, or a failure, which says nothing of the secret itself."""

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """The value of each version asked for; without one, of whichever is wanted now."""

    def identity(self, seconds: float) -> Identity:
        """Where the credentials come from, if that is known within so many seconds. Raises nothing."""

    def present_identity(self) -> Identity | None:
        """The same from what earlier calls found, without a call. None: nothing is known."""


class Sink(Protocol):
    """Where generations are published; the only place that remembers.

    Each method raises VolumeError when it cannot do its work; then what was published remains.
    """

    def read(self) -> Published:
        """What is published now."""

    def blocked(self, published: Published, paths: Mapping[str, Iterable[str]]) -> Mapping[str, str]:
        """The secrets (name to paths) not to be published, since a name is taken by somebody else, each with a
        sentence."""

    def holds(self, published: Published, name: str, wanted: Mapping[str, ProjectedFile]) -> bool:
        """Whether a published secret's files are exactly these. False where that cannot be determined."""

    def publish(self, publication: Publication, published: Published) -> Published:
        """Replace what is published, in one step for every reader; returns what is published then."""

    def mend(self, published: Published) -> None:
        """Repair the links that lead to the published generation."""

    def set_aside(self) -> Mapping[str, str]:
        """What stood in the place of our files and was moved since the last call: old name to new name."""

    def record_deliveries(self, accepted: Mapping[str, int]) -> None:
        """Record the highest generation that each target has accepted; kept in memory until that can be done."""

    @property
    def unrecorded(self) -> Mapping[str, int]:
        """Acceptances that could not be recorded yet."""

    def tidy(self) -> float | None:
        """Remove what is superseded; returns the seconds until more is due, or None. Never raises."""

    def pins(self) -> Pins:
        """The pinned secrets, each with its version."""


class Target(Protocol):
    """One who is notified."""

    def deliver(self, pending: Pending) -> Delivery:
        """Notify once; the outcome is a value, whatever goes wrong. Blocks."""

    def examine(self) -> tuple[bool, str]:
        """Whether `deliver` would reach it now, and what was found; it is not notified. Blocks."""


class Renderer(Protocol):
    """From values to files."""

    def __call__(
        self, inputs: Sequence[tuple[Secret, Fetched]], outputs: Sequence[Output]
    ) -> Mapping[Output, Mapping[str, ProjectedFile]]:
        """The files that these versions of secrets become, by output, path to content and mode, once each version meets
        what is required of it.

        All of them or none. Raises ProjectionError with every problem of the versions, or SecretError when that
        cannot be determined now; neither holds a value.
        """


class Trigger(Protocol):
    """What reports that something may have changed before the next pass is due."""

    @property
    def active(self) -> bool:
        """False: it reports nothing, and `reason` says why."""

    @property
    def reason(self) -> str | None:
        """Why it is not active."""

    def close(self) -> None:
        """Report nothing any more."""


class Hub(Protocol):
    """What asks the hub, and waits for its answers."""

    def ask(self, asking: Asking) -> None:
        """Ask this from now on."""

    def reports(self) -> Sequence[Answered | Silent]:
        """What became of the requests since the last call, in their order."""

    def close(self) -> None:
        """Ask nothing any more."""


class Frontend(Protocol):
    """From a text to a config."""

    def __call__(self, text: str, source: str) -> object:
        """The config that the text means. Raises ConfigError with every problem in it."""


class Log(Protocol):
    """Where events are logged: a sentence and facts by name."""

    info: Callable[..., None]
    warning: Callable[..., None]
    error: Callable[..., None]
