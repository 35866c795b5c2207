"""Logs Insights: start a query, get its results, stop it; saved queries."""

from __future__ import annotations

import msgspec

from cloudstead.kernel import idempotency, quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import uuid4
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page, page_of
from cloudstead.services.logs import api, arns, groups, streams
from cloudstead.services.logs.controller import part
from cloudstead.services.logs.insights.language import parse
from cloudstead.services.logs.insights.pool import MOST_RUNNING, Run
from cloudstead.services.logs.insights.stages import MOST_ROWS
from cloudstead.services.logs.insights.tokens import Malformed
from cloudstead.services.logs.insights.worker import Job, JobGroup
from cloudstead.services.logs.log_events import bounds, named, record
from cloudstead.services.logs.model import QUERY_DEFINITIONS, LogGroup, QueryDefinition

MOST_GROUPS = 50
PAGE = 1000
_SAMPLE = 1000  # events of which the fields of a group are learnt
_SECONDS_BELOW = 100_000_000_000  # a larger time is taken to be in milliseconds


@operation(resource=arns.groups)
async def start_query(ctx: Context, request: api.StartQueryRequest) -> api.StartQueryResponse:
    """Start a query over up to 50 groups; it runs in a process of its own."""
    if request.query_language not in (None, "CWLI"):
        groups.refuse(f"The query language {request.query_language}")
    queried = _queried(ctx, request)
    start, end = _milliseconds(request.start_time), _milliseconds(request.end_time) + (999 if request.end_time < _SECONDS_BELOW else 0)
    if start > end:
        raise api.InvalidParameterException("startTime cannot be greater than endTime.")
    try:
        parse(request.query_string)
    except Malformed as error:
        location = api.QueryCompileErrorLocation(start_char_offset=error.start, end_char_offset=error.end)
        raise api.MalformedQueryException(
            str(error), query_compile_error=api.QueryCompileError(location=location, message=str(error))
        ) from None
    logs = part(ctx)
    if logs.queries.running(ctx.account, ctx.region) >= MOST_RUNNING:
        raise api.LimitExceededException("Account maximum query concurrency limit of [30] reached.")
    run = Run(
        id=uuid4(),
        account=ctx.account,
        region=ctx.region,
        text=request.query_string,
        groups=tuple(group.name for group in queried),
        created=groups.milliseconds(ctx),
        caller=ctx.identity.arn,
    )
    limit = min(request.limit or MOST_ROWS, MOST_ROWS)
    logs.queries.start(run, lambda: _job(ctx, run, queried, start, end, limit))
    return api.StartQueryResponse(query_id=run.id)


def _queried(ctx: Context, request: api.StartQueryRequest) -> list[LogGroup]:
    given = [request.log_group_name, request.log_group_names, request.log_group_identifiers]
    if sum(each is not None for each in given) != 1:
        raise api.InvalidParameterException("Exactly one of logGroupName, logGroupNames and logGroupIdentifiers must be specified.")
    names = [request.log_group_name] if request.log_group_name is not None else request.log_group_names or []
    found = [groups.require(ctx, name) for name in names]
    found += [groups.identified(ctx, identifier) for identifier in request.log_group_identifiers or ()]
    if not 1 <= len(found) <= MOST_GROUPS:
        raise api.InvalidParameterException(f"Between 1 and {MOST_GROUPS} log groups must be specified.")
    return found


def _milliseconds(time: int) -> int:
    return time * 1000 if time < _SECONDS_BELOW else time


def _job(ctx: Context, run: Run, queried: list[LogGroup], start: int, end: int, limit: int) -> Job:
    """What there is to read now."""
    archive = part(ctx).archive
    found = []
    for group in queried:
        contents = archive.contents(group.uid)
        since = 0
        if group.retention_in_days is not None:
            since = groups.milliseconds(ctx) - group.retention_in_days * 86_400_000
        found.append(
            JobGroup(
                uid=group.uid,
                label=f"{group.account}:{group.name}",
                segments=list(contents.segments),
                batches=[msgspec.structs.replace(batch, files=None) for batches in contents.batches.values() for batch in batches],
                streams={stream.uid: stream.name for stream in streams.of_group(ctx, group)},
                since=since,
            )
        )
    return Job(folder=str(archive.folder.absolute()), query=run.text, start=start, end=end, groups=found, limit=limit)


