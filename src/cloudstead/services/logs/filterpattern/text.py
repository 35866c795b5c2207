"""Unstructured patterns: `ERROR -debug "two words"`, `?ERROR ?WARN`, `%regex%`."""

from __future__ import annotations

import msgspec

from cloudstead.services.logs.filterpattern.pattern import InvalidPattern, Reader
from cloudstead.services.logs.filterpattern.regex import Regex


class Term(msgspec.Struct, frozen=True):
    """A phrase, or an expression."""

    phrase: bytes
    regex: Regex | None = None

    def found_in(self, message: bytes) -> bool:
        if self.regex is not None:
            return self.regex.found_in(message.decode("utf-8", "replace"))
        return self.phrase in message


class TextPattern:
    """All wanted, none unwanted, one of the optional ones. AWS ignores the optional ones when there are others, and so do we."""

    def __init__(self, wanted: list[Term], unwanted: list[Term], optional: list[Term]) -> None:
        self._wanted = tuple(wanted)
        self._unwanted = tuple(unwanted)
        self._optional = () if wanted or unwanted else tuple(optional)
        self.regexes = sum(term.regex is not None for term in (*wanted, *unwanted, *optional))
        self.needle = max((term.regex.needle if term.regex else term.phrase for term in wanted), key=len, default=b"")

    def matches(self, message: bytes) -> bool:
        for term in self._wanted:
            if not term.found_in(message):
                return False
        for term in self._unwanted:
            if term.found_in(message):
                return False
        return not self._optional or any(term.found_in(message) for term in self._optional)

    def extract(self, message: bytes) -> dict[str, str] | None:
        return {} if self.matches(message) else None


def parse_text(text: str) -> TextPattern:
    """
    Raises:
        InvalidPattern
    """
    wanted: list[Term] = []
    unwanted: list[Term] = []
    optional: list[Term] = []
    reader = Reader(text)
    reader.space()
    while reader.rest:
        kind = wanted
        if reader.take("-"):
            kind = unwanted
            reader.space()  # AWS's own example has `"ERROR" - "Exiting"`
        elif reader.take("?"):
            kind = optional
        term = _term(reader)
        if term.phrase.strip() or term.regex is not None:  # `" "` matches everything, says AWS
            kind.append(term)
        elif kind is unwanted:
            raise InvalidPattern
        reader.space()
    return TextPattern(wanted, unwanted, optional)


def _term(reader: Reader) -> Term:
    if reader.peek() == '"':
        term = Term(reader.quoted().encode("utf-8", "replace"))
    elif reader.peek() == "%":
        term = Term(b"", Regex(reader.percent()))
    else:
        start = reader.at
        while reader.rest and not reader.peek().isspace():
            reader.at += 1
        word = reader.text[start : reader.at]
        if not word or not all(character.isalnum() or character == "_" for character in word):
            raise InvalidPattern(f"Invalid character(s) in term '{word}'")
        return Term(word.encode("utf-8", "replace"))
    if reader.rest and not reader.peek().isspace():
        raise InvalidPattern
    return term
