"""The first lines of every command, before anything that takes time to import.

Until they have run, the kernel drops a SIGTERM to the first process of a container, and another process of the same uid
may read the credentials in this one's environment. So this imports only what is built into the interpreter, or loads in
a fraction of a millisecond.
"""

import os
import sys

TYPE_CHECKING = False  # importing `typing` would take too long
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal  # without the enums that `signal` creates

STEERING = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGUSR1)
_PR_SET_DUMPABLE, _PR_SET_PDEATHSIG = 4, 1


def begin(argv: list[str]) -> None:
    """Do what must not wait for the imports of the command that `argv` names. Changes the whole process.

    1. `init`, `run` and what `run` becomes and starts wait for signals, so block these: a signal that arrives now is
       pending until they look. Any other command, as the first process of a container, needs a handler for SIGTERM, or
       the kernel ignores it.
    2. Where memory runs out, let the kernel take a worker before the process that started it: a failed pass instead of
       a restart. Before the memory is private: then who is not root may not write this file of its own either.
    3. Make the memory private.
    4. Let a worker die with the process that started it. If that is dead already, the worker finds its socket closed.
    """
    # 1.
    if argv[1:2] in (["init"], ["run"], ["rest"], ["work"]):
        _signal.pthread_sigmask(_signal.SIG_BLOCK, STEERING)
    elif os.getpid() == 1:
        _signal.signal(_signal.SIGTERM, lambda *_: os._exit(128 + _signal.SIGTERM))
    # 2.
    if argv[1:2] == ["work"]:
        _be_taken_first()
    # 3.
    keep_private()
    # 4.
    if argv[1:2] == ["work"]:
        _prctl(_PR_SET_PDEATHSIG, _signal.SIGKILL)


def _be_taken_first() -> None:
    """See oom_score_adj in proc(5). Any process may raise its own."""
    try:
        handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(handle, b"1000")
        os.close(handle)
    except OSError:  # no /proc, or a sandbox: then the kernel chooses by itself
        pass


def keep_private() -> None:
    """Keep others out of this process's memory, which holds values and credentials. Allows no core dump, and no ptrace
    or /proc/PID/{mem,environ} to other processes of its uid, such as an app in the same process namespace. See
    prctl(2).
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    try:  # what `ctypes` does, without its 3 ms
        import _ctypes

        c: Any = _ctypes
        c.call_cdeclfunction(c.dlsym(c.dlopen(None, 0), "prctl"), (option, int(value), 0, 0, 0))
    except (ImportError, AttributeError, TypeError):  # another Python, whose `_ctypes` is another
        import ctypes

        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)


def entry() -> None:
    """The console script of an installed package."""
    begin(sys.argv)
    from agent.cli import entry as command

    command()
