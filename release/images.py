"""The images as OCI archives, built anew from the source, and what is in each as CycloneDX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from release import archives, sums
from release.bom import of_image
from release.source import Refused, Source, base

NAMES = {"": "freshmount", "controller": "freshmount-controller"}  # by the Dockerfile's target


def make(source: Source, out: Path, arches: tuple[str, ...]) -> None:
    """<image>-X-linux-<arch>.oci.tar and .cdx.json, for each image and architecture."""
    for arch in arches:
        for target, name in NAMES.items():
            archive = out / f"{name}-{source.version}-linux-{arch}.oci.tar"
            archive.unlink(missing_ok=True)
            _build(source, target, arch, archive, f"localhost/{name}-release:{source.version}-{arch}")
            archives.settle_history(archive)
            archives.settle(archive, source.epoch)
            bom = of_image(archive, name, source, arch, sums.digest(archive))
            archive.with_name(archive.name.replace(".oci.tar", ".cdx.json")).write_text(bom)


def _build(source: Source, target: str, arch: str, archive: Path, name: str) -> None:
    """By the script of `make image`. Not under the name of `make image`, which is for this machine."""
    # A release is made on the very base that the Dockerfile names; a trial, on a stand-in if need be.
    env = os.environ | ({"BASE": base(source.home)} if source.final else {})
    env |= {
        "ARCH": arch,
        "ARCHIVE": str(archive.resolve()),
        "PYTHON": sys.executable,
        "REVISION": source.commit,
        "SOURCE_DATE_EPOCH": str(source.epoch),
        "TARGET": target,
    }
    done = subprocess.run(
        ["image/build.sh", name], cwd=source.home, env=env, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode or not archive.exists():
        without = "make release RELEASE_ARGS='--only package,charts,sums'"
        raise Refused(f"image/build.sh made no {archive.name}; what it says is above. Without images: `{without}`")
    print(f"release: {done.stdout.strip()}", flush=True)
