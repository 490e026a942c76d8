"""Words that must not come back, each with the one to write instead: docs/glossary.md has one word for one thing."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Wrong anywhere, as a word of ours or as English.
EVERYWHERE = {
    r"agenda": "schedule",
    r"owed|owes|owing": "pending",
    r"withheld": "waiting",
    r"dice": "rng, or random number generator",
    r"SyncResult": "PassResult",
    r"told": "accepted, notified or reported",
    r"(?:is|are) to be": "must be, or will be",
    r"what (?:is|are) to": "what must",
    r"for want of": "without, or because there is no",
    r"to no end|in vain": "without effect",
    r"into the config": "in the config",
    r"the books": "the metrics, or to be counted",
    r"by way of": "through",
    r"of whom|as it were|in (?:its|their) stead": "another sentence",
    r"anybody|everybody|whoever": "any process, every client, or anyone who",
    r"knows? no": "does not have, or does not support",
    r"thrown away": "discarded",
    r"(?:taken|there) already": "already used",
    r"is no (?:absolute path|failure|fault|mapping|port|secret|text|URL)": "is not a",
    r"behind the (?:closing|colon|dash)": "after the colon",
    r"else take": "otherwise use",
    r"so long do": "they take that long",
    r"side doors?": "another way out",
    r"vouch(?:es)?": "confirms",
    r"inside of": "inside",
    r"without us": "without Freshmount",
    r"own region wins": "its region takes precedence",
}
# Wrong in the package: a document may use them in another sense.
IN_CODE = EVERYWHERE | {
    r"debts?": "pending",
    r"each (?:two|three|five|ten|\d+) (?:s|seconds|minutes)": "every two seconds",
    r"lessons?": "outcome",
    r"hands?": "adapter; or: current, by a person, pass",
    r"spine": "engine",
    r"telemetry": "metrics",
}
# What was there once: each pattern is wrong in one of these.
ONCE = """
The agenda; three owed; withheld values; the dice; a SyncResult; nobody is told; a key is to be a word; what is to stay;
for want of a descriptor; written to no end; it belongs into the config; counted in the books; by way of the proxy;
the processes, of whom one is meant; whatever whoever sent; this kernel knows no pidfd;
the body is thrown away; the path is taken already; 80000 is no port; a space behind the colon;
take touch or else take url; so long do the calls take; by a side door; your word vouches for it; inside of range;
as it was without us; an ARN's own region wins; a debt; look again each two seconds; a lesson; the hands; the spine;
telemetry
"""
IN_TEXT = {"COMMENT", "STRING", "FSTRING_MIDDLE"}  # kinds of tokens; from 3.12 on f-strings have their own

# The demo tells a story, in words of its own.
MODULES = [path for path in sorted((ROOT / "agent").rglob("*.py")) if "demo" not in path.parts]
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "config/*", "charts/*/README.md", "charts/*/*.yaml", "charts/*/templates/*")
    for path in sorted(ROOT.glob(pattern))
]


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Each comment, docstring and string of a module, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if tokenize.tok_name[token.type] in IN_TEXT:
            yield token.start[0], token.string


def found(banned: dict[str, str], text: str, line: int = 1) -> list[str]:
    """Each banned word of a text, as `line: word (write …)`. Words may be apart by a line's end."""
    hits = []
    for words, instead in banned.items():
        pattern = r"\b(?:" + words.replace(" ", r"\s+") + r")\b"
        for hit in re.finditer(pattern, text, re.IGNORECASE):
            at = line + text.count("\n", 0, hit.start())
            hits.append(f"{at}: {' '.join(hit[0].split())} (write {instead})")
    return hits


def found_in_code(source: str) -> list[str]:
    """Each banned word of a module's comments, docstrings and strings."""
    said = [*texts(source)]
    if not found(IN_CODE, "\n".join(text for _, text in said)):  # one search for the whole, which has none
        return []
    return [hit for line, text in said for hit in found(IN_CODE, text, line)]


def in_files(paths: list[Path], search: Callable[[str], list[str]]) -> list[str]:
    """Each banned word of these files, as `path:line: word (write …)`."""
    assert paths
    return [f"{path.relative_to(ROOT)}:{hit}" for path in paths for hit in search(path.read_text())]


def test_the_package_has_one_vocabulary() -> None:
    assert in_files(MODULES, found_in_code) == []


def test_documents_have_it_too() -> None:
    assert in_files(DOCUMENTS, lambda text: found(EVERYWHERE, text)) == []


@pytest.mark.parametrize("words", IN_CODE)
def test_each_of_them_is_found(words: str) -> None:
    """Or its pattern is wrong, and bans nothing."""
    assert found({words: ""}, ONCE)


def test_what_is_banned_is_found() -> None:
    """In a comment, a docstring, a string and an f-string, and across lines; not in a name or in part of a word."""
    source = (
        '"""It is\n    to be done."""\nx = f"{y} owed"\nowed = "..manifest.json"  # the agenda\nz = "followed, toldo"\n'
    )
    assert found_in_code(source) == [
        "1: is to be (write must be, or will be)",
        "3: owed (write pending)",
        "4: agenda (write schedule)",
    ]
