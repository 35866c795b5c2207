"""The regular expressions between percent signs: AWS's small dialect, matched in linear time.

The dialect has no groups, so an expression is alternatives of sequences of *atoms*: a class of characters with a quantifier. Python's engine
backtracks, and `%a*a*a*b%` on a line of 200 KB would take it years. So an expression is compiled twice: for `re`, used on messages so short that even
its worst case is quick, and to a bit-parallel automaton (one integer is the set of all positions reached; Baeza-Yates and Gonnet 1992, extended with
skips and loops as in Navarro and Raffinot 2001) whose transitions are remembered, used on all others.
"""

from __future__ import annotations

import re
from functools import reduce

import msgspec

from cloudstead.services.logs.filterpattern.pattern import InvalidPattern

_SYMBOLS = frozenset(":_#=@/;,- ")
_OPERATORS = frozenset("^$?[]{}|\\*+.")
_OTHER = 128  # stands for every character outside ASCII
_ALL = (1 << 129) - 1
_QUICK = 100_000  # steps that `re` may need at worst; about a millisecond
_MOST_ATOMS = 1000
_MOST_STATES = 2000  # remembered transitions of how many sets

Class = int  # a set of characters as bits: 0 to 127, and _OTHER


def _bits(characters: str) -> Class:
    return reduce(lambda bits, character: bits | 1 << ord(character), characters, 0)


_DIGIT = _bits("0123456789")
_SPACE = _bits(" \t\n\r\f\v")
_WORD = _bits("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_ESCAPES = {"d": _DIGIT, "D": _ALL & ~_DIGIT, "s": _SPACE, "S": _ALL & ~_SPACE, "w": _WORD, "W": _ALL & ~_WORD}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r"}


class _Atom(msgspec.Struct, frozen=True):
    """A class of characters, so many times; `most` is None without limit."""

    characters: Class
    least: int = 1
    most: int | None = 1


class _Alternative(msgspec.Struct, frozen=True):
    atoms: tuple[_Atom, ...]
    at_start: bool
    at_end: bool


