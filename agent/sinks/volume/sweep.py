"""Removing what a crash left and what was superseded long enough ago. Only names of our own patterns are touched."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable

from agent.sinks.volume import files, read_back
from agent.sinks.volume import generation as generations
from agent.sinks.volume.generation import DATA

GRACE = 60.0  # seconds that a superseded generation stays, for readers that have it open

KEPT_AT_MOST = 16  # superseded generations that are kept, however quickly they follow each other


def sweep(root: int, published: Iterable[str] | None) -> float | None:
    """Remove it; returns the seconds until more is due, or None. What cannot be removed is left for the next time.

    `published` are the paths that links may lead to; None: not known, so links stay. Raises OSError.
    """
    names = os.listdir(root)
    target = files.read_link(root, DATA)
    for name in names:
        if name.startswith(files.TEMPORARY) and not files.in_work(root, name):
            discard(root, name)
    current = generations.number(target) if target else None
    if current is None:
        return None
    there = sorted(read_back.numbers(root))
    for number in there:
        if number > current:
            discard(root, f"..{number}")
    superseded = [number for number in there if number < current]
    now, due = time.time(), None
    for place, number in enumerate(reversed(superseded)):
        # Superseded when its successor was made: a time that a restart can read back.
        successor = superseded[-place] if place else current
        left = os.stat(f"..{successor}", dir_fd=root, follow_symlinks=False).st_mtime + GRACE - now
        if place >= KEPT_AT_MOST or left <= 0:
            discard(root, f"..{number}")
        else:
            due = min(left, due) if due is not None else left
    if published is not None:
        unlink_stale(root, published)
    return due


def unlink_stale(root: int, published: Iterable[str]) -> None:
    """Remove links of ours that lead to none of these paths. Raises OSError."""
    wanted = generations.first_components(published)
    for name in os.listdir(root):
        if name not in wanted and not name.startswith("..") and files.read_link(root, name) == f"{DATA}/{name}":
            files.remove(root, name)


def discard(root: int, name: str) -> None:
    """Remove a name, if that is possible now; else the sweep of a later pass tries again."""
    with contextlib.suppress(OSError):
        if name:
            files.remove(root, name)
