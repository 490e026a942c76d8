"""What a failed connection means, as a sentence: which step failed, and what to look at.

Pure: exceptions of ssl, socket, http, urllib3 and botocore are distinguished by their attributes, and none is imported.
"""

from __future__ import annotations

import re

_BY_NAME = {
    "gaierror": "its name does not resolve; check DNS",
    "NameResolutionError": "its name does not resolve; check DNS",
    "ConnectionRefusedError": "connection refused; nothing listens there",
    "BadStatusLine": "what answers there does not speak HTTP",
    "ConnectionResetError": "the connection was reset",
    "BrokenPipeError": "the connection was reset",
    "TimeoutError": "no answer in time",
    "ConnectTimeoutError": "no answer in time",
    "ReadTimeoutError": "no answer in time",
    "RemoteDisconnected": "the connection was closed without an answer",
    "IncompleteRead": "the connection was closed before the answer was whole",
}

_TUNNEL = r"Tunnel connection failed: (\d{3})"

# https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_WRONG_NAME, _UNKNOWN_ISSUER, _NOT_YET, _EXPIRED = (62, 64), (2, 18, 19, 20, 21), 9, 10

_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")

_NO_BUNDLE = ("NO_CERTIFICATE_OR_CRL_FOUND", "NO_START_LINE", "X509_LIB", "PEM_LIB", "BAD_BASE64_DECODE", "ASN1_LIB")


def causes(error: BaseException) -> list[BaseException]:
    """The exception and every exception that caused it, outermost first."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if any(cause is known for known in found):
            continue
        found.append(cause)
        kwargs = getattr(cause, "kwargs", None)  # where botocore keeps the cause
        inner = kwargs.get("error") if isinstance(kwargs, dict) else None
        around = (inner, getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__)
        waiting += [each for each in around if isinstance(each, BaseException)]
    return found


def innermost(error: BaseException) -> BaseException:
    """The exception that the others were raised for. Some libraries chain it, some only have it as an argument."""
    known = [error]
    while True:
        last = known[-1]
        held = next((each for each in last.args if isinstance(each, BaseException)), None)
        earlier = last.__cause__ or last.__context__ or held
        # A TypeError is only how urllib3 1.26 finds out which Python it runs on.
        if earlier is None or isinstance(earlier, TypeError) or any(earlier is each for each in known):
            return last
        known.append(earlier)


def unreachable(error: BaseException, otherwise: str = "the connection failed") -> str:
    """Why there was no answer: DNS, refusal, reset, timeout, or what the operating system says."""
    found = causes(error)
    names = {type(cause).__name__ for cause in found}
    for cause in found:
        if tunnel := re.search(_TUNNEL, str(cause)):
            return "it wants authentication (407)" if tunnel[1] == "407" else f"it refuses the connection ({tunnel[1]})"
    for name, sentence in _BY_NAME.items():
        if name in names:
            return sentence
    said = (getattr(cause, "strerror", None) for cause in found if isinstance(cause, OSError))
    return next((str(each).lower() for each in said if each), otherwise)


def tls(error: BaseException, bundle: str, uid: int) -> str:
    """Why TLS failed, and what to do. `bundle` names the file of trusted certificates, `uid` the user that
    reads it."""
    for cause in causes(error):
        code, reason = getattr(cause, "verify_code", None), str(getattr(cause, "reason", None) or "")
        if type(cause).__name__ == "CertificateError" or (not code and "doesn't match" in str(cause)):
            # The check of the name by urllib3 itself, or by Python's own function for that before 3.12.
            return _certificate(_WRONG_NAME[0], str(cause), bundle)
        if code:
            return _certificate(int(code), str(getattr(cause, "verify_message", "")), bundle)
        if any(part in reason for part in _NO_TLS):
            return "what answers there does not speak TLS; is it plain HTTP, or another port?"
        if any(part in reason for part in _NO_BUNDLE):
            return f"the bundle {bundle} holds no certificates in PEM"
        if "EOF" in reason:
            return "the connection was closed during the handshake; does a firewall let this name through?"
        if not reason and isinstance(cause, OSError) and cause.errno and "SSL" not in type(cause).__name__:
            return network_or_file(cause, f"the bundle {bundle}", uid)
    return "the handshake failed; check the versions of TLS and what stands in between"


def network_or_file(error: OSError, what: str, uid: int) -> str:
    """Why a file could not be read or, when the error is not about a file, why the network failed."""
    if isinstance(error, FileNotFoundError):
        return f"{what} does not exist"
    if isinstance(error, PermissionError):
        return f"{what} cannot be read by uid {uid}"
    if error.filename is not None or isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return f"{what} cannot be read: {(error.strerror or 'unknown').lower()}"
    return unreachable(error)


def _certificate(code: int, said: str, bundle: str) -> str:
    if code in _WRONG_NAME:
        return f"its certificate is for another name ({said}); check the endpoint's URL and DNS"
    if code in _UNKNOWN_ISSUER:
        return (
            f"its certificate is of an issuer that {bundle} does not hold ({said}); if a proxy re-signs it, name a "
            "bundle with the proxy's CA in AWS_CA_BUNDLE"
        )
    if code == _EXPIRED:
        return f"its certificate has expired ({said}), or this node's clock is wrong"
    if code == _NOT_YET:
        return f"its certificate is not valid yet ({said}), or this node's clock is wrong"
    return f"its certificate is not accepted: {said or 'no reason given'}"
