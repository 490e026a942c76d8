"""Values that do not print, and what files they become."""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import json
import os
import pickle
import shutil
import subprocess
import traceback
from pathlib import Path
from typing import Any

import dotenv
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.core.errors import ProjectionError
from agent.core.model import Output, Property
from agent.render.files import LIMIT
from tests.support import dotenv_readers
from tests.support.length import often
from tests.support.words import files_of, output, value


def one(content: str | bytes, **spec: Any) -> bytes:
    """The content of the one file that the spec makes of it."""
    (file,) = files_of(value(content), output(**spec)).values()
    return file.content.reveal()


def refusal(content: str | bytes, **spec: Any) -> str:
    with pytest.raises(ProjectionError) as refused:
        files_of(value(content), output(**spec))
    return str(refused.value)


def test_a_value_does_not_print() -> None:
    """No ordinary way of looking at it shows it."""
    hidden = value("hunter2")
    for shown in (str(hidden), repr(hidden), f"{hidden}", f"{[hidden]}", f"{files_of(hidden, output())}"):
        assert "hunter2" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(hidden)
    with pytest.raises(TypeError):
        copy.deepcopy(hidden)
    with pytest.raises(TypeError):
        json.dumps(hidden)


@pytest.mark.parametrize("content", ["text", "with\nnewline\n", "{not json", b"\x00\xff\xfe", "é"])
def test_raw_is_byte_for_byte(content: str | bytes) -> None:
    """Nothing is parsed, added or taken away."""
    assert one(content) == (content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"text"', "text"),
        ('"é\\u00e9\\ud83d\\ude00"', "éé😀"),
        ("1.10", "1.10"),
        ("1e400", "1e400"),
        ("-0", "-0"),
        ("0.1000000000000000055", "0.1000000000000000055"),
        ("9" * 5000, "9" * 5000),
        ("true", "true"),
        ('{"b": 1.50, "a": [1, null, "é"]}', '{"b":1.50,"a":[1,null,"é"]}'),
        ("[]", "[]"),
    ],
)
def test_a_picked_value_is_as_it_is_written(written: str, expected: str) -> None:
    """Numbers lose no digit, objects become compact JSON in their own order."""
    assert one(f'{{"key": {written}}}', jmes_path="key") == expected.encode()


def test_numbers_are_numbers_to_jmespath() -> None:
    """A number that remembers how it is written can still be computed with."""
    assert one('{"a": 1.50, "b": 2}', jmes_path="sum([a, b])") == b"3.5"
    assert one('{"a": [{"n": 1, "v": "x"}, {"n": 2, "v": "y"}]}', jmes_path="a[?n > `1`].v | [0]") == b"y"
    assert one('{"a": 1}', jmes_path="type(a)") == b"number"


@pytest.mark.parametrize(
    ("written", "expected"),
    [('""', ""), ('"a b"', "a b"), ("5432", "5432"), ("1.50", "1.50"), ("false", "false")],
)
def test_a_text_is_a_value_and_may_be_empty(written: str, expected: str) -> None:
    """Of a text, a number or a boolean, as it is written."""
    assert one(f'{{"key": {written}}}', jmes_path="key", format="text") == expected.encode()


@pytest.mark.parametrize("written", ['{"c4n4ry": 1}', '["c4n4ry"]', "null"])
def test_a_text_is_no_object_no_list_and_not_null(written: str) -> None:
    """Named by kind, and never shown."""
    message = refusal(f'{{"key": {written}}}', jmes_path="key", format="text")
    assert "key" in message and "c4n4ry" not in message


