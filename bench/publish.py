"""Run by the measured interpreter: ``publish.py DIRECTORY PAIRS`` prints [[bare, ours], …], seconds per 1,000 files.

`bare` is a lower bound: open, write, fsync and rename as the volume does them, in a loop with nothing around.
"""

import json
import os
import random
import sys
import time

from agent.core.model import Entry, Publication
from agent.core.value import ProjectedFile, SecretValue
from agent.sinks.volume.volume import Volume

FILES = 1000
CONTENT = b"x" * 200


def bare(root: int, generation: int) -> float:
    """One directory of files, then one rename of a link to it."""
    began = time.perf_counter()
    name = f"bare-{generation}"
    os.mkdir(name, 0o700, dir_fd=root)
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    for number in range(FILES + 1):  # with the manifest
        file = os.open(f"f{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0, dir_fd=handle)
        os.fchmod(file, 0o440)
        os.write(file, CONTENT)
        os.fsync(file)
        os.fstat(file)
        os.close(file)
    os.fchmod(handle, 0o755)
    os.fsync(handle)
    os.close(handle)
    os.symlink(name, "aside", dir_fd=root)
    os.rename("aside", "bare", src_dir_fd=root, dst_dir_fd=root)
    os.fsync(root)
    return time.perf_counter() - began


def ours(volume: Volume) -> float:
    """The same by the volume, all of it changed, in one directory, with manifest and read-back."""
    published = volume.read()
    tag = str(random.random())
    files = {f"d/f{n}": ProjectedFile(SecretValue(CONTENT, text=False), 0o440) for n in range(FILES)}
    entry = Entry(version_id=tag, stages=("AWSCURRENT",), fingerprint=tag, created_at=None, changed=True, files=files)
    began = time.perf_counter()
    volume.publish(Publication(entries={"s": entry}, accepted={}), published)
    return time.perf_counter() - began


def main(home: str, pairs: int) -> None:
    root = os.open(home, os.O_RDONLY)
    volume = Volume(os.path.join(home, "volume"))
    found = [(bare(root, turn), ours(volume)) for turn in range(pairs + 1)]
    print(json.dumps(found[1:]))


main(sys.argv[1], int(sys.argv[2]))
