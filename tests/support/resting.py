"""The processes of one running agent: the one that rests, and its workers."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tests.support.running import Agent, until


def rests(agent: Agent) -> bool:
    """Whether the agent has become the resting process."""
    return b"rest" in Path(f"/proc/{agent.process.pid}/cmdline").read_bytes().split(b"\0")


def rested(agent: Agent) -> Agent:
    """The agent once its first generation is there and no worker is left."""
    agent.ready()
    until(lambda: rests(agent) and not workers(agent))
    return agent


def settled(agent: Agent) -> Agent:
    """The resting agent once it has all that it keeps open, a worker aside: with a short period one stays.

    Its watch on the config begins some time after the first pass, and has a descriptor before it has its threads. The
    loop makes no further pass before the watch is whole, so one that is asked for then tells.
    """
    rested(agent)
    until(lambda: _opens_inotify(agent))
    agent.pass_now()
    return agent


def _opens_inotify(agent: Agent) -> bool:
    with suppress(FileNotFoundError):  # one that it has closed since
        opened = Path(f"/proc/{agent.process.pid}/fd")
        return any(os.readlink(each) == "anon_inode:inotify" for each in opened.iterdir())
    return False


def holds(agent: Agent) -> bool:
    """Whether it holds a process, whose end it awaits."""
    with suppress(FileNotFoundError):
        opened = Path(f"/proc/{agent.process.pid}/fd")
        return any("pidfd" in os.readlink(each) for each in opened.iterdir())
    return False


def children(pid: int) -> dict[int, str]:
    """The processes whose parent that is, with their state as /proc/PID/stat has it."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent = Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if int(parent) == pid:
            found[int(entry)] = state
    return found


def workers(agent: Agent) -> list[int]:
    """The pids of the agent's workers, zombies included."""
    return list(children(agent.process.pid))


def gone(pid: int) -> bool:
    """Whether that process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True
