"""Decode a text that a secret holds for bytes. Strict: what cannot be decoded is refused, never cut short."""

from __future__ import annotations

import base64
import binascii

from agent.core.errors import ProjectionError, shown
from agent.core.model import Encoding


def decode(content: bytes, encoding: Encoding, where: str, key: str | None) -> bytes:
    """The bytes of a text in base64, base64url (with or without padding) or hex. White space in it, such as line ends,
    is left out.

    Raises ProjectionError with the place, never with the text.
    """
    text = b"".join(content.split())
    try:
        match encoding:
            case "base64" | "base64url" if text.endswith(b"=") and (len(text) % 4 or text.endswith(b"===")):
                pass  # which b64decode decodes: padding that is too much
            case "base64":
                return base64.b64decode(text, validate=True)
            case "base64url" if b"+" in text or b"/" in text:
                pass  # which b64decode takes for - and _
            case "base64url":
                padded = text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4)
                return base64.b64decode(padded, altchars=b"-_", validate=True)
            case "hex":
                return binascii.unhexlify(text)
            case "none":
                return content
    except (binascii.Error, ValueError):
        pass
    at = f" key {shown(key)}" if key is not None else ""
    raise ProjectionError(f"{where}:{at} is not {encoding}; store it in that encoding, or remove `encoding`")
