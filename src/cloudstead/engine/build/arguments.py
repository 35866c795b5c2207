"""Flags and arguments of one instruction."""

from __future__ import annotations

import re

from cloudstead.engine.build.lines import Line, json_strings
from cloudstead.engine.build.words import is_space
from cloudstead.engine.errors import InvalidArgument

_BLANKS = re.compile(r"[\t\v\f\r ]+")


# ---------------------------------------------------------------------------------------------------------------- flags


def flags_of(
    line: Line, *, text: tuple[str, ...] = (), boolean: tuple[str, ...] = (), several: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """The flags by name; of a boolean one "true" or "false"."""
    found: dict[str, list[str]] = {}
    for flag in line.flags:
        name, equals, value = flag[2:].partition("=")
        if name not in text and name not in boolean and name not in several:
            raise InvalidArgument(f"unknown flag: --{name}")
        if name in found and name not in several:
            raise InvalidArgument(f"duplicate flag specified: --{name}")
        if name in boolean:
            value = _boolean(name, equals, value)
        elif not equals:
            raise InvalidArgument(f"missing a value on flag: --{name}")
        found.setdefault(name, []).append(value)
    return found


def _boolean(name: str, equals: str, value: str) -> str:
    if equals and not value:
        raise InvalidArgument(f"missing a value on flag: --{name}")
    if value.lower() not in ("", "true", "false"):
        raise InvalidArgument(f"expecting boolean value for flag --{name}, not: {value}")
    return value.lower() or "true"


def one(flags: dict[str, list[str]], name: str, default: str = "") -> str:
    return flags[name][0] if name in flags else default


# ---------------------------------------------------------------------------------------------------------------- arguments


def words(rest: str, escape: str) -> list[str]:
    """Words, their quotes and escapes kept: blanks inside quotes end none."""
    found: list[str] = []
    word: list[str] = []
    quote = ""
    started = False
    at = 0
    while at < len(rest):
        character = rest[at]
        at += 1
        if not quote and is_space(character):
            if started or word:
                found.append("".join(word))
            word, started = [], False
            continue
        if character == escape and quote != "'":
            if at == len(rest):
                break
            word += [character, rest[at]]
            at += 1
            continue
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote, started = character, True
        word.append(character)
    if started or word:
        found.append("".join(word))
    return found


def pairs(line: Line, escape: str) -> tuple[tuple[str, str], ...]:
    """`name=value …`, or of old `name value`."""
    flags_of(line)
    found = words(line.rest, escape)
    if not found:
        raise InvalidArgument(f"{line.keyword} requires at least one argument")
    if "=" not in found[0]:
        parts = _BLANKS.split(line.rest, maxsplit=1)
        if len(parts) < 2:
            raise InvalidArgument(f"{line.keyword} must have two arguments")
        return ((parts[0], parts[1]),)
    pairs: list[tuple[str, str]] = []
    for word in found:
        name, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value')
        if not name:
            raise InvalidArgument(f"{line.keyword} names can not be blank")
        pairs.append((name, value))
    return tuple(pairs)


def blank_separated(rest: str) -> tuple[str, ...]:
    return tuple(_BLANKS.split(rest)) if rest else ()


def listed(rest: str) -> tuple[str, ...]:
    """A JSON array or words."""
    strings = json_strings(rest)
    return blank_separated(rest) if strings is None else strings


def command_line(rest: str) -> tuple[tuple[str, ...], bool]:
    """Arguments, and whether a shell is to read them."""
    strings = json_strings(rest)
    if strings is not None:
        return strings, False
    return ((rest,) if rest else ()), True


def exactly_one(line: Line) -> str:
    flags_of(line)
    if not line.rest:
        raise InvalidArgument(f"{line.keyword} requires exactly one argument")
    return line.rest
