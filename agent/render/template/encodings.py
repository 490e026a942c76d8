"""sprig's encodings and sums of bytes, and ESO's hexdec."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable

from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.quoted import decoded, encoded

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _decoder(decode: Callable[[bytes], bytes], name: str) -> Callable[[str], str]:
    """Go's decoders leave out line ends, and nothing else."""

    def does(text: str) -> str:
        try:
            made = decode(encoded(text).replace(b"\n", b"").replace(b"\r", b""))
        except (binascii.Error, ValueError):
            made = None
        if made is None:
            raise Unfit(f"the text is not {name}, and sprig would put its error into the file")
        return decoded(made)

    return does


def _unbased(content: bytes) -> bytes:
    if len(content) % 4 or content.endswith(b"==="):  # which Python decodes: padding that is too much
        raise ValueError
    return base64.b64decode(content, validate=True)


def _unhexed(content: bytes) -> bytes:
    return binascii.unhexlify(content)


_add("b64enc", lambda text: base64.b64encode(encoded(text)).decode(), "string")
_add("b64dec", _decoder(_unbased, "base64"), "string")
_add("b32enc", lambda text: base64.b32encode(encoded(text)).decode(), "string")
_add("b32dec", _decoder(base64.b32decode, "base32"), "string")
_add("hexdec", _decoder(_unhexed, "hexadecimal"), "string")
_add("sha1sum", lambda text: hashlib.sha1(encoded(text), usedforsecurity=False).hexdigest(), "string")
_add("sha256sum", lambda text: hashlib.sha256(encoded(text)).hexdigest(), "string")
_add("sha512sum", lambda text: hashlib.sha512(encoded(text)).hexdigest(), "string")
_add("adler32sum", lambda text: str(zlib.adler32(encoded(text))), "string")
