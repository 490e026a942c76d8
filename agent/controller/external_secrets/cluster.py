"""What is read from and written to Kubernetes. Every write asks first whether this process may write at all."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError
from lightkube.types import PatchType

from agent.config.kubernetes import LABEL, NAME
from agent.controller import jitter
from agent.controller.external_secrets import kinds
from agent.controller.external_secrets.kinds import Key
from agent.core.errors import FreshmountError, StartError, shown
from agent.core.value import SecretValue
from agent.sinks.kubernetes_secret.secret import MANAGER

_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"

_AT_ONCE = 32  # calls, fewer than there are connections

_TOKEN_LIFE = 600  # seconds, the least that Kubernetes gives

CONFLICT, NOT_FOUND, FORBIDDEN, INVALID = 409, 404, 403, 422

_TRIES, _PATIENCE = 4, 30.0  # calls, and seconds between two, where the API server asks for patience

Trouble = (httpx2.HTTPError, OSError)  # what a call to the API server may raise; ApiError is one of them


class Unreadable(httpx2.HTTPError):
    """What was answered is nothing that the API server says, such as the page of a proxy before it."""


class Absent(FreshmountError):
    """An object that is named somewhere does not exist, or lacks a key; the message names it."""


def clients() -> tuple[AsyncClient, AsyncClient]:
    """A client, and one that is answered with metadata alone, so that no value of a Secret is ever read by it.

    Raises StartError where it is not known how to reach the API server.
    """
    try:
        config: Any = KubeConfig.from_env().get()
        plain = AsyncClient(config, field_manager=MANAGER, trust_env=False)
        verify = verify_cluster(config.cluster, config.user, config.abs_file, trust_env=False)
        transport = _MetadataAlone(httpx2.AsyncHTTPTransport(verify=verify))
        metadata = AsyncClient(config, field_manager=MANAGER, trust_env=False, transport=transport)
    except (ConfigError, OSError, ValueError, AssertionError) as error:
        raise StartError(
            f"no API server is known ({type(error).__name__}); run this in a pod with a service account, or set "
            "KUBECONFIG"
        ) from error
    return plain, metadata


class _MetadataAlone(httpx2.AsyncBaseTransport):
    """Asks for metadata instead of objects, which lightkube has no word for."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer. An empty list of metadata has null for its items, which lightkube does not take for a list."""
        named = request.url.path.rpartition("/")[2] not in ("secrets", "namespaces")
        listed = request.method == "GET" and not named and "watch" not in request.url.params
        request.headers["Accept"] = _METADATA.format("List" if listed else "")
        answer = await self._inner.handle_async_request(request)
        if not listed or answer.status_code != httpx2.codes.OK:
            return answer
        content = (await answer.aread()).replace(b'"items":null', b'"items":[]', 1)
        await answer.aclose()
        return httpx2.Response(answer.status_code, headers={"Content-Type": "application/json"}, content=content)

    async def aclose(self) -> None:
        """End its connections."""
        await self._inner.aclose()


def said(error: BaseException) -> str:
    """What the API server said, or why it said nothing. Never a text that may hold a value."""
    if not isinstance(error, ApiError):
        return f"the API server does not answer ({type(error).__name__})"
    status = error.status
    message = str(status.message or "")
    if status.code == FORBIDDEN and " is forbidden: User " in message:
        return message[:400]
    causes = [str(each.field) for each in (status.details and status.details.causes) or () if each.field]
    where = f" at {', '.join(dict.fromkeys(causes))}" if causes else ""
    return f"the API server answers {status.code} {status.reason or ''}{where}".strip()


def retry_after(error: httpx2.HTTPStatusError) -> float | None:
    """Seconds for which the API server asks to wait, if it does: when it is asked for too much."""
    response: httpx2.Response | None = error.response
    text = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(text), _PATIENCE) if text.isascii() and text.isdigit() else None


