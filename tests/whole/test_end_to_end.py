"""The real process, from a config to files, signals and metrics, against a real AWS API over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.answers import KEYS, ROLE, Answer, Answers, Asked, assumed, refused, temporary
from tests.support.aws import Fault, MotoStandIn, Proxy
from tests.support.pod import App, Pod
from tests.support.resting import holds, rests, workers
from tests.support.running import PATIENCE, ended, running, until


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoStandIn]:
    with MotoStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def proxy(aws: MotoStandIn) -> Iterator[Proxy]:
    with Proxy(aws.url) as proxy:
        yield proxy


@pytest.fixture
def pod(aws: MotoStandIn, proxy: Proxy, tmp_path: Path) -> Pod:
    return Pod(aws, proxy, tmp_path)


@pytest.fixture
def app(pod: Pod) -> Iterator[App]:
    pod.put("db", "pw-1")
    with running("init", pod.write(pod.secret("db", "{path: db}"))) as agent:
        assert agent.wait() == 0
    app = App(pod.volume / "db", pod.home / "app.pid")
    yield app
    app.process.kill()
    app.process.wait()
    assert app.process.stdout is not None
    app.process.stdout.close()


def signalling(pod: Pod, period: str = "1s") -> Path:
    target = f"{{name: app, signal: SIGHUP, process: {{pidFile: {pod.home}/app.pid}}}}"
    return pod.write(pod.secret("db", "{path: db}"), notify=(target,), period=period)


def test_a_version_that_does_not_meet_its_requirements_is_not_published(pod: Pod) -> None:
    """The last good one stays; log, metric and status say which check failed and nothing of the value."""
    pod.put("db", '{"user": "a", "password": "long-enough"}')
    require = "require: {keys: [user], match: [{key: password, pattern: '^.{8,}$'}]},"
    config = pod.write(pod.secret("db", "{path: db, jmesPath: password}", extra=require))
    with running("run", config) as agent:
        agent.ready()
        version = pod.rotate("db", '{"user": "a", "password": "hunter2"}')
        failed = agent.event("secret failed", secret="db", reason="projection")
        assert failed["message"] == f"version {version}: require: key 'password' does not match its pattern"
        agent.pass_now()
        assert pod.read("db") == "long-enough" and "hunter2" not in agent.stderr + agent.page("/status")[1]
        assert agent.metrics()['secret_up_to_date{secret="db"}'] == 0
        calls = [operation for operation, _ in pod.proxy.calls].count("GetSecretValue")
        agent.pass_now()
        assert [operation for operation, _ in pod.proxy.calls].count("GetSecretValue") == calls
        pod.rotate("db", '{"user": "a", "password": "long-enough-2"}')
        agent.event("secret recovered", secret="db")
        assert pod.read("db") == "long-enough-2"


def test_a_rotation_reaches_file_and_app_once_and_does_not_come_back(pod: Pod, app: App) -> None:
    """One rotation makes one SIGHUP, and no other comes until the next rotation."""
    with running("run", signalling(pod)) as agent:
        agent.ready()
        pod.rotate("db", "pw-2")
        assert app.line() == "hup pw-2"
        for _ in range(3):
            agent.pass_now()
        pod.rotate("db", "pw-3")
        assert app.line() == "hup pw-3"
        agent.event("notified", generation=3)
        until(lambda: agent.metrics()['notifications_total{result="accepted",target="app"}'] == 2)
        assert agent.metrics()['notification_pending{target="app"}'] == 0
        assert agent.stop() == 0
    assert app.drain() == []


def test_a_format_that_cannot_be_loaded_is_tried_again(pod: Pod) -> None:
    """It is imported when it is first asked for, and there may be no descriptor left to read it."""
    pod.put("db", '{"password": "pw"}')
    (pod.home / "exhausted").touch()
    (pod.home / "sitecustomize.py").write_text(
        f"""
import errno, os, sys
class Exhausted:
    @staticmethod
    def find_spec(name, *_):  # as the import system fails when it cannot list or open what it found
        if name == "agent.render.dotenv" and os.path.exists("{pod.home}/exhausted"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), name)
