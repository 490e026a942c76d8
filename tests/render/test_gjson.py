"""Paths of gjson, against what gjson 1.18 itself found for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.render import gjson

CASES = [json.loads(line) for line in (Path(__file__).parent / "gjson_cases.jsonl").read_text().splitlines()]


def test_a_path_finds_what_gjson_finds() -> None:
    def found(case: dict[str, str | None]) -> str | None:
        result = gjson.get(str(case["json"]), str(case["path"]))
        return result.shown if result.exists else None

    assert len(CASES) > 200
    assert [(case, got) for case in CASES if (got := found(case)) != case["found"]] == []


@pytest.mark.parametrize(
    ("text", "prop", "found"),
    [
        ('{"a.b": "key", "a": {"b": "path"}}', "a.b", "key"),
        ('{"a": {"b": "path"}}', "a.b", "path"),
        ('{"a.b": {"c": "x"}}', "a.b.c", None),
        ('{"a.b": {"c": "x"}}', "a\\.b.c", "x"),
        ('{"a": null}', "a", ""),
    ],
)
def test_a_property_with_dots_is_a_key_before_it_is_a_path(text: str, prop: str, found: str | None) -> None:
    assert gjson.lookup(text, prop) == found


def test_a_byte_that_is_no_text_passes() -> None:
    text = b'{"k": "a\xffb"}'.decode("utf-8", "surrogateescape")
    assert (gjson.lookup(text, "k") or "").encode("utf-8", "surrogateescape") == b"a\xffb"


def test_nothing_that_is_nested_deeply_is_an_error() -> None:
    assert gjson.lookup("[" * 50_000, ".".join("0" * 5_000)) is None
