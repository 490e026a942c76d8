"""The sdist and the wheel, and what is known of the libraries that they ask for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from release import archives
from release.source import Refused, Source

_BIN = Path(sys.executable).parent
LOCKS = {"package": "requirements.lock", "package-controller": "requirements-controller.lock"}


def make(source: Source, out: Path) -> None:
    """freshmount-X.tar.gz, freshmount-X-py3-none-any.whl (built from it), and an SBOM for each lock."""
    env = os.environ | {"SOURCE_DATE_EPOCH": str(source.epoch)}
    # setuptools itself is locked by its hash, too.
    locked = ("--build-constraints", source.home / "release/build.lock", "--require-hashes")
    _run([_BIN / "uv", "build", "--quiet", "--no-config", *locked, "--out-dir", out, source.home], env)
    archives.settle(out / f"freshmount-{source.version}.tar.gz", source.epoch)
    (out / ".gitignore").unlink(missing_ok=True)  # uv's
    for what, lock in LOCKS.items():
        _bom(source, source.home / lock, out / f"freshmount-{source.version}-{what}.cdx.json", env)


def _bom(source: Source, lock: Path, to: Path, env: dict[str, str]) -> None:
    """The lock as CycloneDX, by cyclonedx-py, with the graph that the lock tells in its comments (`# via`)."""
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "pyproject.toml"
        project.write_text(f'[project]\nname = "freshmount"\nversion = "{source.version}"\nlicense = "Apache-2.0"\n')
        options = ("--pyproject", project, "--output-reproducible", "--no-validate", "--output-file", to, lock)
        _run([_BIN / "cyclonedx-py", "requirements", *options], env)
    bom: dict[str, Any] = json.loads(to.read_text())
    root = bom["metadata"]["component"]
    root["purl"] = f"pkg:pypi/freshmount@{source.version}"
    refs = {it["name"]: it["bom-ref"] for it in bom["components"]} | {"freshmount": root["bom-ref"]}
    needs: dict[str, set[str]] = {ref: set() for ref in refs.values()}
    for name, by in asked_by(lock.read_text()).items():
        for other in by:
            needs[refs[other]].add(refs[name])
    bom["dependencies"] = [{"ref": ref, "dependsOn": sorted(of)} for ref, of in sorted(needs.items())]
    for component in bom["components"]:
        del component["description"]  # the line of the lock
    to.write_text(json.dumps(bom, indent=2, sort_keys=True) + "\n")


def asked_by(lock: str) -> dict[str, list[str]]:
    """For each library of a lock: what asks for it, as uv writes it behind `# via`."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"^(?=\w)", lock, flags=re.MULTILINE)[1:]:
        comments = re.findall(r"^    # (?:via)?(.*)$", block, re.MULTILINE)
        names = [re.match(r" *(\w[\w.-]*)", text) for text in comments]  # not `-c requirements.lock`
        found[block.partition("==")[0]] = [name[1] for name in names if name]
    return found


def _run(argv: list[str | Path], env: dict[str, str]) -> None:
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"{Path(argv[0]).name} {argv[1]} failed:\n{done.stderr.strip()}")
