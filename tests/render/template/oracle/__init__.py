"""The oracle: Go's text/template with sprig, and Go's regexp, built from the program beside this file."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

HERE = Path(__file__).parent
_SOURCES = [HERE / name for name in ("main.go", "go.mod", "go.sum")]


@functools.cache
def _built() -> Path | None:
    """The program, built anew when its source has changed; None where it cannot be built."""
    if shutil.which("go") is None:
        return None
    stamp = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:16]
    at = ROOT / ".cache" / "template-oracle" / stamp
    if not at.exists():
        at.parent.mkdir(parents=True, exist_ok=True)
        made = at.with_name(f"{stamp}.{os.getpid()}")
        done = subprocess.run(
            ["go", "build", "-o", str(made), "."], cwd=HERE, capture_output=True, timeout=300, check=False
        )
        if done.returncode:
            return None
        made.replace(at)
    return at


def needed() -> Path:
    """The program, for a test that cannot do without; the test is skipped where Go is not, and fails in CI."""
    program = _built()
    if program is None:
        missing = "Go is not here, or its module proxy is not reached: templates are not compared with the real thing"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return program


def ask(requests: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The answer to each request, in order."""
    asked = "\n".join(json.dumps(request) for request in requests)
    said = subprocess.run([needed()], input=asked.encode(), capture_output=True, check=True, timeout=300).stdout
    return map(json.loads, said.splitlines())