@pytest.mark.parametrize(
    ("tree", "expression", "expected"),
    [
        (
            '{"o": {"b": "ü<&>", "a": [{"d": 1.50, "c": null}]}}',
            "to_string(o)",
            '{"a":[{"c":null,"d":1.50}],"b":"ü<&>"}',
        ),
        ('{"n": 123456789012345678}', "to_string(n)", "123456789012345678"),
        ('{"n": [1, 3]}', "to_string(avg(n))", "2"),
        ('{"s": "x"}', "to_string(s)", "x"),
    ],
)
def test_to_string_is_the_same_for_equal_values(tree: str, expression: str, expected: str) -> None:
    """Keys in order, numbers and letters as they are written."""
    assert one(tree, jmes_path=expression) == expected.encode()


def test_formats() -> None:
    """json is compact, dotenv POSIX sh, properties Java's."""
    content = '{"A": "x y", "B": 1.0, "C": "it\'s", "D": "", "E": {"f": 2.50}}'
    assert one(content, format="json") == b'{"A":"x y","B":1.0,"C":"it\'s","D":"","E":{"f":2.50}}'
    assert one(content, format="dotenv") == b"A='x y'\nB='1.0'\nC='it'\\''s'\nD=''\nE='{\"f\":2.50}'\n"
    assert one('{"a b": " x:é\\n"}', format="properties") == b"a\\ b=\\ x:\\u00e9\\n\n"


def test_a_directory_has_one_file_per_key() -> None:
    """Of the whole value or of what is picked."""
    files = files_of(
        value('{"db": {"user": "u", "port": 5432}}'), output("d", directory=True, jmes_path="db", mode=0o400)
    )
    assert {path: (file.content.reveal(), file.mode) for path, file in files.items()} == {
        "d/user": (b"u", 0o400),
        "d/port": (b"5432", 0o400),
    }


def test_a_missing_key_is_named_with_those_that_exist() -> None:
    """The person sees what to write instead, and no value."""
    message = refusal('{"password": "hunter2", "user": "hunter3"}', path="p", jmes_path="pasword")
    assert "file p" in message and "'pasword'" in message
    assert "its keys are 'password', 'user'; did you mean 'password'?" in message
    assert "hunter" not in message


CANARY = "cAnaRy-7f3a"


@pytest.mark.parametrize(
    ("content", "spec", "part"),
    [
        ("", {}, "empty"),
        ("x" * (LIMIT + 1), {}, str(LIMIT)),
        (CANARY, {"jmes_path": "a"}, "not JSON"),
        ('{"a": "' + CANARY, {"format": "json"}, "not JSON"),
        (b"\xff" + CANARY.encode(), {"format": "json"}, "binary"),
        (f'{{"a": "{CANARY}", "a": "{CANARY}2"}}', {"format": "json"}, "twice"),
        (f'{{"a": NaN, "b": "{CANARY}"}}', {"format": "json"}, "NaN"),
        ("[" * 30_000 + f'"{CANARY}"' + "]" * 30_000, {"format": "json"}, "nested"),
        ("[" * 2_000 + f'"{CANARY}"' + "]" * 2_000, {"format": "json"}, "nested"),
        ('{"a":' * 9_000 + f'"{CANARY}"' + "}" * 9_000, {"directory": True}, "nested"),
        (f'{{"a": null, "b": "{CANARY}"}}', {"jmes_path": "a"}, "null"),
        (f'{{"a": "", "b": "{CANARY}"}}', {"jmes_path": "a"}, "empty file"),
        (f'{{"a": "{CANARY}"}}', {"jmes_path": "abs(a)"}, "the secret's JSON"),
        (f'{{"a": "{CANARY}"}}', {"jmes_path": "nosuch(a)"}, "the secret's JSON"),
        (f'["{CANARY}"]', {"jmes_path": "a"}, "an array"),
        (f'{{"a": "\\ud800{CANARY}"}}', {"jmes_path": "a"}, "surrogate"),
        (f'{{"a": "\\ud800{CANARY}"}}', {"format": "json"}, "surrogate"),
        (f'"{CANARY}"', {"format": "dotenv"}, "a string"),
        (f'{{"a-b": "{CANARY}"}}', {"format": "dotenv"}, "'a-b'"),
        (f'{{"a": "\\u0000{CANARY}"}}', {"format": "dotenv"}, "NUL"),
        (f'{{"a": null, "b": "{CANARY}"}}', {"format": "dotenv"}, "'a' is null"),
        (f'{{"a": null, "b": "{CANARY}"}}', {"format": "properties"}, "'a' is null"),
        (f'["{CANARY}"]', {"directory": True}, "an array"),
        ("{}", {"directory": True}, "empty"),
        (f'{{"a/b": "{CANARY}"}}', {"directory": True}, "'a/b'"),
        (f'{{"..a": "{CANARY}"}}', {"directory": True}, "'..a'"),
        (f'{{".": "{CANARY}"}}', {"directory": True}, "'.'"),
        (f'{{"": "{CANARY}"}}', {"directory": True}, "''"),
        (f'{{"a\\nb": "{CANARY}"}}', {"directory": True}, "'a\\nb'"),
        (f'{{"{"k" * 256}": "{CANARY}"}}', {"directory": True}, "kkk..."),
        (f'{{"a": null, "b": "{CANARY}"}}', {"directory": True}, "'a' is null"),
        (f'{{"a": "", "b": "{CANARY}"}}', {"directory": True}, "'a' would be an empty file"),
    ],
)
def test_what_cannot_be_a_file_is_refused_without_its_value(content: Any, spec: dict[str, Any], part: str) -> None:
    """Each error says what is wrong; no way to look at it shows the value."""
    with pytest.raises(ProjectionError) as refused:
        files_of(value(content), output("first"), output("second", **spec))
    assert part in str(refused.value)
    assert refused.value.failure.reason == "projection"
    seen = "".join(everything(refused.value)) + "".join(traceback.format_exception(refused.value))
    for shape in (CANARY, base64.b64encode(CANARY.encode()).decode(), CANARY.encode().hex()):
        assert shape not in seen


