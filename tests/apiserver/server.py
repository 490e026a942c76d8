"""A Kubernetes API server alone: etcd and kube-apiserver on loopback, without a node.

    with api_server(directory) as server: server.kubeconfig, server.url, server.client()

    python -m tests.apiserver.server    # builds what is missing of both

It is there in seconds and needs no privileges. There are no controllers: nothing is collected, no pod runs.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme
from lightkube import Client
from lightkube.config.kubeconfig import KubeConfig

from tests.cluster import build

READY = 90.0  # seconds for a start on a busy machine
_STARTS = 3  # a port that was free may be taken meanwhile


class Ended(Exception):
    """A server ended, or is not ready in time; says what it said last."""


class ApiServer:
    """The two processes, and how they are reached. `start` and `stop` are for tests in which it is away."""

    def __init__(self, directory: Path, programs: dict[str, Path]) -> None:
        self.directory, self._programs = directory, programs
        self.port = 0
        self.token = secrets.token_urlsafe(24)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._peers = (0, 0)
        self._trust = ssl.create_default_context()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.directory / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Every request, with its body and the answer's."""
        return self.directory / "audit.log"

    def client(self, **settings: Any) -> Client:
        """A client of the administrator's."""
        return Client(KubeConfig.from_file(self.kubeconfig).get(), trust_env=False, **settings)

    def config_of(self, token: str, name: str = "user") -> Path:
        """A kubeconfig of somebody else."""
        path = self.directory / f"kubeconfig-{name}"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._config(token)))
        return path

    def begin(self) -> None:
        """Make keys, and start both."""
        self._credentials()
        for left in reversed(range(_STARTS)):
            ports = _free(3)
            self.port, self._peers = ports[0], (ports[1], ports[2])
            try:
                self._begin()
                return
            except Ended:
                self.end()
                if not left:
                    raise

    def _begin(self) -> None:
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(json.dumps(self._config(self.token)))
        client, peer = (f"http://127.0.0.1:{port}" for port in self._peers)
        self._etcd = self._run(
            "etcd",
            f"{self._programs['etcd']}/etcd",
            f"--data-dir={self.directory}/etcd-{self.port}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        self.start()

    def start(self) -> None:
        """Start the API server, and wait until it is ready. Raises Ended."""
        pki = self.directory / "pki"
        self._process = self._run(
            "apiserver",
            f"{self._programs['kubernetes']}/kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._peers[0]}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--cert-dir={pki}",
            f"--token-auth-file={pki}/tokens.csv",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.111.0.0/24",
            f"--service-account-key-file={pki}/accounts.key",
            f"--service-account-signing-key-file={pki}/accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--api-audiences=https://kubernetes.default.svc",
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={pki}/audit.yaml",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=100000",  # MB: of a file that is replaced a reader sees nothing more
        )
        deadline = time.monotonic() + READY
        while not self._ready():
            ended = self._process.poll() is not None or (self._etcd is not None and self._etcd.poll() is not None)
            if ended or time.monotonic() > deadline:
                raise Ended(f"the API server {'ended' if ended else 'is not ready'}; it said:\n{self._said()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the API server, and keep what it holds."""
        _end(self._process)
        self._process = None

    @property
    def runs(self) -> bool:
        """Whether the API server was started and not stopped."""
        return self._process is not None

    def pause(self) -> None:
        """Let it answer nothing, and keep its connections open."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End both."""
        self.stop()
        _end(self._etcd)
        self._etcd = None

    def compact(self) -> None:
        """Let etcd forget the past: to watch from an earlier version is then refused with 410."""
        at = f"http://127.0.0.1:{self._peers[0]}/v3/kv"
        key = base64.b64encode(b"/").decode()
        revision = _posted(f"{at}/range", {"key": key})["header"]["revision"]
        _posted(f"{at}/compaction", {"revision": revision, "physical": True})

    def _ready(self) -> bool:
        asked = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(asked, timeout=2, context=self._trust) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _run(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "2"}
            )

    def _said(self) -> str:
        logs = (self.directory / f"{name}.log" for name in ("etcd", "apiserver"))
        return "\n".join(line for log in logs if log.exists() for line in log.read_text().splitlines()[-12:])

    def _config(self, token: str) -> dict[str, Any]:
        authority = (self.directory / "pki" / "ca.crt").read_bytes()
        cluster = {"server": self.url, "certificate-authority-data": base64.b64encode(authority).decode()}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "freshmount", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "freshmount", "context": {"cluster": "freshmount", "user": "user"}}],
            "current-context": "freshmount",
        }

    def _credentials(self) -> None:
        pki = self.directory / "pki"
        pki.mkdir(mode=0o700, parents=True)
        authority = trustme.CA()
        server = authority.issue_cert("localhost", "127.0.0.1", "10.111.0.1", "kubernetes.default.svc")
        authority.cert_pem.write_to_path(str(pki / "ca.crt"))
        server.private_key_pem.write_to_path(str(pki / "apiserver.key"))
        for part in server.cert_chain_pems:
            part.write_to_path(str(pki / "apiserver.crt"), append=True)
        trustme.CA().private_key_pem.write_to_path(str(pki / "accounts.key"))
        (pki / "tokens.csv").write_text(f"{self.token},admin,admin,system:masters\n")
        # Values of Secrets are in none of it, by the API server's own rule for the level Metadata.
        rules = [
            {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets", "serviceaccounts/token"]}]},
            {"level": "RequestResponse"},
        ]
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
        (pki / "audit.yaml").write_text(json.dumps(policy))
        authority.configure_trust(self._trust)


def _free(number: int) -> list[int]:
    """Ports that nobody listens at now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def _posted(url: str, body: dict[str, Any]) -> Any:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.load(answer)


def wanted() -> tuple[build.Component, ...]:
    """etcd and Kubernetes, as they are pinned."""
    return tuple(each for each in build.components(build.versions()) if each.name in ("etcd", "kubernetes"))


def programs() -> dict[str, Path] | None:
    """The directories of both, if both are built already."""
    found = {each.name: build.cache() / each.directory for each in wanted()}
    return found if all(path.is_dir() for path in found.values()) else None


@contextlib.contextmanager
def api_server(directory: Path) -> Iterator[ApiServer]:
    """An API server of its own; builds its programs if they are not there.

    Raises build.Unbuildable, or Ended.
    """
    server = ApiServer(directory, build.built(wanted()))
    try:
        server.begin()
        yield server
    finally:
        server.end()


if __name__ == "__main__":
    # Before the tests, which have no ten minutes for it.
    try:
        build.built(wanted())
    except build.Unbuildable as problem:
        raise SystemExit(f"apiserver: {problem}") from None
