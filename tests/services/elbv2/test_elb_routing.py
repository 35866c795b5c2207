"""Which action a request meets, which target it goes to, what its headers become: pure functions."""

from __future__ import annotations

import fnmatch
import random
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.http.messages import Headers
from cloudstead.services.elbv2.model import Condition, FixedResponse, Listener, Redirect, Rule
from cloudstead.services.elbv2.traffic import headers as changed
from cloudstead.services.elbv2.traffic.choosing import Candidate, Turns, Way, usable, weighted
from cloudstead.services.elbv2.traffic.globs import Glob
from cloudstead.services.elbv2.traffic.pages import location
from cloudstead.services.elbv2.traffic.routing import Facts, Routes, compiled

PLACE = {"account": "000000000000", "region": "us-east-1"}


def facts(method: str = "GET", host: str = "example.com", path: str = "/", query: str = "", peer: str = "10.0.0.9", **fields: str) -> Facts:
    return Facts(method, host, path, query, Headers([(name.replace("_", "-"), value) for name, value in fields.items()]), peer)


def answer(text: str) -> FixedResponse:
    return FixedResponse(status="200", body=text)


CASES: list[tuple[Condition, Facts, bool]] = [
    (Condition(field="path-pattern", values=("/img/*",)), facts(path="/img/a.png"), True),
    (Condition(field="path-pattern", values=("/img/*",)), facts(path="/img"), False),
    (Condition(field="path-pattern", values=("/img/*/pics",)), facts(path="/img/a/b/pics"), True),
    (Condition(field="path-pattern", values=("/IMG/*",)), facts(path="/img/a"), False),
    (Condition(field="path-pattern", values=("/a?c",)), facts(path="/abc"), True),
    (Condition(field="path-pattern", values=("/a?c",)), facts(path="/ac"), False),
    (Condition(field="path-pattern", values=("/x", "/y")), facts(path="/y"), True),
    (Condition(field="path-pattern", values=("/x",)), facts(path="/x", query="a=b"), True),
    (Condition(field="host-header", values=("*.example.com",)), facts(host="API.example.com"), True),
    (Condition(field="host-header", values=("*.example.com",)), facts(host="example.com"), False),
    (Condition(field="http-header", header="X-Team", values=("*shop*",)), facts(x_team="The Shop"), True),
    (Condition(field="http-header", header="X-Team", values=("shop",)), facts(), False),
    (Condition(field="http-request-method", values=("GET", "HEAD")), facts(method="HEAD"), True),
    (Condition(field="http-request-method", values=("GET",)), facts(method="get"), False),
    (Condition(field="query-string", pairs=(("version", "v1"),)), facts(query="a=b&Version=V1"), True),
    (Condition(field="query-string", pairs=(("", "*needle*"),)), facts(query="q=hay+needle+hay"), True),
    (Condition(field="query-string", pairs=(("q", "a\\*b"),)), facts(query="q=a*b"), True),
    (Condition(field="query-string", pairs=(("q", "a\\*b"),)), facts(query="q=axb"), False),
    (Condition(field="query-string", pairs=(("q", "x"),)), facts(), False),
    (Condition(field="source-ip", values=("10.0.0.0/8", "192.0.2.0/24")), facts(peer="10.1.2.3"), True),
    (Condition(field="source-ip", values=("10.0.0.0/8",)), facts(peer="11.1.2.3"), False),
    (Condition(field="source-ip", values=("10.0.0.0/8",)), facts(peer=""), False),
]


@pytest.mark.parametrize(("condition", "request_", "holds"), CASES)
def test_a_condition_holds_as_aws_says(condition: Condition, request_: Facts, holds: bool) -> None:
    assert compiled(condition)(request_) is holds


def rule(priority: int, text: str, *conditions: Condition) -> Rule:
    return Rule(**PLACE, arn=f"rule-{priority}", listener="l", priority=priority, conditions=conditions, action=answer(text))