def everything(found: object, depth: int = 0) -> list[str]:
    """All that hangs on an exception: arguments, attributes, causes and contexts."""
    if depth > 6 or found is None:
        return []
    texts = [repr(found)]
    if isinstance(found, BaseException):
        for part in (*found.args, *vars(found).values(), found.__cause__, found.__context__):
            texts += everything(part, depth + 1)
        for name in ("doc", "object"):
            texts.append(repr(getattr(found, name, None)))
    return texts


_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=30)
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    # What a shell keeps for itself, or refuses to be set.
    lambda name: name.upper() == name and name not in ("_", "UID", "EUID", "PPID", "IFS", "OPTIND", "SHELLOPTS", "PATH")
)


@settings(max_examples=often(25), deadline=None)
@given(st.dictionaries(_NAMES, _TEXT, min_size=1, max_size=5))
@example({"A": "it's", "B": '$HOME `id` \\ "', "C": "\n\n", "D": " "})
def test_a_shell_reads_back_the_exact_values(tree: dict[str, str]) -> None:
    """`. file` in a real sh."""
    text = one(json.dumps(tree), format="dotenv")
    script = text.decode() + "".join(f"printf '%s\\0' \"${name}\"\n" for name in tree)
    said = subprocess.run(["sh", "-s"], input=script.encode(), capture_output=True, check=True).stdout
    assert list(tree.values()) == said.decode().split("\0")[:-1]


@settings(max_examples=often(40), deadline=None)
@given(
    st.dictionaries(
        _NAMES, st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="'\\$")), min_size=1
    )
)
def test_python_dotenv_reads_back_plain_values(tree: dict[str, str]) -> None:
    """In the quoting for a shell, for values without quote, backslash and dollar; `quoting: dotenv` is for it."""
    text = one(json.dumps(tree), format="dotenv").decode()
    assert dict(dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)) == tree


def dialect(tree: dict[str, str]) -> bytes:
    """The tree as the readers of .env files all read it."""
    return one(json.dumps(tree), format="dotenv", quoting="dotenv")


