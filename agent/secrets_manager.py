"""The only boto3: observe a version, fetch a value, and say what an error means.

Of boto3 its core, botocore, is used: `import boto3` brings what transfers files to S3, 60 modules that cost every pod
2.5 MiB and 30 ms.

Errors of AWS are values here: one secret's failure is an ordinary part of a pass.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import botocore.exceptions as aws
import botocore.handlers
import botocore.hooks
import botocore.httpsession
import botocore.session
from botocore.config import Config as ClientConfig

from agent import __version__
from agent.config import Origin, Secret
from agent.decide import Observation
from agent.errors import Failure, Reason
from agent.record import Record
from agent.schedule import Rotation
from agent.secret import Fetched, SecretValue
from agent.status import OK, Call, Operation

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 2.0, 5.0, 2
CALL_LIMIT = ATTEMPTS * (CONNECT_TIMEOUT + READ_TIMEOUT) + 1.0  # seconds; the last one is botocore's own backoff

R = TypeVar("R", Observation, Fetched)


class _LoadsOnce(ssl.SSLContext):
    """A TLS context that reads a bundle of certificates only when it is another than the one it holds.

    urllib3 lets it read the bundle again for every new connection, which takes 3 to 26 ms of CPU each time.
    """

    _loaded: tuple[object, ...] | None = None
    _reading = threading.Lock()  # the first connections are made at once

    def load_verify_locations(self, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        found = os.stat(cafile) if cafile and not (capath or cadata) else None
        key = found and (cafile, found.st_ino, found.st_size, found.st_mtime_ns)
        with self._reading:
            if key is None or key != self._loaded:
                super().load_verify_locations(cafile, capath, cadata)
                self._loaded = key


_ahead: list[ssl.SSLContext] = []  # for the client that is being made, its bundle being read already


def _context(protocol: int) -> ssl.SSLContext:
    return _ahead.pop() if _ahead else _LoadsOnce(protocol)


# botocore offers no way to hand in a context of one's own. Were the name to move, only the time would be lost.
botocore.httpsession.SSLContext = _context  # type: ignore[attr-defined]
# It looks at the signatures of the handlers that it registers, all its own: 3 ms, and 5 for the module `inspect`.
botocore.hooks.accepts_kwargs = lambda _handler: True  # type: ignore[assignment, return-value]
_ASKED = {"secretsmanager", "sts", "sso", "sso-oidc", "signin"}  # services: ours, and what credentials may come from

_REASONS: dict[str, Reason] = {
    "AccessDenied": "access_denied",
    "AccessDeniedException": "access_denied",
    "UnauthorizedOperation": "access_denied",
    "403": "access_denied",
    "ResourceNotFoundException": "not_found",
    "Throttling": "throttled",
    "ThrottlingException": "throttled",
    "ThrottledException": "throttled",
    "RequestThrottled": "throttled",
    "TooManyRequestsException": "throttled",
    "RequestLimitExceeded": "throttled",
    "LimitExceededException": "throttled",
    "SlowDown": "throttled",
    "RequestTimeout": "timeout",
    "ExpiredToken": "credentials",
    "ExpiredTokenException": "credentials",
    "InvalidClientTokenId": "credentials",
    "UnrecognizedClientException": "credentials",
    "InvalidSignatureException": "credentials",
    "SignatureDoesNotMatch": "credentials",
    "IncompleteSignature": "credentials",
    "MissingAuthenticationToken": "credentials",
    "RequestExpired": "credentials",
    "RequestTimeTooSkewed": "credentials",
    "InvalidIdentityToken": "credentials",
    "DecryptionFailure": "invalid",
    "InvalidParameterException": "invalid",
    "InvalidRequestException": "invalid",
    "ValidationException": "invalid",
}
_CALLER = re.compile(r"User: (arn:\S+)")
_KEY = re.compile(r"arn:[\w-]+:kms:[^\s\"']+")


def _session() -> botocore.session.Session:
    """A session without the handlers, 114 of 127, for services that are not asked: 3 ms of a start."""
    session = botocore.session.Session(include_builtin_handlers=False)
    events = session.get_component("event_emitter")
    places = {
        botocore.handlers.REGISTER_FIRST: events.register_first,
        botocore.handlers.REGISTER_LAST: events.register_last,
    }
    for event, handler, *place in botocore.handlers.BUILTIN_HANDLERS:
        service = event.split(".")[1:2]
        if not service or service[0] in _ASKED:
            register = places[place[0]] if place else events.register
            register(event, handler)
    return session


def _read(context: ssl.SSLContext, bundle: str) -> None:
    with contextlib.suppress(OSError):  # the connection that needs it says so
        context.load_verify_locations(bundle)


class Answer(Record, Generic[R]):
    """What one call came to, and the call itself, for the books."""

    result: R | Failure
    call: Call


class Identity(Record):
    """Which source of credentials boto3's chain found; `warning` if a person should look at it."""

    source: str
    warning: str | None = None
    expires: float | None = None  # epoch seconds; None: never, or the source does not tell


