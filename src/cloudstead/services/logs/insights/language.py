"""The language of Logs Insights: `fields @timestamp, a.b as x | filter x like /err/ and n > 5 | stats count(*) by bin(5m) | sort … | limit 20`.

Understood are the commands fields, display, filter, parse (glob and regular expression), stats, sort, limit, head, tail and dedup. A query
with anything else is refused as a whole: an answer that ignored a part of the question would be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cloudstead.services.logs.insights.regexes import compiled, glob, with_groups
from cloudstead.services.logs.insights.syntax import (
    Aggregate,
    Call,
    Command,
    Contained,
    Dedup,
    Expression,
    Field,
    Fields,
    Filter,
    Limit,
    Matches,
    Named,
    Number,
    Parse,
    Query,
    Sort,
    Stats,
    Text,
)
from cloudstead.services.logs.insights.tokens import Malformed, Token, tokens

AGGREGATES = {
    "count": (0, 1),
    "count_distinct": (1, 1),
    "sum": (1, 1),
    "avg": (1, 1),
    "min": (1, 1),
    "max": (1, 1),
    "stddev": (1, 1),
    "pct": (2, 2),
    "median": (1, 1),
    "earliest": (1, 1),
    "latest": (1, 1),
}
# The functions of values.py and how many arguments they take.
FUNCTIONS = {
    "abs": (1, 1),
    "ceil": (1, 1),
    "floor": (1, 1),
    "sqrt": (1, 1),
    "log": (1, 1),
    "greatest": (1, 99),
    "least": (1, 99),
    "ispresent": (1, 1),
    "isempty": (1, 1),
    "isblank": (1, 1),
    "coalesce": (1, 99),
    "concat": (1, 99),
    "strlen": (1, 1),
    "toupper": (1, 1),
    "tolower": (1, 1),
    "trim": (1, 1),
    "ltrim": (1, 1),
    "rtrim": (1, 1),
    "substr": (2, 3),
    "replace": (3, 3),
    "strcontains": (2, 2),
    "bin": (1, 1),
    "datefloor": (2, 2),
    "dateceil": (2, 2),
    "tomillis": (1, 1),
    "frommillis": (1, 1),
}
PERIODS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse(text: str) -> Query:
    """Understand a query.

    Raises:
        Malformed
    """
    return _Parser(text).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _accept(self, *words: str) -> bool:
        if self._next.says(*words):
            self._at += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._unexpected(f"expected {word}")

    def _unexpected(self, why: str = "") -> Malformed:
        token = self._next
        what = f"unexpected symbol found {token.text}" if token.kind != "end" else "unexpected end of query"
        return Malformed(f"{what}, {why}" if why else what, token.start, token.end)

    def query(self) -> Query:
        commands = [self._command()]
        while self._accept("|"):
            commands.append(self._command())
        if self._next.kind != "end":
            raise self._unexpected()
        if sum(isinstance(each, Stats) for each in commands) > 2:
            raise Malformed("a query can have at most two stats commands", 0, self._next.end)
        return Query(tuple(commands))

    def _command(self) -> Command:
        token = self._take()
        commands: dict[str, Callable[[], Command]] = {
            "fields": self._fields,
            "display": self._display,
            "filter": self._filter,
            "parse": self._parse,
            "stats": self._stats,
            "sort": self._sort,
            "limit": self._limit,
            "head": self._limit,
            "tail": self._tail,
            "dedup": self._dedup,
        }
        read = commands.get(token.text.lower()) if token.kind == "name" else None
        if read is None:
            raise Malformed(f"the command {token.text or 'that is missing'} is not supported by Cloudstead", token.start, token.end)
        return read()

    def _fields(self) -> Fields:
        return Fields(self._columns())

    def _display(self) -> Fields:
        return Fields(self._columns(), only=True)

    def _columns(self) -> tuple[Named, ...]:
        columns = [self._named()]
        while self._accept(","):
            columns.append(self._named())
        return tuple(columns)

    def _named(self) -> Named:
        start = self._next.start
        expression = self._expression()
        name = expression.name if isinstance(expression, Field) else self._source(start)
        if self._accept("as"):
            name = self._name()
        return Named(name, expression)

    def _source(self, start: int) -> str:
        """What the query says from there to here, which is what a column without a name is called."""
        texts = [token for token in self._tokens[: self._at] if token.start >= start]
        return "".join(f", {token.text}"[1:] if token.text == "," else token.text for token in texts)

    def _name(self) -> str:
        token = self._take()
        if token.kind not in ("name", "quoted-name"):
            self._at -= 1
            raise self._unexpected("expected a name")
        return token.text

    def _filter(self) -> Filter:
        return Filter(self._expression())

    def _parse(self) -> Parse:
        value: Expression = Field("@message")
        if self._next.kind not in ("text", "regex"):
            value = self._primary()
        token = self._take()
        if token.kind == "regex":
            pattern, names = with_groups(token)
            if self._accept("as"):
                names = self._names()
        elif token.kind == "text":
            pattern = glob(token.text)
            self._expect("as")
            names = self._names()
        else:
            self._at -= 1
            raise self._unexpected("expected a pattern")
        if re.compile(pattern).groups != len(names):
            raise Malformed("the pattern has another number of wildcards or groups than there are names", token.start, token.end)
        return Parse(value, pattern, names)

    def _names(self) -> tuple[str, ...]:
        names = [self._name()]
        while self._accept(","):
            names.append(self._name())
        return tuple(names)

    def _stats(self) -> Stats:
        aggregates = [self._aggregate()]
        while self._accept(","):
            aggregates.append(self._aggregate())
        by: tuple[Named, ...] = ()
        if self._accept("by"):
            by = self._columns()
        return Stats(tuple(aggregates), by)

    def _aggregate(self) -> Aggregate:
        token = self._next
        function = self._name().lower()
        if function not in AGGREGATES:
            raise Malformed(f"the aggregation function {token.text} is not supported by Cloudstead", token.start, token.end)
        arguments = self._arguments(token, AGGREGATES[function])
        name = self._source(token.start)
        if self._accept("as"):
            name = self._name()
        return Aggregate(name, function, arguments)

    def _arguments(self, of: Token, count: tuple[int, int]) -> tuple[Expression, ...]:
        self._expect("(")
        arguments: list[Expression] = []
        if self._next.says("*") and count[0] == 0:
            self._take()
        elif not self._next.says(")"):
            arguments.append(self._expression())
            while self._accept(","):
                arguments.append(self._expression())
        self._expect(")")
        if not count[0] <= len(arguments) <= count[1]:
            raise Malformed(f"{of.text} does not take {len(arguments)} arguments", of.start, of.end)
        return tuple(arguments)

    def _sort(self) -> Sort:
        keys = [self._sort_key()]
        while self._accept(","):
            keys.append(self._sort_key())
        return Sort(tuple(keys))

    def _sort_key(self) -> tuple[Expression, bool]:
        # What a column of stats is called may look like a call: `sort count(*) desc`.
        start, token = self._at, self._next
        if token.kind == "name" and token.text.lower() in AGGREGATES and self._tokens[self._at + 1].says("("):
            self._take()
            self._arguments(token, AGGREGATES[token.text.lower()])
            expression: Expression = Field(self._source(self._tokens[start].start))
        else:
            expression = self._expression()
        if self._accept("desc"):
            return expression, True
        self._accept("asc")
        return expression, False

    def _limit(self) -> Limit:
        return Limit(self._count())

    def _tail(self) -> Limit:
        return Limit(self._count(), last=True)

    def _count(self) -> int:
        token = self._take()
        if token.kind != "number" or not token.text.isdigit() or not 1 <= int(token.text) <= 100_000:
            raise Malformed("expected a number between 1 and 100000", token.start, token.end)
        return int(token.text)

    def _dedup(self) -> Dedup:
        return Dedup(tuple(each.expression for each in self._columns()))

    # Expressions, the weakest operator first.

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > 50:
            raise self._unexpected("nested too deeply")
        left = self._and()
        while self._accept("or"):
            left = Call("or", (left, self._and()))
        self._depth -= 1
        return left

    def _and(self) -> Expression:
        left = self._not()
        while self._accept("and"):
            left = Call("and", (left, self._not()))
        return left

    def _not(self) -> Expression:
        negations = 0
        while self._accept("not"):
            negations += 1
        found = self._comparison()
        return Call("not", (found,)) if negations % 2 else found

    def _comparison(self) -> Expression:
        left = self._sum()
        negated = self._accept("not")
        if self._accept("like", "=~"):
            return _negated(self._matches(left), negated)
        if self._accept("in"):
            return _negated(Contained(left, self._list()), negated)
        if negated:
            raise self._unexpected("expected like or in")
        if self._next.says("=", "!=", "<", "<=", ">", ">="):
            sign = self._take().text
            return Call(sign, (left, self._sum()))
        return left

    def _matches(self, left: Expression) -> Matches:
        token = self._take()
        if token.kind == "regex":
            compiled(token)
            return Matches(left, token.text, is_regex=True)
        if token.kind == "text":
            return Matches(left, token.text, is_regex=False)
        self._at -= 1
        raise self._unexpected("expected a text or a regular expression")

    def _list(self) -> tuple[Expression, ...]:
        self._expect("[")
        among = [self._sum()]
        while self._accept(","):
            among.append(self._sum())
        self._expect("]")
        return tuple(among)

    def _sum(self) -> Expression:
        left = self._product()
        while self._next.says("+", "-"):
            sign = self._take().text
            left = Call(sign, (left, self._product()))
        return left

    def _product(self) -> Expression:
        left = self._power()
        while self._next.says("*", "/", "%"):
            sign = self._take().text
            left = Call(sign, (left, self._power()))
        return left

    def _power(self) -> Expression:
        left = self._primary()
        if self._accept("^"):
            return Call("^", (left, self._primary()))
        return left

    def _primary(self) -> Expression:
        if self._accept("("):
            inner = self._expression()
            self._expect(")")
            return inner
        if self._accept("-"):
            return Call("-", (Number(0.0), self._primary()))
        token = self._take()
        if token.kind == "number":
            return Number(float(token.text))
        if token.kind == "period":
            return Number(float(_milliseconds(token.text)))
        if token.kind == "text":
            return Text(token.text)
        if token.kind == "quoted-name":
            return Field(token.text)
        if token.kind != "name":
            self._at -= 1
            raise self._unexpected()
        if not self._next.says("("):
            return Field(token.text)
        function = token.text.lower()
        if function not in FUNCTIONS:
            raise Malformed(f"the function {token.text} is not supported by Cloudstead", token.start, token.end)
        return Call(function, self._arguments(token, FUNCTIONS[function]))


def _negated(expression: Expression, negated: bool) -> Expression:
    return Call("not", (expression,)) if negated else expression


def _milliseconds(period: str) -> int:
    digits = period.rstrip("mshdw")
    return int(digits) * PERIODS[period[len(digits) :]]
