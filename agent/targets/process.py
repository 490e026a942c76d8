"""Find a process and hold on to it, by means of Linux's /proc and pidfd.

A process may end at any moment, and its pid may be reused. So a pidfd identifies the process from the match to the
signal; where pidfds are refused, its start time does.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.core.errors import ProcessRefused, cause
from agent.core.model import PidFile, ProcessName
from agent.core.record import Record

_PROC = "/proc"

_TICKS = os.sysconf("SC_CLK_TCK")

_COMM = 15  # bytes that the kernel keeps of a command's name

_PROC_LIMIT = 4 << 20  # bytes of a file in /proc; a process in 65,536 groups has 700 KiB of status

_PID_FILE_LIMIT = 64  # bytes

_LOOK_AGAIN = 0.5  # seconds between two looks for a process that does not exist yet, or has no pidfd

_LONG_REFUSED = 30.0  # seconds after which `when_ended` reports why it has found no process yet

_PID_FILE_SLACK = 2.0  # seconds by which two clocks may differ; a pid is not reused that soon

_HARMLESS = frozenset({"SIGCONT", "SIGWINCH", "SIGURG", "SIGCHLD"})  # their default action ends no process

_REFUSED = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL})

_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)  # the last where /proc is mounted with hidepid


def _mask(*names: str) -> int:
    """The named signals (without the prefix SIG) as a mask in the form of /proc/PID/status."""
    return sum(1 << (signal.Signals[f"SIG{name}"] - 1) for name in names)


class Runtime(Record):
    """A runtime that installs signal handlers of its own, so that a handler in /proc says nothing about the program.

    It is recognised by the signals that it `catches` and `ignores`. Those in `own` end the process, or have no effect,
    unless the program itself handles them. All three are masks in the form of /proc/PID/status.
    """

    name: str
    catches: int
    ignores: int
    own: int


# The first match counts. Measured with Go 1.26, bash 5.2, OpenJDK 17, Ruby 3.1, Erlang 25, Node 20 and Python 3.11.
_RUNTIMES = (
    Runtime("Go's runtime", _mask("ILL", "TRAP", "FPE", "XCPU", "VTALRM", "PROF", "PWR"), 0, (1 << 64) - 1),
    Runtime(
        "bash, which has an EXIT trap,",
        _mask("ILL", "TRAP", "ABRT", "BUS", "FPE", "SYS", "XCPU", "XFSZ", "VTALRM"),
        0,
        _mask("HUP", "INT", "USR1", "USR2", "TERM"),
    ),
    Runtime(
        "the Java virtual machine",
        _mask("ILL", "BUS", "FPE", "SEGV", "PIPE", "XFSZ", "USR2"),
        0,
        _mask("HUP", "INT", "QUIT", "TERM", "USR2"),
    ),
    Runtime(
        "Ruby's interpreter",
        _mask("HUP", "INT", "QUIT", "ALRM", "TERM", "USR1", "USR2", "BUS", "SEGV"),
        0,
        _mask("HUP", "INT", "QUIT", "TERM", "USR1", "USR2"),
    ),
    Runtime(
        "Erlang's virtual machine",
        _mask("INT", "QUIT", "USR1", "TERM"),
        _mask("FPE", "PIPE", "CHLD"),
        _mask("INT", "QUIT", "USR1", "TERM"),
    ),
    Runtime("Node", _mask("INT", "USR1", "SEGV", "TERM"), _mask("PIPE", "XFSZ"), _mask("INT", "USR1", "TERM")),
    Runtime("Python's interpreter", _mask("INT"), _mask("PIPE", "XFSZ"), _mask("INT")),
)


class Dispositions(Record):
    """What a process does with signals, as masks from /proc/PID/status."""

    caught: int
    ignored: int
    blocked: int

    def runtime(self, bit: int) -> Runtime | None:
        """The runtime that catches this signal on its own account, if the process runs in a known one."""
        for runtime in _RUNTIMES:
            if runtime.catches & ~self.caught == 0 and runtime.ignores & ~self.ignored == 0:
                return runtime if runtime.own & self.caught & bit else None
        return None


class Process(Record):
    """What /proc says of one process. `started` is in seconds since boot, rounded down to a tick of 10 ms.

    `uid` and `signals` are None where the kernel does not say.
    """

    pid: int
    parent: int
    name: str
    uid: int | None
    started: float
    signals: Dispositions | None

    def objection(self, name: str, *, handled: bool) -> str | None:
        """Why the signal must not be sent because it may end the process, phrased to follow "process 7 (app)". None if
        it is safe to send.

        `handled`: the config says that the program handles it. This counts only where the kernel cannot say.
        """
        if name in _HARMLESS:
            return None
        if self.signals is None:
            if handled:
                return None
            return (
                f"is not sent {name}, which may end it: this kernel does not show which signals it handles (no SigCgt "
                "in /proc); if it handles this one, set `handled: true`, otherwise use touch or url"
            )
        bit = 1 << (signal.Signals[name] - 1)
        if self.signals.ignored & bit:
            return None
        if not (self.signals.caught | self.signals.blocked) & bit:
            return f"has no handler for {name}, which would end it"
        if handled or not (runtime := self.signals.runtime(bit)):
            return None
        return (
            f"is not sent {name}, which may end it: {runtime.name} catches that signal in every program; if this one "
            "handles it, set `handled: true`, otherwise use touch or url"
        )


def look(pid: int) -> Process | None:
    """The process with that pid. None if it does not exist, is hidden from this agent, or is a zombie or a kernel
    thread. Raises OSError where /proc cannot be read."""
    try:
        text = _read(f"{_PROC}/{pid}/stat")
        fields = dict(line.split(":\t", 1) for line in _read(f"{_PROC}/{pid}/status").split("\n") if ":\t" in line)
    except _GONE:
        return None
    # The name is in parentheses and may itself contain some.
    before, _, after = text.rpartition(")")
    rest = after.split()
    try:
        state, parent, started = rest[0], int(rest[1]), int(rest[19]) / _TICKS
    except (IndexError, ValueError, OverflowError):  # cut short: the process has just ended
        return None
    if state in ("Z", "X") or "VmSize" not in fields:
        return None
    return Process(
        pid=pid,
        parent=parent,
        name=before.partition("(")[2],
        uid=_uid(fields),
        started=started,
        signals=_dispositions(fields),
    )


def _read(path: str) -> str:
    with open(path, "rb") as handle:
        return handle.read(_PROC_LIMIT).decode(errors="replace")


def _uid(fields: dict[str, str]) -> int | None:
    """The effective uid."""
    try:
        return int(fields["Uid"].split()[1])
    except (KeyError, IndexError, ValueError):
        return None


def _dispositions(fields: dict[str, str]) -> Dispositions | None:
    """None where the kernel does not report all of them, as in gVisor."""
    try:
        return Dispositions(*(int(fields[name], 16) for name in ("SigCgt", "SigIgn", "SigBlk")))
    except (KeyError, ValueError):
        return None


def awaits(pid: int, name: str) -> bool:
    """Whether the process waits for the signal as this agent does, so that the signal does not end it: all threads
    block it except the main one, whose mask sigtimedwait(2) opens while it waits. Or the main one is alone and blocks
    it, as just after the agent's exec."""
    bit = 1 << (signal.Signals[name] - 1)
    try:
        others = [task for task in os.listdir(f"{_PROC}/{pid}/task") if task != str(pid)] or [str(pid)]
        masks = []
        for task in others:
            lines = _read(f"{_PROC}/{pid}/task/{task}/status").split("\n")
            masks += [int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:")]
    except (OSError, IndexError, ValueError):
        return False
    return bool(masks) and len(masks) == len(others) and all(mask & bit for mask in masks)


@contextmanager
def hold(spec: ProcessName | PidFile, ours: Callable[[int], bool] = lambda _pid: False) -> Iterator[Held]:
    """Find the one process that `spec` names, and hold it while the context is open. Raises ProcessRefused with what
    was found instead. `ours` says whether a pid is another process of the agent, which is never meant.

    1. Match.
    2. Open a pidfd for the pid: from now on it refers to this process or to nothing.
    3. Look again: if the pid is still the process that matched, the pidfd belongs to it.
    """
    # 1.
    matched = _by_pid_file(spec.path, ours) if isinstance(spec, PidFile) else _by_name(spec.name, ours)
    # 2.
    handle = _pidfd(matched.pid)
    try:
        # 3.
        again = look(matched.pid)
        if again is None or again.started != matched.started:
            raise ProcessRefused(f"process {matched.pid} ({matched.name}) ended while the agent looked at it")
        yield Held(again, handle)
    finally:
        if handle is not None:
            os.close(handle)


class Held(Record):
    """A process that cannot be mistaken for a later one with the same pid."""

    process: Process
    pidfd: int | None

    def ask(self) -> None:
        """Check whether this agent may signal the process, without sending a signal. Raises what `send` raises."""
        self._deliver(0, "a signal")

    def send(self, name: str) -> None:
        """Send the signal. Raises ProcessRefused if the process has ended or this agent may not signal it."""
        self._deliver(signal.Signals[name], name)

    def outlast(self) -> None:
        """Wait until the process has ended."""
        if self.pidfd is not None:
            ended = select.poll()
            ended.register(self.pidfd, select.POLLIN)  # readable once the process has ended, see pidfd_open(2)
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
            runs = "another uid" if self.process.uid is None else f"uid {self.process.uid}"
            reason = (
                f"process {self.process.pid} ({self.process.name}) runs as {runs} and this agent as uid "
                f"{os.geteuid()}, so {name} is not permitted; run both as one uid (runAsUser), or use touch or url"
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
        # A seccomp profile that refuses pidfds may still allow kill. If it refuses that too, the EPERM looks like the
        # kernel's own.
        now = look(self.process.pid)
        if now is None or now.started != self.process.started:
            raise ProcessLookupError
        os.kill(self.process.pid, number)


class Awaited:
    """A wait for the end of an app. `held`: the pid of its process and when that started, in seconds since boot, once
    it was found."""

    def __init__(self) -> None:
        self.held: tuple[int, float] | None = None


def when_ended(
    spec: ProcessName | PidFile,
    ended: Callable[[str], None],
    trouble: Callable[[str], None] = lambda _why: None,
    held: tuple[int, float] | None = None,
    ours: Callable[[int], bool] = lambda _pid: False,
) -> Awaited:
    """Call `ended` when the process that `spec` names has ended, on a separate thread. The argument describes it.

    Waits for a process that does not exist yet, or that cannot be distinguished from others. If a pid file was written
    after this call and its process no longer exists, the app ended before it was found. While no process can be held,
    `trouble` is called with the reason, once for each reason that lasts for 30 s. `held` is the process that this agent
    held before: if it no longer exists, the app has ended. `ours` as in `hold`.
    """
    since, awaited = time.time(), Awaited()

    def wait() -> None:
        refused, reported, at = "", "", 0.0
        if held and ((there := look(held[0])) is None or there.started != held[1]):
            ended(f"process {held[0]}")
            return
        while True:
            try:
                with hold(spec, ours) as app:
                    awaited.held = app.process.pid, app.process.started
                    app.outlast()
                ended(f"process {app.process.pid} ({app.process.name})")
                return
            except Exception as error:  # any: if this thread ended, the Job would wait for ever
                why = str(error) if isinstance(error, ProcessRefused) else _unforeseen(error)
            if isinstance(spec, PidFile) and _was_quick(spec.path, since):
                ended(f"the process of pid file {spec.path}")
                return
            if why != refused:
                refused, at = why, time.monotonic()
            if refused != reported and time.monotonic() >= at + _LONG_REFUSED:
                reported = refused
                trouble(refused)
            time.sleep(_LOOK_AGAIN)

    threading.Thread(target=wait, name="exit-with", daemon=True).start()
    return awaited


def _unforeseen(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"the process cannot be held: {cause(error)}" + (f": {error.filename}" if error.filename else "")
    return f"the process cannot be held: {_PROC} has a form that this agent does not understand"


def _was_quick(path: str, since: float) -> bool:
    try:
        pid, written = _in_pid_file(path)
        return written >= since and look(pid) is None
    except (ProcessRefused, OSError):
        return False


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        gone = True
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return None  # gVisor and some seccomp profiles have no pidfds
    if gone:
        raise ProcessRefused(f"process {pid} ended while the agent looked at it")
    return None


def _by_name(name: str, ours: Callable[[int], bool]) -> Process:
    """The topmost process of that name: nginx's master, not its workers."""
    wanted = name.encode()[:_COMM].decode(errors="replace")
    found = {}
    for entry in os.listdir(_PROC):
        process = look(int(entry)) if entry.isdigit() else None
        if process and (process.name == wanted or _argument(process.pid) == name):
            found[process.pid] = process
    own = [pid for pid, process in found.items() if _is_ours(process, ours)]
    for pid in own:
        del found[pid]
    top = [process for process in found.values() if process.parent not in found]
    if len(top) > 1:
        listed = ", ".join(f"{process.pid} ({process.name})" for process in sorted(top, key=lambda p: p.pid))
        raise ProcessRefused(f"several processes match {name!r}: {listed}; use pidFile to choose one")
    if not top and own:
        raise ProcessRefused(f"only this agent matches {name!r}; use the app's name as `ps -o comm` shows it")
    if not top:
        raise ProcessRefused(
            f"no process matches {name!r}; set shareProcessNamespace: true and use the name that `ps -o comm` shows"
        )
    return _permitted(top[0], ours)


def _argument(pid: int) -> str | None:
    """The base name of the command as it was called. The other arguments may contain secrets and are not kept."""
    try:
        with open(f"{_PROC}/{pid}/cmdline", "rb") as handle:
            return os.path.basename(handle.read(4096).split(b"\0", 1)[0]).decode(errors="replace")
    except OSError:
        return None


def _by_pid_file(path: str, ours: Callable[[int], bool]) -> Process:
    pid, written = _in_pid_file(path)
    process = look(pid)
    if process is None:
        raise ProcessRefused(f"pid file {path} is stale: process {pid} does not exist, or this agent cannot see it")
    if _started_at(process) > written + _PID_FILE_SLACK:
        raise ProcessRefused(
            f"pid file {path} is stale: process {process.pid} ({process.name}) started after the file was written"
        )
    return _permitted(process, ours)


def _in_pid_file(path: str) -> tuple[int, float]:
    """The pid in the file, and when the file was written (epoch seconds). Follows no link and waits for no FIFO or
    device. Raises ProcessRefused for anything that is not a pid file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else cause(error)
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


def _is_ours(process: Process, ours: Callable[[int], bool]) -> bool:
    return process.pid == os.getpid() or ours(process.pid)


def _permitted(process: Process, ours: Callable[[int], bool]) -> Process:
    if _is_ours(process, ours):
        raise ProcessRefused(f"process {process.pid} is this agent itself")
    if process.pid == 1:
        raise ProcessRefused(
            f"process 1 ({process.name}) is never signalled: it is the first process of its pid namespace"
        )
    return process
