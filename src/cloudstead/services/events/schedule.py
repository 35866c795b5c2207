"""Schedules of rules: `rate(5 minutes)` and `cron(0 12 ? * MON-FRI *)`, in UTC.

    next_after(expression, after, begin)    seconds since the epoch of the first firing later than `after`

A rate counts from the moment at which its rule was made or enabled. A cron expression has six fields: minutes, hours, day of month, month, day of
week, year; one of the two days is `?`. `L` is the last day (of the month; `6L`: the last Friday), `15W` the weekday nearest to the 15th, `6#3` the
third Friday; weeks begin on Sunday, which is 1.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

FIRST_YEAR, LAST_YEAR = 1970, 2199
UNITS: Final[Mapping[str, int]] = {"minute": 60, "hour": 3600, "day": 86400}
MONTHS: Final = {
    name: number for number, name in enumerate(["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1)
}
DAYS: Final = {name: number for number, name in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], 1)}

_RATE = re.compile(r"rate\(([0-9]{1,9}) (minute|hour|day)(s?)\)")
_CRON = re.compile(r"cron\(([^()]{1,240})\)")
DayTest: TypeAlias = Callable[[date], bool]


class InvalidSchedule(ValueError):
    """The text is not a schedule."""


class Schedule(Protocol):
    def next_after(self, after: float, begin: float) -> float | None:
        """The first firing later than `after` (seconds since the epoch); None when there is none any more.

        Args:
            begin: when the rule was made or enabled.
        """


@lru_cache(maxsize=1024)
def parse(expression: str) -> Schedule:
    """
    Raises:
        InvalidSchedule
    """
    if rate := _RATE.fullmatch(expression):
        return Rate(int(rate[1]), rate[2], rate[3])
    if cron := _CRON.fullmatch(expression):
        return Cron(cron[1].split())
    raise InvalidSchedule(expression)


class Rate:
    def __init__(self, count: int, unit: str, plural: str) -> None:
        if count < 1 or (count == 1) == bool(plural):  # AWS insists: 1 minute, 2 minutes
            raise InvalidSchedule(f"rate({count} {unit}{plural})")
        self.seconds = count * UNITS[unit]

    def next_after(self, after: float, begin: float) -> float | None:
        if after < begin:
            return begin + self.seconds
        return begin + (int((after - begin) // self.seconds) + 1) * self.seconds


class Cron:
    def __init__(self, fields: list[str]) -> None:
        if len(fields) != 6:
            raise InvalidSchedule("a cron expression has six fields")
        minutes, hours, days, months, weekdays, years = (field.upper() for field in fields)
        if (days == "?") == (weekdays == "?"):
            raise InvalidSchedule("exactly one of the two days is ?")
        self._minutes = values(minutes, 0, 59)
        self._hours = values(hours, 0, 23)
        self._months = frozenset(values(months, 1, 12, MONTHS))
        self._years = values(years, FIRST_YEAR, LAST_YEAR)
        self._day = day_of_month(days) if weekdays == "?" else day_of_week(weekdays)

    def next_after(self, after: float, begin: float) -> float | None:
        moment = datetime.fromtimestamp(max(after, begin) // 60 * 60, UTC) + timedelta(minutes=1)
        day: date | None = moment.date()
        if self._suits(moment.date()):
            found = self._time_of(moment.hour, moment.minute)
            if found is not None:
                return _seconds(moment.date(), *found)
        day = self._day_after(moment.date())
        return None if day is None else _seconds(day, self._hours[0], self._minutes[0])

    def _suits(self, day: date) -> bool:
        return day.month in self._months and day.year in self._years and self._day(day)

    def _time_of(self, hour: int, minute: int) -> tuple[int, int] | None:
        """The first time of a day that is not before this one."""
        for one in self._hours:
            if one == hour:
                for other in self._minutes:
                    if other >= minute:
                        return one, other
            elif one > hour:
                return one, self._minutes[0]
        return None

    def _day_after(self, day: date) -> date | None:
        for year in self._years:
            if year < day.year:
                continue
            for month in sorted(self._months):
                if (year, month) < (day.year, day.month):
                    continue
                for number in range(1, calendar.monthrange(year, month)[1] + 1):
                    candidate = date(year, month, number)
                    if candidate > day and self._day(candidate):
                        return candidate
        return None


def _seconds(day: date, hour: int, minute: int) -> float:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC).timestamp()


def values(field: str, low: int, high: int, names: Mapping[str, int] | None = None) -> list[int]:
    """The numbers that a field of lists, ranges and steps names, in order."""
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and 0 < int(step) <= high):
            raise InvalidSchedule(part)
        begin, dash, end = span.partition("-")
        if span == "*":
            first, last = low, high
        else:
            first = number(begin, low, high, names)
            last = number(end, low, high, names) if dash else (high if slash else first)
        if first <= last:
            found.update(range(first, last + 1, int(step or 1)))
        else:  # FRI-MON: round the end
            span_values = [*range(first, high + 1), *range(low, last + 1)]
            found.update(span_values[:: int(step or 1)])
    return sorted(found)


def number(text: str, low: int, high: int, names: Mapping[str, int] | None = None) -> int:
    value = (names or {}).get(text, -1)
    if value < 0 and text.isascii() and text.isdigit() and len(text) < 5:
        value = int(text)
    if not low <= value <= high:
        raise InvalidSchedule(text)
    return value


def day_of_month(field: str) -> DayTest:
    if field == "L":
        return lambda day: day.day == _length(day)
    if field == "LW":
        return lambda day: day.day == _weekday_near(day, _length(day))
    if field.endswith("W"):
        wanted = number(field[:-1], 1, 31)
        return lambda day: wanted <= _length(day) and day.day == _weekday_near(day, wanted)
    if field.startswith("L-"):
        before = number(field[2:], 1, 30)
        return lambda day: day.day == _length(day) - before
    numbers = frozenset(values(field, 1, 31))
    return lambda day: day.day in numbers


def day_of_week(field: str) -> DayTest:
    if field == "L":
        return lambda day: _weekday(day) == 7
    name, hash_sign, nth = field.partition("#")
    if hash_sign:
        weekday, count = number(name, 1, 7, DAYS), number(nth, 1, 5)
        return lambda day: _weekday(day) == weekday and (day.day - 1) // 7 == count - 1
    if field.endswith("L"):
        weekday = number(field[:-1], 1, 7, DAYS)
        return lambda day: _weekday(day) == weekday and day.day > _length(day) - 7
    numbers = frozenset(values(field, 1, 7, DAYS))
    return lambda day: _weekday(day) in numbers


def _weekday(day: date) -> int:
    """1 is Sunday."""
    return day.isoweekday() % 7 + 1


def _length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _weekday_near(day: date, wanted: int) -> int:
    """The day from Monday to Friday nearest to this day of the month, within the month."""
    weekday = date(day.year, day.month, wanted).isoweekday()
    if weekday == 6:
        return wanted - 1 if wanted > 1 else wanted + 2
    if weekday == 7:
        return wanted + 1 if wanted < _length(day) else wanted - 2
    return wanted
