"""ESO's functions on certificates, keys and PKCS#12, for which the Python package `cryptography` is needed.

It is imported when one of them is called (`guarded`). `keystores` has those that write PKCS#12.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.render.template import gojson, pem, values
from agent.render.template.errors import Unfit
from agent.render.template.function import Functions
from agent.render.template.guarded import guarded
from agent.render.template.quoted import decoded, encoded

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_WORK = 20_000  # units for what takes about as long

FUNCTIONS = Functions()
_add = FUNCTIONS.add


def _reads(what: str, does: Callable[..., Any]) -> Callable[..., Any]:
    """Whatever `cryptography` cannot read is not what it should be."""
    return guarded(does, _WORK, f"there is no {what} in it that can be read")


# -- certificates ------------------------------------------------------------------------------------------------------


def _certificate(block: pem.Block) -> Certificate:
    from cryptography import x509

    return x509.load_der_x509_certificate(block.content)


def _key_ids(certificate: Certificate) -> tuple[bytes | None, bytes | None]:
    """The ids of the authority's key and of its own."""
    from cryptography import x509

    authority = own = None
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.AuthorityKeyIdentifier):
            authority = extension.value.key_identifier
        elif isinstance(extension.value, x509.SubjectKeyIdentifier):
            own = extension.value.digest
    return authority, own


