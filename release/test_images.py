"""The images of a release, built for this machine and run from their archives. `make release-test` runs it.

RELEASE_ARCHES: others too, where their programs run here.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from release import images, sums
from tests.support.paths import ROOT

NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
ARCHES = os.environ.get("RELEASE_ARCHES", NATIVE).split(",")
KINDS = [(name, arch) for arch in ARCHES for name in images.NAMES.values()]
EACH = pytest.mark.parametrize(("name", "arch"), KINDS)


def engine(script: str) -> str:
    """What a line of shell says that may use "$ENGINE"."""
    line = f"set -eu; . image/engine.sh; {script}"
    return subprocess.run(["bash", "-c", line], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    options = ("--only", "images,sums", "--arch", ",".join(ARCHES), "--out", str(out))
    subprocess.run([sys.executable, "-m", "release", *options, __version__], cwd=ROOT, check=True)
    return out


def archive(made: Path, name: str, arch: str) -> Path:
    return made / f"{name}-{__version__}-linux-{arch}.oci.tar"


def config(path: Path) -> dict[str, Any]:
    """The config of the image, which the digest leads to."""
    with tarfile.open(path) as files:

        def blob(digest: str) -> Any:
            found = files.extractfile("blobs/" + digest.replace(":", "/"))
            assert found
            return json.load(found)

        found: dict[str, Any] = blob(blob(sums.digest(path))["config"]["digest"])
        return found


@EACH
def test_an_archive_says_what_it_is(made: Path, name: str, arch: str) -> None:
    """Of this commit, at the commit's time, and for that architecture."""
    said = config(archive(made, name, arch))
    git = ["git", "-C", str(ROOT), "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%H %cd"]
    env = os.environ | {"TZ": "UTC"}
    commit, when = subprocess.run(git, env=env, capture_output=True, text=True, check=True).stdout.split()
    assert (said["architecture"], said["os"], said["created"]) == (arch, "linux", when)
    assert said["config"]["User"] == "65532:65532"
    labels = said["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == commit
    assert labels["org.opencontainers.image.version"] == __version__
    assert sums.digest(archive(made, name, arch)) in (made / "RELEASE_NOTES.md").read_text()


@EACH
def test_an_image_runs_from_its_archive(made: Path, name: str, arch: str) -> None:
    locked = "--rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges"
    said = engine(
        f'id=$("$ENGINE" load --quiet --input {archive(made, name, arch)} | sed "s/.*: //"); '
        f'"$ENGINE" run {locked} "$id" --version; "$ENGINE" rmi "$id" >/dev/null'
    )
    assert said == f"freshmount {__version__}\n"


@EACH
def test_a_bom_names_what_advisories_are_about(made: Path, name: str, arch: str) -> None:
    """Each locked library that is in the image, CPython, and of Debian's OpenSSL and glibc."""
    bom = json.loads((made / f"{name}-{__version__}-linux-{arch}.cdx.json").read_text())
    assert bom["metadata"]["component"]["version"] == __version__
    purls = [it["purl"].partition("?")[0] for it in bom["components"]]
    lock = "requirements-controller.lock" if name.endswith("controller") else "requirements.lock"
    locked = {line.split()[0] for line in (ROOT / lock).read_text().splitlines() if "==" in line}
    found = {purl.removeprefix("pkg:pypi/").replace("@", "==") for purl in purls if purl.startswith("pkg:pypi/")}
    assert found and found <= locked
    assert {"botocore", "urllib3", "pyyaml"} <= {it.partition("==")[0] for it in found}
    assert [purl for purl in purls if purl.startswith("pkg:generic/python@3.13.")]
    debian = {purl.split("@")[0].rpartition("/")[2] for purl in purls if purl.startswith("pkg:deb/")}
    assert "libc6" in debian and [it for it in debian if it.startswith("libssl3")]
    with tarfile.open(archive(made, name, arch)) as files:
        assert {member.mtime for member in files.getmembers()} == {files.getmembers()[0].mtime}
