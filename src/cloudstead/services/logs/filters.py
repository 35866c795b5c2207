"""Subscription filters and metric filters: put, describe, delete, try out."""

from __future__ import annotations

import msgspec

from cloudstead.kernel import quotas
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.logs import api, arns, delivery, groups
from cloudstead.services.logs.controller import part
from cloudstead.services.logs.filterpattern.document import read_selector
from cloudstead.services.logs.filterpattern.pattern import InvalidPattern, Reader
from cloudstead.services.logs.log_events import pattern_of
from cloudstead.services.logs.model import (
    CURSORS,
    METRIC_FILTERS,
    SUBSCRIPTIONS,
    LogGroup,
    MetricFilter,
    SubscriptionFilter,
    Transformation,
)

PAGE = 50
MOST_REGEX_FILTERS = 5  # of a group
MOST_DIMENSIONS = 3


def _refuse_transformed(request: api.PutSubscriptionFilterRequest | api.PutMetricFilterRequest) -> None:
    if request.apply_on_transformed_logs:
        groups.refuse("applyOnTransformedLogs, because log transformation")
    if request.field_selection_criteria:
        groups.refuse("fieldSelectionCriteria")


def _require_room_for_regex(ctx: Context, group: LogGroup, pattern: str, own: tuple[str, ...]) -> None:
    """Refuse the sixth filter of a group that has a regular expression."""
    compiled = pattern_of(pattern)
    if compiled is None or not compiled.regexes:
        return
    place = (ctx.account, ctx.region, group.name)
    others = [row for table in (SUBSCRIPTIONS, METRIC_FILTERS) for row in ctx.table(table).scan(place) if table.key(row) != own]
    if sum((found := pattern_of(row.pattern)) is not None and found.regexes > 0 for row in others) >= MOST_REGEX_FILTERS:
        raise api.LimitExceededException("Resource limit exceeded.")


# Subscription filters.


def _subscription_resources(ctx: Context, request: api.PutSubscriptionFilterRequest) -> list[str]:
    found = [arns.group(ctx, request)]
    if ":destination:" in request.destination_arn:
        found.append(request.destination_arn)
    return found


@operation(
    resource=_subscription_resources,
    resource_tags=arns.group_tags,
    resource_policy=arns.destination_policy,
    conditions=lambda ctx, request: {"logs:DestinationArn": request.destination_arn},
)
async def put_subscription_filter(ctx: Context, request: api.PutSubscriptionFilterRequest) -> api.PutSubscriptionFilterResponse:
    """Deliver matching events from now on; the destination is tried out first."""
    group = groups.require(ctx, request.log_group_name)
    groups.standard_only(group, "A subscription filter")
    _refuse_transformed(request)
    if request.emit_system_fields:
        groups.refuse("emitSystemFields")
    pattern_of(request.filter_pattern)
    key = (ctx.account, ctx.region, group.name, request.filter_name)
    _require_room(ctx, group, request)
    await _try_destination(ctx, request)
    group = groups.require(ctx, request.log_group_name)  # it may have gone while the destination was tried out
    old = _require_room(ctx, group, request)  # and others may have put filters
    row = SubscriptionFilter(
        account=ctx.account,
        region=ctx.region,
        group=group.name,
        name=request.filter_name,
        pattern=request.filter_pattern,
        destination=request.destination_arn,
        created=groups.milliseconds(ctx) if old is None else old.created,
        role=request.role_arn or "",
        distribution=request.distribution or "ByLogStream",
    )
    with ctx.transaction() as tx:
        tx.put(SUBSCRIPTIONS, row)
        if old is None:
            part(ctx).deliveries.begin(tx, group.uid, key)
    return api.PutSubscriptionFilterResponse()


def _require_room(ctx: Context, group: LogGroup, request: api.PutSubscriptionFilterRequest) -> SubscriptionFilter | None:
    """The filter that the request replaces; a new one must have room beside the others.

    Raises:
        LimitExceededException
    """
    place = (ctx.account, ctx.region, group.name)
    key = (*place, request.filter_name)
    old: SubscriptionFilter | None = ctx.table(SUBSCRIPTIONS).get(key)
    if old is None:
        count = ctx.table(SUBSCRIPTIONS).count(place)
        quotas.require(ctx, "logs", "subscription_filters", count, lambda limit: api.LimitExceededException("Resource limit exceeded."))
    _require_room_for_regex(ctx, group, request.filter_pattern, key)
    return old


