"""Repository policies: whom a repository lets in beside those whom their own policies do."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.policy.lockout import locks_out
from cloudstead.services.ecr import api, arns, checks, repositories
from cloudstead.services.ecr.model import REPOSITORIES, RepositoryRow


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def set_repository_policy(ctx: Context, request: api.SetRepositoryPolicyRequest) -> api.SetRepositoryPolicyResponse:
    """Give a repository a policy, in place of the one that it had. Whoever would lock himself out must say that he means it (`force`)."""
    row = repositories.of(ctx, request)
    checks.check_policy(request.policy_text)
    if not request.force and locks_out(ctx.identity, ctx.source_ip, request.operation, row.arn(), row.account, request.policy_text):
        repositories.invalid(
            "PolicyText", "The policy would prevent the caller from setting another repository policy; set it with force if that is meant"
        )
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, policy=request.policy_text)
    return api.SetRepositoryPolicyResponse(registry_id=row.account, repository_name=row.name, policy_text=request.policy_text)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def get_repository_policy(ctx: Context, request: api.GetRepositoryPolicyRequest) -> api.GetRepositoryPolicyResponse:
    """The policy as it was set, letter for letter."""
    row = repositories.of(ctx, request)
    return api.GetRepositoryPolicyResponse(registry_id=row.account, repository_name=row.name, policy_text=_require(row))


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def delete_repository_policy(ctx: Context, request: api.DeleteRepositoryPolicyRequest) -> api.DeleteRepositoryPolicyResponse:
    """Take the policy away."""
    row = repositories.of(ctx, request)
    policy = _require(row)
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, policy=None)
    return api.DeleteRepositoryPolicyResponse(registry_id=row.account, repository_name=row.name, policy_text=policy)


def _require(row: RepositoryRow) -> str:
    if row.policy is None:
        raise api.RepositoryPolicyNotFoundException(
            f"Repository policy does not exist for the repository with name '{row.name}' in the registry with id '{row.account}'"
        )
    return row.policy
