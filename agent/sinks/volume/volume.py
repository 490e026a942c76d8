"""The only writer of secrets: what is published, and how it is replaced as a whole.

The layout is kubelet's own: ``..data -> ..<generation>/`` and, for each first component of a path, a link such as
``db -> ..data/db``. Readers see a generation change as a whole with one rename, since every path goes through
``..data``. The agent's state lies here too, so that a restart is an ordinary pass: ``..<generation>/..generation.json``
and ``..notified.json``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from agent.core.errors import VolumeBusy, VolumeError
from agent.core.model import Entry, Publication, Published, PublishedSecret
from agent.core.record import replace
from agent.core.value import ProjectedFile
from agent.sinks.volume import files, read_back, sweep
from agent.sinks.volume import generation as generations
from agent.sinks.volume.generation import (
    ACCEPTANCES,
    DATA,
    JUMP,
    RECORD,
    Clock,
    FileRecord,
    GenerationRecord,
    Identity,
    first_components,
)
from agent.sinks.volume.read_back import LIMIT, Known
from agent.sinks.volume.root import cause, open_root

if TYPE_CHECKING:
    from agent.core.pins import Pin, Pins

PINS = "..pins.json"

_TRIES = 3  # at a file that the agent's sweep may remove in the instant between its creation and its lock

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def clock() -> Clock:
    """This moment in epoch seconds and, where the kernel says it, in seconds since boot."""
    try:
        with open(_BOOT_ID, encoding="ascii") as handle:
            return Clock(time.time(), handle.read().strip(), time.clock_gettime(time.CLOCK_BOOTTIME))
    except (OSError, AttributeError):
        return Clock(time.time(), None, None)


class Volume:
    """The directory that the pod's containers share, held by one agent at a time.

    Constructing it opens the directory, or makes it (not its parents: they are the mount). Raises VolumeError when it
    is not there, not a directory, or not ours to write; the caller reports the sentence and stops. `handle` is the
    directory's descriptor where this process was given one.
    """

    def __init__(self, path: str, *, now: Callable[[], Clock] = clock, handle: int | None = None) -> None:
        self.path = path
        self._now = now
        self._root = open_root(path) if handle is None else handle
        self._known: Known | None = None
        self._unrecorded: Mapping[str, int] = {}  # acceptances that could not be recorded
        self._set_aside: dict[str, str] = {}  # what stood in the place of our links, and where it is now

    def close(self) -> None:
        """Let go of the directory and, with it, of the lock."""
        os.close(self._root)

    @property
    def handle(self) -> int:
        """The descriptor of the directory. The lock belongs to it: a process that inherits it holds the lock, too."""
        return self._root

    def memory(self) -> str:
        """What another process of this agent must know of the volume beside what the volume says: the record that was
        read last, in case it is lost, and the acceptances that could not be recorded."""
        known = self._known
        record = [list(known.identity), generations.dump(known.record).decode()] if known else None
        return json.dumps([record, dict(self._unrecorded)])

    def recall(self, memory: str) -> None:
        """Know what another process's `memory` says."""
        record, unrecorded = json.loads(memory)
        if record and (found := generations.load(record[1].encode())):
            self._known = Known(Identity(*record[0]), found)
        self._unrecorded = unrecorded

    def lock(self) -> None:
        """Take the volume for this process, until it ends. Raises VolumeBusy while another agent has it."""
        try:
            fcntl.flock(self._root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = True
        except OSError as error:
            raise self._error("cannot be locked", error) from error
        else:
            busy = False
        if busy:
            raise VolumeBusy(f"volume {self.path} is held by another agent; give each agent a volume.path of its own")

    @property
    def warning(self) -> str | None:
        """What should be changed about this directory although it works, or None."""
        found = os.fstat(self._root)
        if found.st_mode & stat.S_ISVTX and found.st_uid != os.geteuid():
            return (
                f"volume {self.path} is sticky and belongs to uid {found.st_uid}, not to this agent's uid "
                f"{os.geteuid()}: under fs.protected_symlinks no other uid may follow the links in it; set volume.path "
                f"to a directory below the mount, such as {self.path.rstrip('/')}/secrets"
            )
        return None

    # -- reading back ---------------------------------------------------------------------------------------------

    def read(self) -> Published:
        """What is published, found without reading any file but our own records.

        Without a readable record nothing counts as published, unless this process knows what the record said.
        """
        try:
            found, self._known = read_back.read(self._root, self._now, self._known, self._unrecorded)
            return found
        except OSError as error:
            raise self._error("cannot be read", error) from error

    # -- publishing -----------------------------------------------------------------------------------------------

    def publish(self, publication: Publication, published: Published) -> Published:
        """Replace what is published by the publication, as one step for every reader; return what is published then.

        Raises VolumeError when that cannot be done; then nothing has changed for any reader.

        A publication that changes no file makes no generation: the record of the current one is replaced.

        Until step 5 no reader can see anything of it, and with step 5 every reader sees all of it. A crash before
        leaves names of our own patterns, which `sweep` removes.

        0. Check that nobody else has a name that this one takes.
        1. A new directory that only we can enter. Its number was never used, so no acceptance can refer to it.
        2. Unchanged files are linked into it, changed ones are written and made durable; the record comes last.
        3. The directory is opened to readers and made durable.
        4. Links for new first components; until step 5 they point to nothing.
        5. `..data` is renamed over, and the rename is made durable.
        6. Links that lead nowhere now are removed; what was superseded goes with `sweep`.
        """
        if publication.changes_no_file(published):
            return self._note(publication, published)
        name = ""
        claimed = first_components(published.paths)
        try:
            # 0.
            found = self._in_the_way(first_components(publication.paths(published)) - claimed, published)
            if found:
                raise VolumeError(f"volume {self.path}: {'; '.join(found.values())}")
            # 1.
            used = max(published.generation, *published.accepted.values(), 0)
            there = read_back.numbers(self._root)
            generation = 1 + max(used, *(number for number in there if number <= used + JUMP), 0)
            name = f"..{generation}"
            handle = files.make_directory(self._root, name)
            try:
                # 2.
                records = self._fill(handle, publication, published)
                written = self._now()
                text = generations.dump(_record_of(generation, written, publication, published, records))
                if len(text) > LIMIT:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), RECORD)
                files.write_file(handle, RECORD, text, 0o444)
                # 3.
                files.share(handle)
                os.fsync(handle)
            finally:
                os.close(handle)
            # 4.
            for component in sorted(first_components(records)):
                if component in claimed:
                    self._mend_link(component)
                else:
                    self._make_link(component)
            # 5.
            self._replace_link(DATA, name)
        except VolumeError:
            sweep.discard(self._root, name)
            raise
        except OSError as error:
            sweep.discard(self._root, name)
            raise self._error("cannot be written", error) from error
        # From here on it is published, whatever fails.
        try:
            os.fsync(self._root)
            # 6.
            sweep.unlink_stale(self._root, records)
        except OSError:
            pass  # the next pass finds and repairs it
        return self.read()

    def _note(self, publication: Publication, published: Published) -> Published:
        """Record in the current generation which versions its files belong to now, in one step."""
        known = self._known.record if self._known else None
        handle = self._open_generation(published.generation)
        try:
            if known is None or known.generation != published.generation or handle is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), RECORD)
            secrets = {
                name: replace(
                    known.secrets[name],
                    version_id=entry.version_id,
                    stages=entry.stages,
                    fingerprint=entry.fingerprint,
                    created_at=entry.created_at,
                )
                for name, entry in publication.entries.items()
            }
            files.replace_file(handle, RECORD, generations.dump(replace(known, secrets=secrets)), 0o444)
        except OSError as error:
            raise self._error("cannot be written", error) from error
        finally:
            if handle is not None:
                os.close(handle)
        return self.read()

    def holds(self, published: Published, name: str, wanted: Mapping[str, ProjectedFile]) -> bool:
        """Whether a published secret's files are exactly these: paths, modes, and content byte for byte.

        The files are read, ours and at most as large as what they are compared with. False where that cannot be
        determined.
        """
        secret, known = published.secrets.get(name), self._known.record if self._known else None
        if secret is None or known is None or name in published.damaged or wanted.keys() != set(secret.paths):
            return False
        generation = self._open_generation(published.generation)
        if generation is None:
            return False
        try:
            with files.Descent(generation) as descent:
                return all(
                    known.files[path].identity.mode == wanted[path].mode
                    and files.holds(*descent.parent(path), known.files[path].identity, wanted[path].content.reveal())
                    for path in sorted(wanted, key=files.Descent.order)
                )
        except OSError:
            return False
        finally:
            os.close(generation)

    def blocked(self, published: Published, paths: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """The secrets (name to paths) that cannot be published since a name that they need is taken by somebody else,
        each with a sentence that names it. Raises VolumeError when the volume cannot be looked into."""
        wanted = {name: first_components(of) for name, of in paths.items()}
        try:
            found = self._in_the_way(set().union(*wanted.values()) - first_components(published.paths), None)
        except OSError as error:
            raise self._error("cannot be read", error) from error
        return {
            name: "; ".join(found[component] for component in sorted(components & found.keys()))
            for name, components in wanted.items()
            if components & found.keys()
        }

    def _in_the_way(self, components: set[str], published: Published | None) -> dict[str, str]:
        """What stands under names in the volume's root that nothing published claims and is no link of ours. Before
        the first generation that may be `..data` itself, of another who lays out a volume as we do; where generations
        of ours lie, it was ours, and a link that leads elsewhere is not obeyed."""
        found = {name: kind for name in sorted(components) if (kind := self._foreign(name, f"{DATA}/{name}"))}
        if published is not None and published.generation == 0 and (kind := files.kind(self._root, DATA)):
            target = files.read_link(self._root, DATA)
            ours = target is not None and (generations.number(target) is not None or read_back.numbers(self._root))
            if not ours:
                found[DATA] = kind
        return {name: self._somebody_elses(name, kind) for name, kind in found.items()}

    def _foreign(self, name: str, target: str) -> str | None:
        """What stands under the name, if anything does and it is no link of ours to the target."""
        return None if files.read_link(self._root, name) == target else files.kind(self._root, name)

    def _somebody_elses(self, name: str, kind: str) -> str:
        uid = os.stat(name, dir_fd=self._root, follow_symlinks=False).st_uid
        return (
            f"{self.path}/{name} is in the way: a {kind} of uid {uid} that this agent did not make, so it stays; "
            "move it away, or publish under another path"
        )

    def _fill(self, handle: int, publication: Publication, published: Published) -> dict[str, FileRecord]:
        """Write or carry over every file of the publication; return their records."""
        owners: dict[str, list[str]] = {}
        contents: dict[str, ProjectedFile] = {}  # of what is written; the rest is carried over
        for name, entry in publication.entries.items():
            paths = published.secrets[name].paths if entry.files is None else entry.files
            contents.update(entry.files or {})
            for path in paths:
                owners.setdefault(path, []).append(name)
        carried = owners.keys() - contents.keys()
        before = self._known.record if self._known and carried else None
        source = self._open_generation(published.generation) if before else None
        records: dict[str, FileRecord] = {}
        try:
            with files.Descent(handle, create=True) as into, files.Descent(-1 if source is None else source) as out:
                for path in sorted(owners, key=files.Descent.order):
                    secrets = tuple(owners[path])
                    parent, base = into.parent(path)
                    if path in contents:
                        file = contents[path]
                        identity = files.write_file(parent, base, file.content.reveal(), file.mode)
                        records[path] = FileRecord(secrets, identity)
                    elif before is not None:
                        # A damaged file keeps the record of what it was, so that it is still found damaged.
                        records[path] = FileRecord(secrets, before.files[path].identity)
                        if source is not None:
                            _carry_over(out, path, records[path].identity, parent, base)
        finally:
            if source is not None:
                os.close(source)
        return records

    def _open_generation(self, generation: int) -> int | None:
        try:
            return files.open_directory(self._root, f"..{generation}")
        except OSError:
            return None

    def _make_link(self, component: str) -> None:
        """Make a free name a link into `..data`. Nothing is replaced, whatever appeared meanwhile."""
        target = f"{DATA}/{component}"
        try:
            os.symlink(target, component, dir_fd=self._root)
        except FileExistsError:
            kind = self._foreign(component, target)
        else:
            kind = None
        if kind:
            raise VolumeError(f"volume {self.path}: {self._somebody_elses(component, kind)}")

    def _mend_link(self, component: str) -> None:
        """Make a name that we have published a link into `..data` again, if it no longer is one."""
        target = f"{DATA}/{component}"
        if files.read_link(self._root, component) != target:
            self._replace_link(component, target)

    def _replace_link(self, name: str, target: str) -> None:
        if kept := files.replace_link(self._root, name, target):
            self._set_aside[name] = kept

    def set_aside(self) -> dict[str, str]:
        """What stood in the place of our links and was moved since the last call: old name to new name."""
        found, self._set_aside = self._set_aside, {}
        return found

    def mend(self, published: Published) -> None:
        """Repair `..data` and the links of the published generation. Raises VolumeError when that cannot be done."""
        try:
            for component in sorted(first_components(published.paths)):
                self._mend_link(component)
            if files.read_link(self._root, DATA) != f"..{published.generation}":
                self._replace_link(DATA, f"..{published.generation}")
            os.fsync(self._root)
        except OSError as error:
            raise self._error("cannot be repaired", error) from error

    # -- acceptances ----------------------------------------------------------------------------------------------

    def record_deliveries(self, accepted: Mapping[str, int]) -> None:
        """Record the highest generation that each target has accepted.

        Raises VolumeError when that cannot be done; it is kept in memory until it can, so nothing is delivered twice
        while this process lives.
        """
        self._unrecorded = dict(accepted)
        try:
            files.replace_file(self._root, ACCEPTANCES, generations.dump_accepted(accepted), 0o644)
        except OSError as error:
            raise self._error("cannot hold the record of notifications", error) from error
        self._unrecorded = {}

    @property
    def unrecorded(self) -> Mapping[str, int]:
        """Acceptances that could not be recorded yet."""
        return self._unrecorded

    # -- pins -----------------------------------------------------------------------------------------------------

    def pins(self) -> dict[str, Pin]:
        """The pinned secrets. Raises VolumeError when there are some that cannot be read."""
        try:
            text = files.read_file(self._root, PINS, LIMIT)
            from agent.core import pins  # few are ever pinned
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._error(f"holds {PINS}, which cannot be read", error) from error
        found = pins.load(text)
        if found is None:
            raise VolumeError(f"volume {self.path} holds {PINS}, which is damaged; `freshmount unpin` rewrites it")
        return found

    def write_pins(self, held: Pins) -> None:
        """Replace all pins by these. Raises VolumeError when they cannot be written."""
        from agent.core import pins

        text = pins.dump(held)
        try:
            if not held:
                files.remove(self._root, PINS)
                return
            for _ in range(_TRIES - 1):
                with contextlib.suppress(FileNotFoundError):
                    files.replace_file(self._root, PINS, text, 0o644)
                    return
            files.replace_file(self._root, PINS, text, 0o644)
        except OSError as error:
            raise self._error("cannot hold pins", error) from error

    def holder(self) -> int | None:
        """The pid of the agent that has locked the volume, where the kernel says it. See proc_locks(5)."""
        found = os.fstat(self._root)
        here = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        try:
            with open("/proc/locks", encoding="ascii") as handle:
                words = [line.split() for line in handle]
        except OSError:
            return None
        return next((int(w[4]) for w in words if w[1] == "FLOCK" and w[5] == here and int(w[4]) > 0), None)

    # -- sweeping -------------------------------------------------------------------------------------------------

    def tidy(self) -> float | None:
        """Remove what a crash left and what was superseded long enough ago. Only names of our own patterns are touched.

        Returns the seconds until more is due, or None. What cannot be removed is left for the next time.
        """
        try:
            return sweep.sweep(self._root, self._known.record.files if self._known else None)
        except OSError:
            return sweep.GRACE

    # -- errors ---------------------------------------------------------------------------------------------------

    def _error(self, what: str, error: OSError) -> VolumeError:
        return VolumeError(f"volume {self.path} {what}: {cause(self._root, error)}")


def _carry_over(out: files.Descent, path: str, expected: Identity, parent: int, base: str) -> None:
    """Link the published file into the new generation without reading it.

    A damaged one is carried over as it is found, if at all: repairing it is the work of a pass that fetches its secret.
    """
    found = None
    try:
        source, name = out.parent(path)
        found = files.identity(source, name)
        if found is not None:
            os.link(name, base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    except OSError:
        if found == expected:
            raise


def _record_of(
    generation: int, written: Clock, publication: Publication, published: Published, records: Mapping[str, FileRecord]
) -> GenerationRecord:
    def secret(name: str, entry: Entry) -> PublishedSecret:
        before = published.secrets.get(name)
        same = before is not None and not entry.changed
        return PublishedSecret(
            version_id=entry.version_id,
            stages=entry.stages,
            fingerprint=entry.fingerprint,
            changed=before.changed if before is not None and same else generation,
            changed_at=before.changed_at if before is not None and same else written.wall,
            created_at=entry.created_at,
            visible_since=before.visible_since if before is not None and same else None,
        )

    return GenerationRecord(
        generation=generation,
        written=written,
        secrets={name: secret(name, entry) for name, entry in publication.entries.items()},
        files=records,
        accepted={name: generation if reached is None else reached for name, reached in publication.accepted.items()},
    )
