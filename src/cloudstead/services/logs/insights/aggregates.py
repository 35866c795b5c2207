"""The aggregates of stats."""

from __future__ import annotations

import math
from typing import Any

from cloudstead.services.logs.insights import values
from cloudstead.services.logs.insights.syntax import Aggregate
from cloudstead.services.logs.insights.values import Value


class Gathered:
    """What one aggregate of one group has seen."""

    __slots__ = ("_best", "_count", "_fields", "_function", "_mean", "_percent", "_squares", "_sum", "_values")

    def __init__(self, aggregate: Aggregate) -> None:
        self._function = aggregate.function
        self._fields = bool(aggregate.arguments)
        self._count = 0
        self._sum = self._mean = self._squares = 0.0
        self._best: tuple[Any, Value] | None = None
        self._percent = 50.0
        self._values: Any = set() if self._function == "count_distinct" else []

    def add(self, arguments: list[Value], stamp: Value) -> None:
        value = arguments[0] if arguments else None
        if self._fields and value is None:
            return
        if self._function in ("count",):
            self._count += 1
        elif self._function == "count_distinct":
            self._values.add(values.text(value))
        elif self._function in ("min", "max", "earliest", "latest"):
            key = values.order(stamp if self._function in ("earliest", "latest") else value)
            lower = self._function in ("min", "earliest")
            if self._best is None or (key < self._best[0] if lower else key > self._best[0]):
                self._best = key, value
        elif (number := values.number(value)) is not None:
            self._add_number(number, arguments)

    def _add_number(self, number: float, arguments: list[Value]) -> None:
        self._count += 1
        self._sum += number
        difference = number - self._mean
        self._mean += difference / self._count
        self._squares += difference * (number - self._mean)
        if self._function in ("pct", "median"):
            self._values.append(number)
            if len(arguments) > 1:
                self._percent = min(100.0, max(0.0, values.number(arguments[1]) or 0.0))

    def result(self) -> Value:
        match self._function:
            case "count":
                return float(self._count)
            case "count_distinct":
                return float(len(self._values))
            case "min" | "max" | "earliest" | "latest":
                return None if self._best is None else self._best[1]
        if not self._count:
            return None
        match self._function:
            case "sum":
                return self._sum
            case "avg":
                return self._mean
            case "stddev":
                return math.sqrt(self._squares / (self._count - 1)) if self._count > 1 else 0.0
        ordered = sorted(self._values)
        return float(ordered[max(0, math.ceil(self._percent / 100 * len(ordered)) - 1)])
