"""A web server that wants an API key of its callers. It knows it from its environment, and only that of its start."""

import hmac
import http.server
import os

KEY = os.environ["API_KEY"].encode()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        right = hmac.compare_digest(self.headers.get("X-Api-Key", "").encode(), KEY)
        self.send_response(200 if right or self.path == "/healthz" else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()


http.server.ThreadingHTTPServer(("", 8080), Page).serve_forever()
