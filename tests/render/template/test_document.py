"""docs/templates.md says what is true."""

from __future__ import annotations

import re

import pytest

from agent.core import re2, re2_syntax
from agent.render.template import budget, execute, functions, grammar, parse
from tests.render.template.cases import FILE
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "templates.md").read_text()
VALUE = {
    "username": "app", "password": 'p@ss"', "db": {"host": "db.internal", "port": 5432}, "tls.crt": "PEM", "mode": "b",
    "debug": False, "hosts": ["h1", "h2"], "labels": {"b": "2", "a": "1"}, "none": [], "empty": "",
    "mail": "joe@example", "json": '{"id": 12345678}', "yaml": "list: [a, b]", "url": "redis://h:6379/0",
}  # fmt: skip
ROWS = [
    (row[1].replace(r"\|", "|"), row[2].replace(r"\|", "|"))
    for row in re.finditer(r"^\| `(.*)` \| `(.*)` \|$", DOCUMENT, re.MULTILINE)
]


@pytest.mark.parametrize(("template", "result"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_an_example_comes_to_what_it_says(template: str, result: str) -> None:
    assert parse(template).render(VALUE) == result


def test_there_are_examples() -> None:
    assert len(ROWS) >= 20


def test_every_function_is_named_and_no_other() -> None:
    section = DOCUMENT.partition("## Functions\n")[2].partition("**Not here**")[0]
    named = re.findall(r"`([a-z]\w*)`", section)
    assert sorted(named) == sorted({*functions.KNOWN, "cryptography"})


def test_every_function_has_a_case() -> None:
    """Those that need `cryptography` have theirs in test_functions.py."""
    cases = FILE.read_text() + FILE.with_name("test_functions.py").read_text()
    names = set(re.findall(r"\w+", cases)) | {name + "Pass" for name in re.findall(r"(\w+)\{call\}", cases)}
    assert sorted(functions.KNOWN - names) == []


def test_what_is_not_here_says_why() -> None:
    section = DOCUMENT.partition("**Not here**")[2].partition("\n## ")[0]
    for name in re.findall(r"`(\w+)`", section):
        assert name not in functions.KNOWN
        assert "is not here: it " in functions.unknown(name), name


def test_the_limits_are_those_of_the_code() -> None:
    section = DOCUMENT.partition("## Limits\n")[2]
    named = {int(number.replace(",", "")) for number in re.findall(r"\b\d[\d,]*\d\b", section)}
    assert named == {
        *(grammar.LONGEST, grammar.DEEPEST, budget.LONGEST, execute.DEEPEST, budget.DEEPEST, budget.WORK),
        *(re2_syntax.LONGEST, re2_syntax.GROUPS, re2.LARGEST),
    }
