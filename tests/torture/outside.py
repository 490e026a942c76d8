"""What lies outside of the volume, and whether anybody touched it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

WORDS = "nothing of ours"


class Outside(FileSystemEventHandler):
    """A directory with files of the names that the volume has. `touched` lists every open, read and change of them."""

    def __init__(self, home: Path) -> None:
        self.path = home / "outside"
        self.touched: list[str] = []
        (self.path / "db").mkdir(parents=True)
        for name in ("db/user", "db/password", "db.json", "api", "..generation.json", "..notified.json", "file"):
            (self.path / name).write_text(WORDS)
        self._before = self._look()
        self._observer = Observer()
        self._observer.schedule(self, str(self.path), recursive=True)

    def on_any_event(self, event: FileSystemEvent) -> None:
        self.touched.append(f"{event.event_type} {os.fsdecode(event.src_path)}")

    def _look(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for path in sorted(self.path.rglob("*")):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_uid)
        return found

    def changes(self) -> list[str]:
        """What is not as it was."""
        now = self._look()
        return [path for path in now.keys() | self._before.keys() if now.get(path) != self._before.get(path)]

    def __enter__(self) -> Self:
        self._observer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.stop()
        self._observer.join()
