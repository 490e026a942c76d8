"""watchdog on the config file's *directory*.

Kubelet swaps a `..data` link in it; a watch on the file itself would see nothing of that, and one on the link only the
first swap.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from watchdog.events import (
    EVENT_TYPE_CLOSED,
    EVENT_TYPE_CREATED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from agent.core.errors import cause

# Not opened and closed_no_write: those are our own reads.
_CHANGES = frozenset({EVENT_TYPE_CLOSED, EVENT_TYPE_CREATED, EVENT_TYPE_DELETED, EVENT_TYPE_MODIFIED, EVENT_TYPE_MOVED})


class Watch:
    """A running watch, or with `active` False the `reason` why there is none."""

    def __init__(self, observer: BaseObserver | None, reason: str | None = None) -> None:
        self._observer = observer
        self.reason = reason

    @property
    def active(self) -> bool:
        """Whether changes will be noticed; if not, the caller still reads the config periodically."""
        return self._observer is not None

    def close(self) -> None:
        """Stop watching."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(1.0)


def watch(path: str, changed: Callable[[], None]) -> Watch:
    """Call `changed`, on a thread of the watch, whenever the file at `path` may have changed.

    It may be called more often than the file changes; the caller compares. Never raises: where inotify is not available
    (a limit reached, gVisor), the returned Watch is not active.
    """
    directory, name = os.path.split(os.path.abspath(path))
    try:  # which of the three asks for inotify depends on watchdog's version
        observer = Observer()
        observer.daemon = True
        observer.schedule(_Changes(name, changed), directory, recursive=False)
        observer.start()
    except OSError as error:
        return Watch(None, f"{directory} cannot be watched: {cause(error)}")
    except RuntimeError:  # Python's word for it
        return Watch(None, f"{directory} cannot be watched: there is no thread left for it")
    return Watch(observer)


class _Changes(FileSystemEventHandler):
    def __init__(self, name: str, changed: Callable[[], None]) -> None:
        self._name = name
        self._changed = changed

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _CHANGES:
            names = {os.path.basename(os.fsdecode(path)) for path in (event.src_path, event.dest_path) if path}
            if any(name == self._name or name.startswith("..data") for name in names):
                self._changed()
