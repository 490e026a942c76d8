"""Roles that are assumed before a secret is asked for, each with the credentials of the one before it."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import botocore.exceptions as aws
import botocore.httpsession
from botocore.credentials import ReadOnlyCredentials
from botocore.session import Session

from agent.core.model import OK, Call, Place
from agent.core.record import Record
from agent.sources.aws import errors
from agent.sources.aws.credentials import Credentials, Found, NoCredentials, bounded, kept

_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

_LONGEST = 64  # characters of a session's name


class Link(Record):
    """One role of a chain of `of`, counted from 1. Region: where STS is asked; None: where the environment says."""

    role: str
    number: int
    of: int
    region: str | None
    external_id: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def shown(self) -> str:
        """The role as messages name it."""
        return f"role {self.role}" + (f" (link {self.number} of {self.of})" if self.of > 1 else "")


def links(place: Place) -> list[Link]:
    """The chain of a place. External id and tags are for its last role."""
    last = len(place.roles)
    return [
        Link(
            role,
            number,
            last,
            place.region,
            place.external_id if number == last else None,
            place.tags if number == last else (),
        )
        for number, role in enumerate(place.roles, 1)
    ]


class AssumedRole(Credentials):
    """The credentials of a role. They are kept until shortly before they expire, and renewed beside."""

    def __init__(
        self,
        session: Callable[[], Session],
        link: Link,
        before: Credentials,
        called: Callable[[Call], None],
        *,
        attempts: int,
        limit: float,
    ) -> None:
        """`before` are those that the role is assumed with. `called` is called with each call to STS, to count it."""
        super().__init__(session, attempts=attempts, limit=limit)
        self._link, self._before, self._called = link, before, called
        self._making = threading.Lock()
        self._sts: Any = None

    def _look(self, look_up: Any) -> Any:
        look_up.method = self._link.shown
        client = self._client()
        if missing := self._missing():
            raise NoCredentials(f"{self._link.shown} cannot be assumed without credentials: {missing}")
        look_up.found = Found("assume-role", self._link.shown)
        look_up.known.set()
        answer = self._assume(client)
        found = answer["Credentials"]
        expires = found["Expiration"].timestamp()
        now = time.time()
        if expires <= now:
            raise NoCredentials(f"{self._link.shown}: what STS gives has expired already; is this node's clock right?")
        keys = ReadOnlyCredentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
        return kept(keys, Found("assume-role", self._link.shown, expires), now)

    def _missing(self) -> str | None:
        """Why there are none to assume it with, if there are none."""
        try:
            self._before.get_frozen_credentials()
        except NoCredentials as trouble:
            return str(trouble)
        return None

    def _assume(self, client: Any) -> Any:
        asked: dict[str, Any] = {"RoleArn": self._link.role, "RoleSessionName": session_name(os.environ)}
        if self._link.external_id:
            asked["ExternalId"] = self._link.external_id
        if self._link.tags:
            asked["Tags"] = [{"Key": key, "Value": value} for key, value in self._link.tags]
        began, code = time.monotonic(), OK
        try:
            return client.assume_role(**asked)
        except NoCredentials:
            code = "NoCredentials"
            raise
        except Exception as error:
            code = errors.code_of(error)
            if errors.REASONS.get(code) == "credentials" and not errors.of_clock(error):
                self._before.refused(began)
            raise
        finally:
            self._called(Call("sts", "AssumeRole", code, time.monotonic() - began))

    def _client(self) -> Any:
        with self._making:
            if self._sts is None:
                session = self._session()
                session.register_component("credential_provider", Given(self._before))
                region = self._link.region or os.environ.get("AWS_REGION")
                self._sts = session.create_client("sts", region_name=region, config=bounded(self._attempts))
            return self._sts

    def _reason(self, method: str, error: Exception) -> str:
        """Which link of the chain it is, and what to do."""
        link = self._link
        if isinstance(error, aws.ClientError):
            return _refusal(link, error)
        if isinstance(error, aws.NoRegionError):
            return f"{link.shown}: no region is known for STS; set `region:` in the config, or AWS_REGION"
        url = getattr(error, "kwargs", {}).get("endpoint_url")
        bundle = os.environ.get("AWS_CA_BUNDLE") or botocore.httpsession.where()
        if found := errors.connection(error, errors.server(str(url)) if url else "STS", bundle):
            return f"{link.shown}: {found[1]}"
        return (
            f"{link.shown}: the answer of STS cannot be understood: {errors.kind(error)}; does a proxy or a firewall "
            "answer in its place?"
        )


class Given:
    """What botocore asks for credentials when it makes a client: those that are given."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Credentials:
        """The credentials, without looking for any."""
        return self._credentials


def _refusal(link: Link, error: aws.ClientError) -> str:
    code, sent = errors.code_and_message(error)
    what, said = f"{link.shown}: sts:AssumeRole", f". AWS: {errors.line(sent)}" if sent else ""
    if errors.is_foreign(code):
        return (
            f"{what}: an answer {errors.status_of(error)} that is not of STS; does a proxy or a firewall answer in its "
            "place?"
        )
    reason = errors.REASONS.get(code)
    if reason == "access_denied":
        caller = re.search(errors.CALLER, sent)
        who = caller[1] if caller else "the caller"
        advice = f"{what} is denied to {who}: the role's trust policy must allow it, and so must a policy of the caller"
        named = " with this externalId" if link.external_id else ", and may want an externalId"
        tagged = "; sessionTags need sts:TagSession in both" if link.tags else ""
        return f"{advice}; the trust policy is checked{named}{tagged}{said}"
    if reason == "credentials":
        before = "the pod's own credentials" if link.number == 1 else f"those of link {link.number - 1}"
        return f"{what}: {code}: {before} are not accepted; they are looked for again at the next attempt{said}"
    if reason == "throttled":
        return f"{what}: STS throttles ({code}); tried again when the backoff is due{said}"
    return f"{what}: {code}{said}"


def session_name(environment: Mapping[str, str], namespace_file: str = _NAMESPACE) -> str:
    """What the session of an assumed role is called, so that CloudTrail tells which pod it was: namespace and pod,
    unless AWS_ROLE_SESSION_NAME says otherwise."""
    if given := environment.get("AWS_ROLE_SESSION_NAME"):
        return _fit(given)
    namespace = environment.get("POD_NAMESPACE") or ""
    if not namespace:
        try:
            with open(namespace_file, encoding="ascii", errors="replace") as handle:
                namespace = handle.read(_LONGEST).strip()
        except OSError:
            namespace = ""
    pod = environment.get("POD_NAME") or environment.get("HOSTNAME") or socket.gethostname()
    # The end of a pod's name tells it from its like.
    return _fit(f"{namespace[:24]}.{pod[-39:]}" if namespace else pod[-_LONGEST:])


def _fit(name: str) -> str:
    fit = re.sub(r"[^A-Za-z0-9_+=,.@-]", "-", name)[:_LONGEST]
    return fit if len(fit) > 1 else f"freshmount-{fit}"
