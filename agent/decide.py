"""What to do about each secret and each target, given what is wanted, published and observed.

Pure: values in, a `Plan` out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.config import Target
from agent.schedule import Rotation


@dataclass(frozen=True, slots=True)
class Observation:
    """What DescribeSecret says: the version that holds the wanted stage, that version's stages, and rotation."""

    version_id: str
    stages: tuple[str, ...]
    rotation: Rotation


@dataclass(frozen=True, slots=True)
class PublishedSecret:
    """One secret as the manifest of the published generation tells it.

    `changed` is the generation that last changed it, `changed_at` that generation's time (epoch seconds),
    `visible_since` the moment from which every reader finds it, in seconds since boot; a process that started
    later has it. None: not known, for instance since another boot.
    """

    version_id: str
    stages: tuple[str, ...]
    fingerprint: str
    changed: int
    changed_at: float
    created_at: float | None
    visible_since: float | None


@dataclass(frozen=True, slots=True)
class Published:
    """What the volume says is published, read back. `generation` 0: nothing is.

    `accepted` holds per target the highest generation it accepted. `damage` tells by path what was found missing,
    altered or foreign, `damaged` names the secrets whose files are among it.
    """

    generation: int = 0
    published_at: float = 0.0
    secrets: Mapping[str, PublishedSecret] = field(default_factory=dict)
    accepted: Mapping[str, int] = field(default_factory=dict)
    damage: Mapping[str, str] = field(default_factory=dict)
    damaged: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Owed:
    """A target that has not accepted `generation` yet, the latest that changed a secret it watches.

    `changed_at` is epoch seconds. A process that started later than `visible_since` (seconds since boot) has it.
    """

    target: Target
    generation: int
    changed_at: float
    visible_since: float | None
