"""Where the statements of a document stand in its text, as the Simulate operations tell."""

from __future__ import annotations

import json
from json.decoder import scanstring  # type: ignore[attr-defined]

import msgspec


class Position(msgspec.Struct, frozen=True):
    """Line and column, both from 1."""

    line: int
    column: int


def statement_positions(text: str) -> list[tuple[Position, Position]]:
    """(start, end) of each statement of a valid document.

    AWS counts as its parser stands: a statement begins behind the `[` (or behind the statement before it), a lone one behind its own `{`; it
    ends behind its `}`. (By the outputs of simulate-custom-policy and simulate-principal-policy in the CLI's reference.)
    """
    at = _value_of(text, "Statement")
    if text[at] != "[":
        _, end = _decoder.raw_decode(text, at)
        return [(_position(text, at + 1), _position(text, end))]
    found: list[tuple[Position, Position]] = []
    previous = at + 1
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, end = _decoder.raw_decode(text, at)
        found.append((_position(text, previous), _position(text, end)))
        previous = end
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


_decoder = json.JSONDecoder()


def _value_of(text: str, wanted: str) -> int:
    """Where the value of a key of the outermost object begins."""
    at = _skip(text, _skip(text, 0) + 1)
    while True:
        key, at = scanstring(text, at + 1)
        at = _skip(text, _skip(text, at) + 1)  # over the colon
        if key == wanted:
            return at
        _, at = _decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)  # over the comma


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _position(text: str, at: int) -> Position:
    line_start = text.rfind("\n", 0, at) + 1
    return Position(text.count("\n", 0, at) + 1, at - line_start + 1)
