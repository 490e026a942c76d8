"""What a command beside the agent can use: the config file, if it can be read, and the agent itself.

In an incident the file may be broken while the agent runs well with the one that it read before. So a command needs
little of the file, and reads it leniently: where the agent listens, and where its volume is.
"""

from __future__ import annotations

import http.client
import json
import os

from agent.commands.check import load
from agent.config import native
from agent.core.errors import ConfigError
from agent.core.model import Config, Listen, Site
from agent.core.record import Record, replace
from agent.observe import report
from agent.observe.report import Report

TIMEOUT = 3.0  # seconds for the agent to answer

_LONGEST = 16 << 20  # bytes of an answer; thousands of secrets stay far below

_FILE_LIMIT = 2 << 20  # bytes of a config


class Attached(Record):
    """An agent as it was found. `config` is what the file says, None while the file is refused (`refused` is why).
    `report` is the agent's own, None when none answers."""

    path: str
    site: Site
    config: Config | None
    refused: ConfigError | None
    report: Report | None

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the file, one line each."""
        return tuple(str(self.refused).splitlines()) if self.refused else ()


def attach(path: str) -> Attached:
    """Find the agent of the config at `path`. Raises nothing for a file that is broken or not there.

    1. The file says where to look, else the default does.
    2. The agent is asked. It knows best where its volume is: an edit of that is refused until a restart. A volume that
       is not here belongs to another container.
    """
    # 1.
    found, refused = None, None
    try:
        _, found = load(path)
    except ConfigError as error:
        refused = error
    site = found.settings.site if found else native.salvage(_text(path))
    # 2.
    answer = ask(site.listen)
    volume = answer["agent"].get("volume") if answer else None
    if isinstance(volume, str) and os.path.isabs(volume) and os.path.isdir(volume):
        site = replace(site, volume_path=volume)
    return Attached(path, site, found, refused, answer)


def ask(listen: Listen) -> Report | None:
    """The report of the agent that listens there, or None when none answers."""
    host = {"::": "localhost", "0.0.0.0": "127.0.0.1"}.get(listen.host, listen.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, listen.port, timeout=TIMEOUT)
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
        return None  # not an agent's answer
    return found if found["from"] == "agent" else None


def _text(path: str) -> str:
    """The text of a broken file, whatever is wrong with it."""
    try:
        with open(path, "rb") as handle:
            return handle.read(_FILE_LIMIT).decode("utf-8-sig", "replace")
    except OSError:
        return ""
