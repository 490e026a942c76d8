"""AWS credentials: found by botocore's chain, searched for at each attempt until there are some, and renewed in time.

botocore itself searches once and keeps the result for the life of the process. It renews credentials under a lock,
which one hanging call holds for ever. Here each look-up has its own thread and session: the caller gives up after a
limit, and the next attempt starts another look-up.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import botocore.credentials
import botocore.exceptions as aws
import botocore.httpsession
from botocore.config import Config as ClientConfig
from botocore.session import Session

from agent.core import network
from agent.core.errors import FreshmountError
from agent.core.record import Record
from agent.sources.aws import errors

LIMIT = 11.0  # seconds for one look-up; less than the limit of a call, which waits for it

_CONNECT_TIMEOUT, _READ_TIMEOUT = 2.0, 3.0  # of STS and SSO

_EARLY = 900.0  # seconds before their expiry when credentials are renewed; short-lived ones at half their life

_LAST = 30.0  # seconds before their expiry when credentials are no longer used

_PAUSE = 30.0  # seconds between two attempts to renew credentials that can still be used

_SHARED = 0.5  # seconds for which one failure is the answer to all callers: the secrets of one pass

_HANGING = 4  # the most look-ups that may hang at once

SOURCES = {
    "env": "environment",
    "assume-role": "assumed role",
    "assume-role-with-web-identity": "web identity (IRSA)",
    "shared-credentials-file": "shared credentials file",
    "custom-process": "credential_process",
    "config-file": "config file",
    "container-role": "container role",
    "iam-role": "instance role",
    "sso": "SSO",
}

_ROLES = ("assume-role", "assume-role-with-web-identity")

_log = logging.getLogger(__name__)


class NoCredentials(FreshmountError):
    """There are no credentials now. The message says which source was asked, and why it gave none."""


class Found(Record):
    """The source that gave credentials, and when they expire (epoch seconds; None: never, or not known yet)."""

    method: str
    source: str
    expires: float | None = None


class _Keys(Record):
    """Credentials that were found. `since` is monotonic, `renew_at` and `found.expires` are epoch seconds."""

    frozen: Any
    found: Found
    since: float
    renew_at: float

    def usable(self) -> bool:
        return self.found.expires is None or time.time() < self.found.expires - _LAST


class _LookUp:
    """One search through the chain. Only its own thread writes to it."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.method = ""  # the provider that is asked now
        self.known = threading.Event()  # set when the source is known, or the search has ended
        self.ended = threading.Event()
        self.ended_at = 0.0
        self.trouble: str | None = None
        self.found: Found  # from `known` on, without trouble
        self.keys: _Keys  # from `ended` on, without trouble


