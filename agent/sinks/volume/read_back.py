"""What is published, found without reading any file but our own records.

Without a readable record nothing counts as published, unless this process knows what the record said. Errors that say
nothing about the volume (no descriptor, no memory) are raised as OSError: then nothing was read back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from agent.core.model import Published
from agent.core.record import replace
from agent.sinks.volume import files
from agent.sinks.volume import generation as generations
from agent.sinks.volume.generation import (
    ACCEPTANCES,
    DATA,
    FORMER_RECORD,
    JUMP,
    RECORD,
    Clock,
    GenerationRecord,
    Identity,
)

LIMIT = 16 << 20  # bytes of a record; thousands of secrets stay far below, and a planted one cannot fill the memory


class Known(NamedTuple):
    """A record that this process has read, and the identity of its file. It saves parsing, and replaces a lost one."""

    identity: Identity
    record: GenerationRecord


def read(
    root: int, now: Callable[[], Clock], known: Known | None, unrecorded: Mapping[str, int]
) -> tuple[Published, Known | None]:
    """What is published, and the record that says so. `unrecorded` are acceptances that the volume does not hold yet.
    Raises OSError."""
    accepted, record_lost = _accepted(root, unrecorded)
    damage: dict[str, str] = {}
    found, known = _current(root, known, damage)
    highest = found.generation if found else max(numbers(root), default=0)
    if any(generation > highest + JUMP for generation in accepted.values()):
        accepted, record_lost = {}, True
    if found is None:
        return Published(accepted=accepted, record_lost=record_lost, damage=damage), known
    current = found.seen_from(now(), _linked_at(root))
    paths: dict[str, list[str]] = {name: [] for name in current.secrets}
    damaged: set[str] = set()
    for path, finding in _inspect(root, current):
        if finding:
            damage[path] = finding
            damaged.update(current.files[path].secrets)
        for name in current.files[path].secrets:
            paths[name].append(path)
    if RECORD in damage:
        damaged.update(current.secrets)
    for name in sorted(generations.first_components(current.files)):
        if files.read_link(root, name) != f"{DATA}/{name}":
            damage[name] = "the link is missing or points elsewhere"
    published = Published(
        generation=current.generation,
        published_at=current.written.wall,
        secrets={name: replace(s, paths=tuple(paths[name])) for name, s in current.secrets.items()},
        accepted={
            name: max(accepted.get(name, 0), current.accepted.get(name, 0))
            for name in accepted.keys() | current.accepted.keys()
        },
        record_lost=record_lost,
        damage=damage,
        damaged=frozenset(damaged),
    )
    return published, known


def numbers(root: int) -> set[int]:
    """The numbers of the generations that lie there."""
    found = {generations.number(name) for name in os.listdir(root)}
    return {number for number in found if number is not None and number <= generations.HIGHEST}


def _current(root: int, known: Known | None, damage: dict[str, str]) -> tuple[GenerationRecord | None, Known | None]:
    """The record behind `..data`, else of the latest whole generation, else the one that this process remembers."""
    target = files.read_link(root, DATA)
    name = target if target and generations.number(target) else None
    if name and (found := _record(root, name, known)):
        return found.record, found
    there = sorted(numbers(root), reverse=True)
    if not there and target is None and known is None:
        return None, known
    if name is None:
        damage[DATA] = "the link is missing or points elsewhere"
        for number in there:
            if found := _record(root, f"..{number}", known):
                return found.record, found
    if known is None:
        if name:
            damage[RECORD] = "missing or damaged"
        return None, known
    damage[RECORD] = "missing or damaged"
    return known.record, known


def _record(root: int, generation: str, known: Known | None) -> Known | None:
    """The record of that generation; None if there is none of ours."""
    try:
        handle = files.open_directory(root, generation)
    except OSError as error:
        files.unless_exhausted(error)
        return None
    try:
        return _record_in(handle, RECORD, generation, known) or _record_in(handle, FORMER_RECORD, generation, known)
    finally:
        os.close(handle)


def _record_in(handle: int, name: str, generation: str, known: Known | None) -> Known | None:
    try:
        identity = files.identity(handle, name)
        if identity is None or identity.uid != os.geteuid():
            return None
        if known and known.identity == identity:
            return known
        found = generations.load(files.read_file(handle, name, LIMIT))
    except OSError as error:
        files.unless_exhausted(error)
        return None
    if found is None or found.generation != generations.number(generation):
        return None
    return Known(identity, found)


def _inspect(root: int, current: GenerationRecord) -> list[tuple[str, str | None]]:
    """Each published path with what is wrong with its file, or None."""
    findings: list[tuple[str, str | None]] = []
    try:
        generation = files.open_directory(root, f"..{current.generation}")
    except OSError as error:
        files.unless_exhausted(error)
        return [(path, "missing") for path in current.files]
    try:
        with files.Descent(generation) as descent:
            for path in sorted(current.files, key=files.Descent.order):
                try:
                    identity = files.identity(*descent.parent(path))
                except OSError as error:
                    files.unless_exhausted(error)
                    identity = None  # a directory on the way is gone or is none
                if identity is None:
                    findings.append((path, "missing"))
                elif identity != current.files[path].identity:
                    findings.append((path, "altered or replaced"))
                else:
                    findings.append((path, None))
    finally:
        os.close(generation)
    return findings


def _linked_at(root: int) -> float:
    try:
        return os.stat(DATA, dir_fd=root, follow_symlinks=False).st_ctime
    except FileNotFoundError:
        return time.time()


def _accepted(root: int, unrecorded: Mapping[str, int]) -> tuple[dict[str, int], bool]:
    """The record of acceptances, and whether there is one that cannot be read."""
    try:
        record = generations.load_accepted(files.read_file(root, ACCEPTANCES, LIMIT))
    except FileNotFoundError:
        record, lost = {}, False
    except OSError as error:
        files.unless_exhausted(error)
        record, lost = None, True
    else:
        lost = record is None
    if unrecorded:
        # What this process delivered and could not record is not delivered twice.
        return {**(record or {}), **unrecorded}, False
    return record or {}, lost
