"""The whole story on an embedded stand-in for AWS: moto's server in this process, the agent and an app as their own.

Each scene either happened or the demo fails; nothing is shown that was not seen.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from prometheus_client.parser import text_string_to_metric_families

from agent.errors import FreshmountError, StartError

REGION = "eu-west-1"
PATIENCE = 15.0  # seconds until a scene that does not happen counts as failed
OUTAGE = 2.5  # seconds without AWS
_CONFIG = """\
apiVersion: freshmount.dev/v1
kind: Config
region: {region}
endpointUrl: {url}
volume: {{path: {home}/secrets}}
poll: {{period: 1s, settle: 300ms}}   # a demo's pace; the default period is 60s
listen: 127.0.0.1:0
secrets:
  - name: db
    secretId: {db}
    files: [{{path: db.json, format: json}}]
  - name: api
    secretId: {api}
    files: [{{path: api.json, format: json}}]
notify:
  - name: app
    signal: SIGHUP
    process: {{pidFile: {home}/app.pid}}
"""
_SHOWN_METRICS = ("passes_total", "aws_requests_total", "secret_errors_total", "notifications_total")


class DemoFailed(FreshmountError):
    """A scene did not happen."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation as it was seen. Seconds: from PutSecretValue to the file, from the file to the app's handler."""

    what: str
    to_file: float
    to_signal: float


class Narrator:
    """Prints the story; in colour on a terminal unless NO_COLOR is set."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._scenes = 0

    def scene(self, title: str) -> None:
        self._scenes += 1
        print(f"\n{self._styled('1;36', f'{self._scenes}. {title}')}", flush=True)

    def say(self, text: str) -> None:
        print(f"   {text}", flush=True)

    def seen(self, text: str) -> None:
        print(f"   {self._styled('32', '✓')} {text}", flush=True)

    def _styled(self, style: str, text: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._colour else text


class Child:
    """A process of the story whose lines, JSON objects, are waited for."""

    def __init__(self, argv: list[str], env: dict[str, str], stream: str) -> None:
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": None} | {stream: subprocess.PIPE}
        # A session of its own: Ctrl-C reaches the demo, which ends its children in order.
        self.process = subprocess.Popen(argv, env=env, text=True, start_new_session=True, **pipes)
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, args=(getattr(self.process, stream),), daemon=True).start()

    def _read(self, lines: Any) -> None:
        for line in lines:
            try:
                self._lines.put(json.loads(line))
            except ValueError:
                sys.stderr.write(line)

    def await_line(self, what: str, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next line that matches. Raises DemoFailed when it does not come."""
        end = time.monotonic() + PATIENCE
        with suppress(queue.Empty):
            while True:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
                if matches(line):
                    return line
        raise DemoFailed(f"did not happen within {PATIENCE:g} s: {what}")

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


