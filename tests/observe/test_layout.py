"""Tables, sentences and colour, for the screen that the reader has."""

from __future__ import annotations

import pytest

from agent.observe import layout
from agent.observe.layout import PLAIN, Screen

ROWS = [("payments-primary", "fresh", "3h ago", "in 5m"), ("payments-replica", "stale", "in 2s", "3d ago")]
HEAD = ("NAME", "STATE", "SEEN", "ROTATION")


def made(width: int, *, terminal: bool = True, colour: bool = False) -> list[str]:
    return layout.table(
        HEAD,
        ROWS,
        Screen(width, terminal, colour),
        shorter=lambda column, cell: cell.removesuffix(" ago") if column == "SEEN" else cell,
        spare=("SEEN", "ROTATION"),
        mood=lambda column, cell: "bad" if cell == "stale" else "",
    )


def test_what_is_too_wide_gives_way_step_by_step() -> None:
    """Words, then columns, which are named, then the middle of the names, which differ at their ends."""
    assert made(41)[2] == "payments-replica  stale  in 2s   3d ago"
    assert made(40)[2] == "payments-replica  stale  in 2s  3d ago" and "3h ago" not in made(40)[1]
    assert made(39)[2] == "payments-replica  stale  3d ago" and "SEEN" in made(39)[3]
    assert made(32)[2] == "payments-replica  stale" and "SEEN, ROTATION" in made(32)[3]
    assert made(20)[1:3] == ["paymen…rimary  fresh", "paymen…eplica  stale"]


@pytest.mark.parametrize("width", range(20, 90, 3))
def test_a_table_fits_a_terminal(width: int) -> None:
    """Whatever its width."""
    assert max(map(len, made(width))) <= width


def test_programs_find_whole_names() -> None:
    """Where no terminal reads, nothing is cut and no sentence is broken."""
    assert "payments-replica" in made(20, terminal=False)[2]
    assert layout.wrapped("word " * 40, PLAIN) == ["word " * 40]


def test_a_sentence_is_wrapped_and_its_arn_is_not() -> None:
    """It is copied from there."""
    arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf"
    lines = layout.wrapped(f"db: may not describe {arn} at all", Screen(40, terminal=True), 4)
    assert [line for line in lines if arn in line] == [f"    {arn}"]
    assert lines[0] == "db: may not describe" and lines[2] == "    at all"


def test_colour_takes_no_room() -> None:
    """The columns stand as without, and only where there are colours."""
    plain, coloured = made(80), made(80, colour=True)
    assert coloured[2].replace("\033[31m", "").replace("\033[0m", "") == plain[2] and coloured[2] != plain[2]
    assert coloured[1] == plain[1]
