"""Login profiles: the passwords with which users enter the console."""

from __future__ import annotations

import json
from typing import Final

from msgspec.structs import replace

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import AccessDenied, ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Conflict
from cloudstead.services.iam import account, api, arns, passwords, users
from cloudstead.services.iam.model import LOGIN_PROFILES, LoginProfile, fold

_REMEMBERED: Final = 24  # earlier passwords: as many as a password policy can forbid


def find(ctx: Context, user: str) -> LoginProfile | None:
    row: LoginProfile | None = ctx.table(LOGIN_PROFILES).get((ctx.account, fold(user)))
    return row


def require(ctx: Context, user: str) -> LoginProfile:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, user)
    if row is None:
        raise api.NoSuchEntityException(f"Login Profile for User {user} cannot be found.")
    return row


def describe(profile: LoginProfile) -> api.LoginProfile:
    return api.LoginProfile(user_name=profile.user, create_date=profile.created, password_reset_required=profile.password_reset_required)


def _check(ctx: Context, password: str) -> None:
    settings = account.settings(ctx)
    passwords.check(password, settings.password_policy, settings.alias or ctx.account)


async def _with_password(ctx: Context, profile: LoginProfile, password: str) -> LoginProfile:
    """The profile with another password.

    Raises:
        PasswordPolicyViolationException: the policy does not allow it, or forbids that of an earlier time.
    """
    _check(ctx, password)
    policy = account.settings(ctx).password_policy
    earlier = (profile.password_hash, *profile.previous)[:_REMEMBERED]
    forbidden = earlier[: policy.password_reuse_prevention] if policy is not None else ()
    if forbidden and await passwords.is_one_of(password, forbidden):
        raise api.PasswordPolicyViolationException("Policy constraint violation with password reuse prevention.")
    return replace(profile, password_hash=await passwords.hashed(password), previous=earlier, changed=ctx.now())


def _save(ctx: Context, profile: LoginProfile) -> None:
    """Write what was worked out while others may have changed it.

    Raises:
        EntityTemporarilyUnmodifiableException
    """
    try:
        with ctx.transaction() as tx:
            tx.update(LOGIN_PROFILES, profile)
    except Conflict:
        raise api.EntityTemporarilyUnmodifiableException("The login profile was changed at the same time. Please try again.") from None


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def create_login_profile(ctx: Context, request: api.CreateLoginProfileRequest) -> api.CreateLoginProfileResponse:
    """Give a user a password."""
    user = users.user_or_caller(ctx, request.user_name)
    if find(ctx, user.name) is not None:
        raise api.EntityAlreadyExistsException(f"Login Profile for user {user.name} already exists.")
    if request.password is None:
        raise ValidationFailed("A password must be specified.")
    _check(ctx, request.password)
    password_hash = await passwords.hashed(request.password)
    profile = LoginProfile(
        account=ctx.account,
        user=users.require(ctx, user.name).name,  # it may have gone meanwhile
        password_hash=password_hash,
        created=ctx.now(),
        changed=ctx.now(),
        password_reset_required=bool(request.password_reset_required),
    )
    if find(ctx, user.name) is not None:
        raise api.EntityAlreadyExistsException(f"Login Profile for user {user.name} already exists.")
    with ctx.transaction() as tx:
        tx.insert(LOGIN_PROFILES, profile)
    return api.CreateLoginProfileResponse(login_profile=describe(profile))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def get_login_profile(ctx: Context, request: api.GetLoginProfileRequest) -> api.GetLoginProfileResponse:
    user = users.user_or_caller(ctx, request.user_name)
    return api.GetLoginProfileResponse(login_profile=describe(require(ctx, user.name)))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def update_login_profile(ctx: Context, request: api.UpdateLoginProfileRequest) -> api.UpdateLoginProfileResponse:
    """Set another password, or whether the user must do so at the next login."""
    user = users.require(ctx, request.user_name)
    profile = require(ctx, user.name)
    if request.password is not None:
        profile = await _with_password(ctx, profile, request.password)
    if request.password_reset_required is not None:
        profile = replace(profile, password_reset_required=request.password_reset_required)
    _save(ctx, profile)
    return api.UpdateLoginProfileResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def delete_login_profile(ctx: Context, request: api.DeleteLoginProfileRequest) -> api.DeleteLoginProfileResponse:
    user = users.user_or_caller(ctx, request.user_name)
    profile = require(ctx, user.name)
    with ctx.transaction() as tx:
        tx.delete(LOGIN_PROFILES, LOGIN_PROFILES.key(profile))
    return api.DeleteLoginProfileResponse()


def _granted_by_password_policy(ctx: Context, request: api.ChangePasswordRequest) -> str | None:
    """AllowUsersToChangePassword lets every user of the account change its own, whatever its policies do not say."""
    policy = account.settings(ctx).password_policy
    if policy is None or not policy.allow_users_to_change_password:
        return None
    statement = {"Effect": "Allow", "Principal": {"AWS": ctx.identity.arn}, "Action": "iam:ChangePassword", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


@operation(resource=lambda ctx, request: ctx.identity.arn, resource_policy=_granted_by_password_policy)
async def change_password(ctx: Context, request: api.ChangePasswordRequest) -> api.ChangePasswordResponse:
    """Change the caller's own password."""
    if ctx.identity.kind != "user":
        raise api.InvalidUserTypeException("Only IAM Users can change their own password.")
    profile = require(ctx, ctx.identity.arn.rpartition("/")[2])
    if not await passwords.is_one_of(request.old_password, (profile.password_hash,)):
        raise AccessDenied("The old password was incorrect.")
    profile = replace(await _with_password(ctx, profile, request.new_password), password_reset_required=False)
    _save(ctx, profile)
    return api.ChangePasswordResponse()
