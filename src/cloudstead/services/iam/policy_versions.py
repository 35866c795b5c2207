"""The versions of managed policies: up to five, one of which counts."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, managed_policies, rules
from cloudstead.services.iam.model import POLICIES, ManagedPolicy, PolicyVersion

MOST = 5


def describe(policy: ManagedPolicy, version: PolicyVersion, *, document: bool = False) -> api.PolicyVersion:
    return api.PolicyVersion(
        document=rules.encoded(version.document) if document else None,
        version_id=version.version_id,
        is_default_version=version.version_id == policy.default_version,
        create_date=version.created,
    )


def _require(policy: ManagedPolicy | None, arn: str, version_id: str) -> tuple[ManagedPolicy, PolicyVersion]:
    """
    Raises:
        NoSuchEntityException: there is no such version, or no such policy.
    """
    for version in policy.versions if policy is not None else ():
        if version.version_id == version_id:
            assert policy is not None
            return policy, version
    raise api.NoSuchEntityException(f"Policy {arn} version {version_id} does not exist or is not attachable.")


def _require_own(ctx: Context, arn: str, version_id: str, to: str) -> tuple[ManagedPolicy, PolicyVersion]:
    policy = managed_policies.find(ctx, arn)
    return _require(None if policy is None else managed_policies.require_own(ctx, arn, to), arn, version_id)


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def create_policy_version(ctx: Context, request: api.CreatePolicyVersionRequest) -> api.CreatePolicyVersionResponse:
    """Add a version; numbers are never used again."""
    managed_policies.check(ctx, request.policy_document)
    policy = managed_policies.require_own(ctx, request.policy_arn)
    if len(policy.versions) >= MOST:
        raise api.LimitExceededException(
            f"A managed policy can have up to {MOST} versions. Before you create a new version, you must delete an existing version."
        )
    version = PolicyVersion(version_id=f"v{policy.next_version}", document=request.policy_document, created=ctx.now())
    with ctx.transaction() as tx:
        policy = tx.update(
            POLICIES,
            policy,
            versions=(*policy.versions, version),
            next_version=policy.next_version + 1,
            default_version=version.version_id if request.set_as_default else policy.default_version,
            updated=ctx.now(),
        )
    return api.CreatePolicyVersionResponse(policy_version=describe(policy, version))


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def get_policy_version(ctx: Context, request: api.GetPolicyVersionRequest) -> api.GetPolicyVersionResponse:
    policy, version = _require(managed_policies.find(ctx, request.policy_arn), request.policy_arn, request.version_id)
    return api.GetPolicyVersionResponse(policy_version=describe(policy, version, document=True))


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def list_policy_versions(ctx: Context, request: api.ListPolicyVersionsRequest) -> api.ListPolicyVersionsResponse:
    """The versions, the latest first."""
    policy = managed_policies.require(ctx, request.policy_arn)
    found, marker = rules.page_of(ctx, request, policy.versions, key=lambda version: -int(version.version_id[1:]))
    versions = [describe(policy, version) for version in found]
    return api.ListPolicyVersionsResponse(versions=versions, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def set_default_policy_version(ctx: Context, request: api.SetDefaultPolicyVersionRequest) -> api.SetDefaultPolicyVersionResponse:
    """Let this version count, for everybody who has the policy, from now on."""
    policy, version = _require_own(ctx, request.policy_arn, request.version_id, "update policies")
    with ctx.transaction() as tx:
        tx.update(POLICIES, policy, default_version=version.version_id, updated=ctx.now())
    return api.SetDefaultPolicyVersionResponse()


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def delete_policy_version(ctx: Context, request: api.DeletePolicyVersionRequest) -> api.DeletePolicyVersionResponse:
    policy, version = _require_own(ctx, request.policy_arn, request.version_id, "delete policy versions for policies")
    if version.version_id == policy.default_version:
        raise api.DeleteConflictException("Cannot delete the default version of a policy.")
    with ctx.transaction() as tx:
        tx.update(POLICIES, policy, versions=tuple(one for one in policy.versions if one is not version))
    return api.DeletePolicyVersionResponse()
