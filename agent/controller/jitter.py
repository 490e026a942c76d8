"""Chance in waits, so that what begins together does not stay together."""

from __future__ import annotations

import os


def between(shortest: float, longest: float) -> float:
    """Any length between these two."""
    return shortest + (longest - shortest) * int.from_bytes(os.urandom(4)) / 2**32
