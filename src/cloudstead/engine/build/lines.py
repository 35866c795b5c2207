"""A Dockerfile's text as instructions that are not read yet: comments, directives, continued lines, flags, heredocs.

The text is read as BuildKit reads it (frontend/dockerfile/parser), with its oddities: comments inside a continued line are left out, empty lines
there too (with a warning), blanks before the first word are dropped but those of continuing lines are not. Why there is a parser here at all:
docs/decisions/0010-dockerfile-parser.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

from cloudstead.engine.build.words import is_space, raw_words
from cloudstead.engine.errors import InvalidArgument, Unsupported

LONGEST = 4 << 20  # bytes of a Dockerfile
_HEREDOC = re.compile(r"(\d*)<<(-?)\s*([^<]*)\Z")
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*\Z")
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_TABS = re.compile(r"^\t+", re.MULTILINE)
_FRONTENDS = re.compile(r"(docker\.io/)?docker/dockerfile(-upstream)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?\Z")
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")


class Heredoc(msgspec.Struct, frozen=True, kw_only=True):
    """A file written in the Dockerfile itself."""

    name: str
    descriptor: int = 0
    expand: bool = True  # its name is not quoted: variables are put in
    chomp: bool = False  # `<<-`: tabs before each line are dropped
    content: str = ""

    @property
    def text(self) -> str:
        return _TABS.sub("", self.content) if self.chomp else self.content


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction, as written."""

    keyword: str  # in upper case
    flags: tuple[str, ...]
    rest: str
    original: str  # the whole line, joined
    heredocs: tuple[Heredoc, ...] = ()
    start: int
    end: int


@dataclass(slots=True)
class Source:
    """What came of a text."""

    lines: list[Line] = field(default_factory=list)
    escape: str = "\\"
    warnings: list[str] = field(default_factory=list)


def read(text: str) -> Source:
    """The instructions of a Dockerfile.

    Raises:
        InvalidArgument: with the line's number.
        Unsupported: the syntax directive names another language.
    """
    return _Reading(text).all()


def read_trigger(text: str) -> Line:
    """The one instruction that ONBUILD keeps."""
    lines = read(text).lines
    if len(lines) != 1:
        raise InvalidArgument("onbuild trigger should be a single expression")
    return lines[0]


def parse_heredoc(word: str) -> Heredoc | None:
    """`<<EOF`, `<<-"EOF"`, `3<<EOF`; None when the word is something else."""
    match = _HEREDOC.match(word)
    if match is None or not match[3]:
        return None
    names = raw_words(match[3], raw_quotes=False, raw_escapes=False)
    if len(names) != 1:
        return None
    written = raw_words(match[3], raw_escapes=False)[0]
    quoted = sum(map(written.count, "'\"")) != sum(map(names[0].count, "'\""))
    return Heredoc(name=names[0], descriptor=int(match[1][:9] or 0), expand=not quoted, chomp=bool(match[2]))


