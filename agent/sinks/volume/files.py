"""Operations beneath a directory handle that no link can redirect.

Every name is looked up in an open directory and never through a link, so a neighbour who swaps a directory for a
link between check and use gains nothing: the handle stays where it was opened. All raise OSError as the kernel does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from types import TracebackType

from agent.sinks.volume.generation import Identity

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# O_NONBLOCK: a planted FIFO must not hold us; it means nothing to a regular file.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NAME_LIMIT = 200  # bytes that a name keeps when something is put behind it

_CHUNK = 64 << 10  # bytes of one read; os.read allocates as much as it is asked for

TEMPORARY = "..new-"  # what a crash leaves behind under this prefix is removed by the sweep

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})


def unless_exhausted(error: OSError) -> None:
    """Raise the error again if it is the machine's and says nothing about what has the name.

    Running out of file descriptors is not damage: what was published must not count as missing then.
    """
    if error.errno in _EXHAUSTED:
        raise error


def temporary_name() -> str:
    """A name that no crash left behind: a fixed one would fail with EEXIST ever after."""
    return f"{TEMPORARY}{secrets.token_hex(8)}"


def open_directory(parent: int, name: str) -> int:
    """A handle on the directory of that name; ENOTDIR or ELOOP if it is anything else."""
    return os.open(name, _DIRECTORY, dir_fd=parent)


def make_directory(parent: int, name: str) -> int:
    """A handle on a new directory that only we can enter yet; `share` opens it to readers."""
    os.mkdir(name, 0o700, dir_fd=parent)
    return open_directory(parent, name)


def share(directory: int) -> None:
    """Let readers in, whatever the umask. The set-group-ID bit stays, so that files get the volume's group."""
    group = stat.S_IMODE(os.fstat(directory).st_mode) & stat.S_ISGID
    os.fchmod(directory, 0o755 | group)


def identity(parent: int, name: str) -> Identity | None:
    """The identity of the regular file of that name, or None if there is none."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return identity_of(found) if stat.S_ISREG(found.st_mode) else None


def identity_of(found: os.stat_result) -> Identity:
    """The part of a stat result that distinguishes one file from another."""
    return Identity(found.st_ino, found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode), found.st_uid)


def write_file(parent: int, name: str, content: bytes, mode: int) -> Identity:
    """Write a new file, durable when this returns. EEXIST if the name is taken, by a link too.

    The mode is set before the content, so that nobody reads in between what the mode forbids.
    """
    handle = os.open(name, _CREATE, 0o000, dir_fd=parent)
    try:
        _write(handle, content, mode)
        return identity_of(os.fstat(handle))
    finally:
        os.close(handle)


def _write(handle: int, content: bytes, mode: int) -> None:
    os.fchmod(handle, mode)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.fsync(handle)


def holds(parent: int, name: str, expected: Identity, content: bytes) -> bool:
    """Whether the file of that identity is still there and has exactly this content. It is read piece by piece."""
    handle = os.open(name, _READ, dir_fd=parent)
    try:
        if identity_of(os.fstat(handle)) != expected or expected.size != len(content):
            return False
        rest = memoryview(content)
        while chunk := os.read(handle, _CHUNK):
            if rest[: len(chunk)] != chunk:
                return False
            rest = rest[len(chunk) :]
        return not rest
    finally:
        os.close(handle)


def read_file(parent: int, name: str, limit: int) -> bytes:
    """The content of a regular file of ours, at most `limit` bytes; EPERM for anything else, EFBIG if it is longer."""
    handle = os.open(name, _READ, dir_fd=parent)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "not a regular file of ours", name)
        if found.st_size > limit:
            raise OSError(errno.EFBIG, "larger than anything we write", name)
        chunks, left = [], limit + 1  # it may grow while it is read
        while left and (chunk := os.read(handle, min(left, _CHUNK))):
            chunks.append(chunk)
            left -= len(chunk)
        if not left:
            raise OSError(errno.EFBIG, "larger than anything we write", name)
        return b"".join(chunks)
    finally:
        os.close(handle)


def replace_file(parent: int, name: str, content: bytes, mode: int) -> None:
    """Write the content to that name, in one step for every reader.

    The file is locked while it has no name of its own yet, so that the sweep of another process does not take it for
    what a crash left; the lock goes with this process.
    """
    aside = temporary_name()
    try:
        handle = os.open(aside, _CREATE, 0o000, dir_fd=parent)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(handle, content, mode)
            os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            os.close(handle)
    except OSError:
        remove(parent, aside)
        raise
    os.fsync(parent)


def in_work(parent: int, name: str) -> bool:
    """Whether a process is about to put a file of this name in place of another (`replace_file`)."""
    try:
        handle = os.open(name, _READ, dir_fd=parent)
    except OSError as error:
        unless_exhausted(error)
        return False
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def read_link(parent: int, name: str) -> str | None:
    """Where the link of that name points, or None if no link stands there."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def replace_link(parent: int, name: str, target: str) -> str | None:
    """Make the name a link to the target, in one step for every reader if a link or nothing has that name.

    Anything else belongs to somebody, with content that may exist nowhere else: it is moved to a new name, which is
    returned.
    """
    aside, kept = temporary_name(), None
    os.symlink(target, aside, dir_fd=parent)
    try:
        if kind(parent, name) not in (None, "link"):
            kept = _name_beside(name)
            os.rename(name, kept, src_dir_fd=parent, dst_dir_fd=parent)
        os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        remove(parent, aside)
        raise
    return kept


