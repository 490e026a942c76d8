"""The built image, run for real: locked down as in a cluster, beside an app that shares volume and process namespace.

`make image-test` runs it; IMAGE names the image, ENGINE the engine. AWS is moto's server on the loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.aws import MotoStandIn
from tests.support.running import until

ENGINE, IMAGE = os.environ["ENGINE"], os.environ["IMAGE"]
BASE = os.environ.get("BASE", "python:3.13-slim")  # has an interpreter for the app
# podman would put writable tmpfs over /tmp and /run; docker does not.
READ_ONLY = ("--read-only", "--read-only-tmpfs=false") if ENGINE == "podman" else ("--read-only",)
LOCKED = (*READ_ONLY, "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65532:65532", "--network=host")
APP_USER = ("--user=65532:65532", "--entrypoint=python3")
PORT = 19105
APP = """
import os, signal
def reread(*_): print("hup", open("/freshmount/secrets/db/password").read(), flush=True)
signal.signal(signal.SIGHUP, reread)
open("/proc/self/comm", "w").write("web")
print("start", open("/freshmount/secrets/db/password").read(), flush=True)
while True: signal.pause()
"""


def engine(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ENGINE, *argv], capture_output=True, text=True, check=check)


class Pod:
    """A pause container whose process namespace the others share, a Memory emptyDir with fsGroup, a ConfigMap."""

    def __init__(self, aws: MotoStandIn) -> None:
        self.aws, self.name = aws, f"freshmount-test-{uuid.uuid4().hex[:8]}"
        self.home = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.home.chmod(0o755)
        self.volume, self.config = self.home / "volume", self.home / "config"
        self.volume.mkdir()
        os.chown(self.volume, 0, 65532)
        self.volume.chmod(0o3777)  # as kubelet leaves it
        self.config.mkdir()
        self.arn = aws.put(self.name, json.dumps({"password": "pw-1"}))
        self.write()
        self.containers: list[str] = []
        self.run(
            "pause", BASE, "--user=65532:65532", "--entrypoint=python3", "--", "-c", "import signal; signal.pause()"
        )

    def write(self, more: str = "") -> None:
        (self.config / "config.yaml").write_text(
            f"""
apiVersion: freshmount.dev/v1
kind: Config
endpointUrl: {self.aws.url}
poll: {{period: 500ms}}
startup: {{timeout: 20s}}
listen: "127.0.0.1:{PORT}"
secrets: [{{name: db, secretId: "{self.arn}", files: [{{path: db/password, jmesPath: password}}]}}]
notify: [{{name: web, signal: SIGHUP, process: {{name: web}}}}]
{more}
"""
        )

    def run(self, name: str, image: str, *options: str, wait: bool = False) -> subprocess.CompletedProcess[str]:
        """One container of the pod: options, then after `--` the arguments of its command."""
        split = options.index("--") if "--" in options else len(options)
        shared = [] if name == "pause" else [f"--pid=container:{self.name}-pause"]
        self.containers.append(f"{self.name}-{name}")
        return engine(
            "run",
            *([] if wait else ["--detach"]),
            f"--name={self.name}-{name}",
            *shared,
            f"--volume={self.volume}:/freshmount",
            f"--volume={self.config}:/etc/freshmount:ro",
            "--env=AWS_ACCESS_KEY_ID=x",
            "--env=AWS_SECRET_ACCESS_KEY=x",
            *options[:split],
            image,
            *options[split + 1 :],
            check=not wait,
        )

    def agent(self, name: str, *arguments: str, wait: bool = False) -> subprocess.CompletedProcess[str]:
        return self.run(name, IMAGE, *LOCKED, "--", *arguments, wait=wait)

    def within(self, *arguments: str) -> str:
        """What a command says in the running agent's container, as by `kubectl exec`."""
        return engine("exec", f"{self.name}-run", "freshmount", *arguments).stdout

    def logs(self, name: str) -> str:
        said = engine("logs", f"{self.name}-{name}")
        return said.stdout + said.stderr

    def exit_code(self, name: str) -> int:
        return int(engine("wait", f"{self.name}-{name}").stdout)

    def close(self) -> None:
        for container in reversed(self.containers):
            engine("rm", "--force", "--time=0", container, check=False)
        shutil.rmtree(self.home)


@pytest.fixture
def pod() -> Iterator[Pod]:
    os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
    with MotoStandIn() as aws:
        pod = Pod(aws)
        yield pod
        pod.close()


