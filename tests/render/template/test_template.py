"""What a template promises besides its result: places, no values, bounds, and what it reads."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from typing import Any

import pytest

from agent.core.value import SecretValue
from agent.render import json as secret_json
from agent.render.template import Read, Reads, TemplateError, parse
from tests.render.template.generated import Templates
from tests.support.length import often


def refused(text: str, value: Any = None) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        parse(text).render({} if value is None else value)
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "column", "noun"),
    [
        ("a\nb {{ nosuch }}", 2, 6, "nosuch"),
        ("{{ if .a }}\n\n x", 1, 1, "end"),
        ("{{ .a }}\n{{ end }}", 2, 1, "end"),
        ("é{{ 'ab' }}", 1, 5, "one character"),
        ("{{ $x }}", 1, 4, "$x"),
        ("x\n  {{ .a | 1 }}", 2, 11, "stage 2"),
        ("{{ uper .a }}", 1, 4, "upper"),
        ("{{ env `HOME` }}", 1, 4, "environment"),
        ("{{ now }}", 1, 4, "dates"),
        ("{{ genCA `x` 1 }}", 1, 4, "each time"),
        ("{{ .a\n}} {{ `open }}", 2, 7, "quotes"),
        ("{{ /* late */ }}", 1, 4, "/"),
        ("{{/* open", 1, 3, "comment"),
    ],
)
def test_what_cannot_be_parsed_has_a_place(text: str, line: int, column: int, noun: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert noun in caught.value.message


@pytest.mark.parametrize(
    ("text", "line", "column", "noun"),
    [
        ("\n{{ .user }}{{ .passwort }}", 2, 15, "'passwort'"),
        ("{{ .nested.c }}", 1, 4, "'inner'"),
        ("{{ .user.x }}", 1, 4, "a text"),
        ("{{ .null.x }}", 1, 4, "null"),
        ("{{ .null }}", 1, 1, "default"),
        ("{{ upper .port }}", 1, 10, "a text"),
        ("{{ .user | b64dec }}", 1, 12, "base64"),
        ("{{ template `x` }}", 1, 1, "'x'"),
        ("{{ range .user }}{{ end }}", 1, 1, "range"),
        ("{{ until (add 1 2) }}", 1, 11, "int64"),
        ("{{ regexMatch `a(` .user }}", 1, 4, "missing closing )"),
        ("{{ fail `choose a region` }}", 1, 4, "choose a region"),
        ("{{ define `t` }}\n{{ .x }}{{ end }}{{ template `t` .nested }}", 2, 4, "'x'"),
    ],
)
def test_what_cannot_be_rendered_has_a_place_in_the_template(text: str, line: int, column: int, noun: str) -> None:
    value = {"user": "!?", "port": 1, "null": None, "nested": {"inner": 1}}
    error = refused(text, value)
    assert (error.line, error.column) == (line, column)
    assert noun in error.message
    assert str(error) == f"{line}:{column}: {error.message}"


def test_a_missing_key_names_those_that_exist() -> None:
    error = refused("{{ .passwrd }}", {"password": "x", "user": "y"})
    assert "'password', 'user'" in error.message


# -- no values ---------------------------------------------------------------------------------------------------------

MARK = "s3cr3t"
SECRETS = {
    "s": f"{MARK}-text", "t": f"{MARK}(", "word": f"{MARK} word", "i": 733_201, "j": 733_202, "n": 733, "f": 733.201,
    "yes": True, "no": False, "list": [f"{MARK}-a", f"{MARK}-b"], "ints": [733_203], "map": {"a": f"{MARK}-map"},
    "deep": {"a": {"b": MARK, "c": [733_204]}, "list": [{"k": f"{MARK}-k"}]},
}  # fmt: skip


def leaks(error: BaseException) -> bool:
    """Whether an error or what it was raised from holds a value."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        at = at.__cause__ or at.__context__
    return any(MARK in str(each).lower() or "733" in str(each) for each in seen)


