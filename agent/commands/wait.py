"""`freshmount wait`: return once the agent beside it has published a complete generation.

For a postStart hook of the agent's container: kubelet starts the containers after it when the hook has returned. It
runs while the agent starts, on the same processors, so it imports next to nothing: `_socket` is what `socket` is of.
"""

from __future__ import annotations

import _socket
import time
from typing import TYPE_CHECKING

from agent.core.errors import StartError

if TYPE_CHECKING:
    from typing import Any

GRACE = 30.0  # seconds after `startup.timeout`, at which the agent ends by itself and says why

TIMEOUT = 120.0 + GRACE  # seconds, with the default `startup.timeout`

_SHORTEST, _LONGEST = 0.01, 0.5  # seconds between two questions: while it starts, and while AWS is away for minutes

_ANSWER = 3.0  # seconds for an answer

_LIMIT = 16 << 20  # bytes of one

_LOOPBACK = ("127.0.0.1", "::1")

_EVERYWHERE = ("", "::", "0.0.0.0")  # noqa: S104 as `listen` says it


def wait(path: str, port: int | None, timeout: float | None) -> int:
    """Return 0 once the agent says that a complete generation is published.

    It is asked at `port` on loopback, for `timeout` seconds. What is None is taken from the config at `path`: where the
    agent listens, and its `startup.timeout` and half a minute. With a port, the config is not read.

    Raises StartError with what keeps the agent, when it has none by then; ConfigError for a config that is refused.
    """
    hosts: tuple[str, ...] = _LOOPBACK
    if port is None:
        from agent.commands.check import load

        _, config = load(path)
        port = config.settings.listen.port
        hosts = _LOOPBACK if config.settings.listen.host in _EVERYWHERE else (config.settings.listen.host,)
        timeout = timeout or config.bundle.timing.startup_timeout + GRACE
    timeout = timeout or TIMEOUT
    begun = time.monotonic()
    while not _started(hosts, port):
        waited = time.monotonic() - begun
        if waited >= timeout:
            raise StartError(f"no complete generation within {timeout:g} s; {_why(hosts, port)}")
        time.sleep(min(max(_SHORTEST, waited / 100), _LONGEST, timeout - waited))
    return 0


def _started(hosts: tuple[str, ...], port: int) -> bool:
    head, _, body = _ask(hosts, port, "/startupz").partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200 ") and b'"started": true' in body


def _why(hosts: tuple[str, ...], port: int) -> str:
    """What the agent says of each secret that it does not have."""
    import json

    answer = _ask(hosts, port, "/readyz")
    if not answer:
        return f"the agent does not answer on port {port}: its log says more"
    try:
        secrets: list[dict[str, Any]] = json.loads(answer.partition(b"\r\n\r\n")[2])["secrets"]
        reasons = [f"{secret['name']}: {secret['error']['message']}" for secret in secrets if secret["error"]]
    except (ValueError, KeyError, TypeError):
        return f"what answers on port {port} is not the agent: is its `listen` another?"
    return "; ".join(reasons) or "the agent is at its first pass: its log says more"


def _ask(hosts: tuple[str, ...], port: int, page: str) -> bytes:
    """The whole answer of the first host that gives one; empty if none does."""
    for host in hosts:
        asking = _socket.socket(_socket.AF_INET6 if ":" in host else _socket.AF_INET, _socket.SOCK_STREAM)
        try:
            asking.settimeout(_ANSWER)
            asking.connect((host, port))
            asking.sendall(f"GET {page} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = b""
            while len(answer) < _LIMIT and (part := asking.recv(65536)):
                answer += part
        except OSError:
            continue
        finally:
            asking.close()
        if answer:
            return answer
    return b""
