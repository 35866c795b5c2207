"""The cluster query language: a text becomes a tree.

    expression  =  all { ("||" | "or") all }
    all         =  one { ("&&" | "and") one }
    one         =  ("!" | "not") one  |  "(" expression ")"  |  comparison
    comparison  =  subject operator [argument]
    subject     =  attribute:<name>  task:group  agentConnected  agentVersion  ec2InstanceId  registeredAt  runningTasksCount
    argument    =  a literal, bare or in quotes; for in and not_in  "[" literal { "," literal } "]"

Each subject has its operators, and the literals are checked here: what has become a tree can be asked without a fault.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-query-language.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import msgspec

from cloudstead.services.ecs.placement.patterns import PatternInvalid, compiled

LONGEST = 2_000  # characters; AWS's limit of an expression
_DEEPEST = 50


class ExpressionInvalid(ValueError):
    """A text that is no expression; the message says where."""


class Comparison(msgspec.Struct, frozen=True):
    subject: str
    operator: str  # == != > >= < <= exists !exists in !in =~ !~
    arguments: tuple[str, ...] = ()


class Both(msgspec.Struct, frozen=True, tag=True):
    left: Expression
    right: Expression


class Either(msgspec.Struct, frozen=True, tag=True):
    left: Expression
    right: Expression


class Not(msgspec.Struct, frozen=True, tag=True):
    of: Expression


Expression: TypeAlias = "Comparison | Both | Either | Not"

_OPERATORS = {
    "==": "==",
    "equals": "==",
    "!=": "!=",
    "not_equals": "!=",
    ">": ">",
    "greater_than": ">",
    ">=": ">=",
    "greater_than_equal": ">=",
    "<": "<",
    "less_than": "<",
    "<=": "<=",
    "less_than_equal": "<=",
    "exists": "exists",
    "!exists": "!exists",
    "not_exists": "!exists",
    "in": "in",
    "!in": "!in",
    "not_in": "!in",
    "=~": "=~",
    "matches": "=~",
    "!~": "!~",
    "not_matches": "!~",
}
_EQUAL, _ORDER, _TEXT = ("==", "!="), (">", ">=", "<", "<="), ("in", "!in", "=~", "!~")
_OF_SUBJECT: dict[str, tuple[str, ...]] = {
    "agentConnected": (*_EQUAL, *_TEXT),
    "agentVersion": (*_EQUAL, *_ORDER),
    "ec2InstanceId": (*_EQUAL, *_TEXT),
    "registeredAt": (*_EQUAL, *_ORDER),
    "runningTasksCount": (*_EQUAL, *_ORDER),
    "task:group": (*_EQUAL, *_TEXT, "exists", "!exists"),
}
_OF_ATTRIBUTE = (*_EQUAL, *_ORDER, *_TEXT, "exists", "!exists")

_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>&&|\|\||\(|\)|\[|\]|,)
      |(?P<operator>==|!=|>=|<=|=~|!~|>|<|!exists\b|!in\b)
      |(?P<bang>!)
      |"(?P<double>[^"]*)"|'(?P<single>[^']*)'
      |(?P<word>[^\s()\[\],"'!<>=&|]+))""",
    re.VERBOSE,
)
_PATTERN = re.compile(r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"']+))""")
_ATTRIBUTE = re.compile(r"attribute:[A-Za-z0-9_./\\:-]{1,128}\Z")
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,3}\Z")


class _Token(NamedTuple):
    kind: str  # mark, operator, bang, literal, word; "" at the end
    text: str
    end: int


