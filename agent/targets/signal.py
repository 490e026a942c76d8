"""Notifying a target by a signal."""

from __future__ import annotations

from collections.abc import Callable

from agent.core.errors import Refused
from agent.core.model import Pending, Signal
from agent.core.record import Record
from agent.targets.process import Process, hold


class SignalProcess(Record):
    """Signal one process, unless it started after the files were published or the signal may end it."""

    action: Signal
    ours: Callable[[int], bool] = lambda _pid: False

    def tell(self, pending: Pending) -> str:
        with hold(self.action.process, self.ours) as held:
            process, name = held.process, self.action.signal
            if pending.visible_since is not None and process.started >= pending.visible_since:
                return f"process {process.pid} ({process.name}) already started with these files"
            self._agreed(process)
            held.send(name)
            return f"sent {name} to process {process.pid} ({process.name})"

    def examine(self) -> str:
        with hold(self.action.process, self.ours) as held:
            process, name = held.process, self.action.signal
            held.ask()
            self._agreed(process)
            return f"process {process.pid} ({process.name}) may be sent {name} and handles it"

    def _agreed(self, process: Process) -> None:
        """Raises Refused if the signal may end the process."""
        if objection := process.objection(self.action.signal, handled=self.action.handled):
            raise Refused(f"process {process.pid} ({process.name}) {objection}")
