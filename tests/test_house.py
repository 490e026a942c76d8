"""The arrows of the house, read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent / "agent"

WORDS = {
    "__init__",
    "record",
    "errors",
    "arn",
    "document",
    "slips",
    "reading",
    "config",
    "secret",
    "schedule",
    "decide",
    "manifest",
    "status",
    "layout",
    "report",
    "pins",
    "network",
}
HANDS = {
    "secrets_manager",
    "credentials",
    "aws_errors",
    "files",
    "volume",
    "process",
    "notify",
    "config_file",
    "watch",
    "ground",
    "require",
    "terminal",
}
VOICE = {"pages", "page", "telemetry", "server", "log"}
SPINE = {
    *("launch", "pool", "sync", "daemon", "plan", "attach", "show", "doctor", "pin", "demo", "demo_app", "cli"),
    "__main__",
}
IMPORTS = {"deferred", "packed"}  # of `__main__` alone

IMPURE = {"boto3", "botocore", "os", "threading", "time", "structlog", "socket", "subprocess", "signal", "urllib3"}
ONLY_IN = {
    "boto3": {"demo"},  # it plays the person who rotates
    "botocore": {"secrets_manager", "credentials", "aws_errors"},
    "watchdog": {"watch"},
    "prometheus_client": {"telemetry", "demo"},  # the demo reads what a scraper reads
    "moto": {"demo"},
    "urllib3": {"notify"},
    "yaml": {"document"},
}
STAND_ON = {
    "secrets_manager": {"credentials", "aws_errors"},
    "credentials": {"aws_errors"},
    "volume": {"files"},
    "ground": {"files"},
    "notify": {"process", "files"},
}
MODULES = sorted(path.stem for path in HOME.glob("*.py"))


def imports(module: str) -> set[str]:
    """What a module imports, anywhere in it: `agent.x` by the name x, anything else by its first part."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((HOME / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [f"agent.{alias.name}" for alias in node.names] if node.module == "agent" else [node.module or ""]
        else:
            continue
        for name in names:
            first, _, second = name.partition(".")
            found.add(f"agent.{second or '__init__'}" if first == "agent" else first)
    return {
        name if name.removeprefix("agent.") in MODULES or not name.startswith("agent.") else "agent.__init__"
        for name in found
    }


def rooms(module: str) -> set[str]:
    return {name.removeprefix("agent.") for name in imports(module) if name.startswith("agent.")} - {"__init__"}


def test_every_module_has_a_room() -> None:
    """A new file is given one here and in docs/architecture.md."""
    assert set(MODULES) == WORDS | HANDS | VOICE | SPINE | IMPORTS
    guide = (HOME.parent / "docs" / "architecture.md").read_text()
    assert [module for module in MODULES if module != "__init__" and f"`{module}.py`" not in guide] == []


@pytest.mark.parametrize("module", sorted(WORDS))
def test_words_are_pure(module: str) -> None:
    """No clock, disk, network or thread, and no module that has one."""
    assert imports(module) & IMPURE == set()
    assert rooms(module) <= WORDS


@pytest.mark.parametrize("module", sorted(HANDS))
def test_no_hand_holds_another(module: str) -> None:
    """But for files and process, which volume and notify stand on."""
    assert rooms(module) <= WORDS | STAND_ON.get(module, set())


@pytest.mark.parametrize("module", sorted(VOICE))
def test_the_voice_is_told_facts(module: str) -> None:
    """It asks no hand."""
    assert rooms(module) <= WORDS | VOICE


@pytest.mark.parametrize("module", MODULES)
def test_a_library_has_one_door(module: str) -> None:
    """What is outside of the house is touched in one place each."""
    assert {name: module for name in imports(module) if name in ONLY_IN and module not in ONLY_IN[name]} == {}


def test_nobody_imports_the_command_line() -> None:
    """And only the daemon and the command line speak."""
    assert [module for module in MODULES if "cli" in rooms(module)] == ["__main__", "launch"]
    assert [module for module in MODULES if rooms(module) & VOICE and module not in VOICE] == ["cli", "daemon"]
    assert [module for module in MODULES if "sync" in rooms(module)] == ["daemon"]


def test_there_is_no_circle() -> None:
    """Imports run one way."""
    left = {module: rooms(module) - {module} for module in MODULES}
    while leaves := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in leaves:
            del left[module]
    assert left == {}


def test_how_the_image_imports_is_nobody_elses_affair() -> None:
    """What makes a start quick has no part in what the agent does, and knows nothing of it; nor do its first lines."""
    assert [module for module in MODULES if "launch" in rooms(module)] == ["__main__"]
    assert [module for module in MODULES if rooms(module) & IMPORTS] == ["__main__"]
    assert [module for module in sorted(IMPORTS) if rooms(module)] == []
