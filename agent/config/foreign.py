"""What passes between the reader of our own configs and those of other people's manifests.

Such a reader is a module with ``read(documents, problems, given) -> Foreign``: it appends to `problems` what cannot be
kept, with line and column, and what to do instead; it leaves nothing out in silence.
"""

from __future__ import annotations

from agent.core.model import Output, Place, Secret
from agent.core.record import Record


class Given(Record):
    """What a config sets for all its secrets: where they are asked for, each how many seconds, the mode of files; and
    the names and outputs that others have. `environment` is the region that the environment sets."""

    place: Place
    period: float
    mode: int
    names: frozenset[str]
    outputs: tuple[Output, ...] = ()
    environment: str | None = None


class Foreign(Record):
    """What the documents ask for. `warnings` say, a sentence each, where we differ on purpose from who made them."""

    secrets: tuple[Secret, ...] = ()
    outputs: tuple[Output, ...] = ()
    warnings: tuple[str, ...] = ()
