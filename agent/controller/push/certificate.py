"""The certificate that the API server trusts the webhook by: made here, or read from a directory.

An authority is made for each certificate, and its key is gone at once: nothing is kept that could sign another.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.core.errors import FreshmountError, cause
from agent.core.record import Record
from agent.core.value import SecretValue

LIFETIME, RENEWED = 90 * 86400.0, 30 * 86400.0  # seconds: of a certificate, and how long before its end it is replaced
_EARLIER = 600.0  # seconds before now from which it holds, since clocks differ


class Unusable(FreshmountError):
    """There is no certificate that can be served."""


class Pair(Record):
    """A certificate and its key, PEM. `until`: epoch seconds."""

    certificate: bytes
    key: SecretValue
    until: float


def made(names: Sequence[str], now: float) -> tuple[bytes, Pair]:
    """A new authority, PEM, and a certificate of it for these DNS names or addresses."""
    began = datetime.datetime.fromtimestamp(now - _EARLIER, datetime.UTC)
    ends = datetime.datetime.fromtimestamp(now + LIFETIME, datetime.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _named(f"freshmount-push {began:%Y-%m-%dT%H:%M:%SZ}")

    def builder(subject: x509.Name, of: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        begun = x509.CertificateBuilder().subject_name(subject).issuer_name(authority_name).public_key(of.public_key())
        begun = begun.serial_number(x509.random_serial_number()).not_valid_before(began).not_valid_after(ends)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        return begun.add_extension(identifier, critical=False)

    authority = (
        builder(authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        builder(_named("freshmount-push"), key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pair = Pair(certificate.public_bytes(pem), SecretValue(private, text=True), now + LIFETIME)
    return authority.public_bytes(pem), pair


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


def read(certificate: bytes, key: bytes) -> Pair:
    """What was made or given. Raises Unusable where it cannot be read."""
    try:
        first = x509.load_pem_x509_certificates(certificate)[0]
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, IndexError):
        first = None
    if first is None:
        raise Unusable("the certificate or its key is not PEM")
    if private.public_key() != first.public_key():
        raise Unusable("the key does not belong to the certificate")
    return Pair(certificate, SecretValue(key, text=True), first.not_valid_after_utc.timestamp())


def covers(pair: Pair, names: Iterable[str]) -> bool:
    """Whether the certificate is for all of these names."""
    first = x509.load_pem_x509_certificates(pair.certificate)[0]
    try:
        found = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return all(_general(name) in found for name in names)


def due(pair: Pair, now: float) -> bool:
    """Whether another should replace it."""
    return pair.until - now <= RENEWED


def still_valid(authorities: bytes, now: float) -> bytes:
    """Those of the authorities, PEM, that have not ended; without what cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(authorities)
    except ValueError:
        return b""
    kept = [each for each in found if each.not_valid_after_utc.timestamp() > now]
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in kept)


def in_directory(directory: Path) -> Pair:
    """`tls.crt` and `tls.key`, as cert-manager has them. Raises Unusable."""
    try:
        certificate, key = ((directory / name).read_bytes() for name in ("tls.crt", "tls.key"))
    except OSError as error:
        raise Unusable(f"{error.filename} cannot be read: {cause(error)}") from None
    return read(certificate, key)


def serve(context: ssl.SSLContext, pair: Pair) -> None:
    """Let connections from now on have this certificate. Raises Unusable. No disk sees the key."""
    handle = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(pair.certificate.rstrip() + b"\n" + pair.key.reveal())
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    except (OSError, ssl.SSLError) as error:
        raise Unusable(f"the certificate cannot be served: {type(error).__name__}") from None
    finally:
        os.close(handle)
