"""Instance profiles: what gives a role to machines."""

from __future__ import annotations

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.tags import to_list
from cloudstead.services.iam import api, arns, roles, rules
from cloudstead.services.iam.model import INSTANCE_PROFILES, InstanceProfile, fold


def find(ctx: Context, name: str) -> InstanceProfile | None:
    row: InstanceProfile | None = ctx.table(INSTANCE_PROFILES).get((ctx.account, fold(name)))
    return row


def require(ctx: Context, name: str) -> InstanceProfile:
    """
    Raises:
        NoSuchEntityException
    """
    row = find(ctx, name)
    if row is None:
        raise api.NoSuchEntityException(f"Instance Profile {name} cannot be found.")
    return row


def describe(ctx: Context, profile: InstanceProfile) -> api.InstanceProfile:
    """A profile as lists show it: with its role, without tags."""
    role = roles.find(ctx, profile.role) if profile.role else None
    return api.InstanceProfile(
        path=profile.path,
        instance_profile_name=profile.name,
        instance_profile_id=profile.instance_profile_id,
        arn=profile.arn,
        create_date=profile.created,
        roles=[] if role is None else [roles.describe(role)],
    )


@operation(resource=arns.new("instance-profile", "instance_profile_name"))
async def create_instance_profile(ctx: Context, request: api.CreateInstanceProfileRequest) -> api.CreateInstanceProfileResponse:
    """Create a profile without a role."""
    name, path = request.instance_profile_name, request.path or "/"
    if find(ctx, name) is not None:
        raise api.EntityAlreadyExistsException(f"Instance Profile {name} already exists.")
    rules.within_quota(ctx, "instance_profiles", ctx.table(INSTANCE_PROFILES).count((ctx.account,)))
    profile = InstanceProfile(
        account=ctx.account,
        name=name,
        instance_profile_id=ids.unique_id(ids.INSTANCE_PROFILE),
        arn=arns.arn_of(ctx.account, "instance-profile", name, path),
        created=ctx.now(),
        path=path,
        tags=rules.tags_from(request.tags, INSTANCE_PROFILES),
    )
    with ctx.transaction() as tx:
        tx.insert(INSTANCE_PROFILES, profile)
    answer = describe(ctx, profile)
    answer.tags = rules.tag_list(profile.tags)
    return api.CreateInstanceProfileResponse(instance_profile=answer)


@operation(resource=arns.instance_profile, resource_tags=arns.instance_profile_tags)
async def get_instance_profile(ctx: Context, request: api.GetInstanceProfileRequest) -> api.GetInstanceProfileResponse:
    profile = require(ctx, request.instance_profile_name)
    answer = describe(ctx, profile)
    answer.tags = to_list(profile.tags, api.Tag)
    return api.GetInstanceProfileResponse(instance_profile=answer)


@operation(resource=arns.listed("instance-profile"))
async def list_instance_profiles(ctx: Context, request: api.ListInstanceProfilesRequest) -> api.ListInstanceProfilesResponse:
    """The profiles below a path."""
    found, marker = rules.page(ctx, INSTANCE_PROFILES, request, where=rules.below(request.path_prefix))
    answers = [describe(ctx, profile) for profile in found]
    return api.ListInstanceProfilesResponse(instance_profiles=answers, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def list_instance_profiles_for_role(
    ctx: Context, request: api.ListInstanceProfilesForRoleRequest
) -> api.ListInstanceProfilesForRoleResponse:
    role = roles.require(ctx, request.role_name)
    there = ctx.table(INSTANCE_PROFILES).scan((ctx.account, fold(role.name)), index="by_role")
    found, marker = rules.page_of(ctx, request, there, key=lambda profile: fold(profile.name))
    answers = [describe(ctx, profile) for profile in found]
    return api.ListInstanceProfilesForRoleResponse(instance_profiles=answers, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.instance_profile, resource_tags=arns.instance_profile_tags)
async def add_role_to_instance_profile(ctx: Context, request: api.AddRoleToInstanceProfileRequest) -> api.AddRoleToInstanceProfileResponse:
    """Give a profile its role; the caller must be allowed to pass it to EC2."""
    profile = require(ctx, request.instance_profile_name)
    role = roles.require_own(ctx, request.role_name)
    if profile.role:
        raise api.LimitExceededException("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
    ctx.require("iam:PassRole", role.arn, {"iam:PassedToService": "ec2.amazonaws.com"})
    with ctx.transaction() as tx:
        tx.update(INSTANCE_PROFILES, profile, role=role.name)
    return api.AddRoleToInstanceProfileResponse()


@operation(resource=arns.instance_profile, resource_tags=arns.instance_profile_tags)
async def remove_role_from_instance_profile(
    ctx: Context, request: api.RemoveRoleFromInstanceProfileRequest
) -> api.RemoveRoleFromInstanceProfileResponse:
    profile = require(ctx, request.instance_profile_name)
    if fold(profile.role) != fold(request.role_name):
        raise api.NoSuchEntityException(f"The role with name {request.role_name} cannot be found.")
    with ctx.transaction() as tx:
        tx.update(INSTANCE_PROFILES, profile, role="")
    return api.RemoveRoleFromInstanceProfileResponse()


@operation(resource=arns.instance_profile, resource_tags=arns.instance_profile_tags)
async def delete_instance_profile(ctx: Context, request: api.DeleteInstanceProfileRequest) -> api.DeleteInstanceProfileResponse:
    """Delete a profile without a role."""
    profile = require(ctx, request.instance_profile_name)
    if profile.role:
        raise api.DeleteConflictException("Cannot delete entity, must remove roles from instance profile first.")
    with ctx.transaction() as tx:
        tx.delete(INSTANCE_PROFILES, INSTANCE_PROFILES.key(profile))
    return api.DeleteInstanceProfileResponse()
