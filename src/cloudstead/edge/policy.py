"""Enforcement: may this caller do this?

The language and the decision are kernel.policy. Here a call is made into a question: who asks (`Principal`), what its operation declares (action,
resources, tags, conditions, the resource's own policy), and a `CallContext` that works out condition keys only when a policy asks for them.

Modes: `off` asks nothing; `warn` logs what it would refuse, once for each (caller, action, resource); `enforce` refuses in AWS's words.
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Final, Literal, Protocol, TypeAlias

from cloudstead.edge.call_context import CallContext
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import AccessDenied, CommonError, InvalidToken
from cloudstead.kernel.identity import Identity
from cloudstead.kernel.operations import ConditionValue, Operation
from cloudstead.kernel.policy import AuthorizationRequest, Decision, Layer, Policy, PolicySet, Principal, Source, evaluate, parse
from cloudstead.kernel.policy.grammar import MalformedPolicy
from cloudstead.kernel.sessions import AUTHORIZATION_MESSAGE, Sessions
from cloudstead.kernel.shapes import Request

log = logging.getLogger(__name__)

Mode: TypeAlias = Literal["off", "warn", "enforce"]

_ENCODING_SERVICES: Final = frozenset(("ec2",))  # whose denials carry the details in encoded form only
_NEEDS_A_GRANT: Final = frozenset(("lambda:InvokeFunction", "sqs:SendMessage", "sns:Publish"))
"""What a service may do to a resource of its own account only if the resource's policy says so: deliveries of events. Whatever else a service
does in an account AWS does through service-linked roles, which we do not ask about."""
_SESSIONS_MAY: Final = {
    "root": frozenset(("sts:AssumeRole", "sts:GetCallerIdentity")),
    "user": frozenset(("sts:AssumeRole", "sts:GetCallerIdentity")),
    "federated-user": frozenset(("sts:GetCallerIdentity",)),
}
"""All that the credentials of GetSessionToken and GetFederationToken may call of STS, by the kind of their caller."""
_WARNED_AT_MOST: Final = 10_000

_EVERYTHING: Final = PolicySet(
    identity=Layer((Source(parse('{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'), "Everything"),))
)
"""The policies of a caller whose own permissions are not in question."""

_EXPLICIT: Final = {
    "identity": "an identity-based policy",
    "resource": "a resource-based policy",
    "boundary": "a permissions boundary",
    "session": "a session policy",
    "trust": "the role trust policy",
}
_IMPLICIT: Final = {
    "identity": "identity-based policy",
    "resource": "resource-based policy",
    "boundary": "permissions boundary",
    "session": "session policy",
    "trust": "role trust policy",
}


class UnauthorizedOperation(AccessDenied):
    """What EC2 calls it."""

    code, json_code = "UnauthorizedOperation", "UnauthorizedOperation"


class PolicySource(Protocol):
    """Finds what binds a caller. IAM implements it over its rows; the daemon wires the two."""

    def policies_of(self, identity: Identity) -> PolicySet:
        """Its policies, boundary and session policies; the root user and services have none."""
        ...

    def tags_of(self, identity: Identity) -> Mapping[str, str]:
        """The tags of its user or role and of its session."""
        ...


class PolicyAuthorizer:
    """kernel.context.Authorizer over the policies of a PolicySource."""

    def __init__(self, mode: Mode, source: PolicySource) -> None:
        self.mode = mode
        self._source = source
        self._warned: set[tuple[str, str, str]] = set()

    @property
    def idle(self) -> bool:
        return self.mode == "off"

    def check(self, ctx: Context, operation: Operation, request: Request) -> None:
        """Judge a call before its handler runs, for each of the resources that it concerns."""
        if self.mode != "off" and (refusal := _unfit(ctx.identity, operation)) is not None:
            if self.mode == "enforce":
                raise refusal
            self._warn(ctx, operation.action, "", refusal.message)
        if self.mode == "off" or operation.public or (operation.anonymous and ctx.identity.kind == "anonymous"):
            return
        policy = None if operation.resource_policy is None else operation.resource_policy(ctx, request)
        context = CallContext(ctx, self._source, operation=operation, request=request)
        for resource in operation.resources(ctx, request):
            context.resource = resource
            self._judge(ctx, operation.action, resource, context, policy, kind="resource")

    def require(self, ctx: Context, action: str, resource: str, conditions: Mapping[str, ConditionValue]) -> None:
        """Judge a further action that a call implies."""
        if self.mode != "off":
            self._judge(ctx, action, resource, CallContext(ctx, self._source, resource=resource, conditions=conditions), None)

    def admit(
        self, ctx: Context, action: str, resource: str, policy: str | None, conditions: Mapping[str, ConditionValue], *, provider: str = ""
    ) -> None:
        """Judge a call that the resource's policy must allow, whatever the caller's say: sts:AssumeRole."""
        if self.mode == "off":
            return
        context = CallContext(ctx, self._source, resource=resource, conditions=conditions)
        principal = Principal.federated(provider) if provider else Principal.of(ctx.identity)
        self._judge(ctx, action, resource, context, policy, kind="trust", principal=principal)

    def admit_outsider(self, ctx: Context, action: str, resource: str, policy: str | None) -> None:
        """Judge what a resource's policy says of a caller from another account. What the caller's own policies say is `check`'s to judge."""
        decision = evaluate(
            AuthorizationRequest(
                principal=Principal.of(ctx.identity),
                action=action,
                resource=resource,
                context=CallContext(ctx, self._source, resource=resource, conditions={}),
                resource_account=account_of(resource),
                resource_policy=_source(policy),
                resource_policy_decides=True,
            ),
            _EVERYTHING,
        )
        if not decision.allowed:
            raise AccessDenied(denial(ctx.identity, action, resource, decision))

    def _judge(
        self,
        ctx: Context,
        action: str,
        resource: str,
        context: CallContext,
        policy: str | None,
        *,
        kind: Literal["resource", "trust"] = "resource",
        principal: Principal | None = None,
    ) -> None:
        identity = ctx.identity
        principal = principal or Principal.of(identity)
        if kind == "trust" and principal.kind == "root" and action == "sts:AssumeRole":
            self._refuse(ctx, action, resource, "Roles may not be assumed by root accounts.", Decision(outcome="implicitDeny"))
            return
        decision = evaluate(
            AuthorizationRequest(
                principal=principal,
                action=action,
                resource=resource,
                context=context,
                resource_account=account_of(resource) or ctx.account,
                resource_policy=_source(policy),
                resource_policy_decides=kind == "trust" or _needs_a_grant(identity, action),
            ),
            self._source.policies_of(identity),
        )
        if decision.allowed:
            return
        sentence = denial(identity, action, resource, decision, trust=kind == "trust")
        if principal.kind == "federated":
            sentence = f"Not authorized to perform {action}"
        self._refuse(ctx, action, resource, sentence, decision)

    def _refuse(self, ctx: Context, action: str, resource: str, sentence: str, decision: Decision) -> None:
        if self.mode == "warn":
            self._warn(ctx, action, resource, sentence)
            return
        service = action.partition(":")[0]
        if service not in _ENCODING_SERVICES:
            raise AccessDenied(sentence)
        encoded = Sessions.of(ctx.cloud).seal(AUTHORIZATION_MESSAGE, _details(ctx, action, resource, decision))
        raise UnauthorizedOperation(
            f"You are not authorized to perform this operation. {sentence}. Encoded authorization failure message: {encoded}"
        )

    def _warn(self, ctx: Context, action: str, resource: str, sentence: str) -> None:
        place = (ctx.identity.arn, action, resource)
        if place not in self._warned:
            if len(self._warned) >= _WARNED_AT_MOST:
                self._warned.clear()
            self._warned.add(place)
            log.warning("request_id=%s would be denied: %s", ctx.request_id, sentence)


