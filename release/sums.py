"""What speaks of all the files of a release: its notes, and the checksums."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path

from release.source import Source, section

NOTES, SUMS = "RELEASE_NOTES.md", "SHA256SUMS"
_OURS = re.compile(
    r"(?:freshmount|freshmount-controller|controller|demo|injector)-[0-9].*|RELEASE_NOTES\.md|SHA256SUMS"
)


def ours(out: Path) -> list[Path]:
    """The files of a release that are there, by name. Whatever else lies there is left alone."""
    return sorted(path for path in out.iterdir() if _OURS.fullmatch(path.name))


def make(source: Source, out: Path) -> None:
    """RELEASE_NOTES.md, then SHA256SUMS of everything else."""
    changelog = (source.home / "CHANGELOG.md").read_text()
    changes = section(changelog, source.version) or section(changelog, "Unreleased") or ""
    images = [(path.name, digest(path)) for path in ours(out) if path.name.endswith(".oci.tar")]
    told = "".join(f"- `{name}`: `{known}`\n" for name, known in images)
    (out / NOTES).write_text(
        f"# Freshmount {source.version}\n\nCommit `{source.commit}`. `docs/release.md` says how to verify it, "
        f"and `docs/upgrade.md` what to know before an upgrade.\n\n{changes}"
        + (f"\n## Digests of the images\n\n{told}" if told else "")
    )
    (out / SUMS).unlink(missing_ok=True)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in ours(out)]
    (out / SUMS).write_text("".join(lines))


def digest(archive: Path) -> str:
    """The digest that a registry will know the image of an OCI archive by."""
    with tarfile.open(archive) as files:
        index = files.extractfile("index.json")
        assert index
        found: str = json.load(index)["manifests"][0]["digest"]
        return found
