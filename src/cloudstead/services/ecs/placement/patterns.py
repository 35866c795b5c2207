"""Regular expressions of the cluster query language, matched in a time that grows with the text and no faster.

AWS takes Java's. A user's pattern runs here in the event loop, where `(a+)+$` by a matcher that tries one way after the other could stand for hours.
So a pattern becomes a set of states, all of which go through the text together. What needs the other kind of matcher (references to groups, looking
ahead and behind, possessive quantifiers) is refused. What it knows: characters, `.`, classes, `\\d \\w \\s` and their opposites, groups, `|`, `* + ? {n,m}`
(lazy ones too, which match the same texts as a whole), `^` and `$` where they change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

Test: TypeAlias = Callable[[str], bool]

MOST_STATES = 2_000
_MOST_DEPTH = 50


class PatternInvalid(ValueError):
    """The message says why, in a few words."""


_CLASSES: dict[str, Test] = {
    "d": lambda char: "0" <= char <= "9",
    "w": lambda char: char == "_" or (char.isascii() and char.isalnum()),
    "s": lambda char: char in " \t\n\x0b\f\r",
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "a": "\a", "e": "\x1b"}


class _State:
    """Either it takes one character (`test`, then `next`), or it takes none and goes on to all of `ways`."""

    __slots__ = ("next", "number", "test", "ways")

    def __init__(self, number: int) -> None:
        self.number = number
        self.test: Test | None = None
        self.next: _State | None = None
        self.ways: list[_State] = []


class Pattern:
    """A pattern that matches a text as a whole, as Java's `matches` does."""

    def __init__(self, start: _State, end: _State) -> None:
        self._start = start
        self._end = end

    def matches(self, text: str) -> bool:
        states = _spread([self._start])
        for char in text:
            states = _spread([state.next for state in states if state.test is not None and state.next is not None and state.test(char)])
            if not states:
                return False
        return any(state is self._end for state in states)


def _spread(states: list[_State]) -> list[_State]:
    """The states, and those that are reached from them without a character."""
    found: list[_State] = []
    seen: set[int] = set()
    while states:
        state = states.pop()
        if state.number not in seen:
            seen.add(state.number)
            found.append(state)
            states.extend(state.ways)
    return found


@lru_cache(256)
def compiled(pattern: str) -> Pattern:
    """
    Raises:
        PatternInvalid
    """
    compiler = _Compiler(pattern)
    start, end = compiler.alternatives(0)
    if not compiler.done:
        raise PatternInvalid("unmatched closing parenthesis")
    return Pattern(start, end)


_Part: TypeAlias = tuple[_State, _State]


