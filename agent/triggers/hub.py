"""Ask the hub which versions are current, by long polls on a thread of its own.

A client of its own instead of http.client, which imports TLS and the email package, 5 MiB in a process that rests. The
hub is spoken to inside the cluster, by http.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from agent.core.errors import cause
from agent.core.hub import PATIENCE, Answered, Silent
from agent.core.record import Record
from agent.core.rest import Asking, Watched

PATH = "/v1/versions"

_HEAD, _BODY, _TOKEN = 1 << 14, 1 << 20, 1 << 14  # bytes at most

_PAUSE = 1.0  # seconds between the beginnings of two requests, at least

_BACKOFF_AT_MOST = 60.0  # seconds, with jitter, between two attempts at a hub that does not answer

_AGAIN = 300.0  # seconds after which the hub is asked again about a secret that it had an error for

_LONGEST = 256  # characters of a version


class Client:
    """Asks the hub and reports what became of it. `heard` is called on the client's thread when there is a report."""

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._lock = threading.Condition()
        self._asking: Asking | None = None
        self._reports: list[Answered | Silent] = []
        self._closed = False
        self._thread: threading.Thread | None = None
        self._connection: Connection | None = None

    def ask(self, asking: Asking) -> None:
        """Ask this from now on. A request under way goes on."""
        with self._lock:
            self._asking = asking
            self._lock.notify_all()
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="hub", daemon=True)
            try:
                thread.start()
                self._thread = thread
            except RuntimeError:  # no thread can be started now; the next question tries again
                self._reports.append(Silent("no further thread can be started"))

    def reports(self) -> Sequence[Answered | Silent]:
        """What became of the requests since the last call."""
        with self._lock:
            reports, self._reports = self._reports, []
        return reports

    def close(self) -> None:
        """Ask nothing any more. Does not wait for a request under way, which the end of the process ends."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def _run(self) -> None:
        """1. What there is to ask: the version that the hub said last, since that is what it must not say again; at
        first the one that the agent saw.
        2. The first request does not wait: it shows whether there is a hub.
        3. A hub that answers at once without anything new is asked ever more slowly.
        """
        talk = _Talk()
        while asking := self._next():
            # 1.
            secrets = talk.of(asking, time.monotonic())
            if not secrets:
                self._rest(_PAUSE)
                continue
            # 2.
            began, wait = time.monotonic(), asking.wait * random.uniform(0.8, 1.0) if talk.connected else 0.0  # noqa: S311
            try:
                self._connection = self._connection or Connection(asking.url)
                if self._connection.url != asking.url:
                    self._connection.close()
                    self._connection = Connection(asking.url)
                token = read_token(asking.token_path)
                answer = self._connection.ask(question(wait, talk.known(secrets)), token, wait + PATIENCE)
                found = understood(answer, len(secrets))
            except (HubAway, OSError) as error:
                if self._connection:
                    self._connection.close()
                reason = str(error) if isinstance(error, HubAway) else cause(error)
                pause = talk.failed()
                self._report(Silent(reason))
            else:
                # 3.
                took = time.monotonic() - began
                pause = talk.answered(secrets, found, took, wait, time.monotonic())
                self._report(Answered(talk.versions(asking), found.spread))
            self._rest(pause)
        if self._connection:
            self._connection.close()

    def _next(self) -> Asking | None:
        """What to ask, once there is anything; None at the end."""
        with self._lock:
            while not self._closed and (self._asking is None or not self._asking.watched):
                self._lock.wait()
            return None if self._closed else self._asking

    def _rest(self, seconds: float) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._closed, seconds)

    def _report(self, report: Answered | Silent) -> None:
        with self._lock:
            self._reports.append(report)
        self._heard()


class _Talk:
    """What was said so far, by key."""

    def __init__(self) -> None:
        self.connected = False
        self._said: dict[str, str] = {}
        self._refused: dict[str, float] = {}  # monotonic; until when it is not asked about
        self._failures = 0
        self._idle = 0

    def of(self, asking: Asking, now: float) -> list[Watched]:
        """What to ask about now, each once."""
        watched = {each.key: each for each in asking.watched}
        self._said = {key: version for key, version in self._said.items() if key in watched}
        return [each for key, each in watched.items() if self._refused.get(key, 0.0) <= now]

    def known(self, secrets: Sequence[Watched]) -> list[tuple[Watched, str]]:
        """Each with the version that the hub need not say."""
        return [(each, self._said.get(each.key, each.version)) for each in secrets]

    def versions(self, asking: Asking) -> dict[str, str]:
        """What the hub says of each secret now."""
        return {each.key: self._said[each.key] for each in asking.watched if each.key in self._said}

    def failed(self) -> float:
        """Note that there was no answer; returns the seconds to wait."""
        self.connected = False
        self._failures += 1
        return random.uniform(0.1, min(_BACKOFF_AT_MOST, 2.0 ** min(self._failures, 6)))  # noqa: S311

    def answered(self, secrets: Sequence[Watched], found: Found, took: float, wait: float, now: float) -> float:
        """Note an answer; returns the seconds to wait."""
        news = False
        for (secret, known), version in zip(self.known(secrets), found.versions, strict=True):
            if version is None:
                self._said.pop(secret.key, None)
                self._refused[secret.key] = now + random.uniform(0.5, 1.0) * _AGAIN  # noqa: S311
            else:
                self._said[secret.key] = version
                news = news or version != known
        early = self.connected and took < wait / 2 and not news
        self._idle = self._idle + 1 if early else 0
        self.connected, self._failures = True, 0
        if early:
            return min(_BACKOFF_AT_MOST, 2.0 ** min(self._idle, 6))
        return max(0.0, _PAUSE - took) if wait else 0.0


class HubAway(Exception):
    """The hub gave no answer that counts; says why, for a person."""


class Found(Record):
    """An answer that was understood: the version of each secret that was asked about, or None for an error, and the
    seconds over which the hub wants looks to be spread."""

    versions: tuple[str | None, ...]
    spread: float


def question(wait: float, secrets: Sequence[tuple[Watched, str]]) -> bytes:
    """The body of a request."""
    asked = [
        {"kind": each.kind, "id": each.id, "region": each.region, "stage": each.stage, "version": version}
        for each, version in secrets
    ]
    return json.dumps({"wait": wait, "secrets": asked}, separators=(",", ":")).encode()


def understood(body: bytes, count: int) -> Found:
    """What an answer about so many secrets means. Raises HubAway for one that means nothing."""
    try:
        answer = json.loads(body)
        spread, secrets = answer["spread"], answer["secrets"]
        if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 <= spread < 1e6:
            raise ValueError("spread")
        if not isinstance(secrets, list) or len(secrets) != count:
            raise ValueError("secrets")
        return Found(tuple(map(_version, secrets)), float(spread))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise HubAway("its answer is not understood; check that hub.url leads to a hub of this version")


def _version(secret: Any) -> str | None:
    if "error" in secret:
        return None
    version = secret["version"]
    if not isinstance(version, str) or not 0 < len(version) <= _LONGEST or not version.isprintable():
        raise ValueError("version")
    return version


def read_token(path: str) -> str:
    """The token in that file, which kubelet renews. Raises OSError, or HubAway if it is none."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        text = os.read(handle, _TOKEN + 1).strip()
    finally:
        os.close(handle)
    if not 0 < len(text) <= _TOKEN or not all(33 <= byte <= 126 for byte in text):
        raise HubAway(f"{path} holds no token; mount a projected service account token there")
    return text.decode("ascii")