def _name_beside(name: str) -> str:
    """A name that is not one of ours, for what stood under a name of ours."""
    short = os.fsdecode(os.fsencode(name.lstrip("."))[:_NAME_LIMIT])
    return f"{short}.found-{secrets.token_hex(4)}"


def kind(parent: int, name: str) -> str | None:
    """What has the name, in a word: file, directory, link, or other; None for nothing."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "device, socket or pipe")


def remove(parent: int, name: str) -> None:
    """Remove whatever stands under that name, with all beneath it, following no link. A missing one is fine.

    However deep it is nested: a directory found inside is moved up beside it under a name of the sweep, and is the next
    to go. So two handles and no recursion do, and a crash leaves only names of ours.
    """
    left = [name]
    while left:
        doomed = left.pop()
        try:
            os.unlink(doomed, dir_fd=parent)
        except FileNotFoundError:
            continue
        except (IsADirectoryError, PermissionError) as error:
            # POSIX lets unlink of a directory answer EPERM; Linux answers EISDIR.
            if not _is_directory(parent, doomed):
                raise error from None
            left += _emptied(parent, doomed)
            os.rmdir(doomed, dir_fd=parent)


def _emptied(parent: int, name: str) -> list[str]:
    """Empty a directory of files; the directories in it are moved to its parent, under the names returned."""
    moved = []
    handle = open_directory(parent, name)
    try:
        for entry in os.listdir(handle):
            if _is_directory(handle, entry):
                moved.append(temporary_name())
                os.rename(entry, moved[-1], src_dir_fd=handle, dst_dir_fd=parent)
            else:
                os.unlink(entry, dir_fd=handle)
    finally:
        os.close(handle)
    return moved


def _is_directory(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


class Descent:
    """The way down from one directory to the parents of many paths, each handle opened once.

    Paths must come in `order`, so that those of one directory follow each other; then at most one handle per level
    is open. With `create` missing directories are made, and each is shared and made durable when it is left.
    """

    def __init__(self, root: int, *, create: bool = False) -> None:
        self._root = root
        self._create = create
        self._open: list[tuple[str, int]] = []

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        finish = self._create and kind is None
        while self._open:
            self._leave(finish)

    def parent(self, path: str) -> tuple[int, str]:
        """The open directory that holds the path, and the path's last name in it."""
        *way, name = path.split("/")
        while [part for part, _ in self._open] != way[: len(self._open)]:
            self._leave(self._create)
        for part in way[len(self._open) :]:
            at = self._open[-1][1] if self._open else self._root
            self._open.append((part, self._enter(at, part)))
        return (self._open[-1][1] if self._open else self._root), name

    def _enter(self, at: int, part: str) -> int:
        return make_directory(at, part) if self._create else open_directory(at, part)

    def _leave(self, finish: bool) -> None:
        _, handle = self._open.pop()
        try:
            if finish:
                share(handle)
                os.fsync(handle)
        finally:
            os.close(handle)

    @staticmethod
    def order(path: str) -> list[str]:
        """The sort key that brings paths of one directory together."""
        return path.split("/")