class _Compiler:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._states = 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._source)

    def alternatives(self, depth: int) -> _Part:
        if depth > _MOST_DEPTH:
            raise PatternInvalid("groups within groups within groups")
        parts = [self._sequence(depth)]
        while self._take("|"):
            parts.append(self._sequence(depth))
        if len(parts) == 1:
            return parts[0]
        start, end = self._state(), self._state()
        for first, last in parts:
            start.ways.append(first)
            last.ways.append(end)
        return start, end

    def _sequence(self, depth: int) -> _Part:
        start = end = self._state()
        while not self.done and self._source[self._at] not in "|)":
            began = self._at
            first, last = self._repeated(began, depth)
            end.ways.append(first)
            end = last
        return start, end

    def _repeated(self, began: int, depth: int) -> _Part:
        """One piece as often as its quantifier says: its text is compiled again for each time."""
        part = self._piece(depth)
        after = self._at
        least, most = self._quantifier()
        if (least, most) == (1, 1):
            return part
        resume = self._at
        pieces = [part]
        for _ in range(max(least, most or 0, 1) - 1):
            self._at = began
            pieces.append(self._piece(depth))
            if self._at != after:  # pragma: no cover: the same text is the same piece
                raise PatternInvalid("malformed quantifier")
        self._at = resume
        start, end = self._state(), self._state()
        last = start
        for number, (first, until) in enumerate(pieces):
            if number >= least:
                last.ways.append(end)
            last.ways.append(first)
            last = until
        last.ways.append(end)
        if most is None:
            last.ways.append(pieces[-1][0])
        elif most == 0:
            start.ways = [end]
        return start, end

    def _quantifier(self) -> tuple[int, int | None]:
        if self._take("*"):
            found: tuple[int, int | None] = (0, None)
        elif self._take("+"):
            found = (1, None)
        elif self._take("?"):
            found = (0, 1)
        elif self._take("{"):
            found = self._counts()
        else:
            return 1, 1
        if self._take("+"):
            raise PatternInvalid("possessive quantifiers are not supported")
        self._take("?")
        if not self.done and self._source[self._at] in "*+?{":
            raise PatternInvalid("dangling quantifier")
        return found

    def _counts(self) -> tuple[int, int | None]:
        end = self._source.find("}", self._at)
        text, self._at = self._source[self._at : end], end + 1
        low, comma, high = text.partition(",")
        if end < 0 or not (low.isascii() and low.isdigit()) or (high and not (high.isascii() and high.isdigit())) or len(text) > 9:
            raise PatternInvalid("malformed repetition")
        least = int(low)
        most = least if not comma else int(high) if high else None
        if least > MOST_STATES or (most is not None and (most < least or most > MOST_STATES)):
            raise PatternInvalid("illegal repetition range")
        return least, most

    def _piece(self, depth: int) -> _Part:
        char = self._next()
        if char == "(":
            return self._group(depth)
        if char in "^$":
            return self._anchor(char)
        if char in "*+?{":
            raise PatternInvalid("dangling quantifier")
        start, end = self._state(), self._state()
        start.next = end
        start.test = self._test(char)
        return start, end

    def _group(self, depth: int) -> _Part:
        if self._take("?") and not self._take(":"):
            raise PatternInvalid("this kind of group is not supported")
        part = self.alternatives(depth + 1)
        if not self._take(")"):
            raise PatternInvalid("unclosed group")
        return part

    def _anchor(self, char: str) -> _Part:
        """The whole text is matched anyway: at the ends of the pattern an anchor says nothing new, elsewhere it is refused."""
        at_end = self._at == 1 if char == "^" else self._at == len(self._source)
        if not at_end:
            raise PatternInvalid(f"'{char}' is supported at the pattern's end only")
        state = self._state()
        return state, state

    def _test(self, char: str) -> Test:
        if char == ".":
            return lambda each: each not in "\n\r\u0085\u2028\u2029"
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()[0]
        return char.__eq__

    def _escape(self) -> tuple[Test, str]:
        """What an escape matches, and the character that it stands for; empty for a class."""
        char = self._next()
        if char.lower() in _CLASSES:
            test = _CLASSES[char.lower()]
            return (test, "") if char.islower() else (lambda each: not test(each), "")
        if char.isascii() and char.isalnum():
            if char not in _CONTROLS:
                raise PatternInvalid(f"'\\{char}' is not supported")
            char = _CONTROLS[char]
        return char.__eq__, char

    def _class(self) -> Test:
        negated = self._take("^")
        tests: list[Test] = []
        first = True
        while first or not self._take("]"):
            first = False
            tests.append(self._member())
        return lambda each: any(test(each) for test in tests) is not negated

    def _member(self) -> Test:
        test, low = self._single()
        ahead = self._source[self._at : self._at + 2]
        if not low or len(ahead) < 2 or ahead[0] != "-" or ahead[1] == "]":
            return test
        self._at += 1
        _, high = self._single()
        if not high or high < low:
            raise PatternInvalid("illegal character range")
        return lambda each: low <= each <= high

    def _single(self) -> tuple[Test, str]:
        char = self._next()
        if char == "\\":
            return self._escape()
        if char in "[&":
            raise PatternInvalid("classes within classes are not supported")
        return char.__eq__, char

    def _next(self) -> str:
        if self.done:
            raise PatternInvalid("unexpected end")
        self._at += 1
        return self._source[self._at - 1]

    def _take(self, text: str) -> bool:
        if self._source.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _state(self) -> _State:
        self._states += 1
        if self._states > MOST_STATES:
            raise PatternInvalid("too long")
        return _State(self._states)
