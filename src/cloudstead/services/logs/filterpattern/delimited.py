"""Space-delimited patterns: `[ip, user, ..., status = 4* && status != 404, bytes > 1000]`.

A line is cut at spaces; what stands in square brackets or double quotes is one field. The names stand for the fields in order; `...` for any number of
them; the last name takes the rest of the line when there is more, as in AWS's example `[w1=ERROR, w2]`, which finds "ERROR in three words".
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec

from cloudstead.services.logs.filterpattern.pattern import InvalidPattern, Reader
from cloudstead.services.logs.filterpattern.values import Comparison, read_comparison

ELLIPSIS = "..."
Conditions: TypeAlias = tuple[tuple[Comparison, ...], ...]  # one of these, and of that one all


class Field(msgspec.Struct, frozen=True):
    name: str  # may be empty
    conditions: Conditions = ()

    def accepts(self, value: str) -> bool:
        return not self.conditions or any(all(each.holds_for_text(value) for each in every) for every in self.conditions)

    def needle(self) -> bytes:
        """Bytes that every value that is accepted contains."""
        if len(self.conditions) != 1:
            return b""
        texts = [each.text for each in self.conditions[0] if each.operator == "=" and each.text is not None and each.number is None]
        return max((part for text in texts for part in text.split("*")), key=len, default="").encode("utf-8", "replace")


class DelimitedPattern:
    def __init__(self, before: list[Field], after: list[Field] | None) -> None:
        self._before = before  # the fields before the ellipsis, all when there is none
        self._after = after
        self.regexes = sum(each.regex is not None for field in (*before, *(after or ())) for every in field.conditions for each in every)
        self.needle = max((field.needle() for field in (*before, *(after or ()))), key=len, default=b"")

    def matches(self, message: bytes) -> bool:
        values = self._values(message)
        return values is not None and self._accepts(values)

    def extract(self, message: bytes) -> dict[str, str] | None:
        values = self._values(message)
        if values is None or not self._accepts(values):
            return None
        after = self._after or []
        names = (
            [field.name for field in self._before] + [""] * (len(values) - len(self._before) - len(after)) + [field.name for field in after]
        )
        return {f"${name or i}": value for i, (name, value) in enumerate(zip(names, values, strict=True), 1)}

    def _accepts(self, values: list[str]) -> bool:
        if not all(field.accepts(value) for field, value in zip(self._before, values, strict=False)):
            return False
        after = self._after or []
        return all(field.accepts(value) for field, value in zip(after, values[len(values) - len(after) :], strict=True))

    def _values(self, message: bytes) -> list[str] | None:
        """The values of the fields; None when there are too few."""
        text = message.decode("utf-8", "replace")
        if self._after is None:
            count = len(self._before)
            fields = split(text, count)
            return fields if len(fields) == count else None
        fields = split(text)
        return fields if len(fields) >= len(self._before) + len(self._after) else None


_FIELD = re.compile(r'\s*(?:\[([^\]]*)\]|"([^"]*)"|(\S+))')
_MOST_OPENING = 100  # delimiters in a line; each may cost a look to its end


def split(text: str, most: int = -1) -> list[str]:
    """The fields of a line; the last of `most` takes the rest."""
    opening = text.count("[") + text.count('"')
    if not opening:
        return [field.rstrip() for field in text.split(None, most - 1)] if most > 0 else text.split()
    if opening > _MOST_OPENING:
        return _split_carefully(text, most)
    found: list[str] = []
    for match in _FIELD.finditer(text):
        if len(found) == most - 1 and text[match.end() :].strip():
            found.append(text[match.start() :].strip())
            break
        found.append(match[match.lastindex or 0])
    return found


def _split_carefully(text: str, most: int) -> list[str]:
    """The same in time linear in any line: whether a delimiter is closed is looked for once."""
    found: list[str] = []
    at, n = 0, len(text)
    unclosed: set[str] = set()
    while True:
        while at < n and text[at].isspace():
            at += 1
        if at >= n:
            return found
        start = at
        closing = {"[": "]", '"': '"'}.get(text[at])
        end = -1
        if closing is not None and closing not in unclosed:
            end = text.find(closing, at + 1)
            if end < 0:
                unclosed.add(closing)
        if end >= 0:
            value, at = text[start + 1 : end], end + 1
        else:
            while at < n and not text[at].isspace():
                at += 1
            value = text[start:at]
        if len(found) == most - 1 and text[at:].strip():
            found.append(text[start:].strip())
            return found
        found.append(value)


def parse_delimited(text: str) -> DelimitedPattern:
    """
    Raises:
        InvalidPattern
    """
    reader = Reader(text)
    reader.expect("[")
    before: list[Field] = []
    after: list[Field] | None = None
    while True:
        reader.space()
        if reader.take(ELLIPSIS) or reader.take("…"):
            if after is not None:
                raise InvalidPattern
            after = []
        else:
            (before if after is None else after).append(_field(reader))
        reader.space()
        if reader.take("]"):
            break
        reader.expect(",")
    reader.space()
    names = [field.name for field in (*before, *(after or ())) if field.name]
    if reader.rest or len(names) != len(set(names)):
        raise InvalidPattern
    return DelimitedPattern(before, after)


def _field(reader: Reader) -> Field:
    name = reader.run("_-.")
    reader.space()
    if reader.peek() in (",", "]"):
        return Field(name)
    every: list[tuple[Comparison, ...]] = []
    all_of = [read_comparison(reader)]
    while True:
        reader.space()
        if reader.take("&&"):
            _same_name(reader, name)
            all_of.append(read_comparison(reader))
        elif reader.take("||"):
            every.append(tuple(all_of))
            _same_name(reader, name)
            all_of = [read_comparison(reader)]
        else:
            return Field(name, (*every, tuple(all_of)))


def _same_name(reader: Reader, name: str) -> None:
    reader.space()
    if reader.run("_-.") != name:
        raise InvalidPattern
