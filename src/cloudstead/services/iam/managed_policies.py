"""Managed policies: those of the account and, to be read, those of AWS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from cloudstead.kernel import ids
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import AccessDenied, ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.policy import MANAGED
from cloudstead.kernel.tags import to_list
from cloudstead.services.iam import api, arns, aws_managed, rules
from cloudstead.services.iam.model import GROUPS, POLICIES, ROLES, USERS, ManagedPolicy, PolicyVersion, fold


def find(ctx: Context, arn: str) -> ManagedPolicy | None:
    """The policy of an ARN: one of this account, or one of AWS's.

    Raises:
        ValidationFailed, InvalidInputException: it is none of a policy.
    """
    try:
        parsed = Arn.parse(arn)
    except ValueError:
        raise ValidationFailed(f"ARN {arn} is not valid.") from None
    if parsed.service != "iam" or parsed.kind != "policy":
        raise api.InvalidInputException(f"ARN {arn} is not valid.")
    if parsed.account == aws_managed.ACCOUNT:
        return aws_managed.find(arn)
    row: ManagedPolicy | None = ctx.table(POLICIES).find("by_arn", (ctx.account, arn))
    return row


def require(ctx: Context, arn: str) -> ManagedPolicy:
    """
    Raises:
        NoSuchEntityException, ValidationFailed, InvalidInputException
    """
    policy = find(ctx, arn)
    if policy is None:
        raise not_found(arn)
    return policy


def require_own(ctx: Context, arn: str, to: str = "update policies") -> ManagedPolicy:
    """A policy that the account may change; AWS's own nobody may.

    Args:
        to: what is refused of those, in the words of the refusal.

    Raises:
        NoSuchEntityException, ValidationFailed, InvalidInputException, AccessDenied
    """
    policy = require(ctx, arn)
    if policy.account == aws_managed.ACCOUNT:
        raise AccessDenied(f"Cannot {to} outside your own account.")
    return policy


def require_attachable(ctx: Context, arn: str) -> ManagedPolicy:
    """
    Raises:
        NoSuchEntityException, ValidationFailed, InvalidInputException
    """
    policy = find(ctx, arn)
    if policy is None:
        raise api.NoSuchEntityException(f"Policy {arn} does not exist or is not attachable.")
    return policy


def not_found(arn: str) -> api.NoSuchEntityException:
    return api.NoSuchEntityException(f"Policy {arn} was not found.")


# ---- boundaries


def require_boundary(ctx: Context, arn: str | None) -> str:
    """The ARN of a policy that is to be a boundary, checked; empty when none is wanted.

    Raises:
        NoSuchEntityException, InvalidInputException, ValidationFailed
    """
    if arn is None:
        return ""
    policy = find(ctx, arn)
    if policy is None:
        raise api.NoSuchEntityException(f"Scope ARN: {arn} does not exist or is not attachable.")
    return policy.arn


def boundary(arn: str) -> api.AttachedPermissionsBoundary | None:
    if not arn:
        return None
    # The model knows of "PermissionsBoundaryPolicy" alone, and AWS answers "Policy".
    return api.AttachedPermissionsBoundary(permissions_boundary_type=cast(Any, "Policy"), permissions_boundary_arn=arn)


# ---- describing


def attachments(ctx: Context, arn: str) -> int:
    """How many users, groups and roles of the account have the policy."""
    return sum(ctx.table(table).count((ctx.account, arn), index="by_policy") for table in (USERS, GROUPS, ROLES))


def boundaries(ctx: Context, arn: str) -> int:
    """How many users and roles of the account have the policy as their boundary."""
    return sum(ctx.table(table).count((ctx.account, arn), index="by_boundary") for table in (USERS, ROLES))


def describe(ctx: Context, policy: ManagedPolicy) -> api.Policy:
    """A policy as lists show it: without description and tags."""
    return api.Policy(
        policy_name=policy.name,
        policy_id=policy.policy_id,
        arn=policy.arn,
        path=policy.path,
        default_version_id=policy.default_version,
        attachment_count=attachments(ctx, policy.arn),
        permissions_boundary_usage_count=boundaries(ctx, policy.arn),
        is_attachable=True,
        create_date=policy.created,
        update_date=policy.updated,
    )


# ---- operations


@operation(resource=arns.new("policy", "policy_name"))
async def create_policy(ctx: Context, request: api.CreatePolicyRequest) -> api.CreatePolicyResponse:
    """Create a policy with its first version."""
    check(ctx, request.policy_document)
    if ctx.table(POLICIES).get((ctx.account, fold(request.policy_name))) is not None:
        raise api.EntityAlreadyExistsException(f"A policy called {request.policy_name} already exists. Duplicate names are not allowed.")
    rules.within_quota(ctx, "policies", ctx.table(POLICIES).count((ctx.account,)))
    path, now = request.path or "/", ctx.now()
    policy = ManagedPolicy(
        account=ctx.account,
        name=request.policy_name,
        policy_id=ids.unique_id(ids.POLICY),
        arn=arns.arn_of(ctx.account, "policy", request.policy_name, path),
        created=now,
        updated=now,
        versions=(PolicyVersion(version_id="v1", document=request.policy_document, created=now),),
        default_version="v1",
        path=path,
        description=request.description or "",
        tags=rules.tags_from(request.tags, POLICIES),
    )
    with ctx.transaction() as tx:
        tx.insert(POLICIES, policy)
    answer = describe(ctx, policy)
    answer.tags = rules.tag_list(policy.tags)
    return api.CreatePolicyResponse(policy=answer)


def check(ctx: Context, document: str) -> None:
    """
    Raises:
        MalformedPolicyDocumentException, LimitExceededException
    """
    rules.check_document(document, MANAGED)
    if rules.size(document) > (limit := rules.quota(ctx, "policy_size")):
        raise api.LimitExceededException(f"Cannot exceed quota for PolicySize: {limit}")


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def get_policy(ctx: Context, request: api.GetPolicyRequest) -> api.GetPolicyResponse:
    policy = require(ctx, request.policy_arn)
    answer = describe(ctx, policy)
    answer.description = policy.description or None
    answer.tags = to_list(policy.tags, api.Tag)
    return api.GetPolicyResponse(policy=answer)


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def delete_policy(ctx: Context, request: api.DeletePolicyRequest) -> api.DeletePolicyResponse:
    """Delete a policy that nobody has, and that has no version but the default one."""
    policy = require_own(ctx, request.policy_arn, "delete policies")
    if attachments(ctx, policy.arn) or boundaries(ctx, policy.arn):
        raise api.DeleteConflictException("Cannot delete a policy attached to entities.")
    if len(policy.versions) > 1:
        raise api.DeleteConflictException(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions."
            " The default version is deleted with the policy."
        )
    with ctx.transaction() as tx:
        tx.delete(POLICIES, POLICIES.key(policy))
    return api.DeletePolicyResponse()


@operation(resource="*")
async def list_policies(ctx: Context, request: api.ListPoliciesRequest) -> api.ListPoliciesResponse:
    """The policies below a path: the account's, AWS's or both; all, or those that somebody has."""
    arns_found, marker = rules.page_of(ctx, request, _matching(ctx, request), key=_by_name)
    answers = [describe(ctx, require(ctx, arn)) for arn in arns_found]
    return api.ListPoliciesResponse(policies=answers, is_truncated=marker is not None, marker=marker)


def _by_name(arn: str) -> tuple[str, str]:
    """The order of lists; short, for it goes into markers."""
    return arn.rpartition("/")[2], arn.split(":", 5)[4]


def _matching(ctx: Context, request: api.ListPoliciesRequest) -> Iterator[str]:
    """ARNs. Whether somebody has a policy is asked of the indexes, so that AWS's 1,600 are not read for it."""
    scope, prefix = request.scope or "All", request.path_prefix or "/"
    usage = request.policy_usage_filter
    candidates: Iterable[str] = ()
    if scope in ("All", "Local"):
        candidates = [policy.arn for policy in ctx.table(POLICIES).scan((ctx.account,)) if policy.path.startswith(prefix)]
    if scope in ("All", "AWS"):
        candidates = [*candidates, *aws_managed.every(prefix)]
    for arn in candidates:
        used = {"PermissionsPolicy": attachments, "PermissionsBoundary": boundaries}.get(usage or "")
        if used is not None and not used(ctx, arn):
            continue
        if request.only_attached and not (attachments(ctx, arn) or boundaries(ctx, arn)):
            continue
        yield arn
