"""The hub under load: many agents that wait, from real sockets, on one hub with stand-ins for AWS and the API server.

``python -m bench.hub [--agents N] [--secrets N] [--seconds N] [--events]`` prints a table: memory, CPU while nothing
moves, and how long it takes until all were answered when a secret moves that all share; then the same beside hostile
clients. With ``--events`` the hub has a queue at moto's SQS: it looks at a secret at the floor, an hour, and when
EventBridge's event comes, which the bench sends as soon as the secret has moved. How long AWS needs for that is
not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import boto3

from agent.demo.stand_in import ACCOUNT, REGION, StandIn

SHARED = "bench/shared"
OF_EACH = 5  # secrets of an agent, the shared one among them
WAIT = 55.0
TICKS = os.sysconf("SC_CLK_TCK")
START = 60.0  # seconds over which they start
AT_ONCE = 200  # connections that are being opened
LIMIT = 60.0  # seconds within which all must have been answered


@contextmanager
def stand_in(secrets: int) -> Iterator[StandIn]:
    """AWS in a process of its own."""
    command = [sys.executable, "-m", "agent.demo.stand_in"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        values = {SHARED: "x", **{f"bench/s{number}": "x" for number in range(secrets)}}
        print(json.dumps(values), file=process.stdin, flush=True)
        yield StandIn(process.stdout.readline().strip())
        process.kill()


@contextmanager
def reviews(count: int, kubeconfig: Path) -> Iterator[None]:
    """The API server, which knows the tokens of so many agents, in a process of its own."""
    command = [sys.executable, "-m", "bench.reviews", str(count), str(kubeconfig)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


class Queue:
    """A queue of EventBridge's events."""

    def __init__(self, sqs: str) -> None:
        self.sqs = sqs
        session = boto3.session.Session("testing", "testing", region_name=REGION)
        self._client: Any = session.client("sqs", endpoint_url=sqs)
        self.url: str = self._client.create_queue(QueueName="events")["QueueUrl"]

    def send(self, name: str, version: str) -> None:
        """Say that a secret's AWSCURRENT is on that version now, as EventBridge does."""
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Secret Label Updated",
            "source": "aws.secretsmanager",
            "account": ACCOUNT,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "region": REGION,
            "resources": [f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-AbCdEf"],
            "detail": {"name": name, "labelUpdated": "AWSCURRENT", "versionId": version},
        }
        self._client.send_message(QueueUrl=self.url, MessageBody=json.dumps(event))


@contextmanager
def moto() -> Iterator[Queue]:
    """The queue, at moto's SQS in a process of its own."""
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            found = next(match for line in process.stderr if (match := re.search(r"Running on (http://\S+)", line)))
            threading.Thread(target=process.stderr.read, daemon=True).start()  # as below
            yield Queue(found[1])
        finally:
            process.kill()


class Hub:
    """The hub's process."""

    def __init__(self, aws: str, kubeconfig: Path, queue: Queue | None) -> None:
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws,
            **({"AWS_ENDPOINT_URL_SQS": queue.sqs} if queue else {}),
            "KUBECONFIG": str(kubeconfig),
        }
        command = [
            sys.executable,
            "-m",
            "agent",
            "controller",
            "--hub",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            *(("--events-queue", queue.url) if queue else ()),
        ]
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        found = next(json.loads(line)["port"] for line in self.process.stderr if '"listening"' in line)
        self.port = int(found)
        threading.Thread(target=self.process.stderr.read, daemon=True).start()  # a full pipe would hold it up

    def memory(self) -> float:
        """Resident memory in MiB."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Agents:
    """Agents that wait. `answered` holds when each was told that the shared secret moved."""

    def __init__(self, port: int, tokens: list[str], secrets: int) -> None:
        self._port, self._tokens, self._secrets = port, tokens, secrets
        self._opening = asyncio.Semaphore(AT_ONCE)
        self.waiting = 0
        self.failed = 0
        self.answered: list[float] = []

    async def one(self, number: int) -> None:
        """One agent's life: ask, wait, ask again with what was said."""
        rng = random.Random(number)
        names = [SHARED, *(f"bench/s{n}" for n in rng.sample(range(self._secrets), min(self._secrets, OF_EACH - 1)))]
        known: dict[str, str | None] = dict.fromkeys(names)
        wait = 0.0
        await asyncio.sleep(rng.uniform(0, START))
        async with self._opening:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        first, failures = True, 0
        while True:
            asked = [
                {"kind": "secretsmanager", "id": name, "region": "eu-west-1", "stage": "AWSCURRENT", "version": version}
                for name, version in known.items()
            ]
            body = json.dumps({"wait": wait * rng.uniform(0.8, 1), "secrets": asked}).encode()
            head = f"POST /v1/versions HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {self._tokens[number]}\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", status)
            answer = json.loads(await reader.readexactly(int(length[1]) if length else 0))
            if not status.startswith(b"HTTP/1.1 200"):
                self.failed += 1
                failures += 1
                await asyncio.sleep(rng.uniform(0.1, min(60.0, 2.0**failures)))  # as an agent does
                continue
            for name, said in zip(names, answer["secrets"], strict=True):
                if name == SHARED and not first and said.get("version") != known[name]:
                    self.answered.append(time.monotonic())
                known[name] = said.get("version")
            if first:
                first = False
                self.waiting += 1
            wait = WAIT


