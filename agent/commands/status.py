"""`freshmount status`: what the running agent reports or, without one, what its volume holds."""

from __future__ import annotations

import json
import os
import sys
import time

from agent.commands import terminal
from agent.commands.attach import Attached, attach
from agent.core.errors import StartError
from agent.observe import report
from agent.observe.report import Report
from agent.sinks.volume.volume import Volume

EVERY = 2.0  # seconds between two looks of --watch


def show(path: str, *, as_json: bool, watch: bool) -> int:
    """Print the status of the agent that runs with the config at `path`. Returns 0, even if only the volume could be
    read.

    The problems of a config that is refused now come first; if there is neither agent nor volume, the result is then 2.
    With a valid config and neither of them, raises StartError. Raises VolumeError when the volume cannot be read.
    """
    try:
        while True:
            found = attach(path)
            try:
                made = look(found)
            except StartError as nothing:
                if not found.refused:
                    raise
                print(*found.problems, f"freshmount: {nothing}", sep="\n", file=sys.stderr)
                return 2
            screen = terminal.screen(sys.stdout, os.environ)
            _print(json.dumps(made, indent=2) + "\n" if as_json else report.text(made, screen), over=watch)
            if not watch:
                return 0
            time.sleep(EVERY)
    except KeyboardInterrupt:
        return 0


def _print(text: str, *, over: bool) -> None:
    """Print a report. With --watch on a terminal it replaces the one before; elsewhere it follows it."""
    if over and sys.stdout.isatty():
        text = "\033[H" + text.replace("\n", "\033[K\n") + "\033[J"
    sys.stdout.write(text)
    sys.stdout.flush()


def look(found: Attached) -> Report:
    """The report of the agent, or of the volume if no agent answers."""
    made = found.report or _of_volume(found)
    return report.with_problems(made, found.problems) if found.problems else made


def _of_volume(found: Attached) -> Report:
    path, listen = found.site.volume_path, found.site.listen
    if os.path.isdir(path):
        return report.of_volume(Volume(path).read(), time.time(), path)
    raise StartError(
        f"no agent answers on {listen.shown}, and there is no volume {path}; "
        "run this in the agent's container: kubectl exec POD -c freshmount -- freshmount status"
    )