sys.meta_path.insert(0, Exhausted)
"""
    )
    with running("run", pod.write(pod.secret("db", "{path: db}")), env={"PYTHONPATH": str(pod.home)}) as agent:
        agent.ready()
        pod.write(pod.secret("db", "{path: db, format: dotenv}"))
        assert "Too many open files" in agent.event("secret failed", secret="db", reason="other")["message"]
        assert pod.read("db") == '{"password": "pw"}'
        (pod.home / "exhausted").unlink()
        until(lambda: pod.read("db") == "password='pw'\n")
        assert agent.stop() == 0


NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


def test_credentials_come_from_irsa(pod: Pod) -> None:
    """As EKS injects them: a token for STS, which answers in XML and is asked without a signature."""
    pod.put("db", "pw")
    (pod.home / "token").write_text("header.claims.signature")
    env = {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/web",  # of the account that moto puts secrets into
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(pod.home / "token"),
        "AWS_ENDPOINT_URL_STS": pod.aws.url,
    }
    with running("init", pod.write(pod.secret("db", "{path: db}")), env={**NO_KEYS, **env}) as agent:
        assert agent.event("started")["identity"] == "web identity (IRSA)"
        assert agent.wait() == 0
    assert pod.read("db") == "pw"


def test_credentials_come_from_pod_identity(pod: Pod) -> None:
    """As EKS injects them: a local address, asked with a token from a file."""
    pod.put("db", "pw")
    with Answers(lambda _: temporary()) as source:
        with running("init", pod.write(pod.secret("db", "{path: db}")), env=as_in_eks(source, pod.home)) as agent:
            assert agent.wait() == 0
        assert "EKS Pod Identity" in [event.get("identity") for event in agent.seen]  # with the start, or when it comes
        assert [asked.headers["Authorization"] for asked in source.asked] == ["pod-token"]
    assert pod.read("db") == "pw"


def silent(_: Asked) -> None:
    """As a source that is not there yet."""


def as_in_eks(source: Answers, home: Path) -> dict[str, str]:
    (home / "token").write_text("pod-token")
    return {
        **KEYS,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{source.url}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(home / "token"),
    }


def test_a_filled_volume_is_enough_for_init_whatever_becomes_of_the_credentials(pod: Pod) -> None:
    """As with AWS out of reach: exit 0, with a warning, and the files as they were."""
    pod.put("db", "pw")
    config = pod.write(pod.secret("db", "{path: db}"))
    with running("init", config) as agent:
        assert agent.wait() == 0
    token = {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/no/such/token"}
    with Answers(silent) as source:
        for env in (as_in_eks(source, pod.home), as_in_eks(source, pod.home) | token):
            with running("init", config, env=env) as agent:
                assert agent.event("secret failed", secret="db")["reason"] == "credentials"
                agent.event("complete, but not fresh")
                assert agent.wait() == 0
            assert all(json.loads(line)["level"] in ("info", "warning") for line in agent.lines)
            assert not any("exception" in event for event in agent.seen), "no stack beside our sentence"
    assert pod.read("db") == "pw"


def test_credentials_that_come_late_are_found_and_their_source_is_told(pod: Pod) -> None:
    """A first start goes on when they come, and the source is told then, in log and status."""
    pod.put("db", "pw")
    with Answers(silent) as source:
        env = as_in_eks(source, pod.home)
        with running("run", pod.write(pod.secret("db", "{path: db}")), env=env) as agent:
            agent.port = agent.event("listening")["port"]
            assert agent.event("secret failed", secret="db")["reason"] == "credentials"
            source.answer = lambda _: temporary()
            assert agent.event("identity", level="info")["identity"] == "EKS Pod Identity"
            agent.await_page("/startupz", 200)
            assert json.loads(agent.page("/status")[1])["agent"]["identity"] == "EKS Pod Identity"
            pod.rotate("db", "pw-2")
            until(lambda: pod.read("db") == "pw-2")
            assert agent.stop() == 0


def test_a_stop_does_not_wait_for_credentials(pod: Pod) -> None:
    """Neither at a start nor in a pass: the source holds its answer back until the agent has ended."""
    pod.put("db", "pw")
    config = pod.write(pod.secret("db", "{path: db}"))
    with running("init", config) as agent:
        assert agent.wait() == 0
    for passed in (False, True):
        asked, ended = threading.Event(), threading.Event()

        def hold(_: Asked, asked: threading.Event = asked, ended: threading.Event = ended) -> None:
            asked.set()
            ended.wait(60)

        with Answers(hold) as source:
            with running("run", config, env=as_in_eks(source, pod.home)) as agent:
                assert asked.wait(60)
                if passed:
                    agent.event("started")
                assert agent.stop() == 0
                # The one that passed may have begun its second of three tries.
                assert len(source.asked) <= 1 + passed, "not even the time-out of its first try was waited for"
            ended.set()
    assert pod.read("db") == "pw"


def test_a_role_that_is_denied_is_told_without_a_stack(pod: Pod) -> None:
    """botocore logs one with each try; our sentence stands alone."""
    pod.put("db", "pw")
    (pod.home / "token").write_text("a.b.c")
    with Answers(lambda _: refused("AccessDenied", "Not authorized to perform it")) as sts:
        env = {
            **KEYS,
            "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(pod.home / "token"),
            "AWS_ENDPOINT_URL_STS": sts.url,
        }
        with running("run", pod.write(pod.secret("db", "{path: db}")), env) as agent:
            said = agent.event("secret failed", secret="db")
            assert said["reason"] == "credentials" and "AssumeRoleWithWebIdentity" in said["message"]
            sts.answer = lambda _: assumed()
            agent.event("published")
            assert agent.stop() == 0
    assert not any("exception" in event or "logger" in event for event in agent.seen)
    assert "Refreshing" not in agent.stderr


def test_run_after_init_costs_one_describe_and_changes_nothing(pod: Pod, app: App) -> None:
    """A start on a filled volume neither rewrites nor notifies, and asks one DescribeSecret per secret."""

    def link() -> tuple[int, int]:
        found = (pod.volume / "..data").lstat()
        return found.st_ino, found.st_ctime_ns  # not when it was read

    before = link()
    calls = len(pod.proxy.calls)
    with running("run", signalling(pod, period="60s")) as agent:
        agent.ready()
        until(lambda: agent.passes() >= 1)
        assert [operation for operation, _ in pod.proxy.calls[calls:]] == ["DescribeSecret"]
        assert agent.metrics()['passes_total{outcome="noop"}'] == 1
        assert agent.stop() == 0
    assert link() == before
    assert app.drain() == []


def test_an_owed_signal_survives_kill_nine(pod: Pod, app: App) -> None:
    """A change that was published but not accepted is told by the next agent, once."""
    config = signalling(pod)
    pid = (pod.home / "app.pid").read_text()
    with running("run", config) as agent:
        agent.ready()
        (pod.home / "app.pid").write_text("")
        pod.rotate("db", "pw-2")
        agent.event("notification refused")
        until(lambda: agent.metrics()['notification_pending{target="app"}'] == 1)
        agent.process.kill()
    (pod.home / "app.pid").write_text(pid)
    with running("run", config) as agent:
        assert app.line() == "hup pw-2"
        agent.ready()
        agent.pass_now()
        assert agent.stop() == 0
    assert app.drain() == []


def test_an_app_without_a_handler_lives_and_stays_owed(pod: Pod) -> None:
    """SIGHUP is not sent to a process that it would end, and arrives once the handler is there."""
    pod.put("db", "pw-1")
    script = (
        "import os, signal, sys\nprint('up', flush=True)\nsys.stdin.readline()\n"
        "signal.signal(signal.SIGHUP, lambda *_: os.write(1, b'hup\\n'))\nprint('handler', flush=True)\n"
        "while True: signal.pause()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdin and child.stdout
    try:
        assert child.stdout.readline() == "up\n"
        (pod.home / "app.pid").write_text(str(child.pid))
        with running("run", signalling(pod)) as agent:
            agent.ready()
            pod.rotate("db", "pw-2")
            agent.event("notification refused")
            assert child.poll() is None
            child.stdin.write("\n")
            assert child.stdout.readline() == "handler\n"
            assert child.stdout.readline() == "hup\n"
            agent.event("notified")
            assert agent.stop() == 0
    finally:
        child.kill()
        child.communicate()


def test_an_app_that_started_after_the_publish_is_left_alone(pod: Pod, app: App) -> None:
    """A process that has the new files anyway counts as told."""
    with running("run", signalling(pod)) as agent:
        agent.ready()
        app.process.kill()
        app.process.wait()
        pod.rotate("db", "pw-2")
        agent.event("notification refused")
        later_than_all = time.monotonic() + 0.05  # the agent allows its clocks 20 ms, and a start has ticks of 10
        until(lambda: time.monotonic() > later_than_all)
        later = App(pod.volume / "db", pod.home / "app.pid")
        assert "already started" in agent.event("notified")["message"]
        agent.pass_now()
        assert agent.stop() == 0
    assert later.drain() == []
    later.process.wait()


def test_touch_and_url_are_told_of_their_secrets_only(pod: Pod) -> None:
    """A target with a secret filter hears of these secrets and of no others."""
    hook = Answers(lambda _: Answer(status=204))
    pod.put("db", "d1")
    pod.put("api", "a1")
    marker = pod.home / "marker"
    config = pod.write(
        pod.secret("db", "{path: db}"),
        pod.secret("api", "{path: api}"),
        notify=(
            f"{{name: marker, touch: {marker}, secrets: [db]}}",
            f"{{name: hook, url: '{hook.url}/reload', secrets: [api]}}",
        ),
    )
    with hook, running("run", config) as agent:
        agent.ready()
        assert not marker.exists() and not hook.asked
        pod.rotate("api", "a2")
        agent.event("notified", target="hook")
        assert [asked.path for asked in hook.asked] == ["/reload"] and not marker.exists()
        pod.rotate("db", "d2")
        agent.event("notified", target="marker")
        assert marker.exists() and [asked.path for asked in hook.asked] == ["/reload"]
        assert agent.stop() == 0


def test_rotations_that_come_together_make_one_generation(pod: Pod) -> None:
    """Within `settle` several moved versions are published and told as one change."""
    pod.put("db", "d1")
    pod.put("api", "a1")
    config = pod.write(
        pod.secret("db", "{path: db}"), pod.secret("api", "{path: api}", extra="period: 2s,"),
        notify=(f"{{name: marker, touch: {pod.home}/marker}}",),
    )  # fmt: skip
    config.write_text(config.read_text().replace("period: 1s", "period: 1s, settle: 1s"))
    with running("run", config) as agent:
        agent.ready()
        pod.rotate("db", "d2")
        pod.rotate("api", "a2")
        published = agent.event("published", generation=2)
        assert sorted(published["changed"]) == ["api", "db"]
        agent.event("notified", generation=2)
        agent.pass_now()
        assert agent.metrics()['notifications_total{result="accepted",target="marker"}'] == 1
        assert agent.stop() == 0


def test_aws_failures_keep_the_files_and_show_in_metrics_and_health(pod: Pod) -> None:
    """No error of AWS removes a file or ends the agent; it is a metric, and goes when AWS is back."""
    pod.put("db", "d1")
    with running("run", pod.write(pod.secret("db", "{path: db}"), extra="staleAfter: 1h")) as agent:
        agent.ready()
        before = pod.tree()
        pod.proxy.fail(Fault.access_denied())
        failed = agent.event("secret failed", secret="db", reason="access_denied")
        assert "secretsmanager:DescribeSecret" in failed["message"]
        assert pod.tree() == before
        until(lambda: agent.metrics()['secret_errors_total{reason="access_denied",secret="db"}'] >= 1)
        assert agent.metrics()['secret_up_to_date{secret="db"}'] == 0
        assert agent.page("/livez")[0] == agent.page("/readyz")[0] == 200
        assert json.loads(agent.page("/readyz")[1])["secrets"][0]["error"]["reason"] == "access_denied"
        pod.proxy.heal()
        pod.rotate("db", "d2")
        until(lambda: pod.read("db") == "d2")
        agent.event("secret recovered", secret="db")
        assert agent.stop() == 0


def test_a_version_that_cannot_be_projected_is_fetched_once_and_the_last_good_stays(pod: Pod) -> None:
    """A broken rotation keeps the last good files and is not fetched again until the version moves."""
    pod.put("db", '{"password": "d1"}')
    with running("run", pod.write(pod.secret("db", "{path: db, jmesPath: password}"), period="100ms")) as agent:
        agent.ready()
        pod.rotate("db", '{"pass": "wrong"}')
        failed = agent.event("secret failed", reason="projection")
        assert "password" in failed["message"] and "wrong" not in failed["message"]
        agent.pass_now()
        agent.pass_now()
        assert pod.read("db") == "d1"
        assert [operation for operation, _ in pod.proxy.calls].count("GetSecretValue") == 2
        pod.rotate("db", '{"password": "d3"}')
        until(lambda: pod.read("db") == "d3")
        assert agent.stop() == 0


def test_the_first_generation_is_all_or_nothing(pod: Pod) -> None:
    """Nothing is there until everything is, optional secrets aside, and each value is fetched once."""
    pod.put("db", "d1")
    config = pod.write(
        pod.secret("db", "{path: db}"), pod.secret("api", "{path: api}"),
        pod.secret("extra", "{path: extra}", extra="optional: true,"), period="60s",
    )  # fmt: skip
    with running("run", config) as agent:
        agent.port = agent.event("listening")["port"]
        agent.event("secret failed", secret="api", reason="not_found")
        agent.event("optional secret is absent", secret="extra")
        assert agent.page("/startupz")[0] == agent.page("/readyz")[0] == 503
        assert agent.page("/livez")[0] == 200
        assert not (pod.volume / "db").exists() and not (pod.volume / "..data").exists()
        pod.put("api", "a1")
        agent.event("published", generation=1)
        assert pod.tree() == {"db": b"d1", "api": b"a1"}
        assert pod.proxy.calls.count(("GetSecretValue", f"db-{pod.suffix}")) == 1
        assert agent.stop() == 0


def test_an_optional_secret_that_is_absent_is_told_once(pod: Pod) -> None:
    """It is no trouble: no warning, no count, and once there it is published like any other."""
    pod.put("db", "d1")
    config = pod.write(
        pod.secret("db", "{path: db}"), pod.secret("extra", "{path: extra}", extra="optional: true,"), period="60s"
    )
    with running("run", config) as agent:
        agent.ready()
        agent.event("optional secret is absent", secret="extra")
        for _ in range(3):
            agent.pass_now()
        told = [event for event in agent.seen if event.get("secret") == "extra"]
        assert [event["level"] for event in told] == ["info"]
        metrics = agent.metrics()
        assert metrics['secret_errors_total{reason="not_found",secret="extra"}'] == 0
        assert metrics['passes_total{outcome="error"}'] == 0
        pod.put("extra", "e1")
        agent.pass_now()
        assert pod.read("extra") == "e1"
        assert agent.stop() == 0


def test_init_that_cannot_finish_says_why_per_secret(pod: Pod) -> None:
    """After startup.timeout: exit 1 with the last reason per secret, also in the termination log."""
    pod.put("db", "d1")
    config = pod.write(pod.secret("db", "{path: db}"), pod.secret("api", "{path: api}"))
    config.write_text(config.read_text().replace("timeout: 20s", "timeout: 1s"))
    log = pod.home / "termination-log"
    log.touch()
    with running("init", config, {"FRESHMOUNT_TERMINATION_LOG": str(log)}) as agent:
        assert agent.wait() == 1
    assert "api: " in log.read_text() and "eu-west-1" in log.read_text() and "\n" not in log.read_text()
    assert not (pod.volume / "..data").exists()


@pytest.mark.parametrize("command", ["init", "run"])
def test_what_can_never_fit_ends_a_start_at_once_and_whole(pod: Pod, command: str) -> None:
    """With every problem of every secret; startup.timeout is not waited out. Each is logged once."""
    pod.put("db", '{"one": null, "two": null}')
    pod.put("api", "no json")
    config = pod.write(
        pod.secret("db", "{path: db.env, format: dotenv}", "{path: db.props, format: properties}"),
        pod.secret("api", "{path: api, jmesPath: key}"),
    )
    config.write_text(config.read_text().replace("timeout: 20s", "timeout: 24h"))
    with running(command, config) as agent:
        assert agent.wait() == 1
        failed = [event["secret"] for event in agent.seen if event["event"] == "secret failed"]
    assert sorted(failed) == ["api", "db"]
    said = agent.lines[-1]
    for words in ("db.env: key 'one'", "db.env: key 'two'", "db.props: key 'one'", "db.props: key 'two'", "api: "):
        assert words in said
    assert not (pod.volume / "..data").exists()


def test_a_version_that_does_not_fit_is_logged_once(pod: Pod) -> None:
    """However long another secret of the first generation is waited for; the next version is told again."""
    pod.put("db", "no json")
    config = pod.write(pod.secret("db", "{path: db, jmesPath: key}"), pod.secret("api", "{path: api}"), period="100ms")
    with running("run", config) as agent:
        agent.port = agent.event("listening")["port"]
        agent.event("secret failed", secret="db", reason="projection")
        for _ in range(3):
            agent.pass_now()
        version = pod.rotate("db", "no json either")
        agent.pass_now()
        agent.event("secret failed", secret="db")
        agent.pass_now()
        failed = [e["message"] for e in agent.seen if e["event"] == "secret failed" and e["secret"] == "db"]
    assert len(failed) == len(set(failed)) == 2 and version in failed[1]


def test_a_directory_in_the_way_is_refused_and_stays(pod: Pod) -> None:
    """The first generation is not made over somebody's files."""
    pod.put("db", "d1")
    (pod.volume / "db" / "sub").mkdir(parents=True)
    (pod.volume / "db" / "sub" / "file").write_text("precious")
    with running("init", pod.write(pod.secret("db", "{path: db/password}"))) as agent:
        assert agent.wait() == 1
    assert f"{pod.volume}/db is in the way" in agent.lines[-1] and "uid" in agent.lines[-1]
    assert (pod.volume / "db" / "sub" / "file").read_text() == "precious"
    assert os.listdir(pod.volume) == ["db"]


