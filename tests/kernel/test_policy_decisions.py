"""What holds for every decision."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.kernel.policy import AuthorizationRequest, Decision, Layer, PolicySet, Principal, Source, evaluate, parse
from cloudstead.kernel.policy.patterns import PatternSet

ACCOUNT, OTHER = "111122223333", "444455556666"
USER = f"arn:aws:iam::{ACCOUNT}:user/x"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/r/s"

PRINCIPALS = [
    Principal(kind="root", account=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root", entity=f"arn:aws:iam::{ACCOUNT}:root", user_id=ACCOUNT),
    Principal(kind="user", account=ACCOUNT, arn=USER, entity=USER, user_id="AIDAX"),
    Principal(kind="assumed-role", account=ACCOUNT, arn=SESSION, entity=ROLE, user_id="AROAX:s"),
    Principal(kind="federated-user", account=ACCOUNT, arn=f"arn:aws:sts::{ACCOUNT}:federated-user/f", entity=USER, user_id=f"{ACCOUNT}:f"),
    Principal(kind="service", account=ACCOUNT, arn="ecs.amazonaws.com"),
    Principal.federated("accounts.google.com"),
    Principal(kind="anonymous", account="", arn="*"),
]
ACTIONS = ["s3:GetObject", "s3:*", "*", "iam:PassRole", "S3:g?t*"]
RESOURCES = ["*", "arn:aws:s3:::b/k", "arn:aws:s3:::b/*", "arn:aws:s3:::b/${aws:username}"]
NAMED = [
    "*",
    {"AWS": USER},
    {"AWS": ROLE},
    {"AWS": SESSION},
    {"AWS": ACCOUNT},
    {"Service": "ecs.amazonaws.com"},
    {"Federated": "accounts.google.com"},
]
CONDITIONS = st.dictionaries(
    st.sampled_from(["StringEquals", "StringNotEquals", "StringLikeIfExists", "ForAllValues:StringLike", "ForAnyValue:StringNotEquals"]),
    st.dictionaries(st.sampled_from(["aws:username", "aws:TagKeys"]), st.sampled_from(["k", "x*", ["a", "k"]]), min_size=1, max_size=2),
    max_size=2,
)
KEYS = st.dictionaries(st.sampled_from(["aws:username", "aws:tagkeys"]), st.lists(st.sampled_from(["k", "x", "a"]), max_size=2).map(tuple))


def statement(effect: str, named: bool) -> st.SearchStrategy[dict[str, Any]]:
    fields: dict[str, st.SearchStrategy[Any]] = {
        "Effect": st.just(effect),
        "Action": st.sampled_from(ACTIONS),
        "Resource": st.sampled_from(RESOURCES),
        "Condition": CONDITIONS,
    }
    if named:
        fields["Principal"] = st.sampled_from(NAMED)
    return st.fixed_dictionaries(fields)


def statements(named: bool = False) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(statement("Allow", named) | statement("Deny", named), max_size=3)


class Case:
    """A question that can be asked again with further statements."""

    def __init__(self, draw: Any) -> None:
        self.identity = draw(statements())
        self.boundary = draw(st.none() | statements())
        self.session = draw(st.none() | statements())
        self.resource = draw(st.none() | statements(named=True))
        self.principal = draw(st.sampled_from(PRINCIPALS))
        self.keys = draw(KEYS)
        self.account = draw(st.sampled_from([ACCOUNT, OTHER]))
        self.decides = draw(st.booleans())

    def ask(self, *, explain: bool = False, **more: list[dict[str, Any]]) -> Decision:
        layers = {name: self.layer(name, more) for name in ("identity", "boundary", "session", "resource")}
        request = AuthorizationRequest(
            principal=self.principal,
            action="s3:GetObject",
            resource="arn:aws:s3:::b/k",
            context=self.keys,
            resource_account=self.account,
            resource_policy=layers["resource"].sources[0] if layers["resource"] and layers["resource"].sources else None,
            resource_policy_decides=self.decides,
        )
        policies = PolicySet(identity=layers["identity"] or Layer(), boundary=layers["boundary"], session=layers["session"])
        return evaluate(request, policies, explain=explain)

    def layer(self, name: str, more: dict[str, list[dict[str, Any]]]) -> Layer | None:
        present = getattr(self, name)
        if present is None and name not in more:
            return None
        listed = [*(present or []), *more.get(name, [])]
        return Layer([Source(parse(json.dumps({"Version": "2012-10-17", "Statement": listed})), name)] if listed else [])


cases = st.composite(lambda draw: Case(draw))()
ORDER = {"explicitDeny": 0, "implicitDeny": 1, "allowed": 2}


@given(cases, st.sampled_from(["identity", "boundary", "session", "resource"]))
@settings(max_examples=150, deadline=None)
def test_an_explicit_deny_always_wins(case: Case, where: str) -> None:
    everything = {"Effect": "Deny", "Action": "*", "Resource": "*", **({"Principal": "*"} if where == "resource" else {})}
    expected = "explicitDeny"
    if where != "resource" and case.principal.kind == "root":
        expected = case.ask().outcome  # no policy of an identity binds it
    assert case.ask(**{where: [everything]}).outcome == expected


@given(cases, statement("Allow", named=False), st.sampled_from(["identity", "boundary", "session"]))
@settings(max_examples=150, deadline=None)
def test_adding_an_allow_never_takes_anything_away(case: Case, added: dict[str, Any], where: str) -> None:
    if getattr(case, where) is None:
        setattr(case, where, [])
    assert ORDER[case.ask(**{where: [added]}).outcome] >= ORDER[case.ask().outcome]


@given(cases, statement("Allow", named=True))
@settings(max_examples=150, deadline=None)
def test_adding_an_allow_to_the_resource_never_takes_anything_away(case: Case, added: dict[str, Any]) -> None:
    assert ORDER[case.ask(resource=[added]).outcome] >= ORDER[case.ask().outcome]


@given(cases)
@settings(max_examples=150, deadline=None)
def test_without_any_allow_only_root_and_services_get_anywhere(case: Case) -> None:
    for name in ("identity", "boundary", "session", "resource"):
        setattr(case, name, [one for one in getattr(case, name) or [] if one["Effect"] == "Deny"])
    if case.ask().allowed:
        assert case.principal.kind in ("root", "service")
        assert case.account == ACCOUNT
        assert not case.decides


@given(cases)
@settings(max_examples=150, deadline=None)
def test_an_explanation_does_not_change_the_decision(case: Case) -> None:
    plain, explained = case.ask(), case.ask(explain=True)
    assert plain.outcome == explained.outcome
    if explained.outcome == "explicitDeny":
        assert explained.matched
    assert all(one.statement.allow is (explained.outcome == "allowed") for one in explained.matched)


def test_a_pattern_made_to_backtrack_is_answered_at_once() -> None:
    hostile = PatternSet(["*a" * 60 + "b", "a" + "?*" * 40 + "b"], shape="glob", variables=False)
    began = time.perf_counter()
    assert not hostile.matches("a" * 2000, {})
    assert time.perf_counter() - began < 1.0


def test_what_a_variable_stands_for_is_taken_literally() -> None:
    own = PatternSet(["arn:aws:s3:::b/${aws:username}/*"], shape="arn", variables=True)
    assert not own.matches("arn:aws:s3:::b/jane/x", {"aws:username": ("*",)})
    assert own.matches("arn:aws:s3:::b/*/x", {"aws:username": ("*",)})


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("*", "anything", True),
        ("a*c", "abbc", True),
        ("a*c*e", "abcde", True),
        ("a*b*b", "ab", False),
        ("*.txt", "a.txt.txt", True),
        ("a?c", "ac", False),
        ("**a**", "xax", True),
        ("[a]", "a", False),
        ("a\n*", "a\nb", True),
    ],
)
def test_wildcards(pattern: str, value: str, matches: bool) -> None:
    assert PatternSet([pattern], shape="glob", variables=False).matches(value, {}) is matches


def test_an_unknown_resource_is_taken_for_any_that_policies_name_to_allow_it_or_to_deny_it() -> None:
    some = {"Action": "dynamodb:*", "Resource": "arn:aws:dynamodb:*:*:table/t"}
    request = AuthorizationRequest(principal=PRINCIPALS[1], action="dynamodb:GetItem", resource="", context={}, resource_account=ACCOUNT)
    assert evaluate(request, PolicySet(identity=Layer([source("Allow", some)]))).allowed
    denied = Layer([source("Allow", {"Action": "*", "Resource": "*"}), source("Deny", some)])
    assert evaluate(request, PolicySet(identity=denied)).outcome == "explicitDeny"


def source(effect: str, statement: dict[str, Any]) -> Source:
    return Source(parse(json.dumps({"Version": "2012-10-17", "Statement": {"Effect": effect, **statement}})), effect)
