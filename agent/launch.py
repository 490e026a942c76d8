"""The first lines of every command, ahead of all that takes time to import.

Until they have run, the kernel drops a SIGTERM to the first process of a container, and another process of the same uid
may read the credentials in this one's environment. So nothing is imported here but what the interpreter has built in,
or loads in a fraction of a millisecond.
"""

import os
import sys

TYPE_CHECKING = False  # `typing` is none of those
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal  # without the enums that `signal` makes

STEERING = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGUSR1)
_PR_SET_DUMPABLE, _PR_SET_PDEATHSIG = 4, 1


def begin(argv: list[str]) -> None:
    """Do what must not wait for the imports of the command that `argv` names. Changes this process, as a whole.

    1. `init`, `run` and what `run` becomes and starts wait for their signals, so block them: one that comes now is
       there when they look. As the first process of a container the others let SIGTERM end them, which the kernel does
       not do by itself.
    2. Close the memory.
    3. Let a worker die with the process that started it. One that has died before closed the worker's socket, which
       the worker will see.
    """
    # 1.
    if argv[1:2] in (["init"], ["run"], ["rest"], ["work"]):
        _signal.pthread_sigmask(_signal.SIG_BLOCK, STEERING)
    elif os.getpid() == 1:
        _signal.signal(_signal.SIGTERM, lambda *_: os._exit(128 + _signal.SIGTERM))
    # 2.
    keep_private()
    # 3.
    if argv[1:2] == ["work"]:
        _prctl(_PR_SET_PDEATHSIG, _signal.SIGKILL)


def keep_private() -> None:
    """Let nobody look into this process's memory, where values and credentials are: no core dump, and no ptrace or
    /proc/PID/{mem,environ} for others of its uid, such as an app that shares the process namespace. See prctl(2).
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
