"""`freshmount pin` and `unpin`: hold a secret at a version while a bad rotation is repaired."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime
from typing import Any

from agent.commands.attach import Attached, ask, attach
from agent.core.errors import StartError, VolumeError
from agent.core.pins import Pin
from agent.core.record import Record
from agent.sinks.volume.volume import Volume
from agent.targets import process

PATIENCE = 10.0  # seconds for the agent to publish the version, or to say why it cannot

_LOOK_AGAIN = 0.1  # seconds

# Reasons that a later attempt would not solve. A pin for them would only stop the secret from being polled.
_FINAL = frozenset({"not_found", "deleted", "invalid", "projection"})


class _Result(Record):
    """What became of a pin. `reason` and `message` come from the agent; they are None until it has said something."""

    published: str | None
    reason: str | None = None
    message: str | None = None


def pin(path: str, name: str, version_id: str, seconds: float) -> int:
    """Hold the secret at the version for `seconds`, and wait until the agent has published it. Returns 0 once it has,
    or if no agent runs here; 1 if the version is refused, or not published yet.

    A version that cannot be published at all is refused, and the pin before it stays.

    Raises StartError for a name that is not in the config in force, or if there is no volume. Raises VolumeError if the
    volume cannot be written.
    """
    found, volume = _open(path, name, "pin")
    until = time.time() + seconds
    before = _valid(volume)
    volume.write_pins({**before, name: Pin(version_id, until)})
    held = f"{name} is held at version {version_id} until {_moment(until)}; `freshmount unpin {name}` ends it"
    if not _tell(volume) and not found.report:
        print(f"no agent runs here; once one does, {held}")
        return 0
    result = _await(found, volume, name, version_id)
    if result.published == version_id:
        print(held)
        return 0
    stands = f"version {result.published} stays published" if result.published else "it has no published version yet"
    if result.reason in _FINAL:
        pins = {other: pin for other, pin in _valid(volume).items() if other != name}
        volume.write_pins({**pins, name: before[name]} if name in before else pins)
        _tell(volume)
        print(f"freshmount: {name} was not pinned: {result.message}; {stands}", file=sys.stderr)
        return 1
    why = f"{result.reason}: {result.message}" if result.reason else f"it was not published within {PATIENCE:g} s"
    print(
        f"freshmount: {name} is not held at version {version_id} yet: {why}; {stands}. The agent keeps trying until "
        f"{_moment(until)}: see `freshmount status`; `freshmount unpin {name}` ends it",
        file=sys.stderr,
    )
    return 1


def unpin(path: str, name: str) -> int:
    """Let the secret follow its stage again. Returns 0, even if it was not held. Raises what `pin` raises."""
    _, volume = _open(path, name, "unpin")
    pins = _valid(volume)
    held = pins.pop(name, None)
    volume.write_pins(pins)
    print(f"{name} is no longer held at version {held.version_id}" if held else f"{name} was not held")
    if not _tell(volume):
        print("no agent could be signalled; a running one notices in its next pass")
    return 0


def _open(path: str, name: str, command: str) -> tuple[Attached, Volume]:
    """The agent of that config and its volume. Raises StartError if there is no volume, or neither knows the secret."""
    found = attach(path)
    for problem in found.problems:
        print(problem, file=sys.stderr)
    there = os.path.isdir(found.site.volume_path)
    volume = Volume(found.site.volume_path) if there else None
    known, where = _known(found, volume)
    if known and name not in known and not (volume and command == "unpin" and name in _valid(volume)):
        raise StartError(f"no secret is named {name!r} in {where}; the names there are {', '.join(known)}")
    if volume is None:
        raise StartError(
            f"there is no volume {found.site.volume_path}; run this in the agent's container: "
            f"kubectl exec POD -c freshmount -- freshmount {command} {name} …"
        )
    return found, volume


def _known(found: Attached, volume: Volume | None) -> tuple[list[str], str]:
    """The names of the secrets in force, and where they were found. No names if that is unknown."""
    if found.report:
        return [secret["name"] for secret in found.report["secrets"]], "the config that the agent has in force"
    if found.config:
        return [secret.name for secret in found.config.bundle.secrets], found.path
    return list(volume.read().secrets) if volume else [], f"what is published on {found.site.volume_path}"


def _valid(volume: Volume) -> dict[str, Pin]:
    try:
        return {name: pin for name, pin in volume.pins().items() if pin.until > time.time()}
    except VolumeError as error:
        print(f"{error}; earlier pins are lost", file=sys.stderr)
        return {}


def _moment(epoch: float) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _tell(volume: Volume) -> bool:
    """Make the agent that holds the volume start a pass now. False without one, or if it cannot be signalled; its next
    pass then finds the pin."""
    holder = volume.holder()
    # Any process may lock a directory, and this signal would end one that does not wait for it.
    if holder and process.awaits(holder, "SIGUSR1"):
        try:
            os.kill(holder, signal.SIGUSR1)
            return True
        except OSError:
            pass
    return False


def _await(found: Attached, volume: Volume, name: str, version_id: str) -> _Result:
    """What became of the pin, as the agent reports it, or without its endpoint, as the volume shows it."""
    end = time.monotonic() + PATIENCE
    while True:
        report = ask(found.site.listen)
        if report:
            result = _read({secret["name"]: secret for secret in report["secrets"]}.get(name, {}), version_id)
        else:
            there = volume.read().secrets.get(name)
            result = _Result(there.version_id if there else None)
        if result.reason or (result.published == version_id) or time.monotonic() >= end:
            return result
        time.sleep(_LOOK_AGAIN)


def _read(secret: dict[str, Any], version_id: str) -> _Result:
    error = secret.get("error")
    if secret.get("pinnedVersionId") != version_id or not error:
        return _Result(secret.get("versionId"))
    return _Result(secret.get("versionId"), error["reason"], error["message"])
