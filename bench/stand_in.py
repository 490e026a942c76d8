"""The demo's stand-in for AWS over HTTPS, in its own process, so that its CPU time is not the agent's.

moto would be the bottleneck of every figure.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import certifi
import trustme

VALUE = json.dumps({"username": "app", "password": "correct horse battery staple", "host": "db.internal", "port": 5432})
SECRETS = 1000  # bench/s0, bench/s1, …


class StandIn:
    """A running stand-in: `url` for the agent, `ca` to trust it by, `counts()` of calls and connections so far."""

    def __init__(self, directory: Path, program: Sequence[str], given: str) -> None:
        authority = trustme.CA()
        self.ca = directory / "ca.pem"
        # With all public authorities in it, as in the field: reading the bundle is part of what a connection costs.
        shutil.copy(certifi.where(), self.ca)
        authority.cert_pem.write_to_path(self.ca, append=True)
        own = authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem
        own.write_to_path(directory / "server.pem")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *program, "--certificate", str(directory / "server.pem")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        print(given, file=self.process.stdin, flush=True)
        self.url = self.process.stdout.readline().strip()

    def counts(self) -> Counter[str]:
        trusted = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(f"{self.url}/counts", timeout=10, context=trusted) as answer:
            return Counter(json.load(answer))


def standing_in(
    directory: Path, *, latency: float = 0.0, idle: float | None = None
) -> contextlib.AbstractContextManager[StandIn]:
    """A stand-in that answers after `latency` seconds and closes connections that are idle for `idle`, or never."""
    program = ["agent.demo.stand_in", "--latency", str(latency), *(["--idle", str(idle)] if idle is not None else [])]
    return _running(directory, program, json.dumps({f"bench/s{number}": VALUE for number in range(SECRETS)}))


def every_service(directory: Path) -> contextlib.AbstractContextManager[StandIn]:
    """One for Secrets Manager, Parameter Store and STS, with what `bench.services.entries` asks for."""
    return _running(directory, ["bench.services"], "")


@contextlib.contextmanager
def _running(directory: Path, program: Sequence[str], given: str) -> Iterator[StandIn]:
    stand_in = StandIn(directory, program, given)
    try:
        yield stand_in
    finally:
        stand_in.process.kill()
        stand_in.process.wait()
