"""Words of a Dockerfile: quotes, escapes and variables.

`expand` makes one word of a text; `split` makes words of it, as a shell would, after variables were put in. Both know

    $name  ${name}                            its value, or nothing
    ${name:-word}  ${name:+word}  ${name:?message}      without the colon an empty value counts as set
    ${name#pattern}  ${name##…}  ${name%…}  ${name%%…}  without the shortest or longest match at its beginning or end
    ${name/pattern/word}  ${name//…}                    the first match, or each, replaced

and nothing else of a shell: what BuildKit's reference names under "Environment replacement". Text comes from strangers: how deep it nests and how long a
value becomes (`ENV a=$a$a` doubles) are limited.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloudstead.engine.build import globs
from cloudstead.engine.errors import InvalidArgument

LONGEST = 128 << 10  # characters of a value: MAX_ARG_STRLEN, what the kernel takes as one string of an environment
DEEPEST = 50
_SPECIAL = frozenset("@*#?-$!0")  # names of one character


def is_space(character: str) -> bool:
    """As Go's unicode.IsSpace."""
    return character.isspace() and character not in "\x1c\x1d\x1e\x1f"


def expand(text: str, variables: Mapping[str, str], *, escape: str = "\\", quotes: bool = True) -> str:
    """The text as one word. `quotes=False` leaves quotes where they are (in the body of a heredoc).

    Raises:
        InvalidArgument: a quote or brace that nothing closes, a modifier that is none, a `?` that tells its message.
    """
    if "$" not in text and escape not in text and '"' not in text and "'" not in text:
        return text
    return _Lexer(text, variables, escape=escape, quotes=quotes).all()[0]


