"""AWS Secrets Manager: observe a version, fetch a value.

It uses botocore, the core of boto3: `import boto3` also loads S3's file transfer, 60 modules that cost every pod
2.5 MiB and 30 ms.

Every failure of a call is returned as a value: one secret's failure is an ordinary part of a pass.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import botocore.exceptions as aws
import botocore.httpsession
import botocore.session
import botocore.utils
from botocore.config import Config as ClientConfig

from agent import __version__
from agent.core.errors import Failure
from agent.core.model import OK, Answers, Call, Identity, Observation, Operation, Place, Request, Rotation, Secret
from agent.core.record import Record
from agent.core.value import Fetched, SecretValue
from agent.sources.aws import credentials, errors, tuning
from agent.sources.aws.credentials import Credentials, NoCredentials

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager.client import SecretsManagerClient

CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 2.0, 5.0, 2

CALL_LIMIT = ATTEMPTS * (CONNECT_TIMEOUT + READ_TIMEOUT) + 1.0  # seconds; the last second is botocore's own backoff

R = TypeVar("R", Observation, Fetched)


def _quiet(record: logging.LogRecord) -> bool:
    """Whether to log a library's message. The agent itself logs each failure, once and without a stack trace."""
    return not record.exc_info and (record.levelno < logging.WARNING or record.name == "urllib3.connectionpool")