def test_a_version_with_the_same_content_is_written_down_and_told_to_nobody(pod: Pod, app: App) -> None:
    """The log says so, status names the version, and the app hears of the next change alone."""
    with running("run", signalling(pod)) as agent:
        agent.ready()
        version = pod.rotate("db", "pw-1")
        agent.event("same content", secret="db", version=version)
        until(lambda: version in agent.page("/status")[1])
        assert agent.metrics()['notifications_total{result="accepted",target="app"}'] == 0
        assert os.readlink(pod.volume / "..data") == "..1"
        pod.rotate("db", "pw-2")
        assert app.line() == "hup pw-2"
        assert agent.stop() == 0
    assert app.drain() == []


def test_init_with_a_complete_generation_and_aws_out_of_reach_warns_and_succeeds(pod: Pod) -> None:
    """A restart of the pod's containers does not depend on AWS."""
    pod.put("db", "d1")
    config = pod.write(pod.secret("db", "{path: db}"))
    with running("init", config) as agent:
        assert agent.wait() == 0
    before = pod.tree()
    pod.proxy.fail(Fault.internal_error())
    with running("init", config) as agent:
        agent.event("complete, but not fresh")
        assert agent.wait() == 0
    assert pod.tree() == before


def test_init_is_not_content_with_the_files_of_an_earlier_config(pod: Pod) -> None:
    """A sandbox that was made anew after an edit, while AWS is out of reach: a file that is asked for is not there."""
    pod.put("db", '{"a": "1", "b": "2"}')
    with running("init", pod.write(pod.secret("db", "{path: a, jmesPath: a}"))) as agent:
        assert agent.wait() == 0
    before = pod.tree()
    config = pod.write(pod.secret("db", "{path: a, jmesPath: a}", "{path: b, jmesPath: b}"))
    config.write_text(config.read_text().replace("timeout: 20s", "timeout: 1s"))
    pod.proxy.fail(Fault.internal_error())
    with running("init", config) as agent:
        assert agent.wait() == 1
    assert "no complete generation" in agent.stderr and pod.tree() == before
    config.write_text(config.read_text().replace("timeout: 1s", "timeout: 20s"))
    with running("run", config) as agent:
        agent.port = agent.event("listening")["port"]
        agent.event("secret failed", secret="db")
        assert [agent.page(path)[0] for path in ("/startupz", "/readyz", "/livez")] == [503, 503, 200]
        pod.proxy.heal()
        agent.await_page("/startupz", 200)
        assert pod.read("b") == "2" and agent.page("/readyz")[0] == 200
        assert agent.stop() == 0


