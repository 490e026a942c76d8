"""`freshmount status` beside the real agent, and its page in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.aws import Fault, Proxy, QuickStandIn
from tests.chart import need
from tests.monitored import free_port
from tests.pod import Pod
from tests.running import PATIENCE, Agent, ended, running, until


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
    return subprocess.run(
        [sys.executable, "-m", "agent", "status", "--config", str(pod.config), *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_tells_what_the_agent_knows(pod: Pod, agent: Agent) -> None:
    """A rotation, its notification, a denial; as text and as the JSON of /status; never a value."""
    version = pod.rotate("db", "value-2")
    agent.event("notified", generation=2)
    done = status(pod)
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(
        rf"^db +fresh +{version[:8]} +CURRENT +\ds ago +\ds ago +\ds ago +in \ds", done.stdout, re.MULTILINE
    )
    assert re.search(r"^marker +told +2 +\ds ago", done.stdout, re.MULTILINE)
    pod.proxy.fail(Fault.access_denied())
    agent.event("secret failed")
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
    (db,) = json.loads(status(pod, "--json").stdout)["secrets"]
    assert (db["versionId"], db["seenVersionId"], db["error"]["reason"]) == (before, version, "access_denied")


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


class Impostor(BaseHTTPRequestHandler):
    answer = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("answer", [b"[]", b"7", b'{"from": "agent"}', b'{"from": "agent", "secrets": 1}', b"<html>"])
def test_whoever_else_listens_there_is_no_agent(pod: Pod, answer: bytes) -> None:
    """The volume tells then."""
    with running("init", pod.config) as agent:
        assert agent.wait() == 0
    port = int(re.findall(r"listen: 127.0.0.1:(\d+)", pod.config.read_text())[0])
    Impostor.answer = answer
    with ThreadingHTTPServer(("127.0.0.1", port), Impostor) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        assert status(pod).stdout.startswith("The agent does not answer")
        server.shutdown()


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
