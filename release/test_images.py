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
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import __version__
from release import images, sums
from tests.support.aws import MotoStandIn
from tests.support.paths import ROOT

NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
ARCHES = os.environ.get("RELEASE_ARCHES", NATIVE).split(",")
KINDS = [(name, arch) for arch in ARCHES for name in images.NAMES.values()]
EACH = pytest.mark.parametrize(("name", "arch"), KINDS)


def engine(script: str) -> str:
    """What a line of shell says that may use "$ENGINE"."""
    line = f"set -eu; . image/engine.sh; {script}"
    return subprocess.run(["bash", "-c", line], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def make(out: Path) -> Path:
    options = ("--only", "images,sums", "--arch", ",".join(ARCHES), "--out", str(out))
    subprocess.run([sys.executable, "-m", "release", *options, __version__], cwd=ROOT, check=True)
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made"))


def archive(made: Path, name: str, arch: str) -> Path:
    return made / f"{name}-{__version__}-linux-{arch}.oci.tar"


def blob(path: Path, digest: str) -> dict[str, Any]:
    with tarfile.open(path) as files:
        found = files.extractfile("blobs/" + digest.replace(":", "/"))
        assert found
        said: dict[str, Any] = json.load(found)
        return said


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of the image, which the digest leads to."""
    return blob(path, sums.digest(path))


@EACH
def test_an_archive_says_what_it_is(made: Path, name: str, arch: str) -> None:
    """Of this commit, at the commit's time, and for that architecture."""
    path = archive(made, name, arch)
    said = blob(path, manifest(path)["config"]["digest"])
    git = ["git", "-C", str(ROOT), "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%H %cd"]
    env = os.environ | {"TZ": "UTC"}
    commit, when = subprocess.run(git, env=env, capture_output=True, text=True, check=True).stdout.split()
    assert (said["architecture"], said["os"], said["created"]) == (arch, "linux", when)
    assert said["config"]["User"] == "65532:65532"
    labels = said["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == commit
    assert labels["org.opencontainers.image.version"] == __version__
    assert sums.digest(archive(made, name, arch)) in (made / "RELEASE_NOTES.md").read_text()


LOCKED = "--rm --read-only --cap-drop ALL --security-opt no-new-privileges"


@contextmanager
def loaded(path: Path) -> Iterator[str]:
    """The id by which the engine knows the image of an archive."""
    found = engine(f'"$ENGINE" load --quiet --input {path} | sed "s/.*: //"').strip()
    try:
        yield found
    finally:
        engine(f'"$ENGINE" rmi {found} >/dev/null')


@EACH
def test_an_image_runs_from_its_archive(made: Path, name: str, arch: str) -> None:
    with loaded(archive(made, name, arch)) as image:
        said = engine(f'"$ENGINE" run {LOCKED} --network none {image} --version')
        assert said == f"freshmount {__version__}\n"


@EACH
def test_init_fills_a_volume(made: Path, name: str, arch: str) -> None:
    """From a stand-in for AWS; the controller's image has the agent, too."""
    secret = f"{name}-{arch}"
    with MotoStandIn() as aws, tempfile.TemporaryDirectory(dir="/dev/shm") as home:
        arn = aws.put(secret, json.dumps({"password": "pw-1"}))
        os.chown(home, 0, 65532)
        Path(home).chmod(0o3777)  # as kubelet leaves it
        keys = "--env AWS_ACCESS_KEY_ID=x --env AWS_SECRET_ACCESS_KEY=x"
        with loaded(archive(made, name, arch)) as image:
            options = f"{LOCKED} --network host --volume {home}:/freshmount {keys}"
            options += f" --env AWS_ENDPOINT_URL_SECRETS_MANAGER={aws.url}"
            engine(f'"$ENGINE" run {options} {image} init --secret db={arn}')
        assert (Path(home) / "secrets" / "db" / "password").read_text() == "pw-1"


@pytest.mark.parametrize("arch", ARCHES)
def test_both_images_have_one_interpreter(made: Path, arch: str) -> None:
    """A layer that a node fetches once."""
    sidecar, other = (manifest(archive(made, name, arch))["layers"] for name in images.NAMES.values())
    assert sidecar[0] == other[0] and sidecar[1:] != other[1:]


def test_a_second_time_makes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    """Nothing of the first time is used: a release is built without the engine's cache."""
    assert (make(tmp_path) / sums.SUMS).read_text() == (made / sums.SUMS).read_text()


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
