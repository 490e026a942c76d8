"""The processes of the story, agent and app: their lines are awaited, and none outlives the demo."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.core.errors import FreshmountError

PATIENCE = 15.0  # seconds until a scene that does not happen counts as failed

ROOT = Path(__file__).resolve().parents[2]  # so that `-m agent` is this one, whatever directory we were called in

# Becomes the program in its arguments, which the kernel kills (9) when its parent dies (PR_SET_PDEATHSIG, prctl(2)).
# Not a preexec_fn: the stand-in's threads make it unsafe to run Python between fork and exec.
_DIE_WITH_US = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


class DemoFailed(FreshmountError):
    """A scene did not happen."""


class Child:
    """A process of the story, which dies with us, and whose lines, JSON objects, are waited for."""

    def __init__(self, name: str, argv: list[str], stream: str) -> None:
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": None} | {stream: subprocess.PIPE}
        # A session of its own: Ctrl-C reaches the demo, which ends its children in order.
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DIE_WITH_US, sys.executable, "-m", *argv],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            **pipes,
        )
        self._name = name
        self._last: deque[str] = deque(maxlen=3)
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, args=(getattr(self.process, stream),), daemon=True).start()

    def _read(self, lines: Any) -> None:
        for line in lines:
            self._last.append(line)
            with suppress(ValueError):
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def next_line(self, what: str, patience: float | None = None) -> dict[str, Any]:
        """The next line, waited for up to `patience` seconds. Raises DemoFailed when none comes."""
        with suppress(queue.Empty):
            line = self._lines.get(timeout=patience)
            if line is not None:
                return line
            raise self._failure(f"the {self._name} ended with exit code {self.process.wait(PATIENCE)} before {what}")
        raise self._failure(f"did not happen within {PATIENCE:g} s: {what}")

    def await_line(self, what: str, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next line that matches. Raises DemoFailed when it does not come."""
        end = time.monotonic() + PATIENCE
        while not matches(line := self.next_line(what, max(0.0, end - time.monotonic()))):
            pass
        return line

    def end(self) -> int:
        """Ask it to end; its exit code. Raises DemoFailed when it does not."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(PATIENCE)
        raise self._failure(f"the {self._name} did not end within {PATIENCE:g} s after SIGTERM")

    def _failure(self, text: str) -> DemoFailed:
        return DemoFailed(f"{text}\nThe last that the {self._name} said:\n{''.join(self._last) or 'nothing'}".rstrip())


@contextmanager
def all_ended() -> Iterator[list[Child]]:
    """A list of processes, all of which are ended at the end."""
    children: list[Child] = []
    try:
        yield children
    finally:
        for child in children:
            child.process.terminate()
        for child in children:
            try:
                child.process.wait(2.0)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
