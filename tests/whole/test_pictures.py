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
def test_a_drawing_has_a_line_for_each_that_was_printed(path: Path) -> None:
    """What moves stands at the end, and at once for a reader who wants no motion."""
    text = path.read_text()
    delays = [float(found) for found in re.findall(r"animation-delay: ([\d.]+)s", text)]
    assert delays == sorted(delays)
    assert bool(delays) == (path.name == "demo.svg") == ("prefers-reduced-motion: no-preference" in text)
