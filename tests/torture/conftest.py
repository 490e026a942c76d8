"""What every torture starts from, and the table that they end in.

`make torture` runs them at their full length and prints the table; `make torture-short` runs a short version of each.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import warm
from tests.support.aws import Proxy, QuickStandIn
from tests.support.pod import Pod
from tests.support.running import Agent
from tests.torture.canary import leaks

ROW = "torture"  # the property under which a test reports its rows


@pytest.fixture(scope="session", autouse=True)
def _started() -> None:
    """Each agent is started, also at the short length: it may be killed while it imports."""
    warm.enabled = False


@dataclass(frozen=True)
class Length:
    """How long the torture is. `choose` gives the number of the full length, or of the short one."""

    full: bool

    def choose(self, full: int, short: int) -> int:
        return full if self.full else short


@pytest.fixture(scope="session")
def length(request: pytest.FixtureRequest) -> Length:
    return Length(request.config.getoption("--full"))


class Report:
    """The rows that a test puts into the table. A violation of a promise fails the test when all rows are there."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties
        self.violations: list[str] = []

    def row(self, promise: str, tried: str, violations: list[str], longest: str = "–") -> None:
        """A promise, how often it was tried, what broke it, the longest recovery."""
        self._properties.append((ROW, (promise, tried, str(len(violations)), longest)))
        self.violations += violations

    def beside(self, what: str, tried: str, bad: int) -> None:
        """The same done in another way, for comparison; nothing is promised of it."""
        self._properties.append((ROW, (f"*for comparison:* {what}", tried, str(bad), "–")))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    report = Report(request.node.user_properties)
    yield report
    assert report.violations == [], f"{len(report.violations)} violations, such as\n" + "\n".join(
        report.violations[:20]
    )


@pytest.fixture(autouse=True)
def _no_leak(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every agent logs at DEBUG, and nothing that it says, in a stream or on a page, holds the canary in any form."""
    found: list[str] = []

    def overheard(text: str) -> None:
        found.extend(f"{how}: {text[:200]}" for how in leaks(text))

    monkeypatch.setenv("FRESHMOUNT_LOG_LEVEL", "debug")
    # Hundreds of processes, many killed while they write: their coverage is no use, and takes minutes to add up.
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Agent, "overheard", staticmethod(overheard))
    yield
    assert found == []


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory on tmpfs, as a Memory emptyDir is, where there is one."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def pod(home: Path) -> Iterator[Pod]:
    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        yield Pod(aws, proxy, home)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table, in Markdown, as docs/reliability.md has it."""
    if not config.getoption("--full"):
        return
    reports = [r for key in ("passed", "failed") for r in terminalreporter.getreports(key) if r.when == "call"]
    rows = [value for r in sorted(reports, key=lambda r: r.nodeid) for name, value in r.user_properties if name == ROW]
    with open("/proc/cpuinfo", encoding="utf-8") as handle:
        cpu = next((line.split(": ")[1].strip() for line in handle if line.startswith("model name")), "unknown")
    terminalreporter.section("torture")
    for row in (("promise", "tried", "violations", "longest recovery"), ("---", "---", "---:", "---:"), *rows):
        terminalreporter.write_line(f"| {' | '.join(row)} |")
    terminalreporter.write_line(
        f"\n{os.cpu_count()} cores of {cpu}, Linux {platform.release()}, Python {platform.python_version()}"
    )
