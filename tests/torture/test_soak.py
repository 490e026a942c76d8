"""A long life, accelerated: rotations, reloads and restarts, and what the process and the volume hold at the end."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from agent.sinks.volume.sweep import KEPT_AT_MOST
from tests.support.aws import Fault
from tests.support.pod import Pod
from tests.support.resting import workers
from tests.support.running import Agent, Usage, running, until
from tests.torture.canary import CANARY, sealed
from tests.torture.conftest import Length, Report

FLAT = 1.05  # memory at the end over memory after the first hundred

Held = tuple[Usage, int, set[str]]


def test_rotations(pod: Pod, length: Length, report: Report) -> None:
    """Each is published and told; nothing is left of it but the generations that readers may have open."""
    turns, warm = length.choose(2_000, 20), length.choose(100, 10)  # each starts a worker: half an hour
    config = _config(pod)
    violations: list[str] = []
    with running("run", config) as agent:
        agent.ready()
        for number in range(1, turns + 1):
            pod.rotate("db", sealed(f"db{number}"))
            agent.process.send_signal(signal.SIGUSR1)
            until(lambda number=number: pod.read("db") == f"db{number}", every=0.001)
            agent.lines.clear()  # the test's own memory
            agent.seen.clear()
            if number == warm:
                before = _held(agent, pod)
        after = _held(agent, pod, before)
        accepted = agent.metrics()['notifications_total{result="accepted",target="marker"}']
        if accepted != turns:
            violations.append(f"told {accepted:.0f} times of {turns} rotations")
        assert agent.stop() == 0
    _compare(report, f"{turns:,} rotations", before, after, violations)


def test_reloads(pod: Pod, length: Length, report: Report) -> None:
    """Secrets and targets come and go with each config, and with them their files and series."""
    turns, warm = length.choose(1_000, 16), length.choose(100, 8)
    config = _config(pod)
    text = config.read_text()
    pod.put("extra", CANARY)
    more = text.replace("secrets: [", f"secrets: [{pod.secret('extra', '{path: extra}')}, ")
    violations: list[str] = []
    with running("run", config) as agent:
        agent.ready()
        for number in range(1, turns + 1):
            added = number % 2 == 1
            pod.edit(more if added else text)
            until(lambda added=added: (pod.volume / "extra").exists() == added, every=0.001)
            agent.lines.clear()
            agent.seen.clear()
            if number == warm:
                before = _held(agent, pod)
        after = _held(agent, pod, before)
        if any('secret="extra"' in series for series in after[2]):
            violations.append("a secret that left the config kept its series")
        if agent.metrics()["config_reload_success"] != 1:
            violations.append("a good config was refused")
        assert agent.stop() == 0
    _compare(report, f"{turns:,} config reloads", before, after, violations)


def test_restarts(pod: Pod, length: Length, report: Report) -> None:
    """By SIGTERM and by kill -9, with a rotation while it was away."""
    turns, warm = length.choose(500, 4), length.choose(100, 2)
    config = _config(pod)
    held: list[Held] = []
    violations: list[str] = []
    for number in range(1, turns + 1):
        with running("run", config) as agent:
            agent.ready()
            until(lambda number=number: number == 1 or pod.read("db") == f"db{number - 1}")
            if number in (warm, turns):
                held.append(_held(agent, pod, *held))
            pod.rotate("db", sealed(f"db{number}"))
            if number % 2:
                violations += [] if agent.stop() == 0 else ["SIGTERM did not end it with 0"]
            else:
                agent.process.kill()
    _compare(report, f"{turns:,} restarts, every second one by kill -9", *held, violations)


def _config(pod: Pod) -> Path:
    pod.put("db", sealed("db0"))
    pod.put("api", sealed("k"))
    return pod.write(
        pod.secret("db", "{path: db, jmesPath: v}"),
        pod.secret("api", "{path: api/key, jmesPath: v}"),
        notify=(f"{{name: marker, touch: {pod.home}/marker}}",),
        period="60s",
    )


def _held(agent: Agent, pod: Pod, before: Held | None = None) -> Held:
    """What the agent and its volume hold between two passes, once that is no more than before, if it comes to that: a
    watch that was replaced is closed by a thread of its own."""
    # Both secrets are asked for at once: otherwise it is chance when the second call gets a thread and a connection.
    calls = len(pod.proxy.calls)
    pod.proxy.fail(Fault.hold())
    agent.process.send_signal(signal.SIGUSR1)
    until(lambda: len(set(pod.proxy.calls[calls:])) == 2)
    pod.proxy.heal()
    agent.pass_now()
    series = _series(agent)
    until(lambda: not workers(agent) and not _asked(agent))  # each takes a descriptor of the resting process
    if before:
        with suppress(AssertionError):  # then it is a leak, and `_compare` says so
            until(lambda: not _more(agent.usage(), before[0]))
    return agent.usage(), _inodes(pod.volume), series


def _more(later: Usage, usage: Usage) -> bool:
    return later.files > usage.files or later.threads > usage.threads


def _asked(agent: Agent) -> bool:
    """Whether the agent still has a connection open that somebody made to its endpoint, such as the last scrape's."""
    port, listening = f":{agent.port:04X}", "0A"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_, inode = line.split()[:10]
        if local.endswith(port) and state != listening and inode != "0":  # 0: what the kernel alone remembers
            return True
    return False


def _inodes(volume: Path) -> int:
    """Files and directories below the volume, but for what stays a minute for readers in flight."""
    current = (volume / "..data").resolve()
    kept = [path for path in volume.iterdir() if path.name[2:].isdigit() and path != current]
    assert len(kept) <= KEPT_AT_MOST
    return sum(1 for _ in current.rglob("*")) + sum(1 for path in volume.iterdir() if path not in kept)


def _series(agent: Agent) -> set[str]:
    """The names of all series, without the label that is to change: the version."""
    found = set()
    for family in text_string_to_metric_families(agent.page("/metrics")[1]):
        for sample in family.samples:
            labels = {name: text for name, text in sample.labels.items() if name != "version_id"}
            found.add(f"{sample.name}{json.dumps(labels, sort_keys=True)}")
    return found


def _compare(report: Report, what: str, before: Held, after: Held, violations: list[str]) -> None:
    (usage, inodes, series), (later, later_inodes, later_series) = before, after
    if later.rss > FLAT * usage.rss:
        violations.append(f"memory grew from {usage.rss:.1f} to {later.rss:.1f} MiB")
    if _more(later, usage):
        violations.append(f"{usage} became {later}")
    if later_inodes != inodes:
        violations.append(f"{inodes} inodes became {later_inodes}")
    if later_series != series:
        violations.append(f"series came or went: {later_series ^ series}")
    report.row(
        f"{what}: memory, threads, files, inodes and series as after the first hundred",
        f"{usage.rss:.1f} → {later.rss:.1f} MiB, {usage.threads} → {later.threads} threads, "
        f"{usage.files} → {later.files} files, {inodes} → {later_inodes} inodes, "
        f"{len(series)} → {len(later_series)} series",
        violations,
    )
