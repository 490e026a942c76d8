"""Archives without what differs from one run to the next: the order, times and owners of their members."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path


def settle(path: Path, epoch: int) -> None:
    """Write a tar or tar.gz anew: members by name, of that time (seconds), owned by root, 0644 or 0755."""
    zipped = path.name.endswith("gz")
    with tarfile.open(path) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        contents = {it.name: archive.extractfile(it).read() for it in members if it.isfile()}  # type: ignore[union-attr]
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.linkname, plain.mtime = member.type, member.linkname, epoch
            plain.mode = 0o755 if member.isdir() or (member.isfile() and member.mode & 0o100) else 0o644
            content = contents.get(member.name, b"")
            plain.size = len(content)
            archive.addfile(plain, io.BytesIO(content))
    with path.open("wb") as file:
        if zipped:
            with gzip.GzipFile("", "wb", 9, file, mtime=epoch) as writer:
                writer.write(raw.getvalue())
        else:
            file.write(raw.getvalue())
