"""The words of a query."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec


class Malformed(ValueError):
    """A query that is not understood.

    Attributes:
        start, end: what part of the text, in characters.
    """

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


Kind: TypeAlias = Literal["text", "regex", "number", "period", "name", "quoted-name", "sign", "end"]

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*                                    # space and comments
    |(?P<period>\d+(?:ms|[smhdw])\b)
    |(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>@?[A-Za-z_][\w@]*(?:[.:][\w@-]+)*)
    |`(?P<quoted>[^`]*)`
    |(?P<sign>=~|!=|<=|>=|[-+*/%^=<>(),|\[\]])""",
    re.VERBOSE,
)


class Token(msgspec.Struct, frozen=True):
    kind: Kind
    text: str
    start: int
    end: int

    def says(self, *words: str) -> bool:
        return self.kind in ("name", "sign") and self.text.lower() in words


def tokens(text: str) -> list[Token]:
    """
    Raises:
        Malformed
    """
    found: list[Token] = []
    at = 0
    while at < len(text):
        start, character = at, text[at]
        if character in "\"'":
            at, value = _delimited(text, at)
            found.append(Token("text", re.sub(r"\\([\"'\\])", r"\1", value), start, at))
        elif (character == "/" and found and found[-1].says("like", "=~", "parse")) or (
            character == "/" and len(found) >= 2 and _after_parse(found)
        ):
            at, value = _delimited(text, at)
            found.append(Token("regex", value, start, at))
        else:
            match = _TOKEN.match(text, at)
            if match is None:
                raise Malformed(f"unexpected symbol found {character}", at, at + 1)
            at = match.end()
            kind = match.lastgroup
            if kind == "quoted":
                found.append(Token("quoted-name", match["quoted"], start, at))
            elif kind is not None:
                found.append(Token(kind, match[kind], start, at))  # type: ignore[arg-type]
    found.append(Token("end", "", len(text), len(text)))
    return found


def _after_parse(found: list[Token]) -> bool:
    """Whether what comes next is the pattern of `parse <field>`."""
    return found[-2].says("parse") and (len(found) == 2 or found[-3].says("|"))


def _delimited(text: str, at: int) -> tuple[int, str]:
    """Where a text or expression in delimiters ends, and what stands in it."""
    closing = text[at]
    end = at + 1
    while end < len(text) and text[end] != closing:
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        raise Malformed(f"unexpected end of query, {closing} is not closed", at, len(text))
    return end + 1, text[at + 1 : end]
