"""Finding a process and holding on to it, by Linux's /proc and pidfd; and keeping this one to itself.

Everything here may race with processes that end and with pids that are used again. So identity is held by a pidfd from
the match to the signal; where that is refused, by the start time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import select
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.config import PidFile, ProcessName
from agent.errors import FreshmountError
from agent.record import Record

_PR_SET_DUMPABLE = 4
_TICKS = os.sysconf("SC_CLK_TCK")
_COMM = 15  # bytes that the kernel keeps of a command's name
_PID_FILE_LIMIT = 64  # bytes
_LOOK_AGAIN = 0.5  # seconds between two looks for a process that is not there, or has no pidfd
_PID_FILE_SLACK = 2.0  # seconds between two clocks; a pid is not used again that soon
_HARMLESS = frozenset({"SIGCONT", "SIGWINCH", "SIGURG", "SIGCHLD"})  # their default action ends nobody
_REFUSED = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL})


def keep_private() -> None:
    """Let nobody look into this process's memory, where values and credentials are: no core dump, and no ptrace or
    /proc/PID/{mem,environ} for others of its uid, such as an app that shares the process namespace. See prctl(2).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class ProcessRefused(FreshmountError):
    """No process can be meant or signalled; the target stays owed."""


class Process(Record):
    """What /proc says of one process. `started` is in seconds since boot, rounded down to a tick of 10 ms."""

    pid: int
    parent: int
    name: str
    uid: int
    started: float
    survives: int  # bit mask of the signals that it catches, ignores or blocks

    def would_survive(self, name: str) -> bool:
        """Whether the signal does not end the process for want of a handler."""
        return name in _HARMLESS or bool(self.survives >> (signal.Signals[name] - 1) & 1)


def look(pid: int) -> Process | None:
    """The process of that pid, or None if there is none, or only a zombie or a kernel thread."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as handle:
            text = handle.read()
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as handle:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in handle if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold some itself.
    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    if rest[0] in "ZX" or "VmSize" not in fields:
        return None
    return Process(
        pid=pid,
        parent=int(rest[1]),
        name=name,
        uid=int(fields["Uid"].split()[1]),
        started=int(rest[19]) / _TICKS,
        survives=int(fields["SigCgt"], 16) | int(fields["SigIgn"], 16) | int(fields["SigBlk"], 16),
    )


def awaits(pid: int, name: str) -> bool:
    """Whether the process waits for the signal as our agent does, and so is not ended by it: blocked in all threads but
    the main one, whose mask sigtimedwait(2) opens while it waits."""
    bit = 1 << (signal.Signals[name] - 1)
    try:
        others = [task for task in os.listdir(f"/proc/{pid}/task") if int(task) != pid]
        masks = []
        for task in others:
            with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8", errors="replace") as handle:
                masks += [int(line.split()[1], 16) for line in handle if line.startswith("SigBlk:")]
    except OSError:
        return False
    return bool(masks) and all(mask & bit for mask in masks)


@contextmanager
def hold(spec: ProcessName | PidFile) -> Iterator[Held]:
    """The one process that is meant, held until the end. Raises ProcessRefused with what was found instead.

    1. Match.
    2. Hold that pid by a pidfd: from here on it names this process or nothing.
    3. Look again: if it is still the process that matched, the pidfd is its.
    """
    # 1.
    matched = _by_pid_file(spec.path) if isinstance(spec, PidFile) else _by_name(spec.name)
    # 2.
    handle = _pidfd(matched.pid)
    try:
        # 3.
        again = look(matched.pid)
        if again is None or again.started != matched.started:
            raise ProcessRefused(f"process {matched.pid} ({matched.name}) ended while it was looked at")
        yield Held(again, handle)
    finally:
        if handle is not None:
            os.close(handle)


class Held(Record):
    """A process that cannot be mistaken for another of the same pid."""

    process: Process
    pidfd: int | None

    def ask(self) -> None:
        """Whether we may signal it, without a signal. Raises ProcessRefused as `send` does."""
        self._deliver(0, "a signal")

    def send(self, name: str) -> None:
        """Send the signal. Raises ProcessRefused if the process is gone or may not be signalled by us."""
        self._deliver(signal.Signals[name], name)

    def outlast(self) -> None:
        """Wait until it has ended."""
        if self.pidfd is not None:
            ended = select.poll()
            ended.register(self.pidfd, select.POLLIN)  # readable from its end on, see pidfd_open(2)
            ended.poll()
            return
        while (now := look(self.process.pid)) and now.started == self.process.started:
            time.sleep(_LOOK_AGAIN)

    def _deliver(self, number: int, name: str) -> None:
        try:
            self._send(number)
            return
        except ProcessLookupError:
            reason = f"process {self.process.pid} ({self.process.name}) ended before {name} was sent"
        except PermissionError:
            reason = (
                f"process {self.process.pid} ({self.process.name}) runs as uid {self.process.uid}, this agent as uid "
                f"{os.geteuid()}: {name} is not permitted; run both as one uid (runAsUser), or use touch or url"
            )
        raise ProcessRefused(reason)

    def _send(self, number: int) -> None:
        if self.pidfd is not None:
            try:
                signal.pidfd_send_signal(self.pidfd, number)
                return
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
        # A seccomp profile that refuses the pidfd may well allow kill; if not, its EPERM is the kernel's own.
        now = look(self.process.pid)
        if now is None or now.started != self.process.started:
            raise ProcessLookupError
        os.kill(self.process.pid, number)


def when_ended(spec: ProcessName | PidFile, ended: Callable[[str], None]) -> None:
    """Call `ended`, on a thread of its own, with who it was, when the process that is meant has ended.

    One that is not there yet is waited for; one that cannot be told from others, too. A pid file that was written since
    this call and names no process any more tells of an app that was quicker than we looked.
    """
    since = time.time()

    def wait() -> None:
        while True:
            try:
                with hold(spec) as held:
                    held.outlast()
                ended(f"process {held.process.pid} ({held.process.name})")
                return
            except (ProcessRefused, OSError):
                if isinstance(spec, PidFile) and _was_quick(spec.path, since):
                    ended(f"the process of pid file {spec.path}")
                    return
            time.sleep(_LOOK_AGAIN)

    threading.Thread(target=wait, name="exit-with", daemon=True).start()


def _was_quick(path: str, since: float) -> bool:
    try:
        pid, written = _in_pid_file(path)
    except ProcessRefused:
        return False
    return written >= since and look(pid) is None


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        gone = True
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return None  # gVisor and some seccomp profiles know no pidfd
    if gone:
        raise ProcessRefused(f"process {pid} ended while it was looked at")
    return None


def _by_name(name: str) -> Process:
    """The top-most process of that name: nginx's master and not its workers."""
    wanted = name.encode()[:_COMM].decode(errors="replace")
    found = {}
    for entry in os.listdir("/proc"):
        process = look(int(entry)) if entry.isdigit() else None
        if process and (process.name == wanted or _argument(process.pid) == name):
            found[process.pid] = process
    own = found.pop(os.getpid(), None)
    top = [process for process in found.values() if process.parent not in found]
    if len(top) > 1:
        listed = ", ".join(f"{process.pid} ({process.name})" for process in sorted(top, key=lambda p: p.pid))
        raise ProcessRefused(f"several processes match {name!r}: {listed}; use a pid file to say which is meant")
    if not top and own:
        raise ProcessRefused(f"only this agent itself matches {name!r}; name the app as `ps -o comm` shows it")
    if not top:
        raise ProcessRefused(
            f"no process matches {name!r}; set shareProcessNamespace: true and name it as `ps -o comm` shows it"
        )
    return _permitted(top[0])