def run(*, keep_running: bool) -> int:
    """Tell the story. Returns 0 when all of it happened, 1 when not, 130 after Ctrl-C.

    Raises StartError when the stand-in is not installed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    narrator = Narrator()
    home = Path(tempfile.mkdtemp(prefix="freshmount-demo-"))
    children: list[Child] = []
    try:
        with _stand_in() as aws:
            _Story(narrator, home, aws, children).tell(keep_running=keep_running)
    except KeyboardInterrupt:
        print("\n   stopped", flush=True)
        return 130
    except DemoFailed as failure:
        print(f"\n   FAILED: {failure}", flush=True)
        return 1
    finally:
        for child in children:
            if child.process.poll() is None:
                child.process.kill()
                child.process.wait()
        shutil.rmtree(home, ignore_errors=True)
    return 0


class StandIn:
    """moto's server, which can be taken away and brought back without losing its secrets."""

    def __init__(self, server: Any) -> None:
        self._make = server
        self._server = server(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, self._port = self._server.get_host_and_port()
        self.url = f"http://{host}:{self._port}"
        self.client: Any = boto3.session.Session().client(
            "secretsmanager",
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id="demo",
            aws_secret_access_key="demo",  # noqa: S106 the stand-in takes any
        )

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = self._make(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()


@contextmanager
def _stand_in() -> Iterator[StandIn]:
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        found = None
    else:
        found = ThreadedMotoServer
    if found is None:
        raise StartError("the demo's stand-in for AWS is not installed; pip install 'freshmount[demo]'")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # nothing here is to meet a real account
    os.environ.update(AWS_ACCESS_KEY_ID="demo", AWS_SECRET_ACCESS_KEY="demo", AWS_EC2_METADATA_DISABLED="true")  # noqa: S106
    aws = StandIn(found)
    try:
        yield aws
    finally:
        aws.stop()


class _Story:
    """The scenes, in order; each waits for what it tells."""

    def __init__(self, narrator: Narrator, home: Path, aws: StandIn, children: list[Child]) -> None:
        self._n = narrator
        self._home = home
        self._volume = home / "secrets"
        self._aws = aws
        self._children = children
        self._arns: dict[str, str] = {}
        self._rotations: list[Rotation] = []

    def tell(self, *, keep_running: bool) -> None:
        self._create()
        agent = self._start_agent()
        before = self._metrics()
        app = self._start_app()
        self._rotate_one(app)
        self._rotate_both(app)
        self._outage(app)
        counts = self._sum_up(app, before)
        if keep_running:
            self._keep()
        self._end(agent, counts)

    # -- scenes

    def _create(self) -> None:
        self._n.scene("Two secrets in a stand-in for AWS Secrets Manager")
        for name, value in (("db", self._db("pw-1", 1)), ("api", self._api("key-1", 1))):
            self._arns[name] = self._aws.client.create_secret(Name=f"prod/{name}", SecretString=value)["ARN"]
            self._n.say(self._arns[name])

    def _start_agent(self) -> Child:
        self._n.scene("The agent starts and fills the volume")
        config = self._home / "config.yaml"
        text = _CONFIG.format(region=REGION, url=self._aws.url, home=self._home, **self._arns)
        config.write_text(text, encoding="utf-8")
        agent = self._child(
            [sys.executable, "-m", "agent", "run", "--config", str(config), "--log-format", "json"], "stderr"
        )
        listening = agent.await_line("the agent listens", lambda line: line.get("event") == "listening")
        self._url = f"http://127.0.0.1:{listening['port']}"
        agent.await_line("the first generation", lambda line: line.get("event") == "published")
        if self._page("/startupz")[0] != 200:
            raise DemoFailed("/startupz is not 200 although a generation is published")
        for entry in sorted(self._volume.iterdir()):
            self._n.say(f"{entry.name} -> {entry.readlink()}" if entry.is_symlink() else f"{entry.name}/")
        self._n.seen("the first generation is complete, /startupz answers 200")
        return agent

    def _start_app(self) -> Child:
        self._n.scene("A small app reads its files, again and again")
        argv = [sys.executable, "-m", "agent.demo_app", str(self._volume), str(self._home / "app.pid")]
        app = self._child(argv, "stdout")
        using = app.await_line("the app's first read", lambda line: line["event"] == "using")
        self._n.seen(f"the app uses password {using['db']} and key {using['api']}")
        return app

    def _rotate_one(self, app: Child) -> None:
        self._n.scene("The password rotates")
        self._rotate(app, "the password alone", db=self._db("pw-2", 1))
        self._n.seen("the app was told by SIGHUP and uses password pw-2")

    def _rotate_both(self, app: Child) -> None:
        self._n.scene("Password and key rotate together")
        using = self._rotate(app, "both together", api=self._api("key-2", 2), db=self._db("pw-3", 2))
        if (using["db"], using["api"]) != ("pw-3", "key-2"):
            raise DemoFailed(f"the app got a mixed set: {using['db']} with {using['api']}")
        self._n.seen("one generation and one SIGHUP: the app uses pw-3 and key-2, and never saw one without the other")

    def _outage(self, app: Child) -> None:
        self._n.scene("AWS fails for a while")
        before = self._files()
        self._aws.stop()
        end = time.monotonic() + OUTAGE
        self._until("errors are counted", lambda: self._errors() > 0)
        self._until("the outage goes on", lambda: time.monotonic() > end)
        if self._files() != before:
            raise DemoFailed("the files changed while AWS was away")
        live = self._page("/livez")[0]
        self._n.seen(f"{self._errors():.0f} failures counted; the files stay byte for byte, /livez answers {live}")
        self._aws.start()
        self._rotate(app, "after the outage", api=self._api("key-3", 3), db=self._db("pw-4", 3))
        self._n.seen("AWS is back, and so is the next rotation: the app uses pw-4")

    def _sum_up(self, app: Child, before: dict[str, float]) -> dict[str, int]:
        self._n.scene("What happened")
        counts: dict[str, int] = {}
        self._n.say(f"{'rotation':<22}{'rotation → file':>17}{'file → signal':>17}")
        for rotation in self._rotations:
            self._n.say(f"{rotation.what:<22}{rotation.to_file * 1000:>14.0f} ms{rotation.to_signal * 1000:>14.0f} ms")
        middle = [statistics.median(getattr(r, f) for r in self._rotations) * 1000 for f in ("to_file", "to_signal")]
        self._n.say(f"{'median':<22}{middle[0]:>14.0f} ms{middle[1]:>14.0f} ms")
        self._n.say("")
        for name, value in self._metrics().items():
            if value != before.get(name, 0.0) and name.startswith(_SHOWN_METRICS):
                self._n.say(f"freshmount_{name}  {before.get(name, 0.0):.0f} → {value:.0f}")
        app.process.send_signal(signal.SIGTERM)
        counts = app.await_line("the app's counts", lambda line: line["event"] == "end")
        app.process.wait(PATIENCE)
        self._n.say("")
        self._n.say("{reads} reads by the app: {torn} torn, {mixed} mixed; {signals} signals".format(**counts))
        return counts

    def _end(self, agent: Child, counts: dict[str, int]) -> None:
        began = time.monotonic()
        code = agent.end(signal.SIGTERM)
        self._n.say(f"the agent ended {1000 * (time.monotonic() - began):.0f} ms after SIGTERM, with exit code {code}")
        wrong = [name for name in ("torn", "mixed") if counts[name]]
        if code or wrong or counts["signals"] != len(self._rotations):
            raise DemoFailed(f"exit code {code}, counts {counts}: one signal per rotation and no bad read was promised")
        self._n.seen("all of it happened as promised")

    def _keep(self) -> None:
        self._n.scene("Still running, until Ctrl-C")
        self._n.say(f"metrics   {self._url}/metrics")
        self._n.say(f"health    {self._url}/readyz")
        self._n.say(f"volume    {self._volume}")
        self._n.say(f"AWS       {self._aws.url}  (region {REGION}, any credentials)")
        self._n.say(
            'rotate    aws secretsmanager put-secret-value --secret-id prod/db --secret-string \'{"password": "x"}\' \\'
        )
        self._n.say(f"            --region {REGION} --endpoint-url {self._aws.url}")
        while True:
            signal.pause()

    # -- props

    @staticmethod
    def _db(password: str, together: int) -> str:
        return json.dumps({"username": "app", "password": password, "together": together})

    @staticmethod
    def _api(token: str, together: int) -> str:
        return json.dumps({"token": token, "together": together})

    def _child(self, argv: list[str], stream: str) -> Child:
        child = Child(argv, dict(os.environ), stream)
        self._children.append(child)
        return child

    def _rotate(self, app: Child, what: str, **values: str) -> dict[str, Any]:
        """Rotate; wait until the app has read the new file and was told; note the times."""
        password = json.loads(values["db"])["password"]
        for name, value in values.items():
            self._aws.client.put_secret_value(SecretId=self._arns[name], SecretString=value)
        rotated = time.time()
        self._n.say("PutSecretValue: " + " and ".join(f"prod/{name}" for name in values))
        file = app.await_line("the new file", lambda line: line.get("password") == password)
        using = app.await_line("the signal", lambda line: line.get("db") == password)
        self._rotations.append(Rotation(what, file["at"] - rotated, using["at"] - file["at"]))
        return using

    def _files(self) -> dict[str, bytes]:
        return {name: (self._volume / name).read_bytes() for name in ("db.json", "api.json")}

    def _page(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self._url + path, timeout=PATIENCE) as answer:  # noqa: S310 our own loopback
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    def _metrics(self) -> dict[str, float]:
        found = {}
        for family in text_string_to_metric_families(self._page("/metrics")[1]):
            for sample in family.samples:
                labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
                found[sample.name.removeprefix("freshmount_") + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    def _errors(self) -> float:
        return sum(value for name, value in self._metrics().items() if name.startswith("secret_errors_total"))

    @staticmethod
    def _until(what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise DemoFailed(f"did not happen within {PATIENCE:g} s: {what}")
            time.sleep(0.05)
