"""When an image was last pulled, and whose pulls do not count: those of scanners and of tools that copy everything."""

from __future__ import annotations

from cloudstead.engine.registry.model import ImageRow
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.ecr import api, repositories
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import PULL_TIME_EXCLUSIONS, PullTimeExclusion

NOTED_SECONDS = 60.0  # how exactly the time of the last pull is kept; AWS renews it once in 24 hours
MOST = 100  # https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-time-update-exclusions.html
PAGE = 100


def note(ctx: Context, account: str, image: ImageRow) -> None:
    """An image was pulled from a registry of this account. Writes at most once in a while, and nothing for those whose pulls do not count."""
    now = ctx.now()
    if image.pulled is not None and now - image.pulled < NOTED_SECONDS:
        return
    excluded = ctx.table(PULL_TIME_EXCLUSIONS)
    if any((account, ctx.region, arn) in excluded for arn in (ctx.identity.principal_arn, ctx.identity.arn)):
        return
    found = catalog(ctx)
    standing = found.image(image.place, image.digest)  # it may have gone, or been changed, while it was read
    if standing is not None:
        found.noted(standing, pulled=now)


@operation(resource="*")
async def register_pull_time_update_exclusion(
    ctx: Context, request: api.RegisterPullTimeUpdateExclusionRequest
) -> api.RegisterPullTimeUpdateExclusionResponse:
    """Have the pulls of a role or user not count."""
    table = ctx.table(PULL_TIME_EXCLUSIONS)
    if (ctx.account, ctx.region, request.principal_arn) in table:
        raise api.ExclusionAlreadyExistsException(
            f"Pull time update exclusion for principal '{request.principal_arn}' already exists in the registry with id '{ctx.account}'"
        )
    if table.count((ctx.account, ctx.region)) >= MOST:
        raise api.LimitExceededException(f"The limit of {MOST} pull time update exclusions has been reached")
    row = PullTimeExclusion(account=ctx.account, region=ctx.region, principal=request.principal_arn, created=ctx.now())
    with ctx.transaction() as tx:
        tx.insert(PULL_TIME_EXCLUSIONS, row)
    return api.RegisterPullTimeUpdateExclusionResponse(principal_arn=row.principal, created_at=row.created)


@operation(resource="*")
async def deregister_pull_time_update_exclusion(
    ctx: Context, request: api.DeregisterPullTimeUpdateExclusionRequest
) -> api.DeregisterPullTimeUpdateExclusionResponse:
    """Have the pulls of a role or user count again."""
    with ctx.transaction() as tx:
        if tx.delete(PULL_TIME_EXCLUSIONS, (ctx.account, ctx.region, request.principal_arn)) is None:
            raise api.ExclusionNotFoundException(
                f"Pull time update exclusion for principal '{request.principal_arn}' does not exist in the registry with id '{ctx.account}'"
            )
    return api.DeregisterPullTimeUpdateExclusionResponse(principal_arn=request.principal_arn)


@operation(resource="*")
async def list_pull_time_update_exclusions(
    ctx: Context, request: api.ListPullTimeUpdateExclusionsRequest
) -> api.ListPullTimeUpdateExclusionsResponse:
    """The principals whose pulls do not count."""
    rows, token = page(
        ctx,
        PULL_TIME_EXCLUSIONS,
        (ctx.account, ctx.region),
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=repositories.invalid_token,
    )
    return api.ListPullTimeUpdateExclusionsResponse(pull_time_update_exclusions=[row.principal for row in rows], next_token=token)