class _Reading:
    def __init__(self, text: str) -> None:
        self._physical = _with_ends(text.removeprefix("\ufeff"))
        self._at = 0  # physical lines that were taken
        self._source = Source()
        self._directives: set[str] | None = set()  # None: no more of them may come
        self._set_escape("\\")

    def all(self) -> Source:
        while self._at < len(self._physical):
            start = self._at + 1
            try:
                self._one()
            except InvalidArgument as error:
                if error.message.startswith("dockerfile parse error"):
                    raise
                raise failed(start, error.message) from None
        if not self._source.lines:
            raise InvalidArgument("file with no instructions")
        return self._source

    def _one(self) -> None:
        start = self._at + 1
        first = _lstrip(self._next().rstrip("\r\n"))
        self._directive(first)
        line, ended = self._without_continuation("" if first.startswith("#") else first)
        if ended and not line:
            return
        pieces, empty = [line], False
        while not ended and self._at < len(self._physical):
            following = self._next().rstrip("\r\n")
            self._directives = None
            if _lstrip(following).startswith("#"):
                continue
            if not _lstrip(following):
                empty = True
                continue
            line, ended = self._without_continuation(following)
            pieces.append(line)
        whole = "".join(pieces)
        if empty:
            self._source.warnings.append(f"Empty continuation line found in: {whole}")
        self._source.lines.append(self._instruction(whole, start))

    def _instruction(self, text: str, start: int) -> Line:
        keyword, flags, rest = split_command(text, self._source.escape)
        heredocs = self._heredocs(keyword, rest, text)
        return Line(keyword=keyword, flags=flags, rest=rest, original=text, heredocs=heredocs, start=start, end=self._at)

    def _heredocs(self, keyword: str, rest: str, text: str) -> tuple[Heredoc, ...]:
        inner = rest
        while keyword == "ONBUILD" and inner:
            keyword, _, inner = split_command(inner, self._source.escape)
        if keyword not in _WITH_HEREDOCS or "<<" not in text or is_json(inner):
            return ()
        try:
            words = raw_words(text)
        except InvalidArgument:
            return ()  # a quote that the shell of RUN may well take
        found = [heredoc for word in words if (heredoc := parse_heredoc(word)) is not None]
        return tuple(self._body(heredoc) for heredoc in found)

    def _body(self, heredoc: Heredoc) -> Heredoc:
        pieces: list[str] = []
        while self._at < len(self._physical):
            line = self._next()
            bare = line.rstrip("\r\n")
            if (bare.lstrip("\t") if heredoc.chomp else bare) == heredoc.name:
                return msgspec.structs.replace(heredoc, content="".join(pieces))
            pieces.append(line)
        raise InvalidArgument("unterminated heredoc")

    def _next(self) -> str:
        line = self._physical[self._at]
        self._at += 1
        return line

    def _directive(self, line: str) -> None:
        """`# escape=…`, `# syntax=…`, `# check=…`: before anything else, each once."""
        if self._directives is None:
            return
        match = _DIRECTIVE.match(_lstrip(line[1:])) if line.startswith("#") else None
        name = match[1].lower() if match else ""
        if match is None or name not in ("syntax", "escape", "check"):
            self._directives = None
            return
        if name in self._directives:
            raise InvalidArgument(f"only one {name} parser directive can be used")
        self._directives.add(name)
        if name == "escape":
            if match[2] not in ("\\", "`"):
                raise InvalidArgument(f"invalid escape token '{match[2]}' does not match ` or \\")
            self._set_escape(match[2])
        elif name == "syntax" and not _FRONTENDS.match(match[2].split(" ")[0]):
            raise Unsupported(f"the Dockerfile wants the frontend {match[2]}; this builder reads docker/dockerfile only")

    def _set_escape(self, escape: str) -> None:
        self._source.escape = escape
        one = re.escape(escape)
        self._continuation = re.compile(rf"((?:\A|[^{one}])){one}[ \t]*\Z", re.DOTALL)

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        """The line without the escape character at its end, and whether the instruction ends with it."""
        match = self._continuation.search(line, max(0, len(line.rstrip(" \t")) - 2))
        if match is None:
            return line, True
        return line[: match.start()] + match[1], False


def split_command(line: str, escape: str) -> tuple[str, tuple[str, ...], str]:
    """Keyword (in upper case), flags and the rest."""
    parts = _BLANKS.split(strip(line), maxsplit=1)
    if len(parts) == 1:
        return parts[0].upper(), (), ""
    flags, rest = _flags(parts[1], escape)
    return parts[0].upper(), flags, strip(rest)


def _flags(line: str, escape: str) -> tuple[tuple[str, ...], str]:
    """Words that begin with `--`, before anything else; `--` alone ends them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(line) and is_space(line[at]):
            at += 1
        if not line.startswith("--", at):
            return tuple(flags), line[at:]
        word, at = _flag(line, at, escape)
        if word == "--":
            return tuple(flags), line[at:]
        flags.append(word)


def _flag(line: str, at: int, escape: str) -> tuple[str, int]:
    """One of them; quotes and escapes are taken away."""
    word: list[str] = []
    quote = ""
    while at < len(line) and (quote or not is_space(line[at])):
        character = line[at]
        at += 1
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character != escape:
            word.append(character)
        elif at < len(line):
            word.append(line[at])
            at += 1
    return "".join(word), at


def is_json(rest: str) -> bool:
    return json_strings(rest) is not None


def json_strings(rest: str) -> tuple[str, ...] | None:
    """A JSON array of strings; None when the text is no JSON array.

    Raises:
        InvalidArgument: an array of other things.
    """
    if not _lstrip(rest).startswith("["):
        return None
    try:
        values = msgspec.json.decode(rest.encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        raise InvalidArgument("when using JSON array syntax, arrays must be comprised of strings only")
    return tuple(values)


def strip(text: str) -> str:
    """Without blanks around it, as Go's strings.TrimSpace."""
    end = len(text)
    while end and is_space(text[end - 1]):
        end -= 1
    return _lstrip(text[:end])


def _lstrip(text: str) -> str:
    start = 0
    while start < len(text) and is_space(text[start]):
        start += 1
    return text[start:]


def _with_ends(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends one."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def failed(line: int, message: str) -> InvalidArgument:
    return InvalidArgument(f"dockerfile parse error on line {line}: {message}")
