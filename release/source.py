"""What a release is made of: the tracked files of this repository, its commit, and the version that they name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
VERSION = r"[0-9]+\.[0-9]+\.[0-9]+"  # no pre-releases: Python and Helm write them differently
FORM = re.compile(VERSION)
ARCHES = ("amd64", "arm64")  # of the images
_IMAGE = rf"\bfreshmount(?:-controller)?:({VERSION})\b"
# Where the version is written: files, and a pattern with one group around each version.
PLACES = (
    ("agent/__init__.py", rf'^__version__ = "({VERSION})"'),
    ("Dockerfile", rf"^ARG VERSION=({VERSION})$"),
    ("charts/*/Chart.yaml", rf'^(?:appV|    v|v)ersion: "?({VERSION})"?$'),
    ("charts/*/README.md*", rf"^Version ({VERSION}), for (?:agent|controller)\b"),
    ("charts/*/README.md*", rf"^Version {VERSION}, for (?:agent|controller) ({VERSION})"),
    ("charts/*/README.md*", rf"\bname: freshmount,(?: alias: \w+,)? version: ({VERSION})"),
    ("charts/*/README.md*", rf"^\| file://\.\./freshmount \| freshmount \| ({VERSION}) \|"),
    ("*.md", _IMAGE),
    ("docs/**/*.md", rf"^freshmount ({VERSION}), started "),
    ("docs/**/*.md", _IMAGE),
    ("examples/**/*.md", _IMAGE),
    ("examples/**/*.yaml", _IMAGE),
)


class Refused(Exception):
    """Nothing can be made. Says why, and what must be changed."""


class Source(NamedTuple):
    """The files in `home`, of `commit`, whose time is `epoch` (seconds). `final`: a release, and not a trial."""

    home: Path
    version: str
    commit: str
    epoch: int
    final: bool


class Place(NamedTuple):
    """One version in a file: its line, and where in the file's text the version stands."""

    path: Path
    line: int
    start: int
    end: int
    version: str


def places(home: Path) -> list[Place]:
    """Every place that names the version, in the order of PLACES."""
    found = []
    for pattern, expression in PLACES:
        for path in sorted(home.glob(pattern)):
            if path.name == "CHANGELOG.md":
                continue
            text = path.read_text()
            for hit in re.finditer(expression, text, re.MULTILINE):
                found.append(Place(path, text.count("\n", 0, hit.start(1)) + 1, *hit.span(1), hit[1]))
    return found


def write(home: Path, version: str) -> list[Path]:
    """Write the version in every place; the files that changed."""
    changed = {place.path for place in places(home) if place.version != version}
    for path in changed:
        text = path.read_text()
        # From the end on, so that the earlier places stay where they are.
        for place in sorted((it for it in places(home) if it.path == path), key=lambda it: -it.start):
            text = text[: place.start] + version + text[place.end :]
        path.write_text(text)
    return sorted(changed)


def take(version: str, home: Path, *, final: bool) -> Source:
    """Copy the tracked files, as they are in the working tree, into the empty directory `home`.

    Raises Refused where the repository is not this version, or is not a Git repository. With `final`, also where a
    file is not as it was committed, the commit has no tag `v<version>`, CHANGELOG.md has no section for it, or the
    Dockerfile's base has no digest.
    """
    if not FORM.fullmatch(version):
        raise Refused(f"{version!r} is not a version such as 0.1.0")
    commit, epoch = _git("log", "-1", "--format=%H %ct").split()
    wrong = [place for place in places(ROOT) if place.version != version]
    if wrong:
        lines = "\n".join(f"  {it.path.relative_to(ROOT)}:{it.line} says {it.version}" for it in wrong)
        raise Refused(
            f"this is not version {version}; `make version VERSION={version}` writes it in these places:\n{lines}"
        )
    changed = _git("status", "--porcelain", "--untracked-files=no")
    if final:
        _must_be_final(version, changed)
    for entry in filter(None, _git("ls-files", "--stage", "-z").split("\0")):
        mode, name = entry.split(" ", 1)[0], entry.split("\t", 1)[1]
        _copy(ROOT / name, home / name, mode)
    return Source(home, version, commit + ("-dirty" if changed else ""), int(epoch), final)


def _must_be_final(version: str, changed: str) -> None:
    if changed:
        raise Refused(f"these files are not as they were committed; commit or restore them:\n{changed.rstrip()}")
    if f"v{version}" not in _git("tag", "--points-at", "HEAD").split():
        raise Refused(f"the commit has no tag v{version}; set it, or leave --final out to try")
    if section((ROOT / "CHANGELOG.md").read_text(), version) is None:
        raise Refused(f"CHANGELOG.md has no section `## {version}`; give `## Unreleased` this name, with the date")
    if "@sha256:" not in base(ROOT):
        raise Refused("the Dockerfile's base has no digest; run `make base-digest` where its registry is reached")


def base(home: Path) -> str:
    """The base image, as the Dockerfile names it."""
    found = re.search(r"^ARG BASE=(\S+)", (home / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return found[1]


def section(changelog: str, name: str) -> str | None:
    """The text of one section (`## name`, perhaps with more behind it) of a changelog, or None."""
    found = re.search(rf"^## {re.escape(name)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() + "\n" if found else None


def _copy(path: Path, to: Path, mode: str) -> None:
    """One tracked file, with the mode that Git knows and not with this machine's umask."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if mode == "120000":
        to.symlink_to(os.readlink(path))
    elif path.exists():  # or it was removed, but not yet in Git
        shutil.copyfile(path, to)
        to.chmod(0o755 if mode == "100755" else 0o644)


def _git(*argv: str) -> str:
    try:
        return subprocess.run(["git", "-C", ROOT, *argv], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise Refused("git is not installed, and a release is made of a commit") from None
    except subprocess.CalledProcessError as error:
        raise Refused(f"a release is made of a commit, but git says: {error.stderr.strip()}") from None