_LINE = st.text(
    st.one_of(st.sampled_from("'\"`\\ =:;,!?%&|<>(){}[]*+-/~^@_.nrtu#$"), st.characters(exclude_categories=("Cs",))),
    max_size=20,
)
_VARIABLES = st.sampled_from(["A", "export", "EXPORT", "exportX", "_", "_x", "a1", "Zz_9", "true", "null", "PATH"])


@pytest.fixture(scope="module")
def env_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], list[Path]]:
    """What secrets hold that can be written for all readers, made up at random, and the files that they become."""
    trees: list[dict[str, str]] = [
        {"A": ""},
        {"A": "p\\w'x\"y`z{}", "B": "a b  c", "C": "é😀\u200b"},
        *(
            {"A": text, "B": "z"}
            for char in map(chr, range(0x21, 0x7F))
            for text in ("x" + char, f"x{char}y", char * 2)
        ),
    ]

    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    @given(st.dictionaries(_VARIABLES, _LINE, min_size=1, max_size=5))
    def collect(tree: dict[str, str]) -> None:
        trees.append(tree)

    collect()
    written, paths = [], []
    for tree in trees:
        with contextlib.suppress(ProjectionError):
            text = dialect(tree)
            paths.append(tmp_path_factory.getbasetemp() / f"{len(paths)}.env")
            paths[-1].write_bytes(text)
            written.append(tree)
    assert len(written) > 300
    return written, paths


@pytest.mark.parametrize("reader", dotenv_readers.READERS)
def test_all_readers_of_env_files_read_back_the_exact_values(
    env_files: tuple[list[dict[str, str]], list[Path]], reader: str
) -> None:
    """What is written in their dialect is read alike by each of them, as it is."""
    if what := dotenv_readers.missing(reader):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)
    trees, paths = env_files
    if reader == "docker --env-file":
        trees, paths = trees[:60], paths[:60]  # it takes a process for each
    found = dotenv_readers.READERS[reader](paths)
    assert [(was, is_) for was, is_ in zip(trees, found, strict=True) if was != is_] == []


@pytest.mark.parametrize(
    "text",
    ["a#b", "a #b", "${HOME}", "a$b", "$", " a", "a ", "'a", '"a"', "`a`", "a\nb", "a\r", "\ta", "a\u00a0", "\ufeffa",
     "a\u2028b", "a\0b", "a\x85"],
)  # fmt: skip
def test_what_they_read_differently_is_refused_with_a_way_out(text: str) -> None:
    """With the key, and nothing of the value."""
    message = refusal(json.dumps({"GOOD": "x", "KEY": CANARY + text if text[0] == "a" else text + CANARY}),
                      format="dotenv", quoting="dotenv")  # fmt: skip
    assert "'KEY'" in message and "format: json" in message and "GOOD" not in message and CANARY not in message


def test_a_line_that_docker_does_not_read_is_refused() -> None:
    """It reads lines of up to 64 KiB; an expression can make longer ones."""
    assert len(dialect({"A": "x" * 60_000})) == 60_003
    doubled = {"jmes_path": "{A: join('', [A, A])}", "format": "dotenv", "quoting": "dotenv"}
    assert "'A'" in refusal(json.dumps({"A": "x" * 40_000}), **doubled)


