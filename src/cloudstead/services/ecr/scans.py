"""Scans: have an image scanned, tell what was found. The scanning itself is in scanning/."""

from __future__ import annotations

from typing import cast

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.ecr import api, arns, image_ids, repositories
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import SCANS, Finding, Scan
from cloudstead.services.ecr.scanning import scanner

PAGE = 100


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def start_image_scan(ctx: Context, request: api.StartImageScanRequest) -> api.StartImageScanResponse:
    """Scan an image, as often as one likes: AWS's limit of once a day is not kept to. One whose scan is under way is not begun anew."""
    row = repositories.of(ctx, request)
    image, tag = image_ids.require(catalog(ctx), row, request.image_id)
    if not scanner.is_scannable(image):
        raise api.UnsupportedImageTypeException(
            f"The image with imageId {image_ids.shown(request.image_id)} is of a type that cannot be scanned: {image.artifact_type or image.media_type}"
        )
    if image.status != "ACTIVE":
        raise api.ImageArchivedException(
            f"The image with imageId {image_ids.shown(request.image_id)} is archived; it can be scanned when it is restored"
        )
    scan = ctx.table(SCANS).get((*row.key, image.digest))
    if scan is None or scan.status != scanner.IN_PROGRESS:
        with ctx.transaction() as tx:
            scan = scanner.want(tx, row, image, ctx.now())
    return api.StartImageScanResponse(
        registry_id=row.account,
        repository_name=row.name,
        image_id=image_ids.identifier(image.digest, tag),
        image_scan_status=status(scan),
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def describe_image_scan_findings(
    ctx: Context, request: api.DescribeImageScanFindingsRequest
) -> api.DescribeImageScanFindingsResponse:
    """What the last scan of an image found, by the page, the worst first."""
    row = repositories.of(ctx, request)
    image, tag = image_ids.require(catalog(ctx), row, request.image_id)
    scan = ctx.table(SCANS).get((*row.key, image.digest))
    if scan is None:
        raise api.ScanNotFoundException(
            f"Image scan does not exist for the image with '{image_ids.shown(request.image_id)}' in the repository with name '{row.name}' "
            f"in the registry with id '{row.account}'"
        )
    found, token = _page(ctx, request, scan)
    return api.DescribeImageScanFindingsResponse(
        registry_id=row.account,
        repository_name=row.name,
        image_id=image_ids.identifier(image.digest, tag),
        image_scan_status=status(scan),
        image_scan_findings=None if scan.status != "COMPLETE" else _describe(scan, found),
        next_token=token,
    )


def status(scan: Scan) -> api.ImageScanStatus:
    return api.ImageScanStatus(status=cast(api.ScanStatus, scan.status), description=scan.description or None)


def _page(ctx: Context, request: api.DescribeImageScanFindingsRequest, scan: Scan) -> tuple[list[Finding], str | None]:
    """A token belongs to one scan: after another its place may be that of something else."""
    from cloudstead.services.ecr.scanning import findings  # brings zstd

    numbered, token = page_of(
        ctx,
        enumerate(findings.unpack(scan.findings)),
        key=lambda each: each[0],
        request=f"{request.operation} {'/'.join(SCANS.key(scan))} {scan.requested}",
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=repositories.invalid_token,
    )
    return [finding for _, finding in numbered], token


def _describe(scan: Scan, found: list[Finding]) -> api.ImageScanFindings:
    return api.ImageScanFindings(
        image_scan_completed_at=scan.completed,
        vulnerability_source_updated_at=scan.source_updated,
        finding_severity_counts=cast(dict[api.FindingSeverity, int], scan.counts),
        findings=[
            api.ImageScanFinding(
                name=each.name,
                description=each.description,
                uri=each.uri,
                severity=cast(api.FindingSeverity, each.severity),
                attributes=[api.Attribute(key=key, value=value) for key, value in each.attributes],
            )
            for each in found
        ],
    )
