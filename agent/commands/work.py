"""`freshmount work`: a worker of the resting process. It makes the passes that it is asked for, and ends."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, cast

from agent import __version__
from agent.core import crossing, rest
from agent.core.record import replace
from agent.core.rest import Account, Task
from agent.engine.keeper import Keeper, remembered
from agent.engine.loop import Signals
from agent.engine.worker import REPLACED

if TYPE_CHECKING:
    from agent.observe.log import Format
    from agent.sinks.volume.volume import Volume


def work(handle: int) -> int:
    """Do the tasks that come over the socket at that descriptor, each one line, until the other side closes it."""
    os.set_inheritable(handle, False)
    signals = Signals()
    keeper: Keeper | None = None
    with socket.socket(fileno=handle) as asked, asked.makefile("rwb") as lines:
        for line in lines:
            try:
                task: Task = crossing.load(line, rest.TASK, __version__)
            except crossing.OtherVersion:
                return REPLACED
            if keeper is None:
                keeper, volume = _recalled(task, signals)
            account = _done(task, keeper, volume)
            lines.write(crossing.dump(account, rest.ACCOUNT, __version__).encode() + b"\n")
            lines.flush()
    return 0


def _recalled(task: Task, signals: Signals) -> tuple[Keeper, Volume]:
    """A keeper that goes on where the last one left off, and its volume."""
    from agent.commands import run
    from agent.observe import log
    from agent.sinks.volume.volume import Volume

    common = task.common
    log.configure(cast("Format", common.log_format), common.log_level)
    os.set_inheritable(common.volume, False)
    volume = Volume(common.volume_path, handle=common.volume)
    left, of_volume = json.loads(task.memory)
    volume.recall(of_volume)
    memory = remembered(left, __version__)
    keeper = run.keeper(common.config, memory.loaded, volume, signals, log.logger())
    keeper.recall(memory, task.status)
    return keeper, volume


def _done(task: Task, keeper: Keeper, volume: Volume) -> Account:
    """What the pass that was asked for leaves."""
    from agent.commands.rest import account

    keeper.heed(task.held, task.moved, task.confirmed)
    if task.reload:
        keeper.reload()
    if task.expedite:
        keeper.expedite()
    result = keeper.one_pass()
    return replace(account(keeper, volume, result.sweep_in), interrupted=result.interrupted)
