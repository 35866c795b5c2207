"""Archives: events of a bus, kept to be replayed. How long: retention.py."""

from __future__ import annotations

from cloudstead.kernel import quotas
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.ids import hex_digits
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.events import api, arns, buses
from cloudstead.services.events.buses import PAGE
from cloudstead.services.events.controller import part
from cloudstead.services.events.model import ARCHIVE_COUNTS, ARCHIVES, Archive, ArchiveCount
from cloudstead.services.events.rules import check_pattern


def require(ctx: Context, name: str) -> Archive:
    """
    Raises:
        ResourceNotFoundException
    """
    row: Archive | None = ctx.table(ARCHIVES).get((ctx.account, ctx.region, name))
    if row is None:
        raise api.ResourceNotFoundException(f"Archive {name} does not exist.")
    return row


def _bus(ctx: Context, text: str) -> str:
    """The name of the bus that an archive is to keep events of: one of the same account and region."""
    try:
        arn = Arn.parse(text)
    except ValueError:
        arn = None
    if arn is None or arn.service != "events" or arn.kind != "event-bus":
        raise ValidationFailed("Parameter EventSourceArn is not valid. Reason: Must contain an event bus ARN.")
    if (arn.account, arn.region) != (ctx.account, ctx.region):
        raise api.ResourceNotFoundException(f"Event bus {arn.name} does not exist.")
    return buses.require(ctx, (arn.account, arn.region, arn.name)).name


def _changed(ctx: Context, row: Archive) -> None:
    part(ctx).router.changed(row.account, row.region, row.bus)


@operation(resource=arns.named("archive", "archive_name"))
async def create_archive(ctx: Context, request: api.CreateArchiveRequest) -> api.CreateArchiveResponse:
    """Keep the events of a bus that are put from now on, all or those that a pattern wants."""
    if request.kms_key_identifier:
        buses.refuse("Encryption with a KMS key")
    if (ctx.account, ctx.region, request.archive_name) in ctx.table(ARCHIVES):
        raise api.ResourceAlreadyExistsException(f"Archive {request.archive_name} already exists.")
    bus = _bus(ctx, request.event_source_arn)
    if request.event_pattern:
        check_pattern(request.event_pattern)
    quotas.require(ctx, "events", "archives", ctx.table(ARCHIVES).count((ctx.account, ctx.region)), buses.limit_exceeded)
    row = Archive(
        account=ctx.account,
        region=ctx.region,
        name=request.archive_name,
        uid=hex_digits(32),
        bus=bus,
        created=ctx.now(),
        description=request.description or None,
        pattern=request.event_pattern or None,
        retention_days=request.retention_days or 0,
    )
    with ctx.transaction() as tx:
        tx.insert(ARCHIVES, row)
        tx.insert(ARCHIVE_COUNTS, ArchiveCount(uid=row.uid))
    _changed(ctx, row)
    return api.CreateArchiveResponse(archive_arn=row.arn(), state="ENABLED", creation_time=row.created)


@operation(resource=arns.named("archive", "archive_name"))
async def update_archive(ctx: Context, request: api.UpdateArchiveRequest) -> api.UpdateArchiveResponse:
    """Change what is kept from now on; what is not given stays."""
    if request.kms_key_identifier:
        buses.refuse("Encryption with a KMS key")
    row = require(ctx, request.archive_name)
    if request.event_pattern is None and request.retention_days is None and request.description is None:
        raise ValidationFailed("At least one of EventPattern, RetentionDays or Description must be provided.")
    if request.event_pattern:
        check_pattern(request.event_pattern)
    with ctx.transaction() as tx:
        row = tx.update(
            ARCHIVES,
            row,
            description=row.description if request.description is None else request.description or None,
            pattern=row.pattern if request.event_pattern is None else request.event_pattern or None,
            retention_days=row.retention_days if request.retention_days is None else request.retention_days,
        )
    _changed(ctx, row)
    return api.UpdateArchiveResponse(archive_arn=row.arn(), state="ENABLED", creation_time=row.created)


@operation(resource=arns.named("archive", "archive_name"))
async def delete_archive(ctx: Context, request: api.DeleteArchiveRequest) -> api.DeleteArchiveResponse:
    """Delete an archive; its events are gone at once for everybody, and soon from the disk."""
    row = require(ctx, request.archive_name)
    with ctx.transaction() as tx:
        tx.delete(ARCHIVES, ARCHIVES.key(row))
    _changed(ctx, row)
    part(ctx).retention.soon()
    return api.DeleteArchiveResponse()


@operation(resource=arns.named("archive", "archive_name"))
async def describe_archive(ctx: Context, request: api.DescribeArchiveRequest) -> api.DescribeArchiveResponse:
    row = require(ctx, request.archive_name)
    count = _count(ctx, row)
    return api.DescribeArchiveResponse(
        archive_arn=row.arn(),
        archive_name=row.name,
        event_source_arn=row.bus_arn(),
        description=row.description,
        event_pattern=row.pattern,
        state="ENABLED",
        retention_days=row.retention_days,
        size_bytes=count.size,
        event_count=count.events,
        creation_time=row.created,
    )


def _count(ctx: Context, row: Archive) -> ArchiveCount:
    return ctx.table(ARCHIVE_COUNTS).get((row.uid,)) or ArchiveCount(uid=row.uid)


@operation(resource="*")
async def list_archives(ctx: Context, request: api.ListArchivesRequest) -> api.ListArchivesResponse:
    filters = (request.name_prefix, request.event_source_arn, request.state)
    if sum(one is not None for one in filters) > 1:
        raise ValidationFailed("At most one filter is allowed for ListArchives. Use either : State, EventSourceArn, or NamePrefix.")
    bus = None if request.event_source_arn is None else _bus(ctx, request.event_source_arn)
    rows, token = page(
        ctx,
        ARCHIVES,
        (ctx.account, ctx.region),
        starts=request.name_prefix or "",
        where=lambda row: (bus is None or row.bus == bus) and request.state in (None, "ENABLED"),
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=buses.invalid_token,
    )
    return api.ListArchivesResponse(archives=[_listed(ctx, row) for row in rows], next_token=token)


def _listed(ctx: Context, row: Archive) -> api.Archive:
    count = _count(ctx, row)
    return api.Archive(
        archive_name=row.name,
        event_source_arn=row.bus_arn(),
        state="ENABLED",
        retention_days=row.retention_days,
        size_bytes=count.size,
        event_count=count.events,
        creation_time=row.created,
    )