@pytest.mark.parametrize(
    "text",
    [
        "{{ .s.x }}",
        "{{ .s | b64dec }}",
        "{{ .s | int }}",
        "{{ .s | fromJson }}",
        "{{ .s | atoi }}",
        "{{ fail .s }}",
        "{{ .s | fail }}",
        "{{ regexMatch .t .s }}",
        "{{ index .list .n }}",
        "{{ index .list .s }}",
        "{{ .s | mustFromJson }}",
        "{{ printf .s 1 }}",
        "{{ printf `%d` .s }}",
        "{{ add .s 1 }}",
        "{{ urlParse (print `http://h:` .s) }}",
        "{{ urlParse (print `://` .s) }}",
        "{{ (dict .s 1).x }}",
        "{{ (fromJson (dict .s 1 | toJson)).x }}",
        "{{ substr .n .n .s }}",
        "{{ slice .list .n }}",
        "{{ repeat .i .s }}{{ repeat .i .s }}{{ repeat .i .s }}",
        "{{ range .s }}{{ end }}",
        "{{ lt .s .i }}",
        "{{ eq .s .list }}",
        "{{ fromYaml (print .s `: [`) }}",
        "{{ fromYaml .s }}",
        "{{ hexdec .s }}",
        "{{ .s | b32dec }}",
        "{{ pkcs12key .s }}",
        "{{ filterPEM `X` .s }}",
        "{{ jwkPublicKeyPem .s }}",
        "{{ filterCertChain `leaf` .s }}",
        "{{ toJson (trunc 1 `é`) }}",
        "{{ $x := set .map .s 1 }}{{ $x.nope }}",
        "{{ dig .s .s }}",
        "{{ template `x` .s }}",
        "{{ chunk 0 .list }}",
        "{{ mul .i .i .i .i .i }}",
        "{{ div .i 0 }}",
        "{{ toDecimal .s }}",
        "{{ round .s 1 }}",
        "{{ until .i }}",
        "{{ regexReplaceAll (print `(?P<` .s `>x)`) .s `x` }}",
        "{{ fromYaml (print .s `: 1\n` .s `: 2`) }}",
    ],
)
def test_no_error_holds_a_value(text: str) -> None:
    assert not leaks(refused(text, SECRETS))


def test_no_error_of_a_template_by_chance_holds_a_value() -> None:
    rng = random.Random(7)
    made, errors = Templates(rng), 0
    for _ in range(often(1_500)):
        text = made()
        try:
            parse(text).render(SECRETS)
        except TemplateError as error:
            errors += 1
            assert not leaks(error), text
    assert errors > often(20)


def test_the_value_stays_as_it_is() -> None:
    before = copy.deepcopy(SECRETS)
    text = "{{ set .map `x` 1 }}{{ unset .deep `a` }}{{ merge .deep (dict `z` 1) }}{{ range .list }}{{ end }}"
    parse(text).render(SECRETS)
    assert before == SECRETS


# -- values ------------------------------------------------------------------------------------------------------------


def test_numbers_of_a_secret_come_out_as_they_are_written() -> None:
    text = '{"port": 5432, "big": 123456789012345678901234567890, "rate": 1.50, "e": 1e3, "id": 12345678}'
    value = secret_json.parse(SecretValue(text.encode(), text=True))
    made = parse("{{ .port }} {{ .big }} {{ .rate }} {{ .e }} {{ .id }} {{ . | toJson }}").render(value)
    assert made.startswith("5432 123456789012345678901234567890 1.50 1e3 12345678 ")
    assert made.endswith('{"big":123456789012345678901234567890,"e":1e3,"id":12345678,"port":5432,"rate":1.50}')


def test_numbers_of_a_secret_are_what_a_function_needs() -> None:
    value = secret_json.parse(SecretValue(b'{"n": 3, "f": 2.5}', text=True))
    text = '{{ repeat .n "x" }} {{ printf "%d %.1f %.2f" .n .n .f }} {{ eq .n 3 }} {{ add .n 1 }} {{ lt .f 3.0 }}'
    assert parse(text).render(value) == "xxx 3 3.0 2.50 true 4 true"


def test_a_text_and_a_list_can_be_the_value() -> None:
    assert parse("<{{ . }}>").render("text") == "<text>"
    assert parse("{{ range . }}{{ . }};{{ end }}").render(["a", "b"]) == "a;b;"


def test_bytes_that_are_no_utf_8_come_out_as_they_are() -> None:
    assert parse('{{ b64dec "/wCA" }}').render({}).encode("utf-8", "surrogateescape") == b"\xff\x00\x80"


# -- bounds ------------------------------------------------------------------------------------------------------------

MANY = {"s": "x" * 60_000, "l": ["a" * 100] * 500, "o": {f"k{at}": "v" * 50 for at in range(500)}}


