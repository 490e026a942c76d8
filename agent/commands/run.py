"""`freshmount init` and `run`: create the adapters and pass them to the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agent import __version__
from agent.core.errors import cause
from agent.core.flags import Flags
from agent.engine.keeper import Keeper, Loaded
from agent.engine.loop import Loop, Signals
from agent.engine.one_pass import Adapters

if TYPE_CHECKING:
    from agent.core.model import Config
    from agent.core.ports import Log, Trigger
    from agent.observe.http import Server
    from agent.observe.log import Format
    from agent.sinks.volume.volume import Volume
    from agent.targets.process import Awaited


def imports() -> None:
    """Import what a start needs and nothing else: the first files wait for it."""
    import agent.config.native  # noqa: F401

    imports_of_worker()


def imports_of_worker() -> None:
    """Import what a pass needs. The config was read."""
    import agent.observe.events
    import agent.observe.log
    import agent.render.files
    import agent.sinks.volume.volume
    import agent.sources.aws.source
    import agent.targets.notify
    import agent.triggers.config_file  # noqa: F401


def init(path: str, log_format: Format, log_level: str) -> int:
    """Fill the volume once. Returns 0 when a complete generation is published, 1 if the agent is stopped before that.

    Raises ConfigError, VolumeError, or StartError with the last reason per secret.
    """
    return _Agent(path, log_format, log_level, quiet=True).fill()


def run(path: str, log_format: Format, log_level: str) -> int:
    """Fill the volume, then keep it fresh until a stop is asked for. Returns 0. Raises what `init` raises.

    Once there is a complete generation this process becomes the resting one, and does not return here.
    """
    return _Agent(path, log_format, log_level, quiet=False).keep_fresh()


def keeper(path: str, loaded: Loaded, volume: Volume, signals: Signals, log: Log, *, quiet: bool = False) -> Keeper:
    """A keeper with the adapters of this package."""
    from agent.observe import events
    from agent.render.files import render
    from agent.sources.aws.source import Aws
    from agent.targets import notify
    from agent.triggers import config_file

    source = Aws()
    source.prepare(loaded.config.bundle.secrets)
    if not quiet:
        notify.prepare(loaded.config.bundle.targets)
    return Keeper(
        path,
        loaded,
        Adapters(source, volume, render, partial(notify.Notified, ours=_is_ours), signals.stop_pending),
        log,
        read=config_file.read,
        parse=_parse,
        passed=lambda before, result: events.passed(log, before, result),
        version=__version__,
        quiet=quiet,
    )


def _is_ours(pid: int) -> bool:
    from agent.commands import again  # for a signal to a process

    return again.is_one(pid)


def _parse(text: str, path: str) -> Config:
    from agent.commands import check  # by a worker only when the config has changed

    return check.meaning(text, path)


class _Agent:
    """One process: its signals, its adapters, its keeper."""

    def __init__(self, path: str, log_format: Format, log_level: str, *, quiet: bool) -> None:
        from agent.observe import log
        from agent.sinks.volume.volume import Volume
        from agent.triggers import config_file

        log.configure(log_format, log_level)
        self._log_format, self._log_level = log_format, log_level
        self._log = log.logger()
        self._signals = Signals()
        text = config_file.read(path)
        config = _parse(text, path)
        self._settings = config.settings
        self._volume = Volume(config.settings.volume_path)
        loaded = Loaded(config, text, time.monotonic())
        self._keeper = keeper(path, loaded, self._volume, self._signals, self._log, quiet=quiet)
        self._loop = Loop(self._signals, self._keeper, self._log, self._volume.lock)
        self._server: Server | None = None
        self._app: Awaited | None = None
        self._unrested: str | None = None  # why this process cannot become the resting one

    def fill(self) -> int:
        return self._loop.fill(self._begun, self._keeper.one_pass)

    def keep_fresh(self) -> int:
        # Imported here because `init` needs none of it.
        from agent.targets import process

        def watch(changed: Callable[[], None]) -> Trigger:
            from agent.triggers.watch import Watch, watch

            return Watch(None) if isinstance(self._keeper.path, Flags) else watch(self._keeper.path, changed)

        self._server = self._serve(None)
        self._log.info("listening", port=self._server.port)
        if spec := self._settings.exit_with:
            self._app = process.when_ended(
                spec,
                self._loop.app_has_ended,
                lambda why: self._log.warning("the app's end is not seen yet", reason=why),
            )
        try:
            return self._loop.keep_fresh(self._begun, watch, self._rest)
        finally:
            self._server.close()

    def _serve(self, released: Server | None) -> Server:
        from agent.observe.health import for_strangers, pages
        from agent.observe.http import serve

        listen = self._settings.listen
        return serve(
            listen.host,
            listen.port,
            pages(lambda: self._keeper.status),
            lambda error: self._log.error("page", exc_info=error),
            for_strangers(lambda: self._keeper.status),
            listening=released.listening if released else None,
        )

    def _begun(self) -> None:
        """Log version and identity, once this agent holds the volume."""
        identity = self._keeper.find_identity()
        self._log.info("started", version=__version__, config=self._keeper.path, identity=identity.source)
        if identity.warning:
            self._log.warning("identity", advice=identity.warning)
        if warning := self._volume.warning:
            self._log.warning("volume", advice=warning)

    def _rest(self) -> None:
        """Become the resting process, if that loses nothing; returns when it would, or cannot be done now.

        1. Only with a complete generation, with nothing in memory that cannot be handed on, and with no stop to obey.
        2. Write down what is handed on, outside of this process's memory.
        3. Stop serving: a client that connects from now on waits for the next server on the socket.
        4. Let volume and socket stay open, and become it. What fails here leaves everything as it was.
        """
        # 1.
        if not self._keeper.status.started or self._keeper.busy or self._signals.stop_pending() or not self._server:
            return
        from agent.commands import again, rest

        handles: list[int] = []
        released: Server | None = None
        try:
            # 2.
            common = rest.Common(
                self._keeper.path,
                self._keeper.path.text if isinstance(self._keeper.path, Flags) else None,
                self._log_format,
                self._log_level,
                self._volume.path,
                self._volume.handle,
            )
            handed = rest.Handover(
                common,
                rest.account(self._keeper, self._volume, None),
                self._server.listening.fileno(),
                self._settings.exit_with,
                self._app.held if self._app else None,
            )
            handles = [rest.written(handed), self._server.listening.fileno(), self._volume.handle]
            # 3.
            self._server.release()
            released = self._server
            # 4.
            for handle in handles:
                os.set_inheritable(handle, True)
            again.become(handles[0])
        except OSError as error:
            reason = cause(error)
        for handle in handles:
            os.set_inheritable(handle, False)
        if handles:
            os.close(handles[0])
        if released:
            self._server = self._serve(released)
        if reason != self._unrested:
            self._log.warning("the agent cannot come to rest now, and keeps what it has in memory", reason=reason)
        self._unrested = reason
