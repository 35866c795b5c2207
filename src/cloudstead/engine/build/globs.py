"""Patterns with wildcards: those of `${name#pattern}`, of COPY's sources (Go's filepath.Match), and of .dockerignore.

All come from strangers, and Python's `re` looks for a match by trying: a pattern with many wildcards can keep it busy for years while it holds the
interpreter's lock. So each kind is matched in a way that is linear, or nearly, in the text:

  substitution      pieces between stars are looked for from left to right; the first place of each is good enough
  filepath.Match    the same, written as atomic groups: what was found is never looked for again
  .dockerignore     one `**` at most: a regular expression; more: all places in the pattern are followed at once, as bits of a number
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from cloudstead.engine.errors import InvalidArgument

_MOST = 4096  # characters of a pattern


# ---------------------------------------------------------------------------------------------------------------- substitution


def without_prefix(pattern: str, value: str, *, longest: bool) -> str:
    """`${value#pattern}`, `##` with longest."""
    chunks = _chunks(pattern)
    end = _end_of_match(chunks, value, 0, longest=longest, anchored=True)
    return value if end is None else value[end:]


def without_suffix(pattern: str, value: str, *, longest: bool) -> str:
    """`${value%pattern}`, `%%` with longest."""
    backwards = [chunk[::-1] for chunk in reversed(_chunks(pattern))]
    reverse = value[::-1]
    end = _end_of_match(backwards, reverse, 0, longest=longest, anchored=True)
    return value if end is None else reverse[end:][::-1]


def replace(pattern: str, value: str, replacement: str, *, everywhere: bool) -> str:
    """`${value/pattern/replacement}`, `//` with everywhere."""
    chunks = _chunks(pattern)
    first = _compiled(tuple(chunks[0]))
    pieces: list[str] = []
    at = 0
    while found := first.search(value, at):
        end = _end_of_match(chunks, value, found.start(), longest=True, anchored=True)
        if end is None:
            break  # what did not fit from here fits from no later place: there is less left
        pieces += [value[at : found.start()], replacement]
        if end == found.start():  # an empty match: go on behind the next character
            pieces.append(value[end : end + 1])
            end += 1
        at = end
        if not everywhere or at > len(value):
            break
    return "".join(pieces) + value[at:]


def _chunks(pattern: str) -> list[list[str]]:
    """What stands between the stars: lists of characters, "" for any one."""
    if len(pattern) > _MOST:
        raise InvalidArgument(f"a pattern is longer than {_MOST} characters")
    chunks: list[list[str]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            chunks.append([])
        elif character == "?":
            chunks[-1].append("")
        elif character == "\\":
            chunks[-1].append(_escaped(next(characters, ""), pattern))
        else:
            chunks[-1].append(character)
    return chunks


def _escaped(character: str, pattern: str) -> str:
    if character and character in "}/*?\\":
        return character
    raise InvalidArgument(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{character}'")


@functools.lru_cache(256)
def _compiled(chunk: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("".join(re.escape(token) if token else "." for token in chunk), re.DOTALL)


def _end_of_match(chunks: list[list[str]], value: str, start: int, *, longest: bool, anchored: bool) -> int | None:
    """Where a match that begins at `start` ends; None when there is none."""
    at = start
    for number, chunk in enumerate(chunks):
        compiled = _compiled(tuple(chunk))
        found = compiled.match(value, at) if number == 0 and anchored else compiled.search(value, at)
        if found is None:
            return None
        last_place = found
        at = found.end()
    if not longest or len(chunks) == 1:
        return at
    if not chunks[-1]:
        return len(value)
    for place in range(len(value) - len(chunks[-1]), last_place.start(), -1):
        if compiled.match(value, place):
            return place + len(chunks[-1])
    return at


# ---------------------------------------------------------------------------------------------------------------- filepath.Match


def has_wildcards(path: str) -> bool:
    """Whether COPY takes it as a pattern."""
    return bool(re.search(r"[*?\[\\]", path))


def unescaped(path: str) -> str:
    """A path without wildcards, its escapes taken away."""
    return re.sub(r"\\(.)", r"\1", path)


@functools.lru_cache(1024)
def path_pattern(pattern: str) -> re.Pattern[str]:
    """Go's filepath.Match on Linux: `*`, `?`, `[a-z]`, `[^a]`, `\\c`; none but a literal `/` matches a slash.

    Raises:
        InvalidArgument: the pattern is malformed.
    """
    if len(pattern) > _MOST:
        raise InvalidArgument(f"a pattern is longer than {_MOST} characters")
    pieces: list[list[str]] = [[]]
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            pieces.append([])
        elif character == "?":
            pieces[-1].append("[^/]")
        elif character == "[":
            text, at = _class(pattern, at)
            pieces[-1].append(text)
        elif character == "\\":
            if at == len(pattern):
                raise _malformed(pattern)
            pieces[-1].append(re.escape(pattern[at]))
            at += 1
        else:
            pieces[-1].append(re.escape(character))
    return re.compile(_atomic(["".join(piece) for piece in pieces]), re.DOTALL)


def _atomic(pieces: list[str]) -> str:
    first, *rest = pieces
    if not rest:
        return first + r"\Z"
    *middle, last = rest
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle if piece) + f"[^/]*{last}\\Z"


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A `[…]`, from behind its bracket."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while True:
        if pattern[at : at + 1] == "]" and ranges:
            break
        low, at = _class_character(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _class_character(pattern, at + 1)
        if low <= high:
            ranges.append(re.escape(low) + "-" + re.escape(high))
        else:
            ranges.append("")  # matches nothing
    body = "".join(ranges)
    if negated:
        return f"[^{body}]" if body else r"[\d\D]", at + 1
    return f"[{body}]" if body else r"[^\d\D]", at + 1


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    character = pattern[at : at + 1]
    if character in ("", "-", "]"):
        raise _malformed(pattern)
    if character == "\\":
        at += 1
        character = pattern[at : at + 1]
        if not character:
            raise _malformed(pattern)
    if at + 1 >= len(pattern):
        raise _malformed(pattern)
    return character, at + 1


def _malformed(pattern: str) -> InvalidArgument:
    return InvalidArgument(f"{pattern}: syntax error in pattern")


# ---------------------------------------------------------------------------------------------------------------- .dockerignore

# Tokens: a character, or one of these. DIRS is `**/` before something: nothing, or anything that ends in a slash. REST is `**` at the end.
_STAR, _DIRS, _REST, _ONE = "star", "dirs", "rest", "one"


class IgnorePattern:
    """One pattern of .dockerignore, as moby/patternmatcher takes it. `match` says whether it names a path itself."""

    __slots__ = ("_regular", "_states", "_suffix", "_tokens", "exclusion", "text")

    def __init__(self, text: str, *, exclusion: bool) -> None:
        path_pattern(text)  # refuses what Go's matcher refuses
        self.text = text
        self.exclusion = exclusion
        self._tokens = list(_tokens(text))
        self._regular: re.Pattern[str] | None = None
        self._states: _States | None = None
        self._suffix: str | None = None
        plain = [token for token in self._tokens if token not in (_DIRS, _REST, _STAR, _ONE) and not token.startswith("[")]
        if self._tokens and self._tokens[0] is _DIRS and len(plain) == len(self._tokens) - 1 and "\\" not in text:
            self._suffix = text[2:]
        elif _is_simple(self._tokens):
            self._regular = re.compile(_regular(self._tokens), re.DOTALL)
        else:
            self._states = _States(self._tokens)

    def match(self, path: str) -> bool:
        if self._suffix is not None:  # "**/x" and "**x" alike take whatever ends so
            return path.endswith(self._suffix) or (self._suffix[:1] == "/" and path == self._suffix[1:])
        if self._regular is not None:
            return self._regular.match(path) is not None
        assert self._states is not None
        return self._states.match(path)


def _tokens(pattern: str) -> Iterator[str]:
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
            yield _DIRS if at < len(pattern) else _REST
            continue
        at += 1
        if character == "*":
            yield _STAR
        elif character == "?":
            yield _ONE
        elif character == "[":
            text, at = _class(pattern, at)
            yield text
        elif character == "\\" and at < len(pattern):
            yield pattern[at]
            at += 1
        else:
            yield character


def _is_simple(tokens: list[str]) -> bool:
    """Whether a regular expression that never looks back finds every match: `*a**/b` may have to try several places for its a."""
    wide = [n for n, token in enumerate(tokens) if token in (_DIRS, _REST)]
    if not wide:
        return True
    at = wide[0]
    return len(wide) == 1 and (tokens[at] is _REST or _STAR not in tokens[:at] or tokens[at - 1] == "/")


def _regular(tokens: list[str]) -> str:
    """Pieces between wildcards of the same kind are atomic; the one `**` may be tried at every slash."""
    pieces: list[list[str]] = [[]]
    text = ""
    for token in tokens:
        if token is _STAR:
            pieces.append([])
        elif token in (_DIRS, _REST):
            text += _stars(["".join(piece) for piece in pieces], last=False)
            text += ".*" if token is _REST else "(?:.*/)?"
            pieces = [[]]
        elif token is _ONE:
            pieces[-1].append("[^/]")
        else:
            pieces[-1].append(token if len(token) > 1 else re.escape(token))
    return text + _stars(["".join(piece) for piece in pieces], last=True)


def _stars(pieces: list[str], *, last: bool) -> str:
    if last:
        return _atomic(pieces)
    first, *rest = pieces
    return first + "".join(f"(?>[^/]*?{piece})" for piece in rest)


class _States:
    """All places of a pattern that a path may have come to, as bits."""

    def __init__(self, tokens: list[str]) -> None:
        self._steps = [(token, re.compile(token, re.DOTALL) if len(token) > 1 and token.startswith("[") else None) for token in tokens]
        self._final = 1 << len(tokens)
        self._stay = {n for n, token in enumerate(tokens) if token in (_STAR, _DIRS, _REST)}
        self._inside = len(tokens) + 1  # bit of "inside DIRS number n" is this many above n
        self._known: dict[tuple[int, str], int] = {}

    def match(self, path: str) -> bool:
        here = self._closed(1)
        for character in path:
            key = (here, character)
            following = self._known.get(key)
            if following is None:
                following = self._closed(self._step(here, character))
                if len(self._known) < 10_000:
                    self._known[key] = following
            here = following
            if not here:
                return False
        return bool(here & self._final)

    def _step(self, here: int, character: str) -> int:
        following = 0
        for n, (token, regular) in enumerate(self._steps):
            inside = 1 << (n + self._inside)
            if here & inside or (here & (1 << n) and token is _DIRS):
                following |= inside
                if character == "/":
                    following |= 1 << (n + 1)
            if here & (1 << n):
                if token is _REST or (token is _STAR and character != "/"):
                    following |= 1 << n
                elif token is _ONE:
                    following |= (character != "/") << (n + 1)
                elif regular is not None:
                    following |= (regular.match(character) is not None) << (n + 1)
                else:
                    following |= (token == character) << (n + 1)
        return following

    def _closed(self, here: int) -> int:
        """With the places that are reached by taking a wildcard for nothing."""
        for n in range(len(self._steps)):
            if here & (1 << n) and n in self._stay:
                here |= 1 << (n + 1)
        return here
