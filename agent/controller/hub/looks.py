"""The hub's looks at AWS: which version of a secret is current, without its value.

DescribeSecret for each secret; parameters ten a call, without decryption. Each region has threads of its own, so that
one that hangs delays no other.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from agent.controller.hub.board import Said, Topic
from agent.controller.hub.question import Subject
from agent.core.errors import Failure
from agent.core.model import Call, Place, Ref, Request, Secret
from agent.sources.aws.source import Aws

REGIONS = 16  # that the hub looks at; agents of others are refused

_AT_ONCE = 16  # calls of one region

_QUEUE = 64  # calls of one region that are under way or come next

_BATCH = 10  # parameters of one call

_OTHER = Failure("other", "the answer cannot be understood")


class Looks:
    """Looks at AWS, with the identity of this process. `called` is called with each call that was made."""

    def __init__(self, called: Callable[[Call], None]) -> None:
        self._source = Aws()
        self._called = called
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._running: Counter[str] = Counter()

    def takes(self, region: str) -> bool:
        """Whether secrets of that region can be looked at."""
        return region in self._threads or len(self._threads) < REGIONS

    def batches(self, due: Sequence[Topic]) -> list[list[Topic]]:
        """As many looks as can be begun now; each is of one region, and of one secret or several parameters."""
        rooms = {region: _QUEUE - self._running[region] for region in {topic.subject.region for topic in due}}
        batches: list[list[Topic]] = []
        open_batches: defaultdict[str, list[Topic]] = defaultdict(list)
        for topic in due:
            region, kind = topic.subject.region, topic.subject.kind
            batch = open_batches[region] if kind == "parameter" else []
            if not batch:
                if rooms[region] <= 0:
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
        if region not in self._threads:
            self._threads[region] = ThreadPoolExecutor(_AT_ONCE, f"aws-{region}")
        self._running[region] += 1
        try:
            loop = asyncio.get_running_loop()
            said, calls = await loop.run_in_executor(self._threads[region], self._look, asked)
        finally:
            self._running[region] -= 1
        for call in calls:
            self._called(call)
        return said

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
        answer = self._source.describe_stages(_secret(subject, "AWSCURRENT"), stages)
        found = answer.result
        said = dict.fromkeys(stages, found) if isinstance(found, Failure) else found
        return {subject: said}, (answer.call,)

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

    def close(self) -> None:
        """Begin no look any more. Does not wait for those under way."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)


def _secret(subject: Subject, stage: str, name: str = "hub") -> Secret:
    ref = Ref(subject.id, Place(subject.region, None), stage, kind=subject.kind)
    return Secret(name, ref, 0.0, optional=False)
