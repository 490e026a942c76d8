"""The whole story on a stand-in for AWS: that is in this process, agent and app are their own.

Each scene either happened or the demo fails; nothing is shown that was not seen.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.core.record import Record
from agent.demo.children import PATIENCE, ROOT, Child, DemoFailed, all_ended
from agent.demo.narrator import Narrator, series
from agent.demo.stand_in import REGION, QuickStandIn, StandIn

OUTAGE = 2.5  # seconds without AWS

BETWEEN = 0.2  # seconds from one rotation to the one that belongs to it; less than the config's `settle`

_CONFIG = """\
apiVersion: freshmount.dev/v1
kind: Config
region: {region}
endpointUrl: {url}
volume: {{path: {home}/secrets}}
poll: {{period: 1s, settle: 500ms}}   # a demo's pace; the default is 60s
listen: 127.0.0.1:0
secrets:
  - name: db
    secretId:
      {db}
    files: [{{path: db.json, format: json}}]
  - name: api
    secretId:
      {api}
    files: [{{path: api.json, format: json}}]
notify:
  - name: app
    signal: SIGHUP
    process: {{pidFile: {home}/app.pid}}
"""

# Run from the directory of the package, as our children are, with the same interpreter.
_ROTATE = """\
#!/bin/sh
# Usage: sh {path} PASSWORD
cd {root} && exec {python} -c 'import sys
from agent.demo import story
story.put_password(*sys.argv[1:])' {url} {arn} "${{1:?give a password}}"
"""

_SHOWN_METRICS = ("passes_total", "source_requests_total", "secret_errors_total", "notifications_total")


class Rotation(Record):
    """One rotation as it was seen. Seconds: from PutSecretValue to the file, from the file to the app's reload."""

    what: str
    to_file: float
    to_signal: float