def _require(ctx: Context, id_: str) -> Run:
    run = part(ctx).queries.find(ctx.account, ctx.region, id_)
    if run is None:
        raise api.ResourceNotFoundException("Specified query does not exist.")
    return run


@operation(resource="*")
async def get_query_results(ctx: Context, request: api.GetQueryResultsRequest) -> api.GetQueryResultsResponse:
    """The results of a query that is complete; none while it runs."""
    run = _require(ctx, request.query_id)
    rows, token = page_of(
        ctx,
        list(enumerate(run.outcome.rows)),
        key=lambda numbered: numbered[0],
        request=f"GetQueryResults {run.id}",
        token=request.next_token,
        limit=request.max_items or MOST_ROWS,
        invalid=groups.invalid_token,
    )
    return api.GetQueryResultsResponse(
        query_language="CWLI",
        results=[[api.ResultField(field=name, value=value) for name, value in row.items()] for _, row in rows],
        statistics=api.QueryStatistics(
            records_matched=run.outcome.matched,
            records_scanned=run.outcome.scanned,
            bytes_scanned=run.outcome.scanned_bytes,
            estimated_records_skipped=0.0,
            estimated_bytes_skipped=0.0,
            log_groups_scanned=float(len(run.groups)),
        ),
        status=run.status,
        next_token=token,
    )


@operation(resource="*")
async def list_log_groups_for_query(ctx: Context, request: api.ListLogGroupsForQueryRequest) -> api.ListLogGroupsForQueryResponse:
    """The groups that a query was started over."""
    run = _require(ctx, request.query_id)
    names, token = page_of(
        ctx,
        run.groups,
        key=lambda name: name,
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=groups.invalid_token,
    )
    return api.ListLogGroupsForQueryResponse(log_group_identifiers=names, next_token=token)


@operation(resource="*")
async def stop_query(ctx: Context, request: api.StopQueryRequest) -> api.StopQueryResponse:
    run = _require(ctx, request.query_id)
    if not part(ctx).queries.cancel(run):
        raise api.InvalidParameterException(f"Query with id [{run.id}] has already ended with status [{run.status}]")
    return api.StopQueryResponse(success=True)


@operation(resource="*")
async def describe_queries(ctx: Context, request: api.DescribeQueriesRequest) -> api.DescribeQueriesResponse:
    """The queries of this account and region that are remembered, the latest first."""

    def matches(run: Run) -> bool:
        if request.log_group_name is not None and request.log_group_name not in run.groups:
            return False
        if request.query_language not in (None, "CWLI"):
            return False
        return request.status is None or run.status == request.status

    runs, token = page_of(
        ctx,
        [run for run in part(ctx).queries.of(ctx.account, ctx.region) if matches(run)],
        key=lambda run: (-run.created, run.id),
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=groups.invalid_token,
    )
    found = [
        api.QueryInfo(
            query_language="CWLI",
            query_id=run.id,
            query_string=run.text,
            status=run.status,
            create_time=run.created,
            log_group_name=run.groups[0] if len(run.groups) == 1 else None,
            query_duration=max(0, run.finished - run.created) if not run.running else None,
            bytes_scanned=run.outcome.scanned_bytes,
            user_identity=run.caller,
        )
        for run in runs
    ]
    return api.DescribeQueriesResponse(queries=found, next_token=token)


