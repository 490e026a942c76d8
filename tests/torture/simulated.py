"""An agent in simulated time: the real passes, the real volume, and a clock that jumps to whatever is due.

Only AWS is a fake here, named as such: a source that answers from a table, behind the two methods that a pass calls.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from agent.core import schedule
from agent.core.errors import Failure, Reason
from agent.core.model import OK, Call, Config, Now, Observation, Operation, PassResult, Rotation, Secret
from agent.core.value import Fetched
from agent.engine.one_pass import Adapters, Fresh, sync
from agent.sinks.volume.volume import Volume
from agent.sources.aws.secrets_manager import Answer, SecretsManager
from tests.words import value


@dataclass
class Clock:
    """Simulated time, in seconds since the start."""

    seconds: float = 0.0

    def now(self) -> Now:
        return Now(self.seconds, 1_800_000_000.0 + self.seconds)


@dataclass
class FakeSource:
    """A fake of `SecretsManager`: per secret id its versions, the last one current, and why it fails, if it does."""

    clock: Clock
    versions: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    failing: dict[str, Reason] = field(default_factory=dict)
    asked: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def rotate(self, secret_id: str, content: str) -> None:
        self.versions[secret_id].append(content)

    def observe(self, secret: Secret) -> Answer[Observation]:
        number = len(self.versions[secret.secret_id])
        found = Observation(f"v{number}", ("AWSCURRENT",), Rotation(None, None, None))
        return self._answer("DescribeSecret", secret, found)

    def fetch(self, secret: Secret, version: str | None) -> Answer[Fetched]:
        number = int(version[1:]) if version else len(self.versions[secret.secret_id])
        content = self.versions[secret.secret_id][number - 1] if number else ""
        return self._answer("GetSecretValue", secret, Fetched(f"v{number}", ("AWSCURRENT",), None, value(content)))

    def _answer(self, operation: Operation, secret: Secret, found: Any) -> Answer[Any]:
        self.asked[secret.secret_id].append(self.clock.seconds)
        reason = self.failing.get(secret.secret_id) or (None if self.versions[secret.secret_id] else "not_found")
        if reason:
            return Answer(Failure(reason, "as the test wants it"), Call(operation, reason, 0.0))
        return Answer(found, Call(operation, OK, 0.0))


class Simulated:
    """One agent on a volume. `restart` forgets all that is not on the volume, as a new process does."""

    def __init__(self, home: Path, config: Config, source: FakeSource, seed: int = 0) -> None:
        self.home, self.config, self.source, self.clock = home, config, source, source.clock
        self.rng = random.Random(seed)
        self.volume = Volume(str(home))
        self._wake()

    def _wake(self) -> None:
        self.adapters = Adapters(
            cast(SecretsManager, self.source), self.volume, lambda: False, self.rng, self.clock.now
        )
        self.upcoming = schedule.begin(self.config, self.clock.now())
        self.waiting: Fresh = {}

    def restart(self) -> None:
        self.volume.close()
        self.volume = Volume(str(self.home))
        self._wake()

    def reload(self, config: Config) -> None:
        self.upcoming = schedule.reload(self.upcoming, self.config, config, self.clock.now())
        self.waiting = {}
        self.config = config

    def do(self, *, quiet: bool = False) -> PassResult:
        """One pass, now."""
        done = sync(self.config, self.upcoming, self.waiting, self.adapters, quiet=quiet)
        self.upcoming, self.waiting = done.upcoming, done.waiting
        return done.result

    def live_until(self, end: float) -> list[PassResult]:
        """Pass whenever something is due, until then."""
        results = []
        while True:
            results.append(self.do())
            if self.upcoming.next_due > end:
                self.clock.seconds = end
                return results
            self.clock.seconds = max(self.clock.seconds, self.upcoming.next_due)
