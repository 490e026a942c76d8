"""Stand-ins for what nobody uses: they stay unused in an agent's ordinary life, and are right when they are used."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.version import Version

from image.start.deferred import BY_NAME, DEFERRED, SILENT
from tests.support.aws import MotoStandIn, Proxy
from tests.support.paths import ROOT
from tests.support.pod import Pod
from tests.support.running import until

# Without `site`, which may import some of them for an editable installation.
PYTHON = [sys.executable, "-S", "-c"]
PATH = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
WITHOUT_CERTIFI = "import sys; sys.modules['certifi'] = None"  # comes with the tests, and uses some of them
# An agent that says at the end of the process which modules its stand-ins were replaced by.
AGENT = f"""
import os
{WITHOUT_CERTIFI}
leave = os._exit
def told(code):
    from image.start import deferred
    found = {{name: sys.modules.get(name) for name in deferred.DEFERRED}}
    used = sorted(name for name, module in found.items() if module and not isinstance(module, deferred.StandIn))
    used.remove("gzip")  # in which botocore's models are packed, but for the image's
    os.write(1, f"used: {{used}}\\n".encode())
    leave(code)
os._exit = told
from image.start.launcher import entry
entry()
"""


LOCKED = re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)


def older() -> list[str]:
    """The libraries that are here in an older version than the image has."""
    return [name for name, locked in LOCKED if Version(importlib.metadata.version(name)) < Version(locked)]


# What an older library imports or takes is more, or less, or from elsewhere: slower, but right.
fitting = pytest.mark.skipif(bool(older()), reason="the stand-ins fit the libraries that are locked, or newer ones")


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoStandIn]:
    with MotoStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def pod(aws: MotoStandIn, tmp_path: Path) -> Iterator[Pod]:
    with Proxy(aws.url) as proxy:
        pod = Pod(aws, proxy, tmp_path)
        pod.put("db", '{"password": "pw"}')
        pod.write(pod.secret("db", "{path: db.env, format: dotenv}"))
        yield pod


def agent(command: str, pod: Pod, **env: str) -> subprocess.Popen[str]:
    """The command without options, as in a pod: argparse would import some of the modules itself."""
    return subprocess.Popen(
        [*PYTHON, AGENT, command],
        env={**os.environ, **PATH, "FRESHMOUNT_CONFIG": str(pod.config), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def script(text: str, *argv: str) -> str:
    command = [*PYTHON, f"{WITHOUT_CERTIFI}\n{text}", *argv]
    done = subprocess.run(command, env={**os.environ, **PATH}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@fitting
def test_init_uses_none_of_them(pod: Pod) -> None:
    """From its start to its end, and the files are there."""
    said, log = agent("init", pod).communicate(timeout=60)
    assert said == "used: []\n", log
    assert pod.read("db.env") == "password='pw'\n"


@fitting
def test_run_uses_none_of_them(pod: Pod) -> None:
    """Over passes, a rotation, a scrape and a change of its config, which it watches."""
    process = agent("run", pod)
    assert process.stderr is not None
    events = (json.loads(line) for line in process.stderr)
    port = next(event["port"] for event in events if event["event"] == "listening")
    until((pod.volume / "..data").exists)
    pod.rotate("db", '{"password": "pw-2"}')
    until(lambda: pod.read("db.env") == "password='pw-2'\n")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        assert b"freshmount_" in answer.read()
    pod.edit(pod.config.read_text().replace("period: 1s", "period: 2s"))
    assert next(event for event in events if event["event"] == "config reloaded")
    process.send_signal(signal.SIGTERM)
    said, log = process.communicate(timeout=60)
    assert said == "used: []\n", log


def test_credentials_of_a_process_use_one(pod: Pod) -> None:
    """The libraries get the real module where they need it: botocore starts this program with `subprocess`."""
    keys = {"Version": 1, "AccessKeyId": "testing", "SecretAccessKey": "testing"}
    (pod.home / "aws.ini").write_text(f"[default]\ncredential_process = echo '{json.dumps(keys)}'\n")
    env = {"AWS_CONFIG_FILE": str(pod.home / "aws.ini"), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    said, log = agent("init", pod, **env).communicate(timeout=60)
    assert '"identity": "credential_process"' in log
    assert "subprocess" in said
    assert "configparser" in said
    assert pod.read("db.env") == "password='pw'\n"


def test_a_log_for_people_uses_some(pod: Pod) -> None:
    """It is rendered by the real structlog, in colour-free lines where there is no terminal."""
    said, log = agent("init", pod, FRESHMOUNT_LOG_FORMAT="console").communicate(timeout=60)
    assert "'structlog.dev'" in said
    assert "[info     ] published" in log
    assert pod.read("db.env") == "password='pw'\n"


@fitting
def test_without_them_each_would_be_imported() -> None:
    """None of the list is dead: the libraries import them all."""
    imported = script(
        "import sys\n"
        "import agent.observe.metrics, agent.triggers.watch\n"
        "from agent.commands import run\n"
        "run.imports()\n"
        "import watchdog.observers.inotify\n"
        "'localhost'.encode('idna')\n"
        "print(*sys.modules)"
    ).split()
    assert [name for name in sorted(DEFERRED) if name not in imported] == []


# Asks each stand-in, in as few forks as will do, or in one for each. Who asks has the module then, and what that
# imports: these are left to the next fork. What was asked goes to the one that forks, and what they answered out.
ASKING = """
import importlib, os, sys
from image.start import deferred
deferred.install()
names, at_once = sys.argv[1].split(), int(sys.argv[2])
while names:
    reading, writing = os.pipe()
    child = os.fork()
    if not child: break
    os.close(writing)
    with open(reading) as told: asked = told.read().split()
    assert os.waitpid(child, 0)[1] == 0 and asked, names
    names = [name for name in names if name not in asked]
