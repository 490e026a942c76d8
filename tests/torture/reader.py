"""One reader, flat out, as its own process: ``python -m tests.torture.reader HOW VOLUME``, until its input ends.

Every file holds a rotation's number at both ends and filling in between, so that a torn one shows. Prints its counts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter

PAIR = ("db/user", "db/password")
COMBINED = "db.json"


def content(number: int) -> str:
    """What every file of that rotation holds; its length differs from the one before."""
    return f"{number}:{'x' * (200 + 977 * (number % 5))}:{number}"


def number_in(text: str) -> int | str:
    """The rotation that a whole content is of; else what is wrong with it."""
    if not text:
        return "empty"
    number, _, rest = text.partition(":")
    return int(number) if number.isdigit() and text == content(int(number)) and rest else "torn"


def pinned(volume: str) -> list[int | str]:
    """The pair beneath one handle on `..data`, as the reader's contract says; without one on the volume itself."""
    try:
        data = os.open(os.path.join(volume, "..data"), os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        data = os.open(volume, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return [number_in(_read(path, data)) for path in PAIR]
    finally:
        os.close(data)


def by_path(volume: str) -> list[int | str]:
    """The pair, each by its path."""
    return [number_in(_read(os.path.join(volume, path))) for path in PAIR]


def combined(volume: str) -> list[int | str]:
    """Both values in one file."""
    text = _read(os.path.join(volume, COMBINED))
    try:
        return [number_in(json.loads(text)[key]) for key in ("user", "password")]
    except (ValueError, KeyError, TypeError):
        return ["torn" if text else "empty"]


def _read(path: str, directory: int | None = None) -> str:
    with open(path, encoding="utf-8", opener=lambda p, flags: os.open(p, flags, dir_fd=directory)) as handle:
        return handle.read()


READERS = {"pinned": pinned, "combined": combined, "by path": by_path}


def main(how: str, volume: str) -> None:
    """Read until the input ends."""
    read, counts, seen = READERS[how], Counter[str](), set[int]()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print("reading", flush=True)
    while not ended.is_set():
        counts["reads"] += 1
        try:
            found = read(volume)
        except FileNotFoundError:
            counts["missing"] += 1
            continue
        whole = {number for number in found if isinstance(number, int)}
        seen |= whole
        bad = [word for word in found if isinstance(word, str)]
        counts[bad[0] if bad else "mixed" if len(whole) > 1 else "good"] += 1
    print(json.dumps({**counts, "generations": len(seen)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