class Credentials:
    """What a botocore client signs with, in place of botocore's own credentials. Any thread may use it."""

    method = "freshmount"

    def __init__(self, session: Callable[[], Session], *, attempts: int, limit: float = LIMIT) -> None:
        """`session` makes a new session, `attempts` is how often each call to STS or a metadata service is tried,
        `limit` is the seconds allowed for a look-up."""
        self.region: str | None = None  # for STS, where the environment names none
        self._session = session
        self._attempts = attempts
        self._limit = limit
        self._lock = threading.Lock()
        self._keys: _Keys | None = None
        self._look_ups: list[_LookUp] = []

    def get_frozen_credentials(self) -> Any:
        """The credentials that sign a request. Raises NoCredentials."""
        with self._lock:
            keys = self._keys
            if keys and time.time() < keys.renew_at:
                return keys.frozen
            usable = bool(keys and keys.usable())
            look_up = self._join(usable)
        if keys and usable:
            return keys.frozen  # another thread renews them meanwhile
        return self._await(look_up, whole=True, seconds=self._limit).keys.frozen

    def get_deferred_property(self, name: str) -> Callable[[], Any]:
        """botocore calls this for the account id when an endpoint depends on it."""
        return lambda: getattr(self.get_frozen_credentials(), name, None)

    def find(self, *, whole: bool = False, seconds: float | None = None) -> Found:
        """The source of the credentials. Waits at most `seconds`; with `whole`, until the source has given some. Raises
        NoCredentials."""
        with self._lock:
            if self._keys and time.time() < self._keys.renew_at:
                return self._keys.found
            look_up = self._join(usable=False)
        return self._await(look_up, whole=whole, seconds=self._limit if seconds is None else seconds).found

    def present(self) -> tuple[Found, str | None] | None:
        """The source of the current credentials, and why they cannot be renewed if that fails. None without
        credentials."""
        with self._lock:
            if not self._keys:
                return None
            last = self._look_ups[-1] if self._look_ups else None
            failing = time.time() >= self._keys.renew_at and last and last.trouble
            return self._keys.found, failing or None

    def refused(self, began: float) -> None:
        """AWS did not accept the credentials of a request that began at `began` (monotonic): search for others."""
        with self._lock:
            if self._keys and self._keys.since < began:
                self._keys = None

    def _join(self, usable: bool) -> _LookUp | None:
        """The look-up to wait for: the one under way, or a new one. None when too many hang. The caller holds the
        lock."""
        now = time.monotonic()
        last = self._look_ups[-1] if self._look_ups else None
        if last and not last.ended.is_set() and now < last.began + self._limit:
            return last
        failed = last and last.ended.is_set() and last.trouble
        if last and failed and now < last.ended_at + (_PAUSE if usable else _SHARED):
            return last
        self._look_ups = [each for each in self._look_ups if not each.ended.is_set()]
        if len(self._look_ups) >= _HANGING:
            return None
        begun = _LookUp()
        self._look_ups.append(begun)
        threading.Thread(target=self._run, args=(begun,), name="credentials", daemon=True).start()
        return begun

    def _await(self, look_up: _LookUp | None, *, whole: bool, seconds: float) -> _LookUp:
        """The look-up once it has ended, or once its source is known. Raises NoCredentials."""
        if look_up is None:
            raise NoCredentials(_HANGS)
        left = look_up.began + self._limit - time.monotonic()
        if not (look_up.ended if whole else look_up.known).wait(max(0.0, min(left, seconds))):
            raise NoCredentials(f"{_source(look_up.method)} has not answered within {min(seconds, self._limit):g} s")
        if look_up.trouble:
            raise NoCredentials(look_up.trouble)
        return look_up

    def _run(self, look_up: _LookUp) -> None:
        try:
            keys = self._look(look_up)
            with self._lock:
                self._keys = keys
            look_up.found, look_up.keys = keys.found, keys
        except NoCredentials as trouble:
            look_up.trouble = str(trouble)
        except Exception as error:
            _log.debug("no credentials", exc_info=error)
            look_up.trouble = self._reason(look_up.method, error)
        look_up.ended_at = time.monotonic()
        look_up.ended.set()
        look_up.known.set()

    def _reason(self, method: str, error: Exception) -> str:
        """What an exception of a look-up means."""
        return _why(method, error)

    def _look(self, look_up: _LookUp) -> _Keys:
        session = self._session()
        session.set_default_client_config(bounded(self._attempts))
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or self.region
        loaded: Any = None
        providers: list[Any] = botocore.credentials.create_credential_resolver(session, region_name=region).providers
        for provider in providers:
            self._bound(provider)
        for provider in providers:
            look_up.method = str(provider.METHOD)
            if loaded := provider.load():
                break
        else:
            look_up.method = ""
            raise NoCredentials(_none_found())
        look_up.method = str(loaded.method or look_up.method)
        look_up.found = Found(look_up.method, _source(look_up.method))
        look_up.known.set()
        frozen = loaded.get_frozen_credentials()  # for a role, this calls STS
        for what, value in (("access key", frozen.access_key), ("secret key", frozen.secret_key)):
            _check(look_up.method, what, value)
        if frozen.token is not None:
            _check(look_up.method, "session token", frozen.token)
        now, expiry = time.time(), getattr(loaded, "_expiry_time", None)  # botocore does not expose it
        expires = expiry.timestamp() if expiry else None
        if expires is not None and expires <= now:
            raise NoCredentials(f"{_source(look_up.method)}: {_EXPIRED}")
        return kept(frozen, Found(look_up.method, _source(look_up.method), expires), now)

    def _bound(self, provider: Any) -> None:
        """Make a provider end in time by itself; botocore has no setting for this."""
        if provider.METHOD == "container-role":
            provider._fetcher.RETRY_ATTEMPTS, provider._fetcher.SLEEP_TIME = self._attempts, 0.2
        if provider.METHOD == "custom-process":
            provider._popen = lambda command, **pipes: _process(command, 0.9 * self._limit, **pipes)


def bounded(attempts: int) -> ClientConfig:
    """What a client of STS or SSO is made with."""
    return ClientConfig(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": attempts},
        defaults_mode=cast(Any, "legacy"),  # "auto" would ask the instance's metadata for a region
    )


