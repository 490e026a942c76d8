"""The images of the apps in examples/, for the node: made here, since no registry gives them.

Programs in Go are compiled; node and nginx come from one image of Debian's packages (Dockerfile).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.cluster import build, images
from tests.cluster.node import Node, Unusable

HERE = Path(__file__).parent
EXAMPLES = images.ROOT / "examples"
GO = ("go", "postgres")  # image example-NAME:1


def debian() -> str:
    """The name of the image with node and nginx; another recipe makes another name."""
    recipe = hashlib.sha256((HERE / "Dockerfile").read_bytes()).hexdigest()[:12]
    return f"freshmount-examples:{recipe}"


def load(node: Node) -> None:
    """Let the node have them; makes what is not made yet. Needs the network, Go and an engine.

    Raises `Unusable`, which says which one cannot be made.
    """
    for name in GO:
        images.load_program(node, f"docker.io/library/example-{name}:1", _compiled(name))
    if not images.is_built(debian()):
        images.build(debian(), HERE)
    images.load(node, debian())


def _compiled(name: str) -> Path:
    program = build.cache() / "examples" / f"example-{name}"
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(program), "."]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run(command, cwd=EXAMPLES / name, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unusable(f"examples/{name} cannot be compiled: {done.stderr.strip()}")
    return program
