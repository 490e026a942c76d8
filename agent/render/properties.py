"""Render files for java.util.Properties."""

from __future__ import annotations

from typing import Any

from agent.render.raw import plain

_PROPERTY_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}


def _property(text: str, *, key: bool = False) -> str:
    """A key or value, escaped for java.util.Properties. Writes all but printable ASCII as UTF-16 escapes."""
    special = " =:#!" if key else ""
    out = []
    for place, char in enumerate(text):
        if char in _PROPERTY_ESCAPES:
            out.append(_PROPERTY_ESCAPES[char])
        elif char in special or (char == " " and place == 0):
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            units = char.encode("utf-16-be", "surrogatepass")
            out.extend(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    return "".join(out)


def property_line(where: str, entry: tuple[str, Any]) -> str:
    key, item = entry
    return f"{_property(key, key=True)}={_property(plain(item, where, key))}\n"
