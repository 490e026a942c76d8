"""Windows of time: when they are open, and when AWS is followed. Times are UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.core.windows import Kind, Window, Windows, schedule


def at(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


OPENS = at(2026, 6, 1, 22)  # a Monday


def windows(kind: Kind, *given: tuple[str, float]) -> Windows:
    return Windows(kind, tuple(Window(schedule(text), 3600.0 * hours) for text, hours in given))


@pytest.mark.parametrize(
    ("after", "within"),
    [(-3600, False), (-1, False), (0, True), (1800, True), (7200, True), (7201, False), (86400 + 60, True)],
)
def test_both_ends_of_a_window_belong_to_it(after: int, within: bool) -> None:
    now = OPENS + after
    assert (windows("allow", ("0 22 * * *", 2.0)).opens(now) == now) is within
    assert (windows("deny", ("0 22 * * *", 2.0)).opens(now) == now) is not within


def test_it_opens_with_the_next_window_or_after_the_last_of_those_that_follow_each_other() -> None:
    assert windows("allow", ("0 22 * * *", 1.0), ("30 4 * * *", 1.0)).opens(OPENS + 7200) == OPENS + 6.5 * 3600
    joined = windows("deny", ("0 22 * * *", 2.0), ("0 23 * * *", 3.0))
    assert joined.opens(OPENS) == OPENS + 4 * 3600 + 1
    always = windows("deny", ("* * * * *", 24.0))
    assert (always.opens(OPENS) or 0.0) > OPENS + 86400
    assert windows("allow").opens(OPENS) == OPENS, "no window holds nothing back"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("0 0 1 1 *", (2027, 1, 1)),
        ("@yearly", (2027, 1, 1)),
        ("@hourly", (2026, 6, 1, 23)),
        ("*/20 * * * *", (2026, 6, 1, 22, 20)),
        ("5/20 3 * * *", (2026, 6, 2, 3, 5)),
        ("0 9-17/4 * * mon-fri", (2026, 6, 2, 9)),
        ("0 12 * * SUN", (2026, 6, 7, 12)),
        ("0 0 29 feb *", (2028, 2, 29)),
        ("15,45 22 ? * *", (2026, 6, 1, 22, 15)),
        ("0 0 13 * 5", (2026, 6, 5)),  # the 13th, or a Friday
        ("0 0 */2 * 5", (2026, 6, 3)),  # a step is a choice as well
        ("0 0 * * 5", (2026, 6, 5)),
    ],
)
def test_a_schedule_is_that_of_cron(text: str, first: tuple[int, ...]) -> None:
    found = schedule(text).next(OPENS)
    assert found == at(*first)
    assert schedule(text).last(found, OPENS) == found
    assert schedule(text).last(found - 60, OPENS + 1) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not-a-cron", "five fields"),
        ("* * * *", "five fields"),
        ("@every 1h", "five fields"),
        ("CRON_TZ=Europe/Berlin 0 22 * * *", "five fields"),
        ("60 * * * *", "minute '60': '60' is not from 0 to 59"),
        ("* * 0 * *", "day of the month"),
        ("* * * * 7", "day of the week"),
        ("* * * foo *", "month 'foo'"),
        ("*/0 * * * *", "at least 1"),
        ("5-1 * * * *", "begins after its end"),
        ("*-5 * * * *", "no number"),
        ("0 0 30 2 *", "no such day"),
        ("1," * 200 + "1 * * * *", "characters"),
    ],
)
def test_what_is_no_schedule_is_refused_for_its_reason(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refusal:
        schedule(text)
    assert says in str(refusal.value)