else:
    sys.exit()

asked = 0
for name in names:
    stand_in = importlib.import_module(name)
    if asked and not isinstance(stand_in, deferred.StandIn): continue
    assert isinstance(stand_in, deferred.StandIn), stand_in
    module = deferred.real(name)
    assert sys.modules[name] is module is not stand_in
    assert hasattr(stand_in, '__path__') == hasattr(module, '__path__')
    others = {other for other in vars(module) if not other.startswith('__')}
    assert others and all(getattr(stand_in, other) is getattr(module, other) for other in others)
    try: stand_in.no_such_thing
    except AttributeError as error: print(name, error, sep='|', flush=True)
    os.write(writing, f"{name} ".encode())
    asked += 1
    if asked == at_once: break
os._exit(0)
"""


@fitting
def test_a_stand_in_answers_as_the_module_does(pytestconfig: pytest.Config) -> None:
    """Whatever is asked of it, but for what a library is known to take and not to use."""
    one = 1 if pytestconfig.getoption("--full") else len(DEFERRED)
    told = dict(line.split("|", 1) for line in script(ASKING, " ".join(sorted(DEFERRED)), str(one)).splitlines())
    assert [name for name in sorted(DEFERRED) if "no_such_thing" not in told.get(name, "")] == []


@fitting
def test_what_is_taken_exists_and_is_taken_by_these() -> None:
    """A library that moves is noticed."""
    script(
        "import importlib\n"
        f"for name, importers in {[*BY_NAME.items(), *SILENT.items()]!r}:\n"
        "    module = importlib.import_module(name)\n"
        "    for importer, names in importers.items():\n"
        "        of = vars(importlib.import_module(importer))\n"
        "        whole = {name, name.rpartition('.')[2], '_' + name} & of.keys()\n"
        "        for taken in names:\n"
        "            assert whole or getattr(module, taken) in of.values(), (importer, taken)"
    )


def test_what_a_library_took_is_the_real_thing_when_it_is_used() -> None:
    """A function, a class and an exception; and `isinstance` alone imports nothing."""
    script(
        "import sys\n"
        "from image.start import deferred\n"
        "deferred.install()\n"
        "import botocore.utils, botocore.validate, structlog._output\n"
        "assert not isinstance('/x', botocore.utils.Path)\n"
        "standing = {'decimal', 'pathlib', 'pickle'}\n"
        "assert all(isinstance(sys.modules[name], deferred.StandIn) for name in standing)\n"
        "path = botocore.utils.Path('/a') / 'b'\n"
        "assert type(path) is type(sys.modules['pathlib'].Path()) and isinstance(path, botocore.utils.Path)\n"
        "assert botocore.utils.Path.cwd().is_dir()\n"
        "try: raise structlog._output.PicklingError('no')\n"
        "except Exception as error: assert type(error) is sys.modules['pickle'].PicklingError"
    )


def test_others_get_the_real_thing() -> None:
    """Such as a library that a user has beside ours, whatever it does with a class."""
    script(
        "import functools, sys\n"
        "from image.start import deferred\n"
        "deferred.install()\n"
        "from pathlib import Path\n"
        "from subprocess import Popen\n"
        "from http.server import BaseHTTPRequestHandler\n"
        "class Own(Popen[bytes]): pass\n"
        "class Handler(BaseHTTPRequestHandler): pass\n"
        "assert Path | None and Handler.send_error\n"
        "functools.singledispatch(print).register(Path)(repr)\n"
        "assert not isinstance(sys.modules['pathlib'], deferred.StandIn)"
    )


def test_a_module_that_is_there_already_keeps_its_place() -> None:
    """Nothing that somebody holds is replaced."""
    script(
        "import decimal, sys\n"
        "from image.start import deferred\n"
        "deferred.install()\n"
        "assert sys.modules['decimal'] is decimal\n"
        "assert not isinstance(decimal, deferred.StandIn) and type(decimal.Decimal) is type"
    )


def test_threads_that_need_one_at_once_get_the_same() -> None:
    """The module is imported once."""
    script(
        "import sys, threading\n"
        "from image.start import deferred\n"
        "deferred.install()\n"
        "import asyncio, decimal\n"
        "start, found = threading.Barrier(8), []\n"
        "def use():\n"
        "    start.wait()\n"
        "    found.append((asyncio.sleep, decimal.Decimal('1').__class__))\n"
        "threads = [threading.Thread(target=use) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "assert found == [(sys.modules['asyncio'].sleep, sys.modules['decimal'].Decimal)] * 8"
    )


def test_submodules_of_a_package_can_be_imported() -> None:
    """Also before anybody used the package."""
    script(
        "from image.start import deferred\n"
        "deferred.install()\n"
        "import asyncio.events, importlib.metadata, jmespath.parser\n"
        "assert asyncio.events.AbstractEventLoop and jmespath.parser.Parser\n"
        "assert importlib.metadata.version('structlog')"
    )


def test_dataclasses_work_as_ever() -> None:
    """Though they are asked for no signature."""
    script(
        "import dataclasses\n"
        "from image.start import deferred\n"
        "deferred.install()\n"
        "@dataclasses.dataclass(frozen=True, slots=True)\n"
        "class Point:\n"
        "    x: int\n"
        "    y: int = 0\n"
        "class Empty: pass\n"
        "@dataclasses.dataclass\n"
        "class Node:\n"
        "    next: 'Node | None' = None\n"
        "    word: str = ''\n"
        "assert [each.name for each in dataclasses.fields(Node(Node()))] == ['next', 'word']\n"
        "assert list(Node.__init__.__annotations__) == ['next', 'word', 'return']\n"
        "assert Point(1) == Point(1, 0) and dataclasses.asdict(Point(1)) == {'x': 1, 'y': 0}\n"
        "assert dataclasses.fields(dataclasses.dataclass(Empty)) == ()\n"
        "assert Point.__doc__.startswith('Point')"
    )
