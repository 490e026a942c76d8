"""YAML text to nodes with positions, and every problem of its form."""

from __future__ import annotations

import pytest

from agent.config.document import LIMIT, Mapping, Node, Scalar, Sequence, compose, compose_all, suggestion


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
        ("a: 1\nb: 2\na: 3\n", 3, 1, "line 1"),
        ("a: [1\n", 1, 4, "']'"),
        ("a: \x07\n", 1, 4, "U+0007"),
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
    """What cannot be read is reported with line and column; nothing is raised."""
    found = problems(text)
    assert len(found) == 1
    assert part in found[0][2]
    if part:
        assert (line, column) == found[0][:2]


@pytest.mark.parametrize(
    ("text", "line", "column", "noun"),
    [
        ("a: 1\n  b: 2\n", 2, 3, "deeper"),
        ("secrets:\n  - name: x\n   secretId: y\n", 3, 4, "3 spaces"),
        ("secrets:\n  - name: x\n secretId: y\n", 3, 2, "1 space"),
        ("secrets:\n  - name: x\n    files: 1\n  b: 3\n", 4, 3, "list items"),
        ("a: b\n- c\n", 2, 1, "list item"),
        ("a: 1\n\tb: 2\n", 2, 1, "tab"),
        ("a:\n  -\tb: 1\n\t  c: 2\n", 2, 4, "tab"),
        ('a: "x\nb: 1\nc: 2\n', 1, 4, "quote"),
        ("a: 'x\r\nb: 1\r\n", 1, 4, "quote"),
        ('a: "x\nb: "y"\nc: 2\n', 1, 4, "quote"),
        ('a: 1\nb: "x" y\n', 2, 8, "quote"),
        ("a: 1\nregion: {{ .Values.region }}\n", 2, 9, "template"),
        ("{{- if .x }}\na: 1\n{{- end }}\n", 1, 1, "template"),
        ("a: 1\nb: foo: bar\n", 2, 7, "colon"),
        ("a\nb: 1\n", 1, 1, "colon"),
        ("a:1\nb: 2\n", 1, 1, "space"),
        ("a:\n  -name: x\n    files: 1\n", 2, 3, "dash"),
        ("a: 1\nb\n", 2, 1, "colon"),
        ("a: {path: x, y: z\nb: 1\n", 1, 4, "'}'"),
        ("a: [1, 2\nb: 1\n", 1, 4, "']'"),
        ("a: [\n  {b: 1}\n  {c: 1}\n]\n", 3, 3, "comma"),
        ("a: {b: 1 c: 2}\n", 1, 11, "comma"),
        ("a: 1\nb: [1]]\n", 2, 7, "']'"),
        ("a: @x\n", 1, 4, "'@'"),
        ("a: %x\n", 1, 4, "'%'"),
        ("a: *\n", 1, 4, "'*'"),
        ("a: *x\n", 1, 4, "'*'"),
        ('a: "\\d"\n', 1, 6, "backslash"),
        ("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", 2, 1, "merge conflict"),
        ("a\0:\0 \x001\0", 1, 2, "UTF-16"),
    ],
)
def test_a_slip_is_told_where_it_was_made(text: str, line: int, column: int, noun: str) -> None:
    """In a person's words: none of the parser's tokens, and one problem for one slip."""
    (found,) = problems(text)
    assert found[:2] == (line, column)
    assert noun in found[2] and "<" not in found[2] and "token" not in found[2]


def test_a_byte_order_mark_and_other_line_ends_change_nothing() -> None:
    """Editors on Windows write both."""
    assert compose("\ufeffa: 1\r\nb: 2\r\n") == compose("a: 1\nb: 2\n")


def test_aliases_do_not_expand_without_end() -> None:
    """Ten lists of ten aliases each stay a small problem."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    [(_, _, message)] = problems("\n".join(lines))
    assert "aliases" in message


@pytest.mark.parametrize(("word", "expected"), [("secretID", "secretId"), ("perod", "period"), ("zzz", None)])
def test_a_close_word_is_suggested(word: str, expected: str | None) -> None:
    """A typing error is answered with what was probably meant, and nothing is made up."""
    assert suggestion(word, ["secretId", "period"]) == (f"; did you mean {expected!r}?" if expected else "")


# -- merge keys, as sigs.k8s.io/yaml has them --------------------------------------------------------------------------


def plain(node: Node) -> object:
    if isinstance(node, Mapping):
        return {key.text: plain(value) for key, value in node.entries}
    return [plain(item) for item in node.items] if isinstance(node, Sequence) else node.text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{<<: {x: 1, y: 2}, x: 9}", {"x": "9", "y": "2"}),
        ("{x: 9, <<: {x: 1, y: 2}}", {"x": "1", "y": "2"}),
        ("{<<: [{x: 1}, {x: 2, y: 3}]}", {"x": "1", "y": "3"}),
        ("{<<: {x: 1}, <<: {x: 2, z: 1}}", {"x": "2", "z": "1"}),
        ("{<<: [], b: 1}", {"b": "1"}),
        ("{'<<': 1}", {"<<": "1"}),
        ("{!!merge <<: {x: 1}}", {"x": "1"}),
        ("[{<<: {<<: {x: 1}, y: 1}}]", [{"x": "1", "y": "1"}]),
    ],
)
def test_merge_keys_bring_in_what_kubernetes_takes(text: str, found: object) -> None:
    """The results are those of its library."""
    for version, merges in (("v1", True), ("own/v1", False)):
        nodes, problems = compose_all(f"apiVersion: {version}\na: {text}\n", merges=lambda of: of == "v1")
        if merges:
            assert ([plain(node) for node in nodes], problems) == ([{"apiVersion": version, "a": found}], ())
        elif "'<<'" not in text:
            assert {(p.line, p.message.partition(" (")[0]) for p in problems} == {(2, "merge keys")}


@pytest.mark.parametrize(
    ("text", "column"),
    [("{<<: 5}", 9), ("{<<: }", 8), ("{<<: null}", 9), ("{<<: [{x: 1}, 5]}", 18), ("{<<: [[{}]]}", 10)],
)
def test_a_merge_key_of_something_else_is_refused_where_it_stands(text: str, column: int) -> None:
    _, problems = compose_all(f"a: {text}\n", merges=lambda _version: True)
    assert [(p.line, p.column, "mapping" in p.message) for p in problems] == [(1, column, True)]


def test_keys_twice_are_refused_beside_merge_keys_too() -> None:
    _, problems = compose_all("a: {x: 1, <<: {x: 2}, x: 3}\n", merges=lambda _version: True)
    assert [(p.line, p.column) for p in problems] == [(1, 23)]