class Connection:
    """A connection to the hub, which is opened when it is needed and used again. `url` is http://host:port."""

    def __init__(self, url: str) -> None:
        self.url = url
        host_port, slash, path = url.removeprefix("http://").partition("/")
        host, colon, port = host_port.rpartition(":")
        if not colon or "]" in port:
            host, port = host_port, "80"
        self._host, self._port = host.strip("[]"), int(port)
        self._shown, self._path = host_port, (slash + path).rstrip("/") + PATH
        self._socket: socket.socket | None = None
        self._read = b""

    def ask(self, body: bytes, token: str, seconds: float) -> bytes:
        """The body of the answer. A connection that was open and turns out to be closed is opened anew, once.

        Raises OSError, or HubAway for an answer that is none, and for none within so many seconds.
        """
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self._shown}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        until = time.monotonic() + seconds
        if self._socket:
            try:
                return self._exchange(self._socket, head.encode() + body, until)
            except (ConnectionError, _Closed):
                self.close()
        # An answer that does not come within the time is not asked for again.
        opened = self._socket = socket.create_connection((self._host, self._port), timeout=PATIENCE / 2)
        try:
            return self._exchange(opened, head.encode() + body, until)
        except _Closed:
            pass
        raise HubAway("it closed the connection without an answer")

    def _exchange(self, opened: socket.socket, request: bytes, until: float) -> bytes:
        self._read = b""
        opened.settimeout(PATIENCE)
        opened.sendall(request)
        head = self._until(opened, b"\r\n\r\n", _HEAD, until)
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks(opened, until)
        else:
            length = fields.get("content-length", "")
            if not length.isascii() or not length.isdigit() or int(length) > _BODY:
                raise HubAway("it answered something else than a hub does")
            body = self._exactly(opened, int(length), until)
        if fields.get("connection", "").lower() == "close":
            self.close()
        code = status.split(" ")[1] if status.startswith("HTTP/1.") and " " in status else ""
        if code != "200":
            raise HubAway(_refused(code, body))
        return body

    def _chunks(self, opened: socket.socket, until: float) -> bytes:
        """A body in chunks, as a proxy on the way may send it."""
        body = b""
        while True:
            size = self._until(opened, b"\r\n", 64, until).split(b";")[0].strip()
            if not size or len(size) > 6 or not all(byte in b"0123456789abcdefABCDEF" for byte in size):
                raise HubAway("it answered something else than a hub does")
            part = self._exactly(opened, int(size, 16), until)
            self._exactly(opened, 2, until)
            if not part:
                return body
            body += part
            if len(body) > _BODY:
                raise HubAway(f"its answer is longer than {_BODY} bytes")

    def _until(self, opened: socket.socket, end: bytes, limit: int, until: float) -> bytes:
        while end not in self._read:
            if len(self._read) > limit + _HEAD:
                raise HubAway("it answered something else than a hub does")
            self._more(opened, until)
        found, _, self._read = self._read.partition(end)
        return found

    def _exactly(self, opened: socket.socket, count: int, until: float) -> bytes:
        while len(self._read) < count:
            self._more(opened, until)
        found, self._read = self._read[:count], self._read[count:]
        return found

    def _more(self, opened: socket.socket, until: float) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise HubAway("no answer in time")
        opened.settimeout(left)
        try:
            part = opened.recv(1 << 16)
        except TimeoutError:
            part = None
        if part is None:
            raise HubAway("no answer in time")
        if not part:
            raise _Closed
        self._read += part

    def close(self) -> None:
        """Close it; the next request opens it anew."""
        if self._socket:
            self._socket.close()
        self._socket = None


class _Closed(Exception):
    """The other side closed the connection."""


def _refused(code: str, body: bytes) -> str:
    said = "".join(char if char.isprintable() else "?" for char in body[:200].decode("utf-8", "replace")).strip()
    match code:
        case "401" | "403":
            return f"it refuses the token ({code}); it must be a service account's, of the audience freshmount: {said}"
        case "429" | "503":
            return f"it has no room for this agent ({code}): {said}"
    return f"it answered {code or 'no HTTP'}: {said}"
