"""Tags of repositories, by ARN."""

from __future__ import annotations

from cloudstead.kernel import tags
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, arns, repositories
from cloudstead.services.ecr.model import REPOSITORIES, RepositoryRow
from cloudstead.services.ecr.repositories import TAG_RULES


def _bearer(ctx: Context, text: str, action: str) -> RepositoryRow:
    """The repository that an ARN names.

    Raises:
        InvalidParameterException, RepositoryNotFoundException, AccessDenied
    """
    try:
        arn = Arn.parse(text)
    except ValueError:
        repositories.invalid("resourceArn", "Invalid ARN")
    if not arn.account or text != arns.repository_arn(ctx, arn.account, arn.name):  # policies are judged by this very spelling
        repositories.invalid("resourceArn", "Invalid ARN")
    return repositories.require(ctx, arn.name, arn.account, action=action)


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def tag_resource(ctx: Context, request: api.TagResourceRequest) -> api.TagResourceResponse:
    """Add tags to a repository, or change them; at most 50."""
    row = _bearer(ctx, request.resource_arn, request.operation)
    wanted = tags.merge(row.tags, tags.from_list(request.tags, TAG_RULES), TAG_RULES)
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, tags=wanted)
    return api.TagResourceResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def untag_resource(ctx: Context, request: api.UntagResourceRequest) -> api.UntagResourceResponse:
    """Take tags away by their keys."""
    row = _bearer(ctx, request.resource_arn, request.operation)
    wanted = tags.without(row.tags, request.tag_keys, TAG_RULES)
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, tags=wanted)
    return api.UntagResourceResponse()


@operation(resource=arns.tagged, resource_tags=arns.tags_of_tagged)
async def list_tags_for_resource(ctx: Context, request: api.ListTagsForResourceRequest) -> api.ListTagsForResourceResponse:
    """The tags of a repository."""
    row = _bearer(ctx, request.resource_arn, request.operation)
    return api.ListTagsForResourceResponse(tags=tags.to_list(row.tags, api.Tag))
