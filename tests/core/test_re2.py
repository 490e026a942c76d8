"""Regular expressions against Go's regexp: by hand, with what Go finds written down, and by chance where Go is."""

from __future__ import annotations

import random
from typing import Any

import pytest

from agent.core import re2
from tests.render.template import oracle
from tests.support.length import often


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("a|ab", "ab", ["a"]),  # the first that fits, not the longest
        ("ab|a", "ab", ["ab"]),
        ("(a+)(b+)?", "xaabac", ["aab", "a"]),
        ("a*?", "aa", ["", "", ""]),
        ("a*", "baac", ["", "aa", ""]),
        ("(a*)*b", "aab", ["aab"]),
        ("(|a)*", "aa", ["", "", ""]),
        ("(|a)+", "aa", ["", "", ""]),
        ("^a", "aa", ["a"]),
        ("(?m)^a", "a\na", ["a", "a"]),
        ("a$", "a\n", []),  # the very end of the text, not before its last line end
        ("(?m)a$", "a\na", ["a", "a"]),
        (r"\bfoo\b", "foo foobar foo", ["foo", "foo"]),
        (r"\Bo", "foo o", ["o", "o"]),
        (".", "a\nb", ["a", "b"]),
        ("(?s).", "a\n", ["a", "\n"]),
        (r"\d+", "12 ٣", ["12"]),  # ASCII only
        (r"\w+", "né a_1", ["n", "a_1"]),
        (r"\pL+", "né1", ["né"]),
        (r"\P{Lu}+", "aBc", ["a", "c"]),
        (r"[^\d\s]+", "a1 b", ["a", "b"]),
        ("[]a]+", "]a[", ["]a"]),
        ("[a-]+", "a-b", ["a-"]),
        ("[[:upper:]_]+", "aB_C", ["B_C"]),
        ("(?i)straße|k", "STRASSE STRAßE K", ["STRAßE", "K"]),
        ("(?i:A)a", "aa Aa AA", ["aa", "Aa"]),
        ("a(?i)b|c", "aB C", ["aB", "C"]),
        ("(?U)a+", "aa", ["a", "a"]),
        ("(?-s:.)(?s:.)", "a\n", ["a\n"]),
        (r"\Qa.b\E+", "a.bb", ["a.bb"]),
        (r"\x41\x{42}\103\.", "ABC.", ["ABC."]),
        ("x{2,3}", "xxxxx", ["xxx", "xx"]),
        ("x{2}?", "xxx", ["xx"]),
        ("x{,2}", "x{,2}", ["x{,2}"]),  # a brace of another form is a character
        ("(?P<year>[0-9]{4})-(?<month>[0-9]{2})", "2024-05", ["2024-05"]),
        ("", "ab", ["", "", ""]),
        ("é", "aéé", ["é", "é"]),
        ("[^a]", "\udcff", ["\udcff"]),  # a byte that is no UTF-8 is a character
    ],
)
def test_what_is_found(pattern: str, text: str, found: list[str]) -> None:
    compiled = re2.compile(pattern)
    assert [text[start:end] for start, end, *_ in compiled.find_all(text)] == found
    assert compiled.matches(text) == bool(found)
    first = compiled.search(text)
    assert (None if first is None else text[first[0] : first[1]]) == (found[0] if found else None)


def test_groups_have_their_spans_and_names() -> None:
    pattern = re2.compile("(a)(?P<b>b)?(?:c)")
    assert pattern.search("xac") == (1, 3, 1, 2, -1, -1)
    assert pattern.names == ("", "b")


@pytest.mark.parametrize(
    ("pattern", "text", "template", "made"),
    [
        ("(.*)", "username", "my_$1", "my_username"),
        ("a(x*)b", "-ab-axxb-", "${1}W", "-W-xxW-"),
        ("a(x*)b", "-ab-axxb-", "$1W", "---"),
        ("(?P<first>\\w+) (\\w+)", "john smith", "$2, $first", "smith, john"),
        ("a", "a", "$$1$", "$1$"),
        ("a", "a", "${1", "${1"),
        ("a", "a", "$01|$9|$0", "||a"),
        ("(?P<n>x)|(?P<n>y)", "xy", "[$n]", "[x][y]"),  # two groups of one name
        ("", "ab", "-", "-a-b-"),
        ("x*", "abxc", "-", "-a-b-c-"),
        ("^", "ab", "> ", "> ab"),
    ],
)
def test_what_is_replaced(pattern: str, text: str, template: str, made: str) -> None:
    assert re2.compile(pattern).replace(text, template) == made