def kept(frozen: Any, found: Found, now: float) -> _Keys:
    """Credentials that were found at that time (epoch seconds), and when they are renewed."""
    expires = found.expires
    renew_at = float("inf") if expires is None else max(expires - _EARLY, (now + expires) / 2)
    return _Keys(frozen, found, time.monotonic(), renew_at)


def _process(command: list[str], seconds: float, **pipes: Any) -> Any:
    """A process that is killed when it takes longer than `seconds`."""
    import subprocess

    class Bounded(subprocess.Popen[bytes]):
        def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
            try:
                return super().communicate(input, timeout or seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.wait(1.0)
            raise NoCredentials(f"credential_process has not ended within {seconds:g} s and was killed: {command[0]}")

    return Bounded(command, **pipes)


# -- sentences --------------------------------------------------------------------------------------------------------
_HANGS = "earlier attempts to get them still hang; the agent tries again when they have ended"

_EXPIRED = "its credentials have already expired; check that they are renewed and that this node's clock is right"

_ADVICE = "annotate the service account for IRSA or associate it with a role for EKS Pod Identity"


def _none_found() -> str:
    """The sentence for when no source has credentials."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return f"none were found; {_ADVICE}"
    return "none were found in the environment, in a config file or from the instance's metadata"


def warning(found: Found) -> str | None:
    """What to check about the source of the credentials; None if nothing looks wrong.

    botocore silently falls back to the instance's role when neither IRSA nor Pod Identity was injected.
    """
    if found.method == "iam-role" and "KUBERNETES_SERVICE_HOST" in os.environ:
        return f"this pod uses the node's role, which every pod here shares; {_ADVICE}"
    if found.method in _ROLES and (astray := _astray()):
        return astray
    return None


def _astray() -> str | None:
    """A warning if AWS_ENDPOINT_URL also redirects the calls that get credentials."""
    url = os.environ.get("AWS_ENDPOINT_URL")
    if not url or os.environ.get("AWS_ENDPOINT_URL_STS"):
        return None
    return f"AWS_ENDPOINT_URL sends STS's calls to {url} as well; set AWS_ENDPOINT_URL_SECRETS_MANAGER instead"


def _source(method: str) -> str:
    """The name of a source, as messages show it."""
    if method == "container-role" and "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" in os.environ:
        return "EKS Pod Identity"
    return SOURCES.get(method, method) or "the AWS config files"


def _check(method: str, what: str, value: object) -> None:
    if not (isinstance(value, str) and value and value.isascii() and value.isprintable() and " " not in value):
        raise NoCredentials(f"{_source(method)}: its {what} is empty, not text, or contains a space or a line break")


def _why(method: str, error: Exception) -> str:
    """What an exception from a source means: the source, the file or the call, and what to do."""
    where = _source(method)
    if method == "container-role":
        where += f" at {_container_url()}"
    if isinstance(error, aws.ClientError):
        return _of_sts(where, error)
    said = _of_file(method, error) or _of_network(where, error) or f"{where}: {_of_answer(method, error)}"
    astray = _astray() if method in _ROLES else None
    return f"{said}; {astray}" if astray else said


def _container_url() -> str:
    if relative := os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return f"169.254.170.2{relative}".partition("?")[0]
    scheme, _, rest = os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "").partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _of_file(method: str, error: Exception) -> str | None:
    """What is wrong with a file that a source needs: a token, certificates, or a program."""
    if isinstance(error, aws.BotoCoreError) or not isinstance(error, (OSError, UnicodeError)):
        return None
    tokens = {
        "assume-role-with-web-identity": "AWS_WEB_IDENTITY_TOKEN_FILE",
        "container-role": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
    variable = tokens.get(method)
    path = getattr(error, "filename", None) or os.environ.get(variable or "")
    if isinstance(error, UnicodeError):
        return f"{_source(method)}: the token file {path}, or the answer, is not text" if path else None
    if getattr(error, "filename", None) is None:
        return None
    what = "the program" if method == "custom-process" else "the token file" if variable else "the file"
    said = network.network_or_file(error, f"{what} {os.fsdecode(path or '')}", os.geteuid())
    if variable and isinstance(error, FileNotFoundError):
        said += f"; {variable} names it: is its volume mounted?"
    if variable and isinstance(error, PermissionError):
        said += "; set fsGroup in the pod's securityContext"
    return f"{_source(method)}: {said}"


def _of_network(where: str, error: Exception) -> str | None:
    """Why a source did not answer. botocore wraps the cause in errors that do not show it."""
    for cause in network.causes(error):
        if isinstance(cause, (aws.HTTPClientError, aws.ConnectionError)):
            url = str(cause.kwargs.get("endpoint_url") or "")
            bundle = os.environ.get("AWS_CA_BUNDLE") or botocore.httpsession.where()
            found = errors.connection(cause, errors.server(url) if url else "its address", bundle)
            return f"{where}: {found[1]}" if found else None
    return None


_FIELDS = ("AccessKeyId", "SecretAccessKey", "Token", "SessionToken", "Expiration", "Credentials")

_REFUSES = r"non 200 response (\d{3}) from container metadata: ([^{}<>]{0,300})"


def _of_answer(method: str, error: Exception) -> str:
    """What is wrong with an answer that has no usable credentials. Never its text, which may contain part of them."""
    sent = str(error)
    if refuses := re.search(_REFUSES, sent):
        said = errors.line(refuses[2])
        return f"answers {refuses[1]}" + (f": {said}" if said else "")
    if "Unable to parse JSON" in sent or isinstance(error, json.JSONDecodeError):
        return "its answer is not JSON"
    if isinstance(error, ValueError) and sent.startswith("Unsupported host"):
        return "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or on loopback or an address of ECS or EKS"
    if isinstance(error, ValueError) and sent.startswith("Auth token value"):
        path = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        return f"the token in {path or 'AWS_CONTAINER_AUTHORIZATION_TOKEN'} contains a line break"
    if isinstance(error, KeyError) and error.args and error.args[0] in _FIELDS:
        return f"its answer has no {error.args[0]}"
    if isinstance(error, RuntimeError) and "expired" in sent:
        return _EXPIRED
    if isinstance(error, aws.PartialCredentialsError):
        return f"{error.kwargs.get('cred_var')} is missing"
    if isinstance(error, aws.CredentialRetrievalError):
        if method == "custom-process" and "Unsupported version" in sent:  # with that version, which is what it printed
            return "its answer has another Version than 1"
        return errors.line(str(error.kwargs.get("error_msg")))
    if isinstance(error, aws.BotoCoreError):
        return errors.line(sent)
    of_sts = " of STS" if method in _ROLES else ""
    between = "; check whether a proxy or a firewall answers instead" if method != "custom-process" else ""
    return f"the answer{of_sts} cannot be understood: {errors.kind(error)}{between}"


def _of_sts(where: str, error: aws.ClientError) -> str:
    """The sentence for a refusal by STS, or by what answers in its place."""
    code, sent = errors.code_and_message(error)
    call = f"sts:{error.operation_name}"
    said = f". AWS: {errors.line(sent)}" if sent else ""
    role, token = os.environ.get("AWS_ROLE_ARN"), os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    of_web = error.operation_name == "AssumeRoleWithWebIdentity" and role and token
    for_role = f" for {role}" if of_web else ""
    subject = _subject(token) if of_web and token else None
    if errors.is_foreign(code):
        message = f"{where}: {call}{for_role}: answered {errors.status_of(error)}, but not by STS"
        said = "; check whether a proxy or a firewall answers instead"
    elif code in ("AccessDenied", "AccessDeniedException"):
        who = subject or ("this pod's service account" if of_web else "this caller")
        advice = "" if not of_web else " with the cluster's OIDC provider"
        message = f"{where}: {call}{for_role} is denied; the role's trust policy must allow {who}{advice}"
    elif code == "InvalidIdentityToken":
        message = (
            f"{where}: {call}{for_role}: the token is not accepted ({code}); the role's account needs the cluster's "
            "OIDC provider, with the token's audience"
        )
    elif code in ("ExpiredToken", "ExpiredTokenException"):
        message = f"{where}: {call}{for_role}: the token has expired; kubelet must renew {token or 'it'}"
    elif errors.REASONS.get(code) == "throttled":
        message = f"{where}: {call}{for_role}: STS throttles ({code}); the agent tries again after a backoff"
    else:
        message = f"{where}: {call}{for_role}: {code}"
    astray = _astray()
    return f"{message}{said}" + (f"; {astray}" if astray else "")


def _subject(path: str) -> str | None:
    """The subject of a service account's token, such as system:serviceaccount:shop:web. It is not a secret."""
    try:
        with open(path, encoding="ascii") as handle:
            claims = handle.read(16384).split(".")[1]
        subject = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return subject if isinstance(subject, str) and re.fullmatch(r"[\w:./@-]{1,300}", subject) else None
