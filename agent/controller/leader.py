"""Who of several replicas writes: the holder of a Lease.

The holder renews it every few seconds. It stops writing well before another may take it, by a clock of its own that
goes on while the process is stopped or the machine sleeps. So `check`, called right before each write, tells also a
process that was paused that it has lost the Lease, before it writes anything. Another takes it when it has not seen it
change for its whole length. Clocks of different machines are never compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
from lightkube import ApiError
from lightkube.core.resource import ApiInfo
from lightkube.generic_resource import GenericNamespacedResource, create_api_info

from agent.controller import jitter
from agent.core.errors import FreshmountError
from agent.core.ports import Log

LENGTH = 15  # seconds after which another may take it

_WRITES = 10.0  # seconds after the last renewal in which the holder writes

_EVERY = 2.0  # seconds between two renewals, or two looks


def clock() -> float:
    """Seconds on a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NotLeader(FreshmountError):
    """Another process may be writing by now, so this one does not."""


class Lease(GenericNamespacedResource):
    """A Lease as a plain object."""

    _api_info: ApiInfo = create_api_info("coordination.k8s.io", "v1", "Lease", "leases")


class Leader:
    """Holds the Lease, or waits for it. Without a client this process is alone, and always leads."""

    def __init__(
        self,
        client: Any,
        *,
        namespace: str,
        name: str,
        identity: str,
        log: Log,
        changed: Callable[[bool], None],
        now: Callable[[], float] = clock,
    ) -> None:
        """`changed` is called when the process begins or ceases to lead."""
        self._client, self._namespace, self._name, self._identity = client, namespace, name, identity
        self._log, self._changed, self._now = log, changed, now
        self._until = float("inf") if client is None else 0.0
        self._seen: tuple[str, float] | None = None  # the version of the Lease that was seen, and since when
        self._led = False

    @property
    def leads(self) -> bool:
        """Whether this process may write now."""
        return self._now() < self._until

    def check(self) -> None:
        """Call it right before each write. Raises NotLeader."""
        if not self.leads:
            raise NotLeader("another replica may hold the Lease by now")

    async def run(self) -> None:
        """Hold the Lease whenever it can be had, until it is cancelled."""
        if self._client is None:
            self._tell()
            await asyncio.Event().wait()
            return
        while True:
            began = self._now()
            try:
                async with asyncio.timeout(_WRITES / 2):
                    held = await self._try(self._client)
            except Exception as error:
                held = False  # whatever was answered: who cannot renew it does not end, but ceases to write
                if self._led or self._seen is None:
                    self._log.warning("cannot renew the lease", lease=self._name, error=_said(error))
            if held:
                self._until = began + _WRITES
            self._tell()
            await asyncio.sleep(_EVERY * jitter.between(0.8, 1.2))

    async def release(self) -> None:
        """Give the Lease up, so that another need not wait. Call it when nothing writes any more."""
        if self._client is None or not self.leads:
            return
        self._until = 0.0
        with contextlib.suppress(httpx2.HTTPError, OSError, TimeoutError, ValueError, LookupError):
            async with asyncio.timeout(1.0):
                found = await self._client.get(Lease, self._name, namespace=self._namespace)
                if found["spec"].get("holderIdentity") == self._identity:
                    found["spec"] = {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._client.replace(found, namespace=self._namespace)
        self._tell()

    def _tell(self) -> None:
        if self.leads != self._led:
            self._led = self.leads
            self._log.info("leads" if self._led else "does not lead", lease=self._name, identity=self._identity)
            self._changed(self._led)

    async def _try(self, client: Any) -> bool:
        """Renew the Lease, or take it if nobody renews it. Whether it is held now."""
        try:
            found: Any = await client.get(Lease, self._name, namespace=self._namespace)
        except ApiError as error:
            if error.status.code != 404:
                raise
            lease: Any = Lease
            found = lease(metadata={"name": self._name, "namespace": self._namespace}, spec=self._spec({}))
            return await self._write(client.create(found, namespace=self._namespace))
        spec, version = found.get("spec") or {}, str(found["metadata"]["resourceVersion"])
        if spec.get("holderIdentity") not in ("", None, self._identity):
            if self._seen is None or self._seen[0] != version:
                self._seen = version, self._now()
            if self._now() < self._seen[1] + float(spec.get("leaseDurationSeconds") or LENGTH):
                return False
        found["spec"] = self._spec(spec)
        return await self._write(client.replace(found, namespace=self._namespace))

    async def _write(self, call: Any) -> bool:
        """Whether it was written: a conflict means that another was faster."""
        try:
            await call
        except ApiError as error:
            if error.status.code != 409:
                raise
            return False
        return True

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LENGTH,
            "renewTime": now,
            "acquireTime": before.get("acquireTime", now) if mine else now,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not mine),
        }


def _said(error: BaseException) -> str:
    return f"{error.status.code} {error.status.reason}" if isinstance(error, ApiError) else type(error).__name__
