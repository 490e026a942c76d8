"""A memory cgroup of a test's own, of the version that the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.running import until

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryCgroup:
    """Where a container's processes would be, with a limit of their memory."""

    path: Path
    version: int

    def entering(self) -> tuple[str, ...]:
        """The command that runs another in it, as `running(within=…)` takes it."""
        return ("sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh")

    def leave(self, room: int) -> None:
        """Allow so many bytes beside what it holds that the kernel cannot take back.

        Pages of files can be taken back. How many of them it holds depends on who read the files first.
        """
        known = self._numbers("memory.stat")
        used = int((self.path / ("memory.usage_in_bytes", "memory.current")[self.version - 1]).read_text())
        self._limit(str(used - known["active_file"] - known["inactive_file"] + room))

    def lift(self) -> None:
        """Allow anything again."""
        self._limit(("-1", "max")[self.version - 1])

    def killed(self) -> int:
        """How many of its processes the kernel has ended for want of memory."""
        return self._numbers(("memory.oom_control", "memory.events")[self.version - 1])["oom_kill"]

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def _limit(self, text: str) -> None:
        (self.path / ("memory.limit_in_bytes", "memory.max")[self.version - 1]).write_text(text)

    def _numbers(self, name: str) -> dict[str, int]:
        return {key: int(value) for key, value in map(str.split, (self.path / name).read_text().splitlines())}


@contextmanager
def memory_cgroup(ends_whole: bool = False) -> Iterator[MemoryCgroup]:
    """A new one, without a limit. At the end what is in it must have ended.

    `ends_whole`: when the kernel ends one of its processes for want of memory, it ends all (memory.oom.group). Where
    there is no such cgroup the test is skipped, with the reason.
    """
    root, version = _hierarchy()
    if ends_whole and version == 1:
        pytest.skip("needs cgroup version 2: in version 1 the kernel ends one process at a time")
    made = root / f"freshmount-test-{os.getpid()}"
    made.mkdir()
    try:
        if version == 2:
            (made / "memory.oom.group").write_text(str(int(ends_whole)))
        yield MemoryCgroup(made, version)
    finally:
        until(lambda: not (made / "cgroup.procs").read_text())
        made.rmdir()


def _hierarchy() -> tuple[Path, int]:
    """Where memory is counted and a new cgroup can be made, and the version. Otherwise the test is skipped.

    In version 2 a cgroup hands memory down only if it was told to. It is not told otherwise at the end, because another
    test may have begun to rely on it.
    """
    if os.access(ROOT / "memory" / "cgroup.procs", os.W_OK):
        return ROOT / "memory", 1
    if not os.access(ROOT / "cgroup.subtree_control", os.W_OK):
        pytest.skip(f"needs a memory cgroup to write: neither {ROOT}/memory (version 1) nor {ROOT} (version 2) is one")
    if "memory" not in (ROOT / "cgroup.controllers").read_text().split():
        pytest.skip(f"needs a memory cgroup to write: {ROOT} (version 2) does not count memory")
    if "memory" not in (ROOT / "cgroup.subtree_control").read_text().split():
        try:
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        except OSError as error:  # a container's own, which has processes
            pytest.skip(f"needs a memory cgroup to write: {ROOT} (version 2) cannot hand memory down: {error.strerror}")
    return ROOT, 2
