"""`freshmount status`: what the running agent says of itself, or else what its volume holds."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time

from agent import config_file, report
from agent.config import Config
from agent.errors import StartError
from agent.report import Report
from agent.volume import Volume

TIMEOUT = 3.0  # seconds for the agent to answer
_LONGEST = 16 << 20  # bytes of an answer; thousands of secrets stay far below
EVERY = 2.0  # seconds between two looks of --watch


def show(path: str, *, as_json: bool, watch: bool) -> int:
    """Print the status of the agent that runs with the config at `path`. Returns 0, also when only the volume told.

    Raises ConfigError when the config cannot be read, StartError or VolumeError when there is no volume either.
    """
    _, config = config_file.load(path)
    try:
        while True:
            made = look(config)
            _print(json.dumps(made, indent=2) + "\n" if as_json else report.text(made), over=watch)
            if not watch:
                return 0
            time.sleep(EVERY)
    except KeyboardInterrupt:
        return 0


def _print(text: str, *, over: bool) -> None:
    """On a terminal over what stood there, if asked for; elsewhere one after the other."""
    if over and sys.stdout.isatty():
        text = "\033[H" + text.replace("\n", "\033[K\n") + "\033[J"
    sys.stdout.write(text)
    sys.stdout.flush()


def look(config: Config) -> Report:
    """The report of the agent, or of the volume when it does not answer."""
    return asked(config) or _read(config)


def asked(config: Config) -> Report | None:
    """The report of the agent, or None when it does not answer."""
    host = {"::": "localhost", "0.0.0.0": "127.0.0.1"}.get(config.listen.host, config.listen.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, config.listen.port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        found: Report = json.loads(answer.read(_LONGEST)) if answer.status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError):
        return None  # somebody else listens there, or nobody
    finally:
        connection.close()
    try:
        report.text(found)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # not the words of an agent
    return found if found["from"] == "agent" else None


def _read(config: Config) -> Report:
    if not os.path.isdir(config.volume_path):
        where = f"{config.listen.host}:{config.listen.port}"
        raise StartError(
            f"no agent answers on {where}, and there is no volume {config.volume_path}; "
            "run this in the agent's container: kubectl exec POD -c freshmount -- freshmount status"
        )
    return report.of_volume(Volume(config.volume_path).published(), time.time())