async def _try_destination(ctx: Context, request: api.PutSubscriptionFilterRequest) -> None:
    """Refuse a destination that is of no known kind, may not be used, or does not take a test message."""
    try:
        arn = Arn.parse(request.destination_arn)
    except ValueError as error:
        raise api.InvalidParameterException("The specified destination ARN is invalid.") from error
    kinds = {"lambda": "lambda function", "kinesis": "Kinesis stream", "firehose": "Firehose stream", "logs": "destination"}
    if arn.service not in kinds:
        raise api.InvalidParameterException(f"PutSubscriptionFilter operation cannot work with destinationArn for vendor {arn.service}")
    if arn.service != "logs" and arn.account != ctx.account:
        raise api.InvalidParameterException("The destination must belong to the same account as the subscription filter.")
    if request.role_arn is not None:
        if arn.service == "lambda":
            raise api.InvalidParameterException("destinationArn for vendor lambda cannot be used with roleArn")
        ctx.require("iam:PassRole", request.role_arn, {"iam:PassedToService": delivery.PRINCIPAL})
    elif arn.service in ("kinesis", "firehose"):
        raise api.InvalidParameterException(f"destinationArn for vendor {arn.service} cannot be used without roleArn")
    service = ctx.cloud.service_context(delivery.PRINCIPAL, ctx.account, ctx.region)
    try:
        await delivery.probe(service, request.destination_arn)
    except LookupError:
        raise api.InvalidParameterException(
            "Could not deliver test message to specified destination. Check if the destination is valid."
        ) from None
    except Exception as error:
        if arn.service == "lambda":
            sentence = (
                "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your function."
            )
        else:
            what = kinds[arn.service]
            sentence = f"Could not deliver test message to specified {what}. Check if the given {what} is in ACTIVE state."
        raise api.InvalidParameterException(sentence) from error


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def describe_subscription_filters(
    ctx: Context, request: api.DescribeSubscriptionFiltersRequest
) -> api.DescribeSubscriptionFiltersResponse:
    group = groups.require(ctx, request.log_group_name)
    rows, token = page(
        ctx,
        SUBSCRIPTIONS,
        (ctx.account, ctx.region, group.name),
        starts=request.filter_name_prefix or "",
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=groups.invalid_token,
    )
    found = [
        api.SubscriptionFilter(
            filter_name=row.name,
            log_group_name=row.group,
            filter_pattern=row.pattern,
            destination_arn=row.destination,
            role_arn=row.role or None,
            distribution=row.distribution,
            creation_time=row.created,
            apply_on_transformed_logs=False,
        )
        for row in rows
    ]
    return api.DescribeSubscriptionFiltersResponse(subscription_filters=found, next_token=token)


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def delete_subscription_filter(ctx: Context, request: api.DeleteSubscriptionFilterRequest) -> api.DeleteSubscriptionFilterResponse:
    group = groups.require(ctx, request.log_group_name)
    key = (ctx.account, ctx.region, group.name, request.filter_name)
    if key not in ctx.table(SUBSCRIPTIONS):
        raise api.ResourceNotFoundException("The specified subscription filter does not exist.")
    with ctx.transaction() as tx:
        tx.delete(SUBSCRIPTIONS, key)
        tx.delete(CURSORS, key)
    part(ctx).deliveries.end(group.uid, key)
    return api.DeleteSubscriptionFilterResponse()


# Metric filters.


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def put_metric_filter(ctx: Context, request: api.PutMetricFilterRequest) -> api.PutMetricFilterResponse:
    """Count matching events from now on."""
    group = groups.require(ctx, request.log_group_name)
    groups.standard_only(group, "A metric filter")
    _refuse_transformed(request)
    if request.emit_system_field_dimensions:
        groups.refuse("emitSystemFieldDimensions")
    pattern_of(request.filter_pattern)
    key = (ctx.account, ctx.region, group.name, request.filter_name)
    old: MetricFilter | None = ctx.table(METRIC_FILTERS).get(key)
    if old is None:
        count = ctx.table(METRIC_FILTERS).count(key[:3])
        quotas.require(ctx, "logs", "metric_filters", count, lambda limit: api.LimitExceededException("Resource limit exceeded."))
    _require_room_for_regex(ctx, group, request.filter_pattern, key)
    row = MetricFilter(
        account=ctx.account,
        region=ctx.region,
        group=group.name,
        name=request.filter_name,
        pattern=request.filter_pattern,
        transformation=_transformation(request),
        created=groups.milliseconds(ctx) if old is None else old.created,
    )
    with ctx.transaction() as tx:
        tx.put(METRIC_FILTERS, row)
    part(ctx).metrics.changed(group.uid)
    return api.PutMetricFilterResponse()


