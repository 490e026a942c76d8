"""Take the pictures of the documents: ``make pictures`` runs ``python -m bench.pictures docs/pictures``.

`status` and the page are of a real agent on a stand-in for AWS, which denies one of its three secrets; the demo is the
real one in a terminal that rolls, with the pauses that it made, of which long ones are cut. Times and version ids
differ from run to run.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text
from selenium import webdriver

from tests.support.answers import Answer, Answers
from tests.support.aws import Fault, Proxy, QuickStandIn, environment
from tests.support.monitored import free_port
from tests.support.paths import ROOT
from tests.support.pod import Pod
from tests.support.running import Agent, running, until

COLUMNS = 80
ROWS = 26  # of a terminal that rolls
LONGEST = 1.5  # seconds of a pause in a recording
REST = 5.0  # seconds that the end of a recording stays before it begins again
LINE = 24.4  # rich's height of a line
PAGE = 900  # pixels wide
FORM = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
PARTS = ("styles", "lines", "matrix")  # of the form, which hold what was printed
GROUND = SVG_EXPORT_THEME.background_color.hex


class Line(NamedTuple):
    """A line as the terminal shows it, and when it comes, in seconds since the start."""

    at: float
    text: str


def main(to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    with one_agent() as (agent, config):
        shown = recorded("status", "--config", str(config))
        (to / "status.svg").write_text(drawn(shown, "freshmount status"))
        photographed(f"http://127.0.0.1:{agent.port}/", to / "page.png")
    (to / "demo.svg").write_text(played(recorded("demo"), "make demo"))


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


def drawn(lines: list[Line], title: str) -> str:
    """An SVG without scripts and without anything to load."""
    return exported(lines, title, FORM)


def played(lines: list[Line], title: str) -> str:
    """The same as a terminal of `ROWS` in which each line comes when it came, again and again. A reader who wants no
    motion sees its end."""
    # 1. The window is drawn around its last rows, its content around all of them.
    form = FORM
    for part in PARTS:
        form = form.replace(f"{{{part}}}", f"<{part}>")
    window = exported(lines[-ROWS:], title, form)
    styles, clips, texts = exported(lines, title, "\0".join(f"{{{part}}}" for part in PARTS)).split("\0")
    # 2. A cover over what is still to come moves down by a row for each line, and all of it up when the window is full.
    height = LINE * len(lines) + LINE
    cover = f'<rect class="cover" x="0" y="0" width="100%" height="{height:.1f}" fill="{GROUND}"/>'
    texts = f'<g class="roll">{texts}{cover}</g>'
    # 3. Lines that come at once are one step.
    shown = {line.at: number + 1 for number, line in enumerate(lines)}
    whole = lines[-1].at + REST
    steps = [(0.0, 0), *((100 * at / whole, number) for at, number in shown.items())]
    styles += f"""
    .roll {{ transform: translateY({rolled(len(lines))}) }}
    .cover {{ transform: translateY({covered(len(lines))}) }}
    @media (prefers-reduced-motion: no-preference) {{
    .roll {{ animation: roll {whole:.1f}s step-end infinite }}
    .cover {{ animation: cover {whole:.1f}s step-end infinite }}
    {keyframes("roll", steps, rolled)}
    {keyframes("cover", steps, covered)}
    }}"""
    for part, content in zip(PARTS, (styles, clips, texts), strict=True):
        window = window.replace(f"<{part}>", content)
    return window


def rolled(shown: int) -> str:
    return f"{LINE * min(ROWS - shown, 0):.1f}px"


def covered(shown: int) -> str:
    return f"{LINE * shown:.1f}px"


def keyframes(name: str, steps: list[tuple[float, int]], place: Callable[[int], str]) -> str:
    moves = (f"{percent:.2f}% {{ transform: translateY({place(shown)}) }}" for percent, shown in steps)
    return f"@keyframes {name} {{ {' '.join(moves)} }}"


def exported(lines: list[Line], title: str, form: str) -> str:
    """What rich makes of them and of the form."""
    console = Console(file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line.text), soft_wrap=True)
    return console.export_svg(title=title, code_format=form, unique_id="it")


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
