"""This program once more: as another process, or in place of this one."""

from __future__ import annotations

import os
import sys


def words(*arguments: str) -> list[str]:
    """What starts this program, by the same interpreter with the same options, with these arguments."""
    return [*sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1], *arguments]


def own() -> list[str]:
    """The arguments of this process, without those that `start` and `become` put before them."""
    return sys.argv[3:] if sys.argv[1:2] in (["rest"], ["work"]) else sys.argv[1:]


def is_one(pid: int) -> bool:
    """Whether that process rests or works as one of this program's: never the app, even if both are called python."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as found:
            line = found.read(4096).split(b"\0")
    except OSError:
        return False
    return any(line[: len(own)] == own for own in ([os.fsencode(w) for w in words(kind)] for kind in ("rest", "work")))


def start(handle: int) -> int:
    """Start a worker that finds its tasks at that descriptor; returns its pid. Raises OSError.

    It gets that descriptor and others that are marked inheritable, the blocked signals and the environment.
    """
    return os.posix_spawn(sys.executable, words("work", str(handle), *own()), os.environ)


def become(handle: int) -> None:
    """Become the resting process that finds its handover at that descriptor. Raises OSError; else it does not return.

    The pid, blocked and pending signals and the inheritable descriptors stay; threads and memory go.
    """
    os.execv(sys.executable, words("rest", str(handle), *own()))  # noqa: S606 our own program


def begin() -> None:
    """Become what the user started: an ordinary start. Raises OSError; else it does not return."""
    os.execv(sys.executable, words(*own()))  # noqa: S606 our own program