def test_the_first_rule_whose_conditions_all_hold_decides_and_else_the_default() -> None:
    listener = Listener(**PLACE, arn="l", load_balancer="b", port=80, protocol="HTTP", action=answer("default"), default_rule="d")
    api, post = Condition(field="path-pattern", values=("/api*",)), Condition(field="http-request-method", values=("POST",))
    routes = Routes(listener, [rule(20, "api", api), rule(10, "api-post", api, post)])
    assert routes.action(facts(path="/api/x", method="POST")) == answer("api-post")
    assert routes.action(facts(path="/api/x")) == answer("api")
    assert routes.action(facts(path="/", method="POST")) == answer("default")


@given(st.text("ab*?", max_size=8), st.text("ab\n", max_size=12))
def test_wildcards_match_as_those_of_a_shell(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(text) == (re.compile(fnmatch.translate(pattern)).match(text) is not None)


@given(st.text("aB*?", max_size=8), st.text("Ab", max_size=12))
def test_wildcards_may_ignore_case(pattern: str, text: str) -> None:
    assert Glob(pattern, ignore_case=True).matches(text) == Glob(pattern.lower()).matches(text.lower())


def test_a_long_text_cannot_make_a_pattern_slow() -> None:
    began = time.process_time()
    assert not Glob("*a*a*a*a*a*b").matches("a" * 60_000)
    assert time.process_time() - began < 5.0  # a single regular expression would take years


def candidates(count: int, healthy: int | None = None, since: float = 0.0) -> list[Candidate]:
    return [Candidate((str(at),), at < (count if healthy is None else healthy), since) for at in range(count)]


def test_healthy_targets_take_turns() -> None:
    turns, among = Turns(), candidates(4, healthy=3)
    chosen = [turns.choose(among, Way(), 0.0) for _ in range(6)]
    assert sorted(chosen) == [("0",), ("0",), ("1",), ("1",), ("2",), ("2",)]


def test_without_a_healthy_target_all_get_requests() -> None:
    assert len(usable(candidates(3, healthy=0), Way())) == 3
    assert usable([], Way()) == []
    assert Turns().choose([], Way(), 0.0) is None


@pytest.mark.parametrize(
    ("way", "count"),
    [(Way(least_healthy=2), 2), (Way(least_healthy=3), 4), (Way(least_healthy_percent=50), 2), (Way(least_healthy_percent=51), 4)],
)
def test_too_few_healthy_targets_are_helped_by_the_others(way: Way, count: int) -> None:
    assert len(usable(candidates(4, healthy=2), way)) == count


def test_the_least_busy_target_is_chosen() -> None:
    turns = Turns()
    for key in (("0",), ("0",), ("2",)):
        turns.begin(key)
    assert turns.choose(candidates(3), Way(algorithm="least_outstanding_requests"), 0.0) == ("1",)
    turns.begin(("1",))
    turns.begin(("1",))
    assert turns.choose(candidates(3), Way(algorithm="least_outstanding_requests"), 0.0) == ("2",)
    turns.end(("0",))
    turns.end(("0",))
    assert turns.busy == {("2",): 1, ("1",): 2}


def test_a_new_target_is_given_its_share_little_by_little() -> None:
    way = Way(slow_start=100.0)
    among = [Candidate(("old",), True, 0.0), Candidate(("new",), True, 1000.0)]

    def part(now: float) -> float:
        turns = Turns()
        chosen = [turns.choose(among, way, now) for _ in range(1000)]
        return chosen.count(("new",)) / 1000

    assert part(1001.0) == pytest.approx(0.05 / 1.05, abs=0.01)
    assert part(1050.0) == pytest.approx(0.5 / 1.5, abs=0.01)
    assert part(1100.0) == pytest.approx(0.5, abs=0.01)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_a_group_of_weight_zero_gets_nothing(weights: list[int], chance: float) -> None:
    groups = [(str(at), weight) for at, weight in enumerate(weights)]
    chosen = weighted(groups, chance)
    assert (chosen is None) if not any(weights) else weights[int(chosen or "-1")] > 0


def test_groups_get_requests_by_their_weights() -> None:
    draw = random.Random(1)
    chosen = [weighted([("a", 3), ("b", 1)], draw.random()) for _ in range(4000)]
    assert chosen.count("a") == pytest.approx(3000, abs=150)


KNOWN = {"protocol": "HTTP", "host": "a.example", "port": "80", "path": "x/y", "query": "q=1"}


@pytest.mark.parametrize(
    ("action", "url"),
    [
        (Redirect(status="HTTP_301", protocol="HTTPS", port="443"), "https://a.example:443/x/y?q=1"),
        (Redirect(status="HTTP_301", host="new.#{host}", path="/old/#{path}", query=""), "http://new.a.example:80/old/x/y"),
        (Redirect(status="HTTP_302", path="/#{port}", query="from=#{host}&#{query}"), "http://a.example:80/80?from=a.example&q=1"),
    ],
)
def test_a_redirect_is_put_together(action: Redirect, url: str) -> None:
    assert location(action, KNOWN) == url


def test_what_a_client_wrote_is_no_placeholder() -> None:
    assert location(Redirect(status="HTTP_301", port="8080"), KNOWN | {"path": "#{query}"}) == "http://a.example:8080/#{query}?q=1"


def client(**more: Any) -> changed.Client:
    return changed.Client(**({"address": "203.0.113.7", "port": 4711, "listener_port": 8080, "protocol": "HTTP", "now": 1.0} | more))


def passed(pairs: list[tuple[str, str]], ways: changed.Ways | None = None, **more: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in changed.passed_on(pairs, client(**more), ways or changed.Ways())}


@pytest.mark.parametrize(
    ("ways", "before", "after"),
    [
        (changed.Ways(), None, "203.0.113.7"),
        (changed.Ways(), "10.1.1.1", "10.1.1.1, 203.0.113.7"),
        (changed.Ways(client_port=True), "10.1.1.1", "10.1.1.1, 203.0.113.7:4711"),
        (changed.Ways(forwarded_for="preserve"), "10.1.1.1", "10.1.1.1"),
        (changed.Ways(forwarded_for="preserve"), None, None),
        (changed.Ways(forwarded_for="remove"), "10.1.1.1", None),
    ],
)
def test_the_client_is_told_as_the_attribute_says(ways: changed.Ways, before: str | None, after: str | None) -> None:
    given_ = [] if before is None else [("X-Forwarded-For", before)]
    assert passed(given_, ways).get("x-forwarded-for") == after


def test_where_a_request_came_in_cannot_be_claimed_by_a_client() -> None:
    found = passed([("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443")])
    assert (found["x-forwarded-proto"], found["x-forwarded-port"]) == ("http", "8080")


def test_the_host_is_told_with_the_port_unless_it_is_to_be_preserved() -> None:
    assert passed([("Host", "a.example")])["host"] == "a.example:8080"
    assert passed([("Host", "a.example")], changed.Ways(preserve_host=True))["host"] == "a.example"
    assert passed([("Host", "a.example")], listener_port=80)["host"] == "a.example"


def test_headers_that_a_client_names_as_its_connections_go_no_further() -> None:
    found = passed([("Connection", "close, X-Secret"), ("X-Secret", "1"), ("X_Odd", "2")], changed.Ways(drop_invalid=True))
    assert "x-secret" not in found
    assert "x_odd" not in found
    assert "x_odd" in passed([("X_Odd", "2")])


def test_a_trace_goes_on_or_begins() -> None:
    root = r"Root=1-00000001-[0-9a-f]{24}"
    assert re.fullmatch(root, changed.traced("", 1.0))
    assert re.fullmatch(r"Self=1-00000001-[0-9a-f]{24};Root=1-5-ab;k=v", changed.traced("Self=1-2-3;Root=1-5-ab;k=v", 1.0))
    assert re.fullmatch(root + ";k=v", changed.traced("k=v", 1.0))
