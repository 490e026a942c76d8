"""A secret's value, which does not print."""

from __future__ import annotations

from agent.core.record import Record


class SecretValue:
    """The bytes of a secret. Neither str, repr, format nor pickle shows them; `reveal()` is the one way out."""

    __slots__ = ("_value", "text")

    def __init__(self, value: bytes, *, text: bool) -> None:
        self._value = value
        self.text = text  # True: a SecretString (UTF-8); False: a SecretBinary

    def reveal(self) -> bytes:
        """The bytes themselves, for the code that writes them to the volume."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret's value is not pickled")


class Fetched(Record):
    """One version of a secret as AWS returned it. `created_at` is epoch seconds."""

    version_id: str
    stages: tuple[str, ...]
    created_at: float | None
    value: SecretValue


class ProjectedFile(Record):
    """What one file in the volume must hold, and its mode."""

    content: SecretValue
    mode: int