class Regex:
    """One expression of a filter pattern.

    Raises:
        InvalidPattern: it is not of AWS's dialect.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        alternatives = _Parser(source).alternatives()
        self._steps = _cost(alternatives)
        self._re = re.compile("|".join(_as_python(each) for each in alternatives), re.DOTALL)
        self._automaton = _Automaton(alternatives)
        self.needle = _literal(alternatives)

    def found_in(self, text: str) -> bool:
        """Whether some part of the text matches."""
        if self._steps(len(text)) <= _QUICK:
            return self._re.search(text) is not None
        return self._automaton.search(text)


class _Parser:
    def __init__(self, source: str) -> None:
        if not source:
            raise InvalidPattern("Invalid filter pattern: an empty regular expression")
        self._source = source
        self._at = 0

    def alternatives(self) -> list[_Alternative]:
        found = [self._alternative()]
        while self._at < len(self._source):
            self._at += 1  # the bar
            found.append(self._alternative())
        if sum(_width(atom) for each in found for atom in each.atoms) > _MOST_ATOMS:
            raise self._invalid("it repeats too much")
        return found

    def _alternative(self) -> _Alternative:
        at_start = at_end = False
        atoms: list[_Atom] = []
        while self._at < len(self._source) and self._source[self._at] != "|":
            character = self._source[self._at]
            if at_end:
                raise self._invalid("$ stands before the end")
            if character == "^":
                if atoms or at_start:
                    raise self._invalid("^ stands after the beginning")
                at_start = True
                self._at += 1
            elif character == "$":
                at_end = True
                self._at += 1
            else:
                atoms.append(self._quantified(self._class()))
        if not atoms and not (at_start or at_end):
            raise self._invalid("an alternative is empty")
        return _Alternative(tuple(atoms), at_start, at_end)

    def _class(self) -> Class:
        character = self._next()
        if character == ".":
            return _ALL
        if character == "[":
            return self._bracketed()
        if character == "\\":
            return self._escaped()
        if character in _OPERATORS:
            raise self._invalid(f"{character} has nothing to apply to")
        return 1 << ord(self._plain(character))

    def _plain(self, character: str) -> str:
        if not (character.isascii() and (character.isalnum() or character in _SYMBOLS)):
            raise self._invalid(f"the character {character} is not supported")
        return character

    def _escaped(self) -> Class:
        character = self._next()
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character in _CONTROLS:
            return _bits(_CONTROLS[character])
        if character == "x":
            digits = self._next() + self._next()
            if not re.fullmatch("[0-9A-Fa-f]{2}", digits) or int(digits, 16) > 127:
                raise self._invalid("\\x needs two hexadecimal digits of an ASCII character")
            return 1 << int(digits, 16)
        if character.isalnum() or not character.isascii():
            raise self._invalid(f"\\{character} is not supported")
        return 1 << ord(character)

    def _bracketed(self) -> Class:
        negated = self._peek() == "^"
        if negated:
            self._at += 1
        found: Class = 0
        first = True
        while self._peek() != "]" or first:
            character = self._next()
            low = self._escaped() if character == "\\" else 1 << ord(character) if character.isascii() else 0
            if not low:
                raise self._invalid("multi-byte characters are not supported")
            if self._peek() == "-" and self._source[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                character = self._next()
                high = self._escaped() if character == "\\" else 1 << ord(character) if character.isascii() else 0
                if high < low or low & (low - 1) or high & (high - 1):
                    raise self._invalid("a range of characters is not in order")
                low = (high << 1) - low
            found |= low
            first = False
        self._at += 1
        return _ALL & ~found if negated else found

    def _quantified(self, characters: Class) -> _Atom:
        character = self._peek()
        if character in ("*", "+", "?"):
            self._at += 1
            atom = _Atom(characters, 1 if character == "+" else 0, 1 if character == "?" else None)
        elif character == "{":
            given = re.compile(r"\{(\d{0,4})(?:(,) ?(\d{0,4}))?\}").match(self._source, self._at)
            if given is None or not (given[1] or given[3]):
                raise self._invalid("a repetition is {m}, {m,}, {,n} or {m,n}")
            least = int(given[1] or 0)
            most = (int(given[3]) if given[3] else None) if given[2] else least
            if most is not None and most < least:
                raise self._invalid("a repetition is not in order")
            self._at = given.end()
            atom = _Atom(characters, least, most)
        else:
            return _Atom(characters)
        if self._peek() in ("*", "+", "?", "{"):
            raise self._invalid("a quantifier follows a quantifier")
        return atom

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _next(self) -> str:
        if self._at >= len(self._source):
            raise self._invalid("it ends too early")
        self._at += 1
        return self._source[self._at - 1]

    def _invalid(self, why: str) -> InvalidPattern:
        return InvalidPattern(f"Invalid filter pattern: the regular expression %{self._source}% is not supported, {why}")


def _width(atom: _Atom) -> int:
    """How many positions an atom takes in the automaton."""
    return max(atom.least, 1) if atom.most is None else atom.most


def _as_python(alternative: _Alternative) -> str:
    parts = ["\\A" if alternative.at_start else ""]
    for atom in alternative.atoms:
        most = "" if atom.most is None else atom.most
        parts.append(
            f"{_class_source(atom.characters)}{{{atom.least},{most}}}"
            if (atom.least, atom.most) != (1, 1)
            else _class_source(atom.characters)
        )
    parts.append("\\Z" if alternative.at_end else "")
    return "".join(parts)


def _class_source(characters: Class) -> str:
    if characters == _ALL:
        return "."
    if characters & (1 << _OTHER):
        return "[^" + "".join(f"\\x{i:02x}" for i in range(128) if not characters >> i & 1) + "]"
    return "[" + "".join(f"\\x{i:02x}" for i in range(128) if characters >> i & 1) + "]"


class _Cost:
    """An upper bound on the steps of a backtracking search of n characters: n starts, and for each the product of what every quantifier may try."""

    def __init__(self, alternatives: list[_Alternative]) -> None:
        self._terms: list[tuple[int, int]] = []
        for each in alternatives:
            factor, power = 1, 0 if each.at_start else 1
            for atom in each.atoms:
                if atom.most is None:
                    power += 1
                else:
                    factor *= atom.most - atom.least + 1
            self._terms.append((factor * (1 + sum(_width(atom) for atom in each.atoms)), power))

    def __call__(self, n: int) -> int:
        return sum(factor * n**power for factor, power in self._terms)


def _cost(alternatives: list[_Alternative]) -> _Cost:
    return _Cost(alternatives)


def _literal(alternatives: list[_Alternative]) -> bytes:
    """The longest run of single characters that must occur."""
    if len(alternatives) != 1:
        return b""
    best = run = ""
    for atom in alternatives[0].atoms:
        bits = atom.characters
        if (atom.least, atom.most) == (1, 1) and not bits & (bits - 1):
            run += chr(bits.bit_length() - 1)
            best = max(best, run, key=len)
        else:
            run = ""
    return best.encode()


class _Automaton:
    """Bit i of a set: the first i atoms (of all alternatives, one after another, each with one bit more for its end) have matched up to here."""

    def __init__(self, alternatives: list[_Alternative]) -> None:
        self._start = self._restart = self._accept = self._accept_at_end = self._skip = 0
        self._step = [0] * 129  # the positions whose atom takes this character and moves on
        self._loop = [0] * 129  # the positions whose atom before takes one more
        position = 0
        for each in alternatives:
            self._start |= 1 << position
            if not each.at_start:
                self._restart |= 1 << position
            for atom in each.atoms:
                for repeat in range(_width(atom)):
                    self._place(atom, position, repeat)
                    position += 1
            if each.at_end:
                self._accept_at_end |= 1 << position
            else:
                self._accept |= 1 << position
            position += 1
        self._start = self._close(self._start)
        self._restart = self._close(self._restart)
        self._known: dict[int, dict[str, int]] = {}

    def _place(self, atom: _Atom, position: int, repeat: int) -> None:
        endless = atom.most is None and repeat == _width(atom) - 1
        for i in range(129):
            if atom.characters >> i & 1:
                self._step[i] |= 1 << position
                if endless:
                    self._loop[i] |= 1 << position + 1
        if repeat >= atom.least:
            self._skip |= 1 << position

    def _close(self, positions: int) -> int:
        """Add what is reached by leaving out optional atoms: a carry runs through each row of them."""
        skip = self._skip
        return positions | (((positions & skip) + skip) ^ skip)

    def search(self, text: str) -> bool:
        now = self._start
        accept, known = self._accept, self._known
        if now & accept:
            return True
        for character in text:
            moves = known.get(now)
            if moves is None:
                if len(known) >= _MOST_STATES:
                    known.clear()
                moves = known[now] = {}
            after = moves.get(character)
            if after is None:
                after = self._after(now, character)
                if len(moves) < 200:
                    moves[character] = after
            now = after
            if now & accept:
                return True
        return bool(now & self._accept_at_end)

    def _after(self, now: int, character: str) -> int:
        i = min(ord(character), _OTHER)
        return self._close((now & self._step[i]) << 1 | now & self._loop[i]) | self._restart
