"""AWS with the credentials of others: access keys and service accounts that were given to it, beside its own.

What is given is known by a name, which a `Place` carries. Nobody gets the credentials of another name, and what is kept
for names that nobody asks for any more is bounded.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import botocore
import botocore.exceptions as aws
from botocore.config import Config as ClientConfig
from botocore.credentials import ReadOnlyCredentials
from botocore.session import Session

from agent.core.model import OK, Call, Place
from agent.core.record import Record
from agent.core.value import SecretValue
from agent.sources.aws import errors
from agent.sources.aws.clients import Service
from agent.sources.aws.credentials import Credentials, Found, NoCredentials, kept
from agent.sources.aws.roles import session_name
from agent.sources.aws.source import Aws

MOST = 512  # identities, roles and clients that are kept


class Keys(Record):
    """An access key of somebody. `of` says where it stands, for messages."""

    of: str
    access_key: SecretValue
    secret_key: SecretValue
    session_token: SecretValue | None = None


class WebIdentity(Record):
    """A role that a token of somebody may assume. `token` returns a fresh one, or raises NoCredentials; it blocks."""

    of: str
    role: str
    region: str
    token: Callable[[], SecretValue]


class Identified(Aws):
    """Every kind of secret, asked for with identities that are given by `use`. Any thread may call it."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self._given: OrderedDict[str, Credentials] = OrderedDict()

    def use(self, name: str, identity: Keys | WebIdentity) -> None:
        """Let places with this name begin with this identity. A name that is known keeps what it has: give another
        identity another name."""
        with self._assuming:
            if name not in self._given:
                self._given[name] = (
                    _GivenKeys(identity, self._new_session, attempts=self._attempts, limit=self._credentials_limit)
                    if isinstance(identity, Keys)
                    else _Assumed(
                        identity,
                        self._new_session,
                        self._sts_calls.append,
                        attempts=self._attempts,
                        limit=self._credentials_limit,
                    )
                )
            self._given.move_to_end(name)
            while len(self._given) > MOST:
                self._forget(self._given.popitem(last=False)[0])

    def _identity_of(self, place: Place) -> Credentials:
        if place.identity is None:
            return super()._identity_of(place)
        found = self._given.get(place.identity)
        return found if found is not None else super()._identity_of(place)

    def credentials_of(self, place: Place) -> Credentials:
        """What is signed with at that place. Raises NoCredentials for an identity that is not known."""
        found = super().credentials_of(place)
        with self._assuming:
            while len(self._assumed) > MOST:
                self._sessions.pop(self._assumed.pop(next(iter(self._assumed))), None)
        return found

    def _client(self, place: Place, service: Service = "secretsmanager") -> Any:
        made = super()._client(place, service)
        with self._making:
            while len(self._clients) > MOST:
                self._drop(next(iter(self._clients)))
        return made

    def _forget(self, name: str) -> None:
        """Drop what was made for an identity. The caller holds the lock of `use`."""
        for key in [key for key in self._assumed if key[0] == name]:
            self._sessions.pop(self._assumed.pop(key), None)
        for at in [at for at in self._clients if at[1].identity == name]:
            self._drop(at)


class _GivenKeys(Credentials):
    """An access key that does not change."""

    def __init__(self, keys: Keys, session: Callable[[], Session], *, attempts: int, limit: float) -> None:
        super().__init__(session, attempts=attempts, limit=limit)
        self._given = keys

    def _look(self, look_up: Any) -> Any:
        look_up.method = self._given.of
        look_up.found = Found("given", self._given.of)
        look_up.known.set()
        parts = []
        for what, value in (
            ("access key", self._given.access_key),
            ("secret key", self._given.secret_key),
            ("session token", self._given.session_token),
        ):
            parts.append(None if value is None else _word(self._given.of, what, value))
        return kept(ReadOnlyCredentials(*cast(Any, parts)), look_up.found, time.time())


def _word(of: str, what: str, value: SecretValue) -> str:
    text = value.reveal().decode("ascii", "replace").strip()
    if not text or "\ufffd" in text or not text.isprintable() or " " in text:
        raise NoCredentials(f"{of}: its {what} is empty, or no text of one word")
    return text


class _Assumed(Credentials):
    """The credentials of a role that is assumed with a token. They are kept until shortly before they expire."""

    def __init__(
        self,
        identity: WebIdentity,
        session: Callable[[], Session],
        called: Callable[[Call], None],
        *,
        attempts: int,
        limit: float,
    ) -> None:
        super().__init__(session, attempts=attempts, limit=limit)
        self._identity, self._called = identity, called

    def _look(self, look_up: Any) -> Any:
        given = self._identity
        look_up.method = given.of
        look_up.found = Found("assume-role-with-web-identity", given.of)
        look_up.known.set()
        token = given.token().reveal().decode("ascii", "replace")
        client: Any = self._session().create_client(
            "sts",
            region_name=given.region,
            config=ClientConfig(
                connect_timeout=2.0,
                read_timeout=3.0,
                retries={"mode": "standard", "total_max_attempts": self._attempts},
                signature_version=botocore.UNSIGNED,
                defaults_mode=cast(Any, "legacy"),
            ),
        )
        began, code = time.monotonic(), OK
        try:
            answer = client.assume_role_with_web_identity(
                RoleArn=given.role, RoleSessionName=session_name(os.environ), WebIdentityToken=token
            )
        except Exception as error:
            code = errors.code_of(error)
            raise
        finally:
            self._called(Call("sts", "AssumeRoleWithWebIdentity", code, time.monotonic() - began))
        found = answer["Credentials"]
        keys = ReadOnlyCredentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
        expires = found["Expiration"].timestamp()
        if expires <= time.time():
            raise NoCredentials(f"{given.of}: what STS gives has expired already; is this node's clock right?")
        return kept(keys, Found("assume-role-with-web-identity", given.of, expires), time.time())

    def _reason(self, method: str, error: Exception) -> str:
        given = self._identity
        what = f"{given.of}: sts:AssumeRoleWithWebIdentity for {given.role}"
        if not isinstance(error, aws.ClientError):
            return f"{what}: no answer of STS that can be understood: {errors.kind(error)}"
        code, sent = errors.code_and_message(error)
        said = f". AWS: {errors.line(sent)}" if sent else ""
        if code in ("AccessDenied", "AccessDeniedException"):
            return f"{what} is denied; the role's trust policy must allow this service account{said}"
        return f"{what}: {code}{said}"
