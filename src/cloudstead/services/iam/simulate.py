"""The policy simulator: what would be decided, and why.

It asks the evaluator that enforces (kernel.policy). Condition keys are those of ContextEntries; of a principal its name, id, ARN and tags are known.
A key that the policies about an action and resource ask for and that nobody gave is told as missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, cast

import msgspec

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import NotImplementedHere
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.kernel.policy import (
    IDENTITY,
    RESOURCE,
    AuthorizationRequest,
    Kind,
    Layer,
    MalformedPolicy,
    Matched,
    Policy,
    PolicySet,
    Principal,
    Source,
    evaluate,
    parse,
)
from cloudstead.kernel.policy.positions import Position, statement_positions
from cloudstead.services.iam import api
from cloudstead.services.iam.credentials import Policies
from cloudstead.services.iam.model import GROUPS, Group, Role, User, fold

PAGE: Final = 1000  # results, of which each action and resource has one

Simulation: TypeAlias = api.SimulateCustomPolicyRequest | api.SimulatePrincipalPolicyRequest
Keys: TypeAlias = dict[str, tuple[str, ...]]


class Subject(msgspec.Struct, frozen=True):
    """For whom is simulated."""

    principal: Principal
    policies: PolicySet
    keys: Keys


@operation(resource="*")
async def simulate_custom_policy(ctx: Context, request: api.SimulateCustomPolicyRequest) -> api.SimulateCustomPolicyResponse:
    """Judge actions by the given policies only."""
    if request.ordered_organization_policy_input_list:
        raise NotImplementedHere("OrderedOrganizationPolicyInputList is not available in Cloudstead yet.")
    principal = _caller(ctx, request.caller_arn)
    policies = PolicySet(identity=Layer(_inputs(request.policy_input_list, "PolicyInputList")), boundary=_boundary(request, None))
    results, marker = _simulate(ctx, request, Subject(principal, policies, _principal_keys(principal)))
    return api.SimulateCustomPolicyResponse(evaluation_results=results, is_truncated=marker is not None, marker=marker)


@operation(resource=lambda ctx, request: request.policy_source_arn)
async def simulate_principal_policy(ctx: Context, request: api.SimulatePrincipalPolicyRequest) -> api.SimulatePrincipalPolicyResponse:
    """Judge actions by the policies of a user (with its groups'), group or role, and those given besides."""
    if request.policy_exclusion_list:
        raise NotImplementedHere("PolicyExclusionList is not available in Cloudstead yet.")
    owner = _owner(ctx, request.policy_source_arn)
    sources = [*_sources(ctx, owner), *_inputs(request.policy_input_list, "PolicyInputList")]
    own_boundary = None
    if not isinstance(owner, Group) and owner.boundary:
        limit = Policies.of(ctx.cloud).managed(ctx.account, owner.boundary)
        own_boundary = Layer([limit] if limit is not None else [])
    principal = _caller(ctx, request.caller_arn or (request.policy_source_arn if not isinstance(owner, Group) else None))
    keys = _principal_keys(principal)
    if not isinstance(owner, Group) and request.caller_arn in (None, owner.arn):
        keys["aws:userid"] = (owner.user_id if isinstance(owner, User) else owner.role_id,)
        keys.update({f"aws:principaltag/{key.lower()}": (value,) for key, value in owner.tags.items()})
    policies = PolicySet(identity=Layer(sources), boundary=_boundary(request, own_boundary))
    results, marker = _simulate(ctx, request, Subject(principal, policies, keys))
    return api.SimulatePrincipalPolicyResponse(evaluation_results=results, is_truncated=marker is not None, marker=marker)


@operation(resource="*")
async def get_context_keys_for_custom_policy(
    ctx: Context, request: api.GetContextKeysForCustomPolicyRequest
) -> api.GetContextKeysForCustomPolicyResponse:
    """The condition keys and variables that the given policies ask for."""
    found = [key for text in request.policy_input_list for key in _parse(text, IDENTITY).context_keys]
    return api.GetContextKeysForCustomPolicyResponse(context_key_names=list(dict.fromkeys(found)))


@operation(resource=lambda ctx, request: request.policy_source_arn)
async def get_context_keys_for_principal_policy(
    ctx: Context, request: api.GetContextKeysForPrincipalPolicyRequest
) -> api.GetContextKeysForPrincipalPolicyResponse:
    """The condition keys and variables that the policies of a user, group or role ask for, and those given besides."""
    own = [source.policy for source in _sources(ctx, _owner(ctx, request.policy_source_arn))]
    given = [_parse(text, IDENTITY) for text in request.policy_input_list or ()]
    found = [key for policy in (*own, *given) for key in policy.context_keys]
    return api.GetContextKeysForPrincipalPolicyResponse(context_key_names=list(dict.fromkeys(found)))


# ---- whose policies


def _owner(ctx: Context, arn: str) -> User | Role | Group:
    """The user, role or group of an ARN.

    Raises:
        InvalidInputException, NoSuchEntityException
    """
    try:
        parsed = Arn.parse(arn)
    except ValueError:
        raise api.InvalidInputException(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.") from None
    name = parsed.name.rpartition("/")[2]
    if parsed.service != "iam" or parsed.kind not in ("user", "role", "group") or not name:
        raise api.InvalidInputException(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    owner: User | Role | Group | None
    if parsed.kind == "group":
        group = ctx.table(GROUPS).get((ctx.account, fold(name)))
        owner = group if group is not None and group.arn == arn else None
    else:
        owner = Policies.of(ctx.cloud).entity(arn)
    if owner is None or owner.account != ctx.account:
        raise api.NoSuchEntityException(f"The {parsed.kind} with name {name} cannot be found.")
    return owner


def _sources(ctx: Context, owner: User | Role | Group) -> list[Source]:
    policies = Policies.of(ctx.cloud)
    found = policies.sources(owner)
    for name in owner.groups if isinstance(owner, User) else ():
        group = ctx.table(GROUPS).get((ctx.account, fold(name)))
        if group is not None:
            found += policies.sources(group)
    return found


def _inputs(texts: Iterable[str] | None, name: str) -> list[Source]:
    return [Source(_parse(text, IDENTITY), f"{name}.{number}", "none") for number, text in enumerate(texts or (), 1)]


def _boundary(request: Simulation, own: Layer | None) -> Layer | None:
    """Given boundaries take the place of the principal's own."""
    given = request.permissions_boundary_policy_input_list
    return Layer(_inputs(given, "PermissionsBoundaryPolicyInputList")) if given else own


def _parse(text: str, kind: Kind) -> Policy:
    try:
        return parse(text, kind)
    except MalformedPolicy as malformed:
        raise api.InvalidInputException(f"The policy is not valid: {malformed}") from None


def _caller(ctx: Context, arn: str | None) -> Principal:
    """Whom resource policies are judged for; without an ARN somebody of this account whom none of them names."""
    if arn is None:
        return Principal(kind="user", account=ctx.account, arn="", entity="")
    try:
        parsed = Arn.parse(arn)
    except ValueError:
        raise api.InvalidInputException(f"Invalid caller ARN: {arn}") from None
    if (parsed.service, parsed.kind) == ("sts", "assumed-role"):
        role, _, _ = parsed.name.partition("/")
        entity = f"arn:{parsed.partition}:iam::{parsed.account}:role/{role}"
        return Principal(kind="assumed-role", account=parsed.account, arn=arn, entity=entity)
    if parsed.service != "iam" or not parsed.account:
        raise api.InvalidInputException(f"Invalid caller ARN: {arn}")
    kind = {"user": "user", "role": "assumed-role"}.get(parsed.kind, "root" if parsed.resource == "root" else "")
    if not kind:
        raise api.InvalidInputException(f"Invalid caller ARN: {arn}")
    return Principal(kind=kind, account=parsed.account, arn=arn, entity=arn, user_id=parsed.account if kind == "root" else "")


def _principal_keys(principal: Principal) -> Keys:
    if not principal.arn:
        return {}
    keys: Keys = {"aws:principalarn": (principal.entity,), "aws:principalaccount": (principal.account,)}
    if principal.kind == "user":
        keys["aws:username"] = (principal.arn.rpartition("/")[2],)
    return keys


# ---- the simulation


def _simulate(ctx: Context, request: Simulation, subject: Subject) -> tuple[list[api.EvaluationResult], str | None]:
    if request.resource_handling_option is not None:
        raise NotImplementedHere("ResourceHandlingOption is not available in Cloudstead yet.")
    keys = dict(subject.keys)
    for entry in request.context_entries or ():
        keys[(entry.context_key_name or "").lower()] = tuple(entry.context_key_values or ())
    policy = None if request.resource_policy is None else Source(_parse(request.resource_policy, RESOURCE), "ResourcePolicy", "resource")
    if policy is not None and request.caller_arn is None and not subject.principal.arn:
        raise api.InvalidInputException("CallerArn is required when ResourcePolicy is given.")
    questions = [
        (number, action, resource)
        for number, (action, resource) in enumerate((a, r) for a in request.action_names for r in request.resource_arns or ["*"])
    ]
    wanted, marker = page_of(
        ctx,
        questions,
        key=lambda question: question[0],
        request=request,
        token=request.marker,
        limit=request.max_items or PAGE,
        invalid=lambda: api.InvalidInputException("Invalid Marker."),
    )
    owner = _account(request.resource_owner)
    return [_result(subject, keys, policy, action, resource, owner) for _, action, resource in wanted], marker


def _result(subject: Subject, keys: Keys, policy: Source | None, action: str, resource: str, owner: str) -> api.EvaluationResult:
    question = AuthorizationRequest(
        principal=subject.principal,
        action=action,
        resource=resource,
        context=keys,
        resource_account=_account(resource) or owner or subject.principal.account,
        resource_policy=policy,
    )
    decision = evaluate(question, subject.policies, explain=True)
    boundary = subject.policies.boundary
    return api.EvaluationResult(
        eval_action_name=action,
        eval_resource_name=resource,
        eval_decision=decision.outcome,
        matched_statements=[_matched(one) for one in decision.matched if boundary is None or one.source not in boundary.sources],
        missing_context_values=_missing(question, subject.policies),
        permissions_boundary_decision_detail=None if boundary is None else _by_boundary(question, boundary),
    )


def _by_boundary(question: AuthorizationRequest, boundary: Layer) -> api.PermissionsBoundaryDecisionDetail:
    alone = msgspec.structs.replace(question, resource_policy=None, resource_account=question.principal.account)
    return api.PermissionsBoundaryDecisionDetail(allowed_by_permissions_boundary=evaluate(alone, PolicySet(identity=boundary)).allowed)


def _matched(one: Matched) -> api.Statement:
    start, end = statement_positions(one.source.policy.text)[one.statement.index]
    return api.Statement(
        source_policy_id=one.source.id,
        source_policy_type=cast(api.PolicySourceType, one.source.kind),
        start_position=_position(start),
        end_position=_position(end),
    )


def _position(position: Position) -> api.Position:
    return api.Position(line=position.line, column=position.column)


class _Recorder:
    """Condition keys that remember which were asked for in vain."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.missing: set[str] = set()

    def get(self, key: str, /) -> tuple[str, ...] | None:
        found = self.keys.get(key)
        if found is None:
            self.missing.add(key)
        return found


def _missing(question: AuthorizationRequest, policies: PolicySet) -> list[str]:
    """The keys that statements about this action and resource ask for and that were not given, as they are written there."""
    recorder = _Recorder(cast(Keys, question.context))
    spelled: dict[str, str] = {}
    layers: Sequence[Layer | None] = (policies.identity, policies.boundary)
    sources = [source for layer in layers if layer is not None for source in layer.sources]
    for source in (*sources, *([question.resource_policy] if question.resource_policy else [])):
        spelled.update({key.lower(): key for key in source.policy.context_keys})
        for statement in source.policy.about(question.action):
            if statement.resources is None or statement.resources.matches(question.resource, recorder) is not statement.not_resources:
                for holds in statement.conditions:
                    holds(recorder)
    return sorted(spelled.get(key, key) for key in recorder.missing)


def _account(arn: str | None) -> str:
    """The account that an ARN names, or that is given as such."""
    parts = (arn or "").split(":", 5)
    account = parts[4] if len(parts) == 6 else parts[0]
    return account if account.isdigit() else ""
