"""Side doors by which a value could leave, each opened on purpose: the canary is behind none of them.

What every agent of every torture says, at DEBUG, in its streams and on its pages, is searched too: see conftest.py.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from agent.core.errors import ProjectionError
from agent.core.value import SecretValue
from agent.observe import log
from agent.sinks.volume.generation import ACCEPTANCES, RECORD
from tests.support.aws import Fault
from tests.support.paths import ROOT
from tests.support.pod import Pod
from tests.support.resting import workers
from tests.support.running import Agent, running, until
from tests.support.words import files_of, output
from tests.torture.canary import CANARY, FORMS, leaks
from tests.torture.conftest import Length, Report

PAGES = ("/metrics", "/readyz", "/startupz", "/livez", "/", "/status", f"/{CANARY[-32:]}")


def search(place: str, text: str, violations: list[str]) -> None:
    violations += [f"{place}: {how}" for how in leaks(text)]


def test_the_search_finds_what_is_there() -> None:
    """A search that cannot find is no proof."""
    for how, form in FORMS.items():
        assert how in leaks(f"before {form} after"), how
    assert leaks("nothing here") == []


def test_every_failure_keeps_the_value(pod: Pod, length: Length, report: Report) -> None:
    """Content that does not fit, answers of AWS with the value in them that break off, a volume that is full, a target
    that refuses: in no stream, page, record, argument, environment or termination log."""
    violations: list[str] = []
    odd = {
        "raw": (CANARY, "{path: raw, jmesPath: key}"),
        "missing": (json.dumps({"key": CANARY, CANARY[:20]: 1}), "{path: missing, jmesPath: other}"),
        "none": (json.dumps({"key": None, "value": CANARY}), "{path: none, jmesPath: key}"),
        "name": (json.dumps({"a/b": CANARY}), "{directory: name}"),
        "shell": (json.dumps({"a b": CANARY}), "{path: shell.env, format: dotenv}"),
        "nul": (json.dumps({"key": CANARY + "\0"}), "{path: nul.env, format: dotenv}"),
        "twice": (f'{{"key": 1, "key": {json.dumps(CANARY)}}}', "{path: twice, jmesPath: key}"),
        "nan": (f'{{"key": NaN, "value": {json.dumps(CANARY)}}}', "{path: nan, jmesPath: key}"),
        "function": (json.dumps({"key": CANARY}), "{path: function, jmesPath: 'sum(key)'}"),
        "half": (json.dumps({"key": CANARY + "\ud800"}), "{path: half, jmesPath: key}"),
        "cut": (json.dumps({"key": CANARY})[:-1], "{path: cut, format: json}"),
        "large": (CANARY * 2000, "{path: large}"),
    }
    for name, (value, _) in odd.items():
        pod.put(name, value)
    pod.put("db", json.dumps({"v": CANARY}))
    config = pod.write(
        pod.secret("db", "{path: db, jmesPath: v}"),
        *(pod.secret(name, file, extra="optional: true,") for name, (_, file) in odd.items()),
        notify=("{name: gone, url: 'http://127.0.0.1:9/'}", f"{{name: marker, touch: {pod.home}/marker}}"),
        period="300ms",
    )
    termination = pod.home / "termination-log"
    termination.touch()
    with running("run", config, {"FRESHMOUNT_TERMINATION_LOG": str(termination)}) as agent:
        agent.ready()
        for name in odd:  # in the order of the config, as a pass tells of them
            agent.event("secret failed", secret=name, reason="projection")
        faults = (Fault.malformed(), Fault.reset(), Fault.wrong_content_type(), Fault.error(400, "Odd", "words"))
        for fault in faults[: length.choose(4, 1)]:
            pod.proxy.fail(fault)
            agent.event("secret failed", secret="db")
            pod.proxy.heal()
            agent.event("secret recovered", secret="db")
        pod.rotate("db", json.dumps({"v": CANARY + "2"}))
        agent.event("notification refused")
        until((pod.volume / ACCEPTANCES).exists)
        for page in PAGES:
            search(page, agent.page(page)[1], violations)
        process = Path(f"/proc/{agent.process.pid}")
        for name in ("cmdline", "environ", "status", "comm"):
            search(name, (process / name).read_bytes().decode("utf-8", "replace"), violations)
        for record in (f"..data/{RECORD}", ACCEPTANCES):
            search(record, (pod.volume / record).read_text(), violations)
        _fill_the_file_size(agent)
        pod.rotate("db", json.dumps({"v": CANARY + "3"}))
        agent.event("volume")
        assert agent.stop() == 0
    search("stderr", agent.stderr, violations)
    pod.proxy.fail(Fault.malformed())
    config.write_text(config.read_text().replace("timeout: 20s", "timeout: 1s"))
    pod.volume.rename(pod.home / "elsewhere")
    with running("init", config, {"FRESHMOUNT_TERMINATION_LOG": str(termination)}) as agent:
        assert agent.wait() == 1
    assert "startup.timeout" in termination.read_text()
    search("termination log", termination.read_text(), violations)
    report.row(
        "a canary through every failure, at DEBUG: in no stream, page, record, argument, environment, termination log",
        f"{len(odd)} contents, 4 broken answers, {len(FORMS)} encodings, {len(PAGES)} pages",
        violations,
    )


def _fill_the_file_size(agent: Agent) -> None:
    """From now on no file of the agent, nor of a worker that stays, may have a byte."""
    for pid in (agent.process.pid, *workers(agent)):
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def test_no_exception_carries_the_value(report: Report) -> None:
    """Neither its text, nor its attributes, nor what stands behind it, nor how the log describes it."""
    violations: list[str] = []
    value = SecretValue(json.dumps({"key": CANARY})[:-1].encode(), text=True)
    binary = SecretValue(CANARY.encode() + b"\xff", text=False)
    spec = output("x", format="json", jmes_path="key")
    tried = 0
    for content in (value, binary, SecretValue(CANARY.encode(), text=True)):
        with pytest.raises(ProjectionError) as raised:
            files_of(content, spec)
        error: BaseException | None = raised.value
        search("log", log.describe(raised.value), violations)
        while error is not None:
            tried += 1
            search("text", f"{error} {error!r} {error.args!r}", violations)
            search("attributes", " ".join(map(repr, vars(error).values())), violations)
            error = error.__cause__ or error.__context__
        search("value", f"{content} {content!r} {[content]}", violations)
    report.row("a canary in the exceptions of a projection: not in text, attributes or chain", f"{tried}", violations)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_leaves_no_core(pod: Pod, report: Report, number: signal.Signals) -> None:
    """Where another process leaves one."""
    unlimited = ("prlimit", "--core=unlimited")
    cwd = pod.home / "cwd"
    cwd.mkdir()
    subprocess.run([*unlimited, sys.executable, "-c", "import os; os.abort()"], cwd=cwd, check=False)
    if not any(cwd.iterdir()):
        pytest.skip("this kernel leaves no core files in the working directory (core_pattern)")
    for core in cwd.iterdir():
        core.unlink()
    pod.put("db", CANARY)
    env = {"PYTHONPATH": str(ROOT)}
    config = pod.write(pod.secret("db", "{path: db}"))
    with running("run", config, env, unlimited, cwd=cwd) as agent:
        agent.ready()
        os.kill(agent.process.pid, number)
        until(lambda: agent.process.poll() is not None)
        assert agent.wait() == -number
    violations = [f"a core of {core.stat().st_size} bytes" for core in cwd.iterdir()]
    report.row(f"{number.name} of the agent leaves no core dump", "1, beside a process that leaves one", violations)
