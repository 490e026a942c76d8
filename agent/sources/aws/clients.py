"""What a call to AWS needs: a session, credentials, a client per place; and what its answer means.

It uses botocore, the core of boto3: `import boto3` brings S3's file transfer, 60 modules that cost every pod 2.5 MiB
and 30 ms.

Errors of AWS, and whatever else a call may end in, are values here: one secret's failure is an ordinary part of a pass.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Generic, Literal, TypeVar, cast

import botocore.exceptions as aws
import botocore.httpsession
import botocore.session
import botocore.utils
from botocore.config import Config as ClientConfig

from agent import __version__
from agent.core.errors import Failure
from agent.core.model import OK, Call, Identity, Operation, Place, Secret
from agent.core.record import Record
from agent.sources.aws import credentials, errors, tuning
from agent.sources.aws.credentials import Credentials, NoCredentials

Service = Literal["secretsmanager", "ssm", "sqs"]

CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 2.0, 5.0, 2

CALL_LIMIT = ATTEMPTS * (CONNECT_TIMEOUT + READ_TIMEOUT) + 1.0  # seconds; the last one is botocore's own backoff

R = TypeVar("R")


def _quiet(record: logging.LogRecord) -> bool:
    """Whether a library's line must be logged. We log what fails ourselves, once, and without a stack."""
    return not record.exc_info and (record.levelno < logging.WARNING or record.name == "urllib3.connectionpool")


