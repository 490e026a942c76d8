"""Telling a target that what it watches has changed: touch a file, signal a process, call a URL."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import urllib3

from agent import __version__
from agent.config import Signal, Target, Touch, Url
from agent.decide import Owed
from agent.errors import FreshmountError, cause
from agent.process import Process, ProcessRefused, hold
from agent.record import Record
from agent.status import Delivery

_TOUCH = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TIMEOUT = urllib3.Timeout(connect=2.0, read=3.0)
_EXAMINED = urllib3.Timeout(total=2.5)  # seconds


class Refused(FreshmountError):
    """The target did not accept; it stays pending and is tried again when its backoff is due."""


class Notifier(Protocol):
    """One way of telling."""

    def tell(self, owed: Owed) -> str:
        """Tell the target; return what was done. Raises Refused, ProcessRefused or OSError when it did not accept."""

    def examine(self) -> str:
        """Look whether `tell` would reach it, and tell it nothing; return what was found. Raises as `tell` does."""


def deliver(owed: Owed) -> Delivery:
    """Tell the target once; the outcome is a value, whatever goes wrong.

    Blocks for as long as the target's own limits allow (a URL that drips its headers: longer), so the caller bounds it.
    """
    target = owed.target
    accepted, message = _outcome(target, lambda: _notifier(target).tell(owed))
    seconds = max(0.0, time.time() - owed.changed_at) if accepted else None
    return Delivery(target.name, owed.generation, accepted, message, seconds)


def examine(target: Target) -> tuple[bool, str]:
    """Whether `deliver` would reach the target now, and what was found; the target is told nothing. Blocks alike."""
    return _outcome(target, lambda: _notifier(target).examine())


def _outcome(target: Target, ask: Callable[[], str]) -> tuple[bool, str]:
    """Whether it went well, and the sentence. What one target is like must not end the agent for all the others."""
    try:
        return True, ask()
    except (Refused, ProcessRefused) as refusal:
        return False, str(refusal)
    except OSError as error:
        return False, f"it cannot be told: {cause(error)}" + (f": {error.filename}" if error.filename else "")
    except Exception:
        logging.getLogger(__name__).debug("target %s", target.name, exc_info=True)
        return False, "it cannot be told, and nobody foresaw why; with log level debug the log says where: report that"


def _notifier(target: Target) -> Notifier:
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
            number = errno.EACCES if os.path.isdir(directory) else errno.ENOENT
            error = OSError(number, os.strerror(number))
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
            return f"{cause(error)} for uid {os.geteuid()}; {self._owner()}; run both as one uid"
        return cause(error)

    def _owner(self) -> str:
        for path in (self.action.path, os.path.dirname(self.action.path)):
            try:
                return f"{path} belongs to uid {os.lstat(path).st_uid}"
            except OSError:
                continue
        return "its directory cannot be looked into"


class SignalProcess(Record):
    """Signal one process, unless it has the new files anyway or the signal may end it."""

    action: Signal

    def tell(self, owed: Owed) -> str:
        with hold(self.action.process) as held:
            process, name = held.process, self.action.signal
            if owed.visible_since is not None and process.started >= owed.visible_since:
                return f"process {process.pid} ({process.name}) already started with these files"
            self._agreed(process)
            held.send(name)
            return f"sent {name} to process {process.pid} ({process.name})"

    def examine(self) -> str:
        with hold(self.action.process) as held:
            process, name = held.process, self.action.signal
            held.ask()
            self._agreed(process)
            return f"process {process.pid} ({process.name}) may be sent {name} and handles it"

    def _agreed(self, process: Process) -> None:
        """Raises Refused if the signal may end the process."""
        if objection := process.objection(self.action.signal, handled=self.action.handled):
            raise Refused(f"process {process.pid} ({process.name}) {objection}")


class CallUrl(Record):
    """POST to a URL; 2xx accepts. The answer's body is neither read nor logged."""

    action: Url

    def tell(self, owed: Owed) -> str:
        with self._calling(_TIMEOUT) as (pool, shown):
            answer = pool.request(
                "POST",
                self.action.url,
                headers={"User-Agent": f"freshmount/{__version__}", "Content-Length": "0"},
                redirect=False,
                preload_content=False,
            )
            status = answer.status
            answer.close()
        if 200 <= status < 300:
            return f"{shown} answered {status}"
        raise Refused(f"{shown} answered {status}; 2xx accepts")

    def examine(self) -> str:
        with self._calling(_EXAMINED) as (pool, shown):
            status = pool.request("HEAD", self.action.url, redirect=False).status
        return f"{shown} answers (HEAD: {status}); what it says to POST is seen with the first change"

    @contextmanager
    def _calling(self, timeout: urllib3.Timeout) -> Iterator[tuple[urllib3.PoolManager, str]]:
        """What calls, and the URL as it is shown. Raises Refused, with a sentence, for what goes wrong within."""
        shown = self.action.url
        try:
            parts = urlsplit(shown)
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # a query may carry a token
            with urllib3.PoolManager(retries=False, timeout=timeout, cert_reqs=ssl.CERT_REQUIRED) as pool:
                yield pool, shown
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, ValueError) as error:
            refused = Refused(f"{shown} cannot be called: {_words(error)}")
        else:
            return
        raise refused


def _words(error: BaseException) -> str:
    """Why a URL cannot be called; nothing of what the other side said."""
    first = error
    while earlier := first.__cause__ or first.__context__:
        first = earlier
    match first:
        case socket.gaierror():
            return f"its name does not resolve ({cause(first)}); check DNS"
        case ssl.SSLCertVerificationError():
            return f"its certificate is refused: {first.verify_message}"
        case ssl.SSLError():
            return "it does not speak TLS, or not with this agent; is it http?"
        case http.client.RemoteDisconnected():
            return "it closed the connection without an answer"
        case http.client.HTTPException():
            return "its answer is not HTTP, or longer than an answer may be"
        case TimeoutError() if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
            return "no connection in time; check routes and NetworkPolicies"
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return f"{cause(first)}; nothing listens there yet"
        case OSError():
            return cause(first)
        case urllib3.exceptions.TimeoutError():
            return "no answer in time"
        case ValueError():  # urllib3's own for a URL are among them, and Python's for a host name
            return "it is not a URL that can be called; check its host and port"
    return "its answer is not understood"
