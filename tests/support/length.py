"""How often a run tries what is made up by chance."""

from __future__ import annotations

full = False  # whether this run has --full; set by conftest before a test is imported


def often(most: int) -> int:
    """So many times with --full, else a quarter of it, but once at least."""
    return most if full else max(1, most // 4)
