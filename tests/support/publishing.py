"""Publishing made-up values of two secrets, for tests of the volume and for the processes that they kill."""

from __future__ import annotations

from agent.core.decide import Desired, compose
from agent.core.model import Published
from agent.sinks.volume.volume import Volume
from tests.support.words import fetched, projected, target, wanted

DB, API = wanted("db"), wanted("api")
APP = target("app")


def publish(volume: Volume, version: str, *names: str, **files: dict[str, str]) -> Published:
    """Publish that version of those secrets; the others of db and api stay as they are."""
    before = volume.read()
    new = {
        name: (fetched(version), {p: projected(c) for p, c in files.get(name, {name: f"{name}-{version}"}).items()})
        for name in names
    }
    made = compose(Desired((DB, API)), before, new, (APP,), quiet=False)
    assert made is not None
    return volume.publish(made, before)