@operation(resource="*")
async def put_query_definition(ctx: Context, request: api.PutQueryDefinitionRequest) -> api.PutQueryDefinitionResponse:
    """Save a query under a name, or change one that was saved."""
    if request.query_language not in (None, "CWLI"):
        groups.refuse(f"The query language {request.query_language}")
    if request.parameters:
        groups.refuse("A saved query with parameters")
    if (known := idempotency.recall(ctx, request, str, mismatch=_other_request)) is not None:
        return api.PutQueryDefinitionResponse(query_definition_id=known)
    view = ctx.table(QUERY_DEFINITIONS)
    place = (ctx.account, ctx.region)
    if request.query_definition_id is not None and (*place, request.query_definition_id) not in view:
        raise api.ResourceNotFoundException("The specified query definition does not exist.")
    if request.query_definition_id is None:
        quotas.require(
            ctx, "logs", "query_definitions", view.count(place), lambda limit: api.LimitExceededException("Resource limit exceeded.")
        )
    row = QueryDefinition(
        account=ctx.account,
        region=ctx.region,
        id=request.query_definition_id or uuid4(),
        name=request.name,
        query=request.query_string,
        modified=groups.milliseconds(ctx),
        groups=tuple(request.log_group_names or ()),
    )
    with ctx.transaction() as tx:
        tx.put(QUERY_DEFINITIONS, row)
        idempotency.record(ctx, tx, request, row.id)
    return api.PutQueryDefinitionResponse(query_definition_id=row.id)


def _other_request() -> Exception:
    return api.InvalidParameterException("The client token was used with other parameters before.")


@operation(resource="*")
async def describe_query_definitions(ctx: Context, request: api.DescribeQueryDefinitionsRequest) -> api.DescribeQueryDefinitionsResponse:
    prefix = request.query_definition_name_prefix or ""
    rows, token = page(
        ctx,
        QUERY_DEFINITIONS,
        (ctx.account, ctx.region),
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=groups.invalid_token,
        where=lambda row: row.name.startswith(prefix) and request.query_language in (None, "CWLI"),
    )
    found = [
        api.QueryDefinition(
            query_language="CWLI",
            query_definition_id=row.id,
            name=row.name,
            query_string=row.query,
            last_modified=row.modified,
            log_group_names=list(row.groups) or None,
        )
        for row in rows
    ]
    return api.DescribeQueryDefinitionsResponse(query_definitions=found, next_token=token)


@operation(resource="*")
async def delete_query_definition(ctx: Context, request: api.DeleteQueryDefinitionRequest) -> api.DeleteQueryDefinitionResponse:
    with ctx.transaction() as tx:
        if tx.delete(QUERY_DEFINITIONS, (ctx.account, ctx.region, request.query_definition_id)) is None:
            raise api.ResourceNotFoundException("The specified query definition does not exist.")
    return api.DeleteQueryDefinitionResponse(success=True)


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def get_log_group_fields(ctx: Context, request: api.GetLogGroupFieldsRequest) -> api.GetLogGroupFieldsResponse:
    """The fields of a group's latest events in fifteen minutes, or around a time, and in how many of a hundred events each is."""
    group = groups.of_request(ctx, request)
    after, before = bounds(ctx, group, *_quarter_of_an_hour(ctx, request.time))
    found = await part(ctx).archive.read(group.uid, after=after, before=before, descending=True, limit=_SAMPLE)
    counts: dict[str, int] = {}
    for entry, stream in named(ctx, found.entries):
        for field in record(group, stream, entry):
            counts[field] = counts.get(field, 0) + 1
    total = max(1, len(found.entries))
    fields = [api.LogGroupField(name=name, percent=round(100 * count / total)) for name, count in counts.items() if name != "@ptr"]
    return api.GetLogGroupFieldsResponse(log_group_fields=sorted(fields, key=lambda field: (-(field.percent or 0), field.name or "")))


def _quarter_of_an_hour(ctx: Context, around: int | None) -> tuple[int, int | None]:
    """The last fifteen minutes; or eight minutes before and after a time, as AWS says."""
    if around is None:
        return groups.milliseconds(ctx) - 900_000, None
    middle = _milliseconds(around)
    return max(0, middle - 480_000), middle + 480_000
