"""What makes botocore quicker and smaller than it comes, all of it here. Importing this changes botocore, as a whole.

Three times it reaches for what botocore does not promise. Each place says what it buys, and what happens when the name
moves: time is lost, and nothing else. So nothing here looks for a version of botocore.
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
}  # services: ours, and what credentials may come from


class Context(ssl.SSLContext):
    """A TLS context that reads a bundle of certificates only when it is another than the one it holds.

    urllib3 lets it read the bundle again for every new connection, which takes 3 to 26 ms of CPU each time.
    """

    _loaded: tuple[object, ...] | None = None
    _reading = threading.Lock()  # the first connections are made at once

    def load_verify_locations(self, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        """As every context does. Raises OSError, and ssl.SSLError for a bundle that holds no certificates."""
        found = os.stat(cafile) if cafile and not (capath or cadata) else None
        key = found and (cafile, found.st_ino, found.st_size, found.st_mtime_ns)
        with self._reading:
            if key is None or key != self._loaded:
                super().load_verify_locations(cafile, capath, cadata)
                self._loaded = key


def read_ahead(bundle: str) -> Context:
    """A context for a client to come, which reads its bundle beside what else there is to do: 2 to 4 ms of a start."""
    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    threading.Thread(target=_read, args=(context, bundle), name="bundle", daemon=True).start()
    return context


def _read(context: Context, bundle: str) -> None:
    with contextlib.suppress(OSError):  # the connection that needs it says so
        context.load_verify_locations(bundle)


_ahead = threading.local()  # `context`: for the client that this thread makes


@contextlib.contextmanager
def connecting_by(context: Context | None) -> Iterator[None]:
    """The client that is made within, by this thread, connects by this context; without one by one of its own."""
    _ahead.context = context
    try:
        yield
    finally:
        _ahead.context = None


def _context(protocol: int) -> ssl.SSLContext:
    context: ssl.SSLContext | None = getattr(_ahead, "context", None)
    _ahead.context = None  # used once: who asks again sets up one of its own
    return context or Context(protocol)


# Buys: the contexts above, since botocore offers no way to pass one of one's own.
# When the name moves: botocore makes ordinary contexts, the bundle is read for each connection, and once in vain.
botocore.httpsession.SSLContext = _context  # type: ignore[attr-defined]

# Buys: 3 ms of a start, and 5 ms and 1.2 MiB for the module `inspect`. botocore looks at the signatures of the handlers
# that it registers, all its own, whether they take what they are called with.
# When the name moves: it looks at them.
botocore.hooks.accepts_kwargs = lambda _handler: True  # type: ignore[assignment, return-value]


def session() -> botocore.session.Session:
    """A session without the handlers, 114 of 127, for services that are not asked.

    Buys: 3 ms of a start. When the list of handlers, or what says their place in it, moves: a session with all of them.
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
