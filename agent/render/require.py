"""Check what a version must contain before it is published. Uses only the standard library's TLS for certificates.

OpenSSL reads a certificate and its key only from files. So they go into anonymous memory (memfd_create(2)), never on a
disk.
"""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import time
from collections.abc import Iterator

from agent.core.errors import Failure, ProjectionError, SecretError
from agent.core.model import Require
from agent.core.value import SecretValue
from agent.render import checks
from agent.render.checks import Search
from agent.render.pem import blocks, body, element

PATTERN_LIMIT = 0.2  # seconds of this process's CPU time for all patterns of a version; a good one takes a thousandth

_UTC_TIME, _VERSION = 0x17, 0xA0  # tags of X.690 and RFC 5280


def check(value: SecretValue, require: Require | None) -> None:
    """Check a value against its `require`. Call it only in the main thread, because only that can be interrupted.

    Raises ProjectionError, which names every check that fails, but no content. Raises SecretError if the machine
    prevents the check for now: the version is then not refused, and the agent tries again.
    """
    if require is None:
        return
    with _bounded() if require.matches else contextlib.nullcontext(checks.searched) as search:
        problems, pair = checks.meets(value, require, search)
    problem = machine = None
    try:
        problem = _problem_with(*pair) if pair else None
    except OSError as error:
        machine = os.strerror(error.errno or 0)
    if problem:
        problems = (*problems, f"require: {problem}")
    if problems:
        raise ProjectionError(*problems)
    if machine:
        raise SecretError(
            Failure("other", f"require: the certificate cannot be checked now: {machine}; the agent tries again")
        )


# -- patterns ------------------------------------------------------------------------------------------------------
class _TooLong(Exception):
    """The time for the patterns is used up."""


@contextlib.contextmanager
def _bounded() -> Iterator[Search]:
    """A search that gives up, and returns None, when the time for all patterns of one version is used up.

    `re` backtracks, so a pattern may take longer than the pod lives, and blocks every thread meanwhile. But it checks
    for signals now and then, and stops with what their handler raises. The timer counts only this process's CPU time,
    so a pod that was suspended does not refuse a good version.
    """
    armed = False

    def over(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise _TooLong

    def search(pattern: str, text: str) -> bool | None:
        nonlocal armed
        try:
            armed = True
            try:
                return checks.searched(pattern, text)
            finally:
                armed = False
        except _TooLong:
            return None

    # The handler stays installed for a signal that is already on its way. The default would end the process.
    signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATTERN_LIMIT, 0.01)
    try:
        yield search
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


# -- certificates --------------------------------------------------------------------------------------------------
def _problem_with(certificate: SecretValue, key: SecretValue) -> str | None:
    """What is wrong with the pair, both PEM, the certificate first in its chain; None if nothing is.

    The two must belong together, and the certificate must be valid now. Its purpose (servers, clients, mail) and the
    strength of its key are not checked. Text around the blocks is ignored, as other readers do.
    """
    # Only the key is secret, but both are handled alike.
    chain = blocks(certificate, b"CERTIFICATE")
    pair = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair.set_ciphers("DEFAULT:@SECLEVEL=0")
    try:
        with _unnamed(chain) as certificates, _unnamed(blocks(key, b"PRIVATE KEY", b"PARAMETERS")) as private:
            pair.load_cert_chain(certificates, private, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the private key is not the certificate's"
        return "certificate or private key is not PEM that TLS can use (or the key has a password)"
    except ValueError:
        return "the private key has a password"
    return _validity(chain[0])


def _no_password() -> str:
    return ""


def _validity(certificate: SecretValue) -> str | None:
    """What is wrong with the dates of one PEM block that OpenSSL has already accepted; None if nothing is.

    The standard library gives the dates only for certificates that it verified as a server's or a client's, so this
    reads them itself: in the TBSCertificate, after version, serial number, algorithm and issuer (RFC 5280, 4.1).
    """
    der = body(certificate)
    _, at, _ = element(der, 0)
    _, at, _ = element(der, at)
    skipped = 4 if der[at] == _VERSION else 3
    for _ in range(skipped):
        _, _, at = element(der, at)
    _, at, _ = element(der, at)
    begins, at = _moment(der, at)
    ends, _ = _moment(der, at)
    now = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    if now > ends:
        return "the certificate has expired"
    return "the certificate is not valid yet" if now < begins else None


def _moment(der: bytes, at: int) -> tuple[str, int]:
    """A time as YYYYMMDDhhmmss in UTC, and where the element ends."""
    tag, begins, ends = element(der, at)
    text = der[begins:ends].decode("ascii").rstrip("Z")
    if tag == _UTC_TIME:  # its year has two digits and is from 1950 to 2049
        text = ("19" if text >= "50" else "20") + text
    return text, ends


@contextlib.contextmanager
def _unnamed(content: list[SecretValue]) -> Iterator[str]:
    """A path to anonymous memory that holds the blocks while the context is open."""
    handle = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        for block in content:
            os.write(handle, block.reveal())
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
