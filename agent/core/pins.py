"""Secrets that are pinned to a version for a while, as values and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from agent.core.model import Bundle
from agent.core.record import Record, replace

_NEVER = 1e11  # epoch seconds that no clock reaches

LONGEST = 30 * 86400.0  # seconds; a version that must stay longer belongs in the config, as versionId


class Pin(Record):
    """One secret's version until a moment (epoch seconds)."""

    version_id: str
    until: float


Pins = Mapping[str, Pin]


def apply(bundle: Bundle, pins: Pins, now: float) -> Bundle:
    """The bundle in which each pinned secret asks for its pin's version; `now` is epoch seconds."""
    valid = {name: pin for name, pin in pins.items() if pin.until > now}
    if not valid:
        return bundle
    return replace(
        bundle,
        secrets=tuple(
            replace(secret, ref=secret.ref.at(valid[secret.name].version_id)) if secret.name in valid else secret
            for secret in bundle.secrets
        ),
    )


def dump(pins: Pins) -> bytes:
    """The pins as JSON, as they are written to the volume."""
    return json.dumps({name: {"versionId": pin.version_id, "until": pin.until} for name, pin in pins.items()}).encode()


def load(text: bytes) -> dict[str, Pin] | None:
    """What `dump` wrote; None if it is anything else."""
    try:
        found = json.loads(text)
        made = {name: Pin(str(pin["versionId"]), float(pin["until"])) for name, pin in found.items()}
        return made if all(0 < pin.until < _NEVER for pin in made.values()) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
