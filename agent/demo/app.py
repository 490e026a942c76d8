"""The small app of the demo: reads two secrets as the reader's contract says, and reloads on SIGHUP.

It runs as its own process: ``python -m agent.demo.app VOLUME PID_FILE``. Each line that it prints is a JSON object.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

_PAUSE = 0.002  # seconds between two reads


def read_pair(volume: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both secrets, of one generation: `..data` is opened once, and both are read beneath that handle."""
    data = os.open(os.path.join(volume, "..data"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _read(data, "db.json"), _read(data, "api.json")
    finally:
        os.close(data)


def _read(directory: int, name: str) -> dict[str, Any]:
    with open(name, encoding="utf-8", opener=lambda path, flags: os.open(path, flags, dir_fd=directory)) as handle:
        found = json.load(handle)
    if not isinstance(found, dict):
        raise ValueError(name)  # noqa: TRY004 as for what is no JSON at all
    return found


def main(volume: str, pid_file: str) -> None:
    """Read until SIGTERM, then tell how the reads went. A pair is mixed when db and api are of different rotations."""
    asked: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _frame: asked.append(number))
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which ends us
    with open(pid_file, "w", encoding="ascii") as handle:
        handle.write(str(os.getpid()))
    counts = {"reads": 0, "torn": 0, "mixed": 0, "signals": 0}
    seen, reloaded = "", False
    while signal.SIGTERM not in asked:
        told = signal.SIGHUP in asked  # before the read: what is read then is what we were told of
        try:
            db, api = read_pair(volume)
        except (OSError, ValueError):
            counts["torn"] += 1
            continue
        counts["reads"] += 1
        # Whoever rotates by hand may leave keys out.
        password, token = str(db.get("password", "")), str(api.get("token", ""))
        counts["mixed"] += db.get("together") != api.get("together")
        if password != seen:
            seen = password
            _say(event="file", password=seen)
        if told:
            asked.remove(signal.SIGHUP)
            counts["signals"] += 1
        if told or not reloaded:
            reloaded = True
            _say(event="using", db=password, api=token, signals=counts["signals"])
        time.sleep(_PAUSE)
    _say(event="end", **counts)


def _say(**fields: Any) -> None:
    print(json.dumps({"at": time.time(), **fields}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