def test_a_literal_replacement_means_nothing_more() -> None:
    assert re2.compile("a").replace("aa", "$0", literal=True) == "$0$0"


@pytest.mark.parametrize(
    ("pattern", "text", "most", "pieces"),
    [
        (",", "a,b,c", -1, ["a", "b", "c"]),
        (",", "a,b,c", 2, ["a", "b,c"]),
        (",", "a,b", 0, []),
        ("", "abc", -1, ["a", "b", "c"]),
        (",", "", -1, [""]),
        ("a", "aba", -1, ["", "b", ""]),
    ],
)
def test_what_is_split(pattern: str, text: str, most: int, pieces: list[str]) -> None:
    assert re2.compile(pattern).split(text, most) == pieces


@pytest.mark.parametrize(
    ("pattern", "at", "noun"),
    [
        ("a**", 2, "repetition"),
        ("*a", 0, "argument"),
        ("a|*", 2, "argument"),
        ("(a", 0, ")"),
        ("a)", 1, ")"),
        ("[a", 0, "]"),
        ("[b-a]", 1, "range"),
        ("[[:nope:]]", 1, "nope"),
        ("(?=a)", 0, "(?="),
        ("(?<!a)", 0, "(?<!"),
        (r"(a)\1", 3, "escape"),
        (r"\q", 0, "escape"),
        ("a\\", 1, "backslash"),
        (r"\x{110000}", 0, "escape"),
        ("a{1001}", 1, "1000"),
        ("((a{10}){10}){11}", 13, "1000"),
        ("a{2,1}", 1, "count"),
        (r"\p{Greek}", 0, "Greek"),
        ("(?P<>a)", 0, "name"),
        ("(" * 200 + ")" * 200, 100, "100"),
        ("a" * 20_000, 0, "longer"),
        ("(a)" * 201, 600, "200"),
        (r"(\pL\pN){900}(\pL\pN){900}(\pL\pN){900}", 0, "instructions"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_re2_is_refused_with_its_place(pattern: str, at: int, noun: str) -> None:
    with pytest.raises(re2.BadPattern) as caught:
        re2.compile(pattern)
    assert caught.value.at == at
    assert noun in caught.value.message


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a*)*(b|a)*c", "a" * 3_000),
        ("(a|aa)+$", "a" * 3_000 + "b"),
        ("(x+x+)+y", "x" * 3_000),
        ("(.*)(.*)(.*)z", "q" * 3_000),
    ],
)
def test_the_steps_grow_as_the_text_does(pattern: str, text: str) -> None:
    """What takes `re` longer than the universe is old: twice the text, twice the steps."""

    def steps(length: int) -> int:
        counted = []
        assert not re2.compile(pattern).matches(text[-length:], counted.append)
        return sum(counted)

    assert steps(2_000) < 2.1 * steps(1_000)
    assert steps(2_000) < 100 * 2_000


def test_too_much_work_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(re2, "STEPS", often(re2.STEPS))
    with pytest.raises(re2.TooMuchWork):
        re2.compile("(x?){800}y").matches("x" * 60_000)


def test_a_prefix_is_looked_for_without_a_step_for_each_character() -> None:
    counted: list[int] = []
    assert re2.compile("-----BEGIN [A-Z]+").find_all("x" * 60_000 + "-----BEGIN KEY", spend=counted.append)
    assert sum(counted) < 6_000


# -- by chance ---------------------------------------------------------------------------------------------------------

