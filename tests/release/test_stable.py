"""What a release promised is still there: docs/release.md, "What is stable"."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent import __version__
from tests.release.surface import HERE, surface

KEPT = sorted(HERE.glob("*.json"))


def major(version: str) -> str:
    """Versions that promise the same: of one major; before 1.0, of one minor."""
    first, second, _ = version.split(".")
    return f"{first}.{second}" if first == "0" else first


def test_this_version_has_written_its_names_down() -> None:
    assert f"{__version__}.json" in [path.name for path in KEPT], "run: python -m tests.release.surface"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_no_name_of_a_release_is_gone(path: Path) -> None:
    """New ones may come. Of a version that is not released yet, `python -m tests.release.surface` writes them anew."""
    if major(path.stem) != major(__version__):
        return
    now = surface()
    for kind, names in json.loads(path.read_text()).items():
        gone = [name for name in names if name not in now[kind]]
        assert gone == [], f"{kind} of {path.stem}"


def test_the_names_are_found() -> None:
    """One of each kind and each way of writing it; or the lists are short because nothing was read."""
    now = surface()
    for kind, name in (
        ("config", "poll.period"),
        ("commands", "freshmount plan --replicas"),
        ("commands", "freshmount controller --hub"),
        ("metrics", "counter freshmount_passes"),
        ("metrics", "gauge freshmount_secret_period_seconds"),
        ("metrics", "gauge freshmount_controller_hub_agents"),
        ("metrics", "histogram freshmount_controller_hub_move_to_answer_seconds"),
        ("reasons", "access_denied"),
        ("chart values", "controller: externalSecrets.enabled"),
        ("names in Kubernetes", "freshmount.dev/inject"),
    ):
        assert name in now[kind], kind
    assert "freshmount.dev/v1" in now["names in Kubernetes"]
