"""What `decodingStrategy` decodes a value from. As strict as Go: it needs padding, and leaves out line ends alone."""

from __future__ import annotations

import binascii
import re

from agent.core.external_secret import Decoding

_STANDARD = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_URL = re.compile(rb"[A-Za-z0-9_-]*={0,2}")


def decoded(content: bytes, strategy: Decoding) -> bytes | None:
    """The decoded bytes; None if they cannot be decoded. `Auto` takes what cannot be decoded as it is."""
    match strategy:
        case "Base64":
            return _base64(content, _STANDARD)
        case "Base64URL":
            return _base64(content, _URL)
        case "Auto":
            standard = _base64(content, _STANDARD)
            url = _base64(content, _URL) if standard is None else standard
            return content if url is None else url
    return content


def _base64(content: bytes, form: re.Pattern[bytes]) -> bytes | None:
    text = content.replace(b"\r", b"").replace(b"\n", b"")
    if len(text) % 4 or not form.fullmatch(text):
        return None
    try:
        return binascii.a2b_base64(text.translate(bytes.maketrans(b"-_", b"+/")))
    except binascii.Error:
        return None
