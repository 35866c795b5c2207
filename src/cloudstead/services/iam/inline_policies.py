"""Inline policies: those that stand within a user, group or role and go with it."""

from __future__ import annotations

from typing import Final, TypeAlias, TypeVar

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.policy import IDENTITY
from cloudstead.kernel.store import Table
from cloudstead.services.iam import api, arns, conditions, groups, roles, rules, users
from cloudstead.services.iam.model import GROUPS, ROLES, USERS, Group, Role, User, fold

Owner: TypeAlias = User | Group | Role
O = TypeVar("O", User, Group, Role)  # noqa: E741 (the owner)

LONGEST: Final = {"user": 2048, "group": 5120, "role": 10240}
"""Characters of all inline policies of one together; these quotas cannot be changed."""


def _kind(owner: Owner) -> str:
    return type(owner).__name__.lower()


def _name(owner: Owner, name: str) -> str | None:
    """As which the owner has a policy of that name; case does not matter."""
    return next((known for known in owner.inline if fold(known) == fold(name)), None)


def _require(owner: Owner, name: str) -> tuple[str, str]:
    """Name and document.

    Raises:
        NoSuchEntityException
    """
    known = _name(owner, name)
    if known is None:
        raise api.NoSuchEntityException(f"The {_kind(owner)} policy with name {name} cannot be found.")
    return known, owner.inline[known]


def _put(ctx: Context, table: Table[O], owner: O, name: str, document: str) -> None:
    rules.check_document(document, IDENTITY)
    inline = {known: text for known, text in owner.inline.items() if fold(known) != fold(name)} | {name: document}
    longest = LONGEST[_kind(owner)]
    if sum(map(rules.size, inline.values())) > longest:
        raise api.LimitExceededException(f"Maximum policy size of {longest} bytes exceeded for {_kind(owner)} {owner.name}")
    with ctx.transaction() as tx:
        tx.update(table, owner, inline=inline)


def _delete(ctx: Context, table: Table[O], owner: O, name: str) -> None:
    gone, _ = _require(owner, name)
    with ctx.transaction() as tx:
        tx.update(table, owner, inline={known: text for known, text in owner.inline.items() if known != gone})


# ---- users


@operation(resource=arns.user, resource_tags=arns.user_tags, conditions=conditions.user_boundary)
async def put_user_policy(ctx: Context, request: api.PutUserPolicyRequest) -> api.PutUserPolicyResponse:
    """Give a user an inline policy, or another document to one that it has."""
    _put(ctx, USERS, users.require(ctx, request.user_name), request.policy_name, request.policy_document)
    return api.PutUserPolicyResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def get_user_policy(ctx: Context, request: api.GetUserPolicyRequest) -> api.GetUserPolicyResponse:
    user = users.require(ctx, request.user_name)
    name, document = _require(user, request.policy_name)
    return api.GetUserPolicyResponse(user_name=user.name, policy_name=name, policy_document=rules.encoded(document))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_user_policies(ctx: Context, request: api.ListUserPoliciesRequest) -> api.ListUserPoliciesResponse:
    """The names of the user's inline policies."""
    found, marker = rules.page_of(ctx, request, users.require(ctx, request.user_name).inline, key=str)
    return api.ListUserPoliciesResponse(policy_names=found, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.user, resource_tags=arns.user_tags, conditions=conditions.user_boundary)
async def delete_user_policy(ctx: Context, request: api.DeleteUserPolicyRequest) -> api.DeleteUserPolicyResponse:
    _delete(ctx, USERS, users.require(ctx, request.user_name), request.policy_name)
    return api.DeleteUserPolicyResponse()


# ---- groups


@operation(resource=arns.group)
async def put_group_policy(ctx: Context, request: api.PutGroupPolicyRequest) -> api.PutGroupPolicyResponse:
    """Give a group an inline policy, or another document to one that it has."""
    _put(ctx, GROUPS, groups.require(ctx, request.group_name), request.policy_name, request.policy_document)
    return api.PutGroupPolicyResponse()


@operation(resource=arns.group)
async def get_group_policy(ctx: Context, request: api.GetGroupPolicyRequest) -> api.GetGroupPolicyResponse:
    group = groups.require(ctx, request.group_name)
    name, document = _require(group, request.policy_name)
    return api.GetGroupPolicyResponse(group_name=group.name, policy_name=name, policy_document=rules.encoded(document))


@operation(resource=arns.group)
async def list_group_policies(ctx: Context, request: api.ListGroupPoliciesRequest) -> api.ListGroupPoliciesResponse:
    """The names of the group's inline policies."""
    found, marker = rules.page_of(ctx, request, groups.require(ctx, request.group_name).inline, key=str)
    return api.ListGroupPoliciesResponse(policy_names=found, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.group)
async def delete_group_policy(ctx: Context, request: api.DeleteGroupPolicyRequest) -> api.DeleteGroupPolicyResponse:
    _delete(ctx, GROUPS, groups.require(ctx, request.group_name), request.policy_name)
    return api.DeleteGroupPolicyResponse()


# ---- roles


@operation(resource=arns.role, resource_tags=arns.role_tags, conditions=conditions.role_boundary)
async def put_role_policy(ctx: Context, request: api.PutRolePolicyRequest) -> api.PutRolePolicyResponse:
    """Give a role an inline policy, or another document to one that it has."""
    _put(ctx, ROLES, roles.require_own(ctx, request.role_name), request.policy_name, request.policy_document)
    return api.PutRolePolicyResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def get_role_policy(ctx: Context, request: api.GetRolePolicyRequest) -> api.GetRolePolicyResponse:
    role = roles.require(ctx, request.role_name)
    name, document = _require(role, request.policy_name)
    return api.GetRolePolicyResponse(role_name=role.name, policy_name=name, policy_document=rules.encoded(document))


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def list_role_policies(ctx: Context, request: api.ListRolePoliciesRequest) -> api.ListRolePoliciesResponse:
    """The names of the role's inline policies."""
    found, marker = rules.page_of(ctx, request, roles.require(ctx, request.role_name).inline, key=str)
    return api.ListRolePoliciesResponse(policy_names=found, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.role, resource_tags=arns.role_tags, conditions=conditions.role_boundary)
async def delete_role_policy(ctx: Context, request: api.DeleteRolePolicyRequest) -> api.DeleteRolePolicyResponse:
    _delete(ctx, ROLES, roles.require_own(ctx, request.role_name), request.policy_name)
    return api.DeleteRolePolicyResponse()
