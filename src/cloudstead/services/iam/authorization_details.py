"""GetAccountAuthorizationDetails: all users, groups, roles and policies of the account with all that is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.tags import to_list
from cloudstead.services.iam import api, attachments, aws_managed, instance_profiles, managed_policies, policy_versions, roles, rules
from cloudstead.services.iam.model import GROUPS, INSTANCE_PROFILES, POLICIES, ROLES, USERS, Group, ManagedPolicy, Role, User, fold

Thing: TypeAlias = User | Group | Role | ManagedPolicy


@operation(resource="*")
async def get_account_authorization_details(
    ctx: Context, request: api.GetAccountAuthorizationDetailsRequest
) -> api.GetAccountAuthorizationDetailsResponse:
    """Page by page. Of AWS's own policies those that somebody has."""
    found, marker = rules.page_of(ctx, request, _wanted(ctx, set(request.filter or ())), key=_place)
    return api.GetAccountAuthorizationDetailsResponse(
        user_detail_list=[_user(one) for one in found if isinstance(one, User)],
        group_detail_list=[_group(one) for one in found if isinstance(one, Group)],
        role_detail_list=[_role(ctx, one) for one in found if isinstance(one, Role)],
        policies=[_policy(ctx, one) for one in found if isinstance(one, ManagedPolicy)],
        is_truncated=marker is not None,
        marker=marker,
    )


def _place(thing: Thing) -> tuple[str, str, str]:
    return type(thing).__name__, thing.account, fold(thing.name)


def _wanted(ctx: Context, kinds: set[str]) -> Iterator[Thing]:
    own = (ctx.account,)
    for kind, table in (("User", USERS), ("Group", GROUPS), ("Role", ROLES), ("LocalManagedPolicy", POLICIES)):
        if not kinds or kind in kinds:
            yield from ctx.table(table).scan(own)
    if not kinds or "AWSManagedPolicy" in kinds:
        for arn in _used_of_aws(ctx):
            policy = aws_managed.find(arn)
            if policy is not None:
                yield policy


def _used_of_aws(ctx: Context) -> set[str]:
    own = (ctx.account,)
    everybody = [*ctx.table(USERS).scan(own), *ctx.table(GROUPS).scan(own), *ctx.table(ROLES).scan(own)]
    attached = {arn for one in everybody for arn in one.attached}
    return attached | {one.boundary for one in everybody if not isinstance(one, Group)}


def _inline(owner: User | Group | Role) -> list[api.PolicyDetail]:
    return [api.PolicyDetail(policy_name=name, policy_document=rules.encoded(text)) for name, text in sorted(owner.inline.items())]


def _user(user: User) -> api.UserDetail:
    return api.UserDetail(
        path=user.path,
        user_name=user.name,
        user_id=user.user_id,
        arn=user.arn,
        create_date=user.created,
        user_policy_list=_inline(user) or None,
        group_list=list(user.groups),
        attached_managed_policies=attachments.attached(user),
        permissions_boundary=managed_policies.boundary(user.boundary),
        tags=to_list(user.tags, api.Tag),
    )


def _group(group: Group) -> api.GroupDetail:
    return api.GroupDetail(
        path=group.path,
        group_name=group.name,
        group_id=group.group_id,
        arn=group.arn,
        create_date=group.created,
        group_policy_list=_inline(group),
        attached_managed_policies=attachments.attached(group),
    )


def _role(ctx: Context, role: Role) -> api.RoleDetail:
    profiles = ctx.table(INSTANCE_PROFILES).scan((role.account, fold(role.name)), index="by_role")
    return api.RoleDetail(
        path=role.path,
        role_name=role.name,
        role_id=role.role_id,
        arn=role.arn,
        create_date=role.created,
        assume_role_policy_document=rules.encoded(role.trust_policy),
        instance_profile_list=[instance_profiles.describe(ctx, profile) for profile in profiles],
        role_policy_list=_inline(role),
        attached_managed_policies=attachments.attached(role),
        permissions_boundary=managed_policies.boundary(role.boundary),
        tags=to_list(role.tags, api.Tag),
        role_last_used=roles.last_used(ctx, role),
    )


def _policy(ctx: Context, policy: ManagedPolicy) -> api.ManagedPolicyDetail:
    return api.ManagedPolicyDetail(
        policy_name=policy.name,
        policy_id=policy.policy_id,
        arn=policy.arn,
        path=policy.path,
        default_version_id=policy.default_version,
        attachment_count=managed_policies.attachments(ctx, policy.arn),
        permissions_boundary_usage_count=managed_policies.boundaries(ctx, policy.arn),
        is_attachable=True,
        description=policy.description or None,
        create_date=policy.created,
        update_date=policy.updated,
        policy_version_list=[policy_versions.describe(policy, version, document=True) for version in reversed(policy.versions)],
    )
