"""A real Prometheus on loopback that scrapes real agents by the chart's own rules, with shortened windows."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.support.running import until

JOB = "default/web-demo-freshmount"  # as the chart's monitors name it
EVERY = "250ms"
# Seconds where the chart's defaults are minutes, in about the same proportions. `absent` takes longer: on a busy
# machine a few scrapes in a row may fail. `loopStuck` fires later still.
SHORT = {
    "secretStale": {"for": "500ms", "periods": 10, "seconds": 5},
    "refreshFailing": {"for": "1s"},
    "accessDenied": {"for": "500ms", "window": "60s"},
    "rotationOverdue": {"for": "500ms"},
    "notificationPending": {"for": "2s"},
    "replicasDisagree": {"for": "2s"},
    "configReloadFailed": {"for": "500ms"},
    "loopStuck": {"for": "500ms", "periods": 2, "seconds": 12},
    "absent": {"for": "6s"},
}


class Prometheus:
    """A running one. `pods` are scraped: the port of each agent by its pod's name."""

    def __init__(self, home: Path, groups: list[dict[str, Any]], pods: Mapping[str, int]) -> None:
        (home / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "default", "pod": pod}}
            for pod, port in pods.items()
        ]
        config = {
            "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": JOB, "static_configs": targets}],
        }
        (home / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.began = time.monotonic()
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={home}/prometheus.yaml",
                f"--storage.tsdb.path={home}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=(home / "prometheus.log").open("wb"),
            stderr=subprocess.STDOUT,
        )

    def ask(self, path: str, **arguments: object) -> Any:
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        return [(found["metric"], float(found["value"][1])) for found in self.ask("query", query=expression)["result"]]

    def firing(self) -> set[tuple[str, str]]:
        """Each alert that fires now, with the pod that it names, or the secret where it names no pod."""
        return {_named(a["labels"]) for a in self.ask("alerts")["alerts"] if a["state"] == "firing"}

    def fired(self) -> set[tuple[str, str]]:
        """Each alert that has fired at any time since the first scrape of all, before which all were absent."""
        since = int((time.monotonic() - self.began) * 1000)
        return {_named(labels) for labels, _ in self.query(f'max_over_time(ALERTS{{alertstate="firing"}}[{since}ms])')}

    def scrapes(self, pods: int) -> bool:
        try:
            return sum(value for _, value in self.query("up")) == pods
        except OSError:
            assert self.process.poll() is None, "Prometheus has ended"
            return False


def _named(labels: dict[str, str]) -> tuple[str, str]:
    return labels["alertname"], labels.get("pod") or labels.get("secret") or ""


@contextmanager
def scraping(home: Path, groups: list[dict[str, Any]], pods: Mapping[str, int]) -> Iterator[Prometheus]:
    """A Prometheus that has scraped every pod."""
    prometheus = Prometheus(home, groups, pods)
    try:
        until(lambda: prometheus.scrapes(len(pods)) and not prometheus.firing(), every=0.1)
        prometheus.began = time.monotonic()
        yield prometheus
    finally:
        prometheus.process.kill()
        prometheus.process.wait()
        shutil.rmtree(home / "data", ignore_errors=True)


_PORTS = range(20_000, 32_000)  # below those that the kernel gives to whoever asks for any
_turn = itertools.count(os.getpid())
_held: list[socket.socket] = []  # the ports of this process, by their names


def _is_ours(port: int) -> bool:
    """Whether nobody listens there, and no other process of any test run has it. Such a process holds the port's name
    among the abstract sockets, which belong to the network as its ports do, until it ends."""
    name = socket.socket(socket.AF_UNIX)
    with socket.socket() as listening, suppress(OSError):
        name.bind(f"\0port-of-a-test-{port}")
        listening.bind(("127.0.0.1", port))
        _held.append(name)
        return True
    name.close()
    return False


def free_port() -> int:
    """A port for a process that has to know it before it listens. Nobody else gets it in the meantime."""
    return next(filter(_is_ours, (_PORTS[number % len(_PORTS)] for number in _turn)))
