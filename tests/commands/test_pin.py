"""Holding a secret at a version while a bad rotation is mended."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from agent.core import pins
from agent.core.pins import Pin
from agent.observe import report
from tests.support.aws import Fault, Proxy, QuickStandIn
from tests.support.monitored import free_port
from tests.support.pod import App, Pod
from tests.support.resting import rested
from tests.support.running import ended, freshmount, running, until
from tests.support.words import bundle, wanted

NONE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        yield Pod(aws, proxy, tmp_path)


@pytest.fixture
def first(pod: Pod) -> Iterator[str]:
    """The version that is published, to an app that is told of changes."""
    version = pod.put("db", "pw-1")
    with running("init", pod.write(pod.secret("db", "{path: db}"))) as agent:
        assert agent.wait() == 0
    app = App(pod.volume / "db", pod.home / "app.pid")
    target = f"{{name: app, signal: SIGHUP, process: {{pidFile: {pod.home}/app.pid}}}}"
    pod.write(pod.secret("db", "{path: db}"), notify=(target,), period="30s")
    pod.edit(pod.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{free_port()}"))
    pod.app = app
    assert version
    yield json.loads((pod.volume / "..data" / "..generation.json").read_text())["secrets"]["db"]["versionId"]
    app.process.kill()
    app.process.wait()


def command(pod: Pod, *argv: str) -> subprocess.CompletedProcess[str]:
    return freshmount(argv[0], "--config", str(pod.config), *argv[1:])


def hold(pod: Pod, version: str, seconds: str = "30m") -> str:
    done = command(pod, "pin", "db", "--version-id", version, "--for", seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_back_and_forth(pod: Pod, first: str) -> None:
    """The older version is there at once and the app is told, as of any change; so it is when the pin ends."""
    with running("run", pod.config) as agent:
        agent.ready()
        second = pod.rotate("db", "pw-2")
        agent.pass_now()
        assert (pod.read("db"), pod.app.line()) == ("pw-2", "hup pw-2")
        assert first in hold(pod, first)
        assert pod.read("db") == "pw-1", "it was published before the command ended"
        agent.event("published", changed={"db": first})
        assert (pod.read("db"), pod.app.line()) == ("pw-1", "hup pw-1")
        agent.pass_now()
        assert pod.read("db") == "pw-1"
        shown = command(pod, "status").stdout
        assert (
            f"pinned  {first[:8]}" in shown
            and "db: held at this version by `freshmount pin`, which ends in 30m" in shown
        )
        assert agent.metrics()['secret_pinned_until_timestamp_seconds{secret="db"}'] > 1.7e9
        assert f"no longer held at version {first}" in command(pod, "unpin", "db").stdout
        agent.event("published", changed={"db": second})
        assert pod.app.line() == "hup pw-2"
        until(lambda: 'secret_pinned_until_timestamp_seconds{secret="db"}' not in agent.metrics())
        assert command(pod, "unpin", "db").stdout.startswith("db was not held")


def test_it_ends_by_itself_and_survives_a_restart(pod: Pod, first: str) -> None:
    """Without the person who set it, and without a pass that would come anyway."""
    second = pod.rotate("db", "pw-2")
    assert "no agent runs here" in hold(pod, first)
    for _ in range(2):
        with running("run", pod.config) as agent:
            agent.ready()
            agent.event("pinned", secret="db", version=first)
            assert pod.read("db") == "pw-1"
            agent.process.kill()
    with running("run", pod.config) as agent:
        agent.ready()
        command(pod, "pin", "db", "--version-id", first, "--for", "1s")  # which may be over before the command is
        agent.event("no longer pinned", secret="db")
        agent.event("published", changed={"db": second})
        assert pod.read("db") == "pw-2"


def state(pod: Pod) -> tuple[str, str | None]:
    """The state of the secret as `status` shows it, and the version that it is pinned to."""
    (secret,) = json.loads(command(pod, "status", "--json").stdout)["secrets"]
    return report.secret_state(secret), secret["pinnedVersionId"]


def test_a_version_that_is_not_there_is_refused(pod: Pod, first: str) -> None:
    """With AWS's reason; the published version stays, and so does the pin that was there before, if any."""
    second = pod.rotate("db", "pw-2")
    with running("run", pod.config) as agent:
        rested(agent)
        assert pod.read("db") == pod.app.line().removeprefix("hup ") == "pw-2"
        done = command(pod, "pin", "db", "--version-id", NONE, "--for", "30m")
        assert done.returncode == 1 and done.stdout == "" and NONE in done.stderr and second in done.stderr
        assert agent.event("secret failed", secret="db")["reason"] == "not_found"
        assert not (pod.volume / "..pins.json").exists()
        agent.event("no longer pinned", secret="db")
        until(lambda: state(pod) == ("fresh", None))
        hold(pod, first)
        assert command(pod, "pin", "db", "--version-id", NONE, "--for", "30m").returncode == 1
        until(lambda: state(pod) == ("pinned", first))
        assert pod.read("db") == "pw-1" and pod.app.line() == "hup pw-1"
    assert pod.app.drain() == []


def test_a_version_that_cannot_be_had_now_is_pending(pod: Pod, first: str) -> None:
    """Never told as done; it is tried again, and held once AWS gives it."""
    second = pod.rotate("db", "pw-2")
    with running("run", pod.config) as agent:
        rested(agent)
        pod.proxy.fail(Fault.access_denied(), operation="GetSecretValue")
        done = command(pod, "pin", "db", "--version-id", first, "--for", "30m")
        assert done.returncode == 1 and done.stdout == "" and "access_denied" in done.stderr and second in done.stderr
        assert state(pod) == ("pin pending", first) and pod.read("db") == "pw-2"
        pod.proxy.heal()
        agent.pass_now()
        assert state(pod) == ("pinned", first) and pod.read("db") == "pw-1"


