"""The part `--push`: the webhook's server, and what a request goes through."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from lightkube import ApiError, AsyncClient
from lightkube.core.exceptions import ConfigError
from lightkube.resources.core_v1 import Secret
from prometheus_client import Counter, Gauge

from agent.controller.door import Serve
from agent.controller.options import Listen
from agent.controller.options import Push as Options
from agent.controller.part import Registry
from agent.controller.push import certificate, keeping, orphans, review
from agent.controller.push.certificate import Pair, Unusable
from agent.controller.push.keeping import Keeper
from agent.controller.push.review import Asked, Delete, Pass, Refusal, Review, Rules, Write
from agent.controller.push.store import Failed, Store
from agent.core.errors import StartError, cause
from agent.core.model import counted
from agent.core.ports import Log
from agent.sources.aws.clients import Clients

BUDGET = 8.0  # seconds for an answer: the webhook's time-out is 10
BODY = 4 << 20  # bytes: a new and an old object of 1.5 MiB, and what stands around them
AT_ONCE, WAITING = 16, 64  # requests that AWS is asked for, and all that are here

LOOK, LOOK_AGAIN = 10.0, 2.0  # seconds until the next look at the certificate, and while there is none
SETTLED = 60.0  # seconds after which the API server has stored what it was going to store

R = TypeVar("R")


async def _settled() -> None:
    await asyncio.sleep(SETTLED)


def made(options: Options, registry: Registry, log: Log) -> Push:
    """The part, for the API server and the account of the environment. Raises StartError where there is none."""
    try:
        client = AsyncClient()
    except ConfigError as error:
        raise StartError(f"no API server is known: {error}; run in a pod, or set KUBECONFIG") from None
    rules = Rules(options.cluster, options.prefix)
    keeper = keeping.Directory(Path(options.certificates)) if options.certificates else keeping.Shared(client)
    # The budget ends a request; these end what its thread waits for.
    clients = Clients(connect_timeout=2.0, read_timeout=3.0, attempts=2, credentials_limit=5.0)
    store = Store(clients, rules, window=options.window, region=os.environ.get("AWS_REGION"))
    return Push(options.listen, rules, store=store, client=client, keeper=keeper, registry=registry, log=log)


def list_orphans(options: Options) -> int:
    """List what AWS has and no Secret refers to. Returns 0. Raises StartError where that cannot be known."""
    return orphans.show(Clients(), options.cluster)


class Push:
    """Serves `POST /v1/push` with a certificate that it renews."""

    name = "push"

    def __init__(
        self,
        listen: Listen,
        rules: Rules,
        *,
        store: Store,
        client: AsyncClient,
        keeper: Keeper,
        registry: Registry,
        log: Log,
        settle: Callable[[], Awaitable[object]] = _settled,
    ) -> None:
        self._listen, self._rules, self._store, self._client, self._keeper = listen, rules, store, client, keeper
        self._log, self._settle = log, settle
        self._threads = ThreadPoolExecutor(AT_ONCE, "push")
        self._here = 0
        self._pair: Pair | None = None
        self._why: str | None = "there is no certificate yet"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._checks: set[asyncio.Task[None]] = set()
        self._requests = Counter(
            "freshmount_controller_push_requests",
            "Reviews of Secrets, by what became of them.",
            ("operation", "result"),
            registry=registry,
        )
        self._rolled_back = Counter(
            "freshmount_controller_push_rolled_back",
            "Versions that AWS has and the API server did not store.",
            registry=registry,
        )
        self._expires = Gauge(
            "freshmount_controller_push_certificate_expiry_timestamp_seconds",
            "When the certificate that is served ends.",
            registry=registry,
        )

    # -- the part

    def serves(self) -> Mapping[str, Serve]:
        """Nothing beside metrics and probes: it has a server of its own."""
        return {}

    def stalled(self) -> str | None:
        """Nothing that a restart would mend."""
        return None

    def unready(self) -> str | None:
        """Why the API server cannot call."""
        if self._pair is not None and self._pair.until <= time.time():
            return f"push: the certificate has ended: {self._why or 'it is being renewed'}"
        return f"push: {self._why}" if self._pair is None else None

    async def run(self) -> None:
        """Serve from the first certificate on. Raises StartError where it cannot listen."""
        runner = None
        try:
            while True:
                await self._look()
                if runner is None and self._pair is not None:
                    runner = await self._serving()
                await asyncio.sleep(LOOK_AGAIN if self._why else LOOK)
        finally:
            if runner is not None:
                await runner.cleanup()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        """Serve the certificate that the keeper has."""
        try:
            pair = await self._keeper.look(self._pair)
            if self._pair is None or pair.certificate != self._pair.certificate:
                certificate.serve(self._context, pair)
                self._log.info("certificate", until=pair.until)
            self._pair, why = pair, None
            self._expires.set(pair.until)
        except Unusable as error:
            why = str(error)
        except Exception as error:  # of the client's library, or a bug, which must not end what works
            why = f"the API server does not answer as it should: {type(error).__name__}"
        if why and why != self._why:
            self._log.warning("no certificate", error=why)
        self._why = why

    async def _serving(self) -> web.AppRunner:
        application = web.Application(client_max_size=BODY)
        application.add_routes([web.post("/v1/push", self._answer)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=BUDGET)
        await runner.setup()
        listen = self._listen
        site = web.TCPSite(runner, listen.host or None, listen.port, ssl_context=self._context, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            where = f"{listen.host}:{listen.port}"
            raise StartError(f"cannot listen on {where}: {cause(error)}; choose another with --push-listen") from None
        self._log.info("pushing", port=runner.addresses[0][1])
        return runner

    # -- a request

    async def _answer(self, request: web.Request) -> web.Response:
        """Answer in time, whatever happens, and never with a value."""
        if self._here >= WAITING:
            return web.Response(status=429, text=f"{WAITING} requests are here already; try again")
        self._here += 1
        end = asyncio.get_running_loop().time() + BUDGET
        try:
            async with asyncio.timeout_at(end):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408, text="the review did not arrive in time")
        else:
            return web.json_response(await self._reviewed(body, end))
        finally:
            self._here -= 1

    async def _reviewed(self, body: bytes, end: float) -> dict[str, Any]:
        began, uid, asked = time.monotonic(), "", None
        try:
            found = review.read(body)
            asked, uid = found.asked, found.asked.uid
            async with asyncio.timeout_at(end):
                result, answer, said = await self._done(found)
        except Refusal as refusal:
            result = "failed" if isinstance(refusal, Failed) else "refused"
            answer, said = review.refused(uid, refusal), {"error": str(refusal)}
        except TimeoutError:
            late = Failed(503, f"AWS and the API server did not answer within {BUDGET:.0f} s; try again")
            result, answer, said = "failed", review.refused(uid, late), {"error": str(late)}
        except Exception as error:  # a bug: its message may hold a value
            where = traceback.extract_tb(error.__traceback__)[-1]
            bug = Failed(500, f"internal error of Freshmount ({type(error).__name__}); its log says where")
            result, answer = "failed", review.refused(uid, bug)
            said = {"error": f"{type(error).__name__} at {where.filename}:{where.lineno}; please report it"}
        self._requests.labels(asked.operation if asked else "unknown", result).inc()
        if result != "passed":
            about = {"operation": asked.operation, "namespace": asked.namespace, "name": asked.name} if asked else {}
            tell = {"refused": self._log.warning, "failed": self._log.error}.get(result, self._log.info)
            tell(result.replace("_", " "), **about, **said, seconds=round(time.monotonic() - began, 3))
        return answer

    async def _done(self, found: Review) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """The result, the answer, and what the log says. Raises Refusal.

        1. Decide what must be done; often nothing.
        2. Ask the API server whether the object is as the review has it.
        3. Write to AWS.
        4. Answer with the ARN in each value's place.
        """
        # 1.
        asked = found.asked
        todo = review.decide(found, self._rules)
        if isinstance(todo, Pass):
            return "passed", review.allowed(asked.uid, todo.patch, todo.warnings), {}
        # 2.
        await self._check(asked)
        # 3.
        if isinstance(todo, Delete):
            gone = await self._in_thread(lambda: self._store.delete(todo))
            return ("deleted" if gone else "passed"), review.allowed(asked.uid), {"secret": todo.secret}
        written = await self._in_thread(lambda: self._store.write(todo))
        # 4.
        patch = review.patch(found.new, written.arn, written.version or "dry-run")
        said = {"secret": todo.secret, "version": written.version}
        if asked.dry_run:
            words = (
                f"dry run: {counted(len(todo.keys), 'key')} would be written to {todo.secret} in AWS Secrets Manager"
            )
            return "dry_run", review.allowed(asked.uid, patch, (words, *todo.warnings)), said
        self._look_back(todo)
        return "pushed", review.allowed(asked.uid, patch, todo.warnings), said

    async def _check(self, asked: Asked) -> None:
        """Nothing is written for what the API server will refuse anyway, or did not send. Raises Refusal.

        Creation: there is no such Secret, or a person who may create, but not change, would move a value in AWS. Change
        and deletion: the review knows the object's uid, which is for those to read who may read the Secret.
        """
        held = await self._held(asked)
        if asked.operation == "create" and held is not None:
            raise Refusal(409, f"the Secret {asked.namespace}/{asked.name} already exists")
        if asked.operation != "create" and (held is None or held[0] != asked.held):
            raise Refusal(409, f"the Secret {asked.namespace}/{asked.name} is not the one of this review; try again")

    async def _held(self, asked: Asked) -> tuple[str | None, str | None] | None:
        """Uid of the Secret that the API server holds, and the version that it names. None: there is no such Secret.
        Raises Failed."""
        try:
            found = await self._client.get(Secret, asked.name, namespace=asked.namespace)
        except ApiError as error:
            if error.status.code == 404:
                return None
            why = str(error.status.message)
        except Exception as error:
            why = type(error).__name__
        else:
            metadata = found.metadata
            return (metadata.uid, (metadata.annotations or {}).get(review.VERSION)) if metadata else (None, None)
        raise Failed(503, f"the API server cannot be asked for the Secret {asked.namespace}/{asked.name}: {why}")

    async def _in_thread(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    # -- afterwards

    async def looked_back(self) -> None:
        """Return when every push until now was looked back at."""
        await asyncio.gather(*self._checks)

    def _look_back(self, write: Write) -> None:
        """Look later whether the API server stored what AWS has."""
        if len(self._checks) < 1000:
            task = asyncio.create_task(self._looked_back(write))
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)

    async def _looked_back(self, write: Write) -> None:
        asked = write.asked
        await self._settle()
        try:
            held = await self._held(asked)
        except Failed:
            return
        lost = held is None if asked.operation == "create" else held is not None and held[1] == write.version
        if lost:
            self._rolled_back.inc()
            self._log.warning(
                "rolled back",
                namespace=asked.namespace,
                name=asked.name,
                secret=write.secret,
                version=asked.uid,
                error="AWS has this version, and the API server did not store the Secret: apply it again",
            )
