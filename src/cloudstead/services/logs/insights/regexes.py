"""The regular expressions and globs of queries, in Python's dialect. They run in the worker, which can be stopped."""

from __future__ import annotations

import re

from cloudstead.services.logs.insights.syntax import Matches
from cloudstead.services.logs.insights.tokens import Malformed, Token


def compiled(token: Token) -> re.Pattern[str]:
    try:
        return re.compile(_python(token.text))
    except (re.error, OverflowError, RecursionError) as error:
        raise Malformed(f"invalid regular expression: {error}", token.start, token.end) from None


def _python(source: str) -> str:
    """AWS's `(?<name>` is Python's `(?P<name>`, and `\\/` is a slash."""
    return re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", source.replace("\\/", "/"))


def with_groups(token: Token) -> tuple[str, tuple[str, ...]]:
    found = compiled(token)
    names = {number: name for name, number in found.groupindex.items()}
    if not found.groups:
        raise Malformed("the regular expression has no groups", token.start, token.end)
    return found.pattern, tuple(names.get(i, f"_{i}") for i in range(1, found.groups + 1))


def glob(pattern: str) -> str:
    """`a=*, b=*` as a regular expression; a last `*` takes the rest."""
    parts = [re.escape(part) for part in pattern.split("*")]
    return "(?s)" + "(.*?)".join(parts) + ("$" if pattern.endswith("*") else "")


def regex_of(matches: Matches) -> re.Pattern[str]:
    """What `like` looks for; a text is looked for as it is."""
    return re.compile(_python(matches.pattern) if matches.is_regex else re.escape(matches.pattern))
