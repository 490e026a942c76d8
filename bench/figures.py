"""What is measured, one function a figure. Two things that are compared run in turn, and are told by their medians."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import services, simulated
from bench.place import Place
from bench.process import Measured, Memory, started, write_config
from bench.stand_in import every_service, standing_in


class Effort(NamedTuple):
    """How long to measure."""

    pairs: int
    minutes: float
    passes: int


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str


def start(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """From exec to the first generation of 5 secrets over TLS, with memory once it is there; beside the naive stack."""
    seconds: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    memory: dict[str, list[Memory]] = defaultdict(list)
    with standing_in(aside) as stand_in:
        for turn in range(effort.pairs + 1):
            for who in ("run", "naive", "init"):
                here, config, volume = write_config(place, who, stand_in, 5, "1s" if who == "naive" else "1h")
                argv = [*place.naive, str(config)] if who == "naive" else [*place.agent, who]
                with started(argv, config, here) as measured:
                    took = measured.until_there(volume / ("s4.json" if who == "naive" else "..data"))
                    if turn == 0:  # the first warms the page cache
                        continue
                    seconds[who].append(took)
                    if who == "init":  # which is gone by now
                        continue
                    cpu[who].append(measured.cpu())
                    if who == "run":
                        _settle(measured)
                    else:
                        for _ in range(3):
                            measured.scrape()
                            time.sleep(0.7)
                    memory[who].append(measured.memory())
    for who, what in (("run", "exec → first generation, 5 secrets over TLS"), ("init", "the same, `init`")):
        yield Row(what, _spread(seconds[who], 1000, "ms"))
    ratios = [
        f"{statistics.median(n / a for a, n in zip(seconds[who], seconds['naive'], strict=True)):.2f}× {who}"
        for who in ("run", "init")
    ]
    yield Row("the same, naive stack", f"{_spread(seconds['naive'], 1000, 'ms')}; {', '.join(ratios)}")
    yield Row("CPU until then", f"{_spread(cpu['run'], 1000, 'ms')}; naive {_spread(cpu['naive'], 1000, 'ms')}")
    for which, name in ((0, "RSS at rest, all features on"), (1, "of that anonymous")):
        ours, naive = ([found[which] for found in memory[who]] for who in ("run", "naive"))
        yield Row(name, f"{_spread(ours, 1, 'MiB', 1)}; naive {_spread(naive, 1, 'MiB', 1)}")


def _settle(measured: Measured) -> None:
    """Some scrapes, so that all that is imported late is there, until it rests."""
    began = time.monotonic()
    while not measured.at_rest():
        measured.check(began)
        time.sleep(0.01)
    for _ in range(3):
        measured.scrape()


def _pass(measured: Measured) -> None:
    """One pass by a worker, seen by what the kernel counts: a scrape would be work for the measured process."""
    before, began = measured.cpu_of_all(), time.monotonic()
    measured.process.send_signal(signal.SIGUSR1)
    while measured.cpu_of_all() == before or not measured.at_rest():
        measured.check(began)
        time.sleep(0.01)


def node(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """Agents at rest beside each other, as the pods of a node are."""
    with standing_in(aside) as stand_in, ExitStack() as all_of_them:
        agents: list[Measured] = []
        for number in range(30):
            here, config, volume = write_config(place, f"node{number}", stand_in, 5, "1h", port=0)
            agents.append(all_of_them.enter_context(started([*place.agent, "run"], config, here)))
            agents[-1].until_there(volume / "..data")
            began = time.monotonic()
            while not agents[-1].at_rest():
                agents[-1].check(began)
                time.sleep(0.01)
            if len(agents) in (1, 10, 30):
                shares = sum(each.memory().share for each in agents)
                yield Row(f"{len(agents)} at rest on a node, PSS", f"{shares:.0f} MiB")


def cpu(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """CPU of an hour: 5 secrets each 60 s, scrapes each 15 s. Faster than that; an agent that waits does nothing. Each
    pass has a worker of its own, as with that period."""
    with standing_in(aside) as stand_in:
        here, config, volume = write_config(place, "cpu", stand_in, 5, "1h")
        with started([*place.agent, "run"], config, here) as measured:
            measured.until_there(volume / "..data")
            _settle(measured)
            before, calls = measured.cpu_of_all(), stand_in.counts()
            for _ in range(int(effort.minutes)):
                for _ in range(4):
                    measured.scrape()
                _pass(measured)
            spent, after = measured.cpu_of_all() - before, stand_in.counts()
    made = {name: after[name] - calls[name] for name in ("DescribeSecret", "GetSecretValue")}
    yield Row(
        "CPU an hour, 5 secrets every 60 s, scrapes every 15 s",
        f"{spent * 60 / effort.minutes:.2f} s ({made} in {effort.minutes:g} periods)",
    )
    with standing_in(aside) as stand_in:
        here, config, volume = write_config(place, "cpu", stand_in, 5, "1h")
        with started([*place.agent, "run"], config, here) as measured:
            measured.until_there(volume / "..data")
            _settle(measured)
            switches, before = measured.switches(), measured.cpu()
            time.sleep(20)
            yield Row(
                "20 s of waiting",
                f"{measured.switches() - switches} wake-ups, {(measured.cpu() - before) * 1000:.1f} ms CPU",
            )


def thousand(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """1,000 secrets, cold, each answer 20 ms away: 8 in flight, so 2.5 s at least."""
    took, peaks, spent = [], [], []
    with standing_in(aside, latency=0.02) as stand_in:
        for _ in range(max(3, effort.pairs // 3)):
            here, config, volume = write_config(place, "thousand", stand_in, 1000, "1h")
            with started([*place.agent, "run"], config, here) as measured:
                took.append(measured.until_there(volume / "..data"))
                peaks.append(measured.peak())
                spent.append(measured.cpu())
    yield Row(
        "1,000 secrets, cold, 20 ms away (floor 2.5 s)", f"{_spread(took, 1, 's', 2)}; CPU {_spread(spent, 1, 's', 2)}"
    )
    yield Row("memory at most meanwhile", _spread(peaks, 1, "MiB", 1))


def steady(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """Passes in which nothing changed: what they ask the kernel for, and whether memory stays."""
    with standing_in(aside) as stand_in:
        here, config, volume = write_config(place, "steady", stand_in, 100, "1h")
        with started([*place.agent, "run"], config, here) as measured:
            measured.until_there(volume / "..data")
            measured.pass_now()
            said, before = (here / "log").stat().st_size, stand_in.counts()
            calls = _system_calls(measured, 10, aside / "strace")
            after = stand_in.counts()
            lines = (here / "log").stat().st_size - said
        asked = {name: after[name] - before[name] for name in ("DescribeSecret", "GetSecretValue", "connections")}
        yield Row("10 passes over 100 secrets, nothing changed: calls to AWS", str(asked))
        yield Row("the same: file system calls", f"{calls}; {lines} bytes of log")
        here, config, volume = write_config(place, "steady", stand_in, 5, "1h")
        with started([*place.agent, "run"], config, here) as measured:
            measured.until_there(volume / "..data")
            seen = []
            for turn in range(effort.passes + 1):
                measured.pass_now()
                if turn % max(1, effort.passes // 10) == 0:
                    seen.append(measured.memory().resident)
        yield Row(f"RSS over {effort.passes} passes", " → ".join(f"{value:.1f}" for value in seen) + " MiB")


def sources(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """100 parameters, and 10 secrets by 10 roles in 3 regions: start, memory, calls."""
    what = "100 parameters, and 10 secrets by 10 roles in 3 regions"
    took, spent, resting, peaks = [], [], [], []
    with every_service(aside) as stand_in:
        for turn in range(effort.pairs + 1):
            before = stand_in.counts()
            here, config, volume = write_config(place, "sources", stand_in, services.entries(), "1h")
            with started([*place.agent, "run"], config, here, AWS_ENDPOINT_URL_STS=stand_in.url) as measured:
                seconds, used = measured.until_there(volume / "..data"), measured.cpu()
                at_start = stand_in.counts() - before
                if turn == 0:
                    continue
                took.append(seconds)
                spent.append(used)
                _settle(measured)
                before = stand_in.counts()
                measured.pass_now()
                a_pass = stand_in.counts() - before
                _settle(measured)
                resting.append(measured.memory())
            here, config, _ = write_config(place, "sources", stand_in, services.entries(), "1h")
            with started([*place.agent, "init"], config, here, AWS_ENDPOINT_URL_STS=stand_in.url) as measured:
                peaks.append(measured.most())
    calls = (", ".join(f"{count} {name}" for name, count in sorted(each.items())) for each in (at_start, a_pass))
    yield Row(f"{what}: exec → first generation", _spread(took, 1000, "ms"))
    yield Row("CPU until then", _spread(spent, 1000, "ms"))
    yield Row("memory at most in `init`, RSS", _spread(peaks, 1, "MiB", 1))
    for which, name in ((0, "RSS at rest after a pass"), (1, "of that anonymous")):
        yield Row(name, _spread([each[which] for each in resting], 1, "MiB", 1))
    yield Row("calls at the start; in a pass by a new worker", "; ".join(calls))


_FILES = (
    *("write", "fsync", "fdatasync", "rename", "renameat", "renameat2", "symlinkat", "linkat", "mkdirat"),
    *("unlinkat", "fchmod", "openat", "newfstatat", "readlinkat"),
)


def _system_calls(measured: Measured, passes: int, to: Path) -> str:
    """Those on files that the agent made in so many passes, by strace, which is attached meanwhile."""
    pid = measured.process.pid
    tracer = subprocess.Popen(
        ["strace", "-f", "-y", "-o", str(to), "-e", f"trace={','.join(_FILES)}", "-p", str(pid)],
        stderr=subprocess.DEVNULL,
    )
    while f"TracerPid:\t{tracer.pid}" not in Path(f"/proc/{pid}/status").read_text(errors="replace"):
        measured.check(measured.began)
        time.sleep(0.01)
    for _ in range(passes):
        measured.pass_now()
    tracer.terminate()
    tracer.wait()
    lines = [line for line in to.read_text(errors="replace").splitlines() if "<socket:" not in line]
    counts = Counter(found[1] for line in lines if (found := re.match(r"\d+ +(\w+)\(", line)))
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def publish(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """1,000 files on tmpfs by the volume, beside the same calls without our code."""
    _, inside = place.fresh("publish")
    program = Path(__file__).with_name("publish.py")
    script = program.read_text()
    found = subprocess.run(
        [*place.python, "-c", script, str(inside), str(effort.pairs)], capture_output=True, text=True, check=True
    )
    pairs = json.loads(found.stdout)
    ratio = statistics.median(ours / bare for bare, ours in pairs)
    yield Row("publish of 1,000 files, tmpfs", _spread([ours for _, ours in pairs], 1000, "ms"))
    yield Row("the same system calls alone", f"{_spread([bare for bare, _ in pairs], 1000, 'ms')}; ratio {ratio:.2f}")


def notice(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """From a rotation to the pass that sees it, in simulated time, by the agent's own schedule."""
    for what, delays in simulated.noticing(100 * effort.pairs):
        cuts = statistics.quantiles(delays, n=100)
        yield Row(
            f"noticing a rotation {what}", f"p50 {cuts[49]:.1f} s, p99 {cuts[98]:.1f} s, most {max(delays):.1f} s"
        )


def size(place: Place, aside: Path, effort: Effort) -> Iterator[Row]:
    """The directory of packages, the agent among them, as an image has it: all files, bytecode included."""
    script = (
        "import os, sysconfig; home = sysconfig.get_path('purelib')\n"
        "print(sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(home) for name in names))"
    )
    found = subprocess.run([*place.python, "-c", script], capture_output=True, text=True, check=True)
    yield Row("site-packages, with bytecode", f"{int(found.stdout) / 2**20:.1f} MiB")


def _spread(values: Sequence[float], scale: float, unit: str, digits: int = 0) -> str:
    """The median, and the quartiles that half of the values lie between."""
    low, middle, high = statistics.quantiles([value * scale for value in values], n=4)
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f}–{high:.{digits}f})"


ALL: dict[str, Callable[[Place, Path, Effort], Iterator[Row]]] = {
    "start": start,
    "cpu": cpu,
    "node": node,
    "thousand": thousand,
    "steady": steady,
    "sources": sources,
    "publish": publish,
    "notice": notice,
    "size": size,
}
