"""`freshmount check`, and the first step of every command with a config: read it."""

from __future__ import annotations

import os

from agent.config import native
from agent.core.model import Config
from agent.triggers import config_file


def check(path: str) -> int:
    """Validate the config at `path`, offline. Prints a warning for what looks like a mistake. Returns 0. Raises
    ConfigError."""
    _, found = load(path)
    print(f"{path}: ok: {found.bundle.contents}")
    for doubt in native.doubts(found):
        print(f"{path}: warning: {doubt}")
    return 0


def load(path: str) -> tuple[str, Config]:
    """The text of the file and what it means. Raises ConfigError with every problem, or if it cannot be read."""
    text = config_file.read(path)
    return text, meaning(text, path)


def meaning(text: str, path: str) -> Config:
    """What the text of the config at `path` means here, with what the environment adds. Raises ConfigError."""
    given, named = native.parse(text, path, environment()), os.environ.get
    found = native.with_hub(given, named("FRESHMOUNT_HUB_URL"), path, named("FRESHMOUNT_HUB_OWN_LOOKS"))
    signal = os.environ.get("FRESHMOUNT_SIGNAL")
    if signal is None:
        return found
    from agent.config import flags  # few use it

    return flags.with_signal(found, signal)


def environment() -> str | None:
    """The region that the environment sets."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
