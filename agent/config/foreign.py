"""What passes between the reader of our own configs and those of other people's manifests.

Such a reader is a module with ``read(documents, problems, given) -> Foreign``: it appends to `problems` what cannot be
kept, with line and column, and what to do instead; it leaves nothing out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.core import arn
from agent.core.model import CALLS, Kind, Output, Place, Secret
from agent.core.record import Record, field, replace


class Given(Record):
    """What a config sets for all its secrets: where they are asked for, each how many seconds, the mode of files; and
    the names and the paths that are taken. `environment` is the region that the environment sets. `identities` name the
    credentials of stores, by kind, namespace and name, where those are not the agent's own."""

    place: Place
    period: float
    mode: int
    names: frozenset[str]
    paths: frozenset[str] = frozenset()
    environment: str | None = None
    identities: Mapping[tuple[str, str, str], str] = field(default_factory=dict)


class Foreign(Record):
    """What the documents ask for. `warnings` say, a sentence each, where we differ on purpose from who made them."""

    secrets: tuple[Secret, ...] = ()
    outputs: tuple[Output, ...] = ()
    warnings: tuple[str, ...] = ()


def placed(place: Place, kind: Kind, given: str) -> Place:
    """Where what is given is asked for: an ARN says its region, and the endpoint of one service is not another's."""
    full = arn.SECRET_ARN.fullmatch(given) or arn.PARAMETER_ARN.fullmatch(given)
    region = full[2] if full else place.region
    url, service = place.endpoint_url, CALLS[kind][0]
    if url and service != "secretsmanager" and not arn.serves(url, service, region):
        url = None
    return replace(place, region=region, endpoint_url=url)