def _unfit(identity: Identity, operation: Operation) -> CommonError | None:
    """Why credentials of GetSessionToken or GetFederationToken are of no use for a call, whatever policies say. IAM wants a second factor of them.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_sts-comparison.html
    """
    may = _SESSIONS_MAY.get(identity.kind)
    if may is None or not identity.issued_at:
        return None
    service, _, name = operation.action.partition(":")
    if service == "iam" and not identity.mfa:
        return InvalidToken("The security token included in the request is invalid.")
    if service == "sts" and operation.action not in may and not operation.anonymous:
        return AccessDenied(f"Cannot call {name} with session credentials")
    return None


def denial(identity: Identity, action: str, resource: str, decision: Decision, *, trust: bool = False) -> str:
    """AWS's sentence: who, what, on what, and which kind of policy is to blame."""
    who = "anonymous" if identity.kind == "anonymous" else identity.arn
    where = f" on resource: {resource}" if resource else ""
    layer = "trust" if trust and decision.layer == "resource" else decision.layer
    if decision.outcome == "explicitDeny":
        why = f"with an explicit deny in {_EXPLICIT[layer]}"
    else:
        why = f"because no {_IMPLICIT[layer]} allows the {action} action"
    return f"User: {who} is not authorized to perform: {action}{where} {why}"


def account_of(arn: str) -> str:
    """The account that an ARN names; empty when it names none, or one of AWS's own ("aws", in managed policies)."""
    parts = arn.split(":", 5)
    account = parts[4] if len(parts) == 6 else ""
    return account if account.isdigit() else ""


def _needs_a_grant(identity: Identity, action: str) -> bool:
    return identity.kind == "service" and action in _NEEDS_A_GRANT and not identity.arn.startswith(action.partition(":")[0] + ".")


def _source(document: str | None) -> Source | None:
    policy = None if not document else _readable(document)
    return None if policy is None else Source(policy, "ResourcePolicy", "resource")


def _readable(document: str) -> Policy | None:
    """A stored resource policy; one that cannot be read (it was checked when it was put) grants nothing."""
    try:
        return parse(document)
    except MalformedPolicy:
        log.warning("a resource policy cannot be read and grants nothing")
        return None


def _details(ctx: Context, action: str, resource: str, decision: Decision) -> bytes:
    """What DecodeAuthorizationMessage tells, in the form of its documentation."""
    identity = ctx.identity
    return json.dumps(
        {
            "allowed": False,
            "explicitDeny": decision.outcome == "explicitDeny",
            "matchedStatements": {"items": []},
            "failures": {"items": []},
            "context": {
                "principal": {"id": identity.user_id, "arn": identity.arn},
                "action": action,
                "resource": resource,
                "conditions": {"items": []},
            },
        },
        separators=(",", ":"),
    ).encode()
