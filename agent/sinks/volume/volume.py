"""The only writer of secrets: what is published, and how it is replaced as a whole.

The layout is kubelet's own: ``..data -> ..<generation>/`` and, for each first component of a path, a link such as
``db -> ..data/db``. Readers see a generation change as a whole with one rename, since every path goes through
``..data``. The agent's state lies here too, so that a restart is an ordinary pass: ``..<generation>/..manifest.json``
and ``..notified.json``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping

from agent.core import pins
from agent.core.errors import VolumeBusy, VolumeError
from agent.core.model import Entry, Publication, Published, PublishedSecret
from agent.core.pins import Pin, Pins
from agent.core.record import replace
from agent.core.value import ProjectedFile
from agent.sinks.volume import files
from agent.sinks.volume import generation as generations
from agent.sinks.volume.generation import Clock, FileRecord, GenerationRecord, Identity

DATA = "..data"

MANIFEST = "..manifest.json"

RECORD = "..notified.json"

PINS = "..pins.json"

GRACE = 60.0  # seconds that a superseded generation stays, for readers that have it open

KEPT_AT_MOST = 16  # superseded generations that are kept, however quickly they follow each other

_GENERATION = re.compile(r"\.\.([1-9][0-9]{0,14})")

_TRIES = 3  # at a file that the agent's sweep may remove in the instant between its creation and its lock

_JUMP = 10**6  # a number so far above those in use is a neighbour's, and must not exhaust the numbering

_MANIFEST_LIMIT = 16 << 20  # bytes; thousands of secrets stay far below, and a planted one cannot fill the memory

_READ_ONLY = "the file system is read-only; mount the volume read-write in the agent's container"

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
    is not there, not a directory, or not ours to write; the caller reports the sentence and stops.
    """

    def __init__(self, path: str, *, now: Callable[[], Clock] = clock) -> None:
        self.path = path
        self._now = now
        self._root = _open_root(path)
        self._known: tuple[Identity, GenerationRecord] | None = None  # saves parsing, and replaces a lost record
        self._held_back: Mapping[str, int] = {}  # acceptances that could not be recorded
        self._set_aside: dict[str, str] = {}  # what stood in the place of our links, and where it is now

    def close(self) -> None:
        """Let go of the directory and, with it, of the lock."""
        os.close(self._root)

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
            return self._published()
        except OSError as error:
            raise self._error("cannot be read", error) from error

    def _published(self) -> Published:
        accepted, record_lost = self._accepted()
        damage: dict[str, str] = {}
        found = self._current(damage)
        highest = found.generation if found else max(self._numbers(), default=0)
        if any(generation > highest + _JUMP for generation in accepted.values()):
            accepted, record_lost = {}, True
        if found is None:
            return Published(accepted=accepted, record_lost=record_lost, damage=damage)
        linked_at = self._linked_at()
        current = found.seen_from(self._now(), linked_at)
        paths: dict[str, list[str]] = {name: [] for name in current.secrets}
        damaged: set[str] = set()
        for path, finding in self._inspect(current):
            if finding:
                damage[path] = finding
                damaged.update(current.files[path].secrets)
            for name in current.files[path].secrets:
                paths[name].append(path)
        if MANIFEST in damage:
            damaged.update(current.secrets)
        for name in sorted(_first_components(current.files)):
            if files.read_link(self._root, name) != f"{DATA}/{name}":
                damage[name] = "the link is missing or points elsewhere"
        return Published(
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

    def _current(self, damage: dict[str, str]) -> GenerationRecord | None:
        """The record behind `..data`, else of the latest whole generation, else the one that this process remembers."""
        target = files.read_link(self._root, DATA)
        name = target if target and _GENERATION.fullmatch(target) else None
        if name and (found := self._manifest(name)):
            return found
        numbers = sorted(self._numbers(), reverse=True)
        if not numbers and target is None and self._known is None:
            return None
        if name is None:
            damage[DATA] = "the link is missing or points elsewhere"
            for number in numbers:
                if found := self._manifest(f"..{number}"):
                    return found
        if self._known is None:
            if name:
                damage[MANIFEST] = "missing or damaged"
            return None
        damage[MANIFEST] = "missing or damaged"
        return self._known[1]

    def _manifest(self, generation: str) -> GenerationRecord | None:
        try:
            handle = files.open_directory(self._root, generation)
        except OSError as error:
            files.unless_exhausted(error)
            return None
        try:
            identity = files.identity(handle, MANIFEST)
            if identity is None or identity.uid != os.geteuid():
                return None
            if self._known and self._known[0] == identity:
                return self._known[1]
            found = generations.load(files.read_file(handle, MANIFEST, _MANIFEST_LIMIT))
        except OSError as error:
            files.unless_exhausted(error)
            return None
        finally:
            os.close(handle)
        if found is None or found.generation != int(generation[2:]):
            return None
        self._known = (identity, found)
        return found

    def _inspect(self, current: GenerationRecord) -> list[tuple[str, str | None]]:
        """Each published path with what is wrong with its file, or None."""
        findings: list[tuple[str, str | None]] = []
        try:
            generation = files.open_directory(self._root, f"..{current.generation}")
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

    def _linked_at(self) -> float:
        try:
            return os.stat(DATA, dir_fd=self._root, follow_symlinks=False).st_ctime
        except FileNotFoundError:
            return time.time()

    def _numbers(self) -> set[int]:
        names = [found[1] for name in os.listdir(self._root) if (found := _GENERATION.fullmatch(name))]
        return {int(number) for number in names if int(number) <= generations.HIGHEST}

    def _accepted(self) -> tuple[dict[str, int], bool]:
        """The record of acceptances, and whether there is one that cannot be read."""
        try:
            record = generations.load_accepted(files.read_file(self._root, RECORD, _MANIFEST_LIMIT))
        except FileNotFoundError:
            record, lost = {}, False
        except OSError as error:
            files.unless_exhausted(error)
            record, lost = None, True
        else:
            lost = record is None
        if self._held_back:
            # What this process delivered and could not record is not delivered twice.
            return {**(record or {}), **self._held_back}, False
        return record or {}, lost

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
        claimed = _first_components(published.paths)
        try:
            # 0.
            found = self._in_the_way(_first_components(publication.paths(published)) - claimed, published)
            if found:
                raise VolumeError(f"volume {self.path}: {'; '.join(found.values())}")
            # 1.
            used = max(published.generation, *published.accepted.values(), 0)
            generation = 1 + max(used, *(number for number in self._numbers() if number <= used + _JUMP), 0)
            name = f"..{generation}"
            handle = files.make_directory(self._root, name)
            try:
                # 2.
                records = self._fill(handle, publication, published)
                written = self._now()
                text = generations.dump(_manifest_of(generation, written, publication, published, records))
                if len(text) > _MANIFEST_LIMIT:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), MANIFEST)
                files.write_file(handle, MANIFEST, text, 0o444)
                # 3.
                files.share(handle)
                os.fsync(handle)
            finally:
                os.close(handle)
            # 4.
            for component in sorted(_first_components(records)):
                if component in claimed:
                    self._mend_link(component)
                else:
                    self._make_link(component)
            # 5.
            self._replace_link(DATA, name)
        except VolumeError:
            self._discard(name)
            raise
        except OSError as error:
            self._discard(name)
            raise self._error("cannot be written", error) from error
        # From here on it is published, whatever fails.
        try:
            os.fsync(self._root)
            # 6.
            self._unlink_stale(records)
        except OSError:
            pass  # the next pass finds and repairs it
        return self.read()

    def _note(self, publication: Publication, published: Published) -> Published:
        """Record in the current generation which versions its files belong to now, in one step."""
        known = self._known[1] if self._known else None
        handle = self._open_generation(published.generation)
        try:
            if known is None or known.generation != published.generation or handle is None:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), MANIFEST)
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
            files.replace_file(handle, MANIFEST, generations.dump(replace(known, secrets=secrets)), 0o444)
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
        secret, known = published.secrets.get(name), self._known
        if secret is None or known is None or name in published.damaged or wanted.keys() != set(secret.paths):
            return False
        generation = self._open_generation(published.generation)
        if generation is None:
            return False
        try:
            with files.Descent(generation) as descent:
                return all(
                    known[1].files[path].identity.mode == wanted[path].mode
                    and files.holds(*descent.parent(path), known[1].files[path].identity, wanted[path].content.reveal())
                    for path in sorted(wanted, key=files.Descent.order)
                )
        except OSError:
            return False
        finally:
            os.close(generation)

    def blocked(self, published: Published, paths: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """The secrets (name to paths) that cannot be published since a name that they need is taken by somebody else,
        each with a sentence that names it. Raises VolumeError when the volume cannot be looked into."""
        wanted = {name: _first_components(of) for name, of in paths.items()}
        try:
            found = self._in_the_way(set().union(*wanted.values()) - _first_components(published.paths), None)
        except OSError as error:
            raise self._error("cannot be read", error) from error
        return {
            name: "; ".join(found[component] for component in sorted(components & found.keys()))
            for name, components in wanted.items()
            if components & found.keys()
        }

    def _in_the_way(self, components: set[str], published: Published | None) -> dict[str, str]:
        """What stands under names in the volume's root that nothing published claims and is no link of ours. Before
        the first generation that may be `..data` itself, of another who lays out a volume as we do."""
        found = {name: kind for name in sorted(components) if (kind := self._foreign(name, f"{DATA}/{name}"))}
        if published is not None and published.generation == 0 and (kind := files.kind(self._root, DATA)):
            target = files.read_link(self._root, DATA)
            if target is None or not _GENERATION.fullmatch(target):
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
        contents: dict[str, tuple[str, ProjectedFile | None]] = {}
        for name, entry in publication.entries.items():
            if entry.files is None:
                contents.update((path, (name, None)) for path in published.secrets[name].paths)
            else:
                contents.update((path, (name, file)) for path, file in entry.files.items())
        carried = any(file is None for _, file in contents.values())
        before = self._known[1] if self._known and carried else None
        source = self._open_generation(published.generation) if before else None
        records: dict[str, FileRecord] = {}
        try:
            with files.Descent(handle, create=True) as into, files.Descent(-1 if source is None else source) as out:
                for path in sorted(contents, key=files.Descent.order):
                    name, file = contents[path]
                    parent, base = into.parent(path)
                    if file is not None:
                        identity = files.write_file(parent, base, file.content.reveal(), file.mode)
                        records[path] = FileRecord((name,), identity)
                    elif before is not None:
                        # A damaged file keeps the record of what it was, so that it is still found damaged.
                        records[path] = before.files[path]
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

    def _unlink_stale(self, published: Mapping[str, object]) -> None:
        """Remove links of ours that lead to nothing published."""
        wanted = _first_components(published)
        for name in os.listdir(self._root):
            if (
                name not in wanted
                and not name.startswith("..")
                and files.read_link(self._root, name) == f"{DATA}/{name}"
            ):
                files.remove(self._root, name)

    def _discard(self, name: str) -> None:
        try:
            if name:
                files.remove(self._root, name)
        except OSError:
            pass  # the sweep of a later pass tries again

    def mend(self, published: Published) -> None:
        """Repair `..data` and the links of the published generation. Raises VolumeError when that cannot be done."""
        try:
            for component in sorted(_first_components(published.paths)):
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
        self._held_back = dict(accepted)
        try:
            files.replace_file(self._root, RECORD, generations.dump_accepted(accepted), 0o644)
        except OSError as error:
            raise self._error("cannot hold the record of notifications", error) from error
        self._held_back = {}

    @property
    def unrecorded(self) -> Mapping[str, int]:
        """Acceptances that could not be recorded yet."""
        return self._held_back

    # -- pins -----------------------------------------------------------------------------------------------------

    def pins(self) -> dict[str, Pin]:
        """The pinned secrets. Raises VolumeError when there are some that cannot be read."""
        try:
            found = pins.load(files.read_file(self._root, PINS, _MANIFEST_LIMIT))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._error(f"holds {PINS}, which cannot be read", error) from error
        if found is None:
            raise VolumeError(f"volume {self.path} holds {PINS}, which is damaged; `freshmount unpin` rewrites it")
        return found

    def write_pins(self, held: Pins) -> None:
        """Replace all pins by these. Raises VolumeError when they cannot be written."""
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
            return self._sweep()
        except OSError:
            return GRACE

    def _sweep(self) -> float | None:
        names = os.listdir(self._root)
        target = files.read_link(self._root, DATA)
        for name in names:
            if name.startswith(files.TEMPORARY) and not files.in_work(self._root, name):
                self._discard(name)
        if target is None or not _GENERATION.fullmatch(target):
            return None
        current = int(target[2:])
        numbers = sorted(self._numbers())
        for number in numbers:
            if number > current:
                self._discard(f"..{number}")
        superseded = [number for number in numbers if number < current]
        now, due = time.time(), None
        for place, number in enumerate(reversed(superseded)):
            # Superseded when its successor was made: a time that a restart can read back.
            successor = superseded[-place] if place else current
            left = os.stat(f"..{successor}", dir_fd=self._root, follow_symlinks=False).st_mtime + GRACE - now
            if place >= KEPT_AT_MOST or left <= 0:
                self._discard(f"..{number}")
            else:
                due = min(left, due) if due is not None else left
        if known := self._known:
            self._unlink_stale(known[1].files)
        return due

    # -- errors ---------------------------------------------------------------------------------------------------

    def _error(self, what: str, error: OSError) -> VolumeError:
        return VolumeError(f"volume {self.path} {what}: {_cause(self._root, error)}")


def _first_components(paths: Iterable[str]) -> set[str]:
    return {path.split("/", 1)[0] for path in paths}


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


def _manifest_of(
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


def _open_root(path: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            os.mkdir(path, 0o700)
            handle = os.open(path, flags)
            os.fchmod(handle, 0o2755)  # set-group-ID: files get the group that fsGroup gave the mount
            return handle
    except OSError as error:
        failure = error
    raise VolumeError(f"volume {path} cannot be opened: {_root_cause(path, failure)}")


def _root_cause(path: str, error: OSError) -> str:
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return "it is not a directory, or is a link to one; remove what stands there"
    if error.errno == errno.ENOENT:
        return f"its parent {os.path.dirname(path) or '/'} does not exist; mount the shared emptyDir there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{os.strerror(error.errno)} for uid {os.geteuid()}; {_owner(os.path.dirname(path) or '/')}"
    if error.errno == errno.EROFS:
        return _READ_ONLY
    return os.strerror(error.errno or 0)


def _owner(path: str | int) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "its parent cannot be looked into"
    place = "it" if isinstance(path, int) else path
    return f"{place} belongs to uid {found.st_uid}, gid {found.st_gid}, with mode {stat.S_IMODE(found.st_mode):04o}"


def _cause(root: int, error: OSError) -> str:
    """The error as a sentence that names what to look at. No content is in it: OSError carries names only."""
    number = error.errno or 0
    name = f" ({error.filename})" if isinstance(error.filename, str) else ""
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"{os.strerror(number)}{name} for uid {os.geteuid()}; {_owner(root)}; "
            "run init and sidecar as one uid, and let it own the directory"
        )
    if number == errno.ENOSPC:
        space = os.fstatvfs(root)
        return (
            f"no space left{name}: {space.f_bavail * space.f_frsize} bytes and {space.f_favail} inodes are free; "
            "raise the emptyDir's sizeLimit"
        )
    if number == errno.EFBIG:
        return f"the record of the generation{name} would be too large; publish fewer files"
    if number == errno.EROFS:
        return _READ_ONLY
    return f"{os.strerror(number)}{name}"
