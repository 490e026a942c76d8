"""An app that reads its secrets from files: at its start, and again on SIGHUP. It never shows a value."""

import http.server
import os
import signal
from pathlib import Path

SECRETS = Path(os.environ["SECRETS"])
reads: list[dict[str, bytes]] = []


def read(*_: object) -> None:
    # One handle on ..data: all of these files come from one generation, whatever is published meanwhile.
    data = (SECRETS / "..data").resolve()
    found = data.rglob("*") if data.exists() else []
    files = [path for path in found if path.is_file() and not path.name.startswith("..")]
    reads.append({str(path.relative_to(data)): path.read_bytes() for path in files})


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write("".join([f"reads {len(reads)}\n", *(f"{name}\n" for name in sorted(reads[-1]))]).encode())


read()
signal.signal(signal.SIGHUP, read)
server = http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Page)
print(f"listening on port {server.server_port}")
server.serve_forever()
