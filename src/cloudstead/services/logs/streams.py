"""Log streams: create, delete, describe."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page, page_of
from cloudstead.services.logs import api, arns, groups
from cloudstead.services.logs.controller import part
from cloudstead.services.logs.index import Contents
from cloudstead.services.logs.model import STREAMS, LogGroup, LogStream, new_uid

PAGE = 50


def require(ctx: Context, group: str, name: str) -> LogStream:
    """The stream of that name.

    Raises:
        ResourceNotFoundException
    """
    row: LogStream | None = ctx.table(STREAMS).get((ctx.account, ctx.region, group, name))
    if row is None:
        raise api.ResourceNotFoundException("The specified log stream does not exist.")
    return row


def of_group(ctx: Context, group: LogGroup, prefix: str = "") -> list[LogStream]:
    return ctx.table(STREAMS).scan((ctx.account, ctx.region, group.name), starts=prefix)


@operation(resource=arns.group, resource_tags=arns.group_tags, resource_policy=arns.account_policies)
async def create_log_stream(ctx: Context, request: api.CreateLogStreamRequest) -> api.CreateLogStreamResponse:
    """Create an empty stream in a group."""
    group = groups.require(ctx, request.log_group_name)
    key = (ctx.account, ctx.region, group.name, request.log_stream_name)
    if key in ctx.table(STREAMS):
        raise api.ResourceAlreadyExistsException("The specified log stream already exists")
    stream = LogStream(
        account=ctx.account,
        region=ctx.region,
        group=group.name,
        name=request.log_stream_name,
        uid=new_uid(),
        group_uid=group.uid,
        created=groups.milliseconds(ctx),
    )
    with ctx.transaction() as tx:
        tx.insert(STREAMS, stream)
    return api.CreateLogStreamResponse()


@operation(resource=arns.stream, resource_tags=arns.group_tags)
async def delete_log_stream(ctx: Context, request: api.DeleteLogStreamRequest) -> api.DeleteLogStreamResponse:
    """Delete a stream with its events."""
    group = groups.require(ctx, request.log_group_name)
    stream = require(ctx, group.name, request.log_stream_name)
    with ctx.transaction() as tx:
        tx.delete(STREAMS, STREAMS.key(stream))
    part(ctx).archive.delete_stream(group.uid, stream.uid)
    return api.DeleteLogStreamResponse()


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def describe_log_streams(ctx: Context, request: api.DescribeLogStreamsRequest) -> api.DescribeLogStreamsResponse:
    """The streams of a group, by name or by the time of their last event."""
    group = groups.of_request(ctx, request)
    by_time = request.order_by == "LastEventTime"
    prefix = request.log_stream_name_prefix
    if by_time and prefix is not None:
        raise api.InvalidParameterException("Cannot order by LastEventTime with a logStreamNamePrefix.")
    contents = part(ctx).archive.contents(group.uid)
    limit = request.limit or PAGE
    if by_time:

        def place(stream: LogStream) -> tuple[int, str]:
            known = contents.streams.get(stream.uid)
            last = 0 if known is None else known.high
            return (-last if request.descending else last), stream.name

        found, token = page_of(
            ctx,
            of_group(ctx, group),
            key=place,
            request=request,
            token=request.next_token,
            limit=limit,
            invalid=groups.invalid_token,
        )
    else:
        found, token = page(
            ctx,
            STREAMS,
            (ctx.account, ctx.region, group.name),
            starts=prefix or "",
            reverse=bool(request.descending),
            request=request,
            token=request.next_token,
            limit=limit,
            invalid=groups.invalid_token,
        )
    return api.DescribeLogStreamsResponse(log_streams=[describe(group, contents, stream) for stream in found], next_token=token)


def describe(group: LogGroup, contents: Contents, stream: LogStream) -> api.LogStream:
    described = api.LogStream(
        log_stream_name=stream.name,
        creation_time=stream.created,
        arn=f"{group.arn()}:log-stream:{stream.name}",
        stored_bytes=0,  # AWS answers 0 for streams since 2019
    )
    known = contents.streams.get(stream.uid)
    if known is not None:
        described.first_event_timestamp = known.low
        described.last_event_timestamp = known.high
        described.last_ingestion_time = known.ingested
        described.upload_sequence_token = sequence_token(known.count)
    return described


def sequence_token(number: int) -> str:
    """Tokens are no longer looked at, but AWS still answers them: 56 digits beginning with 49."""
    return f"49{number:054d}"
