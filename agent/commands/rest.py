"""`freshmount rest`: the resting process, which `run` becomes. It holds no value and no credential."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from agent import __version__
from agent.core import crossing
from agent.core.flags import Flags
from agent.core.rest import HANDOVER, Account, Common, Handover

if TYPE_CHECKING:
    from agent.core.ports import Hub, Trigger
    from agent.engine.keeper import Keeper
    from agent.observe.log import Format
    from agent.sinks.volume.volume import Volume

__all__ = ["Account", "Common", "Handover", "account", "imports", "rest", "written"]


def imports() -> None:
    """Import what a resting process needs and nothing else: it stays in memory."""
    import agent.commands.again
    import agent.engine.loop
    import agent.engine.resting
    import agent.observe.health
    import agent.observe.http
    import agent.observe.log
    import agent.observe.metrics
    import agent.triggers.config_file  # noqa: F401


def account(keeper: Keeper, volume: Volume, sweep_in: float | None) -> Account:
    """What a process with a keeper leaves for the resting one. `sweep_in`: seconds until the volume must be tidied."""
    import json

    due = keeper.due
    if sweep_in is not None:
        due = min(due, time.monotonic() + sweep_in)
    return Account(
        status=keeper.status,
        due=due,
        text=keeper.loaded.text,
        period=keeper.bundle.timing.period,
        limit=keeper.limit,
        memory=json.dumps([keeper.memory(), volume.memory()]),
        stays=keeper.busy,
        asking=keeper.asking(os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")),
    )


def written(handed: Handover) -> int:
    """A descriptor from which the resting process can read it. Raises OSError."""
    handle = os.memfd_create("freshmount")
    with os.fdopen(os.dup(handle), "w", encoding="utf-8") as out:
        out.write(crossing.dump(handed, HANDOVER, __version__))
    return handle


def rest(handle: int) -> int:
    """Keep the volume fresh by workers, from what is found at that descriptor, until a stop; returns 0.

    Without anything to go on from it begins as the user began: with an ordinary start.
    """
    from agent.commands import again
    from agent.engine.loop import Loop, Signals
    from agent.engine.resting import Resting
    from agent.observe import log
    from agent.observe.health import for_strangers, pages
    from agent.observe.http import serve
    from agent.triggers import config_file

    handed = _handed(handle)
    if handed is None:
        again.begin()
        raise AssertionError("not reached")
    common = handed.common
    os.set_inheritable(handed.listening, False)
    log.configure(cast("Format", common.log_format), common.log_level)
    logger, signals = log.logger(), Signals()

    def replaced() -> None:
        logger.warning("the agent's files were replaced; it starts anew")
        again.begin()

    def hub() -> Hub:
        from agent.engine.loop import HEARD
        from agent.triggers.hub import Client  # few agents have one

        return Client(lambda: os.kill(os.getpid(), HEARD))

    resting = Resting(
        common,
        handed.account,
        logger,
        start=again.start,
        read=config_file.read,
        stopped=signals.stop_pending,
        replaced=replaced,
        hub=hub,
    )
    loop = Loop(signals, resting, logger, lambda: None)
    server = serve(
        "",
        0,
        pages(lambda: resting.status),
        lambda error: logger.error("page", exc_info=error),
        for_strangers(lambda: resting.status),
        listening=socket.socket(fileno=handed.listening),
    )

    def watch(changed: Callable[[], None]) -> Trigger:
        from agent.triggers.watch import Watch, watch

        return Watch(None) if isinstance(resting.path, Flags) else watch(resting.path, changed)

    if handed.exit_with:
        from agent.targets import process

        process.when_ended(
            handed.exit_with,
            loop.app_has_ended,
            lambda why: logger.warning("the app's end is not seen yet", reason=why),
            held=handed.held,
            ours=again.is_one,
        )
    try:
        return loop.keep_fresh(lambda: None, watch)
    finally:
        resting.close()
        server.close()


def _handed(handle: int) -> Handover | None:
    """What was handed over; None if there is nothing, or nothing of this version."""
    try:
        with os.fdopen(handle, "rb") as found:
            found.seek(0)
            handed: Handover = crossing.load(found.read(), HANDOVER, __version__)
            return handed
    except (OSError, crossing.NotUnderstood):
        return None
