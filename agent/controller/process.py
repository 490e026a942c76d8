"""The controller's process: one event loop with its parts, one server for metrics and probes, and the stop."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import cast

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from agent.controller import door
from agent.controller.options import Listen
from agent.controller.part import Part, Registry
from agent.core.errors import StartError, cause
from agent.core.ports import Log

GRACE = 2.0  # seconds that answers under way have at the end

_SWEEP = 1.0  # seconds between two looks at connections that take too long


def run(listen: Listen, parts: Callable[[Registry], Sequence[Part]], log: Log) -> None:
    """Run the parts, which put their metrics into the registry that they are given, until SIGTERM or SIGINT.

    Raises StartError where it cannot listen, and what a part raises.
    """
    registry = Registry()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # an agent that waits takes a descriptor
    asyncio.run(_run(listen, parts(registry), registry, log))


async def _run(listen: Listen, parts: Sequence[Part], registry: Registry, log: Log) -> None:
    """Take the signals first: as PID 1 Python ignores SIGTERM until a handler is there."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(listen, parts, registry, log, stop)


async def serve(listen: Listen, parts: Sequence[Part], registry: Registry, log: Log, stop: asyncio.Event) -> None:
    """Run the parts until `stop` is set.

    1. Serve, so that probes and metrics tell of a start that takes long.
    2. Run the parts; the first that raises ends all, and its exception is raised.
    """
    # 1.
    async with _serving(listen, parts, registry, log):
        # 2.
        stopping = asyncio.create_task(stop.wait())
        running = [asyncio.create_task(part.run(), name=part.name) for part in parts]
        ended, going_on = await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in going_on:
            task.cancel()
        await asyncio.wait([*running, stopping])
        for task in ended:
            task.result()
    log.info("stopped")


@contextlib.asynccontextmanager
async def _serving(listen: Listen, parts: Sequence[Part], registry: Registry, log: Log) -> AsyncIterator[None]:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def live(_: web.Request) -> web.Response:
        return _told([part.stalled() for part in parts])

    async def ready(_: web.Request) -> web.Response:
        return _told([part.unready() for part in parts])

    door.quiet()
    application = web.Application(middlewares=[door.closing])
    application.add_routes(
        [
            web.get("/metrics", metrics),
            web.get("/livez", live),
            web.get("/readyz", ready),
        ]
    )
    runner = web.AppRunner(
        application,
        access_log=None,
        shutdown_timeout=GRACE,
        lingering_time=door.LINGER,
    )
    await runner.setup()
    try:
        own = {path: serve for part in parts for path, serve in part.serves().items()}
        guard = door.Door(cast(web.Server, runner.server), own)
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(guard.guarded, listen.host or None, listen.port, reuse_address=True)
        except OSError as error:
            where = f"{listen.host}:{listen.port}"
            raise StartError(f"cannot listen on {where}: {cause(error)}; choose another with --listen") from None
        sweeping = asyncio.create_task(_sweep(guard))
        log.info("listening", port=server.sockets[0].getsockname()[1])
        try:
            yield
        finally:
            server.close()
            guard.close()
            sweeping.cancel()
    finally:
        await runner.cleanup()


async def _sweep(guard: door.Door) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        guard.sweep(asyncio.get_running_loop().time())


def _told(reasons: Sequence[str | None]) -> web.Response:
    said = [reason for reason in reasons if reason]
    return web.Response(text="\n".join(said) or "ok", status=503 if said else 200)