def split(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """The words of a text after variables were put in; an unquoted value may become several."""
    return _Lexer(text, variables, escape=escape).all()[1]


def raw_words(text: str, *, escape: str = "\\", raw_quotes: bool = True, raw_escapes: bool = True) -> list[str]:
    """The words as they are written, variables too."""
    return _Lexer(text, {}, escape=escape, raw_quotes=raw_quotes, raw_escapes=raw_escapes, keep_unset=True).all()[1]


class _Words:
    """Collects words; blanks that are not quoted end one."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._word: list[str] = []

    def loose(self, text: str) -> None:
        for character in text:
            if is_space(character):
                self.end()
            else:
                self._word.append(character)

    def quoted(self, text: str) -> None:
        self._word.append(text)

    def end(self) -> None:
        if word := "".join(self._word):
            self.words.append(word)
        self._word = []


class _Lexer:
    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        *,
        escape: str,
        quotes: bool = True,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self._text = text
        self._at = 0
        self._variables = variables
        self._escape = escape
        self._quotes = quotes
        self._raw_quotes = raw_quotes
        self._raw_escapes = raw_escapes
        self._keep_unset = keep_unset
        self._depth = 0

    def all(self) -> tuple[str, list[str]]:
        try:
            return self._until("", self._raw_escapes)
        except InvalidArgument as error:
            shown = self._text if len(self._text) <= 200 else self._text[:200] + "…"
            raise InvalidArgument(f'failed to process "{shown}": {error.message}') from None

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _until(self, stop: str, raw_escapes: bool) -> tuple[str, list[str]]:
        """Read up to `stop` ("": the end), which is taken too."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise InvalidArgument(f"substitutions are nested more than {DEEPEST} deep")
        outer, self._raw_escapes = self._raw_escapes, raw_escapes
        result: list[str] = []
        words = _Words()
        length = 0
        while character := self._peek():
            if character == stop:
                break
            before = len(result)
            self._one(character, result, words)
            length += sum(map(len, result[before:]))
            if length > LONGEST:
                raise InvalidArgument(f"the value is longer than {LONGEST} characters")
        if stop and self._next() != stop:
            raise InvalidArgument(f"syntax error: missing '{stop}'")
        self._raw_escapes = outer
        self._depth -= 1
        words.end()
        return "".join(result), words.words

    def _one(self, character: str, result: list[str], words: _Words) -> None:
        """The next piece."""
        if character == "$":
            value = self._dollar()
            words.loose(value)
        elif character in "'\"" and self._quotes:
            value = self._single() if character == "'" else self._double()
            words.quoted(value)
        elif character == "<" and self._text.startswith("<<", self._at):
            value = self._heredoc_mark()
            words.quoted(value)
        elif character == self._escape:
            value = self._escaped()
            words.quoted(value)
        else:
            value = self._next()
            words.loose(value)
        result.append(value)

    def _escaped(self) -> str:
        """The escape character takes its meaning from what follows; at the very end it is dropped."""
        escape = self._next()
        following = self._next()
        return escape + following if self._raw_escapes else following

    def _heredoc_mark(self) -> str:
        """`<<` and blanks behind it stay one word with the name that follows."""
        start = self._at
        self._at += 2
        while self._peek() and self._peek() in "\t\r ":
            self._at += 1
        return self._text[start : self._at]

    def _single(self) -> str:
        start = self._at
        end = self._text.find("'", start + 1)
        if end < 0:
            raise InvalidArgument("unexpected end of statement while looking for matching single-quote")
        self._at = end + 1
        return self._text[start : end + 1] if self._raw_quotes else self._text[start + 1 : end]

    def _double(self) -> str:
        pieces = [self._next()] if self._raw_quotes else [self._next()][:0]
        while character := self._peek():
            if character == '"':
                self._at += 1
                if self._raw_quotes:
                    pieces.append(character)
                return "".join(pieces)
            if character == "$":
                pieces.append(self._dollar())
                continue
            self._at += 1
            if character == self._escape:
                if self._raw_escapes:
                    pieces.append(character)
                if not self._peek():
                    continue
                if self._peek() in ('"', "$", self._escape):
                    character = self._next()
            pieces.append(character)
        raise InvalidArgument("unexpected end of statement while looking for matching double-quote")

    def _name(self) -> str:
        start = self._at
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif first and first in _SPECIAL:
            self._at += 1
        else:
            while (character := self._peek()) and (character.isalpha() or character.isdecimal() or character == "_"):
                self._at += 1
        return self._text[start : self._at]

    def _dollar(self) -> str:
        start = self._at
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._variables.get(name, "$" + name if self._keep_unset else "") if name else "$"
        self._at += 1
        if not self._peek():
            raise InvalidArgument("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise InvalidArgument("syntax error: bad substitution")
        name = self._name()
        value = self._braced(name, self._variables.get(name))
        if self._keep_unset and name not in self._variables:
            return self._text[start : self._at]
        return value

    def _braced(self, name: str, value: str | None) -> str:
        operator = self._next()
        if operator == "}":
            return value or ""
        if operator == "/":
            return self._replaced(value or "")
        if not operator:
            raise InvalidArgument("syntax error: missing '}'")
        colon = operator == ":"
        if colon:
            operator = self._next()
        if operator not in ("-", "+", "?") and (colon or operator not in ("#", "%")):
            raise InvalidArgument(f"unsupported modifier ({':' * colon}{operator}) in substitution")
        word, _ = self._until("}", operator in "#%")
        if operator in "#%":
            longest = word.startswith(operator)
            cut = globs.without_prefix if operator == "#" else globs.without_suffix
            return cut(word[longest:], value or "", longest=longest)
        return _chosen(name, operator, value, word, colon)

    def _replaced(self, value: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._at += 1
        try:
            pattern, _ = self._until("/", True)
        except InvalidArgument as error:
            raise InvalidArgument("syntax error: missing '/' in ${}" if self._at > len(self._text) else error.message) from None
        replacement, _ = self._until("}", True)
        result = globs.replace(pattern, value, replacement, everywhere=everywhere)
        if len(result) > LONGEST:
            raise InvalidArgument(f"the value is longer than {LONGEST} characters")
        return result


def _chosen(name: str, operator: str, value: str | None, word: str, colon: bool) -> str:
    """`-`, `+` and `?`; with a colon an empty value counts as none."""
    there = value is not None and not (colon and value == "")
    if operator == "+":
        return word if there else ""
    if there:
        return value or ""
    if operator == "-":
        return word
    raise InvalidArgument(f"{name}: {word or ('is not allowed to be unset' if value is None else 'is not allowed to be empty')}")
