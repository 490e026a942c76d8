"""One input of an output: a secret's value, and its JSON, which is read once."""

from __future__ import annotations

import functools
import json
from typing import Any

from agent.core.value import SecretValue
from agent.render.json import parse


class Input:
    """A secret's value as outputs read it."""

    def __init__(self, value: SecretValue, *, nested: bool = False) -> None:
        self.value = value
        self.nested = nested
        """Whether a slash in a key of it begins a directory: it is a set, whose keys are names."""
        self.tree = functools.cache(functools.partial(parse, value))
        """The value as JSON, its numbers as they are written. Raises ProjectionError."""

    def is_object(self) -> bool:
        """Whether the value is a JSON object. Its keys may still be wrong: then `tree` says how."""
        try:
            return isinstance(json.loads(self.value.reveal()), dict)
        except (ValueError, RecursionError):
            return False

    def data(self) -> Any:
        """The JSON object, or the text of anything else. Raises ProjectionError for bytes that are no text."""
        if self.is_object():
            return self.tree()
        return self.value.reveal().decode("utf-8", "surrogateescape")
