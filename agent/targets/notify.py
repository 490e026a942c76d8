"""Notifying a target that what it watches has changed: touch a file, signal a process, call a URL.

The module of a kind is imported when a target of that kind is there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from agent.core.errors import ProcessRefused, Refused, cause
from agent.core.model import Delivery, Pending, Signal, Target, Touch, Url
from agent.core.record import Record


class Notifier(Protocol):
    """One way to notify."""

    def tell(self, pending: Pending) -> str:
        """Notify the target; return what was done. Raises Refused, ProcessRefused or OSError when it did not accept."""

    def examine(self) -> str:
        """Check whether `tell` would reach the target, without notifying it; return what was found. Raises what `tell`
        raises."""


class Notified(Record):
    """One target of the config: the adapter behind `ports.Target`."""

    spec: Target
    ours: Callable[[int], bool] = lambda _pid: False  # whether a process is one of the agent's own, never meant

    def deliver(self, pending: Pending) -> Delivery:
        """Notify the target once; the outcome is a value, whatever goes wrong.

        Blocks for as long as the target's own limits allow, and longer for a URL that sends its headers byte by byte.
        The caller must set the limit.
        """
        accepted, message = _outcome(self.spec, lambda: _notifier(self.spec, self.ours).tell(pending))
        seconds = max(0.0, time.time() - pending.changed_at) if accepted else None
        return Delivery(self.spec.name, pending.generation, accepted, message, seconds)

    def examine(self) -> tuple[bool, str]:
        """Whether `deliver` would reach the target now, and what was found. The target is not notified. Blocks like
        `deliver`."""
        return _outcome(self.spec, lambda: _notifier(self.spec, self.ours).examine())


def prepare(targets: Iterable[Target]) -> None:
    """Import what these targets need, while the machine has the descriptors for it."""
    for target in targets:
        _notifier(target, lambda _pid: False)


def _outcome(target: Target, ask: Callable[[], str]) -> tuple[bool, str]:
    """Whether it worked, and a sentence about it. A failing target must not end the agent for all the others."""
    try:
        return True, ask()
    except (Refused, ProcessRefused) as refusal:
        return False, str(refusal)
    except OSError as error:
        return False, f"cannot be notified: {cause(error)}" + (f": {error.filename}" if error.filename else "")
    except ImportError as error:  # the first target of its kind, in a machine that lets no file be opened now
        return False, f"cannot be notified now: {error}"
    except Exception:
        logging.getLogger(__name__).debug("target %s", target.name, exc_info=True)
        return (
            False,
            "cannot be notified because of an internal error; please report it, with the log at level debug",
        )


def _notifier(target: Target, ours: Callable[[int], bool]) -> Notifier:
    """The notifier for this target's kind of action."""
    match target.action:
        case Touch():
            from agent.targets.touch import TouchFile

            return TouchFile(target.action)
        case Signal():
            from agent.targets.signal import SignalProcess

            return SignalProcess(target.action, ours)
        case Url():
            from agent.targets.url import CallUrl

            return CallUrl(target.action)
