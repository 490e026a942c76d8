"""Telling a target that what it watches has changed: touch a file, signal a process, call a URL."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Protocol
from urllib.parse import urlsplit

import urllib3

from agent import __version__
from agent.config import Signal, Target, Touch, Url
from agent.decide import Owed
from agent.errors import FreshmountError
from agent.process import ProcessRefused, hold
from agent.record import Record
from agent.status import Delivery

_TOUCH = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TIMEOUT = urllib3.Timeout(connect=2.0, read=3.0)
_EXAMINED = urllib3.Timeout(total=2.5)  # seconds


class Refused(FreshmountError):
    """The target did not accept; it stays owed and is tried again when its backoff is due."""


class Notifier(Protocol):
    """One way of telling."""

    def tell(self, owed: Owed) -> str:
        """Tell the target; return what was done. Raises Refused, ProcessRefused or OSError when it did not accept."""

    def examine(self) -> str:
        """Look whether `tell` would reach it, and tell it nothing; return what was found. Raises as `tell` does."""


def deliver(owed: Owed) -> Delivery:
    """Tell the target once; the outcome is a value.

    Blocks for as long as the target's own limits allow (a URL that drips its headers: longer), so the caller bounds it.
    """
    target = owed.target
    try:
        message = notifier_for(target).tell(owed)
    except (Refused, ProcessRefused) as refusal:
        return Delivery(target.name, owed.generation, False, str(refusal))
    except OSError as error:
        return Delivery(target.name, owed.generation, False, f"{target.name}: {os.strerror(error.errno or 0)}")
    return Delivery(target.name, owed.generation, True, message, max(0.0, time.time() - owed.changed_at))


def notifier_for(target: Target) -> Notifier:
    """What tells this target."""
    match target.action:
        case Touch():
            return TouchFile(target.action)
        case Signal():
            return SignalProcess(target.action)
        case Url():
            return CallUrl(target.action)


class TouchFile(Record):
    """Create an empty file, or move the modification time of the one that is there."""

    action: Touch

    def tell(self, owed: Owed) -> str:
        path = self.action.path
        try:
            handle = self._open()
        except OSError as error:
            raise Refused(f"{path} cannot be touched: {self._cause(error)}") from error
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{path} cannot be touched: it is not a regular file")
            # A clock that stands still, or was set back, must not hide the change.
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
            error = OSError(errno.EACCES if os.path.isdir(directory) else errno.ENOENT, "")
            raise Refused(f"{path} cannot be touched: {self._cause(error)}")
        return f"{path} can be touched"

    def _open(self) -> int:
        """The file, made if missing. Under fs.protected_regular opening another's file in a sticky directory with
        O_CREAT fails, so it is opened without at first."""
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
            return f"{os.strerror(error.errno)} for uid {os.geteuid()}; {self._owner()}; run both as one uid"
        return os.strerror(error.errno or 0)

    def _owner(self) -> str:
        for path in (self.action.path, os.path.dirname(self.action.path)):
            try:
                return f"{path} belongs to uid {os.lstat(path).st_uid}"
            except OSError:
                continue
        return "its directory cannot be looked into"


class SignalProcess(Record):
    """Signal one process, if it has not the new files anyway and would survive it."""

    action: Signal

    def tell(self, owed: Owed) -> str:
        with hold(self.action.process) as held:
            process, name = held.process, self.action.signal
            if owed.visible_since is not None and process.started >= owed.visible_since:
                return f"process {process.pid} ({process.name}) already started with these files"
            if not process.would_survive(name):
                raise Refused(
                    f"process {process.pid} ({process.name}) has no handler for {name} yet, which would end it; "
                    "tried again later"
                )
            held.send(name)
            return f"sent {name} to process {process.pid} ({process.name})"

    def examine(self) -> str:
        with hold(self.action.process) as held:
            process, name = held.process, self.action.signal
            held.ask()
            if not process.would_survive(name):
                raise Refused(f"process {process.pid} ({process.name}) has no handler for {name}, which would end it")
            return f"process {process.pid} ({process.name}) may be sent {name} and handles it"


class CallUrl(Record):
    """POST to a URL; 2xx accepts. The answer's body is neither read nor logged."""

    action: Url

    def tell(self, owed: Owed) -> str:
        shown = self._shown()
        try:
            with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
                answer = pool.request(
                    "POST",
                    self.action.url,
                    headers={"User-Agent": f"freshmount/{__version__}", "Content-Length": "0"},
                    redirect=False,
                    preload_content=False,
                )
                status = answer.status
                answer.close()
        except urllib3.exceptions.HTTPError as error:
            failure = type(error).__name__
        else:
            if 200 <= status < 300:
                return f"{shown} answered {status}"
            raise Refused(f"{shown} answered {status}; 2xx accepts")
        raise Refused(f"{shown} cannot be called: {failure}")

    def examine(self) -> str:
        shown = self._shown()
        try:
            with urllib3.PoolManager(retries=False, timeout=_EXAMINED) as pool:
                status = pool.request("HEAD", self.action.url, redirect=False).status
        except urllib3.exceptions.HTTPError as error:
            failure = type(error).__name__
        else:
            return f"{shown} answers (HEAD: {status}); what it says to POST is seen with the first change"
        raise Refused(f"{shown} cannot be called: {failure}")

    def _shown(self) -> str:
        parts = urlsplit(self.action.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # a query may carry a token
