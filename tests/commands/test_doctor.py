"""`freshmount doctor` in a pod as it should be, and in pods that are not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from agent.commands import attach, preflight
from agent.commands import doctor as doctor_module
from tests.support.answers import KEYS, ROLE, Answer, Answers, refused
from tests.support.aws import Fault, MotoStandIn, Proxy, environment
from tests.support.monitored import free_port
from tests.support.pod import App, Pod
from tests.support.running import ended, freshmount, running


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoStandIn]:
    with MotoStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def reload() -> Iterator[Answers]:
    """A target that takes a POST and nothing else."""
    with Answers(lambda _: Answer(status=405)) as reload:
        yield reload


@pytest.fixture
def pod(aws: MotoStandIn, tmp_path: Path) -> Iterator[Pod]:
    with Proxy(aws.url) as proxy:
        made = Pod(aws, proxy, tmp_path)
        made.put("db", '{"password": "pw-1"}')
        made.write(made.secret("db", "{path: db, jmesPath: password}"))
        yield made


Findings = dict[str, tuple[str, str]]


def doctor(pod: Pod, aws: MotoStandIn, *options: str, **env: str) -> tuple[int, Findings, str]:
    """The exit code, each check with its outcome and message, and all that was printed."""
    given = {**environment(), "AWS_ENDPOINT_URL_STS": aws.url, **env}
    done = freshmount("doctor", "--json", "--config", str(pod.config), *options, env=given)
    assert "pw-" not in done.stdout + done.stderr
    findings = {found["check"]: (found["outcome"], found["message"]) for found in json.loads(done.stdout)}
    return done.returncode, findings, done.stdout


class Inside:
    """The same in this process, for what waits as long as a constant says, which is shorter here."""

    def __init__(self, patch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str]) -> None:
        self._patch, self._printed = patch, printed
        patch.setattr(doctor_module, "LIMIT", 1.0)
        patch.setattr(attach, "TIMEOUT", 0.3)

    def doctor(self, pod: Pod, aws: MotoStandIn, **env: str) -> tuple[int, Findings]:
        for name, content in {**environment(), "AWS_ENDPOINT_URL_STS": aws.url, **env}.items():
            self._patch.setenv(name, content)
        code = doctor_module.examine(str(pod.config), as_json=True, before_app=False)
        printed = self._printed.readouterr().out
        assert "pw-" not in printed
        return code, {found["check"]: (found["outcome"], found["message"]) for found in json.loads(printed)}


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    return Inside(monkeypatch, capsys)


def test_a_pod_as_it_should_be(pod: Pod, aws: MotoStandIn, reload: Answers, tmp_path: Path) -> None:
    """Every check is well, nobody is told anything, and nothing is left behind."""
    with running("init", pod.config) as agent:
        assert agent.wait() == 0
    app = App(pod.volume / "db", tmp_path / "app.pid")
    pod.write(
        pod.secret("db", "{path: db, jmesPath: password}"),
        notify=(
            f"{{name: app, signal: SIGHUP, process: {{pidFile: {tmp_path}/app.pid}}}}",
            f"{{name: prom, url: '{reload.url}/-/reload'}}",
            f"{{name: marker, touch: {tmp_path}/marker}}",
        ),
    )
    before = sorted(os.listdir(pod.volume)), sorted(os.listdir(tmp_path))
    code, findings, _ = doctor(pod, aws)
    told = app.drain()
    app.process.wait()
    assert told == [] and [asked.method for asked in reload.asked] == ["HEAD"]
    assert (sorted(os.listdir(pod.volume)), sorted(os.listdir(tmp_path))) == before
    findings.pop("volume mount")  # this machine's temporary directory is on a disk, or not
    assert {outcome for outcome, _ in findings.values()} == {"ok"} and code == 0, findings
    assert findings.keys() == {
        *("config", "credentials", "endpoint eu-west-1", "caller", "secret db", "volume", "listen"),
        *("target app", "target prom", "target marker"),
    }
    assert "user/moto; the clock agrees" in findings["caller"][1]
    assert "can be read and makes 1 file" in findings["secret db"][1]


def test_looks_by_a_list_are_tried(pod: Pod, aws: MotoStandIn) -> None:
    """Once for all secrets of a place. Where the list is denied, the agent goes on without it: a warning."""
    pod.put("api", '{"password": "pw-2"}')
    secrets = [pod.secret(name, f"{{path: {name}, jmesPath: password}}") for name in ("db", "api")]
    check = "own looks, eu-west-1, caller"
    pod.write(*secrets, extra="hub: {url: 'http://127.0.0.1:9', ownLooks: list}")
    assert doctor(pod, aws)[1][check] == ("ok", "ListSecrets is allowed")
    pod.proxy.fail(Fault.access_denied("secretsmanager:ListSecrets"), operation="ListSecrets")
    code, findings, _ = doctor(pod, aws)
    assert findings[check][0] == "warning" and "secretsmanager:ListSecrets" in findings[check][1] and code == 0
    pod.write(*secrets, extra="hub: {url: 'http://127.0.0.1:9'}")
    assert check not in doctor(pod, aws)[1]


def test_for_a_person(pod: Pod, aws: MotoStandIn) -> None:
    """A mark, the check, a sentence; and the sum."""
    given = {**environment(), "AWS_ENDPOINT_URL_STS": aws.url}
    done = freshmount("doctor", "--config", str(pod.config), env=given)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"✓ config                   {pod.config}: 1 secret, 1 file, 0 targets")
    assert lines[-1].startswith(f"{len(lines) - 2} checks: 0 failed, ") and done.returncode == 0


def test_while_the_config_is_broken_the_agent_tells(pod: Pod, aws: MotoStandIn, tmp_path: Path) -> None:
    """Every problem first; then what is in force and how that fares, and what else can be looked at without the file.
    Without an agent it is said what is not looked at."""
    targets = ("{name: nobody, url: 'http://127.0.0.1:9/'}",)
    text = pod.write(pod.secret("db", "{path: db, jmesPath: password}"), notify=targets).read_text()
    pod.edit(text := text.replace("127.0.0.1:0", f"127.0.0.1:{free_port()}"))
    with running("run", pod.config) as agent:
        agent.ready()
        pod.edit(text + "bogus: 1\n")
        agent.event("config rejected, the earlier one stays in force")
        agent.knows(lambda report: not report["agent"]["config"]["isTheFile"])
        code, findings, _ = doctor(pod, aws)
        assert code == 1 and findings["config"][0] == "bad" and f"{pod.config}:" in findings["config"][1]
        assert {check: outcome for check, (outcome, _) in findings.items() if check != "volume mount"} == {
            "config": "bad", "agent": "ok", "credentials": "ok", "secret db": "ok", "target nobody": "ok",
            "volume": "ok", "listen": "ok",
        }  # fmt: skip
        pod.rotate("db", '{"user": "a"}')
        agent.event("secret failed", reason="projection")
        agent.knows(lambda report: report["secrets"][0]["error"])
        _, findings, _ = doctor(pod, aws)
        assert findings["secret db"][0] == "bad" and "password" in findings["secret db"][1]
    code, findings, _ = doctor(pod, aws)
    assert code == 1 and findings["agent"][0] == "warning" and "secret db" not in findings
    assert findings["volume"] == ("ok", findings["volume"][1]) and str(pod.volume) in findings["volume"][1]


def refuse_get(pod: Pod) -> None:
    pod.proxy.fail(Fault.access_denied("secretsmanager:GetSecretValue"), operation="GetSecretValue")


def refuse_key(pod: Pod) -> None:
    words = "Access to KMS is not allowed. User: arn:aws:sts::1:assumed-role/web/pod, key arn:aws:kms:eu-west-1:1:key/k"
    pod.proxy.fail(Fault.error(400, "AccessDeniedException", words), operation="GetSecretValue")


def lose_key(pod: Pod) -> None:
    pod.rotate("db", '{"user": "a"}')


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        (lambda pod: pod.proxy.fail(Fault.access_denied()), "secret db", "may not secretsmanager:DescribeSecret"),
        (refuse_get, "secret db", "may not secretsmanager:GetSecretValue"),
        (refuse_key, "secret db", "may not kms:Decrypt"),
        (lose_key, "secret db", "password"),
        (lambda pod: pod.proxy.fail(Fault.hang()), "secret db", "did not answer in time"),
        (lambda pod: pod.proxy.fail(Fault.drip()), "secret db", "no answer within 3 s"),
        (lambda pod: pod.proxy.close(), "endpoint eu-west-1", "Connection refused"),
        (lambda pod: pod.edit("secrets: 7"), "config", "secrets"),
    ],
)
def test_each_fault_has_its_sentence(
    pod: Pod, aws: MotoStandIn, fault: Callable[[Pod], object], check: str, words: str
) -> None:
    """What is wrong, where, and what to do."""
    fault(pod)
    code, findings, _ = doctor(pod, aws)
    outcome, message = findings[check]
    assert (code, outcome) == (1, "bad") and words in message, findings


def test_no_credentials(pod: Pod, aws: MotoStandIn) -> None:
    """The first thing to look at."""
    code, findings, _ = doctor(pod, aws, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert code == 1 and findings["credentials"][0] == findings["caller"][0] == "bad"
    assert "no credentials" in findings["secret db"][1]


@pytest.fixture
def irsa(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text("a.b.c")
    return {**KEYS, "AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}


def test_a_role_that_cannot_be_assumed(pod: Pod, aws: MotoStandIn, irsa: dict[str, str]) -> None:
    """Credentials, caller and each secret say so, and speak of STS alone."""
    with Answers(lambda _: refused("AccessDenied", "Not authorized to perform it")) as sts:
        code, findings, _ = doctor(pod, aws, **irsa, AWS_ENDPOINT_URL_STS=sts.url)
    assert code == 1
    for check in ("credentials", "caller", "secret db"):
        outcome, message = findings[check]
        assert outcome == "bad" and "AssumeRoleWithWebIdentity" in message and "secretsmanager:" not in message
    assert pod.proxy.calls == []


def test_sts_that_is_sent_astray_is_a_warning(pod: Pod, aws: MotoStandIn, irsa: dict[str, str]) -> None:
    """Here it works, since moto plays STS as well; in a VPC endpoint of Secrets Manager it would not."""
    code, findings, _ = doctor(pod, aws, **irsa, AWS_ENDPOINT_URL=aws.url, AWS_ENDPOINT_URL_STS="")
    outcome, message = findings["credentials"]
    assert (code, outcome) == (0, "warning") and "AWS_ENDPOINT_URL_SECRETS_MANAGER" in message


def test_credentials_that_hang_or_are_odd(pod: Pod, aws: MotoStandIn, inside: Inside, tmp_path: Path) -> None:
    """Every check ends, with the source in its sentence."""
    (tmp_path / "token").write_text("a.b.c")
    with Answers(lambda _: Answer(drips=True)) as source:
        env = {
            **KEYS,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{source.url}/v1",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        }
        for answer in (Answer(drips=True), Answer(b"[]"), None):
            source.answer = lambda _, answer=answer: answer  # type: ignore[misc]
            code, findings = inside.doctor(pod, aws, **env)
            outcome, message = findings["credentials"]
            assert (code, outcome) == (1, "bad") and "EKS Pod Identity" in message
            assert findings["secret db"][0] == "bad" and "listen" in findings


def test_a_proxy_on_the_way(pod: Pod, aws: MotoStandIn) -> None:
    """It is looked at in the endpoint's stead, and named without its password; not where no_proxy says so."""
    code, findings, out = doctor(pod, aws, HTTP_PROXY="http://user:hunter2@127.0.0.1:9", no_proxy="")
    outcome, message = findings["endpoint eu-west-1"]
    assert (code, outcome) == (1, "bad") and "127.0.0.1:9 (HTTP_PROXY)" in message and "hunter2" not in out
    assert "HTTP_PROXY" in findings["secret db"][1]
    code, findings, _ = doctor(pod, aws, HTTP_PROXY="http://127.0.0.1:9", no_proxy="127.0.0.1")
    assert code == 0 and "proxy" not in findings["endpoint eu-west-1"][1]


