"""Builds the documentation site: `make docs`, or `python docs/site/build.py`. It ends in .cache/docs/site.

1. Stage: copy what is shown, with the repository's own layout: links that a forge follows lead somewhere here, too.
2. Navigate: docs/index.md is the navigation. Each of its sections becomes one of the side bar.
3. Build, with every warning an error: a link to nothing, an anchor that is not there, a page that the index leaves out.
4. Look through the pages: nothing may be loaded from elsewhere, and each link inside the site leads to a file of it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[2]
HERE = ROOT / "docs" / "site"
STAGE, SITE = (ROOT / ".cache" / "docs" / name for name in ("stage", "site"))
INDEX = Path("docs/index.md")

PAGES = ("*.md", "docs/*.md", "docs/reference/*.md", "charts/*/README.md")
LINK = re.compile(r"(\]\()([^)#\s]+)")
# What a browser fetches by itself, by element and attribute.
FETCHED = {
    ("link", "href"),
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("iframe", "src"),
    ("object", "data"),
}


def pages(root: Path = ROOT) -> list[Path]:
    """The documents of the site, relative to the repository."""
    return sorted(path.relative_to(root) for pattern in PAGES for path in root.glob(pattern))


def sections(index: str) -> list[tuple[str, list[str]]]:
    """The sections of the index, each with its entries: `title <page>`, of the links that the items of its lists begin
    with."""
    found = []
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0].strip()
        links = re.findall(r"^- \[([^]]*)\]\(([^)#\s]+\.md)\)", section, re.MULTILINE)
        found.append((title, [f"{words} <{page}>" for words, page in links]))
    return [(title, entries) for title, entries in found if entries]


def stage() -> None:
    """Steps 1 and 2."""
    shutil.rmtree(STAGE, ignore_errors=True)
    for page in pages():
        to = STAGE / page
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(LINK.sub(lambda found, page=page: found[1] + _staged(page, found[2]), (ROOT / page).read_text()))
    index = STAGE / INDEX
    trees = "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(entries) + "\n```\n"
        for title, entries in sections(index.read_text())
    )
    index.write_text(index.read_text() + trees)


def _staged(page: Path, link: str) -> str:
    """A link of a page, as it is there: to a directory's README, and to a file that is copied, too."""
    target = ROOT / page.parent / link
    if "://" in link or not target.exists():
        return link
    if target.is_dir():
        return f"{link.rstrip('/')}/README.md"
    if target.suffix != ".md":
        copy = STAGE / page.parent / link
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(target, copy)
    return link


class _Page(HTMLParser):
    """What a page fetches, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.led: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect it."""
        for name, value in attrs:
            if (tag, name) in FETCHED and value:
                self.fetched.append(value)
            if (tag, name) == ("a", "href") and value:
                self.led.append(value)
            if name == "id" and value:
                self.ids.add(value)


def problems(site: Path) -> list[str]:
    """What is wrong with a site that was built."""
    read = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in read.items():
        where = path.relative_to(site)
        found += [f"{where} loads {url}" for url in page.fetched if urlsplit(url).netloc]
        for url in page.led:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{where} leads to {url}, which is not there")
            elif parts.fragment and target in read and unquote(parts.fragment) not in read[target].ids:
                found.append(f"{where} leads to {url}, of which the place is not there")
    for path in sorted(site.rglob("*.css")):
        for url in re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", path.read_text()):
            found.append(f"{path.relative_to(site)} loads {url}")
    return found


def main() -> int:
    """All steps. Exit status 1 names what is wrong."""
    stage()
    shutil.rmtree(SITE, ignore_errors=True)
    sphinx = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    done = subprocess.run(
        [*sphinx, "-b", "html", "-c", str(HERE), "-d", str(STAGE.parent / "doctrees"), str(STAGE), str(SITE)],
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        return 1
    (SITE / "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><title>Freshmount</title>'
        '<meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">Freshmount</a>\n'
    )
    wrong = problems(SITE)
    for each in wrong:
        print(each, file=sys.stderr)
    if not wrong:
        print(f"{len(pages())} pages: {(SITE / 'index.html').relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