ATOMS = [
    *(
        "a",
        "b",
        "ab",
        ".",
        "[ab]",
        "[^a]",
        "[a-c]",
        r"\d",
        r"\w",
        r"\s",
        r"\W",
        "^",
        "$",
        r"\b",
        r"\B",
        r"\A",
        r"\z",
        "x",
    ),
    *(
        "é",
        "[[:alpha:]]",
        "[^[:digit:]]",
        r"\pL",
        r"\PL",
        r"\.",
        "(?i:k)",
        r"\x61",
        r"\Qa.b\E",
        "K",
        r"[\w-]",
        r"\p{Lu}",
    ),
    *("(?i)s", "(?i)[^k]", "(?s).", "(?m)^", "(?m)$", "-", "]", r"\n", "{", "(?U)a*", "(?i)\\W", "(?i)[[:upper:]]"),
]
TIMES = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}?", "{2,}", "{,2}", "{0}", "{0,1}"]


def pattern_of(rng: random.Random, depth: int) -> str:
    roll = rng.random()
    if depth == 0 or roll < 0.35:
        return rng.choice(ATOMS)
    if roll < 0.6:
        return "".join(pattern_of(rng, depth - 1) for _ in range(rng.randint(0, 3)))
    if roll < 0.72:
        return pattern_of(rng, depth - 1) + "|" + pattern_of(rng, depth - 1)
    if roll < 0.85:
        return rng.choice(["(", "(?:", f"(?P<n{rng.randint(0, 9)}>"]) + pattern_of(rng, depth - 1) + ")"
    return rng.choice(["(%s)", "(?:%s)", "%s"]) % pattern_of(rng, depth - 1) + rng.choice(TIMES)


def ours(request: dict[str, Any]) -> dict[str, Any]:
    """Our answer, with offsets in bytes, as Go counts."""
    text, most = request["text"], request["most"]
    try:
        pattern = re2.compile(request["regexp"])
    except re2.BadPattern:
        return {"refused": True}
    at = [len(text[:end].encode()) for end in range(len(text) + 1)]
    spans = [[-1 if end < 0 else at[end] for end in match] for match in pattern.find_all(text, most)]
    return {
        "refused": False,
        "all": spans,
        "replaced": pattern.replace(text, request["by"]),
        "literal": pattern.replace(text, request["by"], literal=True),
        "split": pattern.split(text, most),
    }


def test_patterns_by_chance_find_what_go_finds(pytestconfig: pytest.Config) -> None:
    rng = random.Random(5)
    requests = [
        {
            "regexp": pattern_of(rng, rng.randint(0, 4)),
            "text": "".join(rng.choice("aabbck Ksſ1_\né.-x") for _ in range(rng.randint(0, 12))),
            "by": rng.choice(["-", "$1", "${1}x", "$n1", "${n2}", "$$", "$", "[$0]", "$2$1", "é"]),
            "most": rng.choice([-1, -1, -1, 0, 1, 2]),
        }
        for _ in range(50_000 if pytestconfig.getoption("--full") else 4_000)
    ]
    refused = 0
    for request, answer in zip(requests, oracle.ask(requests), strict=True):
        made = ours(request)
        assert made["refused"] == bool(answer["error"]), (request, answer)
        refused += made["refused"]
        for name in ("all", "replaced", "literal", "split") if not made["refused"] else ():
            assert made[name] == (answer[name] or type(made[name])()), (request, name, answer[name])
    assert 0 < refused < 0.1 * len(requests)


def test_letters_fold_their_case_as_in_go() -> None:
    """Each one in the text that a letter matches but for its case, and no other."""
    codes = [code for code in range(0x1E944) if chr(code).lower() != chr(code) or chr(code).upper() != chr(code)]
    every = "".join(map(chr, codes))
    at = [len(every[:end].encode()) for end in range(len(every) + 1)]
    chosen = [*map(chr, codes[::25]), *"kKſßẞİıΣςǅᾳᲀ"]
    requests = [{"regexp": f"(?i){char}", "text": every, "by": "", "most": -1} for char in chosen]
    for request, answer in zip(requests, oracle.ask(requests), strict=True):
        found = [[at[start], at[end]] for start, end in re2.compile(request["regexp"]).find_all(every)]
        assert found == answer["all"], request["regexp"]
