"""PEM blocks, and as much of X.509 as can be read without a library. RFC 7468, RFC 5280, X.690."""

from __future__ import annotations

import base64
import re

from agent.core.value import SecretValue

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")

_VERSION = 0xA0  # the tag of a certificate's version, which may be left out


def blocks(pem: SecretValue, *kinds: bytes) -> list[SecretValue]:
    """The blocks with a label that ends in one of the kinds, in order, without the text around them."""
    found: list[SecretValue] = []
    label, lines = b"", [b""]
    for line in map(bytes.rstrip, pem.reveal().splitlines()):
        if begin := _BEGIN.fullmatch(line):
            label, lines = begin[1], []
        lines.append(line)
        if label and line == b"-----END " + label + b"-----":
            if label.endswith(kinds):
                found.append(SecretValue(b"\n".join(lines) + b"\n", text=True))
            label, lines = b"", []
    return found


def body(block: SecretValue) -> bytes:
    """The DER of one PEM block."""
    return base64.b64decode(b"".join(block.reveal().splitlines()[1:-1]))


def element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of the element there, where its content begins, and where it ends."""
    tag, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(der[at : at + size], "big"), at + size
    return tag, at, at + length


def names(certificate: SecretValue) -> tuple[bytes, bytes]:
    """Issuer and subject of one PEM block of a certificate, as their DER. Raises ValueError if it is none."""
    try:
        der = body(certificate)
        _, at, _ = element(der, 0)
        _, at, _ = element(der, at)
        for _ in range(3 if der[at] == _VERSION else 2):  # version, serial number, algorithm
            _, _, at = element(der, at)
        _, _, validity = element(der, at)
        _, _, subject = element(der, validity)
        _, _, end = element(der, subject)
    except (IndexError, ValueError):
        subject = end = 0
    if not end:
        raise ValueError("not a certificate")
    return der[at:validity], der[subject:end]


def ordered(chain: list[SecretValue]) -> list[SecretValue]:
    """The certificates in the order that TLS wants: each signed by the next, the one that signs no other first. Those
    that do not belong to its chain come last, as they stand. Raises ValueError for a block that is no certificate."""
    found = [(certificate, *names(certificate)) for certificate in chain]
    issuers = {issuer for _, issuer, subject in found if issuer != subject}
    leaf = next((each for each in found if each[2] not in issuers), found[0])
    made = [leaf]
    while following := next((each for each in found if each[2] == made[-1][1] and each not in made), None):
        made.append(following)
    return [certificate for certificate, _, _ in [*made, *(each for each in found if each not in made)]]
