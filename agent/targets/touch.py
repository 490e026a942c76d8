"""Notifying a target by touching a file."""

from __future__ import annotations

import errno
import os
import stat
import time

from agent.core.errors import Refused, cause
from agent.core.model import Pending, Touch
from agent.core.record import Record

_TOUCH = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TouchFile(Record):
    """Create an empty file, or advance the modification time of the existing one."""

    action: Touch

    def tell(self, pending: Pending) -> str:
        path = self.action.path
        try:
            handle = self._open()
        except OSError as error:
            raise Refused(f"{path} cannot be touched: {self._cause(error)}") from error
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{path} cannot be touched: it is not a regular file")
            # A clock that stands still or was set back must not hide the change.
            now = max(time.time_ns(), found.st_mtime_ns + 1)
            os.utime(handle, ns=(now, now))
        except OSError as error:
            raise Refused(f"{path} cannot be touched: {self._cause(error)}") from error
        finally:
            os.close(handle)
        return f"touched {path}"

    def examine(self) -> str:
        path = self.action.path
        directory = os.path.dirname(path)
        there = os.path.lexists(path)
        if os.path.islink(path):
            raise Refused(f"{path} cannot be touched: {self._cause(OSError(errno.ELOOP, ''))}")
        if not os.access(path if there else directory, os.W_OK | (0 if there else os.X_OK)):
            number = errno.EACCES if os.path.isdir(directory) else errno.ENOENT
            error = OSError(number, os.strerror(number))
            raise Refused(f"{path} cannot be touched: {self._cause(error)}")
        return f"{path} can be touched"

    def _open(self) -> int:
        """Open the file, and create it if it is missing. Where fs.protected_regular is set, O_CREAT fails for another
        user's file in a sticky directory, so the first attempt does without it."""
        try:
            return os.open(self.action.path, _TOUCH)
        except FileNotFoundError:
            return os.open(self.action.path, _TOUCH | os.O_CREAT | os.O_EXCL, 0o644)

    def _cause(self, error: OSError) -> str:
        if error.errno == errno.ELOOP:
            return "it is a symbolic link"
        if error.errno in (errno.ENXIO, errno.EISDIR):
            return "it is not a regular file"
        if error.errno == errno.ENOENT:
            return f"the directory {os.path.dirname(self.action.path)} does not exist"
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"{cause(error)} for uid {os.geteuid()}; {self._owner()}; run both as one uid"
        return cause(error)

    def _owner(self) -> str:
        for path in (self.action.path, os.path.dirname(self.action.path)):
            try:
                return f"{path} belongs to uid {os.lstat(path).st_uid}"
            except OSError:
                continue
        return "its directory cannot be searched"
