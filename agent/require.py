"""What a version must hold before it is published; a certificate and its key by the standard library's TLS alone.

OpenSSL reads both only from files. They are put into memory that has no name (memfd_create(2)), never on a disk.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator

from agent import secret
from agent.config import Require
from agent.errors import Failure, ProjectionError, SecretError
from agent.secret import SecretValue

_NOT_YET, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED of OpenSSL's x509_vfy.h
_ROUNDS = 8  # of a handshake in memory; TLS 1.3 needs two


def check(value: SecretValue, require: Require | None) -> None:
    """Hold a value against what is required of it.

    Raises ProjectionError, which names the check and no content, or SecretError when the machine does not let it be
    checked now: then the version is as good as before, and is tried again.
    """
    pair = secret.meets(value, require) if require else None
    problem = machine = None
    try:
        problem = _problem_with(*pair) if pair else None
    except OSError as error:
        machine = os.strerror(error.errno or 0)
    if machine:
        raise SecretError(Failure("other", f"require: the certificate cannot be checked: {machine}; tried again"))
    if problem:
        raise ProjectionError(f"require: {problem}")


def _problem_with(certificate: bytes, key: bytes) -> str | None:
    """What is wrong with the pair, both PEM, the certificate first in its chain; None if nothing is."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        with _unnamed(certificate) as chain, _unnamed(key) as private:
            server.load_cert_chain(chain, private, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the private key is not the certificate's"
        return "certificate or private key is not PEM that TLS can use (or the key has a password)"
    except ValueError:
        return "the private key has a password"
    return _validity(server, certificate)


def _no_password() -> str:
    return ""


def _validity(server: ssl.SSLContext, certificate: bytes) -> str | None:
    """Dates are told only of a peer's certificate: hence a handshake in memory, whose client trusts it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # Without its issuer: the certificate is trusted as it is.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(cadata=certificate.decode("ascii"))
        _handshake(client, server)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            return "the certificate has expired"
        if error.verify_code == _NOT_YET:
            return "the certificate is not valid yet"
        return f"the certificate cannot be used for a server: {error.verify_message}"
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        return "the certificate cannot be used for TLS"
    return None


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    for _ in range(_ROUNDS):
        for side in list(sides):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
                sides.remove(side)
        if not sides:
            return


@contextlib.contextmanager
def _unnamed(content: bytes) -> Iterator[str]:
    """A path to memory that holds the content until the end."""
    handle = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(handle, content)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
