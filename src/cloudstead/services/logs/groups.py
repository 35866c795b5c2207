"""Log groups: create, delete, describe; retention and protection."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from cloudstead.kernel import quotas, tags
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.kernel.store import Table
from cloudstead.services.logs import api, arns
from cloudstead.services.logs.controller import Logs, part
from cloudstead.services.logs.model import CURSORS, GROUPS, METRIC_FILTERS, STREAMS, SUBSCRIPTIONS, LogGroup, new_uid

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
TAG_RULES = tags.Rules(invalid=api.InvalidParameterException, too_many=api.TooManyTagsException)
PAGE = 50


def milliseconds(ctx: Context) -> int:
    return int(ctx.now() * 1000)


def invalid_token() -> Exception:
    return api.InvalidParameterException("The specified nextToken is invalid.")


def find(ctx: Context, name: str) -> LogGroup | None:
    row: LogGroup | None = ctx.table(GROUPS).get((ctx.account, ctx.region, name))
    return row


def require(ctx: Context, name: str) -> LogGroup:
    """The group of that name.

    Raises:
        ResourceNotFoundException
    """
    row = find(ctx, name)
    if row is None:
        raise api.ResourceNotFoundException("The specified log group does not exist.")
    return row


def identified(ctx: Context, identifier: str) -> LogGroup:
    """The group of that name or ARN.

    Raises:
        InvalidParameterException, ResourceNotFoundException
    """
    if not identifier.startswith("arn:"):
        return require(ctx, identifier)
    try:
        arn = Arn.parse(identifier)
    except ValueError as error:
        raise api.InvalidParameterException("The specified log group ARN is invalid.") from error
    if arn.service != "logs" or arn.kind != "log-group" or arn.name.endswith(":*"):
        raise api.InvalidParameterException("The specified log group ARN is invalid.")
    if (arn.account, arn.region) != (ctx.account, ctx.region):
        raise api.ResourceNotFoundException("The specified log group does not exist.")
    return require(ctx, arn.name)


def of_request(ctx: Context, request: Any) -> LogGroup:
    """The group that a request names by `logGroupName` or `logGroupIdentifier`, one of which it must have."""
    name, identifier = request.log_group_name, request.log_group_identifier
    if name is not None and identifier is not None:
        raise api.InvalidParameterException("LogGroupName and LogGroupIdentifier are mutually exclusive parameters.")
    if name is None and identifier is None:
        raise api.InvalidParameterException("Either LogGroupName or LogGroupIdentifier must be specified.")
    return require(ctx, name) if name is not None else identified(ctx, identifier)


def standard_only(group: LogGroup, what: str) -> None:
    """Refuse what AWS does not offer for the other class of groups.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatch_Logs_Log_Classes.html
    """
    if group.log_group_class != "STANDARD":
        raise api.InvalidOperationException(f"{what} is not supported for log groups of the class {group.log_group_class}.")


def refuse(what: str) -> NoReturn:
    """A parameter that Cloudstead would not act on."""
    raise api.InvalidParameterException(f"{what} is not supported by Cloudstead.")


@operation(resource=arns.group)
async def create_log_group(ctx: Context, request: api.CreateLogGroupRequest) -> api.CreateLogGroupResponse:
    """Create an empty group."""
    name = request.log_group_name
    if request.kms_key_id is not None:
        refuse("Encryption with a KMS key")
    if request.log_group_class not in (None, "STANDARD", "INFREQUENT_ACCESS"):
        refuse(f"The log group class {request.log_group_class}")
    if name.lower().startswith("aws/"):
        raise api.InvalidParameterException("Log groups starting with AWS/ are reserved for AWS.")
    if find(ctx, name) is not None:
        raise api.ResourceAlreadyExistsException("The specified log group already exists")
    count = ctx.table(GROUPS).count((ctx.account, ctx.region))
    quotas.require(ctx, "logs", "groups", count, lambda limit: api.LimitExceededException("Resource limit exceeded."))
    group = LogGroup(
        account=ctx.account,
        region=ctx.region,
        name=name,
        uid=new_uid(),
        created=milliseconds(ctx),
        log_group_class="INFREQUENT_ACCESS" if request.log_group_class == "INFREQUENT_ACCESS" else "STANDARD",
        deletion_protection=bool(request.deletion_protection_enabled),
        tags=tags.merge({}, request.tags or {}, TAG_RULES),
    )
    with ctx.transaction() as tx:
        tx.insert(GROUPS, group)
    return api.CreateLogGroupResponse()


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def delete_log_group(ctx: Context, request: api.DeleteLogGroupRequest) -> api.DeleteLogGroupResponse:
    """Delete a group with its streams, filters and events."""
    group = require(ctx, request.log_group_name)
    if group.deletion_protection:
        raise api.ValidationException("The specified log group has deletion protection enabled and cannot be deleted.")
    place = (ctx.account, ctx.region, group.name)
    children: tuple[Table[Any], ...] = (STREAMS, SUBSCRIPTIONS, CURSORS, METRIC_FILTERS)
    with ctx.transaction() as tx:
        for table in children:
            for row in ctx.table(table).scan(place):
                tx.delete(table, table.key(row))
        tx.delete(GROUPS, place)
    await part(ctx).forget_group(group)
    return api.DeleteLogGroupResponse()


@operation(resource=arns.group)
async def describe_log_groups(ctx: Context, request: api.DescribeLogGroupsRequest) -> api.DescribeLogGroupsResponse:
    """The groups of this account and region in the order of their names."""
    prefix, pattern, identifiers = request.log_group_name_prefix, request.log_group_name_pattern, request.log_group_identifiers
    if prefix is not None and pattern is not None:
        raise api.InvalidParameterException("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
    if identifiers is not None and (prefix is not None or pattern is not None):
        raise api.InvalidParameterException("LogGroupIdentifiers cannot be combined with a name prefix or a name pattern.")
    own_account(ctx, request.account_identifiers)
    wanted = None if identifiers is None else {arns.name_in(each) for each in identifiers}

    def matches(group: LogGroup) -> bool:
        if wanted is not None and group.name not in wanted:
            return False
        if request.log_group_class is not None and group.log_group_class != request.log_group_class:
            return False
        return pattern is None or pattern in group.name

    found, token = page(
        ctx,
        GROUPS,
        (ctx.account, ctx.region),
        starts=prefix or "",
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=invalid_token,
        where=matches,
    )
    logs = part(ctx)
    return api.DescribeLogGroupsResponse(log_groups=[describe(ctx, logs, group) for group in found], next_token=token)


def own_account(ctx: Context, identifiers: list[str] | None) -> None:
    """Other accounts are not linked to this one, so they may not be asked for."""
    if identifiers and any(identifier != ctx.account for identifier in identifiers):
        raise api.InvalidParameterException("The specified account identifiers are not linked to this account.")


def describe(ctx: Context, logs: Logs, group: LogGroup) -> api.LogGroup:
    return api.LogGroup(
        log_group_name=group.name,
        creation_time=group.created,
        retention_in_days=group.retention_in_days,
        metric_filter_count=ctx.table(METRIC_FILTERS).count((group.account, group.region, group.name)),
        arn=f"{group.arn()}:*",
        log_group_arn=group.arn(),
        stored_bytes=logs.archive.contents(group.uid).size,
        log_group_class=group.log_group_class,
        deletion_protection_enabled=group.deletion_protection,
    )


@operation(resource=arns.group)
async def list_log_groups(ctx: Context, request: api.ListLogGroupsRequest) -> api.ListLogGroupsResponse:
    """Names, ARNs and classes of the groups; with a pattern of up to five alternatives, those whose names contain one or, after `^`, begin with it."""
    own_account(ctx, request.account_identifiers)
    for what, value in (("dataSources", request.data_sources), ("fieldIndexNames", request.field_index_names)):
        if value is not None:
            refuse(f"Listing log groups by {what}")
    # The model's pattern admits nothing but names, ^ at the beginnings and |, so it is safe as a regular expression with its dots escaped.
    pattern = re.compile((request.log_group_name_pattern or "").replace(".", r"\."))

    def matches(group: LogGroup) -> bool:
        if request.log_group_class is not None and group.log_group_class != request.log_group_class:
            return False
        return pattern.search(group.name) is not None and all(_tagged(group, each) for each in request.log_group_tags or ())

    found, token = page(
        ctx,
        GROUPS,
        (ctx.account, ctx.region),
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=invalid_token,
        where=matches,
    )
    return api.ListLogGroupsResponse(
        log_groups=[
            api.LogGroupSummary(log_group_name=group.name, log_group_arn=group.arn(), log_group_class=group.log_group_class)
            for group in found
        ],
        next_token=token,
    )


def _tagged(group: LogGroup, wanted: api.TagFilter) -> bool:
    """Whether a group has the tag, with one of the values: `!` before a value negates it, `*` at its ends stands for anything."""
    value = group.tags.get(wanted.key)
    if value is None:
        return False
    return not wanted.values or any(_like(value, each) for each in wanted.values)


def _like(value: str, wanted: str) -> bool:
    if wanted.startswith("!"):
        return not _like(value, wanted[1:])
    bare = wanted.strip("*")
    if wanted.startswith("*"):
        return bare in value if wanted.endswith("*") else value.endswith(bare)
    return value.startswith(bare) if wanted.endswith("*") else value == bare


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def put_retention_policy(ctx: Context, request: api.PutRetentionPolicyRequest) -> api.PutRetentionPolicyResponse:
    """Have events deleted when they are so many days old."""
    group = require(ctx, request.log_group_name)
    if request.retention_in_days not in RETENTION_DAYS:
        raise api.InvalidParameterException(
            f"1 validation error detected: Value '{request.retention_in_days}' at 'retentionInDays' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(map(str, RETENTION_DAYS))}]"
        )
    with ctx.transaction() as tx:
        tx.update(GROUPS, group, retention_in_days=request.retention_in_days)
    return api.PutRetentionPolicyResponse()


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def delete_retention_policy(ctx: Context, request: api.DeleteRetentionPolicyRequest) -> api.DeleteRetentionPolicyResponse:
    """Keep events for ever."""
    group = require(ctx, request.log_group_name)
    with ctx.transaction() as tx:
        tx.update(GROUPS, group, retention_in_days=None)
    return api.DeleteRetentionPolicyResponse()


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def put_log_group_deletion_protection(
    ctx: Context, request: api.PutLogGroupDeletionProtectionRequest
) -> api.PutLogGroupDeletionProtectionResponse:
    """Keep a group from being deleted, or no longer."""
    group = identified(ctx, request.log_group_identifier)
    with ctx.transaction() as tx:
        tx.update(GROUPS, group, deletion_protection=request.deletion_protection_enabled)
    return api.PutLogGroupDeletionProtectionResponse()
