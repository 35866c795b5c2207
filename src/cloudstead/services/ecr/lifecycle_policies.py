"""Lifecycle policies and their previews: put, get, delete, start. What they do is `lifecycle`'s.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
"""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.ecr import api, arns, repositories
from cloudstead.services.ecr.lifecycle import policy
from cloudstead.services.ecr.model import PREVIEWS, REPOSITORIES, Preview, PreviewResult, RepositoryRow

PAGE = 100
NEVER = 0.0  # what AWS tells of a policy that has not been evaluated yet


def check(text: str) -> str:
    """A policy that is to be kept, as it is given back.

    Raises:
        InvalidParameterException
    """
    try:
        policy.parse(text)
    except policy.PolicyInvalid as error:
        raise api.InvalidParameterException(str(error)) from None
    return policy.normalised(text)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def put_lifecycle_policy(ctx: Context, request: api.PutLifecyclePolicyRequest) -> api.PutLifecyclePolicyResponse:
    """Set a repository's policy; it is carried out from then on."""
    row = repositories.of(ctx, request)
    text = check(request.lifecycle_policy_text)
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, lifecycle_policy=text, lifecycle_evaluated=None)
    return api.PutLifecyclePolicyResponse(registry_id=row.account, repository_name=row.name, lifecycle_policy_text=text)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def get_lifecycle_policy(ctx: Context, request: api.GetLifecyclePolicyRequest) -> api.GetLifecyclePolicyResponse:
    """A repository's policy, and when it was carried out the last time."""
    row = repositories.of(ctx, request)
    return api.GetLifecyclePolicyResponse(
        registry_id=row.account,
        repository_name=row.name,
        lifecycle_policy_text=_require(row),
        last_evaluated_at=row.lifecycle_evaluated or NEVER,
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def delete_lifecycle_policy(ctx: Context, request: api.DeleteLifecyclePolicyRequest) -> api.DeleteLifecyclePolicyResponse:
    """Let images be kept from now on."""
    row = repositories.of(ctx, request)
    text = _require(row)
    with ctx.transaction() as tx:
        tx.update(REPOSITORIES, row, lifecycle_policy=None, lifecycle_evaluated=None)
    return api.DeleteLifecyclePolicyResponse(
        registry_id=row.account, repository_name=row.name, lifecycle_policy_text=text, last_evaluated_at=row.lifecycle_evaluated or NEVER
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def start_lifecycle_policy_preview(
    ctx: Context, request: api.StartLifecyclePolicyPreviewRequest
) -> api.StartLifecyclePolicyPreviewResponse:
    """Ask what a policy would do: one that is given, or the repository's own. A finished preview makes place for it."""
    row = repositories.of(ctx, request)
    text = request.lifecycle_policy_text
    if text is None:
        text = _require(row)
    else:
        check(text)
    standing = ctx.table(PREVIEWS).get(row.key)
    if standing is not None and standing.status == "IN_PROGRESS":
        raise api.LifecyclePolicyPreviewInProgressException(
            f"The previous lifecycle policy preview request for the repository with name '{row.name}' "
            f"in the registry with id '{row.account}' has not completed. Wait and try again."
        )
    preview = Preview(account=row.account, region=row.region, repository=row.name, policy=text, started=ctx.now())
    with ctx.transaction() as tx:
        tx.put(PREVIEWS, preview)
    return api.StartLifecyclePolicyPreviewResponse(
        registry_id=row.account, repository_name=row.name, lifecycle_policy_text=text, status="IN_PROGRESS"
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def get_lifecycle_policy_preview(
    ctx: Context, request: api.GetLifecyclePolicyPreviewRequest
) -> api.GetLifecyclePolicyPreviewResponse:
    """What was found; of the images that are named, or of all by the page. The summary counts all."""
    row = repositories.of(ctx, request)
    preview = ctx.table(PREVIEWS).get(row.key)
    if preview is None:
        raise api.LifecyclePolicyPreviewNotFoundException(
            f"Lifecycle policy preview does not exist for the repository with name '{row.name}' in the registry with id '{row.account}'"
        )
    if request.image_ids is not None and (request.next_token is not None or request.max_results is not None):
        repositories.invalid("imageIds", "It cannot be specified together with nextToken or maxResults")
    wanted = [result for result in preview.results if _is_wanted(result, request)]
    token = None
    if request.image_ids is None:
        wanted, token = page_of(
            ctx,
            wanted,
            key=lambda result: (result.pushed, result.digest),
            request=request,
            token=request.next_token,
            limit=request.max_results or PAGE,
            invalid=repositories.invalid_token,
        )
    return api.GetLifecyclePolicyPreviewResponse(
        registry_id=row.account,
        repository_name=row.name,
        lifecycle_policy_text=preview.policy,
        status=preview.status,
        next_token=token,
        preview_results=[_describe(result) for result in wanted],
        summary=_summary(preview),
    )


def _require(row: RepositoryRow) -> str:
    if row.lifecycle_policy is None:
        raise api.LifecyclePolicyNotFoundException(
            f"Lifecycle policy does not exist for the repository with name '{row.name}' in the registry with id '{row.account}'"
        )
    return row.lifecycle_policy


def _is_wanted(result: PreviewResult, request: api.GetLifecyclePolicyPreviewRequest) -> bool:
    status = request.filter.tag_status if request.filter else None
    if status in ("TAGGED", "UNTAGGED") and bool(result.tags) != (status == "TAGGED"):
        return False
    return request.image_ids is None or any(_is_meant(result, image_id) for image_id in request.image_ids)


def _is_meant(result: PreviewResult, image_id: api.ImageIdentifier) -> bool:
    if not image_id.image_digest and not image_id.image_tag:
        return False
    return image_id.image_digest in (None, "", result.digest) and (not image_id.image_tag or image_id.image_tag in result.tags)


def _describe(result: PreviewResult) -> api.LifecyclePolicyPreviewResult:
    archives = result.action == "TRANSITION"
    return api.LifecyclePolicyPreviewResult(
        image_tags=list(result.tags),
        image_digest=result.digest,
        image_pushed_at=result.pushed,
        action=api.LifecyclePolicyRuleAction(
            type="TRANSITION" if archives else "EXPIRE", target_storage_class="ARCHIVE" if archives else None
        ),
        applied_rule_priority=result.priority or None,
        storage_class="ARCHIVE" if result.storage == "ARCHIVE" else "STANDARD",
    )


def _summary(preview: Preview) -> api.LifecyclePolicyPreviewSummary:
    archived = sum(result.action == "TRANSITION" for result in preview.results)
    counts = [api.TransitioningImageTotalCount(target_storage_class="ARCHIVE", image_total_count=archived)] if archived else None
    return api.LifecyclePolicyPreviewSummary(
        expiring_image_total_count=len(preview.results) - archived, transitioning_image_total_counts=counts
    )