@pytest.mark.parametrize("body", [b"null", b"[]", "\u00e4".encode("latin-1"), b"{" * 5000])
def test_an_answer_of_another_form(pod: Pod, aws: MotoStandIn, body: bytes) -> None:
    """One finding is bad, and the others are there."""
    pod.proxy.fail(Fault(lambda handler, _status, _body: handler.answer(200, body)))
    code, findings, _ = doctor(pod, aws)
    assert code == 1 and findings["secret db"][0] == "bad" and findings["credentials"][0] == "ok"
    assert pod.proxy.url in findings["secret db"][1]


def test_a_name_that_does_not_resolve_and_a_certificate_of_nobody(pod: Pod, aws: MotoStandIn, tmp_path: Path) -> None:
    """Each step of the way has its own sentence."""
    with pytest.raises(preflight.CheckFailed, match="does not resolve; check the pod's DNS"):
        preflight.reach("https://no.such.name.invalid", None, 1.0)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        port = plain.getsockname()[1]
        threading.Thread(target=lambda: plain.accept()[0].sendall(b"HTTP/1.0 400 no\r\n\r\n"), daemon=True).start()
        with pytest.raises(preflight.CheckFailed, match="TLS to localhost fails"):
            preflight.reach(f"https://localhost:{port}", None, 1.0)


