"""Everything that makes botocore start faster and use less memory. Importing this changes botocore for the process.

Three places use names that botocore does not promise to keep. Each says what it saves, and what happens if the name
moves: only time is lost. So nothing here checks the version of botocore.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import botocore.handlers
import botocore.hooks
import botocore.httpsession
import botocore.session

_ASKED = {
    "secretsmanager",
    "ssm",
    "sts",
    "sso",
    "sso-oidc",
    "signin",
}  # services: the source's own, and those that may give credentials


class Context(ssl.SSLContext):
    """A TLS context that reads a bundle of certificates only if the bundle has changed since the last time.

    urllib3 makes it read the bundle again for every new connection, which takes 3 to 26 ms of CPU each time.
    """

    _loaded: tuple[object, ...] | None = None
    _reading = threading.Lock()  # the first connections are made in parallel

    def load_verify_locations(self, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        """Load the bundle, like any context. Raises OSError, or ssl.SSLError if it contains no certificates."""
        found = os.stat(cafile) if cafile and not (capath or cadata) else None
        key = found and (cafile, found.st_ino, found.st_size, found.st_mtime_ns)
        with self._reading:
            if key is None or key != self._loaded:
                super().load_verify_locations(cafile, capath, cadata)
                self._loaded = key


def read_ahead(bundle: str) -> Context:
    """A context for a later client. A thread reads its bundle meanwhile, which saves 2 to 4 ms of a start."""
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    threading.Thread(target=_read, args=(context, bundle), name="bundle", daemon=True).start()
    return context


def _read(context: Context, bundle: str) -> None:
    with contextlib.suppress(OSError):  # the first connection will report it
        context.load_verify_locations(bundle)


_ahead = threading.local()  # `context` is for the client that this thread creates


@contextlib.contextmanager
def connecting_by(context: Context | None) -> Iterator[None]:
    """A client that this thread creates inside the block uses this context; with None, it makes one of its own."""
    _ahead.context = context
    try:
        yield
    finally:
        _ahead.context = None


def _context(protocol: int) -> ssl.SSLContext:
    context: ssl.SSLContext | None = getattr(_ahead, "context", None)
    _ahead.context = None  # used once; the next request gets a new one
    return context or Context(protocol)


# Saves: what the contexts above save. botocore offers no way to pass in a context.
# If the name moves: botocore makes ordinary contexts. The bundle is read for each connection, and once for nothing.
botocore.httpsession.SSLContext = _context  # type: ignore[attr-defined]

# Saves: 3 ms of a start, and 5 ms and 1.2 MiB for the module `inspect`. botocore inspects the signature of every
# handler that it registers, to check that it accepts keyword arguments. All of them are its own.
# If the name moves: botocore inspects them again.
botocore.hooks.accepts_kwargs = lambda _handler: True  # type: ignore[assignment, return-value]


def session() -> botocore.session.Session:
    """A session without the handlers for services that the agent never calls: 114 of 127.

    Saves: 3 ms of a start. If the list of handlers moves, or the constants for their order do: a session with all.
    """
    try:
        handlers = botocore.handlers.BUILTIN_HANDLERS
        first, last = botocore.handlers.REGISTER_FIRST, botocore.handlers.REGISTER_LAST
    except AttributeError:
        return botocore.session.Session()
    made = botocore.session.Session(include_builtin_handlers=False)
    events = made.get_component("event_emitter")
    places = {first: events.register_first, last: events.register_last}
    for event, handler, *place in handlers:
        service = event.split(".")[1:2]
        if not service or service[0] in _ASKED:
            register = places[place[0]] if place else events.register
            register(event, handler)
    return made
