"""The life of a bundle as the resting process sees it: when the next pass is due, and who makes it.

It has no adapter, no value and no credential. What one worker leaves for the next it passes on unread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.core import crossing, rest, status
from agent.core.errors import ConfigError
from agent.core.model import PassResult, Published
from agent.core.record import replace
from agent.core.rest import LIVE_GRACE, Account, Common, Task
from agent.core.status import Status
from agent.engine.worker import Worker, WorkerFailed, take_away

if TYPE_CHECKING:
    from agent.core.ports import Hub, Log
    from agent.engine.listening import Listening

STAYS_FOR = 15.0  # seconds to the next pass for which a worker stays: starting costs 0.1 s of CPU, staying memory

_STARTING = 30.0  # seconds that a worker may take to start with little CPU; fewer than LIVE_GRACE

_TAKE_AWAY = 1.0  # seconds between two attempts to take away a process of which the kernel does not let go

_BACKOFF_AT_MOST = 60.0  # seconds between two attempts at a pass that no worker could make


class Resting:
    """Has passes made by workers, and keeps what they answer. Stands for a `Keeper` in the loop.

    `start` starts a worker, as `Worker` has it. `read` reads the config's text, or raises ConfigError. `replaced` is
    called when the agent's files are of another version by now. `hub` makes what asks a hub, if the config names one.
    """

    def __init__(
        self,
        common: Common,
        account: Account,
        log: Log,
        *,
        start: Callable[[int], int],
        read: Callable[[str], str],
        stopped: Callable[[], bool],
        replaced: Callable[[], None],
        hub: Callable[[], Hub],
    ) -> None:
        self.path = common.config
        self.status: Status = account.status
        self.deadline = float("inf")  # of the first generation, which is there
        self._common, self._account, self._log = common, account, log
        self._start, self._read, self._stopped, self._replaced = start, read, stopped, replaced
        self._worker: Worker | None = None
        self._ending: Worker | None = None  # one of which the kernel has not let go yet
        self._read_at = time.monotonic()
        self._text = account.text  # of the config, as this process read it last
        self._reload = self._expedite = False
        self._failures = 0
        self._not_before = 0.0  # monotonic; of an attempt after one that failed
        self._hub = hub
        self._listening: Listening | None = None
        self._listen()

    def one_pass(self) -> None:
        """Have a pass made, if one is due.

        1. A worker: the one that stayed, or a new one.
        2. Its answer. Until then this process knows what it knew before, so a worker that dies loses nothing that
           cannot be read back.
        3. Let it end, unless it is needed again soon.
        """
        self._listen()
        if self._ending and self._ending.taken_away():
            self._ending = None
        if self._worker is None:
            take_away()
        if self._stopped() or time.monotonic() < self._next():
            return
        began, since = time.time(), time.monotonic()
        task = Task(self._common, self.status, self._account.memory, self._reload, self._expedite)
        if self._listening:
            look = self._listening.look()
            task = replace(task, held=look.held, moved=look.moved, confirmed=look.confirmed)
        try:
            # 1.
            self._worker = worker = self._worker or Worker(self._start)
            # 2.
            self.turn(0.0)
            asked = crossing.dump(task, rest.TASK, self.status.version)
            account = self._understood(worker.ask(asked, self._account.limit + _STARTING, self._stopped))
        except WorkerFailed as failed:
            self._let_go()
            if failed.replaced:
                self._replaced()
            if not self._stopped():
                self._failed(str(failed), began, time.monotonic() - since)
            return
        self._account = account
        self.status = replace(account.status, turns_by=self._turns_by(time.monotonic()))
        self._reload = self._expedite = False
        self._failures, self._not_before = 0, 0.0
        if self._listening:
            self._listening.looked(account.asking)
        self._listen()
        # 3.
        if account.interrupted and not self._stopped():
            self._end_worker()
            self._failed("somebody asked the worker to stop", began, time.monotonic() - since)
        elif not account.stays and self._next() - time.monotonic() > STAYS_FOR:
            self._end_worker()

    def _understood(self, answer: bytes) -> Account:
        try:
            found: Account = crossing.load(answer, rest.ACCOUNT, self.status.version)
            return found
        except crossing.NotUnderstood as error:
            reason = str(error)
        if self._worker:
            self._worker.kill()
        raise WorkerFailed(f"the worker's answer is not understood: {reason}")

    def _failed(self, why: str, began: float, seconds: float) -> None:
        """A pass that no worker made: nothing is known but that."""
        self._failures += 1
        wait = min(_BACKOFF_AT_MOST, 2.0 ** min(self._failures, 10)) * (0.5 + os.urandom(1)[0] / 510)
        self._not_before = time.monotonic() + wait
        self._log.error("pass failed", message=f"{why}; tried again in {wait:.0f} s")
        polls = dict.fromkeys(self.status.secrets, began + seconds + wait)
        result = PassResult(began, seconds, Published(), trouble=why, next_polls=polls, unread=True)
        self.status = replace(status.after(self.status, result), turns_by=self._turns_by(time.monotonic()))

    def expedite(self) -> None:
        """Make everything due now."""
        self._expedite, self._not_before = True, 0.0

    def _listen(self) -> None:
        """Take what the hub said, tell it what there is to ask, and show both."""
        asking = self._account.asking
        if asking is None and self._listening:
            self._listening.close()
            self._listening, self.status = None, replace(self.status, hub=None)
        if asking is None:
            return
        if self._listening is None:
            from agent.engine.listening import Listening  # few agents have a hub

            self._listening = Listening(self._hub(), self._log)
        self.status = status.asked_through(self.status, self._listening.take(asking))

    def _next(self) -> float:
        due = self._listening.due() if self._listening else self._account.due
        due = 0.0 if self._reload or self._expedite else due
        return max(due, self._not_before)

    def until_next(self) -> float:
        """Seconds until a pass, or a look at the config, is due."""
        look = rest.look_again(self._read_at, self._account.period)
        waits = max(0.0, min(self._next(), look) - time.monotonic())
        return min(waits, _TAKE_AWAY) if self._ending else waits

    def turn(self, seconds: float) -> None:
        """Note that the loop turns next in so many seconds; when it is much later, the liveness probe fails."""
        self.status = replace(self.status, turns_by=self._turns_by(time.monotonic() + seconds))

    def _turns_by(self, moment: float) -> float:
        return moment + self._account.limit + LIVE_GRACE

    def look_at_config(self) -> bool:
        """Whether it is time to read the config again, in case the watch missed an edit."""
        return rest.may_look(self._read_at, self._account.period, time.monotonic())

    def reload(self) -> None:
        """Have the config read by a worker if its text is another than the one that was tried last."""
        self._read_at = time.monotonic()
        before = self._text
        try:
            self._text = self._read(self.path)
        except ConfigError:
            self._text = None
        self._reload = self._text != self._account.text
        if self._reload and self._text != before:  # a file that stays as it is does not hurry what fails
            self._not_before = 0.0

    def close(self) -> None:
        """Let the worker end that stayed, if one did, and ask the hub no more."""
        if self._listening:
            self._listening.close()
        self._end_worker()

    def _end_worker(self) -> None:
        if self._worker:
            self._worker.end()
            self._let_go()

    def _let_go(self) -> None:
        """Have no worker any more."""
        if self._worker and not self._worker.taken_away():
            self._ending = self._worker
        self._worker = None
