"""The windows of time in which an ExternalSecret follows AWS by the clock, or does not (`syncWindows`). Times are UTC.

A window begins when its schedule says, and is open for its length, both ends included. A schedule is that of cron:
minute, hour, day of the month, month, day of the week. Where both kinds of day are given either of them will do.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from agent.core.record import Record

Kind = Literal["allow", "deny"]

LONGEST = 92 * 86400.0  # seconds of a window

MOST = 20  # windows: what is asked of them is asked in a loop that others wait for

_LONGEST_TEXT = 200  # characters of a schedule

_YEARS = 8 * 366  # days in which a schedule is looked for, the most between two leap years

_ENDS = 8  # windows that follow each other without a gap; then it is looked again

_LEAP = 1577836800.0  # the begin of 2020, a leap year

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class _Field(Record):
    """One field of a schedule: its name, the least and the greatest number, and names for numbers."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 6, _DAYS),
)

_RANGE = re.compile(r"(\*|\?|\w{1,3})(?:-(\w{1,3}))?(?:/(\d{1,3}))?", re.ASCII)


class Schedule(Record):
    """When a window begins. `minutes` are those of a day, in their order; `both`: both kinds of day must fit."""

    minutes: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool

    def falls_on(self, day: date) -> bool:
        """Whether a window begins on that day."""
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (of_month and of_week if self.both else of_month or of_week)

    def last(self, now: float, since: float) -> float | None:
        """The latest begin that is not after `now` nor before `since` (epoch seconds); None: there is none."""
        at, first = datetime.fromtimestamp(now, UTC), datetime.fromtimestamp(since, UTC).date()
        minute, day = at.hour * 60 + at.minute, at.date()
        while day >= first:
            if day.month not in self.months:
                minute, day = 1440, day.replace(day=1) - timedelta(days=1)
                continue
            if self.falls_on(day) and (count := bisect_right(self.minutes, minute)):
                begins = _midnight(day) + 60.0 * self.minutes[count - 1]
                return begins if begins >= since else None
            minute, day = 1440, day - timedelta(days=1)
        return None

    def next(self, now: float) -> float | None:
        """The first begin after `now` (epoch seconds); None: there is none in eight years."""
        at = datetime.fromtimestamp(now, UTC)
        minute, day = at.hour * 60 + at.minute + 1, at.date()
        end = day + timedelta(days=_YEARS)
        while day < end:
            if day.month not in self.months:
                minute, day = 0, (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self.falls_on(day) and (number := bisect_left(self.minutes, minute)) < len(self.minutes):
                return _midnight(day) + 60.0 * self.minutes[number]
            minute, day = 0, day + timedelta(days=1)
        return None


class Window(Record):
    """One window, which is open for so many seconds."""

    schedule: Schedule
    length: float

    def ends(self, now: float) -> float | None:
        """When it ends, if it is open (epoch seconds)."""
        begun = self.schedule.last(now, now - self.length)
        return None if begun is None else begun + self.length


class Windows(Record):
    """What `syncWindows` says. `allow`: AWS is followed within them alone; `deny`: outside of them alone."""

    kind: Kind
    windows: tuple[Window, ...]

    def opens(self, now: float) -> float | None:
        """From when on AWS is followed (epoch seconds): `now`, if it is now. None: not in the next years."""
        if not self.windows:
            return now
        if self.kind == "allow":
            if any(window.ends(now) is not None for window in self.windows):
                return now
            return min((at for each in self.windows if (at := each.schedule.next(now)) is not None), default=None)
        for _ in range(_ENDS):
            ends = [end for each in self.windows if (end := each.ends(now)) is not None]
            if not ends:
                break
            now = max(ends) + 1.0
        return now


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


@functools.lru_cache(maxsize=256)
def schedule(text: str) -> Schedule:
    """Read a schedule. Raises ValueError with a sentence that says what is wrong with which field."""
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"it has {len(text)} characters, more than {_LONGEST_TEXT}; divide it into several windows")
    words = _NAMED.get(text.strip().lower(), text).split()
    if len(words) != len(_FIELDS):
        named = ", ".join(field.name for field in _FIELDS)
        raise ValueError(f"{text!r} is not five fields of cron: {named}; times are UTC")
    found = [_numbers(word, field) for word, field in zip(words, _FIELDS, strict=True)]
    (minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday) = found
    made = Schedule(
        minutes=tuple(60 * hour + minute for hour in sorted(hours) for minute in sorted(minutes)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekdays),
        both=any_day or any_weekday,
    )
    if made.next(_LEAP) is None:
        raise ValueError(f"{text!r} never comes: there is no such day; correct it")
    return made


def _numbers(text: str, field: _Field) -> tuple[set[int], bool]:
    """The numbers that a field names, and whether it names all of them by `*`."""
    found: set[int] = set()
    every = False
    for part in text.split(","):
        read = _RANGE.fullmatch(part)
        if read is None:
            raise ValueError(f"{field.name} {text!r}: {part!r} is no number, range or step")
        first, last, step = read[1], read[2], int(read[3] or 1)
        if step < 1:
            raise ValueError(f"{field.name} {text!r}: a step must be at least 1")
        if first in ("*", "?"):
            if last:
                raise ValueError(f"{field.name} {text!r}: {part!r} is no number, range or step")
            begin, end = field.least, field.most
            every = every or step == 1
        else:
            begin = _number(first, text, field)
            end = _number(last, text, field) if last else field.most if read[3] else begin
        if begin > end:
            raise ValueError(f"{field.name} {text!r}: {part!r} begins after its end")
        found.update(range(begin, end + 1, step))
    return found, every


def _number(word: str, text: str, field: _Field) -> int:
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.least
    if not word.isdigit() or not field.least <= int(word) <= field.most:
        raise ValueError(f"{field.name} {text!r}: {word!r} is not from {field.least} to {field.most}")
    return int(word)