def test_a_reload_that_asks_for_what_cannot_be_had_takes_nobody_out(pod: Pod) -> None:
    """Every pod of a release reads the edit at once: those that serve stay ready, and what is wrong is told."""
    pod.put("db", "d1")
    extra = "staleAfter: 10s"
    with running("run", pod.write(pod.secret("db", "{path: db}"), extra=extra)) as agent:
        agent.ready()
        pod.write(pod.secret("db", "{path: db}"), "{name: api, secretId: no-such, files: [{path: api}]}", extra=extra)
        agent.event("secret failed", secret="api", reason="not_found")

        def shown() -> tuple[int, list[tuple[str, bool]]]:
            status, text = agent.page("/readyz")
            return status, [(s["name"], s["ready"]) for s in json.loads(text)["secrets"]]

        until(lambda: len(shown()[1]) == 2)
        assert shown() == (200, [("db", True), ("api", False)])
        assert agent.page("/startupz")[0] == 200
        assert agent.metrics()['secret_up_to_date{secret="api"}'] == 0
        assert agent.metrics()['secret_errors_total{reason="not_found",secret="api"}'] >= 1
        assert agent.stop() == 0


def test_a_pass_that_cannot_read_the_volume_takes_nobody_out(pod: Pod) -> None:
    """What was published still is, and is told as before; the trouble is in the log and among the failed passes."""
    pod.put("db", "d1")
    with running("run", pod.write(pod.secret("db", "{path: db}"))) as agent:
        agent.ready()
        until(lambda: agent.metrics()['passes_total{outcome="noop"}'] > 0)
        (worker,) = workers(agent)  # which stays: the next pass is due in a second
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limits[1]))
        agent.event("volume", level="error")
        until(lambda: agent.metrics()['passes_total{outcome="error"}'] > 0)
        for path in ("/readyz", "/startupz"):
            assert agent.page(path)[0] == 200
        assert [name for name in agent.metrics() if name.startswith('secret_version_info{secret="db",version_id="')]
        assert agent.stop() == 0


