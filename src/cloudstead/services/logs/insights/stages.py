"""Rows through the commands of a query.

Rows come in descending order of time, page by page. Commands that look at one row at a time (fields, filter, parse) and those that only drop rows (limit,
dedup) pass them on at once; stats and sort gather. So a query holds what it must: the groups of its stats, the best rows of its sort.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cloudstead.services.logs.insights import values
from cloudstead.services.logs.insights.aggregates import Gathered
from cloudstead.services.logs.insights.rows import Row, evaluator
from cloudstead.services.logs.insights.syntax import (
    Call,
    Command,
    Dedup,
    Expression,
    Field,
    Fields,
    Filter,
    Limit,
    Named,
    Parse,
    Query,
    Sort,
    Stats,
)
from cloudstead.services.logs.insights.values import TIMES, Value

MOST_ROWS = 10_000  # that a query gathers without a limit of its own
MOST_GROUPS = 10_000  # of stats
TIME_FIELDS = frozenset({"@timestamp", "@ingestionTime"})


class Stage:
    """One command at work. `take` gives what of some rows goes on at once, `finish` what was gathered."""

    done = False  # wants no more rows

    def take(self, rows: list[Row]) -> list[Row]:
        return rows

    def finish(self) -> list[Row]:
        return []


class FieldsStage(Stage):
    def __init__(self, command: Fields) -> None:
        self._columns = [
            (column.name, evaluator(column.expression)) for column in command.columns if column.expression != Field(column.name)
        ]

    def take(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            for name, evaluate in self._columns:
                row.added[name] = evaluate(row)
        return rows


class FilterStage(Stage):
    def __init__(self, command: Filter) -> None:
        self._condition = evaluator(command.condition)

    def take(self, rows: list[Row]) -> list[Row]:
        return [row for row in rows if values.truth(self._condition(row))]


class ParseStage(Stage):
    def __init__(self, command: Parse) -> None:
        self._value = evaluator(command.value)
        self._search = re.compile(command.pattern).search
        self._names = command.names

    def take(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            value = self._value(row)
            found = None if value is None else self._search(values.text(value))
            if found is not None:
                row.added.update(zip(self._names, found.groups(), strict=True))
        return rows


class LimitStage(Stage):
    def __init__(self, command: Limit) -> None:
        self._count = command.count
        self._last = command.last
        self._kept: list[Row] = []
        self._passed = 0

    def take(self, rows: list[Row]) -> list[Row]:
        if self._last:
            self._kept = (self._kept + rows)[-self._count :]
            return []
        rows = rows[: self._count - self._passed]
        self._passed += len(rows)
        self.done = self._passed >= self._count
        return rows

    def finish(self) -> list[Row]:
        return self._kept


class DedupStage(Stage):
    def __init__(self, command: Dedup) -> None:
        self._by = [evaluator(each) for each in command.by]
        self._seen: set[tuple[Value, ...]] = set()

    def take(self, rows: list[Row]) -> list[Row]:
        fresh = []
        for row in rows:
            key = tuple(each(row) for each in self._by)
            if None in key or key not in self._seen:  # AWS keeps rows that lack one of the fields
                self._seen.add(key)
                fresh.append(row)
        return fresh


class SortStage(Stage):
    def __init__(self, command: Sort, keep: int) -> None:
        self._keys = [(evaluator(expression), descending) for expression, descending in command.keys]
        self._keep = keep
        self._rows: list[Row] = []

    def take(self, rows: list[Row]) -> list[Row]:
        self._rows += rows
        if len(self._rows) > 2 * self._keep + 1000:
            self._sort()
        return []

    def _sort(self) -> None:
        for evaluate, descending in reversed(self._keys):
            self._rows.sort(key=lambda row, evaluate=evaluate: values.order(evaluate(row)), reverse=descending)  # type: ignore[misc]
        del self._rows[self._keep :]

    def finish(self) -> list[Row]:
        self._sort()
        return self._rows


class StatsStage(Stage):
    def __init__(self, command: Stats) -> None:
        self._aggregates = command.aggregates
        self._arguments = [[evaluator(each) for each in aggregate.arguments] for aggregate in command.aggregates]
        self._by = [(column.name, evaluator(column.expression), is_time(column.expression)) for column in command.by]
        self._groups: dict[tuple[Value, ...], list[Gathered]] = {}

    def take(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            key = tuple(evaluate(row) for _, evaluate, _ in self._by)
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= MOST_GROUPS:
                    continue
                group = self._groups[key] = [Gathered(aggregate) for aggregate in self._aggregates]
            stamp = row.get("@timestamp")
            for gathered, arguments in zip(group, self._arguments, strict=True):
                gathered.add([each(row) for each in arguments], stamp)
        return []

    def finish(self) -> list[Row]:
        if not self._groups and not self._by:
            self._groups[()] = [Gathered(aggregate) for aggregate in self._aggregates]
        found = []
        for key, group in self._groups.items():
            columns: dict[str, Value] = {name: value for (name, _, _), value in zip(self._by, key, strict=True)}
            columns.update((aggregate.name, gathered.result()) for aggregate, gathered in zip(self._aggregates, group, strict=True))
            found.append(Row(columns))
        return found


def is_time(expression: Expression) -> bool:
    return (isinstance(expression, Call) and expression.name in TIMES) or (isinstance(expression, Field) and expression.name in TIME_FIELDS)


class Pipeline:
    """A query at work on rows."""

    def __init__(self, query: Query, limit: int = MOST_ROWS) -> None:
        commands = query.commands
        limits = [command.count for command in commands if isinstance(command, Limit)]
        self._limit = min([limit, *limits])
        self._stages = [self._stage(command) for command in (*commands, Limit(self._limit))]
        self._counted = next(
            i for i, stage in enumerate(self._stages) if isinstance(stage, StatsStage | SortStage | LimitStage | DedupStage)
        )
        self._out: list[Row] = []
        self.matched = 0  # events that passed the commands before the first that gathers or limits
        self.columns = columns(query)
        self.aggregated = any(isinstance(command, Stats) for command in commands)
        self._times = {column.name for command in commands for column in _named(command) if is_time(column.expression)} | TIME_FIELDS

    def _stage(self, command: Command) -> Stage:
        match command:
            case Fields():
                return FieldsStage(command)
            case Filter():
                return FilterStage(command)
            case Parse():
                return ParseStage(command)
            case Stats():
                return StatsStage(command)
            case Sort():
                return SortStage(command, MOST_ROWS)
            case Limit():
                return LimitStage(command)
        return DedupStage(command)

    @property
    def done(self) -> bool:
        """No further row can change the result."""
        for stage in self._stages:
            if stage.done:
                return True
            if isinstance(stage, StatsStage | SortStage):
                return False
        return False

    def take(self, rows: list[Row]) -> None:
        self._pass(rows, 0)

    def _pass(self, rows: list[Row], start: int) -> None:
        for i, stage in enumerate(self._stages[start:], start):
            if not rows:
                return
            if start == 0 and i == self._counted:
                self.matched += len(rows)
            rows = stage.take(rows)
        self._out += rows

    def finish(self) -> list[dict[str, str]]:
        """The result: for each row its columns, as they are shown."""
        for i, stage in enumerate(self._stages):
            self._pass(stage.finish(), i + 1)
        return [self._shown(row) for row in self._out]

    def _shown(self, row: Row) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self.columns or tuple(row.known):
            value = row.get(name)
            if value is not None:
                is_moment = name in self._times and isinstance(value, int | float) and not isinstance(value, bool)
                found[name] = values.moment(value) if is_moment else values.text(value)  # type: ignore[arg-type]
        if not self.aggregated and (pointer := row.get("@ptr")) is not None:
            found["@ptr"] = values.text(pointer)
        return found


def _named(command: Command) -> Iterable[Named]:
    if isinstance(command, Fields):
        return command.columns
    return command.by if isinstance(command, Stats) else ()


def columns(query: Query) -> tuple[str, ...]:
    """The columns of the result: the last display's, else what fields, parse and stats name; time and message when nothing does."""
    found: list[str] = []
    for command in query.commands:
        if isinstance(command, Stats):
            found = [column.name for column in command.by] + [aggregate.name for aggregate in command.aggregates]
        elif isinstance(command, Fields):
            named = [column.name for column in command.columns]
            found = named if command.only else found + named
        elif isinstance(command, Parse):
            found += command.names
    return tuple(dict.fromkeys(found)) or ("@timestamp", "@message")
