"""A cluster in the words of a test: namespaces, releases, pods, and waiting for what they do.

What is waited for is an event: a watch of the API server, or a line of a log. Each wait ends with an error that says
what was seen last.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import queue
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.cluster import rest
from tests.cluster.rest import PATIENCE, Object, Rest
from tests.support.running import until

CRDS = Path(__file__).parent.parent.parent / "charts" / "controller" / "files" / "crds"


@contextmanager
def one_of_the_cluster() -> Iterator[None]:
    """While a release of the controller's chart stands that has a ClusterRole: its name is the same in each release."""
    with (Path(tempfile.gettempdir()) / "freshmount-cluster-role.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Cluster:
    """What the environment says of the cluster that the tests run on."""

    kubectl: str
    image: str
    app_image: str
    aws_host: str  # where pods reach this process
    own_node: bool  # of this machine, so its processes can be seen
    helm: str
    rest: Rest

    @classmethod
    @contextmanager
    def here(cls, helm: str) -> Iterator[Cluster]:
        kubectl = os.environ["CLUSTER_KUBECTL"]
        with rest.proxied(kubectl) as proxy:
            yield cls(
                kubectl=kubectl,
                image=os.environ["CLUSTER_IMAGE"],
                app_image=os.environ.get("CLUSTER_APP_IMAGE") or "python:3.13-slim",
                aws_host=os.environ["CLUSTER_AWS_HOST"],
                own_node=bool(os.environ.get("CLUSTER_OWN_NODE")),
                helm=helm,
                rest=proxy,
            )

    def run(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.kubectl, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE * 2
        )
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def knows_external_secrets(self) -> None:
        """It serves the kinds that our controller reads."""
        kinds = ("externalsecrets", "secretstores", "clustersecretstores")
        self.serves(CRDS, *(f"{kind}.external-secrets.io" for kind in kinds))

    def serves(self, definitions: Path, *names: str) -> None:
        """Until it serves the kinds of that name, if need be by these definitions, which stay."""
        if self.run("get", "crd", *names, check=False).returncode != 0:
            self.run("apply", "--server-side", f"--filename={definitions}")
        self.run("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{name}" for name in names))
        until(lambda: {*names} <= {*self.run("api-resources", "--output=name").stdout.splitlines()})


