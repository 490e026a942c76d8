"""What a generation is called, its record and the record of acceptances, as frozen values and as JSON text.

Pure. The record lies inside its generation, so what it says is published in the same instant as the files. It is only
replaced there when the same files belong to other versions now.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agent.core.model import PublishedSecret
from agent.core.record import Record, field, replace

DATA = "..data"  # the link to the published generation

RECORD = "..generation.json"  # in each generation

ACCEPTANCES = "..notified.json"  # in the volume

FORMAT = 2  # of the record of a generation. In format 1, which is read, a file is made of one secret.

FORMER_RECORD = "..manifest.json"  # its name in format 1

ACCEPTANCES_FORMAT = 1

HIGHEST = 10**14  # the highest number that is accepted; a planted larger one must not exhaust the numbering

JUMP = 10**6  # a number so far above those in use is a neighbour's, and must not exhaust the numbering

_NAME = re.compile(r"\.\.([1-9][0-9]{0,14})")


def number(name: str) -> int | None:
    """The number of the generation of that name, or None if it is not a generation's."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def first_components(paths: Iterable[str]) -> set[str]:
    """The names in the volume's root that lead to these paths."""
    return {path.split("/", 1)[0] for path in paths}


class Identity(NamedTuple):
    """What distinguishes one file from another without reading it. A hard link has its file's identity."""

    inode: int
    size: int
    mtime_ns: int
    mode: int
    uid: int


class FileRecord(Record):
    """One published file: the secrets in it and its identity."""

    secrets: tuple[str, ...]
    identity: Identity


class Clock(Record):
    """One moment on two clocks: epoch seconds, and seconds since the boot of that id (None where not available)."""

    wall: float
    boot_id: str | None
    booted: float | None


class GenerationRecord(Record):
    """What one generation holds. `accepted` is what each target had accepted when it was published."""

    generation: int
    written: Clock
    secrets: Mapping[str, PublishedSecret]
    files: Mapping[str, FileRecord]
    accepted: Mapping[str, int] = field(default_factory=dict)

    def seen_from(self, now: Clock, linked_at: float) -> GenerationRecord:
        """The record with `visible_since` of each secret by this boot's clock.

        A generation becomes visible with the rename of `..data`, a moment after its record was written; the kernel
        stores the rename's time as the link's ctime (`linked_at`, epoch seconds). The two are compared as wall-clock
        readings only with each other, so a clock that is corrected later changes nothing.
        """
        if now.boot_id is None or self.written.boot_id is None or self.written.booted is None:
            resolved: dict[str, float | None] = dict.fromkeys(self.secrets)
        elif now.boot_id != self.written.boot_id:
            resolved = dict.fromkeys(self.secrets, 0.0)  # every process of this boot started later
        else:
            # The kernel's coarse clock and the 10 ms ticks of a process's start time both round down.
            here = self.written.booted + max(0.0, linked_at - self.written.wall) + 0.02
            resolved = {
                name: here if secret.changed == self.generation else secret.visible_since
                for name, secret in self.secrets.items()
            }
        secrets = {name: replace(secret, visible_since=resolved[name]) for name, secret in self.secrets.items()}
        return replace(self, secrets=secrets)


def dump(record: GenerationRecord) -> bytes:
    """The record of a generation as JSON text."""
    return _json(
        {
            "format": FORMAT,
            "generation": record.generation,
            "written": {
                "wall": record.written.wall,
                "bootId": record.written.boot_id,
                "booted": record.written.booted,
            },
            "accepted": dict(record.accepted),
            "secrets": {
                name: {
                    "versionId": secret.version_id,
                    "stages": list(secret.stages),
                    "spec": secret.fingerprint,
                    "changed": secret.changed,
                    "changedAt": secret.changed_at,
                    "createdAt": secret.created_at,
                    "visibleSince": secret.visible_since,
                }
                for name, secret in record.secrets.items()
            },
            "files": {
                path: {
                    "secrets": list(file.secrets),
                    "mode": f"{file.identity.mode & 0o7777:04o}",
                    "identity": list(file.identity),
                }
                for path, file in record.files.items()
            },
        }
    )


def load(text: bytes) -> GenerationRecord | None:
    """The record that the text holds, or None if it is not one: damaged, foreign, or of another format."""
    try:
        tree = json.loads(text)
        if tree["format"] not in (1, FORMAT):
            return None
        written = tree["written"]
        record = GenerationRecord(
            generation=_generation(tree["generation"]),
            written=Clock(float(written["wall"]), written["bootId"], _number(written["booted"])),
            accepted=_accepted(tree["accepted"]),
            secrets={name: _secret(entry) for name, entry in tree["secrets"].items()},
            files={
                path: FileRecord(tuple(entry["secrets"]), Identity(*map(_natural, entry["identity"])))
                for path, entry in tree["files"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if all(_beneath(path) for path in record.files) else None


def dump_accepted(accepted: Mapping[str, int]) -> bytes:
    """The record of acceptances as JSON text."""
    return _json({"format": ACCEPTANCES_FORMAT, "accepted": dict(accepted)})


def load_accepted(text: bytes) -> dict[str, int] | None:
    """The record that the text holds, or None if it cannot be read."""
    try:
        tree = json.loads(text)
        return _accepted(tree["accepted"]) if tree["format"] == ACCEPTANCES_FORMAT else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _json(tree: object) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode()


def _accepted(tree: Any) -> dict[str, int]:
    return {str(name): _generation(generation) for name, generation in tree.items()}


def _secret(entry: Any) -> PublishedSecret:
    return PublishedSecret(
        version_id=str(entry["versionId"]),
        stages=tuple(map(str, entry["stages"])),
        fingerprint=str(entry["spec"]),
        changed=_generation(entry["changed"]),
        changed_at=float(entry["changedAt"]),
        created_at=_number(entry["createdAt"]),
        visible_since=_number(entry["visibleSince"]),
    )


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a natural number")
    return value


def _generation(value: Any) -> int:
    if _natural(value) > HIGHEST:
        raise ValueError("no generation has such a number")
    return int(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _beneath(path: str) -> bool:
    """Whether a path of a record stays inside its generation; one that does not was not written by us."""
    return not path.startswith("..") and all(part not in ("", ".", "..") for part in path.split("/"))
