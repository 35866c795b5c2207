"""Users."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Table, Transaction
from cloudstead.services.iam import api, arns, conditions, managed_policies, rules
from cloudstead.services.iam.credentials import Keys
from cloudstead.services.iam.model import (
    ACCESS_KEYS,
    LOGIN_PROFILES,
    MFA_DEVICES,
    SERVICE_CREDENTIALS,
    SIGNING_CERTIFICATES,
    SSH_PUBLIC_KEYS,
    USERS,
    USES,
    User,
    fold,
)


def find(ctx: Context, name: str) -> User | None:
    row: User | None = ctx.table(USERS).get((ctx.account, fold(name)))
    return row


def require(ctx: Context, name: str) -> User:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, name)
    if row is None:
        raise api.NoSuchEntityException(f"The user with name {name} cannot be found.")
    return row


def named_or_caller(ctx: Context, name: str | None) -> User | None:
    """The user of that name; without a name the one that calls, or None for the root user.

    Raises:
        NoSuchEntityException
        ValidationFailed: it is neither a user nor root that calls.
    """
    if name is not None:
        return require(ctx, name)
    caller = ctx.identity
    if caller.kind == "root":
        return None
    if caller.kind != "user":
        raise ValidationFailed("Must specify userName when calling with non-User credentials")
    return require(ctx, caller.arn.rpartition("/")[2])


def user_or_caller(ctx: Context, name: str | None) -> User:
    """As `named_or_caller`, for what the root user does not have.

    Raises:
        NoSuchEntityException, ValidationFailed
    """
    user = named_or_caller(ctx, name)
    if user is None:
        raise ValidationFailed("Must specify userName when calling with non-User credentials")
    return user


def describe(user: User, *, details: bool = True) -> api.User:
    """A user as GetUser shows it; lists show it without `details`: tags and boundary."""
    return api.User(
        path=user.path,
        user_name=user.name,
        user_id=user.user_id,
        arn=user.arn,
        create_date=user.created,
        password_last_used=user.password_last_used,
        permissions_boundary=managed_policies.boundary(user.boundary) if details else None,
        tags=rules.tag_list(user.tags) if details else None,
    )


def _root(ctx: Context) -> api.User:
    """The root user, who has no row, and as AWS shows it neither name nor path."""
    account, root = ctx.account, arns.account_arn(ctx.account)
    keys = ctx.table(ACCESS_KEYS).scan((account, ""), index="by_user")
    about: dict[str, Any] = {"path": None, "user_name": None}
    return api.User(user_id=account, arn=root, create_date=min((key.created for key in keys), default=0.0), **about)


@operation(resource=arns.new("user", "user_name"), conditions=conditions.new_boundary)
async def create_user(ctx: Context, request: api.CreateUserRequest) -> api.CreateUserResponse:
    """Create a user, who may do nothing yet."""
    if find(ctx, request.user_name) is not None:
        raise api.EntityAlreadyExistsException(f"User with name {request.user_name} already exists.")
    rules.within_quota(ctx, "users", ctx.table(USERS).count((ctx.account,)))
    path = request.path or "/"
    user = User(
        account=ctx.account,
        name=request.user_name,
        user_id=ids.unique_id(ids.USER),
        arn=arns.arn_of(ctx.account, "user", request.user_name, path),
        created=ctx.now(),
        path=path,
        boundary=managed_policies.require_boundary(ctx, request.permissions_boundary),
        tags=rules.tags_from(request.tags, USERS),
    )
    with ctx.transaction() as tx:
        tx.insert(USERS, user)
    return api.CreateUserResponse(user=describe(user))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def get_user(ctx: Context, request: api.GetUserRequest) -> api.GetUserResponse:
    """The user of that name, or the caller."""
    user = named_or_caller(ctx, request.user_name)
    return api.GetUserResponse(user=_root(ctx) if user is None else describe(user))


@operation(resource=arns.listed("user"))
async def list_users(ctx: Context, request: api.ListUsersRequest) -> api.ListUsersResponse:
    """The users below a path."""
    found, marker = rules.page(ctx, USERS, request, where=rules.below(request.path_prefix))
    return api.ListUsersResponse(users=[describe(user, details=False) for user in found], is_truncated=marker is not None, marker=marker)


def _updated(ctx: Context, request: Any) -> list[str]:
    """Renaming needs leave for the old and for the new name."""
    old = arns.user(ctx, request)
    row = find(ctx, request.user_name)
    path = request.new_path or (row.path if row else "/")
    new = arns.arn_of(ctx.account, "user", request.new_user_name or request.user_name, path)
    return [old] if new == old else [old, new]


@operation(resource=_updated, resource_tags=arns.user_tags)
async def update_user(ctx: Context, request: api.UpdateUserRequest) -> api.UpdateUserResponse:
    """Give a user another name or path; its id, keys and rights stay."""
    user = require(ctx, request.user_name)
    name, path = request.new_user_name or user.name, request.new_path or user.path
    taken = find(ctx, name)
    if taken is not None and taken.user_id != user.user_id:
        raise api.EntityAlreadyExistsException(f"User with name {name} already exists.")
    arn = arns.arn_of(ctx.account, "user", name, path)
    with ctx.transaction() as tx:
        move_uses(ctx, tx, user.arn, arn)
        if fold(name) == fold(user.name):
            tx.update(USERS, user, name=name, path=path, arn=arn)
        else:
            _rename(ctx, tx, user, name, path, arn)
    return api.UpdateUserResponse()


def _rename(ctx: Context, tx: Transaction, user: User, name: str, path: str, arn: str) -> None:
    """The name is the key of the user's row and of what belongs to it, so all of them are written anew."""
    tx.delete(USERS, USERS.key(user))
    tx.insert(USERS, replace(user, name=name, path=path, arn=arn))
    for row in ctx.table(ACCESS_KEYS).scan((user.account, fold(user.name)), index="by_user"):
        tx.update(ACCESS_KEYS, row, user=name)
    for row in ctx.table(MFA_DEVICES).scan((user.account, fold(user.name)), index="by_user"):
        tx.update(MFA_DEVICES, row, user=name)
    tables: tuple[Table[Any], ...] = (LOGIN_PROFILES, SSH_PUBLIC_KEYS, SIGNING_CERTIFICATES, SERVICE_CREDENTIALS)
    for table in tables:
        for row in ctx.table(table).scan((user.account, fold(user.name))):
            tx.delete(table, table.key(row))
            tx.insert(table, replace(row, user=name))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def delete_user(ctx: Context, request: api.DeleteUserRequest) -> api.DeleteUserResponse:
    """Delete a user that nothing belongs to any more."""
    user = require(ctx, request.user_name)
    refuse_owner(ctx, user)
    with ctx.transaction() as tx:
        tx.delete(USERS, USERS.key(user))
        forget_uses(ctx, tx, user.arn)
    return api.DeleteUserResponse()


