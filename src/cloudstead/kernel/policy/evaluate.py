"""The decision: AWS's policy evaluation logic.

In one account:
    1. an explicit Deny in any policy decides;
    2. a resource policy that names the session or the user itself allows, whatever else there is or is not;
    3. one that names the role behind a session (or everyone) allows within the role's boundary and the session's policies;
    4. otherwise the identity's policies must allow, within its boundary and the session's policies. A resource policy that names only the
       account adds nothing to that, except where the resource's own policy has to allow every access (a role's trust policy, a KMS key).
Across accounts both sides must allow: the caller's policies, boundary and session in its account, and the resource's policy.
The root user of an account is bound by no policy of an identity; a service principal has none.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import msgspec

from cloudstead.kernel.policy.document import Policy, Statement
from cloudstead.kernel.policy.patterns import Context
from cloudstead.kernel.policy.principals import DIRECT, ENTITY, NONE, Principal

Outcome: TypeAlias = Literal["allowed", "explicitDeny", "implicitDeny"]
LayerName: TypeAlias = Literal["identity", "resource", "boundary", "session", ""]


class Source(msgspec.Struct, frozen=True):
    """A policy and where it comes from, as Simulate* tells it."""

    policy: Policy
    id: str  # the policy's name or ARN
    kind: str = ""  # PolicySourceType of IAM's model: "user", "group", "role", "aws-managed", "user-managed", "resource", …


class Matched(msgspec.Struct, frozen=True):
    """A statement that applied."""

    statement: Statement
    source: Source


class Layer:
    """The policies of one type that count together: an Allow in any of them is an Allow."""

    __slots__ = ("_about", "sources")

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self.sources = tuple(sources)
        self._about: dict[str, tuple[tuple[Matched, ...], tuple[Matched, ...]]] = {}

    def about(self, action: str) -> tuple[tuple[Matched, ...], tuple[Matched, ...]]:
        """(denying, allowing) statements that speak of an action."""
        found = self._about.get(action)
        if found is None:
            speaking = [Matched(statement, source) for source in self.sources for statement in source.policy.about(action)]
            found = (
                tuple(one for one in speaking if not one.statement.allow),
                tuple(one for one in speaking if one.statement.allow),
            )
            if len(self._about) >= 2048:
                self._about.clear()
            self._about[action] = found
        return found


class PolicySet(msgspec.Struct, frozen=True, kw_only=True):
    """The policies of a caller. Made once for a caller and kept as long as none of them changes: layers remember what they learn."""

    identity: Layer
    boundary: Layer | None = None
    session: Layer | None = None  # the inline and the managed session policies are one layer


NO_POLICIES = PolicySet(identity=Layer())


class AuthorizationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One question: may this caller do this to that?"""

    principal: Principal
    action: str
    resource: str  # an ARN, or "*"; empty when it is not known
    context: Context
    resource_account: str  # whose the resource is; the caller's own when it has none
    resource_policy: Source | None = None
    resource_policy_decides: bool = False  # whether it must allow, also in its own account: trust policies, KMS keys


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    outcome: Outcome
    layer: LayerName = ""  # which policies denied, or allowed nothing
    matched: tuple[Matched, ...] = ()  # only when asked to explain: the statements that decided

    @property
    def allowed(self) -> bool:
        return self.outcome == "allowed"


_ALLOWED = Decision(outcome="allowed")


def evaluate(request: AuthorizationRequest, policies: PolicySet, *, explain: bool = False) -> Decision:
    """Decide. With `explain`, tell which statements made the decision (slower)."""
    root = request.principal.kind == "root"
    layers = _layers(policies) if not root else []
    denied = _explicit_deny(request, layers)
    if denied is None:
        named = _named_by_resource(request)
        silent = _silent_layer(request, layers, named)
        if not silent:
            return Decision(outcome="allowed", matched=tuple(_applying(request, layers, allow=True))) if explain else _ALLOWED
        return Decision(outcome="implicitDeny", layer=silent)
    if explain:
        return Decision(outcome="explicitDeny", layer=denied, matched=tuple(_applying(request, layers, allow=False)))
    return Decision(outcome="explicitDeny", layer=denied)


_NamedLayer: TypeAlias = tuple[LayerName, Layer]


def _layers(policies: PolicySet) -> list[_NamedLayer]:
    layers: list[_NamedLayer] = [("identity", policies.identity)]
    if policies.boundary is not None:
        layers.append(("boundary", policies.boundary))
    if policies.session is not None:
        layers.append(("session", policies.session))
    return layers


def _explicit_deny(request: AuthorizationRequest, layers: list[_NamedLayer]) -> LayerName | None:
    action, resource, context = request.action, request.resource, request.context
    for name, layer in layers:
        for one in layer.about(action)[0]:
            if one.statement.covers(resource, context):
                return name
    if request.resource_policy is not None:
        for statement in request.resource_policy.policy.about(action):
            if not statement.allow and statement.names(request.principal) != NONE and statement.covers(resource, context):
                return "resource"
    return None


def _named_by_resource(request: AuthorizationRequest) -> int:
    """How closely an allowing statement of the resource's policy names the caller."""
    closest = NONE
    if request.resource_policy is not None:
        for statement in request.resource_policy.policy.about(request.action):
            if statement.allow:
                named = statement.names(request.principal)
                if named > closest and statement.covers(request.resource, request.context):
                    closest = named
    return closest


def _silent_layer(request: AuthorizationRequest, layers: list[_NamedLayer], named: int) -> LayerName:
    """ "" when the call is allowed, otherwise the layer that says nothing for it."""
    principal = request.principal
    if principal.kind in ("anonymous", "federated"):
        return "" if named >= ENTITY else "resource"
    same_account = principal.account == request.resource_account
    needs_resource_policy = request.resource_policy_decides or not same_account
    if principal.kind == "service":
        return "" if named >= ENTITY or not needs_resource_policy else "resource"
    if needs_resource_policy and named == NONE:
        # Which of the two missing permissions is told: AWS names the caller's own first.
        return _first_silent(request, layers) or "resource"
    if principal.kind == "root":
        return ""
    if same_account:
        if named == DIRECT:
            return ""
        if named == ENTITY:
            return _first_silent(request, [layer for layer in layers if layer[0] != "identity"])
    return _first_silent(request, layers)


def _first_silent(request: AuthorizationRequest, layers: list[_NamedLayer]) -> LayerName:
    """The first layer without an Allow; "" when each has one."""
    for name, layer in layers:
        for one in layer.about(request.action)[1]:
            if one.statement.covers(request.resource, request.context):
                break
        else:
            return name
    return ""


def _applying(request: AuthorizationRequest, layers: list[_NamedLayer], *, allow: bool) -> Iterator[Matched]:
    """All statements of one effect that apply, in the order of the layers."""
    for _, layer in layers:
        for one in layer.about(request.action)[1 if allow else 0]:
            if one.statement.covers(request.resource, request.context):
                yield one
    if request.resource_policy is not None:
        for statement in request.resource_policy.policy.about(request.action):
            named = statement.allow is allow and statement.names(request.principal) != NONE
            if named and statement.covers(request.resource, request.context):
                yield Matched(statement, request.resource_policy)


__all__ = ["NO_POLICIES", "AuthorizationRequest", "Decision", "Layer", "Matched", "PolicySet", "Source", "evaluate"]
