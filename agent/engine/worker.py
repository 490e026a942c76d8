"""One worker, as the resting process sees it: a process that is asked for a pass, answers and ends.

It may do anything that a process may do: hang, be killed, answer nonsense. Each of that is a `WorkerFailed` here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from agent.core.errors import FreshmountError, cause

_TICK = 0.1  # seconds until a stop is noticed, at most

_STOPPING = 0.6  # seconds that a worker has to end its pass when a stop was asked for

_ENDING = 1.0  # seconds within which the kernel takes away a process that has ended

_PART = 1 << 16  # bytes

REPLACED = 75  # exit code of a worker that is of another version than the resting process

_HINTS = {
    errno.EAGAIN: "; the limit of processes is reached, so raise the pod's, or look for what takes them",
    errno.ENOMEM: "; there is no memory left, so raise resources.limits.memory",
    errno.EMFILE: "; there is no file descriptor left",
}


class WorkerFailed(FreshmountError):
    """The worker made no pass, or did not say what came of it; says why. It is gone."""

    replaced = False  # whether the agent's files are of another version by now


class Worker:
    """A running worker. `start` is given the descriptor of the worker's end of a socket, and returns the worker's pid.

    Raises WorkerFailed when it cannot be started.
    """

    def __init__(self, start: Callable[[int], int]) -> None:
        failure = None
        try:
            self._ours, theirs = socket.socketpair()
            try:
                theirs.set_inheritable(True)
                self._pid = start(theirs.fileno())
            except OSError:
                self._ours.close()
                raise
            finally:
                theirs.close()
        except OSError as error:
            failure = f"no worker can be started: {cause(error)}{_HINTS.get(error.errno or 0, '')}"
        if failure:
            raise WorkerFailed(failure)
        self._ours.setblocking(False)
        self._away = False
        self._status: int | None = None  # as waitpid(2) has it

    def ask(self, task: str, seconds: float, stopped: Callable[[], bool]) -> bytes:
        """The answer to a task, each one line. When a stop is asked for, the worker has a moment to end its pass.

        Raises WorkerFailed after so many seconds, and when the worker ends before it has answered.
        """
        unsent, answer = task.encode() + b"\n", b""
        end, stopping = time.monotonic() + seconds, False
        poll = select.poll()
        while not answer.endswith(b"\n"):
            if not stopping and stopped():
                stopping, end = True, time.monotonic() + _STOPPING
                self._signal(signal.SIGTERM)
            if time.monotonic() >= end:
                self.kill()
                raise WorkerFailed(f"the worker did not end its pass within {seconds:.0f} s, so it was ended")
            poll.register(self._ours, select.POLLIN | (select.POLLOUT if unsent else 0))
            if not poll.poll(_TICK * 1000):
                continue
            try:
                if unsent:
                    unsent = unsent[self._ours.send(unsent) :]
                part = self._ours.recv(_PART)
            except BlockingIOError:
                continue
            except OSError:  # it ended with something unread
                part = b""
            if not part:
                raise self._why_ended()
            answer += part
        return answer

    def end(self) -> None:
        """Let it end, which it does at once while it has no task."""
        self._ours.shutdown(socket.SHUT_WR)
        ended = select.poll()
        ended.register(self._ours, select.POLLIN)
        if not ended.poll(_ENDING * 1000):
            self._signal(signal.SIGKILL)
        self._gone()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._signal(signal.SIGKILL)
        self._gone()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def taken_away(self) -> bool:
        """Whether nothing is left of a worker that was ended; takes away what can be by now."""
        if not self._away:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
                if pid:
                    self._away, self._status = True, status
            except ChildProcessError:
                self._away = True
        return self._away

    def _gone(self) -> None:
        """Take away what is left of it: its end of the socket, and the process, if the kernel lets go of it soon."""
        self._ours.close()
        end = time.monotonic() + _ENDING
        while not self.taken_away() and time.monotonic() < end:
            time.sleep(0.002)

    def _why_ended(self) -> WorkerFailed:
        self._signal(signal.SIGKILL)  # in case it only closed the socket
        self._gone()
        code = None if self._status is None else os.waitstatus_to_exitcode(self._status)
        failed = WorkerFailed(_sentence(code))
        failed.replaced = code == REPLACED
        return failed


def take_away() -> None:
    """Take away processes that have ended and that nobody waits for: as the first process of a container this one gets
    those of others, too."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _sentence(code: int | None) -> str:
    match code:
        case None | 0:
            return "the worker ended without an answer"
        case -9:
            return (
                "the worker was killed (SIGKILL); the kernel does that when the memory limit is reached: see the "
                "container's memory, and raise resources.limits.memory"
            )
        case _ if code < 0:
            return f"the worker was ended by {signal.Signals(-code).name}"
    return f"the worker ended with exit code {code}; what it said is in the log"
