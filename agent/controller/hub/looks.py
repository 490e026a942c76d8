"""The hub's looks at AWS: which version of a secret is current, without its value.

DescribeSecret for each secret; parameters ten a call, without decryption. Each region has threads of its own, so that
one that hangs delays no other.

A look at a secret goes by botocore, in a thread, and shows the way for quick ones, which take less CPU time:

1. A look by botocore that AWS answers shows the way of its region. It is good for a minute.
2. Meanwhile secrets of that region are looked at by this way, unless what is known of them is an error.
3. A quick look that is not answered as it should be makes the way unknown, and botocore looks at that secret at once.

So an outage, a refusal, keys that end and a bundle that changes are botocore's matter, and cost one call more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from agent.controller.hub.board import Said, Topic
from agent.controller.hub.question import Subject
from agent.controller.hub.quick import AT_ONCE, Quick
from agent.core.errors import Failure
from agent.core.model import Call, Place, Ref, Request, Secret
from agent.sources.aws import signed
from agent.sources.aws.credentials import NoCredentials
from agent.sources.aws.signed import Way
from agent.sources.aws.source import Aws

REGIONS = 16  # that the hub looks at; agents of others are refused

_QUEUE = 64  # calls of one region that are under way or come next

_BATCH = 10  # parameters of one call

WAY = 60.0  # seconds for which a way is good; keys are renewed earlier than that before they end

_OTHER = Failure("other", "the answer cannot be understood")


class Looks:
    """Looks at AWS, with the identity of this process. `called` is called with each call that was made.

    `full`: something was due when `batches` was last asked for which there was no room.
    """

    def __init__(self, called: Callable[[Call], None]) -> None:
        self._source = Aws()
        self._called = called
        self.full = False
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._running: Counter[str] = Counter()
        self._quick = Quick()
        self._ways: dict[str | None, tuple[Way, float]] = {}  # by region, and until when (monotonic)

    def takes(self, region: str) -> bool:
        """Whether secrets of that region can be looked at."""
        return region in self._threads or len(self._threads) < REGIONS

    def batches(self, due: Sequence[Topic]) -> list[list[Topic]]:
        """As many looks as can be begun now; each is of one region, and of one secret or several parameters."""
        rooms = {region: _QUEUE - self._running[region] for region in {topic.subject.region for topic in due}}
        self.full = False
        batches: list[list[Topic]] = []
        open_batches: defaultdict[str, list[Topic]] = defaultdict(list)
        for topic in due:
            region, kind = topic.subject.region, topic.subject.kind
            batch = open_batches[region] if kind == "parameter" else []
            if not batch:
                if rooms[region] <= 0:
                    self.full = True
                    continue
                rooms[region] -= 1
                batches.append(batch)
            batch.append(topic)
            if kind == "parameter" and len(batch) == _BATCH:
                open_batches[region] = []
        return batches

    async def look(self, batch: Sequence[Topic]) -> Mapping[Subject, Said]:
        """What AWS says of each topic of a batch. Raises nothing."""
        region = batch[0].subject.region
        asked = [(topic.subject, tuple(topic.rows)) for topic in batch]
        well = not any(row.error for topic in batch for row in topic.rows.values())
        self._running[region] += 1
        try:
            if well and (quick := await self._look_quickly(*asked[0])):
                return quick
            if region not in self._threads:
                self._threads[region] = ThreadPoolExecutor(AT_ONCE, f"aws-{region}")
            loop = asyncio.get_running_loop()
            said, calls = await loop.run_in_executor(self._threads[region], self._look, asked)
        finally:
            self._running[region] -= 1
        for call in calls:
            self._called(call)
        return said

    async def _look_quickly(self, subject: Subject, stages: Sequence[str]) -> Mapping[Subject, Said] | None:
        """What AWS says of a secret; None: that must be asked by botocore."""
        way, until = self._ways.get(subject.region, (None, 0.0))
        if subject.kind != "secretsmanager" or way is None or time.monotonic() > until:
            return None
        said, call = await self._quick.look(way, _secret(subject, "AWSCURRENT"), stages)
        self._called(call)
        if said is None:
            self._ways.pop(subject.region, None)
            return None
        return {subject: said}

    def _look(
        self, asked: Sequence[tuple[Subject, tuple[str, ...]]]
    ) -> tuple[Mapping[Subject, Said], tuple[Call, ...]]:
        began = time.monotonic()
        try:
            return self._parameters(asked) if asked[0][0].kind == "parameter" else self._secret(*asked[0])
        except Exception:  # whatever it is, it is of these secrets alone
            call = Call(asked[0][0].kind, "DescribeSecret", "unknown", time.monotonic() - began)
            return {subject: dict.fromkeys(stages, _OTHER) for subject, stages in asked}, (call,)

    def _secret(self, subject: Subject, stages: Sequence[str]) -> tuple[Mapping[Subject, Said], tuple[Call, ...]]:
        secret = _secret(subject, "AWSCURRENT")
        answer = self._source.describe_stages(secret, stages)
        found = answer.result
        if isinstance(found, Failure):
            return {subject: dict.fromkeys(stages, found)}, (answer.call,)
        self._show_way(secret.ref.place)
        return {subject: found}, (answer.call,)

    def _show_way(self, place: Place) -> None:
        with contextlib.suppress(NoCredentials, OSError):  # the next look has the same trouble, and says so
            if way := signed.way(self._source, place):
                self._ways[place.region] = way, time.monotonic() + WAY

    def _parameters(
        self, asked: Sequence[tuple[Subject, tuple[str, ...]]]
    ) -> tuple[Mapping[Subject, Said], tuple[Call, ...]]:
        requests = [Request(_secret(subject, stage, str(number))) for number, (subject, (stage,)) in enumerate(asked)]
        said: dict[Subject, Said] = {}
        calls: tuple[Call, ...] = ()
        for batch in self._source.batches(requests):
            answers = self._source.observe(batch)
            calls += answers.calls
            for name, found in answers.results.items():
                subject, (stage,) = asked[int(name)]
                said[subject] = {stage: found}
        return said, calls

    async def close(self) -> None:
        """Begin no look any more. Does not wait for those under way."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)
        await self._quick.close()


def _secret(subject: Subject, stage: str, name: str = "hub") -> Secret:
    ref = Ref(subject.id, Place(subject.region, None), stage, kind=subject.kind)
    return Secret(name, ref, 0.0, optional=False)
