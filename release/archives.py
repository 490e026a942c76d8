"""Archives without what differs from one run to the next: the order, times and owners of their members."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any


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


def settle_history(path: Path) -> None:
    """Write an OCI archive anew, without what podman notes in the image's history: the ids of images on its way there,
    which are others in each build. The digest of the image becomes another."""
    with tarfile.open(path) as archive:
        files = {it.name: archive.extractfile(it).read() for it in archive if it.isfile()}  # type: ignore[union-attr]
    index = json.loads(files["index.json"])
    (at,) = index["manifests"]
    manifest = json.loads(files.pop(_blob(at)))
    config = json.loads(files.pop(_blob(manifest["config"])))
    for step in config["history"]:
        step.pop("comment", None)
    _put(files, manifest["config"], config)
    _put(files, at, manifest)
    files["index.json"] = json.dumps(index).encode()
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _blob(at: dict[str, Any]) -> str:
    return "blobs/" + str(at["digest"]).replace(":", "/")


def _put(files: dict[str, bytes], at: dict[str, Any], value: object) -> None:
    content = json.dumps(value).encode()
    at |= {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}
    files[_blob(at)] = content