def run(*, keep_running: bool) -> int:
    """Tell the story. Returns 0 when all of it happened, 1 when not, 130 after Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    _leave_aws()
    narrator = Narrator()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="freshmount-demo-", ignore_cleanup_errors=True) as home,
            QuickStandIn() as aws,
            all_ended() as children,
        ):
            _Story(narrator, Path(home), aws, children).tell(keep_running=keep_running)
    except KeyboardInterrupt:
        narrator.say("")
        narrator.say("stopped")
        return 130
    except BrokenPipeError:  # nobody reads the story any more
        return 1
    except DemoFailed as failure:
        narrator.failed(str(failure))
        return 1
    return 0


def _interrupt(*_: object) -> None:
    """The first Ctrl-C ends the demo; a second one does not interrupt the tidying up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _leave_aws() -> None:
    """Nothing in this process, and in those that it starts, meets a real account."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        AWS_ACCESS_KEY_ID="demo",
        AWS_SECRET_ACCESS_KEY="demo",  # noqa: S106 the stand-in takes any
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )


def put_password(url: str, arn: str, password: str) -> None:
    """Rotate the secret `db` of a demo that still runs: the password moves, the rest of the value stays."""
    aws = StandIn(url)
    value = json.loads(aws.ask("secretsmanager.GetSecretValue", SecretId=arn)["SecretString"])
    aws.rotate(arn, json.dumps({**value, "password": password}))


def _until(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise DemoFailed(f"did not happen within {PATIENCE:g} s: {what}")
        time.sleep(0.05)


def _db(password: str, together: int) -> str:
    return json.dumps({"username": "app", "password": password, "together": together})


def _api(token: str, together: int) -> str:
    return json.dumps({"token": token, "together": together})


class _Story:
    """The scenes, in order; each waits for what it tells."""

    def __init__(self, narrator: Narrator, home: Path, aws: QuickStandIn, children: list[Child]) -> None:
        self._n = narrator
        self._home = home
        self._volume = home / "secrets"
        self._aws = aws
        self._children = children
        self._url = ""
        self._arns: dict[str, str] = {}
        self._rotations: list[Rotation] = []

    def tell(self, *, keep_running: bool) -> None:
        self._create()
        agent = self._start_agent()
        before = self._metrics()
        self._n.scene("A small app reads its files, again and again")
        app = self._start_app()
        self._rotate_one(app)
        self._rotate_both(app)
        self._outage(agent, app)
        self._sum_up(app, before)
        if keep_running:
            self._keep()
        began = time.monotonic()
        code = agent.end()
        if code != 0:
            raise DemoFailed(f"the agent ended with exit code {code} after SIGTERM")
        self._n.seen(f"SIGTERM → the agent ends with exit code 0 in {1000 * (time.monotonic() - began):.0f} ms")
        self._n.seen("all of it happened as promised")

    # -- scenes

    def _create(self) -> None:
        self._n.scene("Two secrets in a stand-in for AWS Secrets Manager")
        for name, value in (("db", _db("pw-1", 1)), ("api", _api("key-1", 1))):
            self._arns[name] = self._aws.put(f"prod/{name}", value)
            self._n.say(self._arns[name])

    def _start_agent(self) -> Child:
        self._n.scene("The agent starts with this config and fills the volume")
        text = _CONFIG.format(region=REGION, url=self._aws.url, home=self._home, **self._arns)
        self._n.quote(text)
        argv = ["agent", "run", "--config", str(self._config_map(text)), "--log-format", "json", "--log-level", "info"]
        agent = self._child("agent", argv, "stderr")
        listening = agent.await_line("the agent listens", lambda line: line.get("event") == "listening")
        self._url = f"http://127.0.0.1:{listening['port']}"
        _until("/startupz answers 200", lambda: self._page("/startupz")[0] == 200)
        self._n.say("")
        for path in sorted(self._volume.rglob("*")):
            leads = f" -> {path.readlink()}" if path.is_symlink() else ""
            self._n.say(f"{stat.filemode(path.lstat().st_mode)} {path.relative_to(self._volume)}{leads}")
        self._n.seen("the first generation is complete, /startupz answers 200")
        return agent

    def _start_app(self) -> Child:
        app = self._child("app", ["agent.demo.app", str(self._volume), str(self._home / "app.pid")], "stdout")
        using = app.await_line("the app's first read", lambda line: line["event"] == "using")
        self._n.seen(f"the app uses password {using['db']} and key {using['api']}")
        return app

    def _rotate_one(self, app: Child) -> None:
        self._n.scene("The password rotates")
        self._rotate(app, "the password alone", db=_db("pw-2", 1))
        self._n.seen("the app was told by SIGHUP and uses password pw-2")

    def _rotate_both(self, app: Child) -> None:
        self._n.scene("Password and key rotate together")
        using = self._rotate(app, "both together", api=_api("key-2", 2), db=_db("pw-3", 2))
        if (using["db"], using["api"]) != ("pw-3", "key-2"):
            raise DemoFailed(f"the app got a mixed set: {using['db']} with {using['api']}")
        self._n.seen("one generation, one SIGHUP: the app uses pw-3 and key-2, never one alone")

    def _outage(self, agent: Child, app: Child) -> None:
        self._n.scene("AWS fails for a while")
        before = self._files()
        self._aws.away = True
        end = time.monotonic() + OUTAGE
        failed = agent.await_line("the agent's log tells of it", lambda line: line.get("event") == "secret failed")
        self._n.say(f"the agent's log: {failed['event']}, secret={failed['secret']}, reason={failed['reason']}")
        _until("errors are counted", lambda: self._total("secret_errors_total") > 0)
        _until("the outage goes on", lambda: time.monotonic() > end)
        if self._files() != before:
            raise DemoFailed("the files changed while AWS was away")
        errors, live = self._total("secret_errors_total"), self._page("/livez")[0]
        if live != 200:
            raise DemoFailed(f"/livez answers {live} while AWS is away; that would restart the agent")
        self._n.seen(f"{errors:.0f} failures counted; the files stay byte for byte, /livez answers {live}")
        self._aws.away = False
        self._rotate(app, "after the outage", api=_api("key-3", 3), db=_db("pw-4", 3))
        self._n.seen("AWS is back, and so is the next rotation: the app uses pw-4")

    def _sum_up(self, app: Child, before: dict[str, float]) -> None:
        self._n.scene("What happened")
        times = [(r.what, r.to_file, r.to_signal) for r in self._rotations]
        times.append(("median", *(statistics.median(column) for column in list(zip(*times, strict=True))[1:])))
        self._n.say(f"{'rotation':<22}{'rotation → file':>17}{'file → signal':>17}")
        for what, to_file, to_signal in times:
            self._n.say(f"{what:<22}{to_file * 1000:>14.0f} ms{to_signal * 1000:>14.1f} ms")
        # The agent tells its metrics after the pass, so a little after the app was told.
        _until("each acceptance is counted", lambda: self._total("notifications_total") >= len(self._rotations))
        self._n.say("")
        self._n.say("metrics (freshmount_…) since the first generation")
        for name, value in self._metrics().items():
            if value != before.get(name, 0.0) and name.startswith(_SHOWN_METRICS):
                for line in series(f"{before.get(name, 0.0):>4.0f} → {value:<4.0f} ", name):
                    self._n.say(line)
        app.process.terminate()
        counts = app.await_line("the app's counts", lambda line: line["event"] == "end")
        app.process.wait(PATIENCE)
        self._n.say("")
        told = "{reads} reads by the app: {torn} torn, {mixed} mixed; {signals} signals".format(**counts)
        if counts["torn"] or counts["mixed"] or counts["signals"] != len(self._rotations):
            raise DemoFailed(f"{told}; promised are no bad read and one signal per rotation ({len(self._rotations)})")
        self._n.seen(f"{told} for {len(self._rotations)} rotations")

    def _keep(self) -> None:
        self._n.scene("Still running, until Ctrl-C")
        app = self._start_app()
        self._n.say(f"page      {self._url}/")
        self._n.say(f"status    {self._url}/status")
        self._n.say(f"metrics   {self._url}/metrics")
        self._n.say(f"health    {self._url}/readyz")
        self._n.say(f"volume    {self._volume}")
        self._n.say("rotate it yourself, in another terminal:")
        self._n.quote(f"sh {shlex.quote(str(self._rotator()))} my-password")
        while True:
            line = app.next_line("Ctrl-C")
            if line["event"] == "using":
                self._n.seen(f"the app was told by SIGHUP: it uses password {line['db']} and key {line['api']}")

    # -- props

    def _rotator(self) -> Path:
        """A script that rotates the password: one line to copy, however long the paths in it are."""
        path = self._home / "rotate"
        words = {"root": ROOT, "python": sys.executable, "url": self._aws.url, "arn": self._arns["db"], "path": path}
        text = _ROTATE.format(**{name: shlex.quote(str(word)) for name, word in words.items()})
        path.write_text(text, encoding="utf-8")
        return path

    def _config_map(self, text: str) -> Path:
        """The config, laid out as kubelet lays out a ConfigMap volume; the path that the agent is given."""
        directory = self._home / "config"
        first = directory / "..2026_01_01_00_00_00.1"
        first.mkdir(parents=True)
        (first / "config.yaml").write_text(text, encoding="utf-8")
        (directory / "..data").symlink_to(first.name)
        (directory / "config.yaml").symlink_to("..data/config.yaml")
        return directory / "config.yaml"

    def _child(self, name: str, argv: list[str], stream: str) -> Child:
        child = Child(name, argv, stream)
        self._children.append(child)
        return child

    def _rotate(self, app: Child, what: str, **values: str) -> dict[str, Any]:
        """Rotate; wait until the app has read the new file and was told; note the times."""
        password = json.loads(values["db"])["password"]
        for turn, (name, value) in enumerate(values.items()):
            time.sleep(BETWEEN if turn else 0.0)  # a pass that falls between them must not publish half of it
            self._aws.rotate(self._arns[name], value)
        rotated = time.time()
        self._n.say("PutSecretValue: " + f", {BETWEEN * 1000:.0f} ms later ".join(f"prod/{name}" for name in values))
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
        except OSError as error:
            reason = str(error)
        raise DemoFailed(f"{self._url}{path} does not answer: {reason}")

    def _metrics(self) -> dict[str, float]:
        from prometheus_client.parser import text_string_to_metric_families

        found = {}
        for family in text_string_to_metric_families(self._page("/metrics")[1]):
            for sample in family.samples:
                labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
                found[sample.name.removeprefix("freshmount_") + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    def _total(self, name: str) -> float:
        return sum(value for sample, value in self._metrics().items() if sample.startswith(name))
