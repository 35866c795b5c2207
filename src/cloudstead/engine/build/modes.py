"""What `--chmod` says: octal ("755", "0644") or as chmod(1) takes it ("u=rwX,go=rX", "+x")."""

from __future__ import annotations

import re
from collections.abc import Callable

from cloudstead.engine.errors import InvalidArgument

Change = Callable[[int, bool], int]  # mode before, whether it is a folder -> mode after
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


def parse(text: str) -> Change:
    """The change that a text asks for.

    Raises:
        InvalidArgument: it is neither octal nor symbolic.
    """
    if re.fullmatch(r"[0-7]{1,11}", text):
        mode = int(text, 8)
        if mode > 0o7777:
            raise _invalid(text)
        return lambda before, folder: mode
    clauses = [_CLAUSE.fullmatch(part) for part in text.split(",")]
    found = [clause for clause in clauses if clause is not None]
    if len(found) != len(clauses):
        raise _invalid(text)
    return lambda before, folder: _all(found, before, folder)


def _invalid(text: str) -> InvalidArgument:
    return InvalidArgument(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")


def _all(clauses: list[re.Match[str]], mode: int, folder: bool) -> int:
    for clause in clauses:
        who = "ugo" if not clause[1] or "a" in clause[1] else clause[1]
        for operator, what in _ACTION.findall(clause[2]):
            mode = _one(mode, who, operator, what, folder)
    return mode


def _one(mode: int, who: str, operator: str, what: str, folder: bool) -> int:
    copied = (mode >> _SHIFT[what]) & 7 if what in _SHIFT and what else None
    executable = folder or bool(mode & 0o111)
    value = mask = 0
    for one in set(who):
        mask |= 7 << _SHIFT[one]
        if copied is not None:
            value |= copied << _SHIFT[one]
            continue
        for letter in what:
            value |= _bit(one, letter, executable)
    if operator == "+":
        return mode | value
    if operator == "-":
        return mode & ~value
    special = 0 if folder else (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)  # of folders `=` leaves them, as chmod(1)
    return mode & ~mask & ~special | value


def _bit(one: str, letter: str, executable: bool) -> int:
    if letter in _BITS:
        return _BITS[letter] << _SHIFT[one]
    if letter == "X":
        return (1 << _SHIFT[one]) if executable else 0
    if letter == "s":
        return {"u": 0o4000, "g": 0o2000, "o": 0}[one]
    return 0o1000 if letter == "t" else 0
