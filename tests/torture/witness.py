"""Targets that count exactly how often they were told, whatever happens to the one who tells."""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

# Python runs pending handlers in the order of their numbers: SIGHUP (1) before SIGUSR2 (12).
APP = """
import os, signal, sys
count = 0
def hup(*_):
    global count
    count += 1
signal.signal(signal.SIGHUP, hup)
# A signal can come while another one's handler writes, which a stream refuses.
signal.signal(signal.SIGUSR2, lambda *_: os.write(1, b"%d\\n" % count))
open(sys.argv[1], "w").write(str(os.getpid()))
print("ready", flush=True)
while True: signal.pause()
"""
TARGETS = ("touch", "signal", "url")


class Witness:
    """One target of each kind. `told()` is exact: each count is asked for behind all that was sent before."""

    def __init__(self, home: Path) -> None:
        self._home = home / "witness"
        self._home.mkdir()
        self._marker, self._barrier = self._home / "marker", self._home / "barrier"
        self._barrier.touch()  # from now on a touch of it only moves its times
        self._touched = _Touches(self._marker, self._barrier)
        self._observer = Observer()
        self._observer.schedule(self._touched, str(self._home))
        self._observer.start()
        pid_file = self._home / "app.pid"
        self._app = subprocess.Popen(
            [sys.executable, "-c", APP, str(pid_file)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._line()
        # One thread: an answer to a later connection means that the earlier ones were counted.
        self._http = _Posts(("127.0.0.1", 0), _Handler)
        self._url = f"http://127.0.0.1:{self._http.server_port}/"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        self.config = (
            f"{{name: touch, touch: {self._marker}}}",
            f"{{name: signal, signal: SIGHUP, process: {{pidFile: {pid_file}}}}}",
            f"{{name: url, url: '{self._url}'}}",
        )

    def told(self) -> Counter[str]:
        """How often each target was told until now."""
        self._touched.arrived.clear()
        self._barrier.touch()
        assert self._touched.arrived.wait(30)
        self._app.send_signal(12)
        signals = int(self._line())
        with urllib.request.urlopen(self._url) as answer:
            answer.read()
        return Counter(touch=self._touched.count, signal=signals, url=self._http.posts)

    def _line(self) -> str:
        assert self._app.stdout is not None
        return self._app.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._observer.stop()
        self._http.shutdown()
        self._http.server_close()
        self._app.kill()
        self._app.communicate()


class _Touches(FileSystemEventHandler):
    """Each change of the marker's times is one event; events of one directory come in their order."""

    def __init__(self, marker: Path, barrier: Path) -> None:
        self._marker, self._barrier = str(marker), str(barrier)
        self.count = 0
        self.arrived = threading.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in ("attrib", "modified"):  # watchdog before 7 knows no attrib
            return
        self.count += event.src_path == self._marker
        if event.src_path == self._barrier:
            self.arrived.set()


class _Posts(HTTPServer):
    posts = 0

    def handle_error(self, *_: object) -> None:
        """A caller that was killed is meant to be."""


class _Handler(BaseHTTPRequestHandler):
    server: _Posts

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.server.posts += 1
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass
