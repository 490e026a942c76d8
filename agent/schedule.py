"""When each secret and each target is due: period, jitter, backoff, rotation window.

Pure: the clock and the dice are parameters.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rotation:
    """What DescribeSecret says about coming rotations. Times are epoch seconds, lengths seconds.

    `next_at` is the moment "on or before" which AWS rotates next, so the window *ends* there. `window` is its
    length: RotationRules.Duration, else one hour for schedules in hours, else up to the whole UTC day.
    `pending` is the version id that holds AWSPENDING while it is not the one that holds AWSCURRENT.
    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotationRulesType.html
    """

    next_at: float | None
    window: float | None
    pending: str | None
