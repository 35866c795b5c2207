"""Repository policies: who besides the owner may push, and whom not even the owner's own policies help."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.policy import RESOURCE, MalformedPolicy, parse
from cloudstead.kernel.policy.lockout import locks_out
from cloudstead.services.ecr_public import api, arns, repositories
from cloudstead.services.ecr_public.checks import invalid
from cloudstead.services.ecr_public.model import REPOSITORIES, PublicRepository


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def set_repository_policy(ctx: Context, request: api.SetRepositoryPolicyRequest) -> api.SetRepositoryPolicyResponse:
    """Set it, whatever was there. Whoever would lock himself out must say that he means it (`force`)."""
    row = repositories.of(ctx, request)
    try:
        parse(request.policy_text, RESOURCE)
    except MalformedPolicy:
        raise invalid("PolicyText", "Invalid repository policy provided") from None
    if not request.force and locks_out(ctx.identity, ctx.source_ip, request.operation, row.arn(), row.account, request.policy_text):
        raise invalid(
            "PolicyText", "The policy would prevent the caller from setting another repository policy; set it with force if that is meant"
        )
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, policy=request.policy_text)
    return api.SetRepositoryPolicyResponse(registry_id=row.account, repository_name=row.name, policy_text=request.policy_text)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def get_repository_policy(ctx: Context, request: api.GetRepositoryPolicyRequest) -> api.GetRepositoryPolicyResponse:
    """The policy as it was set, letter for letter."""
    row, policy = _require(ctx, request)
    return api.GetRepositoryPolicyResponse(registry_id=row.account, repository_name=row.name, policy_text=policy)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def delete_repository_policy(ctx: Context, request: api.DeleteRepositoryPolicyRequest) -> api.DeleteRepositoryPolicyResponse:
    """Take the policy away."""
    row, policy = _require(ctx, request)
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, policy=None)
    return api.DeleteRepositoryPolicyResponse(registry_id=row.account, repository_name=row.name, policy_text=policy)


def _require(ctx: Context, request: api.GetRepositoryPolicyRequest | api.DeleteRepositoryPolicyRequest) -> tuple[PublicRepository, str]:
    """
    Raises:
        RepositoryNotFoundException, RepositoryPolicyNotFoundException
    """
    row = repositories.of(ctx, request)
    if row.policy is None:
        raise api.RepositoryPolicyNotFoundException(
            f"Repository policy does not exist for the repository with name '{row.name}' in the registry with id '{row.account}'"
        )
    return row, row.policy
