"""Find a `property` of a secret's text, as the External Secrets Operator does."""

from __future__ import annotations

from agent.core.errors import ProjectionError, shown
from agent.render import gjson, gjson_scan

_SHOWN = 20  # keys that an error lists


def found(content: bytes, wanted: str, where: str, of: str) -> bytes:
    """The bytes of what is found: a string's text, null as nothing, anything else as it is written but for fractions.
    Raises ProjectionError with the keys that there are; `of` names the secret."""
    text = content.decode("utf-8", "surrogateescape")
    there = gjson.lookup(text, wanted)
    if there is None:
        raise ProjectionError(f"{where}: {of} has no property {wanted!r}; {_keys_of(text)}")
    return there.encode("utf-8", "surrogateescape")


def _keys_of(text: str) -> str:
    """The keys that exist, for who named another."""
    whole = gjson_scan.parsed(text)
    if not gjson_scan.is_object(whole):
        return "it is not a JSON object"
    names = sorted({key.text for key, _ in gjson_scan.entries(whole)})
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"its keys are {', '.join(map(shown, names[:_SHOWN]))}{more}" if names else "it has no keys"
