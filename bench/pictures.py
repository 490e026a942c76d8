"""Take the pictures of the documents: ``make pictures`` runs ``python -m bench.pictures docs/pictures``.

`status` and the page are of a real agent on a stand-in for AWS, which denies one of its three secrets; the demo is the
real one, with the pauses that it made, of which long ones are cut. Times and version ids differ from run to run.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text
from selenium import webdriver

from tests.support.answers import Answer, Answers
from tests.support.aws import Fault, Proxy, QuickStandIn, environment
from tests.support.monitored import free_port
from tests.support.paths import ROOT
from tests.support.pod import Pod
from tests.support.running import Agent, running, until

COLUMNS = 80
LONGEST = 1.5  # seconds of a pause in a recording
PAGE = 900  # pixels wide


class Line(NamedTuple):
    """A line as the terminal shows it, and when it comes, in seconds since the start."""

    at: float
    text: str


def main(to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    with one_agent() as (agent, config):
        shown = recorded("status", "--config", str(config))
        (to / "status.svg").write_text(drawn(shown, "freshmount status", moves=False))
        photographed(f"http://127.0.0.1:{agent.port}/", to / "page.png")
    (to / "demo.svg").write_text(drawn(recorded("demo"), "make demo", moves=True))


@contextmanager
def one_agent() -> Iterator[tuple[Agent, Path]]:
    """An agent that has notified an app of a rotation, and that may not read one of its secrets any more."""
    with (
        tempfile.TemporaryDirectory(prefix="web-") as made,
        QuickStandIn() as aws,
        Proxy(aws.url) as proxy,
        Answers(lambda _: Answer(status=204)) as app,
    ):
        pod = Pod(aws, proxy, Path(made))
        pod.suffix = "prod"
        secrets = [pod.secret(name, f"{{path: {name}}}") for name in ("db", "api", "tls")]
        for name in ("db", "api", "tls"):
            pod.put(name, "1")
        config = pod.write(*secrets, notify=(f"{{name: web, url: '{app.url}/'}}",))
        # `status` finds the agent by the config.
        config.write_text(config.read_text().replace("listen: 127.0.0.1:0", f"listen: 127.0.0.1:{free_port()}"))
        with running("run", config, environment()) as agent:
            agent.ready()
            pod.rotate("db", "2")
            agent.event("notified")
            proxy.fail(Fault.access_denied(), secret="api-prod")
            until(lambda: "access_denied" in agent.page("/status")[1], every=0.1)
            yield agent, config


def recorded(*command: str) -> list[Line]:
    """What a command of ours prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    env = {**os.environ, **environment(), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    env.pop("NO_COLOR", None)
    argv = [sys.executable, "-m", "agent", *command]
    lines: list[Line] = []
    rest, at, last = b"", 0.0, time.monotonic()
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        while select.select([ours], [], []):
            try:
                rest += os.read(ours, 65536)
            except OSError:  # EIO: it has ended
                break
            *whole, rest = rest.split(b"\r\n")
            now = time.monotonic()
            at, last = at + min(now - last, LONGEST), now
            lines += [Line(at, line.decode()) for line in whole]
    os.close(ours)
    if process.returncode:
        raise SystemExit(
            "\n".join((f"{' '.join(command)} ended with {process.returncode}:", *(it.text for it in lines)))
        )
    return lines


def drawn(lines: list[Line], title: str, *, moves: bool) -> str:
    """An SVG without scripts and without anything to load. `moves`: each line comes when it came."""
    console = Console(file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line.text), soft_wrap=True)
    form = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title=title, code_format=form, unique_id="it")
    if not moves:
        return svg
    # A reader who wants no motion has all lines at once.
    style = (
        "@media (prefers-reduced-motion: no-preference) {\n"
        "    .comes { opacity: 0; animation: comes 0.1s linear forwards }\n"
        "    @keyframes comes { to { opacity: 1 } }\n    }\n    </style>"
    )
    svg = svg.replace("</style>", style, 1)
    return re.sub(
        r'<text class="([^"]*)"([^>]*clip-path="url\(#it-line-(\d+)\)")',
        lambda of: f'<text class="{of[1]} comes" style="animation-delay: {lines[int(of[3])].at:.1f}s"{of[2]}',
        svg,
    )


def photographed(url: str, to: Path) -> None:
    """The page as a browser shows it, as high as it is."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={PAGE},900",
    ):
        options.add_argument(argument)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get(url)
        browser.set_window_size(PAGE, 900)
        height = browser.execute_script("return document.documentElement.offsetHeight")
        size = {"width": PAGE, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.save_screenshot(str(to))
    finally:
        browser.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
