"""Wildcards of conditions: `*` stands for any characters or none, `?` for exactly one.

Not by one regular expression: several `.*` in one take time that grows with a power of the text's length, and the text comes from outside. The parts
between stars are looked for from left to right instead, each at the first place where it fits, which finds a match whenever there is one.
"""

from __future__ import annotations

import re


class Glob:
    """One pattern; `matches` looks at the whole text."""

    __slots__ = ("_first", "_last", "_least", "_middle", "_tail", "_whole")

    def __init__(self, pattern: str, *, ignore_case: bool = False, escapes: bool = False) -> None:
        """
        Args:
            escapes: a backslash takes the meaning of the character behind it.
        """
        flags = re.DOTALL | (re.IGNORECASE if ignore_case else 0)
        parts = _parts(pattern, escapes)
        compiled = [re.compile(text, flags) for text, _ in parts]
        self._whole = compiled[0] if len(parts) == 1 else None
        self._first, self._middle, self._last = compiled[0], [each for each in compiled[1:-1] if each.pattern], compiled[-1]
        self._least = sum(size for _, size in parts)
        self._tail = parts[-1][1]

    def matches(self, text: str) -> bool:
        if self._whole is not None:
            return self._whole.fullmatch(text) is not None
        if len(text) < self._least or (found := self._first.match(text)) is None:
            return False
        at = found.end()
        for part in self._middle:
            if (found := part.search(text, at)) is None:
                return False
            at = found.end()
        tail = len(text) - self._tail
        return tail >= at and self._last.fullmatch(text, tail) is not None


def _parts(pattern: str, escapes: bool) -> list[tuple[str, int]]:
    """The pieces between the stars, as regular expressions, and how long each is."""
    parts, text, size, at = [], "", 0, 0
    while at < len(pattern):
        one = pattern[at]
        if escapes and one == "\\" and at + 1 < len(pattern):
            at += 1
            text, size = text + re.escape(pattern[at]), size + 1
        elif one == "*":
            parts.append((text, size))
            text, size = "", 0
        else:
            text, size = text + ("." if one == "?" else re.escape(one)), size + 1
        at += 1
    return [*parts, (text, size)]
