"""YAML text to nodes with positions, and every problem of its form."""

from __future__ import annotations

import pytest

from agent.document import LIMIT, Mapping, Scalar, Sequence, compose, suggestion


def problems(text: str) -> list[tuple[int, int, str]]:
    return [(p.line, p.column, p.message) for p in compose(text)[1]]


def test_nodes_know_their_place() -> None:
    """Lines and columns count from 1, as editors do."""
    node, found = compose("a:\n  - x: 'y'\n")
    assert found == ()
    assert isinstance(node, Mapping)
    key, items = node.entries[0]
    assert (key.text, key.line, key.column) == ("a", 1, 1)
    assert isinstance(items, Sequence)
    inner = items.items[0]
    assert isinstance(inner, Mapping)
    assert inner.entries[0][1] == Scalar(2, 8, "y", plain=False)


@pytest.mark.parametrize("text", ["0400", "NO", "1:30", "1.10", "null"])
def test_nothing_is_resolved(text: str) -> None:
    """A plain scalar stays the text that a person wrote, whatever YAML 1.1 would read."""
    node, _ = compose(f"a: {text}")
    assert isinstance(node, Mapping)
    assert node.entries[0][1] == Scalar(1, 4, text, plain=True)


@pytest.mark.parametrize(
    ("text", "line", "column", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "in line 1"),
        ("a: [1\n", 2, 1, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, 1, "not YAML"),
        ("a: \x07\n", 1, 4, "not allowed"),
        ("", 1, 1, "empty"),
        ("# only a comment\n", 1, 1, "empty"),
        ("a: 1\n---\nb: 2\n", 3, 1, "second document"),
        ("b: &b {c: 1}\na:\n  <<: *b\n", 3, 3, "merge keys"),
        ("? [a, b]\n: 1\n", 1, 3, "a word"),
        ("a: !!python/object:os.system x\n", 1, 4, "tag"),
        ("a: !secret x\n", 1, 4, "tag"),
        ("a: &a [*a]\n", 1, 4, "aliases"),
        ("[" * 700, 1, 1, ""),
        ("x" * (LIMIT + 1), 1, 1, "characters"),
    ],
)
def test_a_problem_of_form_has_its_place(text: str, line: int, column: int, part: str) -> None:
    """What cannot be read is told with line and column; nothing is raised."""
    found = problems(text)
    assert len(found) == 1
    assert part in found[0][2]
    if part:
        assert (line, column) == found[0][:2]


def test_aliases_do_not_expand_without_end() -> None:
    """Ten lists of ten aliases each stay a small problem."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert [message for _, _, message in problems("\n".join(lines))] == [
        "is nested too deeply, or its aliases expand without end"
    ]


@pytest.mark.parametrize(("word", "expected"), [("secretID", "secretId"), ("perod", "period"), ("zzz", None)])
def test_a_close_word_is_suggested(word: str, expected: str | None) -> None:
    """A typing error is answered with what was probably meant, and nothing is made up."""
    assert suggestion(word, ["secretId", "period"]) == (f"; did you mean {expected!r}?" if expected else "")
