"""Managed policies attached to users, groups and roles."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Table
from cloudstead.services.iam import api, arns, aws_managed, conditions, groups, managed_policies, roles, rules, users
from cloudstead.services.iam.model import GROUPS, ROLES, USERS, Group, Role, User

Owner: TypeAlias = User | Group | Role
O = TypeVar("O", User, Group, Role)  # noqa: E741 (the owner)


def _attach(ctx: Context, table: Table[O], owner: O, arn: str) -> None:
    """Attach a policy; no more happens when it is attached already."""
    policy = managed_policies.require_attachable(ctx, arn)
    if policy.arn in owner.attached:
        return
    if policy.account == aws_managed.ACCOUNT and policy.path == aws_managed.SERVICE_ROLES:
        raise api.PolicyNotAttachableException("Cannot attach a Service Role Policy to a Customer Role.")
    rules.within_quota(ctx, f"policies_per_{type(owner).__name__.lower()}", len(owner.attached))
    with ctx.transaction() as tx:
        tx.update(table, owner, attached=(*owner.attached, policy.arn))


def _detach(ctx: Context, table: Table[O], owner: O, arn: str) -> None:
    if arn not in owner.attached:
        managed_policies.find(ctx, arn)  # refuses what is no ARN of a policy
        raise managed_policies.not_found(arn)
    with ctx.transaction() as tx:
        tx.update(table, owner, attached=tuple(one for one in owner.attached if one != arn))


def attached(owner: Owner, path_prefix: str = "/") -> list[api.AttachedPolicy]:
    """What is attached, below a path of policies."""
    return [
        api.AttachedPolicy(policy_name=arn.rpartition("/")[2], policy_arn=arn)
        for arn in owner.attached
        if arn.partition(":policy")[2].startswith(path_prefix)
    ]


def name_of(policy: api.AttachedPolicy) -> str:
    return policy.policy_name or ""


# ---- users


@operation(resource=arns.user, resource_tags=arns.user_tags, conditions=conditions.user_policy)
async def attach_user_policy(ctx: Context, request: api.AttachUserPolicyRequest) -> api.AttachUserPolicyResponse:
    _attach(ctx, USERS, users.require(ctx, request.user_name), request.policy_arn)
    return api.AttachUserPolicyResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags, conditions=conditions.user_policy)
async def detach_user_policy(ctx: Context, request: api.DetachUserPolicyRequest) -> api.DetachUserPolicyResponse:
    _detach(ctx, USERS, users.require(ctx, request.user_name), request.policy_arn)
    return api.DetachUserPolicyResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_attached_user_policies(ctx: Context, request: api.ListAttachedUserPoliciesRequest) -> api.ListAttachedUserPoliciesResponse:
    there = attached(users.require(ctx, request.user_name), request.path_prefix or "/")
    found, marker = rules.page_of(ctx, request, there, key=name_of)
    return api.ListAttachedUserPoliciesResponse(attached_policies=found, is_truncated=marker is not None, marker=marker)


# ---- groups


@operation(resource=arns.group, conditions=conditions.policy)
async def attach_group_policy(ctx: Context, request: api.AttachGroupPolicyRequest) -> api.AttachGroupPolicyResponse:
    _attach(ctx, GROUPS, groups.require(ctx, request.group_name), request.policy_arn)
    return api.AttachGroupPolicyResponse()


@operation(resource=arns.group, conditions=conditions.policy)
async def detach_group_policy(ctx: Context, request: api.DetachGroupPolicyRequest) -> api.DetachGroupPolicyResponse:
    _detach(ctx, GROUPS, groups.require(ctx, request.group_name), request.policy_arn)
    return api.DetachGroupPolicyResponse()


@operation(resource=arns.group)
async def list_attached_group_policies(
    ctx: Context, request: api.ListAttachedGroupPoliciesRequest
) -> api.ListAttachedGroupPoliciesResponse:
    there = attached(groups.require(ctx, request.group_name), request.path_prefix or "/")
    found, marker = rules.page_of(ctx, request, there, key=name_of)
    return api.ListAttachedGroupPoliciesResponse(attached_policies=found, is_truncated=marker is not None, marker=marker)


# ---- roles


@operation(resource=arns.role, resource_tags=arns.role_tags, conditions=conditions.role_policy)
async def attach_role_policy(ctx: Context, request: api.AttachRolePolicyRequest) -> api.AttachRolePolicyResponse:
    _attach(ctx, ROLES, roles.require_own(ctx, request.role_name), request.policy_arn)
    return api.AttachRolePolicyResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags, conditions=conditions.role_policy)
async def detach_role_policy(ctx: Context, request: api.DetachRolePolicyRequest) -> api.DetachRolePolicyResponse:
    _detach(ctx, ROLES, roles.require_own(ctx, request.role_name), request.policy_arn)
    return api.DetachRolePolicyResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def list_attached_role_policies(ctx: Context, request: api.ListAttachedRolePoliciesRequest) -> api.ListAttachedRolePoliciesResponse:
    there = attached(roles.require(ctx, request.role_name), request.path_prefix or "/")
    found, marker = rules.page_of(ctx, request, there, key=name_of)
    return api.ListAttachedRolePoliciesResponse(attached_policies=found, is_truncated=marker is not None, marker=marker)