for _name in ("botocore.credentials", "botocore.tokens", "urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_quiet)

_log = logging.getLogger(__name__)


class _Providers:
    """Gives botocore these credentials when it makes a client, without searching for any, and no bearer tokens, which
    Secrets Manager does not accept."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Credentials:
        return self._credentials

    def load_token(self, **_: object) -> None:
        return None


def _session() -> botocore.session.Session:
    session = tuning.session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return session


def _timestamp(found: Any) -> Any:
    """A point in time, parsed by botocore, which would take minutes for text of megabytes. Raises ValueError."""
    if isinstance(found, str) and len(found) > 64:
        raise ValueError("no time")
    return botocore.utils.parse_timestamp(found)


class Answer(Record, Generic[R]):
    """The result of one call, and the call itself, for the metrics."""

    result: R | Failure
    call: Call


class Caller(Record):
    """The identity that AWS sees, and how many seconds this node's clock is ahead of AWS's."""

    arn: str
    skew: float


class SecretsManager:
    """AWS Secrets Manager, with one client per place and one set of credentials. Any thread may call it.

    A call makes the client and credentials that it needs. If that fails, the next call tries again.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        attempts: int = ATTEMPTS,
        credentials_limit: float = credentials.LIMIT,
    ) -> None:
        """Timeouts and limits are in seconds: for a connection, for an answer, for finding credentials."""
        self._credentials = Credentials(self._new_session, attempts=attempts, limit=credentials_limit)
        self._session = _session()
        self._first: tuning.Context | None = None
        with contextlib.suppress(aws.BotoCoreError):  # a wrong configuration; creating the client reports it
            self._first = tuning.read_ahead(self.bundle)
        self._making = threading.Lock()  # botocore makes one client at a time
        self._clients: dict[Place, SecretsManagerClient] = {}
        self._config = ClientConfig(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            tcp_keepalive=True,
            max_pool_connections=32,  # at least one for each thread, or urllib3 warns and drops some
            user_agent_extra=f"freshmount/{__version__}",
            defaults_mode=cast(Any, "legacy"),  # "auto" would ask the instance's metadata for a region
        )

    def _new_session(self) -> botocore.session.Session:
        """A session that shares the service models read so far, and nothing else."""
        session = _session()
        with contextlib.suppress(aws.BotoCoreError):  # a missing profile; the session itself reports it
            session.register_component("data_loader", self._session.get_component("data_loader"))
        return session

    def prepare(self, secrets: Iterable[Secret]) -> None:
        """Announce the secrets to come. Where the environment names no region, STS is called in the secrets' region.

        Creates nothing yet: the first call creates its client, while another thread searches for credentials.
        """
        regions = (secret.ref.place.region for secret in secrets)
        self._credentials.region = self._credentials.region or next(filter(None, regions), None)

    def _client(self, place: Place) -> SecretsManagerClient:
        """The client for that place, created on first use. Raises what botocore raises."""
        if client := self._clients.get(place):
            return client
        with self._making:
            if client := self._clients.get(place):
                return client
            first, self._first = self._first, None
            try:
                with tuning.connecting_by(first):
                    made = self._create("secretsmanager", place.region, place.endpoint_url)
            except Exception:
                self._session = self._new_session()  # the old one has cached the config files
                raise
            self._clients[place] = cast("SecretsManagerClient", made)
            return self._clients[place]

    def _create(self, service: str, region: str | None, endpoint: str | None = None) -> Any:
        for component in ("credential_provider", "token_provider"):
            self._session.register_component(component, _Providers(self._credentials))
        return self._session.create_client(
            cast(Any, service),
            region_name=region or os.environ.get("AWS_REGION"),
            endpoint_url=endpoint,
            config=self._config,
        )

    limit = CALL_LIMIT
    name = "secretsmanager"
    operations: tuple[Operation, Operation] = "DescribeSecret", "GetSecretValue"

    def batches(self, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
        """One request for each batch: AWS describes one secret per call, and BatchGetSecretValue knows only
        AWSCURRENT."""
        return [(request,) for request in requests]

    def observe(self, batch: tuple[Request, ...]) -> Answers[Observation]:
        """`describe` for each."""
        found = {request.secret.name: self.describe(request.secret) for request in batch}
        return Answers({name: answer.result for name, answer in found.items()}, tuple(a.call for a in found.values()))

    def fetch(self, batch: tuple[Request, ...]) -> Answers[Fetched]:
        """`value` for each."""
        found = {request.secret.name: self.value(request.secret, request.version_id) for request in batch}
        return Answers({name: answer.result for name, answer in found.items()}, tuple(a.call for a in found.values()))

    def describe(self, secret: Secret) -> Answer[Observation]:
        """Which version holds the wanted stage now, and when the next rotation is due: an `Observation`.

        DescribeSecret returns no value and needs no KMS permission.
        """
        return self._ask(
            "DescribeSecret",
            secret,
            lambda client: _observation(secret, client.describe_secret(SecretId=secret.ref.id)),
        )

    def value(self, secret: Secret, version_id: str | None) -> Answer[Fetched]:
        """The value of that version, or with None, of the version that holds the wanted stage: a `Fetched`.

        The stage is sent along with the version, because a policy may allow access by stage alone. AWS reports a
        version that no longer holds the stage as not found.
        """
        which = {"VersionId": version_id} if version_id is not None else {}
        if secret.ref.version_stage:
            which["VersionStage"] = secret.ref.version_stage
        return self._ask(
            "GetSecretValue",
            secret,
            lambda client: _fetched(secret, client.get_secret_value(SecretId=secret.ref.id, **which)),
        )

    def _ask(
        self, operation: Operation, secret: Secret, ask: Callable[[SecretsManagerClient], R | Failure]
    ) -> Answer[R]:
        began = time.monotonic()
        result, code = self._answer(operation, secret, ask, began)
        return Answer(result, Call(self.name, operation, code, time.monotonic() - began))

    def _answer(
        self, operation: Operation, secret: Secret, ask: Callable[[SecretsManagerClient], R | Failure], began: float
    ) -> tuple[R | Failure, str]:
        """The result of the call, and its code for the metrics. Never raises."""
        try:
            client = self._client(secret.ref.place)
        except Exception as error:
            _log.debug("no client", exc_info=error)
            return Failure("invalid", errors.no_client(error, secret.ref.place)), "NoClient"
        region = client.meta.region_name
        try:
            return ask(client), OK
        except NoCredentials as trouble:
            what = f"{operation} of {secret.ref.id} in {region}"
            return Failure("credentials", f"{what}: no credentials: {trouble}"), "NoCredentials"
        except Exception as error:
            _log.debug("no answer", exc_info=error)
            failure = errors.classify(
                error, secret, operation, region=region, endpoint=client.meta.endpoint_url, bundle=self.bundle
            )
            if failure.reason == "credentials" and not errors.of_clock(error):
                self._credentials.refused(began)
            return failure, errors.code_of(error)

    def identity(self, seconds: float | None = None, *, whole: bool = False) -> Identity:
        """Which source of credentials was found, after at most `seconds`. With `whole`, waits until it has given some,
        which takes a call to STS for a role."""
        try:
            found = self._credentials.find(whole=whole, seconds=seconds)
        except NoCredentials as trouble:
            return Identity("none", f"no credentials: {trouble}")
        return Identity(found.source, credentials.warning(found), found.expires)

    def present_identity(self) -> Identity | None:
        """Which source gave the current credentials. Does not search for others; None if there are none."""
        if present := self._credentials.present():
            found, trouble = present
            failing = (
                f"the credentials cannot be renewed, and the current ones expire soon: {trouble}" if trouble else None
            )
            return Identity(found.source, failing or credentials.warning(found), found.expires)
        return None

    @property
    def bundle(self) -> str:
        """The file of CA certificates that verifies TLS to AWS."""
        configured = self._session.get_config_variable("ca_bundle")
        return str(configured or botocore.httpsession.where())

    def proxy(self, url: str) -> errors.Proxy | None:
        """The proxy that the environment sets for that URL, if any."""
        return errors.proxy(url)

    def endpoint(self, place: Place) -> str | Failure:
        """The URL of Secrets Manager for that place."""
        try:
            return str(self._client(place).meta.endpoint_url)
        except Exception as error:
            return Failure("invalid", errors.no_client(error, place))

    def caller(self, place: Place) -> Caller | Failure:
        """Who the agent is, according to STS in that place's region. Needs no permission, but a route to STS."""
        try:
            with self._making:
                client = self._create("sts", place.region)
            answer = client.get_caller_identity()
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            return Caller(_word(answer["Arn"]), time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0)
        except NoCredentials as trouble:
            return Failure("credentials", f"no credentials: {trouble}")
        except Exception as error:
            return errors.of_caller(error, self.bundle)


def _observation(secret: Secret, answer: Any) -> Observation | Failure:
    """Read an answer to DescribeSecret. Raises ValueError, or another exception, if Secrets Manager did not send it."""
    if deleted := answer.get("DeletedDate"):
        return Failure(
            "deleted",
            f"{secret.ref.id} has been scheduled for deletion since {deleted:%Y-%m-%d %H:%M %Z}; "
            "restore-secret cancels that",
        )
    if not answer.keys() & {"ARN", "Name", "VersionIdsToStages"}:
        raise ValueError("no description")
    stages: dict[str, list[str]] = answer.get("VersionIdsToStages") or {}
    holder = {_word(stage): _word(version) for version, labels in stages.items() for stage in labels}
    version = holder.get(secret.ref.version_stage or "")
    if version is None:
        return Failure(
            "not_found",
            f"{secret.ref.id} has no version with stage {secret.ref.version_stage}; "
            f"its stages are {errors.line(', '.join(sorted(holder))) or 'none'}",
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
    """A version id, stage or ARN, if it has a form that AWS uses. Raises ValueError."""
    if isinstance(found, str) and 0 < len(found) <= 256 and found.isprintable():
        return found
    raise ValueError("no word")


def _window(rules: Any) -> float:
    """The length of the rotation window in seconds. Without a Duration, the window of a schedule in hours closes after
    an hour, and any other at the end of the UTC day.
    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotationRulesType.html
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
            "invalid",
            f"the answer for {secret.ref.id} contains no value; check that the endpoint is AWS Secrets Manager",
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