class Namespace:
    """A namespace of one test, which enforces Pod Security *restricted*."""

    standing: ClassVar[list[Namespace]] = []  # of this process, the oldest first

    def __init__(self, cluster: Cluster, level: str = "restricted") -> None:
        self.cluster, self.name = cluster, f"fm-{uuid.uuid4().hex[:8]}"
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.name, "labels": {"pod-security.kubernetes.io/enforce": level}},
            }
        )
        self.standing.append(self)

    def label(self, key: str, value: str) -> None:
        """One more label of the namespace itself."""
        patch = {"metadata": {"labels": {key: value}}}
        self.cluster.rest.ask("PATCH", f"/api/v1/namespaces/{self.name}", patch, rest.MERGED)

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.cluster.run("--namespace", self.name, *arguments, stdin=stdin, check=check)

    def apply(self, *documents: Object) -> None:
        """On the server's side."""
        for document in documents:
            self.cluster.rest.apply(document, self.name)

    def helm(
        self, chart: Path, values: Object, *options: str, release: str = "web", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Install or upgrade a release."""
        command = [self.cluster.helm, "upgrade", "--install", release, str(chart), "--values=-", *options]
        command.append(f"--namespace={self.name}")
        done = subprocess.run(
            command, input=json.dumps(values), capture_output=True, text=True, check=False, timeout=PATIENCE * 2
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    def get(self, kind: str, name: str) -> Object:
        return self.cluster.rest.get(rest.path(kind, self.name, name))

    def patch(self, kind: str, name: str, patch: Object) -> None:
        """Merge into it."""
        self.cluster.rest.ask("PATCH", rest.path(kind, self.name, name), patch, rest.MERGED)

    def until(
        self, kind: str, accepted: Callable[[Object], object], what: str, name: str = "", patience: float = PATIENCE
    ) -> Object:
        """The first object of the kind (and name) that is accepted, by a watch."""
        # Not by its path: that fails while it does not exist yet.
        only = {"fieldSelector": f"metadata.name={name}"} if name else {}
        deadline = time.monotonic() + patience
        # First as it is now. A watch alone may begin with what was, from before a change of our own.
        listed = self.cluster.rest.get(rest.path(kind, self.name), **only)
        since = listed["metadata"]["resourceVersion"]
        last: Object = {}
        for last in listed["items"]:
            if accepted(last):
                return last
        with self._lines(rest.path(kind, self.name), watch="true", resourceVersion=since, **only) as lines:
            while (line := lines.next(deadline)) is not None:
                for event in parsed([line]):
                    assert event.get("type") in ("ADDED", "MODIFIED", "DELETED"), f"the watch of {kind} ended: {line}"
                    last = event["object"]
                    if event["type"] != "DELETED" and accepted(last):
                        return last
        raise AssertionError(
            f"{kind} {name} within {patience:.0f} s: not {what}; last seen: {json.dumps(last.get('status'))}{lines.end}"
        )

    def pod(
        self, accepted: Callable[[Object], object], what: str, name: str = "", patience: float = PATIENCE
    ) -> Object:
        return self.until("pods", accepted, what, name, patience)

    def ready(self, name: str = "", patience: float = PATIENCE) -> Object:
        """A pod that is ready and not on its way out."""
        return self.pod(is_ready, "ready", name, patience)

    def log(self, pod: str, container: str) -> Lines:
        """The container's log, followed from its start."""
        return self._lines(self._log(pod), container=container, follow="true")

    def _lines(self, path: str, **query: object) -> Lines:
        return Lines(self.cluster.rest.begun("GET", path, **query))

    def said(self, pod: str, container: str, previous: bool = False) -> list[Object]:
        """Every line that a container has logged so far."""
        more = {"previous": "true"} if previous else {}
        return parsed(self.cluster.rest.ask("GET", self._log(pod), container=container, **more).splitlines())

    def _log(self, pod: str) -> str:
        """Where the log of a pod is, or that of the pod of a job, which is named job/NAME."""
        job = pod.removeprefix("job/")
        if job != pod:
            listed = self.cluster.rest.get(rest.path("pods", self.name), labelSelector=f"job-name={job}")
            pod = name_of(listed["items"][0])
        return f"{rest.path('pods', self.name, pod)}/log"

    def exec(self, pod: str, container: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.kubectl("exec", pod, "--container", container, "--", *command, check=check)

    def status(self, pod: str, container: str = "freshmount") -> Object:
        """What the agent says of itself."""
        return dict(json.loads(self.exec(pod, container, "freshmount", "status", "--json").stdout))

    def page(self, pod: str, port: int, path: str) -> str:
        """What a pod answers over HTTP, by way of the API server."""
        return self.cluster.rest.ask("GET", f"{rest.path('pods', self.name, f'{pod}:{port}')}/proxy{path}")

    def describe(self) -> str:
        """All that helps when a test has failed."""
        try:
            return self._described()
        except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
            return f"it cannot be described: {error!r}"

    def _described(self) -> str:
        parts = [
            self.kubectl("describe", "pods", check=False).stdout,
            self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False).stdout,
        ]
        for pod in json.loads(self.kubectl("get", "pods", "--output=json", check=False).stdout or '{"items": []}')[
            "items"
        ]:
            spec = pod["spec"]
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                where = f"{pod['metadata']['name']}/{container['name']}"
                for previous in ((), ("--previous",)):
                    done = self.kubectl(
                        "logs",
                        pod["metadata"]["name"],
                        "--container",
                        container["name"],
                        "--tail=60",
                        *previous,
                        check=False,
                    )
                    if done.returncode == 0:
                        parts.append(f"--- {where} {' '.join(previous)}\n{done.stdout}")
        return "\n".join(parts)

    def delete(self) -> None:
        """Begin to delete it; the API server goes on by itself."""
        self.standing.remove(self)
        self.cluster.rest.delete(f"/api/v1/namespaces/{self.name}")


class Lines:
    """The lines of an answer of the API server, as they come."""

    def __init__(self, asked: http.client.HTTPConnection) -> None:
        self._connection = asked
        self._socket = asked.sock
        self._socket.settimeout(None)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.seen: list[str] = []
        self.end = ""  # in words, once there will be no more
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            answer = self._connection.getresponse()
            for line in answer:
                self._lines.put(line.decode(errors="replace"))
            self.end = f"; then it ended, with {answer.status}"
        except (OSError, http.client.HTTPException) as error:  # ended by us, or gone with who answered
            self.end = f"; then it ended: {error!r}"
        finally:
            self._lines.put(None)

    def next(self, deadline: float) -> str | None:
        """The next line; None when there is none before the deadline, or none ever."""
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None
        if line is not None:
            self.seen.append(line)
        return line

    def until(self, accepted: Callable[[Object], object], what: str, patience: float = PATIENCE) -> Object:
        """The first line, as JSON, that is accepted and was not read before."""
        deadline = time.monotonic() + patience
        while (line := self.next(deadline)) is not None:
            for found in parsed([line]):
                if accepted(found):
                    return found
        last = "".join(self.seen[-12:])
        raise AssertionError(f"no line with {what} within {patience:.0f} s{self.end}; the last were:\n{last}")

    def event(self, name: str, patience: float = PATIENCE, **wanted: object) -> Object:
        """The next line of our app that tells of this event."""
        return self.until(
            lambda line: line.get("event") == name and wanted.items() <= line.items(),
            f"event {name} {wanted}",
            patience,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # the other end has closed it
            self._socket.shutdown(socket.SHUT_RDWR)  # which the reader notices
        self._reader.join(5)
        self._connection.close()


def parsed(lines: list[str]) -> list[Object]:
    """Those lines that are JSON objects."""
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def is_ready(pod: Object) -> bool:
    conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def container(pod: Object, name: str) -> Object:
    """The status of a container, an init container or not; empty while it has none."""
    status = pod.get("status", {})
    listed = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return next((c for c in listed if c["name"] == name), {})


def name_of(pod: Object) -> str:
    return str(pod["metadata"]["name"])