def _written(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return pem.written("CERTIFICATE", certificate.public_bytes(Encoding.DER))


def _ordered(certificates: list[Certificate]) -> list[Certificate]:
    """From the leaf to the root, by the ids of their keys. Nothing is verified."""
    ids = [_key_ids(certificate) for certificate in certificates]
    issuers: dict[int, int] = {}
    for child, (authority, _) in enumerate(ids):
        others = (at for at, (_, own) in enumerate(ids) if at != child and (own or b"") == (authority or b""))
        issuer = next(others, None)
        if issuer is not None:
            issuers[child] = issuer
    leaves = [at for at in range(len(certificates)) if at not in issuers.values()]
    if len(leaves) != 1:
        raise Unfit("the certificates are not one chain")
    chain: list[Certificate] = []
    at: int | None = leaves[0]
    while at is not None:
        if len(chain) == len(certificates):
            raise Unfit("the certificates are a circle")
        chain.append(certificates[at])
        at = issuers.get(at)
    return chain


def _is_root(certificate: Certificate) -> bool:
    authority, own = _key_ids(certificate)
    return authority is None or authority == own


def _chain(kind: str, text: str) -> str:
    chain = _ordered(list(map(_certificate, pem.whole(text))))
    if kind == "leaf":
        return "" if _is_root(chain[0]) else _written(chain[0])
    if kind == "root":
        return _written(chain[-1]) if _is_root(chain[-1]) else ""
    if kind != "intermediate":
        return ""
    made = ""
    for certificate in chain[1:]:
        if _is_root(certificate):
            break
        made += _written(certificate)
    return made


def _names(text: str) -> values.Strings:
    from ipaddress import IPv4Address, IPv6Address

    from cryptography import x509

    certificate = _certificate(pem.whole(text)[0])
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = extension.value
            addresses = names.get_values_for_type(x509.IPAddress)
            return values.Strings([
                *names.get_values_for_type(x509.DNSName),
                *(str(address) for address in addresses if isinstance(address, IPv4Address | IPv6Address)),
                *names.get_values_for_type(x509.RFC822Name),
                *names.get_values_for_type(x509.UniformResourceIdentifier),
            ])  # fmt: skip
    return values.Strings()


# -- PKCS#12 -----------------------------------------------------------------------------------------------------------


def _private(key: Any) -> str:
    from cryptography.hazmat.primitives import serialization as to

    return pem.written("PRIVATE KEY", key.private_bytes(to.Encoding.DER, to.PrivateFormat.PKCS8, to.NoEncryption()))


def _pkcs12_key(password: str, text: str) -> str:
    from cryptography.hazmat.primitives.serialization import pkcs12

    key, _, _ = pkcs12.load_key_and_certificates(encoded(text), encoded(password))
    if key is None:
        raise Unfit("there is no private key in the PKCS#12")
    return _private(key)


def _pkcs12_certificates(password: str, text: str) -> str:
    from cryptography.hazmat.primitives.serialization import pkcs12

    _, certificate, others = pkcs12.load_key_and_certificates(encoded(text), encoded(password))
    if certificate is None:
        raise Unfit("there is no certificate for a key in the PKCS#12")
    found = [certificate, *others]
    with contextlib.suppress(Unfit):  # more than one chain: as they are
        found = _ordered(found)
    return "".join(map(_written, found))


# -- keys --------------------------------------------------------------------------------------------------------------


def _number(key: dict[str, Any], name: str) -> int:
    import base64

    text = key.get(name)
    if not isinstance(text, str):
        raise Unfit(f"the key has no {name}")
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def _jwk(text: str) -> tuple[Any, Any]:
    """The public and, if it has one, the private key of a JSON Web Key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key = gojson.loads(text)
    if not isinstance(key, dict):
        raise Unfit("the text is not a JSON Web Key")
    kind = key.get("kty")
    if kind == "RSA":
        public = rsa.RSAPublicNumbers(_number(key, "e"), _number(key, "n"))
        if "d" not in key:
            return public.public_key(), None
        d, p, q = _number(key, "d"), _number(key, "p"), _number(key, "q")
        numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public)
        return public.public_key(), numbers.private_key()
    if kind == "EC":
        curves: dict[str, ec.EllipticCurve] = {
            "P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(),
        }  # fmt: skip
        curve = curves.get(str(key.get("crv")))
        if curve is None:
            raise Unfit("the key's curve is not known")
        point = ec.EllipticCurvePublicNumbers(_number(key, "x"), _number(key, "y"), curve)
        private = ec.EllipticCurvePrivateNumbers(_number(key, "d"), point).private_key() if "d" in key else None
        return point.public_key(), private
    if kind == "OKP" and key.get("crv") == "Ed25519":
        public_key = ed25519.Ed25519PublicKey.from_public_bytes(_number(key, "x").to_bytes(32, "big"))
        seed = _number(key, "d").to_bytes(32, "big") if "d" in key else None
        return public_key, ed25519.Ed25519PrivateKey.from_private_bytes(seed) if seed is not None else None
    raise Unfit("the kind of the key is not known")


def _jwk_public(text: str) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public, _ = _jwk(text)
    return pem.written("PUBLIC KEY", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _jwk_private(text: str) -> str:
    _, private = _jwk(text)
    if private is None:
        raise Unfit("the key is a public one")
    return _private(private)


def _rsa_decrypted(scheme: str, hashed: str, text: str, key: str) -> str:
    if scheme == "None":
        return text
    if scheme != "RSA-OAEP":
        raise Unfit("the scheme is not known; there are None and RSA-OAEP")
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(encoded(key), None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise Unfit("the key is not an RSA key")
    algorithm = {"SHA1": hashes.SHA1, "SHA512": hashes.SHA512}.get(hashed, hashes.SHA256)()
    oaep = padding.OAEP(padding.MGF1(algorithm), algorithm, None)
    return decoded(private.decrypt(encoded(text), oaep))


_CERTIFICATE, _KEYSTORE, _JWK = "certificate", "PKCS#12 with this password", "JSON Web Key"
_RSA_TEXT = "text that this RSA key can decrypt"
_add("filterCertChain", _reads(_CERTIFICATE, _chain), "string string", metered=True)
_add("certSANs", _reads(_CERTIFICATE, _names), "string", metered=True)
_add("pkcs12key", _reads(_KEYSTORE, lambda text: _pkcs12_key("", text)), "string", metered=True)
_add("pkcs12keyPass", _reads(_KEYSTORE, _pkcs12_key), "string string", metered=True)
_add("pkcs12cert", _reads(_KEYSTORE, lambda text: _pkcs12_certificates("", text)), "string", metered=True)
_add("pkcs12certPass", _reads(_KEYSTORE, _pkcs12_certificates), "string string", metered=True)
_add("jwkPublicKeyPem", _reads(_JWK, _jwk_public), "string", metered=True)
_add("jwkPrivateKeyPem", _reads(_JWK, _jwk_private), "string", metered=True)
_add("rsaDecrypt", _reads(_RSA_TEXT, _rsa_decrypted), "string string string string", metered=True)