async def hostile(port: int, token: str) -> None:
    """A client that holds up whatever it can: half a head, a body byte by byte, and more requests than it may."""
    kind = random.randrange(3)
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST /v1/versions HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\r\n"
            if kind == 0:
                writer.write(head.encode())
                await reader.read(1)
            elif kind == 1:
                writer.write(f"{head}Content-Length: 60000\r\n\r\n".encode())
                while True:
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.5)
            else:
                writer.write(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
                await reader.readuntil(b"\r\n\r\n")
                writer.close()


async def until(condition: object, seconds: float = LIMIT) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


@asynccontextmanager
async def running(*works: object) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(work) for work in works]  # type: ignore[call-overload]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def measure(count: int, secrets: int, seconds: float, events: bool, home: Path) -> None:
    with (
        stand_in(secrets) as aws,
        reviews(count, home / "kubeconfig"),
        moto() if events else nullcontext() as queue,
    ):
        hub = Hub(aws.url, home / "kubeconfig", queue)
        try:
            row("memory without agents", f"{hub.memory():.0f} MiB")
            agents = Agents(hub.port, [f"token-of-a{n}" for n in range(count)], secrets)
            began = time.monotonic()
            async with running(*(agents.one(number) for number in range(count))):
                await until(lambda: agents.waiting == count, 300)
                row(f"{agents.waiting:,} agents wait after", f"{time.monotonic() - began:.0f} s")
                # Their requests end at moments of their own, as long as no move has answered all of them at once.
                before = looks(aws)
                row(f"CPU while nothing moves, over {seconds:.0f} s", await share(hub, seconds))
                row("looks at AWS meanwhile", f"{looks(aws) - before:,}")
                row("memory with all of them", f"{hub.memory():.0f} MiB")
                await moved(aws, queue, agents, count, "all are answered after a move of a secret that all share")
                async with running(*(hostile(hub.port, "token-of-bad") for _ in range(300))):
                    await asyncio.sleep(5)
                    await moved(aws, queue, agents, count, "the same beside 300 hostile clients")
                row("memory in the end", f"{hub.memory():.0f} MiB")
                row("requests of agents that failed", str(agents.failed))
            await asyncio.sleep(10)  # until it has noticed that they are gone
            row(f"CPU of its looks at AWS{' and its queue' if queue else ''} alone", await share(hub, seconds / 2))
        finally:
            hub.close()


def looks(aws: StandIn) -> int:
    """How often AWS was asked for a version so far."""
    with urllib.request.urlopen(f"{aws.url}/counts", timeout=10) as answer:
        return int(json.load(answer)["DescribeSecret"])


async def share(hub: Hub, seconds: float) -> str:
    """The CPU time that it uses in so many seconds, as a share of a core."""
    before, since = hub.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    return f"{(hub.cpu() - before) / (time.monotonic() - since):.1%} of a core"


async def moved(aws: StandIn, queue: Queue | None, agents: Agents, count: int, what: str) -> None:
    agents.answered.clear()
    since = time.monotonic()
    version = await asyncio.to_thread(aws.rotate, SHARED, str(since))
    if queue:
        await asyncio.to_thread(queue.send, SHARED, version)
    await until(lambda: len(agents.answered) >= count)
    if len(agents.answered) < count:
        row(what, f"only {len(agents.answered):,} within {LIMIT:.0f} s")
        return
    first, last = min(agents.answered), max(agents.answered)
    row(what, f"first {first - since:.1f} s after it, last {last - first:.1f} s after the first")


def row(what: str, measured: str) -> None:
    print(f"| {what} | {measured} |", flush=True)


def main() -> None:
    """Measure, and print one row as soon as it is known."""
    parser = argparse.ArgumentParser(prog="bench.hub", description=__doc__)
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--secrets", type=int, default=2_000, help="distinct ones, beside the one that all share")
    parser.add_argument("--seconds", type=float, default=60, help="over which the CPU is measured (default: 60)")
    parser.add_argument("--events", action="store_true", help="give the hub a queue of events")
    args = parser.parse_args()
    print("| figure | measured |\n|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(measure(args.agents, args.secrets, args.seconds, args.events, Path(home)))


if __name__ == "__main__":
    main()
