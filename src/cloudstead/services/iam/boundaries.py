"""Permissions boundaries: the most that a user or role may be allowed."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, conditions, managed_policies, roles, users
from cloudstead.services.iam.model import ROLES, USERS


@operation(resource=arns.user, resource_tags=arns.user_tags, conditions=conditions.new_boundary)
async def put_user_permissions_boundary(
    ctx: Context, request: api.PutUserPermissionsBoundaryRequest
) -> api.PutUserPermissionsBoundaryResponse:
    user = users.require(ctx, request.user_name)
    boundary = managed_policies.require_boundary(ctx, request.permissions_boundary)
    with ctx.transaction() as tx:
        tx.update(USERS, user, boundary=boundary)
    return api.PutUserPermissionsBoundaryResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags, conditions=conditions.user_boundary)
async def delete_user_permissions_boundary(
    ctx: Context, request: api.DeleteUserPermissionsBoundaryRequest
) -> api.DeleteUserPermissionsBoundaryResponse:
    user = users.require(ctx, request.user_name)
    if not user.boundary:
        raise api.NoSuchEntityException(f"The permissions boundary of user {user.name} cannot be found.")
    with ctx.transaction() as tx:
        tx.update(USERS, user, boundary="")
    return api.DeleteUserPermissionsBoundaryResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags, conditions=conditions.new_boundary)
async def put_role_permissions_boundary(
    ctx: Context, request: api.PutRolePermissionsBoundaryRequest
) -> api.PutRolePermissionsBoundaryResponse:
    role = roles.require_own(ctx, request.role_name)
    boundary = managed_policies.require_boundary(ctx, request.permissions_boundary)
    with ctx.transaction() as tx:
        tx.update(ROLES, role, boundary=boundary)
    return api.PutRolePermissionsBoundaryResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags, conditions=conditions.role_boundary)
async def delete_role_permissions_boundary(
    ctx: Context, request: api.DeleteRolePermissionsBoundaryRequest
) -> api.DeleteRolePermissionsBoundaryResponse:
    role = roles.require_own(ctx, request.role_name)
    if not role.boundary:
        raise api.NoSuchEntityException(f"The permissions boundary of role {role.name} cannot be found.")
    with ctx.transaction() as tx:
        tx.update(ROLES, role, boundary="")
    return api.DeleteRolePermissionsBoundaryResponse()
