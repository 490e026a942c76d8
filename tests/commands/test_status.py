"""`freshmount status` beside the real agent, and its page in a real browser."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.answers import Answer, Answers
from tests.support.aws import Fault, Proxy, QuickStandIn, environment
from tests.support.chart import need
from tests.support.monitored import free_port
from tests.support.pod import Pod
from tests.support.running import PATIENCE, Agent, ended, freshmount, running, until


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with QuickStandIn() as aws, Proxy(aws.url) as proxy:
        made = Pod(aws, proxy, tmp_path)
        made.put("db", "value-1")
        target = f"{{name: marker, touch: {tmp_path}/marker}}"
        path = made.write(made.secret("db", "{path: db}"), notify=(target,))
        path.write_text(path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{free_port()}"))
        yield made


@pytest.fixture
def agent(pod: Pod) -> Iterator[Agent]:
    with running("run", pod.config) as started:
        yield started.ready()


def status(pod: Pod, *options: str) -> subprocess.CompletedProcess[str]:
    return freshmount("status", "--config", str(pod.config), *options)


def test_it_tells_what_the_agent_knows(pod: Pod, agent: Agent) -> None:
    """A rotation, its notification, a denial; as text and as the JSON of /status; never a value."""
    version = pod.rotate("db", "value-2")
    agent.event("notified", generation=2)
    agent.knows(lambda report: report["targets"][0]["acceptedGeneration"] == 2)
    done = status(pod)
    assert done.returncode == 0 and done.stderr == ""
    # The next poll may be due by now, and not answered yet.
    row = rf"^db +fresh +{version[:8]} +CURRENT +\d+s ago +\d+s ago +\d+s ago +(in \d+s|\ds ago)"
    assert re.search(row, done.stdout, re.MULTILINE)
    assert re.search(r"^marker +accepted +2 +\d+s ago", done.stdout, re.MULTILINE)
    pod.proxy.fail(Fault.access_denied())
    agent.event("secret failed")
    agent.knows(lambda report: report["secrets"][0]["error"])
    told = json.loads(status(pod, "--json").stdout)
    (db,) = told["secrets"]
    assert (db["versionId"], db["upToDate"], db["error"]["reason"]) == (version, False, "access_denied")
    assert told["agent"]["errors"]["access_denied"] >= 1 and told["agent"]["identity"] == "environment"
    assert told.keys() == json.loads(agent.page("/status")[1]).keys()
    assert "value-" not in status(pod).stdout + agent.page("/status")[1] + agent.page("/")[1]


def test_a_version_that_is_seen_but_not_published(pod: Pod, agent: Agent) -> None:
    """The published version stays beside the one that AWS calls current, with the reason."""
    before = json.loads(status(pod, "--json").stdout)["secrets"][0]["versionId"]
    pod.proxy.fail(Fault.access_denied(), operation="GetSecretValue")
    version = pod.rotate("db", "value-2")
    agent.event("secret failed")
    agent.knows(lambda report: report["secrets"][0]["error"])
    (db,) = json.loads(status(pod, "--json").stdout)["secrets"]
    assert (db["versionId"], db["seenVersionId"], db["error"]["reason"]) == (before, version, "access_denied")


BROKEN = {
    "a key that is not known": lambda text: text + "bogus: 1\n",
    "no YAML": lambda text: text.replace("kind: Config", "kind: [Config"),
    "an address alone is left": lambda text: re.findall("listen: .*\n", text)[0],
    "bytes that are no text": lambda text: text + "# caf\udce9\n",
    "another volume": lambda text: text.replace("volume: {path: ", "volume: {path: /elsewhere"),
}


def test_a_config_that_is_broken_at_the_moment_hides_no_agent(pod: Pod, agent: Agent) -> None:
    """It comes first, with its place, and what is in force follows; however it is broken."""
    whole, aside = pod.config.read_text(), pod.config.with_suffix(".new")
    for how, broken in BROKEN.items():
        aside.write_bytes(broken(whole).encode(errors="surrogateescape"))
        aside.rename(pod.config)
        agent.event("config rejected, the earlier one stays in force")
        agent.knows(lambda report: not report["agent"]["config"]["isTheFile"])
        done = status(pod)
        lines = done.stdout.splitlines()
        assert (done.returncode, done.stderr) == (0, ""), how
        assert "REFUSED" in lines[0] and lines[1].startswith(f"{pod.config}:"), how
        assert re.search("^db +fresh", done.stdout, re.M), how
        told = json.loads(status(pod, "--json").stdout)
        assert told["from"] == "agent" and told["agent"]["volume"] == str(pod.volume), how
        assert told["agent"]["config"]["problems"][0].startswith(f"{pod.config}:"), how
        assert not told["agent"]["config"]["isTheFile"], how
        assert told["agent"]["config"].keys() == json.loads(agent.page("/status")[1])["agent"]["config"].keys(), how


def test_a_config_that_is_broken_hides_no_volume(pod: Pod) -> None:
    """The agent is down, too. Where nothing is found at all, the config is the reason."""
    with running("init", pod.config) as agent:
        assert agent.wait() == 0
    pod.config.write_text(pod.config.read_text() + "bogus: 1\n")
    done = status(pod)
    assert done.returncode == 0 and "bogus" in done.stdout.splitlines()[1]
    assert "The agent does not answer" in done.stdout and re.search("^db +-", done.stdout, re.M)
    pod.config.unlink()
    nothing = status(pod)
    assert nothing.returncode == 2 and nothing.stderr.startswith(f"{pod.config}:1:1:") and nothing.stdout == ""


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_it_fits_the_terminal(pod: Pod, agent: Agent, command: str) -> None:
    """Of the size that the terminal says, with what is wrong in it; and in colours only where they are wanted."""
    pod.proxy.fail(Fault.access_denied())
    agent.pass_now()
    ours, theirs = os.openpty()

    def seen(width: int, **env: str) -> str:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        environ = {k: v for k, v in environment().items() if k not in ("COLUMNS", "NO_COLOR")} | env
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(freshmount, command, "--config", str(pod.config), env=environ, stdout=theirs)
            text = b""
            while not done.done() or select.select([ours], [], [], 0)[0]:
                if select.select([ours], [], [], 0.1)[0]:
                    text += os.read(ours, 65536)
        assert done.result().stderr == ""
        return text.decode()

    for width, env in ((80, {"TERM": "xterm"}), (60, {"TERM": "xterm", "NO_COLOR": "1"}), (120, {"TERM": "dumb"})):
        text = seen(width, **env)
        assert ("\033[31m" in text) is (env == {"TERM": "xterm"})
        plain = re.sub(r"\033\[\d*m", "", text)
        assert "\033" not in plain and (plain == text or env == {"TERM": "xterm"})
        assert len(plain.splitlines()) > 5
        assert [line for line in plain.splitlines() if len(line) > width and " " in line.strip()] == []
    os.close(ours)
    os.close(theirs)


def test_without_an_agent_the_volume_tells(pod: Pod) -> None:
    """In its first line, so that nobody takes it for the agent's word; and nothing is made where there is none."""
    nothing = status(pod)
    assert nothing.returncode == 1 and "kubectl exec POD" in nothing.stderr and not pod.volume.exists()
    with running("init", pod.config) as agent:
        assert agent.wait() == 0
    done = status(pod)
    assert done.returncode == 0 and done.stdout.startswith("The agent does not answer; this is what its volume holds.")
    assert re.search(r"^db +- +[0-9a-f]{8} +CURRENT", done.stdout, re.MULTILINE)
    assert json.loads(status(pod, "--json").stdout)["from"] == "volume"