def refuse_owner(ctx: Context, user: User) -> None:
    """
    Raises:
        DeleteConflictException: something belongs to the user.
    """
    place = (user.account, fold(user.name))
    for what, present in (
        ("must delete policies first.", user.inline),
        ("must detach all policies first.", user.attached),
        ("must remove users from group first.", user.groups),
        ("must delete login profile first.", place in ctx.table(LOGIN_PROFILES)),
        ("must delete access keys first.", ctx.table(ACCESS_KEYS).count(place, index="by_user")),
        ("must delete MFA device first.", ctx.table(MFA_DEVICES).count(place, index="by_user")),
        ("must delete signing certificates first.", ctx.table(SIGNING_CERTIFICATES).count(place)),
        ("must remove referenced objects first.", ctx.table(SSH_PUBLIC_KEYS).count(place)),
        ("must remove referenced objects first.", ctx.table(SERVICE_CREDENTIALS).count(place)),
    ):
        if present:
            raise api.DeleteConflictException(f"Cannot delete entity, {what}")


def forget_uses(ctx: Context, tx: Transaction, subject: str) -> None:
    """When a key, user or role was last used is of no interest once it is gone."""
    for use in ctx.table(USES).scan((ctx.account, subject)):
        tx.delete(USES, USES.key(use))
        Keys.of(ctx.cloud).forget_use(USES.key(use))


def move_uses(ctx: Context, tx: Transaction, old: str, new: str) -> None:
    """A user has another ARN."""
    if old != new:
        uses = ctx.table(USES).scan((ctx.account, old))
        forget_uses(ctx, tx, old)
        for use in uses:
            tx.put(USES, replace(use, subject=new))
