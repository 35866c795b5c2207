"""Wildcards, ARNs and policy variables: the text patterns that policies are made of.

A pattern is read into tokens once: literal text, `*`, `?` and variables such as `${aws:username}`. A pattern without variables becomes an exact
string or a regular expression; one with variables is put together for each request. What a variable stands for is always taken literally: a
user named `*` must not match every resource.

`*` never backtracks: each `*literal` is an atomic group that takes the first place that fits, which is enough for globs and keeps the match
linear, so that no document can make us hang.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, Protocol, TypeAlias

import msgspec


class Context(Protocol):
    """The condition keys of a request. A key is given in lower case; None or an empty tuple means that the request has no such key."""

    def get(self, key: str, /) -> tuple[str, ...] | None: ...


class Variable(msgspec.Struct, frozen=True):
    """`${key}` or `${key, 'default'}`."""

    key: str  # as written
    default: str | None

    def value(self, context: Context) -> str | None:
        """What it stands for in this request; a key with several values has none.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
        """
        values = context.get(self.key.lower())
        if values is not None and len(values) == 1:
            return values[0]
        return self.default


class Wildcard(msgspec.Struct, frozen=True):
    sign: Literal["*", "?"]


Token: TypeAlias = str | Wildcard | Variable
Shape: TypeAlias = Literal["exact", "glob", "arn"]

_STAR: Final = Wildcard("*")
_ONE: Final = Wildcard("?")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_DEFAULT = re.compile(r"^\s*([^,\s]+)\s*,\s*'(.*)'\s*$", re.DOTALL)
_REMEMBERED_FILLINGS: Final = 64  # regular expressions that one pattern with variables keeps
_ARN_COLONS: Final = 5  # arn:partition:service:region:account:resource; the resource may hold further colons


def tokens(text: str, *, variables: bool, wildcards: bool = True) -> list[Token]:
    """Read a pattern. `variables` is true for documents of version 2012-10-17."""
    found: list[Token] = []
    position = 0
    for match in _VARIABLE.finditer(text) if variables else ():
        _literals(found, text[position : match.start()], wildcards)
        position = match.end()
        inner = match.group(1)
        if inner in ("*", "?", "$"):
            found.append(inner)
        elif default := _DEFAULT.match(inner):
            found.append(Variable(default.group(1), default.group(2)))
        else:
            found.append(Variable(inner.strip(), None))
    _literals(found, text[position:], wildcards)
    return found


def _literals(found: list[Token], text: str, wildcards: bool) -> None:
    if not wildcards:
        if text:
            found.append(text)
        return
    for part in re.split(r"([*?])", text):
        if part == "*":
            if not (found and found[-1] is _STAR):
                found.append(_STAR)
        elif part == "?":
            found.append(_ONE)
        elif part:
            found.append(part)


def keys_of(text: str, *, variables: bool) -> list[str]:
    """The condition keys that the variables of a pattern name, as written."""
    return [token.key for token in tokens(text, variables=variables) if isinstance(token, Variable)]


def glob(parts: Iterable[Token], any_character: str = ".") -> str:
    """The regular expression of tokens without variables, to be matched against the whole text (DOTALL)."""
    pieces: list[str] = [""]  # the fixed text before the first `*`, after it, after the second, …
    for token in parts:
        if token is _STAR:
            pieces.append("")
        elif token is _ONE:
            pieces[-1] += any_character
        else:
            assert isinstance(token, str)
            pieces[-1] += re.escape(token)
    if len(pieces) == 1:
        return pieces[0]
    middle = "".join(f"(?>{any_character}*?{piece})" for piece in pieces[1:-1] if piece)
    return f"{pieces[0]}{middle}{any_character}*{pieces[-1]}"


def arn(parts: Iterable[Token]) -> str:
    """Like `glob`, but a wildcard stays within its part of the ARN. In the last part of the pattern it stands for all the rest."""
    segments: list[list[Token]] = [[]]
    for token in parts:
        if not isinstance(token, str):
            segments[-1].append(token)
            continue
        for index, piece in enumerate(token.split(":", _ARN_COLONS + 1 - len(segments))):
            if index:
                segments.append([])
            if piece:
                segments[-1].append(piece)
    return ":".join([*(glob(segment, "[^:]") for segment in segments[:-1]), glob(segments[-1])])


class _Template:
    """A pattern with variables."""

    __slots__ = ("_filled", "fold", "parts", "prefix", "shape", "variables")

    def __init__(self, parts: list[Token], shape: Shape, fold: bool) -> None:
        self.parts, self.shape, self.fold = parts, shape, fold
        self.variables = [part for part in parts if isinstance(part, Variable)]
        self.prefix = parts[0] if isinstance(parts[0], str) else ""
        if fold:
            self.prefix = self.prefix.lower()
        self._filled: dict[tuple[str, ...], re.Pattern[str]] = {}  # by what the variables stand for

    def matches(self, value: str, context: Context) -> bool:
        if not value.startswith(self.prefix):
            return False
        meanings = []
        for variable in self.variables:
            meaning = variable.value(context)
            if meaning is None:  # null: neither equal to nor like anything
                return False
            meanings.append(meaning)
        known = self._filled.get(key := tuple(meanings))
        if known is None:
            if len(self._filled) >= _REMEMBERED_FILLINGS:
                self._filled.clear()
            known = self._filled[key] = self._fill(meanings)
        return known.fullmatch(value) is not None

    def _fill(self, meanings: list[str]) -> re.Pattern[str]:
        following = iter(meanings)
        parts: list[Token] = [next(following) if isinstance(part, Variable) else part for part in self.parts]
        if self.fold:
            parts = [part.lower() if isinstance(part, str) else part for part in parts]
        return re.compile(arn(parts) if self.shape == "arn" else glob(parts), re.DOTALL)


class PatternSet:
    """Several patterns of which one has to match.

    Args:
        shape: "exact" has no wildcards (StringEquals), "glob" has (StringLike, actions), "arn" has them within the parts of an ARN.
        fold: upper and lower case are the same; the value is folded here as well.
    """

    __slots__ = ("everything", "exact", "expression", "fold", "templates")

    def __init__(self, patterns: Iterable[str], *, shape: Shape, variables: bool, fold: bool = False) -> None:
        exact: set[str] = set()
        expressions: list[str] = []
        self.templates: list[_Template] = []
        self.everything = False
        self.fold = fold
        for text in patterns:
            parts = tokens(text, variables=variables, wildcards=shape != "exact")
            if any(isinstance(part, Variable) for part in parts):
                self.templates.append(_Template(parts, shape, fold))
                continue
            if fold:
                parts = [part.lower() if isinstance(part, str) else part for part in parts]
            if parts == [_STAR]:
                self.everything = True
            elif any(isinstance(part, Wildcard) for part in parts):
                expressions.append(arn(parts) if shape == "arn" else glob(parts))
            else:
                exact.add("".join(part for part in parts if isinstance(part, str)))
        self.exact = frozenset(exact)
        self.expression = re.compile("|".join(f"(?:{one})" for one in expressions), re.DOTALL) if expressions else None

    def matches(self, value: str, context: Context) -> bool:
        if self.everything:
            return True
        if self.fold:
            value = value.lower()
        if value in self.exact or (self.expression is not None and self.expression.fullmatch(value) is not None):
            return True
        return bool(self.templates) and any(template.matches(value, context) for template in self.templates)
