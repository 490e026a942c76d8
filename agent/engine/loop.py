"""When to pass: at the start, when something is due, on a signal; and when to stop.

Signals are blocked and waited for, so that each arrives between two steps of one thread: there is no handler, lock or
event. The watch on the config speaks by SIGHUP to its own process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from agent import __version__
from agent.config import native
from agent.core import pins, schedule, status
from agent.core.errors import ConfigError, Problem, StartError, VolumeBusy, VolumeError, cause
from agent.core.model import Config, Identity, Now, PassResult
from agent.core.pins import Pins
from agent.core.record import Record, replace
from agent.core.schedule import Schedule
from agent.core.status import Status
from agent.engine.one_pass import NOTIFY_LIMIT, Adapters, Fresh, pass_limit, sync
from agent.observe.events import _tell
from agent.sinks.volume.volume import Volume
from agent.sources.aws.secrets_manager import SecretsManager
from agent.targets import process
from agent.triggers import config_file

if TYPE_CHECKING:
    from agent.triggers.watch import Watch

STOP = frozenset({signal.SIGTERM, signal.SIGINT})

RELOAD, PASS = signal.SIGHUP, signal.SIGUSR1

_ASKS: dict[int, str] = {RELOAD: "asked to read the config", PASS: "asked to pass"}

LIVE_GRACE = 60.0  # seconds beyond the expected turn of the loop before the agent counts as stuck

IDENTITY_LIMIT = 1.0  # seconds for which a start waits to say where its credentials come from

LOCK_RETRY = 0.25  # seconds between two tries at a volume that another agent holds


class Signals:
    """The signals that steer the agent, blocked from now on in this thread and all that it starts.

    A command has blocked them long before, in `launch`: one that came while the libraries were imported is found here.
    """

    def __init__(self) -> None:
        self._all = STOP | {RELOAD, PASS}
        signal.pthread_sigmask(signal.SIG_BLOCK, self._all)

    def wait(self, seconds: float) -> signal.struct_siginfo | None:
        """The next signal and who sent it, or None when the time is over."""
        return signal.sigtimedwait(self._all, max(0.0, seconds))

    def stop_pending(self) -> bool:
        """Whether a stop has arrived that was not waited for yet."""
        return not STOP.isdisjoint(signal.sigpending())


def init(path: str) -> int:
    """Fill the volume once. Returns 0 when a complete generation is there, 1 when a stop came before.

    Raises ConfigError, VolumeError, or StartError with the last reason per secret.
    """
    return _Agent(path, quiet=True).fill()


def run(path: str) -> int:
    """Fill the volume, then keep it fresh until a stop is asked for. Returns 0. Raises as `init` does."""
    return _Agent(path, quiet=False).keep_fresh()


class _Loaded(Record):
    """The config in force, and the text that was last tried, good or bad."""

    config: Config
    text: str | None
    read_at: float


class _Agent:
    """What the loop holds between two passes. Only `status` is read by other threads, as one immutable value."""

    def __init__(self, path: str, *, quiet: bool) -> None:
        self.signals = Signals()
        self.log = structlog.get_logger()
        self.path = path
        self.quiet = quiet
        text, parsed = config_file.load(path)
        self.loaded = _Loaded(self._adapted(parsed), text, time.monotonic())
        self.acting = self.loaded.config  # the same, but for secrets that are pinned
        self.pins: Pins = {}
        self.pins_trouble: str | None = None
        self.complete = False  # whether this process has seen a complete generation
        self.app_ended = False
        self.unwatched: str | None = None  # why the config is not watched
        self.volume = Volume(parsed.volume_path)
        self.source = SecretsManager()
        self.identity = Identity("none")
        self.adapters = Adapters(self.source, self.volume, self.signals.stop_pending)
        self.upcoming: Schedule = schedule.begin(parsed, self.now())
        self.waiting: Fresh = {}
        self.deadline = time.monotonic() + parsed.startup_timeout
        self.status: Status = status.reloaded(
            status.begin(
                parsed,
                __version__,
                self._turns_by(time.monotonic()),
                up_since=time.time(),
                config_path=path,
            ),
            time.time(),
            success=True,
        )

    def now(self) -> Now:
        return Now(time.monotonic(), time.time())

    def _adapted(self, parsed: Config) -> Config:
        # `init` makes one pass and goes: it has no later one to wait for.
        return replace(parsed, settle=0.0) if self.quiet else parsed

    # -- the two commands -----------------------------------------------------------------------------------------

    def fill(self) -> int:
        """`init`: pass until a complete generation is there."""
        if not self._begin():
            self.log.warning("stopped before a complete generation was there")
            return 1
        while True:
            result = self._pass()
            if result.complete:
                stale = sorted(result.failures.keys() & result.published.secrets.keys())
                if stale:
                    self.log.warning("complete, but not fresh", generation=result.published.generation, stale=stale)
                return 0
            if self._wait(self._until_next()) in STOP:
                self.log.warning("stopped before a complete generation was there")
                return 1

    def keep_fresh(self) -> int:
        """`run`: pass whenever something is due, until a stop."""
        # Here, since `init` needs neither.
        from agent.observe.health import for_strangers, pages
        from agent.observe.http import serve

        if self.signals.stop_pending():
            return self._stopped()
        listen = self.loaded.config.listen
        server = serve(
            listen.host,
            listen.port,
            pages(lambda: self.status),
            lambda error: self.log.error("page", exc_info=error),
            for_strangers(lambda: self.status),
        )
        self.log.info("listening", port=server.port)
        watching: Watch | None = None
        if spec := self.loaded.config.exit_with:
            process.when_ended(
                spec, self._end_with, lambda why: self.log.warning("the app's end is not seen yet", reason=why)
            )
        try:
            if not self._begin():
                return self._stopped()
            while True:
                result = self._pass()
                watching = watching or self._watch()
                got = self._wait(min(self._until_next(), result.sweep_in or self._until_next()))
                if got in STOP:
                    return self._stopped(got)
                if got == PASS:
                    self.upcoming = schedule.expedite(self.upcoming, self.now())
                if got == RELOAD or time.monotonic() >= self.loaded.read_at + 0.8 * self.loaded.config.period:
                    self._reload()
        finally:
            if watching:
                watching.close()
            server.close()

    def _watch(self) -> Watch | None:
        """Watch the config, after the first pass: what it takes to import watchdog would keep the app waiting. An edit
        since the start is found by reading the file once more. None when that import is to be tried again."""
        watching, reason = None, None
        try:
            from agent.triggers.watch import watch

            watching = watch(self.path, lambda: os.kill(os.getpid(), RELOAD))
            reason = watching.reason
        except OSError as error:  # no descriptor is left to read its modules
            reason = cause(error)
        except ImportError:
            reason = "what watches it cannot be imported"
        if reason and reason != self.unwatched:
            self.log.warning("config is not watched, only read again each period", reason=reason)
        self.unwatched = reason
        self._reload()
        return watching

    def _stopped(self, got: int | None = None) -> int:
        """Say so; the exit code."""
        if self.app_ended:
            self.log.info("stopped", because="the app has ended")
        else:
            self.log.info("stopped", signal=signal.Signals(got).name if got else "one that came while it started")
        return 0

    def _end_with(self, app: str) -> None:
        self.log.info("the app has ended", app=app)
        self.app_ended = True
        os.kill(os.getpid(), signal.SIGTERM)

    # -- the steps ------------------------------------------------------------------------------------------------

    def _begin(self) -> bool:
        """Say who we are and take the volume; False when a stop came first."""
        if self.signals.stop_pending():
            return False
        if warning := self.volume.warning:
            self.log.warning("volume", advice=warning)
        if not self._take_volume():
            return False
        self.source.prepare(self.loaded.config.secrets)
        self.identity = self._find_identity()
        self.status = replace(self.status, identity=self.identity.source)
        self.log.info("started", version=__version__, config=self.path, identity=self.identity.source)
        if self.identity.warning:
            self.log.warning("identity", advice=self.identity.warning)
        return True

    def _find_identity(self) -> Identity:
        """Where the credentials come from, if that is known soon; the first calls go on to wait for them."""
        limit = IDENTITY_LIMIT
        asks = {"identity": partial(self.source.identity, seconds=limit)}
        for _, found in self.adapters.calls.ask(
            asks, each=limit + 1, total=limit + 1, stopped=self.signals.stop_pending
        ):
            if isinstance(found, Identity):
                return found
        return Identity("none", "it is not known yet where the credentials come from")

    def _follow_identity(self) -> None:
        """Say that credentials came, come from elsewhere, or cannot be renewed."""
        before, after = self.identity, self.source.present_identity()
        if after is None or (after.source, after.warning) == (before.source, before.warning):
            return
        self.identity = after
        self.status = replace(self.status, identity=after.source)
        if after.source != before.source:
            self.log.info("identity", identity=after.source)
        if after.warning:
            self.log.warning("identity", advice=after.warning)

    def _take_volume(self) -> bool:
        """Lock the volume; False when a stop came first. Raises VolumeBusy when it stays taken."""
        waiting = False
        while True:
            try:
                self.volume.lock()
                return True
            except VolumeBusy as busy:
                if time.monotonic() >= self.deadline:
                    raise
                if not waiting:
                    self.log.info("waiting for the volume", reason=str(busy))
                waiting = True
            if self._wait(LOCK_RETRY) in STOP:
                return False

    def _pass(self) -> PassResult:
        self._turn(0.0)
        self._take_pins()
        done = sync(
            self.acting, self.upcoming, self.waiting, self.adapters, quiet=self.quiet, unpinned=self.loaded.config
        )
        self.upcoming, self.waiting = done.upcoming, done.waiting
        if not done.result.interrupted:
            _tell(self.log, self.status, done.result)  # first: what a page tells has its line in the log
            self.status = status.after(self.status, done.result)
            self._say_complete(done.result)
            self._follow_identity()
        late = time.monotonic() >= self.deadline or done.result.hopeless
        if not self.status.started and not self.signals.stop_pending() and late:
            raise StartError(self._why_not_started(done.result))
        return done.result

    def _say_complete(self, result: PassResult) -> None:
        """Once, where no other line says it: there was nothing to do at the start."""
        if self.complete or not result.complete:
            return
        self.complete = True
        if not (result.generation_made or result.failures or result.trouble):
            self.log.info("nothing to do, all is published", generation=result.published.generation)

    def _until_next(self) -> float:
        due = self.upcoming.next_due
        if not self.quiet:
            # The net beneath the watch. A little later than the secrets' jitter reaches, so that it mostly comes along
            # with their pass and wakes nobody of its own.
            due = min(due, self.loaded.read_at + 1.2 * self.loaded.config.period)
        if not self.status.started:
            due = min(due, self.deadline)
        if self.pins:
            due = min(due, time.monotonic() + min(pin.until for pin in self.pins.values()) - time.time())
        return max(0.0, due - time.monotonic())

    def _wait(self, seconds: float) -> int | None:
        self._turn(seconds)
        heard = self.signals.wait(seconds)
        if heard is None:
            return None
        if heard.si_signo in _ASKS and heard.si_pid != os.getpid():  # our own are the watch's
            self.log.info(_ASKS[heard.si_signo], signal=signal.Signals(heard.si_signo).name)
        return heard.si_signo

    def _turn(self, seconds: float) -> None:
        """Say by when the loop turns next; a probe that finds it later than that finds the agent stuck."""
        self.status = replace(self.status, turns_by=self._turns_by(time.monotonic() + seconds))

    def _turns_by(self, moment: float) -> float:
        return moment + 2 * pass_limit(len(self.loaded.config.secrets)) + NOTIFY_LIMIT + LIVE_GRACE

    def _reload(self) -> None:
        """Take a changed config over whole, or keep the one in force and say why."""
        self.loaded = replace(self.loaded, read_at=time.monotonic())
        before, text, rejected = self.loaded.config, None, None
        try:
            text = config_file.read(self.path)
            if text == self.loaded.text:
                return
            after = native.parse(text, self.path)
            _refuse_fixed(self.path, before, after)
        except ConfigError as error:
            if text is None and self.loaded.text is None:
                return  # said when it went
            rejected = error
        except (ImportError, OSError) as error:  # what a new kind of entry needs cannot be imported now: not tried yet
            text, rejected = self.loaded.text, _unreadable(self.path, error)
        self.loaded = replace(self.loaded, text=text)
        if rejected:
            problems = str(rejected).splitlines()
            self.status = status.reloaded(self.status, time.time(), success=False, problems=tuple(problems))
            self.log.error("config rejected, the earlier one stays in force", problems=problems)
            return
        self.source.prepare(after.secrets)
        self.loaded = replace(self.loaded, config=after)
        self._act()
        self.status = status.reloaded(self.status, time.time(), success=True)
        self.log.info("config reloaded", secrets=len(after.secrets), targets=len(after.targets))

    def _take_pins(self) -> None:
        """Act on what `freshmount pin` left on the volume, and end what has run out. Those in force stay when the
        record cannot be read: for want of a descriptor no secret must jump to the version that it is kept from."""
        trouble = None
        try:
            found: Pins = self.volume.pins()
        except VolumeError as error:
            found, trouble = self.pins, str(error)
        if trouble and trouble != self.pins_trouble:
            self.log.error("pins cannot be read, those in force stay", message=trouble)
        self.pins_trouble = trouble
        now, names = time.time(), {secret.name for secret in self.loaded.config.secrets}
        valid = {name: pin for name, pin in found.items() if pin.until > now and name in names}
        if valid == self.pins:
            return
        for name, pin in valid.items():
            if self.pins.get(name) != pin:
                self.log.warning("pinned", secret=name, version=pin.version_id, seconds=round(pin.until - now))
        for name in self.pins.keys() - valid.keys():
            self.log.info("no longer pinned", secret=name)
        self.pins = valid
        self._act()

    def _act(self) -> None:
        """Let config and pins be what the next pass acts on; what is another secret by that is due."""
        before, self.acting = self.acting, pins.apply(self.loaded.config, self.pins, time.time())
        self.upcoming = schedule.reload(self.upcoming, before, self.acting, self.now())
        self.waiting = {}
        self.status = status.configured(self.status, self.acting, self.pins)

    def _why_not_started(self, result: PassResult) -> str:
        troubles = result.failures.keys() - status.rightly_absent(self.status, result)
        reasons = [f"{name}: {result.failures[name].message}" for name in sorted(troubles)]
        reasons += [
            f"{name}: {secret.failure.message}"
            for name, secret in sorted(self.status.secrets.items())
            if secret.failure and not secret.up_to_date and name not in result.failures
        ]
        reasons = [result.trouble] if result.trouble else reasons
        what = f"no complete generation within startup.timeout of {self.loaded.config.startup_timeout:g} s"
        if result.hopeless:
            what = "no complete generation can be made as things stand, and waiting does not mend it"
        return "; ".join([what, *reasons])


def _unreadable(path: str, error: ImportError | OSError) -> ConfigError:
    return ConfigError(path, (Problem(1, 1, f"cannot be read now: {error}; tried again"),))


def _refuse_fixed(path: str, before: Config, after: Config) -> None:
    """Raise ConfigError for an edit of what is taken only at start."""
    fixed: list[tuple[str, Callable[[Config], object]]] = [
        ("volume.path", lambda c: c.volume_path),
        ("listen", lambda c: c.listen),
        ("exitWith", lambda c: c.exit_with),
    ]
    problems = tuple(
        Problem(1, 1, f"{name} cannot change while the agent runs; change it back, or restart the pod")
        for name, value in fixed
        if value(before) != value(after)
    )
    if problems:
        raise ConfigError(path, problems)
