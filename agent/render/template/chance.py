"""sprig's functions that come out different each time: for the templates of ExternalSecrets, which have them in ESO.

A file is rendered when a version of its secret is fetched, so what is made stays until the next one. Each pod makes its
own. Keys and certificates need `cryptography`, which is imported when one is called.
"""

from __future__ import annotations

import base64
import secrets
import string
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.guarded import guarded
from agent.render.template.quoted import decoded, encoded

if TYPE_CHECKING:
    from cryptography.x509 import Name

Spend = Callable[[int], None]

_WORK = 50_000  # units for what takes about as long
_RSA, _RSA_OF_CERTIFICATES = 4096, 2048  # bits, as sprig has them
_DAYS = 36_500  # of a certificate, at most

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _drawn(signs: str) -> Callable[[Spend, int], str]:
    def draw(spend: Spend, count: int) -> str:
        if count < 0:
            raise Unfit("the count is negative")
        spend(count)
        return "".join(secrets.choice(signs) for _ in range(count))

    return draw


def _bytes(spend: Spend, count: int) -> str:
    if count < 0:
        raise Unfit("the count is negative")
    spend(count)
    return base64.b64encode(secrets.token_bytes(count)).decode()


def _between(least: int, most: int) -> int:
    if least >= most:
        raise Unfit("the second number must be larger than the first")
    return least + secrets.randbelow(most - least)


def _shuffled(text: str) -> str:
    chars = list(text)
    secrets.SystemRandom().shuffle(chars)
    return "".join(chars)


_add("randAlpha", _drawn(string.ascii_letters), "int", metered=True)
_add("randAlphaNum", _drawn(string.ascii_letters + string.digits), "int", metered=True)
_add("randNumeric", _drawn(string.digits), "int", metered=True)
_add("randAscii", _drawn("".join(map(chr, range(32, 127)))), "int", metered=True)
_add("randBytes", _bytes, "int", metered=True)
_add("randInt", _between, "int int")
_add("shuffle", _shuffled, "string")
_add("uuidv4", lambda: str(uuid.uuid4()))


def _guarded(does: Callable[..., Any]) -> Callable[..., Any]:
    return guarded(does, _WORK, "its arguments are no key and certificate that fit")


def _key(kind: str) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

    made: Any
    match kind:
        case "" | "rsa":
            made = rsa.generate_private_key(65537, _RSA)
        case "dsa":
            made = dsa.generate_private_key(2048)
        case "ecdsa":
            made = ec.generate_private_key(ec.SECP256R1())
        case "ed25519":
            made = ed25519.Ed25519PrivateKey.generate()
        case _:
            raise Unfit("there are keys of the kinds rsa, dsa, ecdsa and ed25519")
    form = serialization.PrivateFormat.PKCS8 if kind == "ed25519" else serialization.PrivateFormat.TraditionalOpenSSL
    return _pem(made, form)


def _pem(key: Any, form: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    return str(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode())


def _texts(given: Any) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise Unfit("addresses and names are lists of texts")
    return given


def _certificate(
    name: str, addresses: Any, names: Any, days: int, *, key: str | None, ca: bool, by: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A certificate and its key, in PEM; signed by itself, or by another one."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    if not 0 <= days <= _DAYS:
        raise Unfit(f"a certificate lasts from 0 to {_DAYS} days")
    private: Any = (
        rsa.generate_private_key(65537, _RSA_OF_CERTIFICATES)
        if key is None
        else serialization.load_pem_private_key(encoded(key), None)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer: Any = private
    issuer: Name = subject
    if by is not None:
        signer = serialization.load_pem_private_key(encoded(by["Key"]), None)
        issuer = x509.load_pem_x509_certificate(encoded(by["Cert"])).subject
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.KeyUsage(True, False, True, False, False, ca, False, False, False),
            critical=True,
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    others = [
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in _texts(addresses)),
        *map(x509.DNSName, _texts(names)),
    ]
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    signed = builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    form = serialization.PrivateFormat.TraditionalOpenSSL
    if isinstance(private, ed25519.Ed25519PrivateKey):
        form = serialization.PrivateFormat.PKCS8
    return {
        "Cert": signed.public_bytes(serialization.Encoding.PEM).decode(),
        "Key": _pem(private, form) if key is None else key,
    }


def _custom(certificate: str, key: str) -> dict[str, Any]:
    """buildCustomCert: the two from base64, of which each must be one."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    found = {"Cert": base64.b64decode(certificate, validate=True), "Key": base64.b64decode(key, validate=True)}
    x509.load_pem_x509_certificate(found["Cert"])
    serialization.load_pem_private_key(found["Key"], None)
    return {name: decoded(content) for name, content in found.items()}


def _own(name: str, days: int, key: str | None = None) -> dict[str, Any]:
    return _certificate(name, None, None, days, key=key, ca=True)


def _self_signed(name: str, addresses: Any, names: Any, days: int, key: str | None = None) -> dict[str, Any]:
    return _certificate(name, addresses, names, days, key=key, ca=False)


def _signed(name: str, addresses: Any, names: Any, days: int, *more: Any) -> dict[str, Any]:
    by, key = (*more, None)[:2]
    return _certificate(name, addresses, names, days, key=key, ca=False, by=by)


def _encrypted(password: str, text: str) -> str:
    from cryptography.hazmat.primitives.padding import PKCS7

    start, padder = secrets.token_bytes(16), PKCS7(128).padder()
    encryptor = _cipher(password, start).encryptor()
    padded = padder.update(encoded(text)) + padder.finalize()
    return base64.b64encode(start + encryptor.update(padded) + encryptor.finalize()).decode()


def _decrypted(password: str, text: str) -> str:
    from cryptography.hazmat.primitives.padding import PKCS7

    content, unpadder = base64.b64decode(text, validate=True), PKCS7(128).unpadder()
    decryptor = _cipher(password, content[:16]).decryptor()
    padded = decryptor.update(content[16:]) + decryptor.finalize()
    return decoded(unpadder.update(padded) + unpadder.finalize())


def _cipher(password: str, start: bytes) -> Any:
    """AES-256 in CBC; the password is the key, filled up with zeros."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(encoded(password)[:32].ljust(32, b"\0")), modes.CBC(start))


_add("genPrivateKey", _guarded(_key), "string", metered=True)
_add("genCA", _guarded(_own), "string int", metered=True)
_add("genCAWithKey", _guarded(_own), "string int string", metered=True)
_add("genSelfSignedCert", _guarded(_self_signed), "string any any int", metered=True)
_add("genSelfSignedCertWithKey", _guarded(_self_signed), "string any any int string", metered=True)
_add("genSignedCert", _guarded(_signed), "string any any int map", metered=True)
_add("genSignedCertWithKey", _guarded(_signed), "string any any int map string", metered=True)
_add("buildCustomCert", _guarded(_custom), "string string", metered=True)
_add("encryptAES", _guarded(_encrypted), "string string", metered=True)
_add("decryptAES", _guarded(_decrypted), "string string", metered=True)
