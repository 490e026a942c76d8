"""AWS at its worst, in front of the real process: what happens to the files, how soon it recovers, what it asks
meanwhile, whether it stays live and its memory flat."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.sources.aws.secrets_manager import CALL_LIMIT
from tests.support.aws import Fault
from tests.support.pod import Pod
from tests.support.running import Agent, running, until
from tests.torture.canary import sealed
from tests.torture.conftest import Length, Report

PERIOD = 0.5  # seconds
NAMES = ("a", "b", "c")
FLAT = 1.1  # memory at the end over memory after the warm-up


@dataclass(frozen=True)
class Worst:
    """One thing that AWS does. `hangs`: the calls end by their own time-outs, so the fault is to last longer."""

    name: str
    fault: Callable[[], Fault]
    operation: str | None = None
    hangs: bool = False


def _gone(operation: str) -> Fault:
    return Fault.error(400, "ResourceNotFoundException", f"Secrets Manager can't find the version ({operation})")


FAULTS = (
    Worst("throttles", Fault.throttle),
    Worst("answers 500", Fault.internal_error),
    Worst("answers 503", lambda: Fault.error(503, "ServiceUnavailable")),
    Worst("resets connections", Fault.reset),
    Worst("answers half of a JSON text", Fault.malformed),
    Worst("answers a page of HTML", Fault.wrong_content_type),
    Worst("says the token has expired", Fault.expired_token),
    Worst("says the clock is wrong", Fault.skewed_clock),
    Worst("denies access", Fault.access_denied),
    Worst("denies every second request", lambda: Fault.every_second(Fault.access_denied())),
    Worst("does not find the version that it named", lambda: _gone("GetSecretValue"), "GetSecretValue"),
    Worst("hangs before it answers", Fault.hang, hangs=True),
    Worst("hangs in the middle of an answer", Fault.hang_in_body, hangs=True),
    Worst("answers byte by byte", Fault.drip, hangs=True),
)


class Outage:
    """A running agent, and what a fault may not do to it."""

    def __init__(self, pod: Pod, agent: Agent, names: Sequence[str] = NAMES) -> None:
        self.pod, self.agent, self.names = pod, agent, names
        self.number = 0
        self.violations: list[str] = []

    def rotate(self, *names: str) -> None:
        self.number += 1
        for name in names or self.names:
            self.pod.rotate(name, sealed(f"{name}{self.number}"))

    def fresh(self) -> bool:
        return all(self.pod.read(name) == f"{name}{self.number}" for name in self.names)

    def meet(self, what: str, seconds: float, begin: Callable[[], None], end: Callable[[], None]) -> tuple[str, float]:
        """Let it happen for a while, with a rotation in it; return what was tried and the time to recover."""
        before, asked = self.pod.tree(), len(self.pod.proxy.calls)
        begin()
        self.rotate()
        until_then, lives = time.monotonic() + seconds, 0
        while time.monotonic() < until_then:
            self.expect(f"{what}: /livez answers", self.agent.page("/livez")[0], 200)
            lives += 1
            time.sleep(0.1)
        requests = Counter(self.pod.proxy.calls[asked:])
        after = self.pod.tree()
        end()
        began = time.monotonic()
        until(self.fresh)
        recovered = time.monotonic() - began
        # Of a fault that comes and goes some of the new files may be there; each is the old one or the new.
        for path, content in before.items():
            if after.get(path) not in (content, f"{path}{self.number}".encode()):
                self.violations.append(f"{what}: {path} was neither the old nor the new")
        allowed = 2 * (seconds / (0.9 * PERIOD) + 1)
        for (operation, secret), count in requests.items():
            if count > allowed:
                self.violations.append(f"{what}: {count} × {operation} of {secret}, more than {allowed:.0f}")
        most = max(requests.values(), default=0) / (seconds / PERIOD)
        return f"{seconds:g} s, {most:.1f} requests a period and secret, {lives} × live", recovered

    def expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.violations.append(f"{what} {found}, not {wanted}")


def write(pod: Pod, names: Sequence[str] = NAMES) -> Path:
    for name in names:
        pod.put(name, sealed(f"{name}0"))
    return pod.write(
        *(pod.secret(name, f"{{path: {name}, jmesPath: v}}") for name in names), period=f"{PERIOD * 1000:g}ms"
    )


def test_whatever_aws_does_the_files_stay_and_the_agent_recovers(pod: Pod, length: Length, report: Report) -> None:
    """One process through every fault: live all the time, bounded calls, flat memory."""
    with running("run", write(pod)) as agent:
        agent.ready()
        outage = Outage(pod, agent)
        until(lambda: agent.passes() > length.choose(20, 3))
        before = agent.usage()
        for worst in FAULTS if length.full else FAULTS[1:-3:6]:
            fault = worst.fault()
            seconds = 1.5 * CALL_LIMIT if worst.hangs else length.choose(6, 1)
            outage.violations = []
            tried, recovered = outage.meet(
                worst.name,
                seconds,
                lambda fault=fault, worst=worst: pod.proxy.fail(fault, operation=worst.operation),
                pod.proxy.heal,
            )
            report.row(
                f"AWS {worst.name}: files stay, bounded calls, live", tried, outage.violations, f"{recovered:.1f} s"
            )
        after = agent.usage()
        grown = [] if after.rss <= FLAT * before.rss else [f"memory grew from {before.rss} to {after.rss} MiB"]
        report.row(
            "all of these in one process: memory flat",
            f"{before.rss:.1f} → {after.rss:.1f} MiB, {before.threads} → {after.threads} threads, "
            f"{before.files} → {after.files} files",
            grown,
        )
        assert agent.stop() == 0
    assert "Traceback" not in agent.stderr and "internal error" not in agent.stderr


def test_a_stage_that_moves_between_describe_and_get_is_followed(pod: Pod, length: Length, report: Report) -> None:
    """The version that was seen is gone when it is asked for; the one that is current then is published."""
    turns = length.choose(50, 5)
    asked: list[int] = []
    with running("run", write(pod)) as agent:
        agent.ready()
        outage, violations = Outage(pod, agent), []

        def move(handler: Any, _status: int, _body: bytes) -> None:
            pod.proxy.heal()
            outage.rotate("a")
            handler.answer(400, json.dumps({"__type": "ResourceNotFoundException", "message": "gone"}).encode())

        for _ in range(turns):
            outage.rotate("a")
            pod.proxy.fail(Fault(move), operation="GetSecretValue")
            before = len(pod.proxy.calls)
            agent.pass_now()
            until(lambda: pod.read("a") == f"a{outage.number}")
            asked.append(sum(secret.startswith("a-") for _, secret in pod.proxy.calls[before:]))
        refused = [event for event in agent.seen if event["event"] == "secret failed"]
        violations += [f"told as a failure: {event}" for event in refused]
        assert agent.stop() == 0
    report.row(
        "a stage that moves between Describe and Get is followed in the same pass",
        f"{turns} times, {max(asked)} calls at most",
        violations,
    )


@pytest.mark.parametrize("kind", ["hang", "drip", "internal_error"])
def test_one_bad_secret_of_twenty_delays_the_others_by_one_call_at_most(
    pod: Pod, length: Length, report: Report, kind: str
) -> None:
    """The nineteen rotate while the twentieth fails; each is published within the limit of one call."""
    if kind != "internal_error" and not length.full:
        pytest.skip("takes the limit of a call, 15 s: only in `make torture`")
    names = [f"s{number}" for number in range(20)]
    violations, longest, turns = [], 0.0, length.choose(4, 1)
    with running("run", write(pod, names)) as agent:
        agent.ready()
        outage = Outage(pod, agent, names[1:])
        pod.proxy.fail(getattr(Fault, kind)(), secret=f"s0-{pod.suffix}")
        until(
            lambda: (
                agent.metrics()['source_requests_total{code="OK",operation="DescribeSecret",source="secretsmanager"}']
                > 40
            )
        )
        for _ in range(turns):
            outage.rotate()
            began = time.monotonic()
            until(outage.fresh)
            longest = max(longest, time.monotonic() - began)
        if longest > CALL_LIMIT + 2 * PERIOD:
            violations.append(f"{longest:.1f} s")
        assert pod.read("s0") == "s00"
        pod.proxy.heal()
        assert agent.stop() == 0
    report.row(
        f"one of twenty secrets fails ({kind}): no other waits longer than one call's limit ({CALL_LIMIT:g} s)",
        f"{turns} rotations of the nineteen",
        violations,
        f"{longest:.1f} s",
    )


@dataclass
class Names:
    """Name resolution of one process: a hosts file that can lose its entry, and a resolver that never answers."""

    home: Path
    resolver: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def __post_init__(self) -> None:
        self.resolver.bind(("127.66.66.66", 53))
        self.resolve(True)
        (self.home / "resolv.conf").write_text("nameserver 127.66.66.66\n")
        (self.home / "nsswitch.conf").write_text("hosts: files dns\n")

    def resolve(self, known: bool) -> None:
        (self.home / "hosts").write_text("127.0.0.1 localhost aws.test\n" if known else "127.0.0.1 localhost\n")

    @property
    def within(self) -> tuple[str, ...]:
        mounts = " && ".join(
            f"mount --bind {self.home}/{name} /etc/{name}" for name in ("hosts", "resolv.conf", "nsswitch.conf")
        )
        return ("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh")


@contextmanager
def names(home: Path) -> Iterator[Names]:
    found = Names(home)
    try:
        yield found
    finally:
        found.resolver.close()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
def test_a_name_that_does_not_resolve_costs_no_file_and_no_stop(pod: Pod, length: Length, report: Report) -> None:
    """The resolver never answers, so each call hangs in the C library, where nothing can end it."""
    if not length.full:
        pytest.skip("takes the resolver's own time-outs: only in `make torture`")
    with names(pod.home) as dns:
        config = write(pod)
        config.write_text(config.read_text().replace("http://127.0.0.1", "http://aws.test"))
        with running("run", config, within=dns.within) as agent:
            agent.ready()
            outage = Outage(pod, agent)

            def begin() -> None:
                dns.resolve(False)
                pod.proxy.fail(Fault.reset())  # what is connected would not ask for the name again

            def end() -> None:
                dns.resolve(True)
                pod.proxy.heal()

            tried, recovered = outage.meet("the name does not resolve", 2 * CALL_LIMIT, begin, end)
            begin()
            until(lambda: agent.metrics()['secret_up_to_date{secret="a"}'] == 0)
            began = time.monotonic()
            assert agent.stop() == 0
            stopped = time.monotonic() - began
    report.row(
        "AWS's name does not resolve and the resolver is silent: files stay, live",
        f"{tried}; SIGTERM meanwhile ends it in {1000 * stopped:.0f} ms",
        outage.violations,
        f"{recovered:.1f} s",
    )
