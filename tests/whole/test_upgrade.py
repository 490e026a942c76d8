"""An upgrade of a pod that runs: the release before has published, and this one takes over its volume."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.aws import MotoStandIn, Proxy
from tests.support.chart import need
from tests.support.paths import ROOT
from tests.support.pod import Pod
from tests.support.running import running

# Until there is a tag of a release: the commit of tests/cluster/before, whose records have another format than ours.
FIRST = "e5e1103"


def git(*argv: str) -> bytes | None:
    done = subprocess.run(["git", "-C", ROOT, *argv], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent of the release before: a directory to start `python -m agent` in."""
    need(bool(shutil.which("git")) and git("rev-parse", "HEAD") is not None, "this is no clone: no earlier release")
    tags = (git("tag", "--list", "v*", "--sort=-version:refname", "--no-contains", "HEAD") or b"").decode().split()
    commit = tags[0] if tags else FIRST
    archive = git("archive", commit, "agent")
    if archive is None:
        pytest.skip(f"{commit} is not in this clone: git fetch --unshallow --tags")
    home = tmp_path_factory.mktemp("before")
    subprocess.run(["tar", "-x", "-C", home], input=archive, check=True)  # tarfile asks for a filter, from 3.11.4 on
    return home


# Its lines are not those whose coverage is measured.
OLD = ("env", "--unset=COVERAGE_PROCESS_CONFIG", "--unset=COVERAGE_PROCESS_START")


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with MotoStandIn() as aws, Proxy(aws.url) as proxy:
        pod = Pod(aws, proxy, tmp_path)
        yield pod


def touching(pod: Pod) -> Path:
    return pod.write(
        pod.secret("db", "{path: db/password}"),
        pod.secret("api", "{path: api}"),
        notify=(f"{{name: app, touch: {pod.home}/changed}}",),
    )


def gets(pod: Pod) -> int:
    return sum("GetSecretValue" in operation for operation, _ in pod.proxy.calls)


def test_nothing_is_fetched_and_nobody_is_notified(before: Path, pod: Pod) -> None:
    """And the next rotation is an ordinary one."""
    pod.put("db", "pw-1")
    pod.put("api", "key-1")
    with running("run", touching(pod), within=OLD, cwd=before) as old:
        old.ready()
        assert old.stop() == 0
    published, fetched = (pod.volume / "..data").readlink(), gets(pod)
    with running("run", pod.config) as new:
        new.ready()
        new.pass_now()
        assert (pod.volume / "..data").readlink() == published
        assert gets(pod) == fetched and not (pod.home / "changed").exists()
        pod.rotate("db", "pw-2")
        new.pass_now()
        assert (pod.read("db/password"), pod.read("api")) == ("pw-2", "key-1")
        assert (pod.home / "changed").exists() and gets(pod) == fetched + 1
        assert new.stop() == 0


def test_a_notification_that_the_old_one_could_not_deliver_is_delivered(before: Path, pod: Pod) -> None:
    """Its directory was not there yet."""
    pod.put("db", "pw-1")
    away = pod.home / "later"
    config = pod.write(pod.secret("db", "{path: db}"), notify=(f"{{name: app, touch: {away}/changed}}",))
    with running("run", config, within=OLD, cwd=before) as old:
        old.ready()
        pod.rotate("db", "pw-2")
        old.pass_now()
        assert pod.read("db") == "pw-2"
        assert old.stop() == 0
    away.mkdir()
    with running("run", config) as new:
        new.ready()
        new.pass_now()
        assert (away / "changed").exists() and pod.read("db") == "pw-2"
        assert new.stop() == 0


@pytest.mark.full("nothing: .ci/run asks it in its run of all tests")
def test_a_pin_is_kept(before: Path, pod: Pod) -> None:
    pod.put("db", "pw-0")
    first = pod.rotate("db", "pw-1")
    config = pod.write(pod.secret("db", "{path: db}"))
    with running("run", config, within=OLD, cwd=before) as old:
        old.ready()
        pod.rotate("db", "pw-2")
        old.pass_now()
        assert pod.read("db") == "pw-2" and old.stop() == 0
    arguments = ("db", "--version-id", first, "--for", "1h", "--config", str(config))
    with running("pin", config, within=OLD, cwd=before, arguments=arguments) as pin:
        assert pin.wait() == 0, pin.stderr
    with running("run", config) as new:
        new.ready()
        new.pass_now()
        assert pod.read("db") == "pw-1"
        assert new.stop() == 0


@pytest.mark.full("nothing: .ci/run asks it in its run of all tests")
def test_the_way_back_keeps_every_file(before: Path, pod: Pod) -> None:
    """The older one may fetch again what it has no record of; a reader never misses a file meanwhile."""
    pod.put("db", "pw-1")
    pod.put("api", "key-1")
    with running("run", touching(pod)) as new:
        new.ready()
        assert new.stop() == 0
    with running("run", pod.config, within=OLD, cwd=before) as old:
        old.ready()
        assert pod.tree() == {"db/password": b"pw-1", "api": b"key-1"}
        assert old.stop() == 0
