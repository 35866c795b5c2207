"""Filter patterns: what metric filters, subscription filters, FilterLogEvents and Live Tail select events with. Pure.

    ERROR -debug "two words"  ?a ?b  %regex%                        text.py        unstructured
    { ($.a.b = "x*" && $.n >= 5) || $.list[0] IS NULL }             document.py    JSON
    [ip, user, ..., status = 4*, bytes > 1000]                      delimited.py   space-delimited

`compile_pattern(text).matches(message)`. What a value is compared with stands in values.py, the restricted regular expressions in regex.py.

The language: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

from functools import lru_cache

from cloudstead.services.logs.filterpattern.delimited import parse_delimited
from cloudstead.services.logs.filterpattern.document import parse_document
from cloudstead.services.logs.filterpattern.pattern import InvalidPattern, Pattern
from cloudstead.services.logs.filterpattern.text import parse_text

LARGEST = 1024  # characters
MOST_REGEXES = 2  # in one pattern


@lru_cache(512)
def compile_pattern(text: str) -> Pattern:
    """Understand a filter pattern.

    Raises:
        InvalidPattern: with the sentence that AWS answers.
    """
    if len(text) > LARGEST:
        raise InvalidPattern(f"Filter pattern is longer than {LARGEST} characters")
    stripped = text.strip()
    pattern: Pattern
    if stripped.startswith("{"):
        pattern = parse_document(stripped)
    elif stripped.startswith("["):
        pattern = parse_delimited(stripped)
    else:
        pattern = parse_text(stripped)
    if pattern.regexes > MOST_REGEXES:
        raise InvalidPattern(f"A filter pattern can contain at most {MOST_REGEXES} regular expressions")
    return pattern


__all__ = ["InvalidPattern", "Pattern", "compile_pattern"]
