"""Notifying a target by a request."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import urllib3

from agent import __version__
from agent.core import network
from agent.core.errors import Refused, cause
from agent.core.model import Pending, Url
from agent.core.record import Record

_TIMEOUT = urllib3.Timeout(connect=2.0, read=3.0)

_EXAMINED = urllib3.Timeout(total=2.5)  # seconds


class CallUrl(Record):
    """POST to a URL; 2xx accepts. The answer's body is neither read nor logged."""

    action: Url

    def tell(self, pending: Pending) -> str:
        with self._calling(_TIMEOUT) as (pool, shown):
            answer = pool.request(
                "POST",
                self.action.url,
                headers={"User-Agent": f"freshmount/{__version__}", "Content-Length": "0"},
                redirect=False,
                preload_content=False,
            )
            status = answer.status
            answer.close()
        if 200 <= status < 300:
            return f"{shown} answered {status}"
        raise Refused(f"{shown} answered {status}; 2xx accepts")

    def examine(self) -> str:
        with self._calling(_EXAMINED) as (pool, shown):
            status = pool.request("HEAD", self.action.url, redirect=False).status
        return f"{shown} answers HEAD with {status}; the first change shows how it answers POST"

    @contextmanager
    def _calling(self, timeout: urllib3.Timeout) -> Iterator[tuple[urllib3.PoolManager, str]]:
        """The connection pool, and the URL as messages show it. Any failure inside is raised as Refused, with a
        sentence."""
        shown = self.action.url
        try:
            parts = urlsplit(shown)
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # a query may carry a token
            with urllib3.PoolManager(retries=False, timeout=timeout, cert_reqs=ssl.CERT_REQUIRED) as pool:
                yield pool, shown
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, ValueError) as error:
            refused = Refused(f"{shown} cannot be called: {_sentence(error)}")
        else:
            return
        raise refused


def _sentence(error: BaseException) -> str:
    """Why a URL cannot be called. Quotes nothing that the other side sent."""
    first = network.innermost(error)
    match first:
        case socket.gaierror():
            return f"its host name does not resolve ({cause(first)}); check DNS"
        case ssl.SSLCertVerificationError():
            return f"its certificate was refused: {first.verify_message}"
        case ssl.SSLError():
            return "the TLS handshake failed; is it an http server?"
        case http.client.RemoteDisconnected():
            return "it closed the connection without answering"
        case http.client.HTTPException():
            return "its answer is not HTTP, or its headers are too long"
        case TimeoutError() if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
            return "no connection in time; check routes and NetworkPolicies"
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return f"{cause(first)}; nothing listens there yet"
        case OSError():
            return cause(first)
        case urllib3.exceptions.TimeoutError():
            return "no answer in time"
        case ValueError():  # urllib3's errors about a URL, and Python's about a host name
            return "it is not a valid URL; check its host and port"
    return "its answer cannot be understood"