@pytest.mark.parametrize("answer", [b"[]", b"7", b'{"from": "agent"}', b'{"from": "agent", "secrets": 1}', b"<html>"])
def test_whoever_else_listens_there_is_no_agent(pod: Pod, answer: bytes) -> None:
    """The volume tells then."""
    with running("init", pod.config) as agent:
        assert agent.wait() == 0
    port = int(re.findall(r"listen: 127.0.0.1:(\d+)", pod.config.read_text())[0])
    with Answers(lambda _: Answer(answer), port=port):
        assert status(pod).stdout.startswith("The agent does not answer")


def test_watch_looks_again(pod: Pod, agent: Agent) -> None:
    """Until it is told to end."""
    argv = [sys.executable, "-m", "agent", "status", "--config", str(pod.config), "--json", "--watch"]
    with ended(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)) as watching:
        assert watching.stdout
        generations = (int(line.split(":")[1].strip(" ,\n")) for line in watching.stdout if '"generation"' in line)
        assert next(generations) == 1
        pod.rotate("db", "value-2")
        assert 2 in generations


def test_watch_draws_over_what_stood_there(pod: Pod, agent: Agent) -> None:
    """On a terminal: the second picture begins where the first did, and Ctrl-C ends it without a word."""
    ours, theirs = os.openpty()
    argv = [sys.executable, "-m", "agent", "status", "--config", str(pod.config), "--watch"]
    with ended(subprocess.Popen(argv, stdout=theirs, stderr=theirs, start_new_session=True)) as watching:
        os.close(theirs)  # so that a read ends with the command, too
        seen = b""
        while seen.count(b"\033[H") < 2:
            seen += os.read(ours, 4096)
        watching.send_signal(signal.SIGINT)
        with suppress(OSError):  # EIO: it has ended
            while more := os.read(ours, 4096):
                seen += more
        assert watching.wait(PATIENCE) == 0
    os.close(ours)
    assert b"db" in seen and b"\033[K" in seen and b"Traceback" not in seen


