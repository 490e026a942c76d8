"""Everything that can go wrong, and what the caller does about it.

::

    FreshmountError          a sentence for people: what failed, where, and what to do next
    ├── ConfigError          somebody must edit the config; the agent keeps the one it has (exit 2 at start)
    ├── SecretError          of one secret: keep its last good value, try again when its backoff is due
    │   └── ProjectionError  its content is at fault: nothing changes until its version or its spec changes
    ├── VolumeError          nothing was published, what was there remains; try again in the next pass
    │   └── VolumeBusy       another agent holds the volume: wait, then exit 1
    └── StartError           the agent cannot do its work at all here: exit 1

An adapter that calls AWS returns a `Failure` instead of raising, because one secret's failure is an ordinary
value of a pass. No message here ever carries the value of a secret.
"""

from __future__ import annotations

from typing import Literal, get_args

from agent.core.record import Record

Reason = Literal[
    "access_denied",
    "not_found",
    "deleted",
    "throttled",
    "timeout",
    "credentials",
    "invalid",
    "projection",
    "publish",
    "other",
]

REASONS: tuple[Reason, ...] = get_args(Reason)

_PROBLEMS_SHOWN = 20  # of one version: enough to fix it in one go, and still a sentence


class Failure(Record):
    """Why one secret could not be brought up to date: a `reason` from the closed set and a sentence."""

    reason: Reason
    message: str


class Problem(Record):
    """One thing wrong with a config. `line` and `column` count from 1, as editors do."""

    line: int
    column: int
    message: str


def cause(error: OSError) -> str:
    """Why the operating system refused something, as it words it."""
    return error.strerror or str(error) or "the system gives no reason"


class FreshmountError(Exception):
    """The root of all errors that this package raises on purpose."""


class ConfigError(FreshmountError):
    """A config that is refused whole, with every problem found in it.

    `source` is the path (or another name) that the problems are reported against.
    """

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.source = source
        self.problems = problems
        super().__init__("\n".join(f"{source}:{p.line}:{p.column}: {p.message}" for p in problems))


class SecretError(FreshmountError):
    """One secret could not be brought up to date; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class ProjectionError(SecretError):
    """A secret's content cannot be turned into the files that the config asks for. `problems` has each reason once."""

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        shown = self.problems[:_PROBLEMS_SHOWN]
        more = len(self.problems) - len(shown)
        super().__init__(Failure("projection", "; ".join((*shown, f"and {more} more") if more else shown)))


class VolumeError(FreshmountError):
    """The volume cannot be read or written; what was published before is untouched."""


class VolumeBusy(VolumeError):
    """Another agent holds the volume's lock."""


class StartError(FreshmountError):
    """Something that the agent needs before its first pass is not available."""


def shown(key: str) -> str:
    """A key as an error shows it: on one line and not too long."""
    return ascii(key if len(key) <= 60 else key[:57] + "...")


class Refused(FreshmountError):
    """The target did not accept; it stays pending and is tried again when its backoff is due."""


class ProcessRefused(FreshmountError):
    """No process can be identified or signalled; the target stays pending."""