def test_what_init_publishes_notifies_nobody(pod: Pod) -> None:
    """A rotation between two inits is no news to an app that starts afterwards."""
    pod.put("db", "d1")
    config = pod.write(pod.secret("db", "{path: db}"), notify=(f"{{name: marker, touch: {pod.home}/marker}}",))
    with running("init", config) as agent:
        assert agent.wait() == 0
    pod.rotate("db", "d2")
    with running("init", config) as agent:
        assert agent.wait() == 0
    assert pod.read("db") == "d2"
    with running("run", config) as agent:
        agent.ready()
        agent.pass_now()
        assert agent.stop() == 0
    assert not (pod.home / "marker").exists()


def test_damage_is_repaired_counted_and_told_to_nobody(pod: Pod) -> None:
    """A file, a link and `..data` that somebody removed or changed come back with the next pass."""
    pod.put("db", "d1")
    config = pod.write(pod.secret("db", "{path: x/db}"), notify=(f"{{name: marker, touch: {pod.home}/marker}}",))
    with running("run", config) as agent:
        agent.ready()
        os.unlink((pod.volume / "..data").resolve() / "x" / "db")
        agent.pass_now()
        assert pod.read("x/db") == "d1"
        assert agent.metrics()["repairs_total"] == 1
        os.unlink(pod.volume / "x")
        os.unlink(pod.volume / "..data")
        agent.pass_now()
        assert pod.read("x/db") == "d1"
        assert agent.metrics()["repairs_total"] == 3
        assert agent.stop() == 0
    assert not (pod.home / "marker").exists()


