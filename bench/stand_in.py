"""A stand-in for AWS Secrets Manager that costs little itself: HTTPS with keep-alive and canned answers.

moto would be the bottleneck of every figure. It runs as its own process, so that its CPU time is not the agent's:
``python -m bench.stand_in DIRECTORY [--latency SECONDS] [--idle SECONDS]`` writes ``ca.pem`` into DIRECTORY, prints its
port and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import certifi
import trustme

VALUE = json.dumps({"username": "app", "password": "correct horse battery staple", "host": "db.internal", "port": 5432})


class Answers:
    """What is asked, counted, and what is answered. Every secret has one version, the same for all until `rotate`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.version = 1

    def answer(self, path: str, target: str, body: bytes) -> bytes:
        if path == "/counts":
            return json.dumps(self.counts).encode()
        if path == "/rotate":
            self.version += 1
            return b"{}"
        operation = target.rpartition(".")[2]
        self.counts[operation] += 1
        asked = json.loads(body)
        current = f"{self.version:08d}-0000-4000-8000-000000000000"
        named = {"ARN": asked["SecretId"], "Name": "canned"}
        if operation == "DescribeSecret":
            return json.dumps({**named, "VersionIdsToStages": {current: ["AWSCURRENT"]}}).encode()
        return json.dumps(
            {
                **named,
                "VersionId": current,
                "VersionStages": ["AWSCURRENT"],
                "SecretString": VALUE,
                "CreatedDate": 1.7e9,
            }
        ).encode()


class Connection(asyncio.Protocol):
    """One client. HTTP/1.1 as botocore speaks it: a head, and a body of Content-Length bytes."""

    def __init__(self, answers: Answers, latency: float, idle: float) -> None:
        self._answers, self._latency, self._idle = answers, latency, idle
        self._received = b""
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._answers.counts["connections"] += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        line, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        length = int(fields.get("content-length", 0))
        if len(rest) < length:
            return
        self._received = rest[length:]
        body = self._answers.answer(line.split(" ")[1], fields.get("x-amz-target", ""), rest[:length])
        loop = asyncio.get_running_loop()
        if self._latency:
            loop.call_later(self._latency, self._write, body)
        else:
            self._write(body)

    def _write(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        if self._idle:
            if self._closing:
                self._closing.cancel()
            self._closing = asyncio.get_running_loop().call_later(self._idle, self._transport.close)


async def _serve(directory: Path, latency: float, idle: float) -> None:
    authority = trustme.CA()
    # With all public authorities in it, as in the field: reading the bundle is part of what a connection costs.
    shutil.copy(certifi.where(), directory / "ca.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem", append=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(tls)
    answers = Answers()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answers, latency, idle), "127.0.0.1", 0, ssl=tls, backlog=256)
    plain = await loop.create_server(lambda: Connection(answers, 0, 0), "127.0.0.1", 0)
    print(*(made.sockets[0].getsockname()[1] for made in (server, plain)), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


class StandIn:
    """A running stand-in: `url` for the agent, `ca` to trust it by, `counts()` of calls and connections so far."""

    def __init__(self, directory: Path, latency: float, idle: float) -> None:
        self.ca = directory / "ca.pem"
        options = ["--latency", str(latency), "--idle", str(idle)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.stand_in", str(directory), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        port, self._control = self.process.stdout.readline().split()
        self.url = f"https://127.0.0.1:{port}"

    def counts(self) -> Counter[str]:
        return Counter(self._ask("/counts"))

    def rotate(self) -> None:
        self._ask("/rotate")

    def _ask(self, path: str) -> dict[str, int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._control}{path}", timeout=10) as answer:
            return dict(json.load(answer))


@contextmanager
def standing_in(directory: Path, *, latency: float = 0.0, idle: float = 0.0) -> Iterator[StandIn]:
    """A stand-in that answers after `latency` seconds and closes connections that are idle for `idle` (0: never)."""
    stand_in = StandIn(directory, latency, idle)
    try:
        yield stand_in
    finally:
        stand_in.process.kill()
        stand_in.process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--idle", type=float, default=0.0)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.directory, arguments.latency, arguments.idle))
