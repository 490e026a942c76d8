"""Watch the *directory* of the config file, with watchdog.

Kubelet swaps a `..data` link in it. A watch on the file itself would miss that, and a watch on the link would see only
the first swap.
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

# `opened` and `closed_no_write` are left out: the agent's own reads cause them.
_CHANGES = frozenset({EVENT_TYPE_CLOSED, EVENT_TYPE_CREATED, EVENT_TYPE_DELETED, EVENT_TYPE_MODIFIED, EVENT_TYPE_MOVED})


class Watch:
    """A running watch. If there is none, `active` is False and `reason` says why."""

    def __init__(self, observer: BaseObserver | None, reason: str | None = None) -> None:
        self._observer = observer
        self.reason = reason

    @property
    def active(self) -> bool:
        """Whether changes are noticed. If not, the caller must read the config periodically."""
        return self._observer is not None

    def close(self) -> None:
        """Stop watching."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(1.0)


def watch(path: str, changed: Callable[[], None]) -> Watch:
    """Call `changed`, on the watch's own thread, whenever the file at `path` may have changed.

    It may be called more often than the file changes, so the caller must compare. Never raises: where inotify is not
    available (a limit is reached, or gVisor), the returned Watch is not active.
    """
    directory, name = os.path.split(os.path.abspath(path))
    try:  # which of these three calls opens inotify depends on watchdog's version
        observer = Observer()
        observer.daemon = True
        observer.schedule(_Changes(name, changed), directory, recursive=False)
        observer.start()
    except OSError as error:
        return Watch(None, f"{directory} cannot be watched: {cause(error)}")
    except RuntimeError:  # Python raises it when no thread can be started
        return Watch(None, f"{directory} cannot be watched: no further thread can be started")
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
