"""DescribeSecret for a caller that has an HTTP client of its own: the request as botocore signs it, and its answer.

For the hub, which looks hundreds of times a second, from one event loop. A client of botocore needs a thread, and takes
most of the CPU time of a look.
"""

from __future__ import annotations

import functools
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from agent import __version__
from agent.core.errors import Failure
from agent.core.model import Observation, Place, Secret
from agent.sources.aws import tuning
from agent.sources.aws.secrets_manager import SecretsManager, observations


class Way:
    """The way to Secrets Manager of one region: its URL, its TLS (None without), and what requests are signed with."""

    __slots__ = ("_signer", "tls", "url")

    def __init__(self, url: str, signer: SigV4Auth, tls: ssl.SSLContext | None) -> None:
        self.url, self._signer, self.tls = url, signer, tls

    def request(self, secret: Secret) -> tuple[dict[str, str], bytes]:
        """The headers and the body to POST to the URL now. Their signature is good for five minutes."""
        body = json.dumps({"SecretId": secret.ref.id}).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "User-Agent": f"freshmount/{__version__}",
            "X-Amz-Target": "secretsmanager.DescribeSecret",
        }
        request = AWSRequest("POST", self.url, headers=headers, data=body)
        self._signer.add_auth(request)
        return dict(request.headers.items()), body


def way(source: SecretsManager, place: Place) -> Way | None:
    """The way that `source` went to a place that it has just asked; None where that leads through a proxy.

    It is good as long as nothing of it changes: keys, the bundle of certificates, the environment. So go it for a
    minute, and then let `source` ask once more. Raises NoCredentials, OSError.
    """
    url = source.requested(place)
    if url is None or source.proxy(url) or place.region is None:
        return None
    keys = source.credentials_of(place).get_frozen_credentials()
    tls = None
    if url.startswith("https:"):
        found = os.stat(source.bundle)
        tls = _tls(source.bundle, found.st_ino, found.st_size, found.st_mtime_ns)
    return Way(url, SigV4Auth(keys, "secretsmanager", place.region), tls)


@functools.lru_cache(maxsize=2)
def _tls(bundle: str, *_changed: int) -> ssl.SSLContext:
    """One for all requests, until the bundle changes: a connection is made anew with another context."""
    context = tuning.Context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    return context


def read(secret: Secret, stages: Sequence[str], body: bytes) -> Mapping[str, Observation | Failure]:
    """What the body of an answer 200 says of each of these stages. Raises ValueError, or another exception, if
    Secrets Manager did not send it."""
    answer: dict[str, Any] = json.loads(body)
    for name in ("DeletedDate", "NextRotationDate"):
        if answer.get(name) is not None:
            answer[name] = datetime.fromtimestamp(answer[name], UTC)
    if not isinstance(answer.get("RotationRules", {}), dict | None):
        raise TypeError("no description")
    return observations(secret, stages, answer)
