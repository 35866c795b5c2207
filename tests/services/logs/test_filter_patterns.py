"""Filter patterns: the examples of AWS's page "Filter pattern syntax", and what must not be possible."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.services.logs.filterpattern import InvalidPattern, compile_pattern
from cloudstead.services.logs.filterpattern.delimited import _split_carefully, split
from cloudstead.services.logs.filterpattern.regex import Regex

BAD = "[ERROR 400] BAD REQUEST"
UNAUTHORIZED = "[ERROR 401] UNAUTHORIZED REQUEST"
MISSING = "[ERROR 419] MISSING ARGUMENTS"
INVALID = "[ERROR 420] INVALID ARGUMENTS"
INTERNAL = "[ERROR 500] INTERNAL SERVER ERROR"
SUCCESS = "[SUCCESS 200] AUTHORIZED REQUEST"
LINES = (BAD, UNAUTHORIZED, MISSING, INVALID, INTERNAL, SUCCESS)


def matches(pattern: str, message: object) -> bool:
    text = message if isinstance(message, str) else json.dumps(message)
    return compile_pattern(pattern).matches(text.encode())


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("ERROR", (BAD, UNAUTHORIZED, MISSING, INVALID, INTERNAL)),
        ("ERROR ARGUMENTS", (MISSING, INVALID)),
        ("?ERROR ?ARGUMENTS", (BAD, UNAUTHORIZED, MISSING, INVALID, INTERNAL)),
        ("?ERROR ?ARGUMENTS REQUEST", (BAD, UNAUTHORIZED, SUCCESS)),  # optional terms beside others are ignored
        ('"INTERNAL SERVER ERROR"', (INTERNAL,)),
        ("ERROR -ARGUMENTS", (BAD, UNAUTHORIZED, INTERNAL)),
        ('"ERROR" - "ARGUMENTS"', (BAD, UNAUTHORIZED, INTERNAL)),
        ("-ERROR", (SUCCESS,)),
        ('" "', LINES),
        ('""', LINES),
        ("", LINES),
        ("error", ()),
        ("%AUTHORIZED%", (UNAUTHORIZED, SUCCESS)),
        ("%ERROR 4[01]{2}%", (BAD, UNAUTHORIZED)),
        ("?%MISSING% ?INTERNAL", (MISSING, INTERNAL)),
    ],
)
def test_an_unstructured_pattern_finds_its_lines(pattern: str, expected: tuple[str, ...]) -> None:
    assert tuple(line for line in LINES if matches(pattern, line)) == expected


TRAIL = {
    "eventType": "UpdateTrail",
    "sourceIPAddress": "111.111.111.111",
    "arrayKey": ["value", "another value"],
    "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
    "SomeObject": None,
    "ThisFlag": True,
    "OffFlag": False,
    "cluster.name": "c",
    "errorCode": 400,
    "latency": 55.5,
    "numbers": [1e-3, 1000],
}
USERS = {
    "user": {"id": 1, "email": "John.Stiles@example.com"},
    "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
    "actions": ["GET", "PUT", "DELETE"],
    "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]],
}


@pytest.mark.parametrize(
    ("pattern", "document", "expected"),
    [
        ('{ $.eventType = "UpdateTrail" }', TRAIL, True),
        ("{ $.eventType = UpdateTrail }", TRAIL, True),
        ('{ $.eventType = "updateTrail" }', TRAIL, False),
        ('{$.eventType="Update*"}', TRAIL, True),
        ('{$.eventType="*Trail"}', TRAIL, True),
        ('{$.eventType="*dateT*"}', TRAIL, True),
        ("{ $.eventType = * }", TRAIL, True),
        ("{ $.missing = * }", TRAIL, False),
        ("{ $.sourceIPAddress != 123.123.* }", TRAIL, True),
        ("{ $.sourceIPAddress != 111.111.* }", TRAIL, False),
        ('{ $.arrayKey[0] = "value" }', TRAIL, True),
        ('{ $.arrayKey[1] = "value" }', TRAIL, False),
        ('{ $.arrayKey[2] = "value" }', TRAIL, False),
        ("{ $.eventType = %Trail% }", TRAIL, True),
        ("{ $.eventType != %Trail% }", TRAIL, False),
        ("{ $.arrayKey[*] = %val.{2}% }", TRAIL, True),
        (r"{ $.* = %111\.111\.111\.1[0-9]{1,2}% }", TRAIL, True),
        (r"{ $.* = %112\.111\.111\.1[0-9]{1,2}% }", TRAIL, False),
        ("{ $.['cluster.name'] = \"c\" }", TRAIL, True),
        ("{ $.objectList[1].id = 2 }", TRAIL, True),
        ("{ $.objectList[*].name = b }", TRAIL, True),
        ("{ $.objectList[*].name = c }", TRAIL, False),
        ("{ $.SomeObject IS NULL }", TRAIL, True),
        ("{ $.eventType IS NULL }", TRAIL, False),
        ("{ $.missing IS NULL }", TRAIL, False),
        ("{ $.SomeOtherObject NOT EXISTS }", TRAIL, True),
        ("{ $.SomeObject NOT EXISTS }", TRAIL, False),
        ("{ $.ThisFlag IS TRUE }", TRAIL, True),
        ("{ $.ThisFlag IS FALSE }", TRAIL, False),
        ("{ $.OffFlag IS FALSE }", TRAIL, True),
        ("{ $.errorCode IS TRUE }", TRAIL, False),
        ("{ $.errorCode = 400 }", TRAIL, True),
        ("{ $.errorCode = 4e2}", TRAIL, True),
        ("{ $.errorCode = 4* }", TRAIL, True),
        ("{ $.errorCode != 400 }", TRAIL, False),
        ("{ $.errorCode != 500 }", TRAIL, True),
        ("{ $.errorCode > +399 }", TRAIL, True),
        ("{ $.errorCode < 400 }", TRAIL, False),
        ("{ $.errorCode <= 400 }", TRAIL, True),
        ("{ $.latency >= 55.5 && $.latency < 55.6 }", TRAIL, True),
        ("{ $.numbers[0] = 1e-3 }", TRAIL, True),
        ("{ $.numbers[1] = 1e+3 }", TRAIL, True),
        ("{ $.numbers[0] < 10e-3 }", TRAIL, True),
        ("{ $.eventType > 5 }", TRAIL, False),
        ("{ $.missing != 5 }", TRAIL, False),
        ('{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', USERS, True),
        ('{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', USERS, False),
        ('{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch" && $.actions[2] = "nonmatch" }', USERS, True),
        ('{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch") && $.actions[2] = "nonmatch" }', USERS, False),
        ("{ $.coordinates[1][2] = 6 }", USERS, True),
        ("{ $.users = 1 }", {"users": [1, 2, 3]}, False),  # an array is no value node: neither holds
        ("{ $.users != 1 }", {"users": [1, 2, 3]}, False),
        ('{ ($.errorCode = "*UnauthorizedOperation") || ($.errorCode = "AccessDenied*") }', {"errorCode": "AccessDeniedException"}, True),
        ('{ $.a = "b" }', "no json at all", False),
        ('{ $.a = "b" }', '{"a": "b"', False),
        ('{ $.a = "q\\"x" }', {"a": 'q"x'}, True),
        ('{ $.a = "ü" }', {"a": "ü"}, True),
    ],
)
def test_a_json_pattern_judges_a_document(pattern: str, document: object, expected: bool) -> None:
    assert matches(pattern, document) is expected


APACHE = (
    '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534',
    '127.0.0.1 - frank [10/Oct/2000:13:35:22 -0700] "GET /index.html HTTP/1.0" 404 5324',
    '127.0.0.1 - frank [10/Oct/2000:13:50:35 -0700] "GET /apache_pb.gif HTTP/1.0" 500 500',
)
WORDS = (
    "INFO 09/25/2014 12:00:00 GET /service/resource/67 1200",
    "INFO 09/25/2014 12:00:01 POST /service/resource/67/part/111 1310",
    "WARNING 09/25/2014 12:00:02 Invalid user request",
    "ERROR 09/25/2014 12:00:02 Failed to process request",
)


@pytest.mark.parametrize(
    ("pattern", "lines", "expected"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", APACHE, (0, 1, 2)),
        ("[ip, user, username, timestamp, request, status_code, bytes > 1000]", APACHE, (0, 1)),
        ("[ip, user, username, timestamp, request, status_code = 200, bytes]", APACHE, (0,)),
        ("[ip, user, username, timestamp, request, status_code = 4*, bytes]", APACHE, (1,)),
        ("[ip, user, username, timestamp, request = *html*, status_code = 4*, bytes]", APACHE, (1,)),
        ("[ip, user, username, timestamp, request, status_code = 4* && bytes > 1000]", APACHE, None),
        ("[ip, user, username, timestamp, request, status_code = 403 || status_code = 404, bytes]", APACHE, (1,)),
        ("[..., status_code, bytes]", APACHE, (0, 1, 2)),
        ("[..., request =*.html*, status_code = 4*, bytes]", APACHE, (1,)),
        ("[ip, user, ..., status_code = 500, bytes]", APACHE, (2,)),
        ("[ip=127*, ...]", APACHE, (0, 1, 2)),
        (r"[ip=%127\.0\.0\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]", APACHE, (1,)),
        ("[a, b, c, d, e, f, g, h]", APACHE, ()),
        ("[w1=ERROR, w2]", WORDS, (3,)),
        ("[w1=ERROR || w1=WARNING, w2]", WORDS, (2, 3)),
        ("[w1!=ERROR && w1!=WARNING, w2]", WORDS, (0, 1)),
        ("[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", WORDS, (0,)),
        ("[logLevel, date, time, method, url=%/service/resource/[0-9]+/part/[0-9]+$%, response_time]", WORDS, (1,)),
        ('[level="INFO", ...]', WORDS, (0, 1)),
    ],
)
def test_a_space_delimited_pattern_finds_its_lines(pattern: str, lines: tuple[str, ...], expected: tuple[int, ...] | None) -> None:
    if expected is None:
        with pytest.raises(InvalidPattern):
            compile_pattern(pattern)
    else:
        assert tuple(i for i, line in enumerate(lines) if matches(pattern, line)) == expected


def test_fields_of_a_line_are_extracted_under_their_names_and_places() -> None:
    pattern = compile_pattern("[..., request=*.html*, status_code=4*,]")
    line = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'
    assert pattern.extract(line.encode()) == {
        "$1": "127.0.0.1",
        "$2": "-",
        "$3": "frank",
        "$4": "10/Oct/2000:13:25:15 -0700",
        "$request": "GET /index.html HTTP/1.0",
        "$status_code": "404",
        "$7": "1534",
    }
    assert compile_pattern("{ $.latency = * && $.a.b = 1 }").extract(b'{"latency": 12.5, "a": {"b": 1}}') == {
        "$.latency": "12.5",
        "$.a.b": "1",
    }
    assert compile_pattern("x").extract(b"x") == {}
    assert compile_pattern("x").extract(b"y") is None


@pytest.mark.parametrize(
    "pattern",
    [
        "10:45:22",
        "foo-bar",
        '"unclosed',
        '"a"b',
        "-",
        "?",
        "%unclosed",
        "%a(b)%",
        "%something!%",
        "%é%",
        "%a**%",
        "%*a%",
        "%[z-a]%",
        "%[a%",
        "%a{3,1}%",
        "%a{9999}%",
        "%a||b%",
        "%a$b%",
        r"%a\q%",
        "%%",
        "{",
        "{}",
        "{ $.a }",
        "{ $ = 1 }",
        "{ a = 1 }",
        "{ $.a = }",
        "{ $.a < abc }",
        '{ $.a < "1" }',
        "{ $.a = 1 } x",
        "{ ($.a = 1 }",
        "{ $.a = 1 && }",
        "{ $.a EXISTS }",
        "{ $.a IS NOT NULL }",
        "{ $.*.* = 1 }",
        "{ $.* = 1 || $.a.* = 2 || $.b.* = 1 || $.c[*] = 1 }",
        "{ " + "(" * 200 + "$.a = 1" + ")" * 200 + " }",
        "[",
        "[a",
        "[a, a]",
        "[..., a, ...]",
        "[a b]",
        "[a > x]",
        "[a = 1 && b = 2]",
        "%a% %b% %c%",
        "x" * 1025,
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("^[hc]at", "hat trick", True),
        ("^[hc]at", "a hat", False),
        ("[hc]at$", "a cat", True),
        ("[hc]at$", "cats", False),
        ("colou?r", "color", True),
        ("colou?r", "colour", True),
        ("^a{3,5}$", "aaaa", True),
        ("^a{3,5}$", "aa", False),
        ("^a{3,5}$", "aaaaaa", False),
        ("^a{,2}$", "aa", True),
        ("^a{2,}$", "aaaaa", True),
        ("^starting|^initializing|^shutting down", "shutting down now", True),
        ("^starting|^initializing|^shutting down", "skipping initializing", False),
        (r"\[.\]", "x [7] y", True),
        (r"10\.10\.0\.1", "10010,051", False),
        ("10.10.0.1", "10010,051", True),
        ("ab*c", "ac", True),
        ("ab+c", "ac", False),
        ("ab[0-9]*", "ab129", True),
        (r"^\d+$", "0123", True),
        (r"^\D+$", "0123", False),
        (r"\s\S\w\W", " a_!", True),
        (r"\x3A\x28", "x:(", True),
        ("abcc|ab[^c]$", "aba", True),
        ("abcc|ab[^c]$", "aac", False),
        ("a.c", "aéc", True),
        ("a.c", "a\nc", True),
        ("[^a]", "é", True),
        ("[]a]+", "]", True),
    ],
)
def test_a_regular_expression_means_what_aws_says(source: str, text: str, expected: bool) -> None:
    regex = Regex(source)
    assert regex.found_in(text) is expected
    assert regex._automaton.search(text) is expected


ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", r"\d", "c", "[a-c]"])
QUANTIFIERS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "{,3}"])
SEQUENCES = st.lists(st.tuples(ATOMS, QUANTIFIERS).map("".join), min_size=1, max_size=6).map("".join)
EXPRESSIONS = st.lists(
    st.tuples(st.sampled_from(["", "", "^"]), SEQUENCES, st.sampled_from(["", "", "$"])).map("".join), min_size=1, max_size=3
).map("|".join)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, st.text("abc1é\n", max_size=12))
def test_the_automaton_agrees_with_pythons_engine(source: str, text: str) -> None:
    regex = Regex(source)
    python = "|".join(part[:-1] + r"\Z" if part.endswith("$") else part for part in source.split("|"))
    expected = re.search(python, text, re.DOTALL) is not None
    assert regex._automaton.search(text) is expected
    assert regex.found_in(text) is expected
    if expected:
        assert regex.needle in text.encode()


@pytest.mark.parametrize("source", ["a*a*a*a*a*a*b", "[ab]*c", "a?" * 40 + "a{40}b", ".*.*.*.*x", "[a-z]+[a-z]+[a-z]+$|^b"])
def test_no_expression_takes_long_on_a_long_line(source: str) -> None:
    line = "a" * 100_000 + "!"
    started = time.perf_counter()
    assert not Regex(source).found_in(line)
    assert time.perf_counter() - started < 2


@settings(max_examples=300, deadline=None)
@given(st.text('ab [] "\t', max_size=20), st.sampled_from([-1, 1, 2, 3]))
def test_the_two_ways_of_cutting_a_line_agree(text: str, most: int) -> None:
    assert split(text, most) == _split_carefully(text, most)


def test_no_line_takes_long_to_cut_into_fields() -> None:
    started = time.perf_counter()
    split("[ " * 100_000)
    split('" [' * 100_000)
    assert time.perf_counter() - started < 2


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text('{}[]()$.*%"\\&|=!<>?-, aISNULL01e', max_size=40)), st.text(max_size=60))
def test_garbage_is_understood_or_refused_but_never_breaks(pattern: str, message: str) -> None:
    try:
        compiled = compile_pattern(pattern)
    except InvalidPattern:
        return
    found = compiled.matches(message.encode("utf-8", "replace"))
    assert (compiled.extract(message.encode("utf-8", "replace")) is not None) is found
    if found:
        assert compiled.needle in message.encode("utf-8", "replace")
