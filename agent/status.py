"""Results folded into one `Status`, of which metrics, health pages and logs are views.

Pure: each pass's `SyncResult` makes the next `Status` from the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent.errors import REASONS, Failure, Reason

Operation = Literal["DescribeSecret", "GetSecretValue"]
OPERATIONS: tuple[Operation, ...] = ("DescribeSecret", "GetSecretValue")
Outcome = Literal["success", "noop", "error"]
OUTCOMES: tuple[Outcome, ...] = ("success", "noop", "error")
OK = "OK"  # the code of a call that AWS answered well


@dataclass(frozen=True, slots=True)
class Call:
    """One call to AWS: its operation, the code that it ended with (OK or AWS's error code), its seconds."""

    operation: Operation
    code: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to tell a target of `generation`; `message` says what was done or why it was refused.

    `seconds` is the time from publish to acceptance, None while refused.
    """

    target: str
    generation: int
    accepted: bool
    message: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations counted in buckets. `bounds` are upper limits, ascending; `counts` has one more, for +Inf."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    @classmethod
    def empty(cls, *bounds: float) -> Histogram:
        return cls(bounds, (0,) * (len(bounds) + 1))

    def observe(self, value: float) -> Histogram:
        """The histogram with one more observation."""
        index = sum(value > bound for bound in self.bounds)
        counts = (*self.counts[:index], self.counts[index] + 1, *self.counts[index + 1 :])
        return Histogram(self.bounds, counts, self.total + value)


@dataclass(frozen=True, slots=True)
class SecretStatus:
    """One secret of the config. Times are epoch seconds; None until the first such event."""

    name: str
    period: float
    optional: bool
    version_id: str | None = None
    version_stage: str | None = None
    published_at: float | None = None
    last_success: float | None = None
    next_rotation: float | None = None
    up_to_date: bool = False
    failure: Failure | None = None  # of the last attempt
    errors: Mapping[Reason, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target of the config."""

    name: str
    pending: bool = False
    accepted: int = 0
    refused: int = 0
    message: str | None = None  # of the last delivery


@dataclass(frozen=True, slots=True)
class Status:
    """All that the agent tells about itself. Times are epoch seconds, but for `turns_by`.

    `turns_by` is on the monotonic clock: the moment by which the loop is to turn again. Later than that the agent
    is not live. `started` stays true once a complete generation was published.
    """

    version: str
    turns_by: float
    stale_after: float = 0.0
    started: bool = False
    generation: int = 0
    generation_at: float | None = None
    last_pass: float | None = None
    passes: Mapping[Outcome, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    repairs: int = 0
    secrets: Mapping[str, SecretStatus] = field(default_factory=dict)
    targets: Mapping[str, TargetStatus] = field(default_factory=dict)
    aws_requests: Mapping[tuple[Operation, str], int] = field(
        default_factory=lambda: {(operation, OK): 0 for operation in OPERATIONS}
    )
    pass_seconds: Histogram = Histogram.empty(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
    aws_seconds: Mapping[Operation, Histogram] = field(
        default_factory=lambda: {
            operation: Histogram.empty(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
            for operation in OPERATIONS
        }
    )
    publish_to_notify: Histogram = Histogram.empty(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300)
    config_reload_success: bool = True
    config_last_reload: float | None = None
