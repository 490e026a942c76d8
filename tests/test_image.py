"""What can be said of the image without an engine; `make image-test` runs the built one for real."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

HOME = Path(__file__).parent.parent
LOCK = (HOME / "requirements.lock").read_text()


def test_the_lock_has_every_dependency_with_hashes() -> None:
    """A dependency added to setup.cfg and not to the lock breaks the build here; `make lock` mends it."""
    setup = configparser.ConfigParser()
    setup.read(HOME / "setup.cfg")
    wanted = {re.split(r"[<>=\[]", line)[0] for line in setup["options"]["install_requires"].split()}
    blocks = re.split(r"\n(?=\S)", LOCK)
    locked = {block.split("==")[0]: block for block in blocks if "==" in block}
    assert wanted <= locked.keys()
    assert [name for name, block in locked.items() if "--hash=sha256:" not in block] == []


def test_the_lock_names_no_registry() -> None:
    """It installs from whichever index a builder uses."""
    assert "http" not in LOCK and "--index" not in LOCK and "--find-links" not in LOCK
