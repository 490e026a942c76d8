"""The app of the cluster's tests: it reads its files and says in a JSON line whatever happens to it.

A ConfigMap gives it to a pod; it needs Python's standard library only. The values of its secrets are a test's own.
"""

import ctypes
import http.server
import json
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path

SECRETS = Path(os.environ.get("SECRETS", "/freshmount/secrets"))
TOUCHED = os.environ.get("TOUCHED", "")  # a file to watch by inotify
PAIR = os.environ.get("PAIR", "").split()  # two files that must always hold the same
PAUSE = float(os.environ.get("STOP_AFTER", "0"))  # seconds between SIGTERM and the end
CLOSE_WRITE, ATTRIB, MOVED_TO, CREATE = 0x8, 0x4, 0x80, 0x100


def tell(event: str, **more: object) -> None:
    # Not by print: a stream refuses to be entered again from a handler.
    os.write(1, (json.dumps({"event": event, "at": time.time(), **more}) + "\n").encode())


def read(path: Path) -> str | None:
    """None where the mode forbids it."""
    try:
        return path.read_text()
    except PermissionError:
        return None


def files() -> dict[str, str | None]:
    """The files of one generation: one handle on ..data, whatever is published meanwhile."""
    try:
        data = (SECRETS / "..data").resolve(strict=True)
    except FileNotFoundError:
        return {}
    found = (path for path in sorted(data.rglob("*")) if path.is_file() and not path.name.startswith(".."))
    return {str(path.relative_to(data)): read(path) for path in found}


def modes() -> dict[str, list[object]]:
    """Mode, uid and gid of each file, of the directory it is in, and of the mount."""
    data = (SECRETS / "..data").resolve()
    paths = [SECRETS.parent, SECRETS, data, *(data / name for name in files())]
    looked = {str(path): path.stat() for path in paths}
    return {path: [oct(at.st_mode & 0o7777), at.st_uid, at.st_gid] for path, at in looked.items()}


def on_hup(*_: object) -> None:
    tell("signal", files=files())


def on_term(*_: object) -> None:
    tell("term")
    time.sleep(PAUSE)
    tell("end", files=files())
    os._exit(0)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = json.dumps(reader.counted if self.path == "/pair" else files())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.encode())

    def do_POST(self) -> None:
        tell("post", path=self.path, files=files())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Pair(threading.Thread):
    """Reads two files through one generation, over and over, and counts those that did not fit together."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.counted = {"reads": 0, "mixed": 0, "missing": 0, "values": 0}
        self.distinct: set[str] = set()

    def run(self) -> None:
        while True:
            data = (SECRETS / "..data").resolve()
            try:
                first = (data / PAIR[0]).read_text()
                time.sleep(0.001)  # so that most of the time it is within a pair
                second = (data / PAIR[1]).read_text()
            except FileNotFoundError:
                self.counted["missing"] += 1
                continue
            self.counted["reads"] += 1
            self.counted["mixed"] += first != second
            self.distinct.add(first)
            self.counted["values"] = len(self.distinct)


def watch(path: str) -> None:
    """Tell of each event that inotify has for a file in its directory."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init()
    directory, name = os.path.split(path)
    if libc.inotify_add_watch(handle, directory.encode(), CLOSE_WRITE | ATTRIB | MOVED_TO | CREATE) < 0:
        tell("unwatched", errno=ctypes.get_errno())
        return
    tell("watching")
    while True:
        buffer = os.read(handle, 65536)
        while buffer:
            _, mask, _, length = struct.unpack_from("iIII", buffer)
            found = buffer[16 : 16 + length].rstrip(b"\0").decode()
            buffer = buffer[16 + length :]
            if found == name:
                tell("touched", mask=mask, files=files())


signal.signal(signal.SIGHUP, on_hup)
signal.signal(signal.SIGTERM, on_term)
reader = Pair()
if PAIR:
    reader.start()
tell("start", files=files(), uid=os.getuid(), gid=os.getgid(), groups=os.getgroups(), modes=modes() if files() else {})
if "once" in sys.argv:
    tell("done")
    sys.exit(0)
if TOUCHED:
    threading.Thread(target=watch, args=(TOUCHED,), daemon=True).start()
http.server.ThreadingHTTPServer(("", 8080), Page).serve_forever()
