"""The life of one bundle: its config, its schedule, the values that wait, the targets that are pending, its status.

Signals, servers and files are elsewhere, so that one process can keep many bundles. Only `status` is read by other
threads, as one immutable value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from agent.core import failover, model, schedule, status, written
from agent.core.errors import ConfigError, Failure, Problem, StartError, VolumeError
from agent.core.model import Bundle, Config, Identity, PassResult, Settings
from agent.core.record import Record, replace
from agent.core.rest import LIVE_GRACE, Asking, look_again, may_look
from agent.core.schedule import NextPoll, NextTry, Schedule
from agent.core.status import Status
from agent.engine.asking import pass_limit
from agent.engine.one_pass import NOTIFY_LIMIT, Adapters, Fresh, one_pass

if TYPE_CHECKING:
    from agent.core.pins import Pins
    from agent.core.ports import Log

HUB_WAIT = 55.0  # seconds that the hub lets an agent wait at most

IDENTITY_LIMIT = 1.0  # seconds for which a start waits to say where its credentials come from

# What is read only at start, by its key.
_FIXED: Mapping[str, Callable[[Settings], object]] = {
    "volume.path": lambda settings: settings.volume_path,
    "listen": lambda settings: settings.listen,
    "exitWith": lambda settings: settings.exit_with,
}


class Loaded(Record):
    """The config in force, and the text that was last tried, good or bad. `read_at` is monotonic."""

    config: Config
    text: str | None
    read_at: float


class Memory(Record):
    """What a keeper leaves for one in another process, beside the status."""

    loaded: Loaded
    upcoming: Schedule
    pins: Pins
    pins_trouble: str | None
    complete: bool
    identity: Identity
    deadline: float
    list_denied: bool


def remembered(text: str, version: str) -> Memory:
    """The memory that a keeper of this version wrote. Raises NotUnderstood."""
    from agent.core import crossing

    found: Memory = crossing.load(text, _crossing(), version)
    return found


def _crossing() -> tuple[type[Record], ...]:
    """The records that may cross, each of another name."""
    from agent.core import external_secret, pins  # nothing at a start needs them

    of_model = {
        each
        for module in (model, external_secret, written)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Record) and each is not Record
    }
    return (Memory, Loaded, Schedule, NextPoll, NextTry, Failure, pins.Pin, *of_model)


class Keeper:
    """Keeps one bundle: `one_pass` when something is due, `reload` when the config may have changed.

    `read` returns the text at `path` and `parse` what it means; both raise ConfigError. `passed` is called after each
    pass, with the status before it. With `quiet` nobody is notified, and there is no later pass to wait for (`init`).
    """

    def __init__(
        self,
        path: str,
        loaded: Loaded,
        adapters: Adapters,
        log: Log,
        *,
        read: Callable[[str], str],
        parse: Callable[[str, str], Config],
        passed: Callable[[Status, PassResult], None],
        version: str,
        quiet: bool = False,
    ) -> None:
        self.path = path
        self._quiet = quiet
        self.loaded = replace(loaded, config=self._adapted(loaded.config))
        self._acting = self.bundle  # the same, except for pinned secrets
        self._adapters = adapters
        self._log = log
        self._read, self._parse, self._passed = read, parse, passed
        self._pins: Pins = {}
        self._pins_trouble: str | None = None
        self._complete = False  # whether a complete generation was seen by this process
        self._list_denied = False  # whether that was logged
        self._identity = Identity("none")
        self._upcoming: Schedule = schedule.begin(self._acting, adapters.now())
        self._waiting: Fresh = {}
        self.deadline = time.monotonic() + self.bundle.timing.startup_timeout  # of the first complete generation
        begun = status.begin(
            self._acting,
            version,
            self._turns_by(time.monotonic()),
            up_since=time.time(),
            config_path=path,
            volume_path=loaded.config.settings.volume_path,
        )
        self.status: Status = status.reloaded(begun, time.time(), success=True)

    def _adapted(self, parsed: Config) -> Config:
        # `init` makes one pass and exits: there is no later one to wait for.
        if not self._quiet:
            return parsed
        return replace(parsed, bundle=replace(parsed.bundle, timing=replace(parsed.bundle.timing, settle=0.0)))

    # -- from one process to the next

    @property
    def busy(self) -> bool:
        """Whether something would be lost with this process: a call in flight, or a value that waits for others."""
        return bool(self._waiting) or self._adapters.calls.busy or self._adapters.deliveries.busy

    def memory(self) -> str:
        """What `remembered` reads. No value of a secret is in it."""
        from agent.core import crossing

        left = Memory(
            loaded=self.loaded,
            upcoming=self._upcoming,
            pins=self._pins,
            pins_trouble=self._pins_trouble,
            complete=self._complete,
            identity=self._identity,
            deadline=self.deadline,
            list_denied=self._list_denied,
        )
        return crossing.dump(left, _crossing(), self.status.version)

    def recall(self, left: Memory, known: Status) -> None:
        """Go on where another process's keeper left off, of which this is the memory and the status. Called before
        anything else, by a keeper of the same config."""
        # Also by pins that have run out meanwhile: the next pass ends them.
        self._acting = _pinned(self.bundle, left.pins, 0.0)
        self._pins, self._pins_trouble = left.pins, left.pins_trouble
        self._complete, self._identity, self._list_denied = left.complete, left.identity, left.list_denied
        self._upcoming, self.deadline = left.upcoming, left.deadline
        self.status = known

    @property
    def bundle(self) -> Bundle:
        """The bundle of the config in force, without pins."""
        return self.loaded.config.bundle

    # -- passes

    def one_pass(self) -> PassResult:
        """Do one pass. Raises StartError when there is no complete generation and the time for one is over, or
        waiting cannot bring one."""
        self.turn(0.0)
        self._take_pins()
        done = one_pass(
            self._acting,
            self._upcoming,
            self._waiting,
            self._adapters,
            quiet=self._quiet,
            unpinned=self.bundle,
        )
        result = done.result
        self._upcoming, self._waiting = done.upcoming, done.waiting
        if not result.interrupted:
            self._passed(self.status, result)  # first: what a page shows is already in the log
            self.status = status.after(self.status, result)
            self._say_complete(result)
            self._say_denied(result)
            self._follow_identity()
        late = time.monotonic() >= self.deadline or result.hopeless
        if not self.status.started and not self._adapters.stopped() and late:
            raise StartError(self._why_not_started(result))
        return result

    def expedite(self) -> None:
        """Make everything due now."""
        self._upcoming = schedule.expedite(self._upcoming, self._adapters.now())

    def until_next(self) -> float:
        """Seconds until a pass, or a look at the config, is due."""
        due = self.due
        if not self._quiet:
            due = min(due, look_again(self.loaded.read_at, self.bundle.timing.period))
        return max(0.0, due - time.monotonic())

    @property
    def due(self) -> float:
        """When (monotonic) the next pass is due."""
        return self._due_beside(())

    def _due_beside(self, names: Collection[str]) -> float:
        """When (monotonic) the next pass is due for anything but asking about these secrets."""
        due = self._upcoming.next_due_beside(names)
        if not self.status.started:
            due = min(due, self.deadline)
        if self._pins:
            due = min(due, time.monotonic() + min(pin.until for pin in self._pins.values()) - time.time())
        return due

    def heed(self, held: frozenset[str], moved: frozenset[str], confirmed: frozenset[str]) -> None:
        """Let the next pass leave out what the hub answers for, and ask about what moved according to it. What it
        confirms may be looked at by a list, if the config says so."""
        listed = confirmed if self._lists else frozenset[str]()
        self._upcoming = schedule.heed(self._upcoming, held, moved, self._adapters.now(), listed)

    @property
    def _lists(self) -> bool:
        hub = self.loaded.config.settings.hub
        return hub is not None and hub.lists

    def asking(self, region: str | None) -> Asking | None:
        """What the hub of the config is asked about; None without one. `region` is that of the environment."""
        hub = self.loaded.config.settings.hub
        if hub is None:
            return None
        found = (
            schedule.watched(
                each, self._upcoming.secrets[each.name], self.status.secrets[each.name].seen_version, region
            )
            for each in self._acting.secrets
        )
        watched = tuple(each for each in found if each)
        wait = min([HUB_WAIT, *(secret.period for secret in watched)])
        other = self._due_beside({secret.name for secret in watched})
        return Asking(hub.url, hub.token_path, wait, other, watched)

    def turn(self, seconds: float) -> None:
        """Note that the loop turns next in so many seconds; when it is much later, the liveness probe fails."""
        self.status = replace(self.status, turns_by=self._turns_by(time.monotonic() + seconds))

    def _turns_by(self, moment: float) -> float:
        return moment + self.limit + LIVE_GRACE

    @property
    def limit(self) -> float:
        """Seconds that a pass takes at most."""
        rounds = failover.rounds(self.bundle) + self._lists
        limit = rounds * pass_limit(self._adapters.source, len(self.bundle.secrets))
        return 2 * limit + NOTIFY_LIMIT

    def _say_complete(self, result: PassResult) -> None:
        """Log once that everything is published, where no other line says so: there was nothing to do at the start."""
        if self._complete or not result.complete:
            return
        self._complete = True
        if not (result.generation_made or result.failures or result.trouble):
            self._log.info("nothing to do, all is published", generation=result.published.generation)

    def _say_denied(self, result: PassResult) -> None:
        """Log once that no list may be asked for: its secrets are looked at all the same, so none of them failed."""
        if result.list_denied and not self._list_denied:
            self._list_denied = True
            self._log.warning(
                "own looks are made by DescribeSecret, since the list is denied",
                why=result.list_denied,
                advice="allow the list, or remove hub.ownLooks",
            )

    def _why_not_started(self, result: PassResult) -> str:
        troubles = result.failures.keys() - status.rightly_absent(self.status, result)
        reasons = [f"{name}: {result.failures[name].message}" for name in sorted(troubles)]
        reasons += [
            f"{name}: {secret.failure.message}"
            for name, secret in sorted(self.status.secrets.items())
            if secret.failure and not secret.up_to_date and name not in result.failures
        ]
        reasons = [result.trouble] if result.trouble else reasons
        what = f"no complete generation within startup.timeout of {self.bundle.timing.startup_timeout:g} s"
        if result.hopeless:
            what = "no complete generation can be made as things stand, and waiting does not help"
        return "; ".join([what, *reasons])

    # -- identity

    def find_identity(self) -> Identity:
        """Where the credentials come from, if that is known soon; otherwise the first calls wait for them."""
        asks = {"identity": lambda: self._adapters.source.identity(IDENTITY_LIMIT)}
        limit = IDENTITY_LIMIT + 1
        found = Identity("none", "it is not known yet where the credentials come from")
        for _, answer in self._adapters.calls.ask(asks, each=limit, total=limit, stopped=self._adapters.stopped):
            found = answer if isinstance(answer, Identity) else found
        self._identity = found
        self.status = replace(self.status, identity=found.source)
        return found

    def _follow_identity(self) -> None:
        """Log that credentials were found, come from another source, or cannot be renewed."""
        before, after = self._identity, self._adapters.source.present_identity()
        if after is None or (after.source, after.warning) == (before.source, before.warning):
            return
        self._identity = after
        self.status = replace(self.status, identity=after.source)
        if after.source != before.source:
            self._log.info("identity", identity=after.source)
        if after.warning:
            self._log.warning("identity", advice=after.warning)

    # -- config and pins

    def look_at_config(self) -> bool:
        """Whether it is time to read the config again, in case the watch missed an edit."""
        return may_look(self.loaded.read_at, self.bundle.timing.period, time.monotonic())

    def reload(self) -> None:
        """Take over a changed config as a whole, or keep the one in force and say why."""
        self.loaded = replace(self.loaded, read_at=time.monotonic())
        before, text, rejected = self.loaded.config, None, None
        try:
            text = self._read(self.path)
            if text == self.loaded.text:
                return
            after = self._parse(text, self.path)
            _refuse_fixed(self.path, before.settings, after.settings)
        except ConfigError as error:
            if text is None and self.loaded.text is None:
                return  # logged when it disappeared
            rejected = error
        except (
            ImportError,
            OSError,
        ) as error:  # a module that a new kind of entry needs cannot be imported now: try again
            text, rejected = self.loaded.text, _unreadable(self.path, error)
        self.loaded = replace(self.loaded, text=text)
        if rejected:
            problems = str(rejected).splitlines()
            self.status = status.reloaded(self.status, time.time(), success=False, problems=tuple(problems))
            self._log.error("config rejected, the earlier one stays in force", problems=problems)
            return
        self.loaded = replace(self.loaded, config=after)
        self._act()
        self.status = status.reloaded(self.status, time.time(), success=True)
        self._log.info("config reloaded", secrets=len(after.bundle.secrets), targets=len(after.bundle.targets))

    def _take_pins(self) -> None:
        """Apply what `freshmount pin` left in the sink, and end pins that have expired. Those in force stay when the
        file cannot be read: a secret must not jump to the version that it is kept from because no descriptor was
        left."""
        trouble = None
        try:
            found = self._adapters.sink.pins()
        except VolumeError as error:
            found, trouble = self._pins, str(error)
        if trouble and trouble != self._pins_trouble:
            self._log.error("pins cannot be read, those in force stay", message=trouble)
        self._pins_trouble = trouble
        now, names = time.time(), {secret.name for secret in self.bundle.secrets}
        valid = {name: pin for name, pin in found.items() if pin.until > now and name in names}
        if valid == self._pins:
            return
        for name, pin in valid.items():
            if self._pins.get(name) != pin:
                self._log.warning("pinned", secret=name, version=pin.version_id, seconds=round(pin.until - now))
        for name in self._pins.keys() - valid.keys():
            self._log.info("no longer pinned", secret=name)
        self._pins = valid
        self._act()

    def _act(self) -> None:
        """Let the next pass act on config and pins; a secret that these change is due."""
        before, self._acting = self._acting, _pinned(self.bundle, self._pins, time.time())
        self._upcoming = schedule.reload(self._upcoming, before, self._acting, self._adapters.now())
        self._waiting = {}
        self.status = status.configured(self.status, self._acting, self._pins)


def _pinned(bundle: Bundle, held: Pins, now: float) -> Bundle:
    """The bundle in which each pinned secret asks for its pin's version."""
    if not held:
        return bundle
    from agent.core import pins  # few are ever pinned

    return pins.apply(bundle, held, now)


def _unreadable(path: str, error: ImportError | OSError) -> ConfigError:
    return ConfigError(path, (Problem(1, 1, f"cannot be read now: {error}; tried again"),))


def _refuse_fixed(path: str, before: Settings, after: Settings) -> None:
    """Raise ConfigError for an edit of what is read only at start."""
    problems = tuple(
        Problem(1, 1, f"{key} cannot change while the agent runs; change it back, or restart the pod")
        for key, value in _FIXED.items()
        if value(before) != value(after)
    )
    if problems:
        raise ConfigError(path, problems)
