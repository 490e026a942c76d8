"""AWS Secrets Manager: observe a version, fetch a value.

Of boto3 its core, botocore, is used: `import boto3` brings what transfers files to S3, 60 modules that cost every pod
2.5 MiB and 30 ms.

Errors of AWS, and whatever else comes of a call, are values here: one secret's failure is an ordinary part of a pass.
"""

from __future__ import annotations

import contextlib
import logging
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
import botocore.utils
from botocore.config import Config as ClientConfig

from agent import __version__, aws_errors, credentials
from agent.config import Origin, Secret
from agent.credentials import Credentials, NoCredentials
from agent.decide import Observation
from agent.errors import Failure
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


_ahead = threading.local()  # `context`: for the client that this thread makes, its bundle being read already


def _context(protocol: int) -> ssl.SSLContext:
    context: ssl.SSLContext | None = getattr(_ahead, "context", None)
    _ahead.context = None
    return context or _LoadsOnce(protocol)


# botocore offers no way to hand in a context of one's own. Were the name to move, only the time would be lost.
botocore.httpsession.SSLContext = _context  # type: ignore[attr-defined]
# It looks at the signatures of the handlers that it registers, all its own: 3 ms, and 5 for the module `inspect`.
botocore.hooks.accepts_kwargs = lambda _handler: True  # type: ignore[assignment, return-value]
_ASKED = {"secretsmanager", "sts", "sso", "sso-oidc", "signin"}  # services: ours, and what credentials may come from


def _quiet(record: logging.LogRecord) -> bool:
    """Whether a line of a library is to be logged. What fails is told by us, once, and without a stack."""
    return not record.exc_info and (record.levelno < logging.WARNING or record.name == "urllib3.connectionpool")


for _name in ("botocore.credentials", "botocore.tokens", "urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_quiet)
_log = logging.getLogger(__name__)


class _Providers:
    """In place of what botocore asks when it makes a client: our credentials, without a look for them; and no bearer
    tokens, which Secrets Manager does not take."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Credentials:
        return self._credentials

    def load_token(self, **_: object) -> None:
        return None


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
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return session


def _timestamp(found: Any) -> Any:
    """A point in time, as botocore reads it. It would take minutes over a text of megabytes. Raises ValueError."""
    if isinstance(found, str) and len(found) > 64:
        raise ValueError("no time")
    return botocore.utils.parse_timestamp(found)


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
    """AWS Secrets Manager, with one client per origin and one set of credentials. Any thread may call it.

    What a call needs is made by the call: a client, or credentials, that could not be had are asked for again by the
    next one.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        attempts: int = ATTEMPTS,
        credentials_limit: float = credentials.LIMIT,
    ) -> None:
        """Time-outs and limits are seconds: of a connection, of an answer, of a look for credentials."""
        self._credentials = Credentials(self._new_session, attempts=attempts, limit=credentials_limit)
        self._session = _session()
        self._first: ssl.SSLContext | None = self._read_ahead()
        self._making = threading.Lock()  # botocore makes one client at a time
        self._clients: dict[Origin, SecretsManagerClient] = {}
        self._config = ClientConfig(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            tcp_keepalive=True,
            max_pool_connections=32,  # not fewer than there are threads, or urllib3 warns and drops some
            user_agent_extra=f"freshmount/{__version__}",
            defaults_mode=cast(Any, "legacy"),  # "auto" would ask the instance's metadata for a region
        )

    def _new_session(self) -> botocore.session.Session:
        """A session that shares the models of services that were read, and nothing else."""
        session = _session()
        with contextlib.suppress(aws.BotoCoreError):  # a profile that is not there: the session itself will say so
            session.register_component("data_loader", self._session.get_component("data_loader"))
        return session

    def _read_ahead(self) -> ssl.SSLContext:
        """A context for the first client, which reads its bundle beside what else there is to do: 4 ms of a start."""
        context = _LoadsOnce(ssl.PROTOCOL_TLS_CLIENT)
        with contextlib.suppress(aws.BotoCoreError):  # a configuration that making the client will find wrong, too
            threading.Thread(target=_read, args=(context, self.bundle), name="bundle", daemon=True).start()
        return context

    def prepare(self, secrets: Iterable[Secret]) -> None:
        """Say which secrets will be asked for. Where the environment names no region, STS is asked in theirs.

        Nothing is made yet: a client is made by its first call, while credentials are looked for in another thread.
        """
        regions = (secret.origin.region for secret in secrets)
        self._credentials.region = self._credentials.region or next(filter(None, regions), None)

    def _client(self, origin: Origin) -> SecretsManagerClient:
        """The client of that origin, made if there is none. Raises what botocore raises."""
        if client := self._clients.get(origin):
            return client
        with self._making:
            if client := self._clients.get(origin):
                return client
            _ahead.context, self._first = self._first, None
            try:
                made = self._create("secretsmanager", origin.region, origin.endpoint_url)
            except Exception:
                self._session = self._new_session()  # the old one keeps what it read of config files
                raise
            finally:
                _ahead.context = None
            self._clients[origin] = cast("SecretsManagerClient", made)
            return self._clients[origin]

    def _create(self, service: str, region: str | None, endpoint: str | None = None) -> Any:
        for component in ("credential_provider", "token_provider"):
            self._session.register_component(component, _Providers(self._credentials))
        return self._session.create_client(
            cast(Any, service),
            region_name=region or os.environ.get("AWS_REGION"),
            endpoint_url=endpoint,
            config=self._config,
        )

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
        """The value of that version, or with None of the version that holds the wanted stage: a `Fetched`.

        The stage is sent along with the version, since a policy may allow access by its stage alone. That a version no
        longer holds it comes back as not found.
        """
        which = {"VersionId": version_id} if version_id is not None else {}
        if secret.version_stage:
            which["VersionStage"] = secret.version_stage
        return self._ask(
            "GetSecretValue",
            secret,
            lambda client: _fetched(secret, client.get_secret_value(SecretId=secret.secret_id, **which)),
        )

    def _ask(
        self, operation: Operation, secret: Secret, ask: Callable[[SecretsManagerClient], R | Failure]
    ) -> Answer[R]:
        began = time.monotonic()
        result, code = self._answer(operation, secret, ask, began)
        return Answer(result, Call(operation, code, time.monotonic() - began))

    def _answer(
        self, operation: Operation, secret: Secret, ask: Callable[[SecretsManagerClient], R | Failure], began: float
    ) -> tuple[R | Failure, str]:
        """What the call came to, and the code for the books. Nothing that is answered is raised."""
        try:
            client = self._client(secret.origin)
        except Exception as error:
            _log.debug("no client", exc_info=error)
            return Failure("invalid", aws_errors.no_client(error, secret.origin)), "NoClient"
        region = client.meta.region_name
        try:
            return ask(client), OK
        except NoCredentials as trouble:
            what = f"{operation} of {secret.secret_id} in {region}"
            return Failure("credentials", f"{what}: no credentials: {trouble}"), "NoCredentials"
        except Exception as error:
            _log.debug("no answer", exc_info=error)
            failure = aws_errors.classify(
                error, secret, operation, region=region, endpoint=client.meta.endpoint_url, bundle=self.bundle
            )
            if failure.reason == "credentials" and not aws_errors.of_clock(error):
                self._credentials.refused(began)
            return failure, aws_errors.code_of(error)

    def identity(self, *, whole: bool = False, seconds: float | None = None) -> Identity:
        """Which source of credentials was found, after so many seconds at most; with `whole` when it has given some,
        which for a role takes a call to STS."""
        try:
            found = self._credentials.find(whole=whole, seconds=seconds)
        except NoCredentials as trouble:
            return Identity("none", f"no credentials: {trouble}")
        return Identity(found.source, credentials.warning(found), found.expires)

    def present_identity(self) -> Identity | None:
        """Which source gave the credentials in hand, without a look for others; None without any."""
        if present := self._credentials.present():
            found, trouble = present
            failing = f"the credentials cannot be renewed, and those in hand end soon: {trouble}" if trouble else None
            return Identity(found.source, failing or credentials.warning(found), found.expires)
        return None

    @property
    def bundle(self) -> str:
        """The file of certificates that TLS to AWS is checked against."""
        configured = self._session.get_config_variable("ca_bundle")
        return str(configured or botocore.httpsession.where())

    def proxy(self, url: str) -> aws_errors.Proxy | None:
        """The proxy on the way to that URL, by the environment."""
        return aws_errors.proxy(url)

    def endpoint(self, origin: Origin) -> str | Failure:
        """The URL that is asked for secrets of that origin."""
        try:
            return str(self._client(origin).meta.endpoint_url)
        except Exception as error:
            return Failure("invalid", aws_errors.no_client(error, origin))

    def caller(self, origin: Origin) -> Caller | Failure:
        """Who we are, by STS in the region of that origin. It needs no permission, but a route to STS."""
        try:
            with self._making:
                client = self._create("sts", origin.region)
            answer = client.get_caller_identity()
            told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            return Caller(_word(answer["Arn"]), time.time() - parsedate_to_datetime(told).timestamp() if told else 0.0)
        except NoCredentials as trouble:
            return Failure("credentials", f"no credentials: {trouble}")
        except Exception as error:
            return aws_errors.of_caller(error, self.bundle)