def test_a_kubelet_style_swap_of_the_config_is_taken_over_and_a_bad_one_is_not(pod: Pod) -> None:
    """Hot reload through the ConfigMap's directory; a bad config keeps the one in force and says so."""
    pod.put("db", "d1")
    pod.put("api", "a1")
    mount = pod.config.parent

    def swap(text: str, number: int) -> None:
        version = mount / f"..v{number}"
        version.mkdir()
        (version / "config.yaml").write_text(text)
        (mount / "..data_tmp").symlink_to(version.name)
        (mount / "..data_tmp").rename(mount / "..data")

    one = pod.write(pod.secret("db", "{path: db}"), period="60s").read_text()
    two = pod.write(pod.secret("db", "{path: db}"), pod.secret("api", "{path: api}"), period="60s").read_text()
    pod.config.unlink()
    swap(one, 1)
    pod.config.symlink_to("..data/config.yaml")
    with running("run", pod.config) as agent:
        agent.ready()
        swap(two, 2)
        agent.event("config reloaded")
        until(lambda: pod.tree() == {"db": b"d1", "api": b"a1"})
        until(lambda: 'secret_up_to_date{secret="api"}' in agent.metrics())
        swap(two.replace("kind: Config", "kind: Confit"), 3)
        rejected = agent.event("config rejected, the earlier one stays in force")
        assert any("Config" in problem for problem in rejected["problems"])
        until(lambda: agent.metrics()["config_reload_success"] == 0)
        agent.pass_now()
        assert pod.tree() == {"db": b"d1", "api": b"a1"}
        swap(one, 4)
        agent.event("config reloaded")
        until(lambda: pod.tree() == {"db": b"d1"})
        until(lambda: 'secret_up_to_date{secret="api"}' not in agent.metrics())
        assert agent.metrics()["config_reload_success"] == 1
        assert agent.stop() == 0


def test_a_second_agent_waits_for_the_volume_then_takes_over(pod: Pod) -> None:
    """One agent per volume: the second goes on when the first is gone, whatever ended it."""
    pod.put("db", "d1")
    config = pod.write(pod.secret("db", "{path: db}"))
    with running("run", config) as first:
        first.ready()
        with running("run", config) as second:
            second.event("waiting for the volume")
            first.process.kill()
            second.event("started")
            assert second.stop() == 0


@pytest.mark.parametrize("moment", ["starting", "steady", "call in flight"])
def test_a_stop_ends_run_with_zero(pod: Pod, moment: str) -> None:
    """SIGTERM exits 0 at any moment, and no call in flight is waited for."""
    pod.put("db", "d1")
    with running("run", pod.write(pod.secret("db", "{path: db}"))) as agent:
        if moment == "starting":
            agent.event("listening")
        else:
            agent.ready()
        if moment == "call in flight":
            hang = Fault.hang()
            pod.proxy.fail(hang)
            calls = len(pod.proxy.calls)
            until(lambda: len(pod.proxy.calls) > calls)
        assert agent.stop() == 0
        pod.proxy.heal()


def test_an_init_that_is_stopped_before_it_published_exits_one(pod: Pod) -> None:
    """A stop is no success while the files are not there."""
    with running("init", pod.write(pod.secret("db", "{path: db}"))) as agent:
        agent.event("secret failed")
        assert agent.stop() == 1


def test_a_bad_config_exits_two_with_every_problem(pod: Pod) -> None:
    """All problems come in one run, each with line and column, and nothing is touched."""
    config = pod.write(pod.secret("db", "{path: ../x}", "{pth: y}"))
    for command in ("check", "init", "run"):
        with running(command, config) as agent:
            assert agent.wait() == 2
            assert "pth" in agent.stderr and "../x" in agent.stderr and f"{config}:10:" in agent.stderr
    assert not pod.volume.exists()


def test_check_is_content_with_a_good_config(pod: Pod) -> None:
    """`check` needs neither AWS nor a volume."""
    with running("check", pod.write(pod.secret("db", "{path: x}"))) as agent:
        assert agent.wait() == 0
    assert pod.proxy.calls == []


