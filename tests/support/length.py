"""How often a run tries what is made up by chance."""

from __future__ import annotations

full = False  # whether this run has --full; set by conftest before a test is imported


def often(most: int) -> int:
    """So many times with --full, else a quarter of it."""
    return most if full else most // 4
