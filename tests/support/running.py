"""The real agent as its own process, for tests that see it as its user does."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tests.support import warm

Process = subprocess.Popen[str] | warm.Forked

PATIENCE = 120.0  # seconds until a test gives up on an event; no figure is derived from it


class Usage(NamedTuple):
    """What a process holds: resident memory in MiB, threads, open files."""

    rss: float
    threads: int
    files: int


class Agent:
    """One running `freshmount` command, started by the command `within`. Its events are awaited, never slept for.

    `overheard`, if set, is called with everything that any agent says: each line, each page.
    """

    overheard: ClassVar[Callable[[str], None] | None] = None

    def __init__(
        self,
        command: str,
        config: Path,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
        arguments: Sequence[str] | None = None,
        **popen: Any,
    ) -> None:
        given = ["--config", str(config)] if arguments is None else arguments
        environment = {**os.environ, "FRESHMOUNT_TERMINATION_LOG": "/nonexistent", **(env or {})}
        self.process = started([command, *given, "--log-format", "json"], environment, within, **popen)
        self.lines: list[str] = []
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._seen: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            self.overhear(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            self._events.put(event)
        self._events.put(None)

    def event(self, name: str, **fields: Any) -> dict[str, Any]:
        """The next event of that name with those fields; events before it are passed over, and kept in `seen`."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                event = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no event {name} {fields}; seen:\n" + "".join(self.lines)) from None
            if event is None:
                raise AssertionError(f"the agent ended before event {name} {fields}:\n" + "".join(self.lines))
            self._seen.append(event)
            if event.get("event") == name and fields.items() <= event.items():
                return event

    @property
    def seen(self) -> list[dict[str, Any]]:
        """Every event so far, passed over or not."""
        while not self._events.empty():
            if (event := self._events.get()) is not None:
                self._seen.append(event)
        return self._seen

    def ready(self) -> Agent:
        """The agent once its endpoint listens and a complete generation is there."""
        self.port = self.event("listening")["port"]
        self.await_page("/startupz", 200)
        return self

    def overhear(self, text: str) -> None:
        if Agent.overheard:
            Agent.overheard(text)

    def page(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        except urllib.error.URLError as error:
            raise AssertionError(f"no page {path}: {error.reason}; seen:\n" + "".join(self.lines)) from error
        self.overhear(text)
        return status, text

    def await_page(self, path: str, status: int) -> str:
        def shown() -> str | bool:
            with suppress(ConnectionError):  # it was accepted just before the agent came to rest, and not read in time
                return (page := self.page(path))[0] == status and page[1]
            return False

        found: str = until(shown)
        return found

    def knows(self, what: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Its report once that is true of it: a worker logs what it does before the resting process knows of it."""
        found: dict[str, Any] = until(lambda: what(report := json.loads(self.page("/status")[1])) and report)
        return found

    def metrics(self) -> dict[str, float]:
        """Samples by `name{label="value",…}`, labels sorted, without the `freshmount_` prefix."""
        found = {}
        for family in text_string_to_metric_families(self.page("/metrics")[1]):
            for sample in family.samples:
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                found[sample.name.removeprefix("freshmount_") + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    def passes(self) -> float:
        """How many passes it has made, read without the whole of `metrics`, which takes longer than a page."""
        return sum(map(float, re.findall(r"(?m)^freshmount_passes_total\{.*\} (\S+)$", self.page("/metrics")[1])))

    def pass_now(self) -> None:
        """Let one whole pass happen that began after this call."""
        asked = time.time()
        count, seconds, _ = self._timed()
        self.process.send_signal(signal.SIGUSR1)

        def passed() -> bool:
            """Not the one that was under way, which is counted as well: its beginning tells."""
            now, spent, ended = self._timed()
            return now > count + 1 or (now > count and ended - (spent - seconds) >= asked)

        until(passed)

    def _timed(self) -> list[float]:
        """How many passes it has made, the seconds that they took together, and when the last one ended (epoch)."""
        text = self.page("/metrics")[1]
        names = ("pass_duration_seconds_count", "pass_duration_seconds_sum", "last_pass_timestamp_seconds")
        found = (re.search(rf"(?m)^freshmount_{name} (\S+)$", text) for name in names)
        return [float(each[1]) if each else 0.0 for each in found]

    def usage(self) -> Usage:
        """What the process holds now."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as handle:
            fields = dict(line.split(":", 1) for line in handle)
        return Usage(
            rss=int(fields["VmRSS"].split()[0]) / 1024,
            threads=int(fields["Threads"]),
            files=len(os.listdir(f"/proc/{self.process.pid}/fd")),
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    @property
    def stderr(self) -> str:
        return "".join(self.lines)


def started(argv: Sequence[str], env: Mapping[str, str], within: Sequence[str] = (), **popen: Any) -> Process:
    """`freshmount` with these arguments, started by the command `within`, with both of its outputs in pipes."""
    if not within and warm.may_be(env, popen):
        return warm.start(argv, env, **popen)
    return subprocess.Popen(
        [*within, sys.executable, "-m", "agent", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        text=True,
        **popen,
    )


def freshmount(
    *argv: str,
    env: Mapping[str, str] | None = None,
    given: str = "",
    stdout: int = subprocess.PIPE,
    closed: Sequence[int] = (),
    **popen: Any,
) -> subprocess.CompletedProcess[str]:
    """`freshmount` with these arguments and this on its standard input, once it has ended.

    Its standard output may be a descriptor of the test's, and some of its three streams closed.
    """
    environment = os.environ if env is None else env
    if warm.may_be(environment, popen):
        return warm.run(argv, environment, given, stdout, closed, **popen)

    def close() -> None:
        for number in closed:
            os.close(number)

    return subprocess.run(
        [sys.executable, "-m", "agent", *argv],
        env=environment,
        input=given,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=close if closed else None,
        **popen,
    )


def until(condition: Callable[[], Any], every: float = 0.01) -> Any:
    """The first true result of a condition that another process brings about, looked at so often (seconds).

    The longer it takes, the more seldom it is looked at, down to a fifth: what is awaited needs the core, too.
    """
    end, pause = time.monotonic() + PATIENCE, every
    while not (result := condition()):
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(pause)
        pause = min(1.2 * pause, 5 * every)
    return result


@contextmanager
def ended(process: subprocess.Popen[Any], ask: signal.Signals | None = None) -> Iterator[subprocess.Popen[Any]]:
    """The process, which has ended when the block has, whatever happened: first asked by that signal, then killed.

    `with Popen(…)` waits for ever for a child that a failing test did not come to end.
    """
    try:
        yield process
    finally:
        if ask and process.poll() is None:
            process.send_signal(ask)
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        process.kill()
        process.wait(PATIENCE)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


@contextmanager
def running(
    command: str, config: Path, env: dict[str, str] | None = None, within: Sequence[str] = (), **popen: Any
) -> Iterator[Agent]:
    """The agent, killed at the end if it still runs."""
    agent = Agent(command, config, env, within, **popen)
    try:
        yield agent
    finally:
        if agent.process.poll() is None:
            agent.process.kill()
        agent.wait()
        assert agent.process.stdout is not None
        agent.overhear(agent.process.stdout.read())
        agent.process.stdout.close()
