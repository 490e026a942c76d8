"""The volume's own directory: how it is opened, and what to say when it cannot be used."""

from __future__ import annotations

import errno
import os
import stat

from agent.core.errors import VolumeError

_READ_ONLY = "the file system is read-only; mount the volume read-write in the agent's container"


def open_root(path: str) -> int:
    """A descriptor of the directory, which is made if it is not there (its parents are not: they are the mount). Raises
    VolumeError."""
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


def cause(root: int, error: OSError) -> str:
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
