"""Those who read .env files, each as its users call it: what they find in files, and why one is missing.

`make tools` lays the libraries of npm and Go, as they are locked in this directory, into `.cache/tools`.
"""

from __future__ import annotations

import json
import shutil
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import dotenv

from tests.support.paths import ROOT

HERE = Path(__file__).parent
TOOLS = ROOT / ".cache" / "tools"
NPM, GO = TOOLS / "npm", TOOLS / "read-dotenv"

Found = list[dict[str, str | None]]


def python_dotenv(paths: Sequence[Path]) -> Found:
    return [dict(dotenv.dotenv_values(path)) for path in paths]


def node(paths: Sequence[Path]) -> Found:
    """Node's own, which `node --env-file` uses."""
    script = "const {parseEnv} = require('util'), fs = require('fs');"
    return _node(script + "const read = path => parseEnv(fs.readFileSync(path, 'utf8'));", paths)


def npm_dotenv(paths: Sequence[Path]) -> Found:
    script = f"const {{parse}} = require({json.dumps(str(NPM / 'node_modules' / 'dotenv'))}), fs = require('fs');"
    return _node(script + "const read = path => parse(fs.readFileSync(path));", paths)


def _node(script: str, paths: Sequence[Path]) -> Found:
    return _json(["node", "-e", script + "console.log(JSON.stringify(process.argv.slice(1).map(read)))"], paths)


def godotenv(paths: Sequence[Path]) -> Found:
    return _json([str(GO)], paths)


def _json(command: Sequence[str], paths: Sequence[Path]) -> Found:
    said = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=True).stdout
    found: Found = json.loads(said)
    return found


def docker(paths: Sequence[Path]) -> Found:
    """The command line tool reads the file, and sends what it found to the daemon: here one that writes it down."""
    found: Found = []

    class Daemon(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path.partition("?")[0].endswith("/containers/create"):
                entries = json.loads(body)["Env"] or []
                found.append({key: value for key, _, value in (entry.partition("=") for entry in entries)})
            text = b'{"Id": "none", "Warnings": []}'
            self.send_response(201)
            self.send_header("Api-Version", "1.41")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else text)

        do_GET = do_POST = do_HEAD = answer

        def address_string(self) -> str:
            return ""

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with (
        tempfile.TemporaryDirectory() as home,
        socketserver.ThreadingUnixStreamServer(f"{home}/docker.sock", Daemon) as daemon,
    ):
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        for path in paths:
            command = ["docker", "--host", f"unix://{home}/docker.sock", "create", "--env-file", str(path), "image"]
            subprocess.run(command, capture_output=True, check=True)
        daemon.shutdown()
    return found


READERS: dict[str, Callable[[Sequence[Path]], Found]] = {
    "python-dotenv": python_dotenv,
    "node --env-file": node,
    "npm's dotenv": npm_dotenv,
    "Go's godotenv": godotenv,
    "docker --env-file": docker,
}


def missing(reader: str) -> str | None:
    """What to install for a reader, or None if it is here."""
    if reader == "docker --env-file":
        return None if shutil.which("docker") else "docker is not installed"
    if reader == "Go's godotenv":
        return None if GO.exists() else "godotenv is not here: make tools, with go"
    if reader == "npm's dotenv":
        return (
            None if (NPM / "node_modules").exists() and shutil.which("node") else "npm's dotenv is not here: make tools"
        )
    if reader == "node --env-file":
        knows = ["node", "-e", "process.exit(require('util').parseEnv ? 0 : 1)"]
        there = shutil.which("node") and subprocess.run(knows, check=False).returncode == 0
        return None if there else "node 20.12 or newer is not installed"
    return None