def _transformation(request: api.PutMetricFilterRequest) -> Transformation:
    given = request.metric_transformations[0]
    dimensions = dict(given.dimensions or {})
    if given.default_value is not None and dimensions:
        raise api.InvalidParameterException("Invalid metric transformation: default value and dimensions are mutually exclusive.")
    if len(dimensions) > MOST_DIMENSIONS:
        raise api.InvalidParameterException(f"Invalid metric transformation: at most {MOST_DIMENSIONS} dimensions are allowed.")
    if given.metric_namespace.startswith("AWS/"):
        raise api.InvalidParameterException("Invalid metric transformation: namespaces beginning with AWS/ are reserved.")
    for field in (given.metric_value, *dimensions.values()):
        if not _is_field(field, plain_number=field is given.metric_value):
            raise api.InvalidParameterException(f"Invalid metric transformation: {field} is neither a number nor a field of the log event.")
    return Transformation(
        name=given.metric_name,
        namespace=given.metric_namespace,
        value=given.metric_value,
        default=given.default_value,
        dimensions=dimensions,
        unit=given.unit or "",
    )


def _is_field(text: str, *, plain_number: bool) -> bool:
    if not text.startswith("$"):
        if not plain_number:
            return False
        try:
            return abs(float(text)) < float("inf")
        except ValueError:
            return False
    if text[1:].replace("_", "").replace("-", "").replace(".", "").isalnum() and not text.startswith("$."):
        return True
    reader = Reader(text)
    try:
        read_selector(reader)
    except InvalidPattern:
        return False
    return not reader.rest


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def describe_metric_filters(ctx: Context, request: api.DescribeMetricFiltersRequest) -> api.DescribeMetricFiltersResponse:
    """The metric filters of a group, or of all groups."""
    if (request.metric_name is None) != (request.metric_namespace is None):
        raise api.InvalidParameterException("Both metricName and metricNamespace must be specified, or neither.")
    place: tuple[str, ...] = (ctx.account, ctx.region)
    prefix = request.filter_name_prefix or ""
    if request.log_group_name is not None:
        place = (*place, groups.require(ctx, request.log_group_name).name)

    def matches(row: MetricFilter) -> bool:
        made = row.transformation
        if request.metric_name is not None and (made.name, made.namespace) != (request.metric_name, request.metric_namespace):
            return False
        return row.name.startswith(prefix)

    rows, token = page(
        ctx,
        METRIC_FILTERS,
        place,
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=groups.invalid_token,
        where=matches,
    )
    return api.DescribeMetricFiltersResponse(metric_filters=[_describe_metric_filter(row) for row in rows], next_token=token)


def _describe_metric_filter(row: MetricFilter) -> api.MetricFilter:
    made = row.transformation
    return api.MetricFilter(
        filter_name=row.name,
        filter_pattern=row.pattern,
        log_group_name=row.group,
        creation_time=row.created,
        apply_on_transformed_logs=False,
        metric_transformations=[
            msgspec.convert(
                {
                    "metricName": made.name,
                    "metricNamespace": made.namespace,
                    "metricValue": made.value,
                    **({"defaultValue": made.default} if made.default is not None else {}),
                    **({"dimensions": made.dimensions} if made.dimensions else {}),
                    **({"unit": made.unit} if made.unit else {}),
                },
                api.MetricTransformation,
            )
        ],
    )


@operation(resource=arns.group, resource_tags=arns.group_tags)
async def delete_metric_filter(ctx: Context, request: api.DeleteMetricFilterRequest) -> api.DeleteMetricFilterResponse:
    group = groups.require(ctx, request.log_group_name)
    key = (ctx.account, ctx.region, group.name, request.filter_name)
    if key not in ctx.table(METRIC_FILTERS):
        raise api.ResourceNotFoundException("The specified metric filter does not exist.")
    with ctx.transaction() as tx:
        tx.delete(METRIC_FILTERS, key)
    part(ctx).metrics.changed(group.uid)
    return api.DeleteMetricFilterResponse()


@operation(resource="*")
async def test_metric_filter(ctx: Context, request: api.TestMetricFilterRequest) -> api.TestMetricFilterResponse:
    """Which of some messages a pattern matches, and what it extracts of them."""
    pattern = pattern_of(request.filter_pattern)
    matches = []
    for number, message in enumerate(request.log_event_messages, 1):
        extracted = {} if pattern is None else pattern.extract(message.encode("utf-8", "replace"))
        if extracted is not None:
            matches.append(api.MetricFilterMatchRecord(event_number=number, event_message=message, extracted_values=extracted))
    return api.TestMetricFilterResponse(matches=matches)
