"""Files of certificates: PEM in order, and PKCS #12 keystores.

`cryptography` is an extra: nothing imports it but a config that asks for a keystore.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.core.errors import ProjectionError, shown
from agent.core.model import KeyOf, Pem, Pkcs12
from agent.core.value import SecretValue
from agent.render import pem as blocks_of
from agent.render.input import Input
from agent.render.raw import encode, filled, plain
from agent.render.select import keys_of

_ROUNDS = 20_000  # of the key derivation, as keytool has them for the modern encryption


def pem(path: str, how: Pem, inputs: Mapping[str, Input]) -> bytes:
    """The certificates in the order that TLS wants, and the key behind them. Raises ProjectionError."""
    where = f"file {path}"
    made = _chain(how.certificate, inputs, where)
    if how.private_key:
        made = [*made, _private_key(how.private_key, inputs, where)]
    return b"".join(block.reveal() for block in made)


def pkcs12(path: str, how: Pkcs12, inputs: Mapping[str, Input]) -> bytes:
    """A keystore with the key and its certificates. Raises ProjectionError."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import pkcs12 as made

    where = f"file {path}"
    chain, key = _chain(how.certificate, inputs, where), _private_key(how.private_key, inputs, where)
    password = _value(how.password, inputs, where).reveal() if how.password else None
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password and how.legacy:
        old = serialization.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(_ROUNDS).hmac_hash(hashes.SHA1())  # noqa: S303
        encryption = old.key_cert_algorithm(made.PBES.PBESv1SHA1And3KeyTripleDESCBC).build(password)
    elif password:
        modern = serialization.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(_ROUNDS).hmac_hash(hashes.SHA256())
        encryption = modern.key_cert_algorithm(made.PBES.PBESv2SHA256AndAES256CBC).build(password)

    def keystore() -> bytes:
        certificates = [x509.load_pem_x509_certificate(block.reveal()) for block in chain]
        private = serialization.load_pem_private_key(key.reveal(), password=None)
        if private.public_key() != certificates[0].public_key():
            raise _Unfit("the private key is not the certificate's")
        if not isinstance(private, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
            raise _Unfit("a keystore holds a private key of RSA, of an elliptic curve or of Ed25519")
        return made.serialize_key_and_certificates(None, private, certificates[0], certificates[1:] or None, encryption)

    return _or_refused(keystore, where)


class _Unfit(Exception):
    """What is wrong with a pair; its text holds nothing of it."""


def _or_refused(make: Callable[[], bytes], where: str) -> bytes:
    """What is made, or a ProjectionError without what the library says, which may quote the value."""
    try:
        return make()
    except _Unfit as unfit:
        problem = str(unfit)
    except Exception:  # the library raises many kinds for input that it does not understand
        problem = "certificate or private key cannot be put into a keystore (or the key has a password)"
    raise ProjectionError(f"{where}: {problem}")


def _chain(of: KeyOf, inputs: Mapping[str, Input], where: str) -> list[SecretValue]:
    found = blocks_of.blocks(_value(of, inputs, where), b"CERTIFICATE")
    try:
        made = blocks_of.ordered(found) if found else []
    except ValueError:
        made = []
    if not made:
        raise ProjectionError(f"{where}: {_named(of)} has no certificate in PEM that can be read")
    return made


def _private_key(of: KeyOf, inputs: Mapping[str, Input], where: str) -> SecretValue:
    found = blocks_of.blocks(_value(of, inputs, where), b"PRIVATE KEY")
    if len(found) != 1:
        raise ProjectionError(f"{where}: {_named(of)} has {len(found)} private keys in PEM; it must have one")
    return found[0]


def _value(of: KeyOf, inputs: Mapping[str, Input], where: str) -> SecretValue:
    """The text of the key. Raises ProjectionError if it is not there, or empty."""
    input_ = inputs[of.secret]
    if of.key is None:
        return input_.value
    tree = input_.tree()
    if not isinstance(tree, dict) or of.key not in tree:
        raise ProjectionError(f"{where}: {_named(of)} is not there; {keys_of(tree, of.key)}")
    text = encode(plain(tree[of.key], where, of.key), where)
    return SecretValue(filled(text, where, of.key), text=True)


def _named(of: KeyOf) -> str:
    return f"secret {of.secret}" if of.key is None else f"key {shown(of.key)} of secret {of.secret}"
