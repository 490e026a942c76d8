"""A web server that wants an API key of its callers, and reads it anew when the agent calls /reload."""

import hmac
import http.server
import signal
import sys
from pathlib import Path

KEY = Path("/freshmount/secrets/api-key")


class Server(http.server.ThreadingHTTPServer):
    key = b""

    def load(self) -> None:
        self.key = KEY.read_bytes()  # always a whole file: the agent replaces it by a rename


class Page(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        right = hmac.compare_digest(self.headers.get("X-Api-Key", "").encode(), self.server.key)
        self.answer(200 if right or self.path == "/healthz" else 401)

    def do_POST(self) -> None:
        # Containers of a pod share its loopback; nobody else reaches it.
        if self.path != "/reload" or self.client_address[0] != "127.0.0.1":
            self.answer(404)
            return
        try:
            self.server.load()
        except OSError as error:
            self.log_error("%s", error)
            self.answer(500)  # the key before it stays, and the agent tries again
        else:
            self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


# The first process of a container has no default action for it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
server = Server(("", 8080), Page)
server.load()
server.serve_forever()
