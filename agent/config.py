"""From a document to a frozen `Config`, or every problem at once, each with its position.

Pure: text in, value out. Nothing is looked up in the environment, on disk or in AWS.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Format = Literal["raw", "json", "dotenv", "properties"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a secret is asked for. None means: what boto3's own chain finds."""

    region: str | None
    endpoint_url: str | None


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One entry of `files`: a file, or a directory with one file per top-level key of the JSON object.

    `path` is relative to the volume and normalised; `mode` is the mode of the file (or of each file).
    """

    path: str
    directory: bool
    format: Format
    jmes_path: str | None
    mode: int


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of the config. Exactly one of `version_stage` and `version_id` is set. Periods are seconds."""

    name: str
    secret_id: str
    origin: Origin
    version_stage: str | None
    version_id: str | None
    period: float
    optional: bool
    files: tuple[FileSpec, ...]

    @property
    def fingerprint(self) -> str:
        """Changes exactly when the same version would have to be fetched or projected anew.

        The endpoint is left out: another road to the same secret publishes nothing new.
        """
        spec = [
            self.secret_id,
            self.origin.region,
            self.version_stage,
            self.version_id,
            [[f.path, f.directory, f.format, f.jmes_path, f.mode] for f in self.files],
        ]
        return hashlib.sha256(json.dumps(spec).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A process known by its command name."""

    name: str


@dataclass(frozen=True, slots=True)
class PidFile:
    """A process known by the pid in a file."""

    path: str


@dataclass(frozen=True, slots=True)
class Touch:
    """Create the file or move its modification time. `path` is absolute."""

    path: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Send `signal` (a name such as SIGHUP) to one process."""

    signal: str
    process: ProcessName | PidFile


@dataclass(frozen=True, slots=True)
class Url:
    """POST to `url`; 2xx accepts."""

    url: str


@dataclass(frozen=True, slots=True)
class Target:
    """Who is told of a change, and how. `secrets` None: of any secret. `splay` is seconds."""

    name: str
    action: Touch | Signal | Url
    secrets: frozenset[str] | None
    splay: float

    def watches(self, secret: str) -> bool:
        """Whether a change of the secret of that name concerns this target."""
        return self.secrets is None or secret in self.secrets


@dataclass(frozen=True, slots=True)
class Listen:
    """The address of the HTTP endpoint; `host` without brackets."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Config:
    """A config that can be acted on. All durations are seconds; `stale_after` 0 switches the check off."""

    volume_path: str
    period: float
    rotation_period: float
    settle: float
    startup_timeout: float
    stale_after: float
    listen: Listen
    secrets: tuple[Secret, ...]
    targets: tuple[Target, ...]