def _observation(secret: Secret, answer: Any) -> Observation | Failure:
    """Raises ValueError, or whatever else comes of it, for what is no answer of AWS Secrets Manager."""
    if deleted := answer.get("DeletedDate"):
        return Failure(
            "deleted",
            f"{secret.secret_id} is scheduled for deletion since {deleted:%Y-%m-%d %H:%M %Z}; "
            "restore-secret brings it back",
        )
    if not answer.keys() & {"ARN", "Name", "VersionIdsToStages"}:
        raise ValueError("no description")
    stages: dict[str, list[str]] = answer.get("VersionIdsToStages") or {}
    holder = {_word(stage): _word(version) for version, labels in stages.items() for stage in labels}
    version = holder.get(secret.version_stage or "")
    if version is None:
        return Failure(
            "not_found",
            f"{secret.secret_id} has no version with stage {secret.version_stage}; "
            f"it has {aws_errors.line(', '.join(sorted(holder))) or 'none'}",
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


def _word(found: Any) -> str:
    """A version's id or a stage, as AWS makes them. Raises ValueError."""
    if isinstance(found, str) and 0 < len(found) <= 256 and found.isprintable():
        return found
    raise ValueError("no word")


def _window(rules: Any) -> float:
    """Seconds of the rotation window. Without a Duration it closes after an hour for schedules in hours, else with the
    UTC day. https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotationRulesType.html
    """
    if found := re.fullmatch(r"(\d{1,3})h", rules.get("Duration") or ""):
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
    if isinstance(text, str):
        value = SecretValue(text.encode("utf-8", "surrogatepass"), text=True)
    elif isinstance(binary, bytes):
        value = SecretValue(binary, text=False)
    else:
        raise TypeError("no value")
    stages = tuple(sorted(_word(stage) for stage in answer.get("VersionStages") or ()))
    return Fetched(_word(version), stages, created.timestamp() if created else None, value)
