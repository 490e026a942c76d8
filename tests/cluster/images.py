"""The images of the node's containers: those of this machine's engine, and pause, brought into containerd."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from tests.cluster.node import Node, Unusable

ROOT = Path(__file__).parent.parent.parent


def built_name(repository: str = "freshmount") -> str:
    """The image that `make image` makes, or `make controller-image`."""
    text = (ROOT / "agent" / "__init__.py").read_text()
    return f"{repository}:" + text.partition('__version__ = "')[2].partition('"')[0]


def is_built(image: str) -> bool:
    """Whether this machine's engine has it."""
    return _engine("image", "inspect", image).returncode == 0


def load_pause(node: Node) -> None:
    """The image that kubelet starts each pod with."""
    load_program(node, "localhost/pause:1", Path(node.programs["pause"]) / "pause")


def load_program(node: Node, name: str, program: Path) -> None:
    """An image of one program, linked statically, and nothing else. Nothing is done if the node has that content."""
    content = program.read_bytes()
    _once(node, name, hashlib.sha256(content).hexdigest(), lambda name: _archive(name, program.name, content))


def build(image: str, directory: Path) -> None:
    """Let this machine's engine have an image, from the Dockerfile of a directory. Needs the network.

    Raises `Unusable` with the engine's last lines.
    """
    script = '. image/engine.sh; "${BUILD[@]}" --network host --tag "$1" "$2"'
    done = subprocess.run(
        ["bash", "-c", script, "build", image, str(directory)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        raise Unusable(f"{image} cannot be built from {directory.relative_to(ROOT)}/Dockerfile:\n{said}")


def load_all(node: Node, images: Iterable[str]) -> None:
    """Several at once."""
    with ThreadPoolExecutor() as pool:
        for loaded in [pool.submit(load, node, image) for image in images]:
            loaded.result()


def load(node: Node, image: str) -> None:
    """Let the node have what this machine's engine has under that name. Nothing is done if it has it already."""
    found = _engine("image", "inspect", "--format", "{{.Id}}", image)
    if found.returncode:
        raise Unusable(f"there is no image {image} here; {_how(image)}: {found.stderr.decode().strip()}")

    def saved(name: str) -> bytes:
        # A name with a host in it is the same to every engine and to containerd.
        _engine("tag", image, name)
        done = _engine("save", name)
        if done.returncode:
            raise Unusable(f"{image} cannot be saved: {done.stderr.decode().strip()}")
        return done.stdout

    _once(node, f"docker.io/library/{image}", found.stdout.decode().strip(), saved)


def _how(image: str) -> str:
    """What lets this machine's engine have an image."""
    made = {built_name(): "image", built_name("freshmount-controller"): "controller-image"}
    return f"`make {made[image]}` makes it" if image in made else "pull it with this machine's engine, or build it"


def _once(node: Node, name: str, identity: str, archive: Callable[[str], bytes]) -> None:
    noted = node.state / "images"
    noted.mkdir(exist_ok=True)
    mark = noted / quote(name, safe="")
    if not mark.exists() or mark.read_text() != identity:
        _import(node, archive(name))
        mark.write_text(identity)


def _engine(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The engine that `make image` chose, set up as it was there."""
    script = '. image/engine.sh; "$ENGINE" "$@"'
    return subprocess.run(["bash", "-c", script, "engine", *arguments], cwd=ROOT, capture_output=True, check=False)


def _import(node: Node, archive: bytes) -> None:
    ctr = f"{node.programs['containerd']}/ctr"
    command = node.within(
        ctr, "--address", "/run/containerd/containerd.sock", "--namespace", "k8s.io", "images", "import", "-"
    )
    done = subprocess.run(command, input=archive, capture_output=True, check=False)
    if done.returncode:
        raise Unusable(f"an image cannot be loaded: {done.stderr.decode().strip()}")


def _archive(name: str, program: str, content: bytes) -> bytes:
    """An image of one program and nothing else, as `docker save` would write it."""
    layer = _tar({program: content}, mode=0o755)
    digest = hashlib.sha256(layer).hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    config = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "config": {"Entrypoint": [f"/{program}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar({"config.json": config, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()})


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()
