"""Tags of repositories, by ARN."""

from __future__ import annotations

from cloudstead.kernel import tags
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr_public import api, arns, repositories
from cloudstead.services.ecr_public.checks import invalid
from cloudstead.services.ecr_public.model import REPOSITORIES, PublicRepository
from cloudstead.services.ecr_public.repositories import TAG_RULES


def _bearer(ctx: Context, text: str, action: str) -> PublicRepository:
    """
    Raises:
        InvalidParameterException: it is not the ARN of a repository.
        RepositoryNotFoundException, AccessDenied
    """
    try:
        arn = Arn.parse(text)
    except ValueError:
        arn = None
    if arn is None or arn.service != "ecr-public" or arn.kind != "repository" or not arn.account or arn.region:
        raise invalid("resourceArn", "Invalid ARN")
    return repositories.require(ctx, arn.name, arn.account, action=action)


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def tag_resource(ctx: Context, request: api.TagResourceRequest) -> api.TagResourceResponse:
    """Add tags to a repository, or change them; at most 50."""
    row = _bearer(ctx, request.resource_arn, request.operation)
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, tags=tags.merge(row.tags, repositories.given_tags(request.tags), TAG_RULES))
    return api.TagResourceResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def untag_resource(ctx: Context, request: api.UntagResourceRequest) -> api.UntagResourceResponse:
    """Take tags away by their keys."""
    row = _bearer(ctx, request.resource_arn, request.operation)
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, tags=tags.without(row.tags, request.tag_keys, TAG_RULES))
    return api.UntagResourceResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def list_tags_for_resource(ctx: Context, request: api.ListTagsForResourceRequest) -> api.ListTagsForResourceResponse:
    """The tags of a repository."""
    row = _bearer(ctx, request.resource_arn, request.operation)
    return api.ListTagsForResourceResponse(tags=tags.to_list(row.tags, api.Tag))
