"""Repository policies: whom a repository lets in beside those whom their own policies do."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.policy import NO_POLICIES, AuthorizationRequest, Principal, Source, evaluate, parse
from cloudstead.services.ecr import api, arns, checks, repositories
from cloudstead.services.ecr.model import REPOSITORIES, RepositoryRow

_SET = "ecr:SetRepositoryPolicy"


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def set_repository_policy(ctx: Context, request: api.SetRepositoryPolicyRequest) -> api.SetRepositoryPolicyResponse:
    """Give a repository a policy, in place of the one that it had. Whoever would lock himself out must say that he means it (`force`)."""
    row = repositories.of(ctx, request)
    checks.check_policy(request.policy_text)
    if not request.force and _locks_out(ctx, row, request.policy_text):
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


def _locks_out(ctx: Context, row: RepositoryRow, policy: str) -> bool:
    """Whether the policy itself denies its author to set the next."""
    about: dict[str, tuple[str, ...]] = {
        "aws:principalarn": (ctx.identity.principal_arn,),
        "aws:principalaccount": (ctx.identity.account,),
        "aws:userid": (ctx.identity.user_id,),
        "aws:sourceip": (ctx.source_ip,),
    }
    decision = evaluate(
        AuthorizationRequest(
            principal=Principal.of(ctx.identity),
            action=_SET,
            resource=row.arn(),
            context=about,
            resource_account=row.account,
            resource_policy=Source(parse(policy), "ResourcePolicy", "resource"),
        ),
        NO_POLICIES,
    )
    return decision.outcome == "explicitDeny"
