"""The sidecar's loop: a pass at the start, when something is due and on a signal, until a stop.

Signals are blocked and waited for, so that each arrives between two steps of one thread: there is no handler, lock or
event. The watch on the config sends SIGHUP to its own process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from agent.core.errors import VolumeBusy, cause
from agent.core.model import PassResult

if TYPE_CHECKING:
    from agent.core.ports import Log, Trigger

STOP = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD, PASS = signal.SIGHUP, signal.SIGUSR1
HEARD = signal.SIGUSR2  # the hub said something: what is due may have changed
_ASKS: dict[int, str] = {RELOAD: "asked to read the config", PASS: "asked to pass"}
LOCK_RETRY = 0.25  # seconds between two attempts to lock a volume that another agent holds
LINGER = 0.5  # seconds between a pass and the attempt to rest, in which an app that waited for its files starts


class Keeps(Protocol):
    """What keeps a bundle: a `Keeper` in this process, or a `Resting` that has workers do it."""

    path: str
    deadline: float

    def one_pass(self) -> PassResult | None:
        """Do one pass, or have it made. None: nothing is known of it here."""

    def expedite(self) -> None:
        """Make everything due now."""

    def until_next(self) -> float:
        """Seconds until a pass, or a look at the config, is due."""

    def turn(self, seconds: float) -> None:
        """Note that the loop turns next in so many seconds."""

    def look_at_config(self) -> bool:
        """Whether it is time to read the config again, in case the watch missed an edit."""

    def reload(self) -> None:
        """Take over a changed config."""


class Signals:
    """The signals that control the agent, blocked from now on in this thread and all that it starts.

    `launch` has blocked them before: a signal that came while the libraries were imported is found here.
    """

    def __init__(self) -> None:
        self._all = STOP | {RELOAD, PASS, HEARD}
        signal.pthread_sigmask(signal.SIG_BLOCK, self._all)

    def wait(self, seconds: float) -> signal.struct_siginfo | None:
        """The next signal and who sent it, or None when the time is over."""
        return signal.sigtimedwait(self._all, max(0.0, seconds))

    def again(self, number: int) -> None:
        """Let a signal that was waited for be found once more, by this process or by what it becomes."""
        os.kill(os.getpid(), number)

    def stop_pending(self) -> bool:
        """Whether a stop has arrived that was not waited for yet."""
        return not STOP.isdisjoint(signal.sigpending())


class Loop:
    """The loop of one process around one keeper. `lock` locks the sink for this process; it raises VolumeBusy while
    another agent holds it."""

    def __init__(self, signals: Signals, keeper: Keeps, log: Log, lock: Callable[[], None]) -> None:
        self._signals, self._keeper, self._log, self._lock = signals, keeper, log, lock
        self._app_ended = False
        self._unwatched: str | None = None  # why the config is not watched

    def fill(self, begun: Callable[[], None], one_pass: Callable[[], PassResult]) -> int:
        """`init`: pass until there is a complete generation; returns 0 then, 1 when a stop came first. Raises as passes
        do."""
        if self._take_volume():
            begun()
            while True:
                result = one_pass()
                if result.complete:
                    stale = sorted(result.failures.keys() & result.published.secrets.keys())
                    if stale:
                        self._log.warning(
                            "complete, but not fresh", generation=result.published.generation, stale=stale
                        )
                    return 0
                if self._wait(self._keeper.until_next()) in STOP:
                    break
        self._log.warning("stopped before a complete generation was there")
        return 1

    def keep_fresh(
        self,
        begun: Callable[[], None],
        watch: Callable[[Callable[[], None]], Trigger],
        rest: Callable[[], None] | None = None,
    ) -> int:
        """`run`: pass whenever something is due, until a stop; returns 0.

        `watch` begins to watch the config, after the first pass: importing it would keep the app waiting. `rest` is
        called after each pass, once `LINGER` is over or something is asked of this process; it does not return when
        this process can become the resting one. To become it takes a processor from what starts then, and a hook that
        asks meanwhile waits for the answer.
        """
        watching: Trigger | None = None
        if not self._take_volume():
            return self._stopped()
        begun()
        try:
            while True:
                result = self._keeper.one_pass()
                if rest:
                    got = self._wait(min(LINGER, self._until_due(result)))
                    if got in STOP:
                        return self._stopped(got)
                    if got is not None:
                        self._signals.again(got)  # whichever process goes on does what is asked
                    rest()
                watching = watching or self._watched(watch)
                got = self._wait(self._until_due(result))
                if got in STOP:
                    return self._stopped(got)
                if got == PASS:
                    self._keeper.expedite()
                if got == RELOAD or self._keeper.look_at_config():
                    self._keeper.reload()
        finally:
            if watching:
                watching.close()

    def _until_due(self, result: PassResult | None) -> float:
        """Seconds until a pass is due, for a secret or to tidy the volume."""
        due = self._keeper.until_next()
        return min(due, (result and result.sweep_in) or due)

    def app_has_ended(self, app: str) -> None:
        """Stop because the app has ended; called by the thread that waits for that."""
        self._log.info("the app has ended", app=app)
        self._app_ended = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _watched(self, watch: Callable[[Callable[[], None]], Trigger]) -> Trigger | None:
        """The watch on the config, or None when that must be tried again. An edit since the start is read here."""
        watching, reason = None, None
        try:
            watching = watch(lambda: os.kill(os.getpid(), RELOAD))
            reason = watching.reason
        except OSError as error:  # no descriptor is left to read its modules
            reason = cause(error)
        except ImportError:
            reason = "what watches it cannot be imported"
        if reason and reason != self._unwatched:
            self._log.warning("config is not watched, only read again each period", reason=reason)
        self._unwatched = reason
        self._keeper.reload()
        return watching

    def _take_volume(self) -> bool:
        """Lock the volume; False when a stop came first. Raises VolumeBusy when it stays locked."""
        waiting = False
        while not self._signals.stop_pending():
            try:
                self._lock()
                return True
            except VolumeBusy as busy:
                if time.monotonic() >= self._keeper.deadline:
                    raise
                if not waiting:
                    self._log.info("waiting for the volume", reason=str(busy))
                waiting = True
            if self._wait(LOCK_RETRY) in STOP:
                break
        return False

    def _wait(self, seconds: float) -> int | None:
        self._keeper.turn(seconds)
        heard = self._signals.wait(seconds)
        if heard is None:
            return None
        if heard.si_signo in _ASKS and heard.si_pid != os.getpid():  # our own come from the watch
            self._log.info(_ASKS[heard.si_signo], signal=signal.Signals(heard.si_signo).name)
        return heard.si_signo

    def _stopped(self, got: int | None = None) -> int:
        """Log the stop; returns the exit code."""
        if self._app_ended:
            self._log.info("stopped", because="the app has ended")
        else:
            self._log.info("stopped", signal=signal.Signals(got).name if got else "one that came while it started")
        return 0
