"""The record of a generation and that of acceptances, as values and as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.model import PublishedSecret
from agent.core.record import replace
from agent.sinks.volume.generation import (
    HIGHEST,
    Clock,
    FileRecord,
    GenerationRecord,
    Identity,
    dump,
    dump_accepted,
    load,
    load_accepted,
)
from tests.support.length import often

SECRET = PublishedSecret("v1", ("AWSCURRENT",), "f", 7, 1000.0, None, None)
OLDER = replace(SECRET, changed=3, visible_since=50.0)
RECORD = GenerationRecord(
    generation=7,
    written=Clock(1000.0, "boot", 100.0),
    secrets={"db": SECRET, "api": OLDER},
    files={
        "db": FileRecord(("db",), Identity(1, 2, 3, 0o440, 0)),
        "a/b": FileRecord(("api", "db"), Identity(1, 2, 3, 4, 5)),
    },
    accepted={"app": 7},
)


def test_what_is_written_is_read_back() -> None:
    """Both records; the one of a generation also in the format before, in which a file is of one secret."""
    assert load(dump(RECORD)) == RECORD
    assert load(dump(RECORD).replace(b'"format":2', b'"format":1')) == RECORD
    assert load_accepted(dump_accepted({"app": 3})) == {"app": 3}


@settings(max_examples=often(100), deadline=None)
@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(max_size=4), st.lists).map(json.dumps).map(str.encode)
)
def test_anything_else_is_no_record(text: bytes) -> None:
    """Damaged or foreign bytes are None, never an exception."""
    assert load(text) is None
    assert load_accepted(text) is None


@pytest.mark.parametrize(
    "edit",
    [
        {"format": 0},
        {"format": 3},
        {"generation": -1},
        {"generation": True},
        {"generation": HIGHEST + 1},
        {"generation": "7"},
        {"files": {"../x": {"secrets": [], "identity": [1, 2, 3, 4, 5]}}},
        {"files": {"/x": {"secrets": [], "identity": [1, 2, 3, 4, 5]}}},
        {"files": {"a": {"secrets": [], "identity": [1, 2]}}},
        {"files": []},
        {"secrets": {"db": {}}},
        {"accepted": {"app": "all"}},
        {"written": None},
    ],
)
def test_a_record_that_was_tampered_with_is_none(edit: dict[str, object]) -> None:
    """A path that leaves the generation, a number that no generation has, a missing part."""
    assert load(json.dumps({**json.loads(dump(RECORD)), **edit}).encode()) is None


def visible(now: Clock, linked_at: float = 1000.5) -> dict[str, float | None]:
    return {name: secret.visible_since for name, secret in RECORD.seen_from(now, linked_at).secrets.items()}


def test_a_generation_is_visible_from_its_rename() -> None:
    """The moment after its manifest was written, on the boot's clock; what changed earlier keeps its own."""
    seen = visible(Clock(9999.0, "boot", 500.0))
    assert seen["db"] == pytest.approx(100.52)
    assert seen["api"] == 50.0


def test_a_clock_that_was_set_moves_nothing() -> None:
    """Whatever the wall says now, and also when the link's time lies before the manifest's."""
    assert visible(Clock(0.0, "boot", 500.0)) == visible(Clock(10**9, "boot", 500.0))
    assert visible(Clock(0.0, "boot", 500.0), linked_at=10.0)["db"] == pytest.approx(100.02)


def test_another_boot_started_every_process_later() -> None:
    """And an unknown one tells nothing."""
    assert visible(Clock(9999.0, "other", 5.0)) == {"db": 0.0, "api": 0.0}
    assert visible(Clock(9999.0, None, None)) == {"db": None, "api": None}