class Cluster:
    """Reads and writes objects, so many at once. `leads` raises NotLeader when this process must not write."""

    def __init__(self, plain: Any, metadata: Any, leads: Callable[[], None]) -> None:
        self._plain, self._metadata, self._leads = plain, metadata, leads
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._rests = 0.0  # until then the API server wants to be asked nothing (monotonic)

    async def _read(self, call: Any, *given: Any, **named: Any) -> Any:
        return await self._patiently(lambda: call(*given, **named))

    async def _write(self, call: Any, *given: Any, **named: Any) -> Any:
        """Nothing is awaited between the question who leads and the request."""

        def write() -> Any:
            self._leads()
            return call(*given, **named)

        return await self._patiently(write)

    async def _patiently(self, call: Callable[[], Any]) -> Any:
        """What a call returns. While the API server asks for patience nobody asks it."""
        tries = 0
        while True:
            while (rests := self._rests - time.monotonic()) > 0:
                await asyncio.sleep(rests + jitter.between(0.0, 1.0))
            tries += 1
            async with self._room:
                try:
                    return await call()
                except httpx2.HTTPStatusError as error:
                    seconds = retry_after(error)
                    if seconds is None or tries == _TRIES:
                        raise
                except (ValueError, LookupError):
                    seconds = None
            if seconds is None:  # not raised in `except`: that error may hold what was answered
                raise Unreadable("this is no answer of an API server's")
            self._rests = max(self._rests, time.monotonic() + seconds)

    # -- reading

    async def secret(self, at: Key) -> dict[str, Any] | None:
        """The metadata of a Secret, without its values; None: there is none. Raises Absent for what is not a name."""
        _named("Secret", at)
        try:
            found: dict[str, Any] = await self._read(self._metadata.get, kinds.Secret, at[1], namespace=at[0])
        except ApiError as error:
            if error.status.code == NOT_FOUND:
                return None
            raise
        return found

    async def values(self, kind: str, at: Key) -> dict[str, Any]:
        """A ConfigMap or a Secret, whole. Raises Absent."""
        _named(kind, at)
        resource: Any = kinds.ConfigMap if kind == "ConfigMap" else kinds.Secret
        try:
            found: dict[str, Any] = await self._read(self._plain.get, resource, at[1], namespace=at[0])
        except ApiError as error:
            if error.status.code != NOT_FOUND:
                raise
        else:
            return found
        raise Absent(f"{kind} {at[0]}/{at[1]} does not exist; create it, or name another")

    async def account(self, at: Key) -> dict[str, Any]:
        """A ServiceAccount. Raises Absent."""
        _named("ServiceAccount", at)
        try:
            found: dict[str, Any] = await self._read(self._plain.get, kinds.ServiceAccount, at[1], namespace=at[0])
        except ApiError as error:
            if error.status.code != NOT_FOUND:
                raise
        else:
            return found
        raise Absent(f"ServiceAccount {at[0]}/{at[1]} does not exist; create it, or name another")

    async def token(self, at: Key, audiences: tuple[str, ...]) -> SecretValue:
        """A fresh token of a ServiceAccount."""
        token: Any = kinds.Token
        asked = token(metadata={}, spec={"audiences": list(audiences), "expirationSeconds": _TOKEN_LIFE})
        made = await self._read(self._plain.create, asked, at[1], namespace=at[0])
        return SecretValue(str(made["status"]["token"]).encode(), text=True)

    # -- writing

    async def apply(self, at: Key, body: dict[str, Any], manager: str) -> dict[str, Any]:
        """Write a Secret; returns its metadata."""
        made: dict[str, Any] = await self._write(
            self._metadata.patch,
            kinds.Secret,
            at[1],
            body,
            namespace=at[0],
            patch_type=PatchType.APPLY,
            field_manager=manager,
            force=True,
        )
        return made

    async def remove_keys(self, at: Key, body: dict[str, Any]) -> dict[str, Any]:
        """Remove keys of a Secret; returns its metadata."""
        made: dict[str, Any] = await self._write(
            self._metadata.patch, kinds.Secret, at[1], body, namespace=at[0], patch_type=PatchType.MERGE
        )
        return made

    async def delete(self, at: Key, owner: str) -> bool:
        """Delete a Secret, if it is there and belongs to that owner. Whether it was."""
        found = await self.secret(at)
        if found is None or owner not in owners(found["metadata"]):
            return False
        try:
            await self._write(self._metadata.delete, kinds.Secret, at[1], namespace=at[0])
        except ApiError as error:
            if error.status.code != NOT_FOUND:
                raise
        return True

    async def status(self, kind: Any, at: Key, uid: str, status: Mapping[str, Any]) -> dict[str, Any] | None:
        """Write the status of an ExternalSecret, if it is still that one; returns it."""
        body = {"metadata": {"uid": uid}, "status": dict(status)}
        try:
            made: dict[str, Any] = await self._write(
                self._plain.patch, kind.Status, at[1], body, namespace=at[0], patch_type=PatchType.MERGE
            )
        except ApiError as error:
            if error.status.code not in (NOT_FOUND, CONFLICT):
                raise
            return None
        return made

    async def event(self, of: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Record an event of an object. One that cannot be written is lost: the condition says the same."""
        metadata, now = of["metadata"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event: Any = kinds.Event
        made = event(
            metadata={
                "name": f"{metadata['name'][:200]}.{os.urandom(8).hex()}",
                "namespace": metadata["namespace"],
            },
            involvedObject={
                "apiVersion": of["apiVersion"],
                "kind": of["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            reason=reason,
            message=message[:1024],
            type="Warning" if warning else "Normal",
            source={"component": MANAGER},
            firstTimestamp=now,
            lastTimestamp=now,
            count=1,
        )
        with contextlib.suppress(*Trouble):
            await self._write(self._plain.create, made, namespace=metadata["namespace"])


def owners(metadata: Mapping[str, Any]) -> Sequence[str]:
    """The uids of the owners of an object."""
    return [str(each.get("uid")) for each in metadata.get("ownerReferences") or ()]


def _named(kind: str, at: Key) -> None:
    """Raises Absent unless it is a name: it becomes part of a path, and a tenant may have written it."""
    if not NAME.fullmatch(at[1]) or not LABEL.fullmatch(at[0]):
        raise Absent(f"{kind} {shown(at[1])} cannot exist: that is not a name; correct it")


def text_of(found: Mapping[str, Any], key: str) -> SecretValue:
    """A key of a Secret that was read. Raises Absent."""
    named = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
    text = (found.get("data") or {}).get(key)
    if text is not None:
        try:
            return SecretValue(base64.b64decode(text, validate=True), text=True)
        except (binascii.Error, ValueError):
            pass
    raise Absent(f"Secret {named} has no key {key}; add it, or name another")
