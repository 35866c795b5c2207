"""Metric filters at work: matching events become values of CloudWatch metrics.

Values are gathered by minute and published every ten seconds. A filter with a default value publishes it for a minute in which events came but none
matched. What is gathered and not yet published is lost when the process dies: AWS promises no more.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from cloudstead.kernel.clock import Timer
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.named_calls import call_named
from cloudstead.kernel.store import Key as RowKey
from cloudstead.services.logs.delivery import PRINCIPAL
from cloudstead.services.logs.filterpattern import Pattern, compile_pattern
from cloudstead.services.logs.filterpattern.document import decode, read_selector
from cloudstead.services.logs.filterpattern.pattern import InvalidPattern, Reader
from cloudstead.services.logs.filterpattern.values import as_text
from cloudstead.services.logs.journal import Accepted
from cloudstead.services.logs.model import GROUPS, METRIC_FILTERS, LogGroup, MetricFilter, Transformation

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 10.0
MINUTE = 60_000  # ms
_AT_ONCE = 500  # events that a filter is applied to before others may do something
MOST_VALUES = 150  # in one datum of PutMetricData


class Series(msgspec.Struct, frozen=True):
    """What is gathered together."""

    account: str
    region: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    unit: str
    minute: int  # ms


class _Filter:
    """A metric filter, ready to be applied."""

    def __init__(self, row: MetricFilter) -> None:
        self.row = row
        self.key = METRIC_FILTERS.key(row)
        self.pattern: Pattern | None = compile_pattern(row.pattern) if row.pattern.strip() else None

    def value(self, message: bytes) -> tuple[float, tuple[tuple[str, str], ...]] | None:
        """The value that an event counts for, and its dimensions; None when it does not match or says no number."""
        fields: dict[str, str] = {}
        if self.pattern is not None:
            extracted = self.pattern.extract(message)
            if extracted is None:
                return None
            fields = extracted
        made = self.row.transformation
        text = resolve(made.value, fields, message)
        try:
            value = float(text) if text is not None else None
        except ValueError:
            value = None
        if value is None or value != value or value in (float("inf"), float("-inf")):
            return None
        dimensions: list[tuple[str, str]] = []
        for name, field in sorted(made.dimensions.items()):
            found = resolve(field, fields, message)
            if found is None:
                return None
            dimensions.append((name, found[:255]))
        return value, tuple(dimensions)


def resolve(field: str, fields: dict[str, str], message: bytes) -> str | None:
    """What a metric value or dimension stands for: itself, or with `$` a field of the event."""
    if not field.startswith("$"):
        return field
    if field in fields:
        return fields[field]
    try:
        selector = read_selector(Reader(field))
    except InvalidPattern:
        return None
    document = decode(message)
    if document is None:
        return None
    return next((as_text(node) for node in selector.nodes(document) if isinstance(node, str | int | float)), None)


class Metrics:
    """The metric filters of all groups."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._of_group: dict[int, tuple[_Filter, ...]] = {}
        self._values: dict[Series, dict[float, int]] = {}
        self._unmatched: dict[tuple[RowKey, int], Transformation] = {}  # filter and minute in which events came; goes when one matches
        self._matched: set[tuple[RowKey, int]] = set()
        self._waiting: deque[Accepted] = deque()  # events that are on disk and not looked at yet
        self._looking: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._publishing: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._publishing is not None:
            await asyncio.gather(self._publishing, return_exceptions=True)
        if self._looking is not None:
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._values:
            await self.publish()

    def changed(self, group: int) -> None:
        """Filters of the group were put or deleted, or the group was."""
        self._of_group.pop(group, None)

    def accepted(self, events: Sequence[Accepted]) -> None:
        """Listens to the archive. Only notes what is to be looked at: a group may have a hundred filters."""
        self._waiting.extend(each for each in events if self._filters(each.batch.group))
        if self._waiting and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(), name="logs-metric-filters")

    async def _look(self) -> None:
        while self._waiting:
            events = self._waiting.popleft()
            for wanted in self._filters(events.batch.group):
                for at in range(0, len(events.stamps), _AT_ONCE):
                    self._apply(wanted, events.stamps[at : at + _AT_ONCE], events.messages[at : at + _AT_ONCE])
                    await asyncio.sleep(0)
        self._publish_later()

    def _filters(self, group: int) -> tuple[_Filter, ...]:
        known = self._of_group.get(group)
        if known is None:
            row: LogGroup | None = self._cloud.store.table(GROUPS).find("by_uid", (group,))
            known = ()
            if row is not None:
                known = tuple(_Filter(each) for each in self._cloud.store.table(METRIC_FILTERS).scan((row.account, row.region, row.name)))
            self._of_group[group] = known
        return known

    def _apply(self, wanted: _Filter, stamps: Sequence[int], messages: Sequence[bytes]) -> None:
        row, made = wanted.row, wanted.row.transformation
        for stamp, message in zip(stamps, messages, strict=True):
            minute = stamp - stamp % MINUTE
            found = wanted.value(message)
            if found is None:
                if made.default is not None and (wanted.key, minute) not in self._matched:
                    self._unmatched[wanted.key, minute] = made
                continue
            value, dimensions = found
            if made.default is not None:
                self._matched.add((wanted.key, minute))
                self._unmatched.pop((wanted.key, minute), None)
            self._count(Series(row.account, row.region, made.namespace, made.name, dimensions, made.unit, minute), value)

    def _count(self, series: Series, value: float) -> None:
        counts = self._values.setdefault(series, {})
        counts[value] = counts.get(value, 0) + 1

    def _publish_later(self) -> None:
        if self._timer is None and (self._values or self._unmatched):
            self._timer = self._cloud.clock.call_later(PUBLISH_SECONDS, self._publish_soon)

    def _publish_soon(self) -> None:
        self._timer = None
        self._publishing = asyncio.create_task(self._publish_and_wait(), name="logs-metrics")

    async def _publish_and_wait(self) -> None:
        await self.publish()
        self._publish_later()

    async def publish(self) -> None:
        """Send what was gathered."""
        if self._looking is not None:
            await asyncio.wait([self._looking])
        self._count_defaults()
        values, self._values = self._values, {}
        data: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for series, counts in values.items():
            data.setdefault((series.account, series.region, series.namespace), []).extend(_data(series, counts))
        for (account, region, namespace), metric_data in data.items():
            ctx = self._cloud.service_context(PRINCIPAL, account, region)
            for at in range(0, len(metric_data), 500):
                part = metric_data[at : at + 500]
                try:
                    await call_named(ctx, "cloudwatch", "PutMetricData", {"Namespace": namespace, "MetricData": part})
                except Exception as error:  # a CloudWatch that is away costs the values, not the service
                    log.warning("Metrics of %s could not be published: %r", namespace, error)

    def _count_defaults(self) -> None:
        over = int(self._cloud.clock.time() * 1000) - MINUTE
        for (key, minute), made in list(self._unmatched.items()):
            if minute <= over:
                del self._unmatched[key, minute]
                assert made.default is not None
                self._count(Series(key[0], key[1], made.namespace, made.name, (), made.unit, minute), made.default)
        self._matched = {each for each in self._matched if each[1] > over - 15 * MINUTE}


def _data(series: Series, counts: dict[float, int]) -> list[dict[str, Any]]:
    pairs = list(counts.items())
    found = []
    for at in range(0, len(pairs), MOST_VALUES):
        part = pairs[at : at + MOST_VALUES]
        datum: dict[str, Any] = {
            "MetricName": series.name,
            "Timestamp": series.minute / 1000,
            "Values": [value for value, _ in part],
            "Counts": [float(count) for _, count in part],
        }
        if series.dimensions:
            datum["Dimensions"] = [{"Name": name, "Value": value} for name, value in series.dimensions]
        if series.unit:
            datum["Unit"] = series.unit
        found.append(datum)
    return found