def page(path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_init_then_run_then_a_rotation_reaches_the_app(pod: Pod) -> None:
    """As in a cluster: the volume fills, the app starts, is told of a rotation once, and SIGTERM ends the agent."""
    done = pod.agent("init", "init", wait=True)
    assert done.returncode == 0, done.stderr
    file = pod.volume / "secrets" / "db" / "password"
    assert file.read_text() == "pw-1"
    assert (file.stat().st_uid, file.stat().st_gid, oct(file.stat().st_mode & 0o7777)) == (65532, 65532, "0o440")
    assert "sticky" not in done.stderr
    pod.run("app", BASE, *APP_USER, "--", "-c", APP)
    until(lambda: "start pw-1" in pod.logs("app"))
    pod.agent("run", "run")
    until(lambda: page("/startupz") == 200)
    pod.aws.rotate(pod.name, json.dumps({"password": "pw-2"}))
    until(lambda: "hup pw-2" in pod.logs("app"))
    assert pod.logs("app").count("hup") == 1
    assert page("/livez") == page("/readyz") == page("/metrics") == page("/") == 200
    assert "db      fresh" in pod.within("status") and "web     accepted" in pod.within("status")
    assert " 0 failed" in pod.within("doctor")
    began = time.monotonic()
    engine("kill", "--signal=TERM", f"{pod.name}-run")
    assert pod.exit_code("run") == 0
    assert time.monotonic() - began < 10, "SIGTERM did not end it"
    assert "pw-" not in pod.logs("run") + pod.logs("init")


def test_a_bad_rotation_is_held_off(pod: Pod) -> None:
    """By the commands of 3 a.m., under the same uid and locks as the agent."""
    pod.agent("run", "run")
    until(lambda: page("/startupz") == 200)
    pod.run("app", BASE, *APP_USER, "--", "-c", APP)
    until(lambda: "start pw-1" in pod.logs("app"))
    (db,) = json.loads(pod.within("status", "--json"))["secrets"]
    pod.aws.rotate(pod.name, json.dumps({"password": "pw-2"}))
    until(lambda: "hup pw-2" in pod.logs("app"))
    assert "is held at version" in pod.within("pin", "db", "--version-id", db["versionId"], "--for", "1m")
    until(lambda: "hup pw-1" in pod.logs("app"))
    assert "db      pinned" in pod.within("status")
    pod.within("unpin", "db")
    until(lambda: pod.logs("app").count("hup pw-2") == 2)


def test_a_certificate_is_checked_without_privilege(pod: Pod) -> None:
    """In memory that has no name, which an undumpable process of any uid may still open by its own /proc."""
    leaf = trustme.CA().issue_cert("a.example")
    pair = {"crt": leaf.cert_chain_pems[0].bytes().decode(), "key": leaf.private_key_pem.bytes().decode()}
    pod.aws.put(f"{pod.name}-tls", json.dumps(pair))
    text = (pod.config / "config.yaml").read_text()
    entry = (
        f"{{name: tls, secretId: {pod.name}-tls, files: [{{directory: tls}}], "
        "require: {certificate: {certificate: crt, privateKey: key}}}"
    )
    text = text.replace("secrets: [", f"region: eu-west-1\nsecrets: [{entry}, ")
    (pod.config / "config.yaml").write_text(text)
    done = pod.agent("init", "init", wait=True)
    assert done.returncode == 0, done.stderr
    assert (pod.volume / "secrets" / "tls" / "crt").read_text() == pair["crt"]


def test_sigterm_ends_it_as_the_first_process(pod: Pod) -> None:
    """Without a shared process namespace the agent is PID 1, which no default action ends."""
    pod.containers.append(f"{pod.name}-alone")
    engine(
        "run", "--detach", f"--name={pod.name}-alone", *LOCKED, f"--volume={pod.volume}:/freshmount",
        f"--volume={pod.config}:/etc/freshmount:ro", "--env=AWS_ACCESS_KEY_ID=x", "--env=AWS_SECRET_ACCESS_KEY=x",
        IMAGE, "run",
    )  # fmt: skip
    until(lambda: page("/startupz") == 200)
    engine("kill", "--signal=TERM", f"{pod.name}-alone")
    assert pod.exit_code("alone") == 0


def test_a_bad_config_exits_two_and_says_why_where_kubectl_shows_it(pod: Pod) -> None:
    """Exit code and termination log."""
    pod.write(more="unknown: 1")
    log = pod.home / "termination-log"
    log.touch()
    log.chmod(0o666)
    done = pod.run("bad", IMAGE, *LOCKED, f"--volume={log}:/dev/termination-log", "--", "run", wait=True)
    assert done.returncode == 2 and "'unknown' is not known" in done.stderr
    assert "'unknown' is not known" in log.read_text()


@pytest.mark.parametrize("program", ["sh", "bash", "cat", "pip", "apt-get", "ls"])
def test_there_is_nothing_to_run_but_the_agent(program: str) -> None:
    """No shell, no tool, no package manager."""
    done = engine("run", "--rm", *LOCKED, f"--entrypoint={program}", IMAGE, check=False)
    assert done.returncode in (126, 127), done.stderr


def test_it_has_nothing_of_the_controller() -> None:
    """Which has an image of its own, that it names; and it is no larger than a node that starts a pod should fetch."""
    done = engine("run", "--rm", *LOCKED, IMAGE, "controller", "--hub", "--listen", ":9106", check=False)
    assert done.returncode == 1 and "use the image freshmount-controller" in done.stderr
    script = """if True:
        from importlib.util import find_spec
        print([name for name in ("agent.controller", "aiohttp", "cryptography", "lightkube") if find_spec(name)])
    """
    assert engine("run", "--rm", *LOCKED, "--entrypoint=python3.13", IMAGE, "-I", "-c", script).stdout == "[]\n"
    (found,) = json.loads(engine("image", "inspect", IMAGE).stdout)
    assert found["Size"] < 44_000_000


def test_it_holds_bytecode_alone_which_names_its_source() -> None:
    """No Python source is left, and tracebacks name it all the same."""
    script = """if True:
        import agent.cli, pathlib
        print(agent.cli.main.__code__.co_filename == agent.cli.__file__.removesuffix("c"))
        print([str(path) for path in pathlib.Path("/usr").rglob("*.py")])
    """
    said = engine("run", "--rm", *LOCKED, "--entrypoint=python3.13", IMAGE, "-I", "-c", script).stdout
    assert said.split() == ["True", "[]"]


def test_a_web_identity_fills_the_volume(pod: Pod) -> None:
    """What the credential chain needs is there, though a start leaves it out: XML, and a client for STS."""
    token = pod.config / "token"
    token.write_text("header.claims.signature")
    token.chmod(0o644)
    env = {
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/web",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/etc/freshmount/token",
        "AWS_ENDPOINT_URL_STS": pod.aws.url,
    }
    options = [f"--env={name}={value}" for name, value in env.items()]
    done = pod.run("init", IMAGE, *LOCKED, *options, "--", "init", wait=True)
    assert done.returncode == 0, done.stderr
    assert '"identity": "web identity (IRSA)"' in done.stderr
    assert (pod.volume / "secrets" / "db" / "password").read_text() == "pw-1"


# What is imported before the file is open.
AHEAD = "__future__ agent agent.launch image image.start image.start.launcher image.start.packed importlib"


@pytest.mark.parametrize("command", ["init", "run"])
def test_it_starts_from_one_file_and_without_what_it_does_not_use(command: str) -> None:
    """All libraries are imported when a config is refused; no module that a stand-in stands for is among them."""
    script = f"""if True:
        import os, sys
        def told(code):
            from image.start import deferred
            found = {{name: sys.modules.get(name) for name in deferred.DEFERRED}}
            standing = [name for name, module in found.items() if isinstance(module, deferred.StandIn)]
            used = [name for name, module in found.items() if module and name not in standing]
            print(code, len(standing) > 20, used, "botocore.session" in sys.modules)
            loaders = {{name: type(module.__loader__).__name__ for name, module in sys.modules.items()}}
            alone = {{name for name, loader in loaders.items() if loader == "SourcelessFileLoader"}}
            print(*sorted(alone - before))
        os._exit, sys.argv, before = told, ["freshmount", {command!r}], set(sys.modules)
        exec(open("/usr/local/bin/freshmount").read())
    """
    said = engine("run", "--rm", *LOCKED, "--entrypoint=python3.13", IMAGE, "-ISOO", "-c", script).stdout
    assert said == f"2 True [] True\n{AHEAD}\n"


def test_what_the_image_says_of_itself() -> None:
    """A numeric uid for runAsNonRoot, the command in vector form, the port, the OCI labels."""
    (found,) = json.loads(engine("image", "inspect", IMAGE).stdout)
    config = found["Config"]
    assert config["User"] == "65532:65532" and config["Entrypoint"] == ["freshmount"]
    assert list(config["ExposedPorts"]) == ["9105/tcp"] and not config.get("Cmd")
    labels = config["Labels"]
    for name in ("title", "description", "licenses", "version", "revision"):
        assert labels[f"org.opencontainers.image.{name}"], name
