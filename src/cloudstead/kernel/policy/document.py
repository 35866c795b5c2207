"""Policy documents: from text to something that can be evaluated.

`parse` keeps what it compiled by the document's text, so that a policy attached to a thousand roles is compiled once. A `Policy` remembers for
each action which of its statements speak of it: the first question about an action looks at every statement, all further ones at those few.
"""

from __future__ import annotations

from functools import lru_cache

from cloudstead.kernel.policy import grammar
from cloudstead.kernel.policy.conditions import Condition, compile_condition
from cloudstead.kernel.policy.grammar import ANY, VERSION_2012, Kind, RawPolicy, RawStatement
from cloudstead.kernel.policy.patterns import Context, PatternSet, keys_of
from cloudstead.kernel.policy.principals import DIRECT, ENTITY, NONE, Principal, PrincipalSet

_REMEMBERED_ACTIONS = 2048  # of one policy; AWS has some 18,000, a caller can make up any number


def parse(text: str, kind: Kind = ANY) -> Policy:
    """The policy that a document stands for, checked to be of this kind.

    Raises:
        MalformedPolicy
    """
    if kind is not ANY:
        grammar.read(text, kind)
    return _compiled(text)


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Policy:
    return Policy(text, grammar.read(text, ANY))


class Statement:
    """One compiled statement."""

    __slots__ = (
        "actions",
        "allow",
        "conditions",
        "index",
        "not_actions",
        "not_principal",
        "not_resources",
        "principals",
        "resources",
        "sid",
    )

    def __init__(self, index: int, raw: RawStatement, *, variables: bool) -> None:
        self.index = index  # its place in the document, from 0
        self.sid = raw.sid
        self.allow = raw.allow
        self.actions = PatternSet(raw.actions, shape="glob", variables=False, fold=True)
        self.not_actions = raw.not_actions
        self.resources = None if raw.resources is None else PatternSet(raw.resources, shape="arn", variables=variables)
        self.not_resources = raw.not_resources
        self.principals = None if raw.principal is None else PrincipalSet(raw.principal)
        self.not_principal = raw.not_principal
        self.conditions: tuple[Condition, ...] = tuple(
            compile_condition(name, key, values, variables=variables) for name, key, values in raw.conditions
        )

    def covers(self, resource: str, context: Context) -> bool:
        """Whether it speaks of this resource and its conditions hold; the action is known to match.

        An unknown resource (empty) may be any: statements about some speak of it, those that deny as well as those that allow.
        """
        if self.resources is not None and resource and self.resources.matches(resource, context) is self.not_resources:
            return False
        for holds in self.conditions:  # noqa: SIM110 (a loop costs half of what a generator does)
            if not holds(context):
                return False
        return True

    def names(self, principal: Principal) -> int:
        """How closely it names the caller, `principals.NONE` … `DIRECT`. Only for policies of resources: others name nobody."""
        if self.principals is None:
            return NONE
        if not self.not_principal:
            return self.principals.names(principal)
        if self.allow:
            return ENTITY if self.principals.names(principal) == NONE else NONE
        return NONE if self.principals.names_all_of(principal) else DIRECT


class Policy:
    """One compiled document."""

    __slots__ = ("_about", "context_keys", "id", "statements", "text", "version")

    def __init__(self, text: str, raw: RawPolicy) -> None:
        self.text = text
        self.version = raw.version
        self.id = raw.id
        variables = raw.version == VERSION_2012
        self.statements = tuple(Statement(index, entry, variables=variables) for index, entry in enumerate(raw.statements))
        self.context_keys = _context_keys(raw, variables)  # the condition keys it asks for, as written, in order
        self._about: dict[str, tuple[Statement, ...]] = {}

    def about(self, action: str) -> tuple[Statement, ...]:
        """The statements that speak of an action ("iam:CreateUser", in any case)."""
        found = self._about.get(action)
        if found is None:
            if len(self._about) >= _REMEMBERED_ACTIONS:
                self._about.clear()
            found = self._about[action] = tuple(
                statement for statement in self.statements if statement.actions.matches(action, {}) is not statement.not_actions
            )
        return found


def _context_keys(raw: RawPolicy, variables: bool) -> tuple[str, ...]:
    keys: list[str] = []
    for statement in raw.statements:
        for resource in statement.resources or ():
            keys += keys_of(resource, variables=variables)
        for _, key, values in statement.conditions:
            keys.append(key)
            for value in values:
                keys += keys_of(value, variables=variables)
    return tuple(dict.fromkeys(keys))
