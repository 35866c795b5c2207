"""Schedules: what AWS documents, what it refuses, and properties over years."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.services.events.schedule import InvalidSchedule, parse

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC).timestamp()  # a Thursday


def firings(expression: str, count: int, *, after: float = NOON, begin: float = NOON) -> list[str]:
    found: list[str] = []
    schedule = parse(expression)
    moment: float | None = after
    for _ in range(count):
        assert moment is not None
        moment = schedule.next_after(moment, begin)
        if moment is None:
            break
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M"))
    return found


# The examples of https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html, and each wildcard of its table.
CASES = [
    ("rate(1 minute)", ["2026-01-01 12:01", "2026-01-01 12:02"]),
    ("rate(5 minutes)", ["2026-01-01 12:05", "2026-01-01 12:10"]),
    ("rate(1 hour)", ["2026-01-01 13:00"]),
    ("rate(7 days)", ["2026-01-08 12:00", "2026-01-15 12:00"]),
    ("cron(0 10 * * ? *)", ["2026-01-02 10:00", "2026-01-03 10:00"]),
    ("cron(15 12 * * ? *)", ["2026-01-01 12:15", "2026-01-02 12:15"]),
    ("cron(0 18 ? * MON-FRI *)", ["2026-01-01 18:00", "2026-01-02 18:00", "2026-01-05 18:00"]),
    ("cron(0 8 1 * ? *)", ["2026-02-01 08:00", "2026-03-01 08:00"]),
    ("cron(0/15 * * * ? *)", ["2026-01-01 12:15", "2026-01-01 12:30", "2026-01-01 12:45", "2026-01-01 13:00"]),
    ("cron(0/5 8-17 ? * MON-FRI *)", ["2026-01-01 12:05"]),
    ("cron(0 9 ? * 2#1 *)", ["2026-01-05 09:00", "2026-02-02 09:00", "2026-03-02 09:00"]),
    ("cron(0/30 20-2 ? * MON-FRI *)", ["2026-01-01 20:00", "2026-01-01 20:30"]),
    ("cron(15 10 ? * 6L 2026-2027)", ["2026-01-30 10:15", "2026-02-27 10:15"]),
    ("cron(0 0 L * ? *)", ["2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00"]),
    ("cron(0 0 15W * ? *)", ["2026-01-15 00:00", "2026-02-16 00:00", "2026-03-16 00:00"]),
    ("cron(0 0 29 2 ? *)", ["2028-02-29 00:00", "2032-02-29 00:00"]),
    ("cron(0 0 1 JAN ? 2028/2)", ["2028-01-01 00:00", "2030-01-01 00:00"]),
    ("cron(1,31 12 ? * thu *)", ["2026-01-01 12:01", "2026-01-01 12:31", "2026-01-08 12:01"]),
    ("cron(0 0 ? * SUN *)", ["2026-01-04 00:00"]),
    ("cron(0 0 ? * 1 *)", ["2026-01-04 00:00"]),
    ("cron(0 12 1 1 ? 2026)", []),
    ("cron(0 0 30 2 ? *)", []),
]


@pytest.mark.parametrize(("expression", "expected"), CASES)
def test_a_schedule_fires_when_aws_says(expression: str, expected: list[str]) -> None:
    assert firings(expression, max(1, len(expected))) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "", "rate()", "rate(0 minutes)", "rate(1 minutes)", "rate(5 minute)", "rate(5 seconds)", "rate(-1 minute)", "rate(1.5 hours)", "rate(5 weeks)",
        "cron()", "cron(* * * *)", "cron(0 12 * * * *)", "cron(0 12 ? * ? *)", "cron(60 12 * * ? *)", "cron(0 24 * * ? *)", "cron(0 0 0 * ? *)",
        "cron(0 0 32 * ? *)", "cron(0 0 1 13 ? *)", "cron(0 0 1 * ? 1969)", "cron(0 0 ? * 8 *)", "cron(0 0 ? * 2#6 *)", "cron(0/0 * * * ? *)",
        "cron(a * * * ? *)", "cron(0 0 1 * ? *) ", "0 12 * * ? *", "at(2026-01-01T00:00:00)", "rate(\u0665 minutes)", "cron(0 0 ? * MON#x *)",
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule):
        parse(expression)


_fields = st.tuples(
    st.sampled_from(["*", "0", "59", "0/7", "5,10,59", "10-20", "50-5/3"]),
    st.sampled_from(["*", "0", "23", "0/6", "22-3", "1,13"]),
    st.sampled_from([("*", "?"), ("1", "?"), ("31", "?"), ("L", "?"), ("L-3", "?"), ("LW", "?"), ("1W", "?"), ("31W", "?"), ("?", "*"), ("?", "MON-FRI"),
                     ("?", "FRI-MON"), ("?", "L"), ("?", "3L"), ("?", "5#5"), ("?", "2/2")]),
    st.sampled_from(["*", "2", "FEB", "1/3", "NOV-FEB", "4,6"]),
    st.sampled_from(["*", "2026-2040", "2028", "2027/4"]),
)  # fmt: skip
_moments = st.floats(datetime(2025, 1, 1, tzinfo=UTC).timestamp(), datetime(2030, 1, 1, tzinfo=UTC).timestamp())


@settings(max_examples=200, deadline=None)
@given(_fields, _moments)
def test_firings_follow_each_other_on_full_minutes_and_no_earlier_one_is_left_out(
    fields: tuple[str, str, tuple[str, str], str, str], after: float
) -> None:
    minutes, hours, (days, weekdays), months, years = fields
    schedule = parse(f"cron({minutes} {hours} {days} {months} {weekdays} {years})")
    first = schedule.next_after(after, 0.0)
    if first is None:
        return
    assert first > after
    assert first % 60 == 0
    # Whoever asks at any moment in between is told the same firing.
    for part in (0.25, 0.5, 0.999):
        assert schedule.next_after(after + (first - after) * part - 0.001, 0.0) in (first, schedule.next_after(after, 0.0))
    assert schedule.next_after(first - 1, 0.0) == first
    second = schedule.next_after(first, 0.0)
    assert second is None or second >= first + 60


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 10_000), st.sampled_from(["minutes", "hours", "days"]), _moments, st.floats(0, 1e8))
def test_a_rate_counts_from_the_moment_at_which_its_rule_began(count: int, unit: str, begin: float, later: float) -> None:
    period = count * {"minutes": 60, "hours": 3600, "days": 86400}[unit]
    found = parse(f"rate({count} {unit})").next_after(begin + later, begin)
    assert found is not None
    assert begin + later < found <= begin + later + period + 1e-3
    assert round((found - begin) / period) * period == pytest.approx(found - begin, abs=1e-3)


@settings(max_examples=300, deadline=None)
@given(st.text("cron(0123456789*/?-,LW# MONJA)rate(minutes", max_size=40))
def test_garbage_is_refused_or_fires_in_the_future(text: str) -> None:
    for expression in (text, f"cron({text})", f"rate({text})"):
        try:
            schedule = parse(expression)
        except InvalidSchedule:
            continue
        found = schedule.next_after(NOON, NOON)
        assert found is None or found > NOON


def test_a_schedule_that_never_fires_is_found_out_quickly() -> None:
    began = time.process_time()
    assert parse("cron(0 0 31 2,4,6,9,11 ? *)").next_after(NOON, NOON) is None
    assert time.process_time() - began < 1.0