@pytest.mark.parametrize(
    "text",
    [
        "{{ range 1000000000 }}{{ end }}",
        "{{ range 1000000 }}{{ range 1000000 }}{{ end }}{{ end }}",
        "{{ range until 10000 }}{{ $.s }}{{ end }}",
        "{{ define `r` }}{{ template `r` . }}{{ end }}{{ template `r` . }}",
        "{{ $d := dict }}{{ range 60 }}{{ $d = dict `a` $d `b` $d }}{{ end }}{{ $d | toJson }}",
        "{{ $d := list }}{{ range 60 }}{{ $d = list $d $d }}{{ end }}{{ deepEqual $d $d }}",
        "{{ $d := dict }}{{ $_ := set $d `a` $d }}{{ $d }}",
        "{{ $d := dict }}{{ $_ := set $d `a` $d }}{{ merge $d (deepCopy $d) }}",
        "{{ $l := list }}{{ range 500 }}{{ $l = list $l }}{{ end }}{{ $l }}",
        "{{ repeat 1000000000 `a` }}",
        "{{ $x := `ab` }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}",
        "{{ replace `x` (repeat 100000 `y`) .s }}",
        "{{ indent 100000000 .s }}",
        "{{ join (repeat 100000 `y`) .l }}",
        "{{ wrapWith 1 (repeat 1000 `x`) .s }}",
        "{{ printf `%99999999d` 1 }}",
        "{{ until 1000000000 }}",
        "{{ seq 1 1000000000 }}",
        "{{ range until 10000 }}{{ $x := toYaml $.o }}{{ end }}",
        "{{ range 1000 }}{{ $x := fromYaml `a: 1` }}{{ $x = fromYaml (print `a: ` $.s) }}{{ end }}",
        "{{ regexReplaceAll `` .s (repeat 10000 `a`) }}",
        pytest.param(
            "{{ regexMatch `(((x{10}){10}){10})y|(x?){800}z` .s }}",
            marks=pytest.mark.full("test_re2 gives one up that is as long, and the next line one"),
        ),
        "{{ regexMatch (repeat 10000 `a?`) .s }}",
        "{{ fromYaml `a: &a [*a]` }}",
        "{{ fromJson (repeat 100000 `[`) }}",
        "{{ " + "(" * 60 + "1" + ")" * 60 + " }}",
        "{{ if 1 }}" * 60 + "{{ end }}" * 60,
        "x" * 300_000,
    ],
    ids=lambda text: text[:40],
)
def test_nothing_goes_on_for_ever_or_fills_the_memory(text: str) -> None:
    assert refused(text, MANY).message


def test_a_value_that_is_nested_thousands_deep_is_refused() -> None:
    value: Any = "x"
    for _ in range(5_000):
        value = [value]
    assert "within each other" in refused("{{ len . }}", value).message


# -- what it reads -----------------------------------------------------------------------------------------------------


def read_by(text: str) -> tuple[list[str], bool]:
    found = parse(text).reads()
    return [read.key for read in found.keys], found.whole


@pytest.mark.parametrize(
    ("text", "keys", "whole"),
    [
        ("{{ .db.user }}@{{ .host }}{{ .db.port }}", ["db", "host"], False),
        ('{{ index . "tls.crt" }}{{ get $ "a" }}{{ index .map "x" }}', ["tls.crt", "a", "map"], False),
        ("{{ with .db }}{{ .user }}{{ $.host }}{{ end }}", ["db", "host"], False),
        ("{{ range .list }}{{ .x }}{{ else }}{{ .none }}{{ end }}", ["list", "none"], False),
        ("{{ if .a }}{{ .b }}{{ else if .c }}{{ .d }}{{ end }}", ["a", "b", "c", "d"], False),
        ('{{ define "t" }}{{ .x }}{{ $.y }}{{ end }}{{ template "t" . }}', ["x", "y"], False),
        ('{{ define "t" }}{{ .x }}{{ end }}{{ template "t" .in }}', ["in"], False),
        ('{{ define "t" }}{{ .x }}{{ end }}', [], False),
        ('{{ block "b" $ }}{{ .x }}{{ end }}', ["x"], False),
        ("{{ (.a).b }}{{ ($).c }}{{ print (upper .d | lower) }}", ["a", "c", "d"], False),
        ("{{ with . }}{{ .a }}{{ end }}", ["a"], False),
        ("{{ range $k, $v := . }}{{ $k }}{{ end }}", [], True),
        ("{{ toJson . }}{{ .a }}", ["a"], True),
        ("{{ $r := $ }}{{ $r.a }}", [], True),
        ('{{ if hasKey . "opt" }}x{{ end }}', [], False),
        ("no action", [], False),
    ],
)
def test_what_a_template_reads_is_known_without_a_value(text: str, keys: list[str], whole: bool) -> None:
    assert read_by(text) == (keys, whole)


def test_a_key_that_is_read_has_its_first_place() -> None:
    assert parse("{{ .a }}\n {{ .b }}{{ .a }}").reads() == Reads((Read("a", 1, 4), Read("b", 2, 5)), whole=False)


def test_it_is_known_what_needs_cryptography() -> None:
    assert parse("{{ if false }}{{ pkcs12cert .p12 }}{{ end }}").needs_cryptography()
    assert not parse("{{ filterPEM `CERTIFICATE` .pem }}").needs_cryptography()


def test_a_template_imports_neither_yaml_nor_cryptography_that_it_does_not_call() -> None:
    script = (
        "import sys; before = set(sys.modules); from agent.render.template import parse;"
        "parse('{{ .a | upper }}').render({'a': 'b'}); print(*set(sys.modules) - before)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "agent.render.template.execute" in said
    assert [name for name in said if name.partition(".")[0] in ("yaml", "cryptography", "decimal", "jmespath")] == []
    assert "agent.core.re2" not in said
