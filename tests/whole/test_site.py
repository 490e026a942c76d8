"""What `make docs` refuses in a site, beyond what Sphinx refuses; and that the navigation has every page."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "site" / "build.py")
assert _spec and _spec.loader
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

WELL = """<!doctype html><html><head><link rel="stylesheet" href="style.css"><script src="search.js"></script></head>
<body><h2 id="a-place">A place</h2><a href="#a-place">here</a> <a href="other%20page.html#there">there</a>
<a href="https://example.com/">outside</a> <a href="mailto:x@example.com">write</a>
<img src="data:image/png;base64,AAAA"></body></html>
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """One that is well."""
    (tmp_path / "index.html").write_text(WELL)
    (tmp_path / "other page.html").write_text('<p id="there">There</p>')
    (tmp_path / "style.css").write_text("body { background: url(picture.png) }")
    return tmp_path


def test_a_site_that_is_well_has_no_problems(site: Path) -> None:
    """Links to elsewhere are a reader's choice."""
    assert build.problems(site) == []


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "index.html loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//fonts.example/f.css">', "index.html loads //fonts.example/f.css"),
        ('<img src="http://pictures.example/p.png">', "index.html loads http://pictures.example/p.png"),
        ('<a href="gone.html">x</a>', "index.html leads to gone.html, which is not there"),
        ('<a href="#nowhere">x</a>', "index.html leads to #nowhere, of which the place is not there"),
        ('<a href="other%20page.html#no">x</a>', "index.html leads to other%20page.html#no, of which the place is not"),
    ],
    ids=["a script", "a style", "a picture", "a page", "a place", "a place of another page"],
)
def test_what_is_wrong_is_named(site: Path, html: str, problem: str) -> None:
    (site / "index.html").write_text(WELL + html)
    (found,) = build.problems(site)
    assert found.startswith(problem)


def test_a_font_that_a_style_loads_is_named(site: Path) -> None:
    (site / "style.css").write_text(
        "@import 'https://fonts.example/f.css'; @font-face { src: url(//fonts.example/f.woff2) }"
    )
    assert len(build.problems(site)) == 2


def test_the_navigation_has_every_page_once() -> None:
    """Under a heading, and with words of its own: a chart's README is called by its chart's name."""
    index = (ROOT / "docs" / "index.md").read_text()
    entries = [entry for _, section in build.sections(index) for entry in section]
    found = [(ROOT / "docs" / entry.partition(" <")[2].rstrip(">")).resolve().relative_to(ROOT) for entry in entries]
    assert sorted(found) == [page for page in build.pages() if page != build.INDEX]