for _name in ("botocore.credentials", "botocore.tokens", "urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_quiet)

_log = logging.getLogger(__name__)


class _Providers:
    """Replaces what botocore asks when it makes a client: our credentials, without looking for them; and no bearer
    tokens, which Secrets Manager does not take."""

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
    """A point in time, as botocore reads it. It would take minutes over a text of megabytes. Raises ValueError."""
    if isinstance(found, str) and len(found) > 64:
        raise ValueError("no time")
    return botocore.utils.parse_timestamp(found)


class Answer(Record, Generic[R]):
    """The result of one call, and the call itself, to be counted."""

    result: R | Failure
    call: Call


class Caller(Record):
    """Who we are to AWS, and how many seconds this node's clock is ahead of AWS's."""

    arn: str
    skew: float


class Clients:
    """AWS with one client per service and place, and one set of credentials per chain of roles. Any thread may call it.

    A call makes what it needs: a client or credentials that were not available are tried again by the next one.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        attempts: int = ATTEMPTS,
        credentials_limit: float = credentials.LIMIT,
    ) -> None:
        """Time-outs and limits are seconds: for a connection, for an answer, for finding credentials."""
        self._credentials = Credentials(self._new_session, attempts=attempts, limit=credentials_limit)
        self._session = _session()
        self._first: tuning.Context | None = None
        with contextlib.suppress(aws.BotoCoreError):  # a configuration that making the client will find wrong, too
            self._first = tuning.read_ahead(self.bundle)
        self._making = threading.Lock()  # botocore makes one client at a time
        self._assumed: dict[tuple[object, ...], Credentials] = {}
        self._assuming = threading.Lock()
        self._sessions: dict[Credentials, botocore.session.Session] = {}  # of assumed roles
        self._attempts, self._credentials_limit = attempts, credentials_limit
        self._sts_calls: deque[Call] = deque()
        self._clients: dict[tuple[Service, Place], Any] = {}
        self._requested: dict[tuple[Service, Place], str] = {}
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

    def prepare(self, secrets: Iterable[Secret]) -> None:
        """Say which secrets will be asked for. Where the environment names no region, STS is asked in theirs.

        Nothing is made yet: a client is made by its first call, while another thread looks for credentials.
        """
        regions = (secret.ref.place.region for secret in secrets)
        self._credentials.region = self._credentials.region or next(filter(None, regions), None)

    def _client(self, place: Place, service: Service = "secretsmanager") -> Any:
        """The client of a service at that place, made if there is none. Raises what botocore raises."""
        if client := self._clients.get((service, place)):
            return client
        with self._making:
            if client := self._clients.get((service, place)):
                return client
            first, self._first = self._first, None
            try:
                with tuning.connecting_by(first):
                    made = self._create(service, place, place.endpoint_url)
            except Exception:
                self._session = self._new_session()  # the old one keeps what it read of config files
                self._sessions.clear()
                raise
            made.meta.events.register("before-send", partial(self._sending, (service, place)))
            self._clients[service, place] = made
            return made

    def _drop(self, at: tuple[Service, Place]) -> None:
        """Forget a client; the next call makes another."""
        self._clients.pop(at, None)
        self._requested.pop(at, None)

    def _sending(self, to: tuple[Service, Place], request: Any, **_: object) -> None:
        if to in self._clients:  # one that was forgotten meanwhile leaves nothing
            self._requested[to] = request.url

    def _create(self, service: str, place: Place, endpoint: str | None = None) -> Any:
        found = self.credentials_of(place)
        # A session keeps the first credentials that it was given, so each role has one.
        session = self._session if found is self._credentials else self._sessions.setdefault(found, self._new_session())
        for component in ("credential_provider", "token_provider"):
            session.register_component(component, _Providers(found))
        return session.create_client(
            cast(Any, service),
            region_name=place.region or os.environ.get("AWS_REGION"),
            endpoint_url=endpoint,
            config=self._config,
        )

    def credentials_of(self, place: Place) -> Credentials:
        """What is signed with at that place: the credentials of its identity, or those of the last role of its chain.
        Places share the roles that they have in common. Raises NoCredentials for an identity that is not known."""
        found = self._identity_of(place)
        if not place.roles:
            return found
        from agent.sources.aws import roles  # few configs assume one

        with self._assuming:
            for link in roles.links(place):
                key = (place.identity, link.region, place.roles[: link.number], link.external_id, link.tags)
                if key not in self._assumed:
                    self._assumed[key] = roles.AssumedRole(
                        self._new_session,
                        link,
                        found,
                        self._sts_calls.append,
                        attempts=self._attempts,
                        limit=self._credentials_limit,
                    )
                found = self._assumed[key]
        return found

    def _identity_of(self, place: Place) -> Credentials:
        """The credentials that a place begins with."""
        if place.identity is None:
            return self._credentials
        raise NoCredentials(f"the credentials of {place.identity} are not known here")

    def sts_calls(self) -> tuple[Call, ...]:
        """The calls to STS for roles since this was last asked, to be counted."""
        calls = []
        with contextlib.suppress(IndexError):
            while True:
                calls.append(self._sts_calls.popleft())
        return tuple(calls)

    def ask(
        self,
        operation: Operation,
        secret: Secret,
        ask: Callable[[Any], R | Failure],
        service: Service = "secretsmanager",
        *,
        of: str | None = None,
    ) -> Answer[R]:
        """What a call about the secret answers: `ask` makes it, with the client of its place. Nothing is raised: what
        `ask` raises is classified. `of` is what messages say was asked for, if it is not the secret's id alone."""
        began = time.monotonic()
        result, code = self._answer(operation, secret, ask, began=began, service=service, of=of or secret.ref.id)
        return Answer(result, Call(service, operation, code, time.monotonic() - began))

    def _answer(
        self,
        operation: Operation,
        secret: Secret,
        ask: Callable[[Any], R | Failure],
        *,
        began: float,
        service: Service,
        of: str,
    ) -> tuple[R | Failure, str]:
        """The result of the call, and the code to be counted. No answer is raised."""
        try:
            client = self._client(secret.ref.place, service)
        except Exception as error:
            _log.debug("no client", exc_info=error)
            return Failure("invalid", errors.no_client(error, secret.ref.place)), "NoClient"
        region = client.meta.region_name
        try:
            return ask(client), OK
        except NoCredentials as trouble:
            what = f"{operation} of {of} in {region}"
            return Failure("credentials", f"{what}: no credentials: {trouble}"), "NoCredentials"
        except Exception as error:
            _log.debug("no answer", exc_info=error)
            failure = errors.classify(
                error, secret, operation, of=of, region=region, endpoint=client.meta.endpoint_url, bundle=self.bundle
            )
            if failure.reason == "credentials" and not errors.of_clock(error):
                self.credentials_of(secret.ref.place).refused(began)
            return failure, errors.code_of(error)

    def identity(self, seconds: float | None = None, *, whole: bool = False) -> Identity:
        """Which source of credentials was found, after so many seconds at most; with `whole` when it has given some,
        which for a role takes a call to STS."""
        try:
            found = self._credentials.find(whole=whole, seconds=seconds)
        except NoCredentials as trouble:
            return Identity("none", f"no credentials: {trouble}")
        return Identity(found.source, credentials.warning(found), found.expires)

    def present_identity(self) -> Identity | None:
        """Which source gave the current credentials, without looking for others; None without any."""
        if present := self._credentials.present():
            found, trouble = present
            roles = [each.present() for each in list(self._assumed.values())]
            trouble = trouble or next((why for present in roles if present and (why := present[1])), None)
            failing = (
                f"the credentials cannot be renewed, and the current ones expire soon: {trouble}" if trouble else None
            )
            return Identity(found.source, failing or credentials.warning(found), found.expires)
        return None

    @property
    def bundle(self) -> str:
        """The file of certificates that TLS to AWS is checked against."""
        configured = self._session.get_config_variable("ca_bundle")
        # The second one is botocore's own way out, for who has it set for Python's requests.
        return str(configured or os.environ.get("REQUESTS_CA_BUNDLE") or botocore.httpsession.where())

    def proxy(self, url: str) -> errors.Proxy | None:
        """The proxy on the way to that URL, by the environment."""
        return errors.proxy(url)

    def endpoint(self, place: Place, service: Service = "secretsmanager") -> str | Failure:
        """The URL that a service is asked at for secrets of that place."""
        try:
            return str(self._client(place, service).meta.endpoint_url)
        except Exception as error:
            return Failure("invalid", errors.no_client(error, place))

    def requested(self, place: Place) -> str | None:
        """The URL of the last request to Secrets Manager for secrets of that place; None before the first. For some
        variants of endpoints its host is another than that of `endpoint`."""
        return self._requested.get(("secretsmanager", place))

    def caller(self, place: Place) -> Caller | Failure:
        """Who we are, according to STS in the region of that place. It needs no permission, but a route to STS."""
        try:
            with self._making:
                client = self._create("sts", place)
            answer = client.get_caller_identity()
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            return Caller(word(answer["Arn"]), time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0)
        except NoCredentials as trouble:
            return Failure("credentials", f"no credentials: {trouble}")
        except Exception as error:
            return errors.of_caller(error, self.bundle)


def word(found: Any) -> str:
    """A version's id or a stage, as AWS makes them. Raises ValueError."""
    if isinstance(found, str) and 0 < len(found) <= 256 and found.isprintable():
        return found
    raise ValueError("no word")