def test_a_clock_that_is_off(pod: Pod, aws: MotoStandIn) -> None:
    """By AWS's own clock, which is ten minutes behind; requests would be refused soon."""
    caller = Answer(
        b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        b"<Arn>arn:aws:sts::1:assumed-role/web/pod</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>",
        content_type="text/xml",
        headers=(("Date", formatdate(time.time() - 600, usegmt=True)),),
    )
    with Answers(lambda _: caller) as sts:
        code, findings, _ = doctor(pod, aws, AWS_ENDPOINT_URL_STS=sts.url)
    outcome, message = findings["caller"]
    assert (code, outcome) == (1, "bad") and "assumed-role/web/pod; " in message and "+60" in message


def test_targets_that_would_not_be_told(pod: Pod, aws: MotoStandIn, tmp_path: Path) -> None:
    """No process, no handler, no directory, nobody at the URL."""
    deaf = subprocess.Popen(["sleep", "60"])
    (tmp_path / "deaf.pid").write_text(str(deaf.pid))
    pod.write(
        pod.secret("db", "{path: db}"),
        notify=(
            "{name: gone, signal: SIGHUP, process: {name: no-such-app}}",
            f"{{name: deaf, signal: SIGHUP, process: {{pidFile: {tmp_path}/deaf.pid}}}}",
            f"{{name: marker, touch: {tmp_path}/none/marker}}",
            "{name: prom, url: 'http://127.0.0.1:9/'}",
        ),
    )
    code, findings, _ = doctor(pod, aws)
    assert deaf.poll() is None
    deaf.kill()
    deaf.wait()
    assert code == 1
    for name, words in (
        ("gone", "set shareProcessNamespace: true"),
        ("deaf", "has no handler for SIGHUP"),
        ("marker", f"the directory {tmp_path}/none does not exist"),
        ("prom", "cannot be called"),
    ):
        assert findings[f"target {name}"][0] == "bad" and words in findings[f"target {name}"][1]
    code, findings, _ = doctor(pod, aws, "--before-app")
    assert code == 0 and findings["target gone"][0] == "warning"


