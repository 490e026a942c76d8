"""What can be said of the image without an engine; `make image-test` runs the built one for real."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from image import assemble
from tests.support.answers import Answer, Answers, Asked
from tests.support.paths import ROOT

HOME = ROOT
LOCKS = {name: (HOME / f"requirements{name}.lock").read_text() for name in ("", "-controller")}
MANIFEST = b'{"schemaVersion": 2}'


def locked(name: str) -> dict[str, str]:
    """Library → its lines in that lock."""
    return {block.split("==")[0]: block for block in re.split(r"\n(?=[a-z])", LOCKS[name]) if "==" in block}


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_every_dependency_with_hashes(name: str) -> None:
    """A dependency added to setup.cfg and not to the lock breaks the build here; `make lock` mends it."""
    setup = configparser.ConfigParser()
    setup.read(HOME / "setup.cfg")
    extra = setup["options.extras_require"]["controller"] if name else ""
    lines = f"{setup['options']['install_requires']}\n{extra}".split()
    assert {re.split(r"[<>=\[]", line)[0] for line in lines} <= locked(name).keys()
    assert [library for library, block in locked(name).items() if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_names_no_registry(name: str) -> None:
    """It installs from whichever index a builder uses."""
    lock = LOCKS[name]
    assert "://" not in lock and "--index" not in lock and "--find-links" not in lock


def test_the_controller_has_the_libraries_of_the_sidecar() -> None:
    """In the same versions, so that one look for known vulnerabilities serves both; and the sidecar has none of the
    controller's own."""
    versions = {name: {library: block.split()[0] for library, block in locked(name).items()} for name in LOCKS}
    assert versions[""].items() < versions["-controller"].items()
    assert not {"aiohttp", "cryptography", "lightkube"} & versions[""].keys()


def test_what_each_image_has_of_the_agent(tmp_path: Path) -> None:
    """The sidecar's all but the controller, the controller's all; the demo is in neither."""

    def laid_out(name: str, without: tuple[str, ...]) -> set[str]:
        ours = assemble.copy_agent(HOME / "agent", tmp_path / name, without) / "agent"
        return {path.relative_to(ours).as_posix() for path in ours.rglob("*.py")}

    whole = {path.relative_to(HOME / "agent").as_posix() for path in (HOME / "agent").rglob("*.py")}
    controller = laid_out("controller", assemble.NOT_IN_AGENT)
    assert controller == {path for path in whole if not path.startswith("demo/")}
    only = {path for path in controller if path.startswith("controller/")} | {"commands/controller.py"}
    assert len(only) > 4
    assert laid_out("sidecar", assemble.NOT_IN_AGENT + assemble.OF_CONTROLLER) == controller - only


def test_without_it_the_command_names_the_other_image(tmp_path: Path) -> None:
    """Whatever flags were given; and the help says so, too."""
    without = assemble.NOT_IN_AGENT + assemble.OF_CONTROLLER
    shutil.copytree(HOME / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns(*without))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    told = {}
    for argv in (("controller", "--hub", "--listen", ":1"), ("--help",)):
        # Without `site`, by which an editable installation would be found.
        command = [sys.executable, "-S", "-c", "from agent.launch import entry; entry()", *argv]
        told[argv[0]] = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert told["controller"].returncode == 1 and "the image freshmount-controller" in told["controller"].stderr
    assert told["--help"].returncode == 0 and "freshmount-controller has it" in " ".join(told["--help"].stdout.split())


def registered(asked: Asked) -> Answer:
    """As registries are: a manifest for who shows a token, which anybody gets."""
    if asked.path == "/token?service=here&scope=repository%3Alibrary%2Fpython%3Apull":
        return Answer(b'{"token": "t0"}')
    if asked.path != "/v2/library/python/manifests/3.13-slim":
        return Answer(status=404)
    if asked.headers.get("Authorization") != "Bearer t0":
        realm = f"http://{asked.headers['Host']}/token"
        scope = f'Bearer realm="{realm}",service="here",scope="repository:library/python:pull"'
        return Answer(status=401, headers=(("WWW-Authenticate", scope),))
    assert "application/vnd.oci.image.index.v1+json" in asked.headers["Accept"]
    return Answer(MANIFEST)


