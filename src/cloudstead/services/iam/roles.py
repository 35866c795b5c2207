"""Roles."""

from __future__ import annotations

from typing import Any, Final

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, conditions, managed_policies, rules, users
from cloudstead.services.iam.credentials import Keys
from cloudstead.services.iam.model import INSTANCE_PROFILES, ROLES, Role, fold

SERVICE_LINKED: Final = "/aws-service-role/"  # the path of the roles that services keep for themselves


def find(ctx: Context, name: str) -> Role | None:
    row: Role | None = ctx.table(ROLES).get((ctx.account, fold(name)))
    return row


def require(ctx: Context, name: str) -> Role:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, name)
    if row is None:
        raise api.NoSuchEntityException(f"The role with name {name} cannot be found.")
    return row


def require_own(ctx: Context, name: str) -> Role:
    """A role that the account may change: not one of those that services keep.

    Raises:
        NoSuchEntityException, UnmodifiableEntityException
    """
    role = require(ctx, name)
    if is_service_linked(role):
        raise api.UnmodifiableEntityException(
            f"Cannot perform the operation on the protected role '{role.name}' - this role is only modifiable by AWS"
        )
    return role


def is_service_linked(role: Role) -> bool:
    return role.path.startswith(SERVICE_LINKED)


def describe(role: Role) -> api.Role:
    """A role as the answers about its making and within instance profiles show it."""
    return api.Role(
        path=role.path,
        role_name=role.name,
        role_id=role.role_id,
        arn=role.arn,
        create_date=role.created,
        assume_role_policy_document=rules.encoded(role.trust_policy),
        description=role.description or None,
    )


def in_full(ctx: Context, role: Role) -> api.Role:
    """A role as GetRole shows it."""
    answer = describe(role)
    answer.max_session_duration = role.max_session_duration
    answer.permissions_boundary = managed_policies.boundary(role.boundary)
    answer.tags = rules.tag_list(role.tags)
    answer.role_last_used = last_used(ctx, role)
    return answer


def last_used(ctx: Context, role: Role) -> api.RoleLastUsed:
    use = Keys.of(ctx.cloud).last_use(role.account, role.arn)
    return api.RoleLastUsed() if use is None else api.RoleLastUsed(last_used_date=use.at, region=use.region)


@operation(resource=arns.new("role", "role_name"), conditions=conditions.new_boundary)
async def create_role(ctx: Context, request: api.CreateRoleRequest) -> api.CreateRoleResponse:
    """Create a role with its trust policy; it may do nothing yet."""
    path = request.path or "/"
    if path.startswith(SERVICE_LINKED):
        raise ValidationFailed(f"The path {SERVICE_LINKED} is reserved for service-linked roles.")
    rules.check_trust_policy(ctx, request.assume_role_policy_document)
    role = new(
        ctx,
        name=request.role_name,
        trust_policy=request.assume_role_policy_document,
        path=path,
        description=request.description or "",
        max_session_duration=request.max_session_duration or 3600,
        boundary=managed_policies.require_boundary(ctx, request.permissions_boundary),
        tags=rules.tags_from(request.tags, ROLES),
    )
    with ctx.transaction() as tx:
        tx.insert(ROLES, role)
    answer = describe(role)
    answer.description = None  # AWS does not repeat it here
    answer.permissions_boundary, answer.tags = managed_policies.boundary(role.boundary), rules.tag_list(role.tags)
    return api.CreateRoleResponse(role=answer)


def new(ctx: Context, *, name: str, path: str, **details: Any) -> Role:
    """A role, not yet written.

    Raises:
        EntityAlreadyExistsException, LimitExceededException
    """
    if find(ctx, name) is not None:
        raise api.EntityAlreadyExistsException(f"Role with name {name} already exists.")
    rules.within_quota(ctx, "roles", ctx.table(ROLES).count((ctx.account,)))
    arn = arns.arn_of(ctx.account, "role", name, path)
    return Role(account=ctx.account, name=name, role_id=ids.unique_id(ids.ROLE), arn=arn, created=ctx.now(), path=path, **details)


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def get_role(ctx: Context, request: api.GetRoleRequest) -> api.GetRoleResponse:
    return api.GetRoleResponse(role=in_full(ctx, require(ctx, request.role_name)))


@operation(resource=arns.listed("role"))
async def list_roles(ctx: Context, request: api.ListRolesRequest) -> api.ListRolesResponse:
    """The roles below a path."""
    found, marker = rules.page(ctx, ROLES, request, where=rules.below(request.path_prefix))
    answers = []
    for role in found:
        answer = describe(role)
        answer.max_session_duration = role.max_session_duration
        answers.append(answer)
    return api.ListRolesResponse(roles=answers, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def update_role(ctx: Context, request: api.UpdateRoleRequest) -> api.UpdateRoleResponse:
    """Change what the role is said to be for, and how long its sessions may last. Of a service-linked role only the former."""
    own = request.max_session_duration is not None
    role = require_own(ctx, request.role_name) if own else require(ctx, request.role_name)
    description = role.description if request.description is None else request.description
    with ctx.transaction() as tx:
        tx.update(ROLES, role, description=description, max_session_duration=request.max_session_duration or role.max_session_duration)
    return api.UpdateRoleResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def update_role_description(ctx: Context, request: api.UpdateRoleDescriptionRequest) -> api.UpdateRoleDescriptionResponse:
    role = require(ctx, request.role_name)
    with ctx.transaction() as tx:
        role = tx.update(ROLES, role, description=request.description)
    return api.UpdateRoleDescriptionResponse(role=describe(role))


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def update_assume_role_policy(ctx: Context, request: api.UpdateAssumeRolePolicyRequest) -> api.UpdateAssumeRolePolicyResponse:
    """Change who may assume the role."""
    role = require_own(ctx, request.role_name)
    rules.check_trust_policy(ctx, request.policy_document)
    with ctx.transaction() as tx:
        tx.update(ROLES, role, trust_policy=request.policy_document)
    return api.UpdateAssumeRolePolicyResponse()


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def delete_role(ctx: Context, request: api.DeleteRoleRequest) -> api.DeleteRoleResponse:
    """Delete a role without policies and instance profiles."""
    role = require_own(ctx, request.role_name)
    for what, present in (
        (
            "must remove roles from instance profile first.",
            ctx.table(INSTANCE_PROFILES).count((role.account, fold(role.name)), index="by_role"),
        ),
        ("must detach all policies first.", role.attached),
        ("must delete policies first.", role.inline),
    ):
        if present:
            raise api.DeleteConflictException(f"Cannot delete entity, {what}")
    with ctx.transaction() as tx:
        tx.delete(ROLES, ROLES.key(role))
        users.forget_uses(ctx, tx, role.arn)
    return api.DeleteRoleResponse()
