"""Event patterns: AWS's documented operators, its engine's treatment of arrays, its sentences, and garbage."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.services.events.model import Rule
from cloudstead.services.events.pattern import InvalidPattern, Pattern
from cloudstead.services.events.routing import RuleIndex

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html, each operator with what it wants and what it does not.
OPERATORS: list[tuple[str, Any, list[Any], list[Any]]] = [
    ("equals", ["us-east-1"], ["us-east-1"], ["us-east-2", "US-EAST-1", "us-east-1 ", None, 1, {}]),
    ("one of several", ["a", "b"], ["a", "b", ["x", "b"]], ["c", ["x", "y"], []]),
    ("null", [None], [None], ["", "null", 0, False, [], {}]),
    ("empty text", [""], [""], [None, " "]),
    ("true", [True], [True], ["true", 1, False]),
    ("number", [100], [100, 100.0, 1e2], ["100", 101, True]),
    ("one is no truth", [1], [1], [True, "1"]),
    ("large number", [9007199254740993], [9007199254740993], [9007199254740992]),
    ("equals-ignore-case", [{"equals-ignore-case": "alice"}], ["ALICE", "alice"], ["alic", "alice1", 1, None]),
    ("exactly", [{"exactly": "a"}], ["a"], ["A"]),
    ("prefix", [{"prefix": "eu-"}], ["eu-west-1", "eu-"], ["us-east-1", "EU-west-1", 5]),
    ("prefix of any text", [{"prefix": ""}], ["", "x"], [1, None]),
    ("prefix-ignore-case", [{"prefix": {"equals-ignore-case": "EventB"}}], ["eventbridge", "EVENTB"], ["event"]),
    ("suffix", [{"suffix": ".png"}], ["a.png", ".png"], ["a.PNG", "a.png.txt"]),
    ("suffix-ignore-case", [{"suffix": {"equals-ignore-case": ".png"}}], ["a.PNG"], ["a.jpg"]),
    ("anything-but", [{"anything-but": "initializing"}], ["running", 5, None, True, ["initializing", "running"]], ["initializing", [], {}]),
    ("anything-but of several", [{"anything-but": ["stopped", "overloaded"]}], ["running", 1], ["stopped", "overloaded"]),
    ("anything-but a number", [{"anything-but": 123}], [456, "123"], [123, 123.0]),
    ("anything-but numbers", [{"anything-but": [100, 200, 300]}], [150, "100"], [100, 300.0]),
    ("anything-but-prefix", [{"anything-but": {"prefix": "init"}}], ["running", 5], ["initializing"]),
    ("anything-but prefixes", [{"anything-but": {"prefix": ["init", "error"]}}], ["running"], ["initializing", "errors"]),
    ("anything-but-suffix", [{"anything-but": {"suffix": ".txt"}}], ["a.png"], ["a.txt"]),
    ("anything-but suffixes", [{"anything-but": {"suffix": [".txt", ".rtf"]}}], ["a.png"], ["a.rtf"]),
    ("anything-but-ignore-case", [{"anything-but": {"equals-ignore-case": ["initializing", "stopped"]}}], ["running"], ["STOPPED"]),
    ("anything-but-wildcard", [{"anything-but": {"wildcard": "*/lib/*"}}], ["/usr/bin"], ["/usr/lib/x"]),
    ("anything-but wildcards", [{"anything-but": {"wildcard": ["*/lib/*", "*/bin/*"]}}], ["/etc"], ["/usr/bin/x"]),
    ("numeric equals", [{"numeric": ["=", 3.018e2]}], [301.8], [301, "301.8"]),
    ("numeric range", [{"numeric": [">", 0, "<=", 5]}], [0.1, 5, 5.0], [0, 5.1, -1, "3", None, True]),
    ("numeric less", [{"numeric": ["<", 10]}], [9, -1e300], [10]),
    ("numeric at least", [{"numeric": [">=", 10]}], [10, 1e12], [9.999]),
    ("cidr", [{"cidr": "10.0.0.0/24"}], ["10.0.0.0", "10.0.0.255"], ["10.0.1.0", "10.0.0", "x", 5]),
    ("cidr of IPv6", [{"cidr": "2001:db8::/32"}], ["2001:db8::1"], ["2001:db9::1", "10.0.0.1"]),
    ("exists", [{"exists": True}], ["x", None, 0, False, ["a"]], [{}, {"a": 1}, []]),
    ("exists not", [{"exists": False}], [{}, {"a": 1}, []], ["x", None, 0]),
    ("wildcard", [{"wildcard": "dir/*.png"}], ["dir/a.png", "dir/.png", "dir/x/y.png"], ["dir/a.jpg", "a/dir/a.png"]),
    ("wildcard of anything", [{"wildcard": "*"}], ["", "x"], [1]),
    ("wildcards", [{"wildcard": "a*b*c"}], ["abc", "aXbYc", "abbc"], ["ac", "acb"]),
    ("wildcard and escapes", [{"wildcard": "a\\*\\\\*"}], ["a*\\", "a*\\z"], ["ab\\"]),
    ("wildcard does not overlap", [{"wildcard": "aba*aba"}], ["abaaba", "abaXaba"], ["ababa"]),
    ("several operators", ["a", {"prefix": "b"}, {"numeric": [">", 3]}, None], ["a", "bc", 4, None], ["c", 3]),
]


@pytest.mark.parametrize(("alternatives", "wanted", "unwanted"), [row[1:] for row in OPERATORS], ids=[row[0] for row in OPERATORS])
def test_an_operator_wants_what_aws_says(alternatives: Any, wanted: list[Any], unwanted: list[Any]) -> None:
    pattern = Pattern(json.dumps({"detail": {"value": alternatives}}))
    assert [value for value in wanted if not pattern.matches({"detail": {"value": value}})] == []
    assert [value for value in unwanted if pattern.matches({"detail": {"value": value}})] == []


WHOLE: list[tuple[str, Any, Any, bool]] = [
    ("all fields must hold", {"a": ["1"], "b": ["2"]}, {"a": "1", "b": "2", "c": "3"}, True),
    ("one field does not", {"a": ["1"], "b": ["2"]}, {"a": "1", "b": "3"}, False),
    ("a field is missing", {"a": ["1"]}, {}, False),
    ("missing in a missing object", {"a": {"b": [{"exists": False}]}}, {}, True),
    ("missing in a text", {"a": {"b": [{"exists": False}]}}, {"a": "text"}, True),
    ("an object where a text is asked", {"a": ["1"]}, {"a": {"b": "1"}}, False),
    ("a text where an object is asked", {"a": {"b": ["1"]}}, {"a": "1"}, False),
    ("a value or nothing", {"a": ["1", {"exists": False}]}, {}, True),
    ("another value or nothing", {"a": ["1", {"exists": False}]}, {"a": "2"}, False),
    ("an element of an array", {"a": {"b": ["1"]}}, {"a": [{"b": "0"}, {"b": "1"}]}, True),
    ("one element must have both", {"a": {"b": ["1"], "c": ["2"]}}, {"a": [{"b": "1", "c": "1"}, {"b": "2", "c": "2"}]}, False),
    ("one element has both", {"a": {"b": ["1"], "c": ["2"]}}, {"a": [{"b": "1", "c": "1"}, {"b": "1", "c": "2"}]}, True),
    ("arrays in arrays", {"a": {"b": {"c": ["1"]}}}, {"a": [[{"b": [{"c": "0"}]}], [{"b": [[{"c": "1"}]]}]]}, True),
    ("an array of arrays of texts", {"a": ["1"]}, {"a": [["0", ["1"]]]}, True),
    ("consistent below, too", {"a": {"x": ["1"], "b": {"c": ["1"], "d": ["2"]}}},
     {"a": [{"x": "1", "b": [{"c": "1"}, {"d": "2"}]}, {"x": "0", "b": [{"c": "1", "d": "2"}]}]}, False),
    ("absent in the element that has the rest", {"a": {"b": ["1"], "c": [{"exists": False}]}}, {"a": [{"b": "1"}, {"c": "2"}]}, True),
    ("present in the element that has the rest", {"a": {"b": ["1"], "c": [{"exists": False}]}}, {"a": [{"b": "1", "c": "2"}, {"d": "2"}]}, False),
    ("absence alone counts for all elements", {"a": {"c": [{"exists": False}]}}, {"a": [{"b": "1"}, {"c": "2"}]}, False),
    ("absent in all elements", {"a": {"c": [{"exists": False}]}}, {"a": [{"b": "1"}, {"d": "2"}]}, True),
    ("absent in an empty array", {"a": {"c": [{"exists": False}]}}, {"a": []}, True),
    ("$or, first", {"s": ["x"], "$or": [{"a": ["1"]}, {"b": {"c": ["2"]}}]}, {"s": "x", "a": "1"}, True),
    ("$or, second", {"s": ["x"], "$or": [{"a": ["1"]}, {"b": {"c": ["2"]}}]}, {"s": "x", "b": {"c": "2"}}, True),
    ("$or, neither", {"s": ["x"], "$or": [{"a": ["1"]}, {"b": {"c": ["2"]}}]}, {"s": "x", "a": "2"}, False),
    ("$or, but not the rest", {"s": ["x"], "$or": [{"a": ["1"]}, {"b": ["2"]}]}, {"s": "y", "a": "1"}, False),
    ("$or within an object", {"d": {"$or": [{"a": [1]}, {"b": [2]}]}}, {"d": {"b": 2}}, True),
    ("$or in $or", {"$or": [{"a": [1]}, {"$or": [{"b": [1]}, {"c": [1]}]}]}, {"c": 1}, True),
    ("$or within one element", {"d": {"x": [1], "$or": [{"a": [1]}, {"b": [2]}]}}, {"d": [{"x": 1}, {"a": 1}]}, False),
    ("a name with a dot is one name", {"a.b": ["1"]}, {"a": {"b": "1"}}, False),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "event", "holds"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
def test_a_pattern_holds_or_not(pattern: Any, event: Any, holds: bool) -> None:
    assert Pattern(json.dumps(pattern)).matches(event) is holds


REFUSED = [
    ("[]", "Filter is not an object"),
    ("{}", "Empty patterns are not allowed"),
    ("{", "Event pattern is not valid JSON"),
    ('{"a": [NaN]}', "Event pattern is not valid JSON"),
    ('{"a": "b"}', '"a" must be an object or an array'),
    ('{"a": {}}', "Empty objects are not allowed"),
    ('{"a": []}', "Empty arrays are not allowed"),
    ('{"a": [["b"]]}', "Match value must be String, number, true, false, or null"),
    ('{"a": ["1"], "a": ["2"]}', "Path `a` cannot be allowed multiple times"),
    ('{"a": [{}]}', "Match expression name not found"),
    ('{"a": [{"like": "x"}]}', "Unrecognized match type like"),
    ('{"a": [{"prefix": "x", "suffix": "y"}]}', "Only one key allowed in match expression"),
    ('{"a": [{"prefix": 1}]}', "prefix match pattern must be a string"),
    ('{"a": [{"prefix": {"like": "x"}}]}', "Unsupported prefix pattern: like"),
    ('{"a": [{"suffix": {}}]}', "Suffix expression name not found"),
    ('{"a": [{"wildcard": "a**"}]}', "Consecutive wildcard characters at pos 2"),
    ('{"a": [{"wildcard": "a\\\\b"}]}', "Invalid escape character at pos 2"),
    ('{"a": [{"wildcard": "' + "*a" * 21 + '"}]}', "Rule is too complex"),
    ('{"a": [{"anything-but": []}]}', "Inside anything but list, either all values are number or string, mixed type is not supported"),
    (
        '{"a": [{"anything-but": [1, "a"]}]}',
        "Inside anything but list, either all values are number or string, mixed type is not supported",
    ),
    ('{"a": [{"anything-but": [null]}]}', "Inside anything but list, start|null|boolean is not supported."),
    ('{"a": [{"anything-but": {"cidr": "x"}}]}', "Unsupported anything-but pattern: cidr"),
    ('{"a": [{"anything-but": {"prefix": ""}}]}', "Null prefix/suffix not allowed"),
    ('{"a": [{"numeric": 5}]}', "Value of numeric must be an array."),
    ('{"a": [{"numeric": [">", "5"]}]}', "Value of > must be numeric"),
    ('{"a": [{"numeric": ["=", null]}]}', "Value of equals must be numeric"),
    ('{"a": [{"numeric": ["!", 5]}]}', "Unrecognized numeric range operator: !"),
    ('{"a": [{"numeric": [">", 5, "<", 5]}]}', "Bottom must be less than top"),
    ('{"a": [{"numeric": [">", 5, ">", 6]}]}', "Bad numeric range operator: >"),
    ('{"a": [{"numeric": [">", 1, "<", 2, 3]}]}', "Too many terms in numeric range expression"),
    ('{"a": [{"cidr": "10.0.0.0"}]}', "Malformed CIDR, one '/' required"),
    ('{"a": [{"cidr": "10.0.0.0/x"}]}', "Malformed CIDR, mask bits must be an integer"),
    ('{"a": [{"cidr": "ten/8"}]}', "Nonstandard IP address: ten"),
    ('{"a": [{"exists": "yes"}]}', "exists match pattern must be either true or false."),
    ('{"$or": {}}', "It must be an Array followed with $or."),
    ('{"$or": [{"a": [1]}]}', "There must have at least 2 Objects in $or relationship."),
    ('{"$or": [{"a": [1]}, 5]}', "Only JSON object is allowed in array of $or relationship."),
    ('{"$or": [{"a": [1]}, {"prefix": ["x"]}]}', "prefix is Ruler reserved fieldName which cannot be used inside $or."),
    (json.dumps({str(n): {"$or": [{"a": [1]}] * 4} for n in range(5)}), "Rule is too complex - try using fewer $or"),
    ('{"a": ' * 600 + "[1]" + "}" * 600, "Event pattern"),
    ('{"a": ["' + "x" * 5000 + '"]}', "Event pattern must not be longer than 4096 characters"),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_a_bad_pattern_is_refused_in_aws_s_words(text: str, sentence: str) -> None:
    with pytest.raises(InvalidPattern) as refusal:
        Pattern(text)
    assert str(refusal.value).startswith(sentence)


_words = st.sampled_from(["a", "b", "source", "$or", "prefix", "suffix", "numeric", "cidr", "exists", "anything-but", "wildcard", "exactly",
                          "equals-ignore-case", "detail", ">", "<", "=", "*", "\\", "10.0.0.0/8", "", "é"])  # fmt: skip
_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _words | st.text(max_size=5)
_anything = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=3), max_leaves=25)


@settings(max_examples=400, deadline=None)
@given(_anything, _anything)
def test_garbage_is_an_invalid_pattern_and_nothing_else(pattern: Any, event: Any) -> None:
    try:
        compiled = Pattern(json.dumps(pattern))
    except InvalidPattern as refusal:
        assert str(refusal)  # noqa: PT017
        return
    assert compiled.matches({"source": "a", "detail": event, "a": event}) in (True, False)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidPattern):
        Pattern(text).matches({"a": text})


@settings(max_examples=150, deadline=None)
@given(st.text("ab*", max_size=8).filter(lambda text: "**" not in text), st.text("ab", max_size=10))
def test_a_wildcard_is_what_a_regular_expression_says(wildcard: str, value: str) -> None:
    import re

    expected = re.fullmatch(".*".join(re.escape(part) for part in wildcard.split("*")), value) is not None
    assert Pattern(json.dumps({"a": [{"wildcard": wildcard}]})).matches({"a": value}) is expected


def test_no_wildcard_and_no_event_is_slow() -> None:
    pattern = Pattern(json.dumps({"a": [{"wildcard": "*a" * 19 + "*"}, {"anything-but": {"wildcard": "*b*" + "a" * 50 + "*c"}}]}))
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    began = time.process_time()
    assert pattern.matches({"a": "a" * 15 + "b" * 200_000}) in (True, False)
    assert not Pattern('{"a": ["y"]}').matches({"a": deep})
    assert time.process_time() - began < 1.0


def _rule(name: str, pattern: Any) -> Rule:
    return Rule(account="1", region="r", bus="default", name=name, created_by="1", enabled_at=0.0, pattern=json.dumps(pattern))


_literals = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True)
_matchers = st.lists(st.sampled_from(["a", "b", {"prefix": "a"}, {"anything-but": "b"}, {"exists": True}]), min_size=1, max_size=3)
_patterns = st.dictionaries(st.sampled_from(["source", "detail-type"]), _literals | _matchers, min_size=1) | st.just({"detail": {"x": [1]}})


@settings(max_examples=200, deadline=None)
@given(st.lists(_patterns, max_size=8), st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(0, 2))
def test_an_index_finds_the_rules_that_a_look_at_each_would_find(patterns: list[Any], source: str, kind: str, x: int) -> None:
    event = {"source": source, "detail-type": kind, "detail": {"x": x}}
    rules = [_rule(str(number), pattern) for number, pattern in enumerate(patterns)]
    found = [rule.name for rule in RuleIndex(rules).wanting(event)]
    assert sorted(found) == sorted(rule.name for rule in rules if Pattern(rule.pattern or "").matches(event))


def test_a_disabled_rule_and_one_without_pattern_want_nothing() -> None:
    import msgspec

    rule = _rule("off", {"source": ["a"]})
    rules = [msgspec.structs.replace(rule, state="DISABLED"), msgspec.structs.replace(rule, pattern=None, schedule="rate(1 minute)")]
    assert RuleIndex(rules).wanting({"source": "a", "detail-type": "b"}) == []
