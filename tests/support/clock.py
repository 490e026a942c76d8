"""A clock that a test puts forward, for what happens after minutes."""

from __future__ import annotations

import time


class Clock:
    """The module `time` as code sees it that has this in its place: some seconds later."""

    def __init__(self) -> None:
        self.later = 0.0

    def time(self) -> float:
        return time.time() + self.later

    def monotonic(self) -> float:
        return time.monotonic() + self.later