# In a browser


@pytest.fixture
def browse() -> Iterator[Any]:
    from selenium import webdriver

    need(bool(shutil.which("chromium") and shutil.which("chromedriver")), "chromium is not installed (Debian)")
    opened = []

    def start(width: int = 1200, *, scripts: bool = True) -> webdriver.Chrome:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        if not scripts:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        service = webdriver.ChromeService(shutil.which("chromedriver"), log_output=subprocess.DEVNULL)
        opened.append(webdriver.Chrome(options, service))
        return opened[-1]

    yield start
    for browser in opened:
        browser.quit()


@pytest.mark.full("nothing: .ci/run asks it in its run of all tests")
def test_a_rotation_shows_up_without_a_reload(pod: Pod, agent: Agent, browse: Any) -> None:
    """The page renews itself, asks nobody else, complains of nothing, and says so when the agent is gone."""
    browser = browse()
    browser.get(f"http://127.0.0.1:{agent.port}/")
    browser.execute_script("window.loaded = 'once'")
    version = pod.rotate("db", "value-2")
    until(lambda: version[:8] in browser.page_source, every=0.1)
    assert browser.execute_script("return window.loaded") == "once"
    asked = {
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    }
    own = {f"http://127.0.0.1:{agent.port}/", f"http://127.0.0.1:{agent.port}/favicon.ico"}
    assert asked and asked <= own, asked
    complaints = [entry["message"] for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
    assert complaints == []
    assert "value-" not in browser.page_source
    agent.stop()
    until(lambda: browser.find_element("id", "late").is_displayed(), every=0.1)


@pytest.mark.full("nothing: .ci/run asks it in its run of all tests")
def test_it_reads_on_a_phone_and_without_javascript(pod: Pod, agent: Agent, browse: Any) -> None:
    """Nothing has to be scrolled sideways; the words are there by themselves."""
    browser = browse(width=500, scripts=False)  # the narrowest window of headless Chromium
    browser.get(f"http://127.0.0.1:{agent.port}/")
    assert "db" in browser.find_element("tag name", "main").text
    browser = browse(width=500)
    browser.get(f"http://127.0.0.1:{agent.port}/")
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    if to := os.environ.get("FRESHMOUNT_SCREENSHOTS"):
        browser.save_screenshot(f"{to}/phone.png")


@pytest.mark.full("nothing: .ci/run asks it in its run of all tests")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_name_pushes_nothing_off_the_page(pod: Pod, browse: Any, width: int) -> None:
    """It breaks instead; every column stays in sight, and labels are set like text."""
    name = "a" * 40 + "-" + "b" * 22
    pod.put(name, "value-1")
    path = pod.write(pod.secret(name, "{path: db}"), notify=(f"{{name: marker, touch: {pod.home}/marker}}",))
    with running("run", path) as agent:
        agent.ready()
        browser = browse(width=max(width, 500))
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(f"http://127.0.0.1:{agent.port}/")
        over = """return [...document.querySelectorAll("td span")]
            .filter(e => e.getBoundingClientRect().right > innerWidth)
            .concat([...document.querySelectorAll("html, .wide")].filter(e => e.scrollWidth > e.clientWidth))
            .map(e => e.textContent)"""
        assert browser.execute_script(over) == []
        font = """return [...document.querySelectorAll("td")]
            .filter(e => getComputedStyle(e, "::before").fontFamily.includes("mono")
              || getComputedStyle(e.firstChild).fontFamily.includes("mono") != (e.dataset.of == "Version"))
            .map(e => e.dataset.of)"""
        assert browser.execute_script(font) == []
