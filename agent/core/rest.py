"""What crosses between the resting process and its workers. None of it holds a value of a secret or a credential.

Times are monotonic seconds, which all processes of a machine share, unless they are said to be epoch seconds.
"""

from __future__ import annotations

from agent.core.errors import Failure
from agent.core.flags import Flags
from agent.core.model import PidFile, ProcessName
from agent.core.record import Record
from agent.core.status import Histogram, HubStatus, SecretStatus, Status, TargetStatus

LIVE_GRACE = 60.0  # seconds beyond the expected turn of the loop before the agent counts as stuck


def look_again(read_at: float, period: float) -> float:
    """When the config that was read then must be read again, in case the watch misses an edit. A little later than the
    secrets' jitter reaches, so that it usually shares their pass and needs no wake-up of its own."""
    return read_at + 1.2 * period


def may_look(read_at: float, period: float, now: float) -> bool:
    """Whether a process that is awake now may look at the config, too."""
    return now >= read_at + 0.8 * period


class Watched(Record):
    """A secret that the hub may be asked about. `version` is the one that the agent itself saw last, `period` seconds.

    It is due at `due`, and joins a pass that is made for others from `along` on; while the hub answers for it, at
    `floor` and from `floor_along` on.
    """

    name: str
    kind: str
    id: str
    region: str
    stage: str
    version: str
    period: float
    due: float
    along: float
    floor: float
    floor_along: float

    @property
    def key(self) -> str:
        """What the hub knows it by."""
        return f"{self.kind} {self.id} {self.region} {self.stage}"


class Asking(Record):
    """The hub, and what it is asked about, waiting so many seconds for an answer. `other` is when the next pass is due
    for anything but these secrets."""

    url: str
    token_path: str
    wait: float
    other: float
    watched: tuple[Watched, ...]


class Account(Record):
    """What the resting process knows between two passes.

    `due` is when the next pass is due, and `period` how many seconds may pass between two looks at the config, whose
    text was last `text` (None: there was none to read). `limit` is the seconds that a pass takes at most. `memory` is
    what the next worker must know; only workers read it. `stays`: this worker has something that cannot be handed on,
    such as a call in flight, so it must make the next pass, too. `interrupted`: a stop was asked of it.
    """

    status: Status
    due: float
    text: str | None
    period: float
    limit: float
    memory: str
    stays: bool = False
    interrupted: bool = False
    asking: Asking | None = None


class Common(Record):
    """What all processes of one agent share: the config's path (for a config that is no file its name, and what it
    holds), how they log, and the volume: its path, and the descriptor that holds its lock."""

    config_path: str
    config_text: str | None
    log_format: str
    log_level: str
    volume_path: str
    volume: int

    @property
    def config(self) -> str:
        """The config's path, or its name as `Flags`."""
        if self.config_text is None:
            return self.config_path
        made = Flags(self.config_path)
        made.text = self.config_text
        return made


class Task(Record):
    """One pass that a worker is asked for: first read the config again with `reload`; make everything due with
    `expedite`. Of the secrets that the hub knows, by name: it need not ask about those that are `held`, and must about
    those that `moved`; `confirmed` are those of which the hub says what the agent saw last."""

    common: Common
    status: Status
    memory: str
    reload: bool
    expedite: bool
    held: frozenset[str] = frozenset()
    moved: frozenset[str] = frozenset()
    confirmed: frozenset[str] = frozenset()


class Handover(Record):
    """What the process that made the first generation leaves for the resting one, which it becomes. `listening` is the
    descriptor of the endpoint's socket. `exit_with` is the app whose end ends the agent, and `held` which process that
    was found to be: its pid, and its start in seconds since boot.
    """

    common: Common
    account: Account
    listening: int
    exit_with: ProcessName | PidFile | None = None
    held: tuple[int, float] | None = None


STATUS = (Status, SecretStatus, TargetStatus, HubStatus, Histogram, Failure)
ACCOUNT = (Account, Asking, Watched, *STATUS)
TASK = (Task, Common, *STATUS)
HANDOVER = (Handover, Common, ProcessName, PidFile, *ACCOUNT)
