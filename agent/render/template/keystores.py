"""ESO's functions that write PKCS#12, as base64. They need `cryptography`, which is imported when one is called.

Their salts are random, so each rendering differs. A file is rendered when a version of its secret is fetched.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.render.template import pem
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.guarded import guarded
from agent.render.template.quoted import encoded

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption
    from cryptography.x509 import Certificate

_WORK = 50_000  # units for what takes about as long
_ROUNDS = 20_000  # of the key derivation, as keytool has them

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _guarded(does: Callable[..., bytes]) -> Callable[..., str]:
    problem = "no keystore can be made of this: it takes PEM certificates, and the first one's private key"
    return guarded(lambda *given: base64.b64encode(does(*given)).decode(), _WORK, problem)


def _encryption(password: str) -> KeySerializationEncryption:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    if not password:
        return serialization.NoEncryption()
    builder = serialization.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(_ROUNDS).hmac_hash(hashes.SHA256())
    return builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).build(encoded(password))


def _certificates(text: str) -> list[Certificate]:
    from cryptography import x509

    blocks = [block for block in pem.whole(text) if block.kind == "CERTIFICATE"]
    return [x509.load_der_x509_certificate(block.content) for block in blocks]


def _keystore(text: str, key: str, password: str, *, chain: bool) -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    first, *others = _certificates(text)
    private: Any = serialization.load_pem_private_key(encoded(key), None)
    if private.public_key() != first.public_key():
        raise Unfit("the private key is not that of the first certificate")
    kept = others if chain else []
    return pkcs12.serialize_key_and_certificates(None, private, first, kept or None, _encryption(password))


def _truststore(text: str, password: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import pkcs12

    trusted = [pkcs12.PKCS12Certificate(certificate, None) for certificate in _certificates(text)]
    return pkcs12.serialize_java_truststore(trusted, _encryption(password))


_one = _guarded(lambda text, key, password="": _keystore(text, key, password, chain=False))
_full = _guarded(lambda text, key, password="": _keystore(text, key, password, chain=True))
_trust = _guarded(lambda text, password="": _truststore(text, password))
_add("pemToPkcs12", _one, "string string", metered=True)
_add("pemToPkcs12Pass", _one, "string string string", metered=True)
_add("fullPemToPkcs12", _full, "string string", metered=True)
_add("fullPemToPkcs12Pass", _full, "string string string", metered=True)
_add("pemTruststoreToPKCS12", _trust, "string", metered=True)
_add("pemTruststoreToPKCS12Pass", _trust, "string string", metered=True)