def test_every_problem_of_every_file_is_told_at_once() -> None:
    """Each once, and no more than a person reads."""
    content = json.dumps({"ok": "1", "none": None, "a b": "x", "nul": "\0"})
    specs = (
        output("env", format="dotenv"),
        output("all", directory=True),
        output("one", jmes_path="nosuch"),
        output("fine", jmes_path="ok"),
    )
    with pytest.raises(ProjectionError) as refused:
        files_of(value(content), *specs)
    said = refused.value.problems
    named = [
        ("file env", "'none'"),
        ("file env", "'a b'"),
        ("file env", "'nul'"),
        ("directory all", "'none'"),
        ("file one", "'nosuch'"),
    ]
    assert [problem.split(": ")[0] for problem in said] == [where for where, _ in named]
    assert all(key in problem for problem, (_, key) in zip(said, named, strict=True))
    assert all(problem in str(refused.value) for problem in said)
    with pytest.raises(ProjectionError) as refused:
        files_of(value(json.dumps({f"k{n}": None for n in range(3000)})), output("all", directory=True))
    assert len(refused.value.problems) == 3000 and "2980 more" in str(refused.value) and len(str(refused.value)) < 3000
    with pytest.raises(ProjectionError) as refused:
        files_of(value("no json"), *specs)
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("key", "expression", "written"),
    [
        ("tls.crt", "tls.crt", "'\"tls.crt\"'"),
        ("db-password", "db_password", "'\"db-password\"'"),
        ("1st", "a1st", "'\"1st\"'"),
        ('it\'s "x"', "its_x", "'\"it''s \\\"x\\\"\"'"),
    ],
)
def test_a_key_that_jmespath_wants_in_quotes_is_told_as_yaml_has_it(key: str, expression: str, written: str) -> None:
    """It can be copied into the config, and picks the key."""
    message = refusal(json.dumps({key: "hunter2"}), jmes_path=expression)
    assert written in message and "hunter2" not in message
    assert one(json.dumps({key: "x"}), jmes_path=yaml.safe_load(written)) == b"x"


def test_a_byte_order_mark_is_named() -> None:
    """It cannot be seen in an editor. Raw content stays as it is."""
    for content in (b'\xef\xbb\xbf{"a": "x"}', '{"a": "x"}'.encode("utf-16"), '\ufeff{"a": "x"}'.encode("utf-16-be")):
        assert "byte order mark" in refusal(content, jmes_path="a")
        assert one(content) == content


def java_properties(text: bytes) -> dict[str, str]:
    """A reader of one-line-per-entry properties as java.util.Properties documents it."""
    found = {}
    for line in text.decode("latin-1").split("\n")[:-1]:
        parts: list[list[str]] = [[], []]
        side, at = 0, 0
        while at < len(line):
            char = line[at]
            if char == "\\":
                at += 1
                escape = line[at]
                if escape == "u":
                    parts[side].append(chr(int(line[at + 1 : at + 5], 16)))
                    at += 4
                else:
                    parts[side].append({"t": "\t", "n": "\n", "r": "\r", "f": "\f"}.get(escape, escape))
            elif side == 0 and char in "=: \t\f":
                side = 1
            else:
                parts[side].append(char)
            at += 1
        key, item = ("".join(part).encode("utf-16", "surrogatepass").decode("utf-16") for part in parts)
        found[key] = item
    return found


_ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@settings(max_examples=often(150), deadline=None)
@given(st.dictionaries(_ANY, _ANY, min_size=1, max_size=5))
@example({"#a": "!b", " k ": "  v ", "a=b:c": "\t\n\r\f\\"})
def test_properties_are_read_back_as_java_does(tree: dict[str, str]) -> None:
    """Every key and value, whatever is in it."""
    assert java_properties(one(json.dumps(tree), format="properties")) == tree


