"""The pictures of the documents, which `make pictures` takes: each is shown, and shows itself without the network."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PICTURES = sorted((ROOT / "docs" / "pictures").iterdir())
SVG = "{http://www.w3.org/2000/svg}"
drawings = pytest.mark.parametrize("path", [at for at in PICTURES if at.suffix == ".svg"], ids=lambda path: path.name)


def test_each_is_on_a_page() -> None:
    pages = "".join(path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
    assert PICTURES and [path.name for path in PICTURES if f"pictures/{path.name}" not in pages] == []


@drawings
def test_a_drawing_runs_and_loads_nothing(path: Path) -> None:
    """A browser shows it from any page; nothing is asked of another server."""
    text = path.read_text()
    used = {element.tag.removeprefix(SVG) for element in ET.fromstring(text).iter()}
    assert "text" in used and not used & {"script", "image", "foreignObject", "use"}
    assert re.findall(r"url\((?!#)[^)]*\)|@import|href", text) == []


@drawings
def test_a_drawing_moves_only_for_a_reader_who_wants_it(path: Path) -> None:
    """Who wants no motion sees what a recording ends with."""
    still, _, moving = path.read_text().partition("@media (prefers-reduced-motion: no-preference)")
    moves = re.findall(r"@keyframes (\w+) \{(.*)\}", moving)
    assert "@keyframes" not in still and bool(moves) == (path.name == "demo.svg")
    for name, steps in moves:
        (end,) = re.findall(rf"\.{name} \{{ transform: (.*) \}}", still)
        moments, places = zip(*re.findall(r"([\d.]+)% \{ transform: ([^}]*) \}", steps), strict=True)
        assert [float(moment) for moment in moments] == sorted(float(moment) for moment in moments)
        assert places[-1] == end
