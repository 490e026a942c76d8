"""Templates against what Go and sprig make of them: cases by hand, whose results are recorded, and whole templates by
chance, where Go is.
"""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from agent.render.template import TemplateError, parse
from tests.render.template import oracle
from tests.render.template.cases import DATA, DIFFERENCES, gos, read, rendered
from tests.render.template.generated import Templates, data

CASES = read()
SEED = 20
# How our sentences begin where we refuse what Go goes on with: the reasons of DIFFERENCES.
REFUSED = {
    "null": ("there is null",),
    "mark": ("printf: %", "arguments than verbs", "ends within a verb", "a width or precision", "are counted from 1"),
    "zero": ("sprig would take it for 0", "too large for 64 bits", "is not a number", "cannot be rounded"),
    "swallowed": ("sprig would", "has no place for bytes", "is not RE2"),
}


def test_a_template_comes_to_what_go_makes_of_it() -> None:
    assert {case: found for case in CASES if (found := rendered(case.template)) != case.ours} == {}


def test_there_are_enough_cases_and_each_difference_has_its_reason() -> None:
    assert len(CASES) >= 400
    assert len({case.template for case in CASES}) == len(CASES)
    assert {case.why for case in CASES} == {None, *DIFFERENCES}
    assert [case for case in CASES if case.ours != case.go and case.why is None] == []
    assert [case for case in CASES if case.ours == case.go and case.why is not None] == []


def test_the_recorded_results_are_those_of_go() -> None:
    answers = oracle.ask({"template": case.template, "data": DATA} for case in CASES)
    assert [case for case, answer in zip(CASES, answers, strict=True) if gos(answer) != case.go] == []


def _why(ours: str | None, go: str | None, said: str) -> str | None:
    """Why a difference is one on purpose; None if it is not."""
    if ours is not None and go is not None:
        if ours.replace("[]", "null") == go.replace("[]", "null"):
            return "lists"
        if ours.replace('"="', "=") == go:
            return "quoted"
        return "bytes" if any("\udc80" <= char <= "\udcff" for char in ours) else None
    if ours is None and go is not None:
        return next((why for why, words in REFUSED.items() if any(word in said for word in words)), None)
    return None


def test_whole_templates_by_chance_come_to_what_go_makes_of_them(pytestconfig: pytest.Config) -> None:
    """Both render the same, or both refuse, or there is a reason."""
    rng = random.Random(SEED)
    made = Templates(rng)
    requests = [
        {"template": made(), "data": data(rng)} for _ in range(30_000 if pytestconfig.getoption("--full") else 800)
    ]
    counted: Counter[str] = Counter()
    for request, answer in zip(requests, oracle.ask(requests), strict=True):
        go, said = gos(answer), ""
        try:
            ours = parse(str(request["template"])).render(request["data"])
        except TemplateError as error:
            ours, said = None, error.message
        why = ("same" if ours is not None else "refused") if ours == go else _why(ours, go, said)
        assert why is not None, (request, go, answer["error"], ours, said)
        counted[why] += 1
    assert counted["same"] > 0.85 * len(requests), counted
    assert counted["refused"] > 0.01 * len(requests), counted
    assert sum(counted[why] for why in DIFFERENCES) < 0.05 * len(requests), counted


PIECES = [
    *(
        "{{",
        "}}",
        " ",
        "-",
        "|",
        "(",
        ")",
        '"',
        "`",
        "'",
        ".",
        "$",
        "$x",
        ":=",
        "=",
        ",",
        "1",
        "a",
        "end",
        "else",
        "if",
        "range",
    ),
    *(
        "with",
        "define",
        "template",
        "break",
        "nil",
        "true",
        "\n",
        "{{- ",
        " -}}",
        "/*",
        "*/",
        "\\",
        "x",
        "_",
        "é",
        "0",
        "e",
        "+",
    ),
    *("{{ end }}", "{{ else }}", "len", "print", " .port "),
]


def slipped(rng: random.Random, text: str) -> str:
    """The text with one to three slips of the pen."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(text))
        gone = rng.choice([0, 0, 1, 1, 2, 3])
        text = text[:at] + rng.choice(["", *PIECES]) + text[at + gone :]
    return text


def test_what_go_refuses_of_templates_with_slips_we_refuse(pytestconfig: pytest.Config) -> None:
    """The grammar: each case by hand with a few characters more, fewer or other ones."""
    rng = random.Random(SEED)
    base = [case.template for case in CASES if case.why is None and not re.search("Yaml|url|fromJson", case.template)]
    count = 50_000 if pytestconfig.getoption("--full") else 4_000
    requests = [{"template": slipped(rng, rng.choice(base)), "data": DATA} for _ in range(count)]
    counted: Counter[str] = Counter()
    for request, answer in zip(requests, oracle.ask(requests), strict=True):
        go, said = gos(answer), ""
        try:
            ours = parse(str(request["template"])).render(DATA)
        except TemplateError as error:
            ours, said = None, error.message
        why = ("same" if ours is not None else "refused") if ours == go else _why(ours, go, said)
        assert why is not None, (request["template"], go, answer["error"], ours, said)
        counted[why] += 1
    assert counted["same"] > 0.05 * count, counted
    assert counted["refused"] > 0.3 * count, counted


WORDS = (
    "{{ snakecase . }}|{{ kebabcase . }}|{{ camelcase . }}|{{ swapcase . }}|{{ title . }}|{{ untitle . }}|"
    "{{ initials . }}|{{ nospace . }}|{{ upper . }}|{{ lower . }}|{{ trim . }}|{{ quote . }}|{{ html . }}|"
    "{{ js . }}|{{ urlquery . }}|{{ toJson . }}|{{ wrap 4 . }}|{{ abbrev 5 . }}|{{ base . }}|{{ dir . }}|"
    "{{ clean . }}|{{ ext . }}|{{ regexQuoteMeta . }}|{{ b64enc . | b64dec }}"
)
IN_YAML = "{{ toYaml . }}|{{ toYaml (dict . (list . (dict `a` .))) }}"


@pytest.mark.parametrize(("template", "more"), [(WORDS, "\u2028\u00a0😀"), (IN_YAML, "")], ids=["texts", "YAML"])
def test_texts_by_chance_come_to_what_go_makes_of_them(template: str, more: str, pytestconfig: pytest.Config) -> None:
    rng = random.Random(SEED)
    many = 1_500 if pytestconfig.getoption("--full") else 300
    signs = "aB1-_ {+.(éÉ中2/\n\t'\"\\<&=:#,x0Ǆß€~%" + more
    texts = ["".join(rng.choice(signs) for _ in range(rng.randint(0, 12))) for _ in range(many)]
    for text, answer in zip(texts, oracle.ask({"template": template, "data": text} for text in texts), strict=True):
        ours = parse(template).render(text)
        assert ours == gos(answer) or _why(ours, gos(answer), ""), text
