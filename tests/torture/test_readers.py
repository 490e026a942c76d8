"""Readers flat out while the real agent rotates as fast as it can and is killed in between, and beside it three other
ways of writing under the same readers."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.pod import Pod
from tests.support.running import Agent, running, until
from tests.torture.canary import CANARY
from tests.torture.conftest import Length, Report
from tests.torture.reader import COMBINED, PAIR, READERS, content
from tests.torture.writers import WAYS

BAD = ("torn", "empty", "missing", "mixed")


@contextmanager
def reading(volume: Path) -> Iterator[dict[str, dict[str, int]]]:
    """One reader of each kind; at the end their counts, by kind."""
    readers = {
        how: subprocess.Popen(
            [sys.executable, "-m", "tests.torture.reader", how, str(volume)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for how in READERS
    }
    counts: dict[str, dict[str, int]] = {}
    try:
        for reader in readers.values():
            assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
        yield counts
        for how, reader in readers.items():
            counts[how] = json.loads(reader.communicate(timeout=30)[0])
    finally:
        for reader in readers.values():
            reader.kill()
            reader.communicate()


def _tried(counts: dict[str, int]) -> str:
    bad = ", ".join(f"{counts.get(word, 0):,} {word}" for word in BAD)
    return f"{counts['reads']:,} reads, {counts['generations']:,} generations: {bad}"


def test_no_reader_sees_a_torn_set_while_the_agent_is_killed(pod: Pod, length: Length, report: Report) -> None:
    """Nothing torn, empty or missing for anyone; nothing mixed for those who keep the reader's contract."""
    generations, kills = length.choose(1000, 6), length.choose(40, 2)
    rng = random.Random(7)
    pod.put("db", _value(0))
    files = [f"{{path: {path}, jmesPath: {path.split('/')[1]}}}" for path in PAIR]
    config = pod.write(pod.secret("db", *files, f"{{path: {COMBINED}, format: json}}"), period="60s")
    with running("init", config) as agent:
        assert agent.wait() == 0
    number = 0
    with reading(pod.volume) as counts:
        for turn in range(1, kills + 1):
            with running("run", config) as agent:
                agent.event("started")
                while number < generations * turn // kills:
                    number += 1
                    _rotate(pod, agent, number)
                number += 1
                pod.rotate("db", _value(number))
                agent.process.send_signal(signal.SIGUSR1)
                time.sleep(rng.uniform(0, 0.02))  # the moment of the kill is the dice's
                agent.process.kill()
    if length.full:
        assert max(found["generations"] for found in counts.values()) >= 500
        assert sum(found["reads"] for found in counts.values()) >= 100_000
    for how, found in counts.items():
        wrong = BAD[:3] if how == "by path" else BAD  # by path a pair may be mixed; docs/files.md says so
        report.row(
            f"reader {how}, {kills} kill -9 of the agent meanwhile: nothing {', '.join(wrong)}",
            _tried(found),
            [f"{how}: {found[word]} reads were {word}" for word in wrong if found.get(word)],
        )


def test_other_ways_of_writing_do_show_bad_reads(home: Path, length: Length, report: Report) -> None:
    """The same readers see what they are there to see: a run in which truncation shows no bad read is void."""
    void = True
    for way, write in WAYS.items():
        volume = home / way.split()[0]
        volume.mkdir()
        write(volume, 0)
        number, end = 0, time.monotonic() + length.choose(10, 1)
        with reading(volume) as counts:
            while time.monotonic() < end:
                number += 1
                write(volume, number)
                time.sleep(0.002)  # about the pace of the agent; without it the readers would hardly come to read
        for how, found in counts.items():
            bad = found["reads"] - found["good"]
            report.beside(f"{way}, reader {how}", _tried(found), bad)
            void = void and not (way == "truncate in place" and bad)
    assert not void


def _value(number: int) -> str:
    return json.dumps({**dict.fromkeys(("user", "password"), content(number)), "canary": CANARY})


def _rotate(pod: Pod, agent: Agent, number: int) -> None:
    """Rotate, and wait until it is published. A pass that the start began may have taken it along."""
    pod.rotate("db", _value(number))
    agent.process.send_signal(signal.SIGUSR1)
    path = pod.volume / COMBINED
    until(lambda: json.loads(path.read_text())["user"] == content(number), every=0.001)