def test_it_works_while_the_config_is_broken(pod: Pod, first: str, pytestconfig: pytest.Config) -> None:
    """By what is in force. Where not even the file is left, the default address would have to be the agent's.

    Broken in one way; with --full in others, too.
    """
    second = pod.rotate("db", "pw-2")
    with running("run", pod.config) as agent:
        agent.ready()
        whole = pod.config.read_text()
        ways = [whole + more for more in ("kind: [\n", "bogus: 1\n", "secrets: 7\n")]
        ways.append(f"listen: 127.0.0.1:{agent.port}")
        for broken in ways if pytestconfig.getoption("--full") else ways[:1]:
            pod.edit(broken)
            agent.event("config rejected, the earlier one stays in force")
            done = command(pod, "pin", "db", "--version-id", first, "--for", "30m")
            assert (done.returncode, pod.read("db")) == (0, "pw-1"), done.stderr
            assert f"{pod.config}:" in done.stderr.splitlines()[0]
            assert command(pod, "pin", "dbb", "--version-id", first, "--for", "30m").returncode == 1
            done = command(pod, "unpin", "db")
            assert done.returncode == 0 and f"{pod.config}:" in done.stderr.splitlines()[0]
            agent.event("published", changed={"db": second})


def test_a_record_that_cannot_be_read_changes_nothing(pod: Pod, first: str) -> None:
    """What is held stays held; it is told once, and `unpin` or the next `pin` writes it anew."""
    second = pod.rotate("db", "pw-2")
    hold(pod, first)
    with running("run", pod.config) as agent:
        agent.ready()
        (pod.volume / "..pins.json").write_text("{")
        agent.pass_now()
        agent.pass_now()
        assert pod.read("db") == "pw-1"
        trouble = [event for event in agent.seen if event["event"].startswith("pins cannot be read")]
        assert len(trouble) == 1 and "is damaged; `freshmount unpin` rewrites it" in trouble[0]["message"]
        assert command(pod, "unpin", "db").returncode == 0
        agent.event("published", changed={"db": second})
        assert not (pod.volume / "..pins.json").exists()


def test_a_neighbour_that_locks_the_volume_is_not_signalled(pod: Pod, first: str) -> None:
    """SIGUSR1 would end a process that is no agent."""
    locking = ["flock", "--no-fork", str(pod.volume), "sh", "-c", "echo held; exec sleep 60"]
    with ended(subprocess.Popen(locking, stdout=PIPE, text=True)) as it:
        assert it.stdout
        assert it.stdout.readline() == "held\n"
        assert "no agent runs here" in hold(pod, first)
        assert it.poll() is None


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("pin", "dbb", "--version-id", NONE, "--for", "1m"), 1, "no secret is named 'dbb'"),
        (("pin", "db", "--version-id", NONE, "--for", "soon"), 2, "'soon' is not a duration"),
        (("pin", "db", "--version-id", NONE, "--for", "31h31m721h"), 2, "not a duration"),
        (("pin", "db", "--version-id", NONE, "--for", "0s"), 2, "not a duration"),
        (("pin", "db", "--version-id", NONE, "--for", "30"), 2, "30m"),
        (("pin", "db", "--version-id", NONE, "--for", "1dd"), 2, "not a duration"),
        (("pin", "db", "--version-id", NONE, "--for", "40d"), 2, "30 days"),
        (("pin", "db", "--version-id", NONE, "--for", "29d24h1s"), 2, "30 days"),
        (("unpin", "dbb"), 1, "no secret is named 'dbb'"),
        (("pin", "db", "--for", "1m"), 2, "--version-id"),
        (("pin", "db", "--version-id", "x", "--for", "1m"), 2, "'x' is not a version id"),
    ],
)
def test_what_cannot_be_held(pod: Pod, argv: tuple[str, ...], code: int, words: str) -> None:
    """And nothing is made where there is no volume."""
    pod.put("db", "x")
    pod.write(pod.secret("db", "{path: db}"))
    done = command(pod, *argv)
    assert done.returncode == code and words in done.stderr
    missing = command(pod, "pin", "db", "--version-id", NONE, "--for", "30d").stderr
    assert "there is no volume" in missing and "-- freshmount pin db" in missing
    assert "-- freshmount unpin db" in command(pod, "unpin", "db").stderr
    assert not pod.volume.exists()


def test_the_config_that_is_acted_on() -> None:
    """A pin is what versionId would be; one that has run out, or names nothing, is none."""
    conf = bundle(wanted("db"), wanted("api"))
    held = pins.apply(conf, {"db": Pin("v1", 100.0), "api": Pin("v2", 50.0), "gone": Pin("v3", 100.0)}, 60.0)
    assert held == bundle(wanted("db", version_id="v1", version_stage=None), wanted("api"))
    assert pins.apply(conf, {}, 60.0) is conf


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'"x"', b"7", b'{"db": 1}', b'{"db": {"until": 1}}', b'{"db": {"versionId": "v", "until": Infinity}}'],
)
def test_what_was_not_written_by_us_is_not_read(text: bytes) -> None:
    """Whatever it is; and what was written is read back."""
    assert pins.load(text) is None
    assert pins.load(pins.dump({"db": Pin("v1", 5.0)})) == {"db": Pin("v1", 5.0)}
