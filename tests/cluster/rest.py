"""The API server over plain HTTP, by way of one `kubectl proxy`: with whatever kubeconfig kubectl takes.

A request takes milliseconds so. A kubectl for each took a tenth of a second of CPU time, all together a tenth of what
the tests of pods took.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode

Object = dict[str, Any]
PATIENCE = 90.0  # seconds; what takes longer has gone wrong

MERGED = "application/merge-patch+json"  # as the kind of what is asked
_JSON = "application/json"
_APPLIED = "application/apply-patch+yaml"
_FORCED = {"fieldManager": "tests", "force": "true"}
_STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
_REFUSED = (403, 422)  # by who admits, or because it is not valid


class Connection(http.client.HTTPConnection):
    """To a socket of this machine's files, which nobody else may open."""

    def __init__(self, at: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._at = at

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._at)


class Answer(NamedTuple):
    status: int
    text: str
    warnings: str

    @property
    def message(self) -> str:
        """Why it refused."""
        return str(json.loads(self.text)["message"])


class Rest:
    def __init__(self, at: str) -> None:
        self._at = at
        self._known: dict[str, dict[str, tuple[str, bool]]] = {}

    def begun(
        self, method: str, path: str, body: str | None = None, kind: str = _JSON, **query: object
    ) -> http.client.HTTPConnection:
        """A connection on which that has been asked. It has not been answered: a log that says nothing yet is not."""
        connection = Connection(self._at)
        connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, {"Content-Type": kind})
        return connection

    def ask(self, method: str, path: str, body: Object | None = None, kind: str = _JSON, **query: object) -> str:
        """What it answers; raises AssertionError with why it does not."""
        answer = self._answered(method, path, body, kind, **query)
        assert answer.status < 300, f"{method} {path}: {answer.status}: {answer.text}"
        return answer.text

    def _answered(
        self, method: str, path: str, body: Object | None = None, kind: str = _JSON, **query: object
    ) -> Answer:
        given = None if body is None else json.dumps(body)
        with closing(self.begun(method, path, given, kind, **query)) as connection:
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(), " ".join(answer.headers.get_all("Warning", ())))

    def get(self, path: str, **query: object) -> Object:
        return dict(json.loads(self.ask("GET", path, **query)))

    def apply(self, document: Object, namespace: str) -> None:
        """Let it be as the document says, whoever else had a say in those fields."""
        self.ask("PATCH", self._place(document, namespace), document, _APPLIED, **_FORCED)

    def delete(self, path: str) -> None:
        """Begin to delete what is there, if it is."""
        answer = self._answered("DELETE", path)
        assert answer.status < 300 or answer.status in (404, 409), f"DELETE {path}: {answer.status}: {answer.text}"

    def refusal(self, document: Object, namespace: str) -> str:
        """Why it would not be applied, or of what it would be warned; empty if neither. An unknown field counts."""
        where = self._place(document, namespace)
        answer = self._answered("PATCH", where, document, _APPLIED, **_FORCED, **_STRICT)
        return answer.message if answer.status >= 300 else answer.warnings

    def created(self, document: Object, namespace: str) -> Object | str:
        """What it would become, or the sentence that refuses it."""
        where, _, name = self._place(document, namespace).rpartition("/")
        answer = self._answered("POST", where, document, **_STRICT)
        assert answer.status < 300 or answer.status in _REFUSED, f"{name}: {answer.status}: {answer.message}"
        return answer.message if answer.status >= 300 else dict(json.loads(answer.text))

    def _place(self, document: Object, namespace: str) -> str:
        """Where it is, in that namespace if it names none itself."""
        version, kind, metadata = document["apiVersion"], document["kind"], document["metadata"]
        if kind not in self._known.get(version, ()):
            self._known[version] = self._kinds(version)
        assert kind in self._known[version], f"the API server knows no {kind} of {version}"
        plural, namespaced = self._known[version][kind]
        where = f"/namespaces/{metadata.get('namespace', namespace)}" if namespaced else ""
        return f"{_api(version)}{where}/{plural}/{metadata['name']}"

    def _kinds(self, version: str) -> dict[str, tuple[str, bool]]:
        """By kind the word for many and whether it is in a namespace, for the kinds of an API."""
        listed = self.get(_api(version))["resources"]
        return {each["kind"]: (each["name"], each["namespaced"]) for each in listed if "/" not in each["name"]}


def path(kind: str, namespace: str, name: str = "") -> str:
    """Of objects of a kind, named as kubectl takes it: pod, or pods. It is one of the core, or a job."""
    plural = f"{kind.removesuffix('s')}s"
    api = _api("batch/v1" if plural == "jobs" else "v1")
    return f"{api}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


@contextmanager
def proxied(kubectl: str) -> Iterator[Rest]:
    """A proxy of one's own, at a socket that is its user's alone. It ends with us, also when we are killed."""
    # Not everywhere where tests of another's cluster run; there a killed run leaves it behind.
    setpriv = shutil.which("setpriv")
    ends_with_us = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    with tempfile.TemporaryDirectory() as private, tempfile.TemporaryFile("w+") as said:
        at = f"{private}/api"
        process = subprocess.Popen(
            # A server may be known by a URL with a path, as Rancher's are.
            [*ends_with_us, kubectl, "proxy", f"--unix-socket={at}", "--append-server-path"],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,  # after a Ctrl-C it is still needed, to delete what there is
        )
        assert process.stdout
        try:
            line = process.stdout.readline()
            said.seek(0)
            assert line.startswith("Starting to serve on "), f"kubectl proxy: {line}{said.read()}"
            yield Rest(at)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # kubectl may be a script that runs it
            process.wait()
            process.stdout.close()


def _api(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