@lru_cache(512)
def parse(text: str) -> Expression:
    """
    Raises:
        ExpressionInvalid
    """
    if len(text) > LONGEST:
        raise ExpressionInvalid(f"an expression has at most {LONGEST} characters")
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Expression:
        found = self._either(0)
        token = self._look()
        if token.kind:
            raise ExpressionInvalid(f"unexpected '{token.text}'")
        return found

    def _either(self, depth: int) -> Expression:
        found = self._both(depth)
        while self._joined("||", "or"):
            found = Either(found, self._both(depth))
        return found

    def _both(self, depth: int) -> Expression:
        found = self._one(depth)
        while self._joined("&&", "and"):
            found = Both(found, self._one(depth))
        return found

    def _one(self, depth: int) -> Expression:
        if depth > _DEEPEST:
            raise ExpressionInvalid("too many parentheses")
        token = self._take()
        if token.kind == "bang" or (token.kind == "word" and token.text == "not"):
            return Not(self._one(depth + 1))
        if token.kind == "mark" and token.text == "(":
            found = self._either(depth + 1)
            if self._take().text != ")":
                raise ExpressionInvalid("missing ')'")
            return found
        if token.kind != "word":
            raise ExpressionInvalid(f"expected a subject{_instead(token)}")
        return self._comparison(token.text)

    def _comparison(self, subject: str) -> Comparison:
        allowed = _OF_ATTRIBUTE if _ATTRIBUTE.match(subject) else _OF_SUBJECT.get(subject)
        if allowed is None:
            raise ExpressionInvalid(f"unknown subject '{subject}'")
        token = self._take()
        operator = _OPERATORS.get(token.text) if token.kind in ("operator", "word") else None
        if operator is None:
            raise ExpressionInvalid(f"expected an operator{_instead(token)}")
        if operator not in allowed:
            raise ExpressionInvalid(f"'{subject}' cannot be compared by '{token.text}'")
        found = Comparison(subject, operator, self._arguments(operator))
        _check(found)
        return found

    def _arguments(self, operator: str) -> tuple[str, ...]:
        if operator in ("exists", "!exists"):
            return ()
        if operator in ("=~", "!~"):
            return (self._pattern(),)
        if operator not in ("in", "!in"):
            return (self._literal(),)
        if self._take().text != "[":
            raise ExpressionInvalid("expected '['")
        found = [self._literal()]
        while (token := self._take()).text == ",":
            found.append(self._literal())
        if token.text != "]":
            raise ExpressionInvalid("missing ']'")
        return tuple(found)

    def _literal(self) -> str:
        token = self._take()
        if token.kind not in ("word", "literal"):
            raise ExpressionInvalid(f"expected a value{_instead(token)}")
        return token.text

    def _pattern(self) -> str:
        """A bare pattern goes to the next space, less the closing parentheses that it did not open."""
        found = _PATTERN.match(self._text, self._at)
        if found is None:
            raise ExpressionInvalid("expected a pattern")
        self._at = found.end()
        bare = found["bare"]
        if bare is None:
            return found["double"] if found["double"] is not None else found["single"] or ""
        while bare.endswith(")") and bare.count(")") > bare.count("("):
            bare = bare[:-1]
            self._at -= 1
        return str(bare)

    def _joined(self, mark: str, word: str) -> bool:
        token = self._look()
        if (token.kind, token.text) not in (("mark", mark), ("word", word)):
            return False
        self._at = token.end
        return True

    def _take(self) -> _Token:
        token = self._look()
        self._at = token.end
        return token

    def _look(self) -> _Token:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            if self._text[self._at :].strip():
                raise ExpressionInvalid(f"unexpected '{self._text[self._at :].strip()[:1]}'")
            return _Token("", "", len(self._text))
        kind = found.lastgroup or ""
        return _Token("literal" if kind in ("double", "single") else kind, found[kind], found.end())


def _instead(token: _Token) -> str:
    return f" instead of '{token.text}'" if token.kind else " at the end"


def _check(comparison: Comparison) -> None:
    """That the argument is one of its subject's."""
    for argument in comparison.arguments:
        if comparison.operator in ("=~", "!~"):
            try:
                compiled(argument)
            except PatternInvalid as error:
                raise ExpressionInvalid(f"'{argument}': {error}") from None
        elif comparison.subject == "runningTasksCount" and not (argument.isascii() and argument.isdigit() and len(argument) < 10):
            raise ExpressionInvalid(f"'{argument}' is no number")
        elif comparison.subject == "agentVersion" and not _VERSION.match(argument):
            raise ExpressionInvalid(f"'{argument}' is no version")
        elif comparison.subject == "registeredAt":
            moment(argument)


def moment(text: str) -> float:
    """A date as AWS takes it: 2018-06-18T22:28:28+00:00, 2018-06-18T22:28:28Z, 2018-06-18T22:28:28 or 2018-06-18. Without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ExpressionInvalid(f"'{text}' is no date") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
