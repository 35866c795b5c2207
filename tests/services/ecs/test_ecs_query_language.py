"""The cluster query language: AWS's examples, what is refused, and what each operator means."""

from __future__ import annotations

import contextlib
import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead.services.ecs.placement.conditions import condition
from cloudstead.services.ecs.placement.fleet import Fleet, Instance, Registered, Share
from cloudstead.services.ecs.placement.language import Both, Comparison, Either, ExpressionInvalid, Not, parse
from cloudstead.services.ecs.placement.patterns import PatternInvalid, compiled


def instance(attributes: dict[str, str] | None = None, groups: tuple[str, ...] = (), **more: Any) -> Instance:
    fleet = Fleet([Registered(id="a", attributes=attributes or {}, **more)])
    for number, group in enumerate(groups):
        fleet.take("a", Share(task=f"t{number}", group=group))
    found = fleet.get("a")
    assert found is not None
    return found


MACHINE = instance(
    {"ecs.instance-type": "t2.small", "stack": "prod", "disk": "100", "empty": ""},
    ("service:production", "family:job"),
    ec2_instance_id="i-0abc",
    zone="us-east-1a",
    agent_version="1.78.1",
    registered=1_529_360_908.0,  # 2018-06-18T22:28:28Z
)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        # the examples of AWS's page
        ("attribute:ecs.instance-type == t2.small", True),
        ("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", True),
        ("task:group == service:production", True),
        ("not(task:group == database)", True),
        ("runningTasksCount == 1", False),
        ("runningTasksCount >= 2", True),
        ("ec2InstanceId in ['i-0abc', 'i-1']", True),
        ("registeredAt > 2018-06-18", True),
        ("registeredAt == 2018-06-18T22:28:28Z", True),
        ("registeredAt < 2018-06-18T22:28:28+00:00", False),
        ("agentVersion >= 1.9.0", True),
        ("agentVersion < 1.78", False),
        ("agentConnected == true", True),
        ("attribute:ecs.instance-type =~ t2.*", True),
        ("attribute:ecs.instance-type =~ g2.* and attribute:ecs.availability-zone != us-east-1d", False),
        # every operator by its other names
        ("attribute:stack equals prod", True),
        ("attribute:stack not_equals prod", False),
        ("attribute:disk greater_than 20", True),
        ("attribute:disk less_than_equal 20", False),
        ("attribute:stack matches pr.d", True),
        ("attribute:stack not_matches pr", True),
        ("attribute:stack not_in [prod]", False),
        ("attribute:stack !in [test]", True),
        ("attribute:stack exists", True),
        ("attribute:empty exists", True),
        ("attribute:none exists", False),
        ("attribute:none !exists", True),
        ("attribute:none not_exists", True),
        ("task:group exists", True),
        ("task:group =~ service:.*", True),
        # without a value nothing is equal
        ("attribute:none == x", False),
        ("attribute:none != x", True),
        ("attribute:none !~ x", True),
        ("attribute:none > 1", False),
        # precedence
        ("attribute:stack == prod || attribute:stack == x && attribute:stack == y", True),
        ("(attribute:stack == prod or attribute:stack == x) and attribute:stack == y", False),
        ("!(attribute:stack == x) && !attribute:stack == y", True),
        ("((attribute:stack =~ (prod|test)))", True),
        ('attribute:stack == "prod"', True),
    ],
)
def test_an_expression_holds_of_an_instance(expression: str, holds: bool) -> None:
    assert condition(expression)(MACHINE) is holds


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "attribute:a",
        "attribute:a ==",
        "attribute: == a",
        "nonsense == a",
        "attribute:a == b attribute:c == d",
        "(attribute:a == b",
        "attribute:a == b)",
        "attribute:a in b",
        "attribute:a in [b",
        "attribute:a in []",
        "attribute:a in [b c]",
        "attribute:a == b and",
        "attribute:a =~ (b",
        "attribute:a =~ (?=b)c",
        "agentVersion == x",
        "agentVersion =~ 1.*",
        "runningTasksCount == -1",
        "registeredAt == yesterday",
        "agentConnected > true",
        "not",
        "attribute:a === b",
        "attribute:a == b & attribute:c == d",
        "(" * 60 + "attribute:a exists" + ")" * 60,
        "attribute:a == " + "b" * 2_000,
    ],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionInvalid):
        condition(expression)


def test_an_expression_is_a_tree() -> None:
    a, b, c = (Comparison(f"attribute:{name}", "exists") for name in "abc")
    assert parse("attribute:a exists and not attribute:b exists or attribute:c exists") == Either(Both(a, Not(b)), c)


@given(st.text(st.sampled_from("()[]!=~<>&|,'\" ab1:.") | st.sampled_from(list(string.ascii_letters)), max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with contextlib.suppress(ExpressionInvalid):
        condition(text)(MACHINE)


_PIECES = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "[a-c]", r"\d", r"\w", r"\.", "(a|b)", "(?:ab|c)*", "a*", "b+", "c?", "a{2}", "b{1,3}", "(a*)*", "(b|)"])  # fmt: skip


@given(st.lists(_PIECES, max_size=6).map("".join), st.text("abc1.", max_size=8))
def test_a_pattern_matches_as_others_do(pattern: str, text: str) -> None:
    assert compiled(pattern).matches(text) == (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize("pattern", ["(", ")", "a**", "[", "[]", "[z-a]", "a{3,1}", "a{", "*", r"\1", "(?<=a)b", "a++", "a^b", "\\", r"\b", "(((a{99}){99}){99})", "a{99999999}"])  # fmt: skip
def test_a_pattern_that_is_none_or_goes_too_far_is_refused(pattern: str) -> None:
    with pytest.raises(PatternInvalid):
        compiled(pattern)


def test_a_pattern_made_to_take_for_ever_does_not() -> None:
    """Another matcher would need more years than there are."""
    assert not compiled("(a+)+(a|a)*(a*)*").matches("a" * 500 + "!")
