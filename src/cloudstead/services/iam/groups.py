"""Groups, and who is in them. A membership stands in the user's row."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, rules, users
from cloudstead.services.iam.model import GROUPS, USERS, Group, User, fold


def find(ctx: Context, name: str) -> Group | None:
    row: Group | None = ctx.table(GROUPS).get((ctx.account, fold(name)))
    return row


def require(ctx: Context, name: str) -> Group:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, name)
    if row is None:
        raise api.NoSuchEntityException(f"The group with name {name} cannot be found.")
    return row


def describe(group: Group) -> api.Group:
    return api.Group(path=group.path, group_name=group.name, group_id=group.group_id, arn=group.arn, create_date=group.created)


def members(ctx: Context, group: Group) -> list[User]:
    return ctx.table(USERS).scan((group.account, fold(group.name)), index="by_group")


@operation(resource=arns.new("group", "group_name"))
async def create_group(ctx: Context, request: api.CreateGroupRequest) -> api.CreateGroupResponse:
    """Create an empty group."""
    if find(ctx, request.group_name) is not None:
        raise api.EntityAlreadyExistsException(f"Group with name {request.group_name} already exists.")
    rules.within_quota(ctx, "groups", ctx.table(GROUPS).count((ctx.account,)))
    path = request.path or "/"
    group = Group(
        account=ctx.account,
        name=request.group_name,
        group_id=ids.unique_id(ids.GROUP),
        arn=arns.arn_of(ctx.account, "group", request.group_name, path),
        created=ctx.now(),
        path=path,
    )
    with ctx.transaction() as tx:
        tx.insert(GROUPS, group)
    return api.CreateGroupResponse(group=describe(group))


@operation(resource=arns.group)
async def get_group(ctx: Context, request: api.GetGroupRequest) -> api.GetGroupResponse:
    """A group and, page by page, its users."""
    group = require(ctx, request.group_name)
    found, marker = rules.page_of(ctx, request, members(ctx, group), key=lambda user: fold(user.name))
    return api.GetGroupResponse(
        group=describe(group),
        users=[users.describe(user, details=False) for user in found],
        is_truncated=marker is not None,
        marker=marker,
    )


@operation(resource=arns.listed("group"))
async def list_groups(ctx: Context, request: api.ListGroupsRequest) -> api.ListGroupsResponse:
    """The groups below a path."""
    found, marker = rules.page(ctx, GROUPS, request, where=rules.below(request.path_prefix))
    return api.ListGroupsResponse(groups=[describe(group) for group in found], is_truncated=marker is not None, marker=marker)


def _updated(ctx: Context, request: Any) -> list[str]:
    """Renaming needs leave for the old and for the new name."""
    old = arns.group(ctx, request)
    row = find(ctx, request.group_name)
    path = request.new_path or (row.path if row else "/")
    new = arns.arn_of(ctx.account, "group", request.new_group_name or request.group_name, path)
    return [old] if new == old else [old, new]


@operation(resource=_updated)
async def update_group(ctx: Context, request: api.UpdateGroupRequest) -> api.UpdateGroupResponse:
    """Give a group another name or path; its users and policies stay."""
    group = require(ctx, request.group_name)
    name, path = request.new_group_name or group.name, request.new_path or group.path
    taken = find(ctx, name)
    if taken is not None and taken.group_id != group.group_id:
        raise api.EntityAlreadyExistsException(f"Group with name {name} already exists.")
    inside = members(ctx, group)
    with ctx.transaction() as tx:
        tx.delete(GROUPS, GROUPS.key(group))
        tx.insert(GROUPS, replace(group, name=name, path=path, arn=arns.arn_of(ctx.account, "group", name, path)))
        for user in inside:
            tx.update(USERS, user, groups=tuple(name if fold(one) == fold(group.name) else one for one in user.groups))
    return api.UpdateGroupResponse()


@operation(resource=arns.group)
async def delete_group(ctx: Context, request: api.DeleteGroupRequest) -> api.DeleteGroupResponse:
    """Delete a group without users and policies."""
    group = require(ctx, request.group_name)
    for what, present in (
        ("must remove users from group first.", members(ctx, group)),
        ("must delete policies first.", group.inline),
        ("must detach all policies first.", group.attached),
    ):
        if present:
            raise api.DeleteConflictException(f"Cannot delete entity, {what}")
    with ctx.transaction() as tx:
        tx.delete(GROUPS, GROUPS.key(group))
    return api.DeleteGroupResponse()


@operation(resource=arns.group)
async def add_user_to_group(ctx: Context, request: api.AddUserToGroupRequest) -> api.AddUserToGroupResponse:
    """Put a user into a group; no more happens when it is there already."""
    group = require(ctx, request.group_name)
    user = users.require(ctx, request.user_name)
    if _is_in(user, group):
        return api.AddUserToGroupResponse()
    rules.within_quota(ctx, "groups_per_user", len(user.groups))
    with ctx.transaction() as tx:
        tx.update(USERS, user, groups=(*user.groups, group.name))
    return api.AddUserToGroupResponse()


@operation(resource=arns.group)
async def remove_user_from_group(ctx: Context, request: api.RemoveUserFromGroupRequest) -> api.RemoveUserFromGroupResponse:
    """Take a user out of a group; one that is not in it is out of it."""
    user = users.require(ctx, request.user_name)
    group = require(ctx, request.group_name)
    if _is_in(user, group):
        with ctx.transaction() as tx:
            tx.update(USERS, user, groups=tuple(name for name in user.groups if fold(name) != fold(group.name)))
    return api.RemoveUserFromGroupResponse()


def _is_in(user: User, group: Group) -> bool:
    return any(fold(name) == fold(group.name) for name in user.groups)


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_groups_for_user(ctx: Context, request: api.ListGroupsForUserRequest) -> api.ListGroupsForUserResponse:
    """The groups that a user is in."""
    user = users.require(ctx, request.user_name)
    inside = [require(ctx, name) for name in user.groups]
    found, marker = rules.page_of(ctx, request, inside, key=lambda group: fold(group.name))
    return api.ListGroupsForUserResponse(groups=[describe(group) for group in found], is_truncated=marker is not None, marker=marker)