def _argument(pid: int) -> str | None:
    """The base name of the command as it was called. The other arguments may carry secrets: they are not kept."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            return os.path.basename(handle.read(4096).split(b"\0", 1)[0]).decode(errors="replace")
    except OSError:
        return None


def _by_pid_file(path: str) -> Process:
    pid, written = _in_pid_file(path)
    process = look(pid)
    if process is None:
        raise ProcessRefused(f"pid file {path}: it is stale: there is no process {pid}")
    if _started_at(process) > written + _PID_FILE_SLACK:
        raise ProcessRefused(
            f"pid file {path}: it is stale: process {process.pid} ({process.name}) started after it was written"
        )
    return _permitted(process)


def _in_pid_file(path: str) -> tuple[int, float]:
    """The pid that a file holds, and when it was written (epoch seconds). No link, FIFO or device is followed or waited
    for. Raises ProcessRefused for anything that is no pid file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else os.strerror(error.errno or 0)
    else:
        try:
            found, content = os.fstat(handle), b""
            if stat.S_ISREG(found.st_mode):
                content = os.read(handle, _PID_FILE_LIMIT + 1)
        finally:
            os.close(handle)
        text = content.strip()
        if not stat.S_ISREG(found.st_mode):
            reason = "it is not a regular file"
        elif not text:
            reason = "it is empty"
        elif len(content) > _PID_FILE_LIMIT or not text.isdigit():
            reason = "it does not hold a pid"
        else:
            return int(text), found.st_mtime
    raise ProcessRefused(f"pid file {path}: {reason}")


def _started_at(process: Process) -> float:
    """When the process started, in epoch seconds."""
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - process.started)


def _permitted(process: Process) -> Process:
    if process.pid == os.getpid():
        raise ProcessRefused("that is this agent itself")
    if process.pid == 1:
        raise ProcessRefused(f"process 1 ({process.name}) is the first of its pid namespace and is never signalled")
    return process
