"""The controller in this process, with AWS as a sample says, which a test changes at any moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from agent.config import sample
from agent.controller.external_secrets.part import ExternalSecrets
from agent.controller.options import ExternalSecretsOptions
from agent.core.model import Request
from agent.sources.aws.sample import SampledAws


class Aws(SampledAws):
    """As a sample says, which a test changes; and which secrets were asked for."""

    def __init__(self) -> None:
        super().__init__(sample.parse("{}", "sample"))
        self.asked: list[str] = []

    def hold(self, held: dict[str, Any]) -> None:
        """From now on AWS is as that sample says."""
        self._sample = sample.parse(yaml.safe_dump(held), "sample")

    def use(self, name: str, identity: object) -> None:
        """Any credentials will do."""

    def credentials_of(self, place: Any) -> Any:
        """Those that a store is tried with."""
        return SimpleNamespace(get_frozen_credentials=lambda: None)

    def observe(self, batch: tuple[Request, ...]) -> Any:
        self.asked += [each.secret.ref.id for each in batch]
        return super().observe(batch)

    def fetch(self, batch: tuple[Request, ...]) -> Any:
        self.asked += [each.secret.ref.id for each in batch]
        return super().fetch(batch)


class Log:
    """What it says at level error."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, Any]] = []

    def info(self, *_: Any, **__: Any) -> None: ...

    warning = info

    def error(self, event: str, **more: Any) -> None:
        self.errors.append((event, more))


class Running:
    """The controller in a thread of its own, which can be started again. It serves the stores of that class."""

    def __init__(self, controller_class: str) -> None:
        self.log, self.controller_class = Log(), controller_class
        self._options = ExternalSecretsOptions(
            controller_class=controller_class,
            namespaces=(),
            concurrency=4,
            leader_election=False,
            lease_namespace="default",
            lease_name="sampled",
            identity="sampled",
            service_account_tokens=False,
        )
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    def start(self) -> None:
        begun = threading.Event()

        async def run() -> None:
            task = asyncio.create_task(ExternalSecrets(self._options, CollectorRegistry(), self.log).run())
            loop = asyncio.get_running_loop()
            self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
            begun.set()
            await asyncio.gather(task, return_exceptions=True)

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        self._thread.start()
        assert begun.wait(60), "it has not begun"

    def stop(self) -> None:
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread = None
