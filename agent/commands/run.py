"""`freshmount init` and `run`: create the adapters and pass them to the engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agent import __version__
from agent.config import native
from agent.core.flags import Flags
from agent.engine.keeper import Keeper, Loaded
from agent.engine.loop import Loop, Signals
from agent.engine.one_pass import Adapters

if TYPE_CHECKING:
    from agent.core.ports import Trigger
    from agent.observe.log import Format


def imports() -> None:
    """Import what a start needs, and nothing else: the first files wait for it."""
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
    """Fill the volume, then keep it fresh until the agent is stopped. Returns 0. Raises what `init` raises."""
    return _Agent(path, log_format, log_level, quiet=False).keep_fresh()


class _Agent:
    """One process: its signals, its adapters, its keeper."""

    def __init__(self, path: str, log_format: Format, log_level: str, *, quiet: bool) -> None:
        from agent.commands.check import environment
        from agent.observe import events, log
        from agent.render.files import render
        from agent.sinks.volume.volume import Volume
        from agent.sources.aws.source import Aws
        from agent.targets.notify import Notified
        from agent.triggers import config_file

        log.configure(log_format, log_level)
        self._log = log.logger()
        self._signals = Signals()
        text = config_file.read(path)
        parse = partial(native.parse, environment=environment())
        config = parse(text, path)
        self._settings = config.settings
        self._volume = Volume(config.settings.volume_path)
        source = Aws()
        source.prepare(config.bundle.secrets)
        adapters = Adapters(source, self._volume, render, Notified, self._signals.stop_pending)
        self._keeper = Keeper(
            path,
            Loaded(config, text, time.monotonic()),
            adapters,
            self._log,
            read=config_file.read,
            parse=parse,
            passed=lambda before, result: events.passed(self._log, before, result),
            version=__version__,
            quiet=quiet,
        )
        self._loop = Loop(self._signals, self._keeper, self._log, self._volume.lock)

    def fill(self) -> int:
        return self._loop.fill(self._begun)

    def keep_fresh(self) -> int:
        # Imported here because `init` needs none of it.
        from agent.observe.health import for_strangers, pages
        from agent.observe.http import serve
        from agent.targets import process

        def watch(changed: Callable[[], None]) -> Trigger:
            from agent.triggers.watch import Watch, watch

            return Watch(None) if isinstance(self._keeper.path, Flags) else watch(self._keeper.path, changed)

        listen = self._settings.listen
        server = serve(
            listen.host,
            listen.port,
            pages(lambda: self._keeper.status),
            lambda error: self._log.error("page", exc_info=error),
            for_strangers(lambda: self._keeper.status),
        )
        self._log.info("listening", port=server.port)
        if spec := self._settings.exit_with:
            process.when_ended(
                spec,
                self._loop.app_has_ended,
                lambda why: self._log.warning("the app's end is not seen yet", reason=why),
            )
        try:
            return self._loop.keep_fresh(self._begun, watch)
        finally:
            server.close()

    def _begun(self) -> None:
        """Log version and identity, once this agent holds the volume."""
        identity = self._keeper.find_identity()
        self._log.info("started", version=__version__, config=self._keeper.path, identity=identity.source)
        if identity.warning:
            self._log.warning("identity", advice=identity.warning)
        if warning := self._volume.warning:
            self._log.warning("volume", advice=warning)
