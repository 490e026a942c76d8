"""Where the agent runs that is measured: in this environment, or in the very files of the image."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = "/dev/shm"  # a tmpfs, as a Memory emptyDir is
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Place:
    """A directory in memory, `home` as this process sees it and `inside` as the agent does, and how programs start."""

    home: Path
    inside: Path
    agent: Sequence[str]
    naive: Sequence[str]
    python: Sequence[str]

    def fresh(self, name: str) -> tuple[Path, Path]:
        """A new empty directory, as seen from here and from inside."""
        shutil.rmtree(self.home / name, ignore_errors=True)
        (self.home / name).mkdir(parents=True)
        return self.home / name, self.inside / name


@contextmanager
def placed(root: Path | None) -> Iterator[Place]:
    """This environment, or with `root` the two root file systems that bench/image.sh makes there."""
    with tempfile.TemporaryDirectory(dir=root / "image" / "bench" if root else SHARED_MEMORY) as made:
        home = Path(made)
        if root is None:
            python = [sys.executable]
            yield Place(home, home, [*python, "-m", "agent"], [*python, str(HERE / "naive.py")], python)
        else:
            chroot = shutil.which("chroot") or "/usr/sbin/chroot"
            image, base = ([chroot, str(root / name)] for name in ("image", "base"))
            yield Place(
                home,
                Path("/bench") / home.name,
                [*image, "/usr/local/bin/freshmount"],
                [*base, "python3.13", "-EB", "/naive/naive.py"],  # -E: PYTHONPATH is this repository's
                [*image, "/usr/local/bin/python3.13", "-IOO"],
            )
