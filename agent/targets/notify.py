"""Telling a target that what it watches has changed: touch a file, signal a process, call a URL."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from agent.core.errors import ProcessRefused, Refused, cause
from agent.core.model import Delivery, Pending, Signal, Target, Touch, Url
from agent.core.record import Record
from agent.targets.signal import SignalProcess
from agent.targets.touch import TouchFile
from agent.targets.url import CallUrl


class Notifier(Protocol):
    """One way of telling."""

    def tell(self, pending: Pending) -> str:
        """Tell the target; return what was done. Raises Refused, ProcessRefused or OSError when it did not accept."""

    def examine(self) -> str:
        """Look whether `tell` would reach it, and tell it nothing; return what was found. Raises as `tell` does."""


class Notified(Record):
    """A target, as `ports.Target` has it."""

    spec: Target

    def deliver(self, pending: Pending) -> Delivery:
        """Notify the target once; the outcome is a value, whatever goes wrong.

        Blocks for as long as the target's own limits allow (a URL that drips its headers: longer), so the caller bounds
        it.
        """
        accepted, message = _outcome(self.spec, lambda: _notifier(self.spec).tell(pending))
        seconds = max(0.0, time.time() - pending.changed_at) if accepted else None
        return Delivery(self.spec.name, pending.generation, accepted, message, seconds)

    def examine(self) -> tuple[bool, str]:
        """Whether `deliver` would reach the target now, and what was found; it is told nothing. Blocks alike."""
        return _outcome(self.spec, lambda: _notifier(self.spec).examine())


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