def test_a_volume_that_cannot_be_used(pod: Pod, aws: MotoStandIn) -> None:
    """Of another uid in a sticky directory; a file where the directory should be; no mount at all."""
    pod.volume.mkdir()
    pod.volume.chmod(0o1777)
    (pod.volume / "theirs").touch()
    os.chown(pod.volume / "theirs", 4321, 4321)
    assert doctor(pod, aws)[1]["volume"][1].endswith("run init and sidecar as one uid")
    (pod.volume / "theirs").unlink()
    pod.volume.rmdir()
    text = pod.config.read_text()
    pod.edit(text.replace(str(pod.volume), "/no/such/mount"))
    assert doctor(pod, aws)[1]["volume"] == ("bad", "/no/such cannot be opened: No such file or directory")


def test_the_port_is_taken_or_ours(pod: Pod, aws: MotoStandIn, inside: Inside) -> None:
    """By another program, which is bad, also when it says nothing, or by the agent that runs already."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        text = pod.config.read_text()
        pod.edit(text.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        assert inside.doctor(pod, aws)[1]["listen"][0] == "bad"
    with running("run", pod.config) as agent:
        agent.ready()
        assert doctor(pod, aws)[1]["listen"] == (
            "ok",
            f"127.0.0.1:{port} is in use by the running agent",
        )
        assert agent.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("root", "kind", "sub_path"),
    [
        ("/", "tmpfs", False),
        ("/secrets", "tmpfs", True),
        ("/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/secrets", "ext4", False),
        ("/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/secrets/sub", "ext4", True),
        ("/var/lib/kubelet/pods/u/volumes/kubernetes.io~configmap/config/..2026/config.yaml", "ext4", True),
    ],
)
def test_a_mount_by_sub_path_is_found(tmp_path: Path, root: str, kind: str, sub_path: bool) -> None:
    """As the kernel lists what kubelet mounted."""
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 0:1 / / rw - overlay overlay rw\n"
        f"2 1 0:2 {root} {tmp_path.resolve()}/a\\040b rw,relatime master:1 - {kind} {kind} rw\n"
    )
    found = preflight.mount_of(f"{tmp_path}/a b/secrets", str(table))
    assert found == preflight.Mount(f"{tmp_path.resolve()}/a b", kind, "0:2", root)
    assert (found.is_sub_path, found.in_memory) == (sub_path, kind == "tmpfs")
    assert preflight.mount_of("/elsewhere", str(table)) == preflight.Mount("/", "overlay", "0:1", "/")


def test_a_neighbour_that_mounted_one_file_is_found(pod: Pod, aws: MotoStandIn, tmp_path: Path) -> None:
    """As a container of the pod does it with subPath: it would keep what was there at its start for ever."""
    with running("init", pod.config) as agent:
        assert agent.wait() == 0
    (tmp_path / "mounted").touch()
    script = 'mount --bind "$1" "$2" && echo mounted && exec sleep 60'
    files = str((pod.volume / "db").resolve()), str(tmp_path / "mounted")
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", *files]
    with ended(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)) as app:
        assert app.stdout
        assert app.stdout.readline() == "mounted\n"
        code, findings, _ = doctor(pod, aws)
    outcome, message = findings["mounts of others"]
    assert (code, outcome) == (1, "bad") and f"{tmp_path}/mounted (process {app.pid})" in message
    assert "mounts of others" not in doctor(pod, aws)[1]