@pytest.mark.full("what java.util.Properties documents, for generated properties")
@pytest.mark.skipif(not shutil.which("java"), reason="java is not installed")
def test_java_itself_reads_back_properties(tmp_path: Any) -> None:
    """The real java.util.Properties, once."""
    tree = {"#a": "!b", " k ": "  v ", "a=b:c": "\t\n\r\f\\", "é😀": "ü\u2028", "": "empty key"}
    (tmp_path / "p").write_bytes(one(json.dumps(tree), format="properties"))
    (tmp_path / "R.java").write_text(
        "import java.util.*;import java.io.*;class R{public static void main(String[] a)throws Exception{"
        "var p=new Properties();p.load(new FileInputStream(a[0]));for(var k:p.stringPropertyNames())"
        'for(var s:new String[]{k,p.getProperty(k)}){for(char c:s.toCharArray())System.out.printf("%04x",(int)c);'
        "System.out.println();}}}"
    )
    said = subprocess.run(
        ["java", str(tmp_path / "R.java"), str(tmp_path / "p")], capture_output=True, text=True, check=True
    ).stdout.split("\n")[:-1]
    texts = [bytes.fromhex(line).decode("utf-16-be") for line in said]
    assert dict(zip(texts[::2], texts[1::2], strict=True)) == tree


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@settings(max_examples=often(200), deadline=None)
@given(
    _JSON, st.sampled_from(["json", "dotenv", "properties", "raw"]), st.booleans(), st.sampled_from([None, "a", "@"])
)
def test_a_projection_is_whole_or_an_error(tree: Any, form: str, directory: bool, expression: str | None) -> None:
    """Any JSON under any spec gives non-empty files or a ProjectionError, never anything else."""
    try:
        spec = output("x", format=form, directory=directory, jmes_path=expression)
        files = files_of(value(json.dumps(tree)), spec)
    except ProjectionError:
        return
    assert files
    assert all(len(file.content) for file in files.values())
    if directory:
        picked = tree if expression in (None, "@") else tree[expression]
        assert files.keys() == {f"x/{key}" for key in picked}


def test_an_expression_that_doubles_what_it_picks_is_refused() -> None:
    """Forty times over would be more than any memory."""
    expression = " | ".join(["@", *["[@, @]"] * 40])
    with pytest.raises(ProjectionError, match="pick less"):
        files_of(value('{"key": "value"}'), output("x", jmes_path=expression))


@pytest.mark.parametrize("expression", ["&key", "[&key]", "{a: &key}", "sum(large)", "[sum(large)]", "sum(long)"])
def test_an_expression_that_comes_to_no_json_is_refused(expression: str) -> None:
    """A reference to an expression, or a number that is too large, is no content of a file."""
    tree = f'{{"key": 1, "large": [1e400], "long": [{"9" * 4299}, {"9" * 4299}, {"9" * 4300}]}}'
    for form in ("raw", "json"):
        assert "JSON cannot hold" in refusal(tree, jmes_path=expression, format=form)


@pytest.mark.parametrize(
    ("content", "path", "found"),
    [
        ('{"a": "x", "b": null, "c": 1.50, "d": 123456789012345678901, "e": {"f": [1, 2]}}', "a", b"x"),
        ('{"a": "", "b": null}', "a", b""),
        ('{"b": null}', "b", b""),
        ('{"c": 1.50}', "c", b"1.5"),
        ('{"d": 123456789012345678901}', "d", b"123456789012345678901"),
        ('{"e": {"f": [1, 2]}}', "e", b'{"f": [1, 2]}'),
        ('{"e.f": 1, "e": {"f": 2}}', "e.f", b"1"),
        ('{"e": [{"f": 1}, {"f": 2}]}', "e.#.f", b"[1,2]"),
        (b'{"a": "\xff"}', "a", b"\xff"),
    ],
)
def test_a_property_is_what_gjson_finds(content: str | bytes, path: str, found: bytes) -> None:
    (file,) = files_of(value(content), Output("db", ("db",), Property(path), 0o440)).values()
    assert file.content.reveal() == found


def test_a_property_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ProjectionError) as refused:
        files_of(value('{"user": "c4n4ry"}'), Output("db", ("db",), Property("usr"), 0o440))
    assert [word for word in ("'usr'", "'user'", "file db") if word not in str(refused.value)] == []
    assert "c4n4ry" not in str(refused.value)


def test_a_secret_without_a_value_is_an_empty_file_only_if_that_is_asked_for() -> None:
    assert one("", missing="empty") == b""
    for how in (
        {},
        {"missing": "skip"},
        {"missing": "empty", "jmes_path": "a"},
        {"missing": "empty", "format": "json"},
    ):
        refusal("", **how)