class Caller(Record):
    """Who AWS takes us for, and how many seconds this node's clock is ahead of AWS's."""

    arn: str
    skew: float


class SecretsManager:
    """AWS Secrets Manager by one boto3 session, with one client per origin.

    `prepare` is called by one thread, since making clients is not thread-safe; `observe` and `fetch` by any.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._session = _session()
        self._first = self._read_ahead()
        self._clients: dict[Origin, SecretsManagerClient | Failure] = {}
        self._config = ClientConfig(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            tcp_keepalive=True,
            max_pool_connections=32,  # not fewer than there are threads, or urllib3 warns and drops some
            user_agent_extra=f"freshmount/{__version__}",
        )

    def _read_ahead(self) -> list[ssl.SSLContext]:
        """A context for the first client, which reads its bundle beside what else there is to do: 4 ms of a start."""
        context = _LoadsOnce(ssl.PROTOCOL_TLS_CLIENT)
        with contextlib.suppress(aws.BotoCoreError):  # a configuration that making the client will find wrong, too
            threading.Thread(target=_read, args=(context, self.bundle), name="bundle", daemon=True).start()
        return [context]

    def prepare(self, secrets: Iterable[Secret]) -> None:
        """Make the clients that these secrets need."""
        for secret in secrets:
            if secret.origin not in self._clients:
                self._clients[secret.origin] = self._client(secret.origin)

    def _client(self, origin: Origin) -> SecretsManagerClient | Failure:
        try:
            self._session.get_component("credential_provider")  # makes contexts, too, for others than AWS
            _ahead[:], self._first = self._first, []
            client = self._session.create_client(
                "secretsmanager",
                region_name=origin.region,
                endpoint_url=origin.endpoint_url,
                config=self._config,
            )
        except aws.NoRegionError:
            return Failure("invalid", "no region is known; set `region:` in the config or give the secret's full ARN")
        except (aws.BotoCoreError, ValueError) as error:
            return Failure("invalid", f"no client can be made for {origin}: {_line(str(error))}")
        finally:
            _ahead.clear()
        return cast("SecretsManagerClient", client)

    def observe(self, secret: Secret) -> Answer[Observation]:
        """Which version holds the wanted stage now, and what is known about coming rotations: an `Observation`.

        DescribeSecret carries no value and needs no KMS permission.
        """
        return self._ask(
            "DescribeSecret",
            secret,
            lambda client: _observation(secret, client.describe_secret(SecretId=secret.secret_id)),
        )

    def fetch(self, secret: Secret, version_id: str | None) -> Answer[Fetched]:
        """The value of that version, or with None of the version that holds the wanted stage: a `Fetched`."""
        if version_id is not None:
            which = {"VersionId": version_id}
        else:
            which = {"VersionStage": secret.version_stage or "AWSCURRENT"}
        return self._ask(
            "GetSecretValue",
            secret,
            lambda client: _fetched(secret, client.get_secret_value(SecretId=secret.secret_id, **which)),
        )

    def _ask(
        self, operation: Operation, secret: Secret, ask: Callable[[SecretsManagerClient], R | Failure]
    ) -> Answer[R]:
        client = self._clients[secret.origin]
        if isinstance(client, Failure):
            return Answer(client, Call(operation, "NoClient", 0.0))
        began = time.monotonic()
        try:
            result = ask(client)
            code = OK
        except (aws.BotoCoreError, aws.ClientError, OSError) as error:
            result = classify(error, secret, operation, client.meta.region_name, client.meta.endpoint_url)
            code = _code(error)
        return Answer(result, Call(operation, code, time.monotonic() - began))

    def identity(self) -> Identity:
        """Which source of credentials was found, without a call to STS.

        boto3 falls back to the instance's role without a word when neither IRSA nor Pod Identity was injected, so in
        Kubernetes that is a warning.
        """
        try:
            found = self._session.get_credentials()
        except (aws.BotoCoreError, OSError) as error:
            return Identity("none", f"no credentials: {_line(str(error))}")
        in_kubernetes = "KUBERNETES_SERVICE_HOST" in os.environ
        advice = "annotate the service account for IRSA or associate it with a role for EKS Pod Identity"
        if found is None:
            return Identity(
                "none", f"no credentials were found; {advice}" if in_kubernetes else "no credentials were found"
            )
        expiry = getattr(found, "_expiry_time", None)  # botocore keeps it to itself
        expires = expiry.timestamp() if expiry else None
        source = _SOURCES.get(found.method, found.method)
        if found.method == "container-role" and "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" in os.environ:
            source = "EKS Pod Identity"
        if found.method == "iam-role" and in_kubernetes:
            return Identity(source, f"this pod uses the node's role, which every pod here shares; {advice}", expires)
        return Identity(source, expires=expires)

    @property
    def bundle(self) -> str:
        """The file of certificates that TLS to AWS is checked against."""
        configured = self._session.get_config_variable("ca_bundle")
        return str(configured or botocore.httpsession.where())

    def endpoint(self, origin: Origin) -> str | Failure:
        """The URL that is asked for secrets of that origin; `prepare` made its client."""
        client = self._clients[origin]
        return client if isinstance(client, Failure) else str(client.meta.endpoint_url)

    def caller(self, origin: Origin) -> Caller | Failure:
        """Who we are, by STS in the region of that origin. It needs no permission, but a route to STS."""
        try:
            client: Any = self._session.create_client("sts", region_name=origin.region, config=self._config)
            answer = client.get_caller_identity()
            told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            return Caller(answer["Arn"], time.time() - parsedate_to_datetime(told).timestamp() if told else 0.0)
        except (aws.BotoCoreError, aws.ClientError, OSError, ValueError, KeyError) as error:
            return Failure("other", _line(str(error)))


_SOURCES = {
    "env": "environment",
    "assume-role": "assumed role",
    "assume-role-with-web-identity": "web identity (IRSA)",
    "shared-credentials-file": "shared credentials file",
    "config-file": "config file",
    "container-role": "container role",
    "iam-role": "instance role",
    "sso": "SSO",
}


def _observation(secret: Secret, answer: Any) -> Observation | Failure:
    if deleted := answer.get("DeletedDate"):
        return Failure(
            "deleted",
            f"{secret.secret_id} is scheduled for deletion since {deleted:%Y-%m-%d %H:%M %Z}; "
            "restore-secret brings it back",
        )
    stages: dict[str, list[str]] = answer.get("VersionIdsToStages") or {}
    holder = {stage: version for version, labels in stages.items() for stage in labels}
    version = holder.get(secret.version_stage or "")
    if version is None:
        return Failure(
            "not_found",
            f"{secret.secret_id} has no version with stage {secret.version_stage}; "
            f"it has {', '.join(sorted(holder)) or 'none'}",
        )
    pending = holder.get("AWSPENDING")
    enabled = answer.get("RotationEnabled")
    next_at = answer.get("NextRotationDate") if enabled else None
    return Observation(
        version_id=version,
        stages=tuple(sorted(stages[version])),
        rotation=Rotation(
            next_at=next_at.timestamp() if next_at else None,
            window=_window(answer.get("RotationRules") or {}) if enabled else None,
            pending=pending if pending != holder.get("AWSCURRENT") else None,
        ),
    )


def _window(rules: Any) -> float:
    """Seconds of the rotation window. Without a Duration it closes after an hour for schedules in hours, else with the
    UTC day. https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotationRulesType.html
    """
    if found := re.fullmatch(r"(\d+)h", rules.get("Duration") or ""):
        return float(found[1]) * 3600
    schedule = rules.get("ScheduleExpression") or ""
    hourly = "hour" in schedule or re.match(r"cron\(\S+ \S*[*/]", schedule)
    return 3600.0 if hourly else 86400.0


def _fetched(secret: Secret, answer: Any) -> Fetched | Failure:
    text, binary, version = answer.get("SecretString"), answer.get("SecretBinary"), answer.get("VersionId")
    if version is None or (text is None and binary is None):
        return Failure(
            "invalid", f"the answer for {secret.secret_id} holds no value; is the endpoint AWS Secrets Manager?"
        )
    created = answer.get("CreatedDate")
    value = (
        SecretValue(text.encode("utf-8", "surrogatepass"), text=True)
        if text is not None
        else SecretValue(binary, text=False)
    )
    return Fetched(
        version, tuple(sorted(answer.get("VersionStages") or ())), created.timestamp() if created else None, value
    )


def _code(error: Exception) -> str:
    if isinstance(error, aws.ClientError):
        return str(error.response.get("Error", {}).get("Code") or "unknown")
    return "timeout" if isinstance(error, (aws.ConnectTimeoutError, aws.ReadTimeoutError)) else type(error).__name__


def classify(error: Exception, secret: Secret, operation: Operation, region: str, endpoint: str) -> Failure:
    """What an exception of boto3 means for the secret, by AWS's code: not all of them are modelled classes.

    AWS's own words carry no value; they are bounded, and left out where the answer could not be understood.
    """
    if isinstance(error, aws.ClientError):
        return _refusal(error, secret, operation, region)
    what = f"{operation} of {secret.secret_id} in {region}"
    if isinstance(error, (aws.ConnectTimeoutError, aws.ReadTimeoutError)):
        return Failure("timeout", f"{what}: {endpoint} did not answer in time; is there a route or a VPC endpoint?")
    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError)):
        return Failure("credentials", f"{what}: no credentials; are IRSA or Pod Identity set up for this pod?")
    if isinstance(
        error, (aws.CredentialRetrievalError, aws.TokenRetrievalError, aws.SSOError, aws.MetadataRetrievalError)
    ):
        return Failure("credentials", f"{what}: credentials could not be had: {_line(str(error))}")
    if isinstance(error, aws.ParamValidationError):
        return Failure("invalid", f"{what}: AWS knows no such request: {_line(str(error))}")
    if isinstance(error, aws.SSLError):
        return Failure("other", f"{what}: TLS to {endpoint} failed; if a proxy re-signs it, set AWS_CA_BUNDLE")
    if isinstance(error, (aws.HTTPClientError, aws.ConnectionError, OSError)):
        return Failure("timeout", f"{what}: no answer from {endpoint}: {_network(error)}")
    return Failure("other", f"{what}: {type(error).__name__}: the answer could not be understood")


def _refusal(error: aws.ClientError, secret: Secret, operation: Operation, region: str) -> Failure:
    """AWS answered with an error."""
    code, words = _code(error), _line(str(error.response.get("Error", {}).get("Message") or ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    what = f"{operation} of {secret.secret_id} in {region}"
    reason = _REASONS.get(code, "other")
    if (reason == "invalid" and "deletion" in words.lower()) or "marked deleted" in words.lower():
        return Failure("deleted", f"{what}: scheduled for deletion; restore-secret brings it back. AWS: {words}")
    if reason == "access_denied":
        return Failure(reason, _denied(secret, operation, words))
    if reason == "not_found":
        version = f" version {secret.version_id}" if secret.version_id else ""
        return Failure(reason, f"{what}: not found{version}; check name, region and account. AWS: {words}")
    if reason == "credentials":
        skewed = code in ("RequestTimeTooSkewed", "RequestExpired") or (
            "expired" in words.lower() and "signature" in words.lower()
        )
        advice = "the clock of this node is off" if skewed else "the credentials are not accepted"
        return Failure(reason, f"{what}: {code}: {advice}. AWS: {words}")
    if status >= 500 and reason == "other":
        return Failure(reason, f"{what}: AWS answers {status} {code}; tried again when the backoff is due")
    return Failure(reason, f"{what}: {code}. AWS: {words}")


def _denied(secret: Secret, operation: Operation, words: str) -> str:
    """Who was denied what, and the IAM statement that would allow it."""
    caller = _CALLER.search(words)
    who = caller[1] if caller else "this agent's role"
    resources: tuple[str, ...]
    if "kms" in words.lower():
        key = _KEY.search(words)
        action, resources = "kms:Decrypt", (key[0].rstrip(".,") if key else "the key's ARN",)
    else:
        action, resources = f"secretsmanager:{operation}", secret.resources
    resource = resources[0] if len(resources) == 1 else resources
    statement = json.dumps({"Effect": "Allow", "Action": action, "Resource": resource})
    explicit = (
        " (an explicit deny is in force: an allow will not help, that policy must change)"
        if "explicit deny" in words
        else ""
    )
    return f"{who} may not {action} on {secret.secret_id}{explicit}; add {statement}"


def _network(error: Exception) -> str:
    text = f"{error} {getattr(error, 'kwargs', {}).get('error', '')}"  # botocore keeps the cause to itself
    if "Name or service not known" in text or "name resolution" in text or "getaddrinfo" in text:
        return "its name does not resolve; check DNS"
    if "refused" in text.lower():
        return "connection refused"
    return type(error).__name__


def _line(words: str) -> str:
    return " ".join(words.split())[:300]
