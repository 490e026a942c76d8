"""`freshmount pin` and `unpin`: hold a secret at a version while a bad rotation is mended."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime

from agent import config_file, process
from agent.errors import StartError, VolumeError
from agent.pins import Pin
from agent.volume import Volume


def pin(path: str, name: str, version_id: str, seconds: float) -> int:
    """Hold the secret at the version for so long. Returns 0.

    Raises ConfigError when the config cannot be read, StartError for a name that is not in it or when there is no
    volume, VolumeError when it cannot be written.
    """
    now = time.time()
    volume = _open(path, name)
    volume.write_pins({**_valid(volume, now), name: Pin(version_id, now + seconds)})
    until = datetime.fromtimestamp(now + seconds, UTC)
    print(
        f"{name} is held at version {version_id} until {until:%Y-%m-%d %H:%M:%S} UTC; `freshmount unpin {name}` ends it"
    )
    _tell(volume)
    return 0


def unpin(path: str, name: str) -> int:
    """Let the secret follow its stage again. Returns 0, also when it was not held. Raises as `pin` does."""
    volume = _open(path, name)
    pins = _valid(volume, time.time())
    held = pins.pop(name, None)
    volume.write_pins(pins)
    print(f"{name} is no longer held at version {held.version_id}" if held else f"{name} was not held")
    _tell(volume)
    return 0


def _open(path: str, name: str) -> Volume:
    _, config = config_file.load(path)
    known = [secret.name for secret in config.secrets]
    if name not in known:
        raise StartError(f"no secret is named {name!r} in {path}; it has {', '.join(known)}")
    if not os.path.isdir(config.volume_path):
        raise StartError(
            f"there is no volume {config.volume_path}; run this in the agent's container: "
            f"kubectl exec POD -c freshmount -- freshmount pin {name} …"
        )
    return Volume(config.volume_path)


def _valid(volume: Volume, now: float) -> dict[str, Pin]:
    try:
        return {name: pin for name, pin in volume.pins().items() if pin.until > now}
    except VolumeError as error:
        print(f"{error}; earlier pins are gone", file=sys.stderr)
        return {}


def _tell(volume: Volume) -> None:
    """Let the agent that holds the volume pass now; without one, or where it cannot be told, its next pass finds it."""
    holder = volume.holder()
    # Anybody may lock a directory; who does not wait for this signal would be ended by it.
    if holder and process.awaits(holder, "SIGUSR1"):
        try:
            os.kill(holder, signal.SIGUSR1)
            return
        except OSError:
            pass
    print("no agent was told; one that runs notices with its next pass")
