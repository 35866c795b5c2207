"""The `filters` parameter: `{"label": {"x=y": true}}`, or as older clients write it `{"label": ["x=y"]}`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from cloudstead.engine.dockerapi.parameters import FALSE
from cloudstead.engine.errors import InvalidArgument

_decoder = msgspec.json.Decoder(dict[str, dict[str, bool] | list[str]])
LONGEST_PATTERN = 256
_MANY = re.compile(r"\)[*+{]|([*+}].*){4}", re.DOTALL)  # what makes Python's matcher take for ever: repeated groups, many repetitions


class Filters:
    """Each name with the values of which one must match. A name that is not there lets everything through."""

    def __init__(self, text: str, known: Iterable[str]) -> None:
        try:
            found = _decoder.decode(text) if text else {}
        except msgspec.MsgspecError as error:
            raise InvalidArgument(f"invalid filter: {error}") from None
        self._values = {name: list(values) for name, values in found.items() if values}
        known = frozenset(known)
        for name in self._values:
            if name not in known:
                raise InvalidArgument(f"invalid filter '{name[:100]}'")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __bool__(self) -> bool:
        return bool(self._values)

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def one_of(self, name: str, *found: str) -> bool:
        """Whether any of these is exactly what was asked for."""
        values = self._values.get(name)
        return values is None or any(each in values for each in found)

    def begins(self, name: str, *found: str) -> bool:
        """Whether one of these begins with what was asked for, as ids do."""
        values = self._values.get(name)
        return values is None or any(each.startswith(value) for each in found for value in values)

    def matches(self, name: str, *found: str) -> bool:
        """Whether one of these is, or matches as a regular expression somewhere in it, what was asked for."""
        values = self._values.get(name)
        return values is None or any(value in found or _search(value, found) for value in values)

    def labels(self, labels: Mapping[str, str], name: str = "label") -> bool:
        """Whether all asked for ("key" or "key=value") are there."""
        for value in self._values.get(name, ()):
            key, separator, wanted = value.partition("=")
            if key not in labels or (separator and labels[key] != wanted):
                return False
        return True

    def lacks_labels(self, labels: Mapping[str, str], name: str = "label!") -> bool:
        """Whether none of those that must not be there is."""
        for value in self._values.get(name, ()):
            key, separator, wanted = value.partition("=")
            if key in labels and (not separator or labels[key] == wanted):
                return False
        return True

    def flag(self, name: str, default: bool) -> bool:
        """One boolean value."""
        values = self._values.get(name)
        if values is None:
            return default
        text = values[0].strip().lower()
        if len(values) > 1 or (text not in FALSE and text not in ("1", "t", "true", "yes")):
            raise InvalidArgument(f"invalid filter '{name}={values}'")
        return text not in FALSE


def _search(pattern: str, found: tuple[str, ...]) -> bool:
    if len(pattern) > LONGEST_PATTERN or _MANY.search(pattern):
        raise InvalidArgument(f"the pattern {pattern[:LONGEST_PATTERN]!r} is too long or repeats too much")
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidArgument(f"invalid filter: {pattern!r}: {error}") from None
    return any(expression.search(each) for each in found)
