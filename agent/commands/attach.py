"""What a command beside the agent can use: the config file, if it can be read, and the agent itself.

In an incident the file may be broken while the agent runs well with the previous config. So these commands need little
of the file and read it leniently: where the agent listens, and where its volume is.
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
    """An agent as it was found. `config` is what the file says; it is None while the file is refused, and `refused` is
    why. `report` is the agent's own; it is None when no agent answers."""

    path: str
    site: Site
    config: Config | None
    refused: ConfigError | None
    report: Report | None

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the file, one line for each problem."""
        return tuple(str(self.refused).splitlines()) if self.refused else ()


def attach(path: str) -> Attached:
    """Find the agent of the config at `path`. Never raises for a file that is broken or missing.

    1. Take the address from the file, or else the default.
    2. Ask the agent. It knows best where its volume is, because an edit of that takes effect only with a restart. A
       volume that does not exist here is in another container.
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
    """The report of the agent that listens there, or None if none answers."""
    host = {"::": "localhost", "0.0.0.0": "127.0.0.1"}.get(listen.host, listen.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, listen.port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        found: Report = json.loads(answer.read(_LONGEST)) if answer.status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError):
        return None  # nothing listens there, or something else does
    finally:
        connection.close()
    try:
        report.text(found)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # not an agent's answer
    return found if found["from"] == "agent" else None


def _text(path: str) -> str:
    """The text of a broken file, as far as it can be read."""
    try:
        with open(path, "rb") as handle:
            return handle.read(_FILE_LIMIT).decode("utf-8-sig", "replace")
    except OSError:
        return ""
