"""Logs Insights: the part of the language that is there, and what is refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs_bench import GROUP, Bench, bench

from cloudstead.services.logs import api
from cloudstead.services.logs.insights.language import parse
from cloudstead.services.logs.insights.rows import Row
from cloudstead.services.logs.insights.stages import Pipeline
from cloudstead.services.logs.insights.tokens import Malformed

MINUTE = 60_000
EVENTS = [
    {"level": "error", "path": "/a", "ms": 120, "user": {"name": "ann"}, "tags": ["x", "y"]},
    {"level": "info", "path": "/b", "ms": 5, "user": {"name": "bob"}},
    {"level": "error", "path": "/b", "ms": 40},
    {"level": "warn", "path": "/a", "ms": "slow"},
]


def ask(query: str, lines: list[Any] | None = None) -> list[dict[str, str]]:
    """A query over some events, one a minute, given the earliest first."""
    pipeline = Pipeline(parse(query))
    rows = []
    for i, line in enumerate(EVENTS if lines is None else lines):
        text = line if isinstance(line, str) else json.dumps(line)
        known: dict[str, Any] = {"@timestamp": 1_700_000_040_000 + i * MINUTE, "@message": text, "@logStream": "s", "@ptr": f"p{i}"}
        rows.append(Row(known, text.encode()))
    rows.reverse()
    while rows and not pipeline.done:
        pipeline.take(rows[:2])
        rows = rows[2:]
    return pipeline.finish()


def column(query: str, name: str, lines: list[Any] | None = None) -> list[str | None]:
    return [row.get(name) for row in ask(query, lines)]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("ms > 10", ["40", "120"]),
        ("ms >= 40 and level = 'error'", ["40", "120"]),
        ("level like /^err/", ["40", "120"]),
        ("level like 'rro'", ["40", "120"]),
        ('level =~ "rro"', ["40", "120"]),
        ("level not like /err/ and ms < 10", ["5"]),
        ("path in ['/a', '/c'] and not (ms = 'slow')", ["120"]),
        ("user.name = 'bob'", ["5"]),
        ("`user.name` = 'bob'", ["5"]),
        ("tags.1 = 'y'", ["120"]),
        ("ispresent(user.name)", ["5", "120"]),
        ("not ispresent(user.name) and ms != 'slow'", ["40"]),
        ("ms + 5 * 2 = 15", ["5"]),
        ("(ms - 20) / 2 = 10 or strlen(path) > 9", ["40"]),
        ("toupper(level) = 'INFO'", ["5"]),
        ("strcontains(@message, 'ann')", ["120"]),
        ("missing = 1", []),
        ("missing != 1", []),
    ],
)
def test_a_filter_keeps_what_it_describes(condition: str, expected: list[str]) -> None:
    assert column(f"fields ms | filter {condition}", "ms") == expected


def test_the_latest_come_first_with_time_message_and_pointer() -> None:
    rows = ask("limit 1")
    assert rows == [{"@timestamp": "2023-11-14 22:17:00.000", "@message": json.dumps(EVENTS[3]), "@ptr": "p3"}]
    assert ask("fields level as l, path | display l") == [
        {"l": each["level"], "@ptr": f"p{i}"} for i, each in reversed(list(enumerate(EVENTS)))
    ]


def test_sort_and_limit() -> None:
    assert column("fields ms | sort ms desc", "ms") == ["slow", "120", "40", "5"]
    assert column("fields ms | sort ms asc | limit 2", "ms") == ["5", "40"]
    assert column("fields path, ms | sort path desc, ms", "ms") == ["5", "40", "120", "slow"]
    assert column("fields ms | tail 2", "ms") == ["5", "120"]
    assert column("fields path | dedup path", "path") == ["/a", "/b"]


def test_stats_count_and_calculate_by_group() -> None:
    rows = ask("stats count(*) as n, avg(ms) as mean, max(ms) as most, pct(ms, 50) as half, count_distinct(level) as l by path | sort path")
    assert rows == [
        {"path": "/a", "n": "2", "mean": "120", "most": "slow", "half": "120", "l": "2"},
        {"path": "/b", "n": "2", "mean": "22.5", "most": "40", "half": "5", "l": "2"},
    ]
    assert ask("stats count(*), sum(ms), stddev(ms), earliest(level), latest(level)") == [
        {"count(*)": "4", "sum(ms)": "165", "stddev(ms)": "58.94913061275798", "earliest(level)": "error", "latest(level)": "warn"}
    ]
    assert ask("stats count(*) by bin(2m)") == [
        {"bin(2m)": "2023-11-14 22:16:00.000", "count(*)": "2"},
        {"bin(2m)": "2023-11-14 22:14:00.000", "count(*)": "2"},
    ]
    assert ask("stats count(*) by level | sort count(*) desc | limit 1") == [{"level": "error", "count(*)": "2"}]
    assert ask("filter level = 'none' | stats count(*) as n") == [{"n": "0"}]
    assert ask("stats count(*) as n by level | stats max(n) as most") == [{"most": "2"}]


def test_parse_takes_texts_apart() -> None:
    lines = ["user=ann, method:GET, latency := 12", "nothing here", "user=bob, method:PUT, latency := 8"]
    glob = 'parse @message "user=*, method:*, latency := *" as user, method, latency'
    assert ask(f"{glob} | display user, latency", lines) == [
        {"user": "bob", "latency": "8", "@ptr": "p2"},
        {"@ptr": "p1"},
        {"user": "ann", "latency": "12", "@ptr": "p0"},
    ]
    assert ask(f"{glob} | stats avg(latency) as mean", lines) == [{"mean": "10"}]
    assert column(r"parse @message /user=(?<who>\w+)/ | filter ispresent(who)", "who", lines) == ["bob", "ann"]
    assert column(r"parse @message /user=(\w+)/ as who | parse who '*b' as start", "start", lines) == ["", None, None]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "|",
        "fields",
        "unknown x",
        "pattern @message",
        "fields @message |",
        "filter",
        "filter (a = 1",
        "filter a = ",
        "filter a like b",
        "filter a like /(/",
        "filter nosuch(a)",
        "filter a in []",
        "stats",
        "stats median()",
        "stats pct(a)",
        "stats nosuch(a)",
        "stats count(*) by",
        "stats count(*) | stats count(*) | stats count(*)",
        "limit 0",
        "limit many",
        "limit 1.5",
        "parse @message",
        "parse @message 'a*' ",
        "parse @message 'a*' as b, c",
        "parse @message /nogroups/",
        "filter 'open",
        "sort by x y",
        "fields a ; b",
        "filter " + "(" * 100 + "a" + ")" * 100,
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(query: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(query)
    assert 0 <= caught.value.start <= caught.value.end <= len(query) + 1


WORDS = st.sampled_from(
    [
        "`q q`",
        *[
            "fields",
            "filter",
            "stats",
            "sort",
            "limit",
            "parse",
            "|",
            "(",
            ")",
            ",",
            "=",
            "like",
            "/a(b)/",
            "'*x'",
            "@message",
            "a.b",
            "count(*)",
            "by",
            "as",
            "bin(5m)",
            "1",
            "2.5",
        ],
        *["not", "and", "in", "[1,2]", "desc", "display", "dedup", "concat(a,'x')", "-", "*", "avg(a)"],
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(WORDS, max_size=12).map(" ".join), st.text(max_size=50)))
def test_any_query_is_answered_or_refused(query: str) -> None:
    try:
        parse(query)
    except Malformed:
        return
    for row in ask(query):
        assert all(isinstance(value, str) for value in row.values())


async def complete(b: Bench, query: str, **how: Any) -> api.GetQueryResultsResponse:
    how = {"log_group_names": [GROUP], "start_time": b.now // 1000 - 3600, "end_time": b.now // 1000 + 60, **how}
    started = await b.call(api.StartQueryRequest(query_string=query, **how))
    async with asyncio.timeout(20):
        while True:
            answer: api.GetQueryResultsResponse = await b.call(api.GetQueryResultsRequest(query_id=started.query_id))
            if answer.status not in ("Scheduled", "Running"):
                return answer
            await asyncio.sleep(0.02)


def cells(answer: api.GetQueryResultsResponse) -> list[dict[str | None, str | None]]:
    return [{each.field: each.value for each in row} for row in answer.results or ()]


async def test_a_query_runs_over_journal_and_segments(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now - 2000, '{"n": 1, "k": "a"}'), (b.now - 1500, '{"n": 2, "k": "b"}'))
        b.logs.archive.rotate()
        await b.until(lambda: list((tmp_path / "logs" / "groups").glob("*/*.segment")))
        await b.put((b.now - 1000, '{"n": 3, "k": "a"}'), (b.now, "no json"))
        answer = await complete(b, "stats sum(n) as total by k | sort k | filter ispresent(k)")
        assert answer.status == "Complete"
        assert cells(answer) == [{"k": "a", "total": "4"}, {"k": "b", "total": "2"}]
        assert answer.statistics is not None
        assert (answer.statistics.records_scanned, answer.statistics.records_matched) == (4.0, 4.0)
        rows = cells(await complete(b, "fields n | filter n = 2"))
        record = (await b.call(api.GetLogRecordRequest(log_record_pointer=rows[0]["@ptr"]))).log_record
        assert (record["n"], record["k"], record["@message"]) == ("2", "b", '{"n": 2, "k": "b"}')
        with pytest.raises(api.InvalidParameterException):
            await b.call(api.GetLogRecordRequest(log_record_pointer="forged"))
        assert len(cells(await complete(b, "limit 3", limit=2))) == 2
        assert cells(await complete(b, "fields n", start_time=1, end_time=2)) == []
        (latest, *_) = (await b.call(api.DescribeQueriesRequest(log_group_name=GROUP))).queries
        assert (latest.status, latest.query_string) == ("Complete", "fields n")


async def test_a_query_that_is_malformed_says_where(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        with pytest.raises(api.MalformedQueryException) as caught:
            await complete(b, "fields a | anomaly")
        error: Any = caught.value
        assert error.query_compile_error.location.start_char_offset == 11
        with pytest.raises(api.ResourceNotFoundException):
            await complete(b, "fields a", log_group_names=["none"])
        with pytest.raises(api.InvalidParameterException):
            await complete(b, "fields a", log_group_name=GROUP)
        with pytest.raises(api.ResourceNotFoundException):
            await b.call(api.GetQueryResultsRequest(query_id="none"))


async def test_a_query_that_never_ends_can_be_stopped(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.put((b.now, "a" * 100_000))
        started = await b.call(
            api.StartQueryRequest(
                log_group_name=GROUP,
                start_time=0,
                end_time=b.now // 1000 + 60,
                query_string="filter @message like /(a+)+$|(a*)*b/ and @message like /(a*)*c/",
            )
        )
        await asyncio.sleep(0.5)
        assert (await b.call(api.StopQueryRequest(query_id=started.query_id))).success
        assert (await b.call(api.GetQueryResultsRequest(query_id=started.query_id))).status == "Cancelled"
        with pytest.raises(api.InvalidParameterException):
            await b.call(api.StopQueryRequest(query_id=started.query_id))


async def test_queries_can_be_saved(tmp_path: Path) -> None:
    async with bench(tmp_path, bare=True) as b:
        saved = await b.call(api.PutQueryDefinitionRequest(name="slow", query_string="filter ms > 1", log_group_names=["g"]))
        await b.call(
            api.PutQueryDefinitionRequest(name="slower", query_string="filter ms > 2", query_definition_id=saved.query_definition_id)
        )
        (found,) = (await b.call(api.DescribeQueryDefinitionsRequest(query_definition_name_prefix="slow"))).query_definitions
        assert (found.name, found.query_string) == ("slower", "filter ms > 2")
        assert (await b.call(api.DeleteQueryDefinitionRequest(query_definition_id=found.query_definition_id))).success
        with pytest.raises(api.ResourceNotFoundException):
            await b.call(api.DeleteQueryDefinitionRequest(query_definition_id=found.query_definition_id))


async def test_a_query_is_saved_once_for_a_client_token(tmp_path: Path) -> None:
    async with bench(tmp_path, bare=True) as b:
        request = api.PutQueryDefinitionRequest(name="slow", query_string="filter ms > 1", client_token="t" * 36)
        first, second = await b.call(request), await b.call(request)
        assert first.query_definition_id == second.query_definition_id
        assert len((await b.call(api.DescribeQueryDefinitionsRequest())).query_definitions) == 1
        with pytest.raises(api.InvalidParameterException):
            await b.call(api.PutQueryDefinitionRequest(name="other", query_string="limit 1", client_token="t" * 36))