@pytest.fixture
def registry() -> Iterator[str]:
    with Answers(registered) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("before", ["", f"@sha256:{'0' * 64}"])
def test_the_base_is_pinned_to_what_its_registry_has(registry: str, tmp_path: Path, before: str) -> None:
    """By a digest of the very manifest; only that line changes."""
    dockerfile = tmp_path / "Dockerfile"
    base = f"ARG BASE={registry}/library/python:3.13-slim"
    dockerfile.write_text(f"# first\n{base}{before}\n\nFROM ${{BASE}} AS build\n")
    done = pin(dockerfile)
    pinned = f"{base}@sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
    assert (done.returncode, done.stdout) == (0, f"{pinned}\n"), done.stderr
    assert dockerfile.read_text() == f"# first\n{pinned}\n\nFROM ${{BASE}} AS build\n"


def test_nothing_is_pinned_to_what_no_registry_told(registry: str, tmp_path: Path) -> None:
    """A name that it does not have, and a registry that is away."""
    for name in (f"{registry}/library/python:9", "127.0.0.1:9/library/python:3.13-slim"):
        dockerfile = tmp_path / "Dockerfile"
        dockerfile.write_text(f"ARG BASE={name}\n")
        done = pin(dockerfile)
        assert done.returncode == 1 and name.partition("/")[0] in done.stderr and "Traceback" not in done.stderr
        assert dockerfile.read_text() == f"ARG BASE={name}\n"


def pin(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(HOME / "image/base_digest.py"), str(dockerfile)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


PINNED = f"python:3.13-slim@sha256:{'1' * 64}"
FULL = "docker.io/library/python:3.13-slim"


@pytest.mark.parametrize(
    ("asked", "here", "remote", "name"),
    [
        (["python:3.13-slim"], "", FULL, FULL),
        (["python:3.13-slim"], "python:3.13-slim", "", "python:3.13-slim"),
        ([PINNED], "python:3.13-slim", f"docker.io/library/{PINNED}", f"docker.io/library/{PINNED}"),
        ([PINNED], "python:3.13-slim", "", "python:3.13-slim"),
        ([PINNED, "--exactly"], "python:3.13-slim", "", None),
        (["mirror.example/python:3.13"], "", "mirror.example/python:3.13", "mirror.example/python:3.13"),
        (["team/python:3.13", "--exactly"], "", "docker.io/team/python:3.13", "docker.io/team/python:3.13"),
    ],
)
def test_the_base_that_is_built_on(tmp_path: Path, asked: list[str], here: str, remote: str, name: str | None) -> None:
    """What is asked for, if it can be had; nothing else ever goes by a name with a digest."""
    engine = tmp_path / "podman"
    engine.write_text(
        "#!/bin/sh\n"
        f'[ "$1" != tag ] || echo "$3" >>{tmp_path}/tagged\n'
        f'case "$1 $2 $3" in tag* | "image inspect {here or "-"}" | "pull --quiet {remote or "-"}") exit 0 ;; esac\n'
        "exit 1\n"
    )
    engine.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ENGINE": "podman", "HOME": str(tmp_path)}
    done = subprocess.run([HOME / "image/base.sh", *asked], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == (f"{name}\n" if name else ""), done.stderr
    assert done.returncode == (0 if name else 1)
    tagged = tmp_path / "tagged"
    assert not tagged.exists() or tagged.read_text() == f"{asked[0].partition('@')[0]}\n"
    assert ("cannot be pulled" in done.stderr) == (name is None or (asked == [PINNED] and remote == ""))
