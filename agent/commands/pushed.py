"""What a Kubernetes Secret holds that the injector mounted for the agent: the ARN of what was pushed to AWS."""

from __future__ import annotations

import os

MOUNTED = "/etc/freshmount/secrets"


def texts(name: str, below: str = MOUNTED) -> list[str]:
    """The text of each of its keys. Raises OSError when it is not mounted or cannot be read."""
    found = []
    for key in sorted(os.listdir(f"{below}/{name}")):
        if not key.startswith(".."):  # kubelet's own links
            with open(f"{below}/{name}/{key}", encoding="utf-8", errors="replace") as file:
                found.append(file.read())
    return found
