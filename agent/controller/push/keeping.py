"""Who keeps the certificate: we ourselves, in a Secret that all replicas share; or others, in a directory.

We also say in the webhook's configuration which authority to trust. Replicas agree by the resource versions of both
objects: the one that is late reads again what the other wrote.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from lightkube import ApiError, AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import MutatingWebhookConfiguration
from lightkube.resources.core_v1 import Secret
from lightkube.types import PatchType

from agent.controller.push import certificate
from agent.controller.push.certificate import Pair, Unusable

CONFIGURATION = "freshmount-push"
SECRET = "freshmount-push-tls"  # noqa: S105 its name

_ATTEMPTS = 5  # of one look, when other replicas write at the same time


class Keeper(Protocol):
    """Where the certificate comes from."""

    async def look(self, served: Pair | None) -> Pair:
        """The one that must be served now, while `served` is. Raises Unusable."""


class Directory:
    """`tls.crt` and `tls.key` in a directory, which somebody else renews; and the configuration is theirs, too."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def look(self, served: Pair | None) -> Pair:
        return certificate.in_directory(self._directory)


class Shared:
    """A Secret in our namespace."""

    def __init__(self, client: AsyncClient, now: Callable[[], float] = time.time) -> None:
        self._client, self._now = client, now
        self._namespace = str(client.namespace)

    async def look(self, served: Pair | None) -> Pair:
        """Keep Secret and configuration as they must be.

        1. Which names does the API server call us by?
        2. Take the certificate from the Secret; make one where there is none that will do for a while.
        3. Have the configuration trust its authority.
        4. Serve it; but where the configuration has only just heard of it, serve the old one until the next look.
        """
        for _ in range(_ATTEMPTS):
            try:
                # 1.
                configuration = await self._configuration()
                names = _names(configuration)
                # 2.
                found = await self._found()
                if found is None or certificate.due(found[1], self._now()) or not certificate.covers(found[1], names):
                    await self._make(names)
                    continue
                authorities, pair = found
                # 3.
                trusted = await self._trust(configuration, authorities)
            except ApiError as error:
                if error.status.code == 409 or (error.status.code == 422 and error.status.reason == "Invalid"):
                    continue  # another replica was quicker
                raise Unusable(f"the API server refuses what the certificate needs: {error.status.message}") from None
            # 4.
            wait = not trusted and served is not None and served.until > self._now() + _STILL
            return served if served is not None and wait else pair
        raise Unusable(
            f"the Secret {SECRET} or the configuration {CONFIGURATION} changes all the time; who writes them?"
        )

    async def _configuration(self) -> Mapping[str, Any]:
        try:
            found = await self._client.get(MutatingWebhookConfiguration, CONFIGURATION)
        except ApiError as error:
            if error.status.code != 404:
                raise
        else:
            return found.to_dict()
        raise Unusable(f"there is no MutatingWebhookConfiguration {CONFIGURATION}; the chart `controller` brings it")

    async def _found(self) -> tuple[bytes, Pair] | None:
        """Authorities and certificate of the Secret, and nothing of one that cannot be read."""
        self._version: str | None = None
        try:
            found = await self._client.get(Secret, SECRET, namespace=self._namespace)
        except ApiError as error:
            if error.status.code != 404:
                raise
            return None
        self._version = found.metadata.resourceVersion if found.metadata else None
        given = found.data or {}
        self._authorities = b""
        try:
            self._authorities, first, key = (
                base64.b64decode(given.get(name, "")) for name in ("ca.crt", "tls.crt", "tls.key")
            )
            return self._authorities, certificate.read(first, key)
        except (binascii.Error, Unusable):
            return None

    async def _make(self, names: list[str]) -> None:
        """A new certificate in the Secret. Its authority comes before those that still are in use elsewhere."""
        authority, pair = certificate.made(names, self._now())
        before = certificate.still_valid(self._authorities, self._now()) if self._version else b""
        contents = {"ca.crt": authority + before, "tls.crt": pair.certificate, "tls.key": pair.key.reveal()}
        secret = Secret(
            metadata=ObjectMeta(name=SECRET, namespace=self._namespace, resourceVersion=self._version),
            type="kubernetes.io/tls",
            data={name: base64.b64encode(content).decode() for name, content in contents.items()},
        )
        if self._version is None:
            await self._client.create(secret)
        else:
            await self._client.replace(secret)

    async def _trust(self, configuration: Mapping[str, Any], authorities: bytes) -> bool:
        """Whether the configuration trusts them already; if not, it does now."""
        bundle = base64.b64encode(authorities).decode()
        wrong = [
            number
            for number, webhook in enumerate(configuration["webhooks"])
            if webhook["clientConfig"].get("caBundle") != bundle
        ]
        if not wrong:
            return True
        version = configuration["metadata"]["resourceVersion"]
        changes = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            *({"op": "add", "path": f"/webhooks/{number}/clientConfig/caBundle", "value": bundle} for number in wrong),
        ]
        await self._client.patch(
            MutatingWebhookConfiguration,
            CONFIGURATION,
            changes,
            patch_type=PatchType.JSON,
        )
        return False


_STILL = 3600.0  # seconds that an old certificate must hold for longer, so that a new one may wait


def _names(configuration: Mapping[str, Any]) -> list[str]:
    """By which names or addresses the configuration reaches us. Raises Unusable."""
    found = set()
    for webhook in configuration.get("webhooks") or ():
        reached = webhook["clientConfig"]
        if service := reached.get("service"):
            found.add(f"{service['name']}.{service['namespace']}.svc")
        elif host := urlsplit(reached.get("url") or "").hostname:
            found.add(host)
    if not found:
        raise Unusable(f"the MutatingWebhookConfiguration {CONFIGURATION} names no service and no URL")
    return sorted(found)
