"""What is told of images: DescribeImages, and what refers to an image: ListImageReferrers."""

from __future__ import annotations

from typing import cast

from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.model import ImageRow
from cloudstead.engine.registry.selection import size_of
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.ecr import api, arns, image_ids, image_pages, repositories, scans
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import SCANS, RepositoryRow, Scan

PAGE = 100
REFERRERS_PAGE = 20


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def describe_images(ctx: Context, request: api.DescribeImagesRequest) -> api.DescribeImagesResponse:
    """The images that are named, whatever their status; else all by the page, of which only the active ones unless a filter says otherwise."""
    row = repositories.of(ctx, request)
    content = catalog(ctx)
    if request.image_ids is None:
        rows, token = image_pages.rows(ctx, content, row, request, request.max_results or PAGE)
        return api.DescribeImagesResponse(image_details=[_detail(ctx, content, row, image) for image in rows], next_token=token)
    for member in ("next_token", "max_results"):
        if getattr(request, member) is not None:
            repositories.invalid("imageIds", "It cannot be specified together with nextToken or maxResults")
    found = [image_ids.require(content, row, image_id, "imageIds").image for image_id in request.image_ids]
    wanted = request.filter or api.DescribeImagesFilter()
    by_status, by_tags = image_pages.wants_status(wanted.image_status or "ANY"), image_pages.wants_tagged(content, wanted.tag_status)
    named = {image.digest: image for image in found if by_status(image) and by_tags(image)}
    return api.DescribeImagesResponse(image_details=[_detail(ctx, content, row, image) for image in named.values()])


def _detail(ctx: Context, content: Catalog, row: RepositoryRow, image: ImageRow) -> api.ImageDetail:
    scan: Scan | None = ctx.table(SCANS).get((*row.key, image.digest))
    return api.ImageDetail(
        registry_id=row.account,
        repository_name=row.name,
        image_digest=image.digest,
        image_tags=content.tags_of(row.place, image.digest) or None,
        image_size_in_bytes=size_of(content, image),
        image_pushed_at=image.pushed,
        image_scan_status=None if scan is None else scans.status(scan),
        image_scan_findings_summary=None if scan is None else _summary(scan),
        image_manifest_media_type=image.media_type,
        artifact_media_type=image.artifact_type or None,
        last_recorded_pull_time=image.pulled,
        subject_manifest_digest=image.subject or None,
        image_status=image.status,
        last_archived_at=image.archived,
        last_activated_at=image.activated,
    )


def _summary(scan: Scan) -> api.ImageScanFindingsSummary | None:
    if scan.completed is None:
        return None
    return api.ImageScanFindingsSummary(
        image_scan_completed_at=scan.completed,
        vulnerability_source_updated_at=scan.source_updated,
        finding_severity_counts=cast(dict[api.FindingSeverity, int], scan.counts),
    )


@operation(
    resource=arns.repository,
    action="ecr:BatchGetImage",
    resource_tags=arns.repository_tags,
    resource_policy=arns.repository_policy,
)
async def list_image_referrers(ctx: Context, request: api.ListImageReferrersRequest) -> api.ListImageReferrersResponse:
    """Signatures, lists of contents and whatever else refers to an image, which need not be there itself."""
    row = repositories.of(ctx, request)
    subject = request.subject_id.image_digest
    if not image_ids.DIGEST.fullmatch(subject):
        repositories.invalid("subjectId", f"must satisfy regular expression '{image_ids.DIGEST.pattern}'")
    wanted = request.filter or api.ListImageReferrersFilter()
    by_status = image_pages.wants_status(wanted.artifact_status)
    listed, token = page_of(
        ctx,
        [
            image
            for image in catalog(ctx).referrers(row.place, subject)
            if by_status(image) and (not wanted.artifact_types or image.artifact_type in wanted.artifact_types)
        ],
        key=lambda image: image.digest,
        request=request,
        token=request.next_token,
        limit=request.max_results or REFERRERS_PAGE,
        invalid=repositories.invalid_token,
    )
    return api.ListImageReferrersResponse(referrers=[_referrer(image) for image in listed], next_token=token)


def _referrer(image: ImageRow) -> api.ImageReferrer:
    return api.ImageReferrer(
        digest=image.digest,
        media_type=image.media_type,
        artifact_type=image.artifact_type or None,
        size=image.size,
        annotations=image.annotations or None,
        artifact_status=image.status,
    )
