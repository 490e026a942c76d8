"""The tables that tests are made of, which each worker reads before its first test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# libyaml's, where PyYAML was built with it, is ten times as quick; the agent does without.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def table(path: Path) -> Any:
    """What that file of YAML holds."""
    return yaml.load(path.read_text(), _LOADER)
