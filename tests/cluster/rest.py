"""The API server over plain HTTP, by way of one `kubectl proxy`: with whatever kubeconfig kubectl takes.

A request takes milliseconds so. A kubectl for each took a tenth of a second of CPU time, which was a fourth of what the
tests of pods took, theirs and the API server's together.
"""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from typing import Any
from urllib.parse import urlencode

Object = dict[str, Any]
PATIENCE = 90.0  # seconds; what takes longer has gone wrong

MERGED = "application/merge-patch+json"  # as the kind of what is asked
_JSON = "application/json"
_APPLIED = "application/apply-patch+yaml"
_FORCED = {"fieldManager": "tests", "force": "true"}
_DRY = {"dryRun": "All"}


class Rest:
    def __init__(self, address: str) -> None:
        self._address = address
        self.kinds = cache(self._kinds)

    def begun(
        self, method: str, path: str, body: str | None = None, kind: str = _JSON, **query: object
    ) -> http.client.HTTPConnection:
        """A connection on which that has been asked. It has not been answered: a log that says nothing yet is not."""
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE)
        connection.request(method, f"{path}?{urlencode(query)}" if query else path, body, {"Content-Type": kind})
        return connection

    def ask(self, method: str, path: str, body: Object | None = None, kind: str = _JSON, **query: object) -> str:
        """What it answers; fails with what it refuses and why."""
        given = None if body is None else json.dumps(body)
        with closing(self.begun(method, path, given, kind, **query)) as connection:
            answer = connection.getresponse()
            text = answer.read().decode()
        assert answer.status < 300, f"{method} {path}: {answer.status}: {text}"
        return text

    def get(self, path: str, **query: object) -> Object:
        return dict(json.loads(self.ask("GET", path, **query)))

    def apply(self, document: Object, namespace: str) -> None:
        """Let it be as the document says, whoever else had a say in those fields."""
        self.ask("PATCH", self._place(document, namespace), document, _APPLIED, **_FORCED)

    def refusal(self, document: Object, namespace: str) -> str:
        """Why it would not be applied, or of what it would be warned; empty if neither. An unknown field counts."""
        more = {**_FORCED, **_DRY, "fieldValidation": "Strict"}
        status, said, warned = self._tried("PATCH", self._place(document, namespace), document, _APPLIED, more)
        return str(said["message"]) if status >= 300 else warned

    def created(self, document: Object, namespace: str) -> Object | str:
        """What it would become, or the sentence that refuses it."""
        where, _, _ = self._place(document, namespace).rpartition("/")
        status, said, _ = self._tried("POST", where, document, _JSON, _DRY)
        return said if status < 300 else str(said["message"])

    def _tried(
        self, method: str, path: str, document: Object, kind: str, query: dict[str, str]
    ) -> tuple[int, Object, str]:
        """Status, answer and warnings."""
        with closing(self.begun(method, path, json.dumps(document), kind, **query)) as connection:
            answer = connection.getresponse()
            return answer.status, json.load(answer), answer.headers.get("Warning", "")

    def _place(self, document: Object, namespace: str) -> str:
        """Where it is, in that namespace if it names none itself."""
        plural, namespaced = self.kinds(document["apiVersion"])[document["kind"]]
        metadata = document["metadata"]
        where = f"/namespaces/{metadata.get('namespace', namespace)}" if namespaced else ""
        return f"{_api(document['apiVersion'])}{where}/{plural}/{metadata['name']}"

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
    """A proxy of one's own. It ends with us, also when we are killed."""
    # Not everywhere where tests of another's cluster run; there a killed run leaves it behind.
    setpriv = shutil.which("setpriv")
    ends_with_us = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*ends_with_us, kubectl, "proxy", "--port=0"], stdout=subprocess.PIPE, stderr=said, text=True
        )
        try:
            assert process.stdout
            line = process.stdout.readline()
            said.seek(0)
            assert line.startswith("Starting to serve on "), f"kubectl proxy: {line}{said.read()}"
            yield Rest(line.split()[-1])
        finally:
            process.kill()
            process.communicate()


def _api(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