def test_no_value_appears_anywhere(pod: Pod) -> None:
    """A canary in every secret, through failure and success, at debug level, is in no stream and on no page."""
    canary = f"canary-{uuid.uuid4().hex}"
    pod.put("db", canary)
    pod.put("json", json.dumps({"key": canary, "other": [canary]}))
    config = pod.write(
        pod.secret("db", "{path: db, jmesPath: key}", extra="optional: true,"),
        pod.secret("json", "{path: json, jmesPath: nokey}", extra="optional: true,"),
        pod.secret("dir", "{directory: dir}", extra="optional: true,"),
        notify=("{name: gone, url: 'http://127.0.0.1:9/'}",),
    )
    pod.put("dir", json.dumps({"a/b": canary}))
    with running("run", config, {"FRESHMOUNT_LOG_LEVEL": "debug"}) as agent:
        agent.ready()
        for name in ("db", "json", "dir"):
            agent.event("secret failed", secret=name, reason="projection")
        pod.rotate("json", json.dumps({"nokey": canary}))
        agent.event("notification refused")
        pages = [agent.page(path)[1] for path in ("/metrics", "/readyz", "/livez", "/startupz", "/x")]
        process = Path(f"/proc/{agent.process.pid}")
        pages += [(process / "cmdline").read_text(), (process / "environ").read_text()]
        assert agent.stop() == 0
        stdout = agent.process.stdout.read() if agent.process.stdout else ""
    for place in (*pages, stdout, agent.stderr):
        assert canary not in place
    record = (pod.volume / "..data" / "..generation.json").read_text()
    assert canary not in record


def test_a_swept_generation_lets_the_loop_sleep_again(pod: Pod) -> None:
    """What was superseded long enough ago goes, and no pass follows until something is due."""
    pod.put("db", "d1")
    config = pod.write(pod.secret("db", "{path: db}"), period="60s")
    with running("run", config) as agent:
        agent.ready()
        pod.rotate("db", "d2")
        agent.pass_now()
        os.utime(pod.volume / "..2", (0, 0))
        agent.pass_now()
        assert not (pod.volume / "..1").exists()
        before = agent.passes()
        for _ in range(20):
            agent.page("/livez")
        assert agent.passes() == before
        assert agent.stop() == 0


def test_a_config_that_goes_away_is_told_once_and_comes_back(pod: Pod) -> None:
    """The one in force stays."""
    pod.put("db", "d1")
    config = pod.write(pod.secret("db", "{path: db}"), period="60s")
    text = config.read_text()
    with running("run", config) as agent:
        agent.ready()
        config.unlink()
        assert "No such file" in agent.event("config rejected, the earlier one stays in force")["problems"][0]
        agent.process.send_signal(signal.SIGHUP)
        agent.pass_now()
        pod.edit(text.replace("listen: 127.0.0.1:0", "listen: 127.0.0.1:1"))
        assert "listen cannot change" in agent.event("config rejected, the earlier one stays in force")["problems"][0]
        pod.edit(text)
        agent.event("config reloaded")
        assert pod.read("db") == "d1"
        assert agent.stop() == 0
    assert agent.stderr.count("No such file") == 1


def test_an_edit_that_no_watch_sees_is_found_by_reading_again(pod: Pod) -> None:
    """The file behind a link into another directory is edited there; the net beneath the watch catches it."""
    pod.put("db", "d1")
    real = pod.write(pod.secret("db", "{path: db}"))
    link = pod.home / "elsewhere" / "config.yaml"
    link.parent.mkdir()
    link.symlink_to(real)
    with running("run", link) as agent:
        agent.ready()
        real.write_text(real.read_text().replace("{path: db}", "{path: renamed}"))
        agent.event("config reloaded")
        until(lambda: pod.tree() == {"renamed": b"d1"})
        assert agent.stop() == 0


def test_idle_passes_write_nothing_and_say_nothing(pod: Pod) -> None:
    """A pass in which nothing changed leaves no trace on the volume and in the log."""
    pod.put("db", "d1")
    with running("run", pod.write(pod.secret("db", "{path: db}"))) as agent:
        agent.ready()
        until(lambda: agent.passes() >= 2)
        before = sorted((str(p), p.lstat().st_mtime_ns) for p in [pod.volume, *pod.volume.rglob("*")])
        lines = len(agent.lines)
        for _ in range(3):
            agent.pass_now()
        assert sorted((str(p), p.lstat().st_mtime_ns) for p in [pod.volume, *pod.volume.rglob("*")]) == before
        assert [line for line in agent.lines[lines:] if "SIGUSR1" not in line] == []
        assert agent.stop(signal.SIGINT) == 0


def test_what_a_person_asks_for_is_told_and_what_the_watch_asks_for_is_not(pod: Pod) -> None:
    """A line for each signal that somebody sent, and one at a start that has nothing to do."""
    pod.put("db", "d1")
    config = pod.write(pod.secret("db", "{path: db}"), period="60s")
    with running("init", config) as agent:
        assert agent.wait() == 0
    assert "nothing to do, all is published" not in agent.stderr
    with running("init", config) as agent:
        agent.event("nothing to do, all is published", generation=1)
        assert agent.wait() == 0
    with running("run", config) as agent:
        agent.ready()
        agent.event("nothing to do, all is published", generation=1)
        agent.process.send_signal(signal.SIGUSR1)
        agent.event("asked to pass", signal="SIGUSR1")
        agent.process.send_signal(signal.SIGHUP)
        agent.event("asked to read the config", signal="SIGHUP")
        pod.write(pod.secret("db", "{path: renamed}"), period="60s")
        agent.event("config reloaded")
        until(lambda: pod.tree() == {"renamed": b"d1"})
        assert agent.stop() == 0
        agent.event("stopped", signal="SIGTERM")
    assert [line for line in agent.lines if "asked to" in line and "SIGHUP" in line][1:] == []
    assert agent.stderr.count("nothing to do") == 1


