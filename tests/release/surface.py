"""What a user's files may name of Freshmount, as lists of names: ``python -m tests.release.surface`` writes those of
this version to `tests/release/<version>.json`. docs/release.md says what is promised about them."""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from agent import __version__, cli
from agent.core.errors import REASONS
from tests.support.paths import ROOT

HERE = Path(__file__).parent


def surface() -> dict[str, list[str]]:
    """Of this version, by kind."""
    return {
        "config": sorted(set(keys_of_schema(json.loads(schema_text())))),
        "commands": sorted(set(commands(cli._parser({})))),
        "metrics": sorted(set(metrics())),
        "reasons": sorted(REASONS),
        "chart values": sorted(set(chart_values())),
        "names in Kubernetes": sorted(set(names_in_kubernetes())),
    }


def schema_text() -> str:
    return (ROOT / "agent" / "config" / "schema.json").read_text()


def keys_of_schema(tree: Any, at: str = "") -> Iterator[str]:
    """Each key, by its way through the schema's properties and definitions."""
    if isinstance(tree, dict):
        for name, inner in tree.items():
            if name in ("properties", "$defs", "definitions") and isinstance(inner, dict):
                for key, below in inner.items():
                    here = f"{at}.{key}" if at else key
                    if name == "properties":
                        yield here
                    yield from keys_of_schema(below, here)
            else:
                yield from keys_of_schema(inner, at)
    elif isinstance(tree, list):
        for inner in tree:
            yield from keys_of_schema(inner, at)


def commands(parser: argparse.ArgumentParser, name: str = "freshmount") -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, below in action.choices.items():
                yield f"{name} {command}"
                yield from commands(below, f"{name} {command}")
        yield from (f"{name} {option}" for option in action.option_strings if option.startswith("--"))


def metrics() -> Iterator[str]:
    """By their names in the source: of the agent, and of the controller."""
    for path in sorted((ROOT / "agent").rglob("*.py")):
        home = "freshmount" if path.parent.name == "observe" else "freshmount_controller"
        if path.parent.name != "observe" and "controller" not in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and len(node.args) > 1:
                kind = getattr(node.func, "id", "").lstrip("_").lower().removesuffix("metricfamily")
                name = node.args[0]
                if kind not in ("gauge", "counter", "histogram"):
                    continue
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    yield f"{kind} {home}_{name.value.removeprefix('freshmount_').removeprefix('controller_')}"
                elif isinstance(name, ast.JoinedStr) and isinstance(name.values[-1], ast.Constant):
                    yield f"{kind} {home}{name.values[-1].value}"


def chart_values() -> Iterator[str]:
    """Each key of a values.yaml, as `chart: way.to.it`; what is a map of a user's own ends there."""

    def below(tree: Any, at: str) -> Iterator[str]:
        for key, inner in tree.items():
            yield f"{at}{key}"
            if isinstance(inner, dict):
                yield from below(inner, f"{at}{key}.")

    for path in sorted(ROOT.glob("charts/*/values.yaml")):
        if path.parent.name != "demo":  # an example to copy, whose values are the copy's
            yield from below(yaml.safe_load(path.read_text()), f"{path.parent.name}: ")


def names_in_kubernetes() -> Iterator[str]:
    """Labels and annotations."""
    for path in [*(ROOT / "agent").rglob("*.py"), *ROOT.glob("charts/*/templates/*")]:
        yield from re.findall(r"\bfreshmount\.dev/[a-z][a-z0-9-]*", path.read_text())


def main() -> None:
    (HERE / f"{__version__}.json").write_text(json.dumps(surface(), indent=1) + "\n")


if __name__ == "__main__":
    main()
