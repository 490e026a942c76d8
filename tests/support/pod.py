"""What the containers of one pod share, and a small real app in it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

from tests.support.aws import Proxy, StandIn

APP = """
import os, signal, sys
def reread(*_):
    # Not by print: a stream refuses to be entered again from a handler.
    with open(sys.argv[1]) as f: os.write(1, f"hup {f.read()}\\n".encode())
signal.signal(signal.SIGHUP, reread)
open(sys.argv[2], "w").write(str(os.getpid()))
print("ready", flush=True)
while True: signal.pause()
"""


class Pod:
    """What the containers of one pod share: a volume, a config, secrets of their own."""

    def __init__(self, aws: StandIn, proxy: Proxy, home: Path) -> None:
        self.aws, self.proxy, self.home = aws, proxy, home
        self.suffix = uuid.uuid4().hex[:8]
        self.volume = home / "secrets"
        self.config = home / "config" / "config.yaml"
        self.app: App
        self.config.parent.mkdir()

    def put(self, name: str, value: str) -> str:
        return self.aws.put(f"{name}-{self.suffix}", value)

    def rotate(self, name: str, value: str) -> str:
        return self.aws.rotate(f"{name}-{self.suffix}", value)

    def secret(self, name: str, *files: str, extra: str = "") -> str:
        return f"{{name: {name}, secretId: {name}-{self.suffix}, {extra} files: [{', '.join(files)}]}}"

    def write(self, *secrets: str, notify: tuple[str, ...] = (), period: str = "1s", extra: str = "") -> Path:
        targets = f"notify: [{', '.join(notify)}]" if notify else ""
        return self.edit(
            f"""
apiVersion: freshmount.dev/v1
kind: Config
region: eu-west-1
endpointUrl: {self.proxy.url}
volume: {{path: {self.volume}}}
poll: {{period: {period}}}
startup: {{timeout: 20s}}
listen: 127.0.0.1:0
secrets: [{", ".join(secrets)}]
{targets}
{extra}
"""
        )

    def edit(self, text: str) -> Path:
        """Let the config be this text, in one step: the agent watches it."""
        aside = self.config.with_suffix(".new")
        aside.write_text(text)
        aside.rename(self.config)
        return self.config

    def read(self, path: str) -> str:
        return (self.volume / path).read_text()

    def tree(self) -> dict[str, bytes]:
        """Every file that a reader finds through `..data`, with its content."""
        data = (self.volume / "..data").resolve()
        return {
            str(path.relative_to(data)): path.read_bytes()
            for path in sorted(data.rglob("*"))
            if path.is_file() and not path.name.startswith("..")
        }


class App:
    """A small real app: it re-reads one file on SIGHUP and says so."""

    def __init__(self, path: Path, pid_file: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", APP, str(path), str(pid_file)], stdout=subprocess.PIPE, text=True
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def drain(self) -> list[str]:
        """End the app; every line that was not read yet."""
        self.process.kill()
        assert self.process.stdout is not None
        return self.process.stdout.read().split("\n")[:-1]
