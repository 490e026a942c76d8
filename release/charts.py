"""The charts as packages of Helm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from release import archives
from release.source import Refused, Source
from tests.support.chart_tools import TOOLS, helms

LIBRARY = "freshmount"


def make(source: Source, out: Path) -> None:
    """<chart>-X.tgz for each of charts/*. Those that use the library have it in them."""
    helm = _helm()
    charts = source.home / "charts"
    for chart in sorted((path.parent for path in charts.glob("*/Chart.yaml")), key=lambda path: path.name != LIBRARY):
        if f"repository: file://../{LIBRARY}" in (chart / "Chart.yaml").read_text():
            # Not `--dependency-update`: it writes a Chart.lock with the time of day in it.
            shutil.copytree(charts / LIBRARY, chart / "charts" / LIBRARY)
        done = subprocess.run(
            [helm, "package", chart, "--destination", out], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Refused(f"helm cannot package charts/{chart.name}: {done.stderr.strip()}")
        archives.settle(out / f"{chart.name}-{source.version}.tgz", source.epoch)


def _helm() -> str:
    """The newest of `make tools`, which is the same everywhere, else the one on PATH."""
    found = sorted(TOOLS.glob("helm-of-kubectl-*"))
    if found:
        return str(found[-1])
    known = helms()
    if not known:
        raise Refused("helm is not here: `make tools` fetches it, or put one on PATH")
    return known[max(known)]