USED_UP = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'


def test_without_inotify_it_says_so_and_finds_edits_all_the_same(pod: Pod) -> None:
    """All instances of the node are used up, as by other pods of its uid: a user namespace of its own has none."""
    within = ("unshare", "--user", "--map-root-user", "sh", "-c", USED_UP, "sh")
    if subprocess.run([*within, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespace can be made")
    pod.put("db", "d1")
    with running("run", pod.write(pod.secret("db", "{path: db}")), within=within) as agent:
        agent.ready()
        assert str(pod.config.parent) in agent.event("config is not watched, only read again each period")["reason"]
        pod.write(pod.secret("db", "{path: renamed}"))
        agent.event("config reloaded")
        until(lambda: pod.tree() == {"renamed": b"d1"})
        assert agent.stop() == 0
    assert agent.stderr.count("not watched") == 1


def test_a_browser_that_was_led_here_learns_nothing(pod: Pod) -> None:
    """By a name that a stranger owns; a probe by it is answered."""
    pod.put("db", "d1")
    with running("run", pod.write(pod.secret("db", "{path: db}"))) as agent:
        agent.ready()
        for path, code in (("/", 421), ("/status", 421), ("/readyz", 200), ("/livez", 200), ("/metrics", 200)):
            connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=PATIENCE)
            connection.request("GET", path, headers={"Host": f"evil.example:{agent.port}"})
            answer = connection.getresponse()
            assert (answer.status, path != "/metrics" and b"db" in answer.read()) == (code, False)
            connection.close()
        assert agent.page("/status")[0] == agent.page("/")[0] == 200
        assert agent.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount over a file of /proc")
def test_a_target_on_a_kernel_that_does_not_tell_stays_owed(pod: Pod, app: App, pytestconfig: pytest.Config) -> None:
    """As on gVisor: refused with a sentence; the agent and the app live on. The next agent still owes it.

    With --full the next one is on such a kernel, too, and the one after it tells the app.
    """
    status = pod.home / "status"
    lines = Path(f"/proc/{app.process.pid}/status").read_text().splitlines(keepends=True)
    status.write_text("".join(line for line in lines if not line.startswith("Sig")))
    mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
    within = ("unshare", "--mount", "sh", "-c", mount, str(status), f"/proc/{app.process.pid}/status")
    for value in ("pw-2", None) if pytestconfig.getoption("--full") else ("pw-2",):
        with running("run", signalling(pod), within=within) as agent:
            agent.ready()
            if value:
                pod.rotate("db", value)
            assert "SigCgt" in agent.event("notification refused", target="app")["message"]
            until(lambda: agent.metrics()['notification_pending{target="app"}'] == 1)
            assert agent.stop() == 0
    with running("run", signalling(pod)) as agent:
        assert app.line() == "hup pw-2"
        assert agent.stop() == 0
    assert app.drain() == []


@pytest.mark.parametrize("by", ["name", "pidFile"])
def test_it_ends_with_the_app(pod: Pod, by: str) -> None:
    """A plain sidecar in a Job: it waits for the app to come, keeps fresh meanwhile, and ends with 0 after it."""
    pod.put("db", "pw-1")
    name = f"job{os.getpid() % 10_000}"
    program = pod.home / name
    program.symlink_to("/bin/sleep")
    which = f"name: {name}" if by == "name" else f"pidFile: {pod.home}/job.pid"
    config = pod.write(pod.secret("db", "{path: db}"), extra=f"exitWith: {{process: {{{which}}}}}")
    with running("run", config) as agent:
        agent.ready()
        with ended(subprocess.Popen([str(program), "60"])) as app:
            (pod.home / "job.pid").write_text(f"{app.pid}\n")
            until(lambda: rests(agent) and holds(agent))
            pod.rotate("db", "pw-2")
            agent.event("published", generation=2)
            agent.pass_now()
            assert agent.process.poll() is None
            app.kill()
        agent.event("the app has ended", app=f"process {app.pid} ({name})")
        assert agent.wait() == 0
        assert "signal" not in agent.event("stopped")  # nobody sent one


def test_it_ends_with_an_app_that_was_quicker_than_a_look(pod: Pod) -> None:
    """By its pid file, if that was written since the agent's start; an older one tells of another life."""
    pod.put("db", "pw-1")
    pid_file = pod.home / "job.pid"
    with subprocess.Popen(["true"]) as app:
        pass
    pid_file.write_text(f"{app.pid}\n")
    os.utime(pid_file, (1, 1))
    config = pod.write(pod.secret("db", "{path: db}"), extra=f"exitWith: {{process: {{pidFile: {pid_file}}}}}")
    with running("run", config) as agent:
        agent.ready()
        agent.pass_now()
        assert agent.process.poll() is None
        pid_file.write_text(f"{app.pid}\n")
        agent.event("the app has ended", app=f"the process of pid file {pid_file}")
        assert agent.wait() == 0


def test_an_edit_during_the_first_pass_is_found(pod: Pod) -> None:
    """The watch begins after it; what happened before is read once more."""
    pod.put("db", "pw-1")
    held = Fault.hold()
    pod.proxy.fail(held, operation="GetSecretValue")
    with running("run", pod.write(pod.secret("db", "{path: db}"), period="1h")) as agent:
        agent.event("started")
        until(lambda: pod.proxy.calls)
        pod.write(pod.secret("db", "{path: other}"), period="1h")
        pod.proxy.heal()
        agent.event("config reloaded")
        until((pod.volume / "other").exists)
