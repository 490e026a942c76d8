"""A mutating webhook of a few lines: what other injectors of a cluster do to a pod, well and badly."""

from __future__ import annotations

import base64
import http.server
import json
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import trustme

from tests.cluster.kube import Object

Pod = dict[str, Any]


def _add(pod: Pod) -> None:
    """A sidecar, as a service mesh does."""
    if not any(c["name"] == "mesh" for c in pod["spec"]["containers"]):
        pod["spec"]["containers"].append({**pod["spec"]["containers"][0], "name": "mesh", "volumeMounts": []})


def _strip(pod: Pod) -> None:
    """What a webhook of old types does that does not know the field."""
    for each in pod["spec"].get("initContainers", ()):
        each.pop("restartPolicy", None)


def _unmount(pod: Pod) -> None:
    for each in pod["spec"]["containers"]:
        each["volumeMounts"] = [m for m in each.get("volumeMounts", ()) if m["name"] != "freshmount"]


def _unhook(pod: Pod) -> None:
    for each in pod["spec"].get("initContainers", ()):
        each.pop("lifecycle", None)


def _unshare(pod: Pod) -> None:
    pod["spec"].pop("shareProcessNamespace", None)


ACTS: dict[str, Callable[[Pod], None]] = {
    "add": _add,
    "strip": _strip,
    "unmount": _unmount,
    "unhook": _unhook,
    "unshare": _unshare,
}


class _Server(http.server.ThreadingHTTPServer):
    def server_bind(self) -> None:
        # That of HTTPServer looks its own name up, which takes long where there is no DNS.
        socketserver.TCPServer.server_bind(self)


class Webhook:
    """It serves each act at a path of its own, until closed. `called`: the API server has asked it."""

    def __init__(self, address: str) -> None:
        authority = trustme.CA()
        self._authority = authority.cert_pem.bytes()
        self.called = False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.called = True
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                pod = asked["request"]["object"]
                ACTS[self.path.partition("?")[0].strip("/")](pod)
                patch = [{"op": "replace", "path": "/spec", "value": pod["spec"]}]
                answer = {
                    "uid": asked["request"]["uid"],
                    "allowed": True,
                    "patchType": "JSONPatch",
                    "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
                }
                body = json.dumps(
                    {"apiVersion": asked["apiVersion"], "kind": asked["kind"], "response": answer}
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server((address, 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            certificate = authority.issue_cert(address)
            certificate.private_key_and_cert_chain_pem.write_to_path(file.name)
            context.load_cert_chain(file.name)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self._url = f"https://{address}:{self._server.server_address[1]}"

    def configuration(self, name: str, act: str, namespaces: Object, reinvoked: bool) -> Object:
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": f"{act}.example.com",
                    "clientConfig": {
                        "url": f"{self._url}/{act}",
                        "caBundle": base64.b64encode(self._authority).decode(),
                    },
                    "rules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ],
                    "namespaceSelector": namespaces,
                    "failurePolicy": "Ignore",  # where it is asked once more after its end
                    "timeoutSeconds": 30,
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "reinvocationPolicy": "IfNeeded" if reinvoked else "Never",
                }
            ],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
