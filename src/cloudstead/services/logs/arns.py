"""The ARNs of CloudWatch Logs, for what operations declare.

What IAM is asked for a log group is not the ARN that DescribeLogGroups shows: it is the group's ARN followed by `:log-stream:` and the stream, which is
empty where no stream is meant. That is why policies name `log-group:name:*`. Only tagging asks for the bare ARN.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.services.logs.model import DESTINATIONS, GROUPS

_GROUP = "log-group:"


def group_arn(ctx: Context, name: str) -> str:
    return f"arn:{ctx.partition}:logs:{ctx.region}:{ctx.account}:log-group:{name}"


def stream_arn(ctx: Context, group: str, stream: str) -> str:
    return f"{group_arn(ctx, group)}:log-stream:{stream}"


def destination_arn(ctx: Context, name: str) -> str:
    return f"arn:{ctx.partition}:logs:{ctx.region}:{ctx.account}:destination:{name}"


def name_in(identifier: str) -> str:
    """The name of the log group that an identifier (a name or an ARN, with or without `:*`) is about."""
    if identifier.startswith("arn:"):
        return identifier.partition(f":{_GROUP}")[2].removesuffix(":*")
    return identifier


def name_of(request: Any) -> str:
    """The name of the log group that a request is about; empty when it says none."""
    name = getattr(request, "log_group_name", None) or getattr(request, "log_group_identifier", None) or ""
    return name_in(name)


def group(ctx: Context, request: Any) -> str:
    return stream_arn(ctx, name_of(request), "")


def stream(ctx: Context, request: Any) -> str:
    return stream_arn(ctx, name_of(request), request.log_stream_name)


def groups(ctx: Context, request: Any) -> list[str]:
    """For the operations on several groups."""
    names = [*(getattr(request, "log_group_names", None) or ()), *(getattr(request, "log_group_identifiers", None) or ())]
    if name := name_of(request):
        names.append(name)
    return [stream_arn(ctx, name_in(name), "") for name in names] or [stream_arn(ctx, "", "")]


def destination(ctx: Context, request: Any) -> str:
    return destination_arn(ctx, request.destination_name)


def tagged(ctx: Context, request: Any) -> str:
    """Of the operations on the tags of any resource."""
    return str(request.resource_arn).removesuffix(":*")


def group_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    row = ctx.table(GROUPS).get((ctx.account, ctx.region, name_of(request)))
    return {} if row is None else row.tags


def tags_of_tagged(ctx: Context, request: Any) -> Mapping[str, str]:
    try:
        arn = Arn.parse(request.resource_arn.removesuffix(":*"))
    except ValueError:
        return {}
    table = GROUPS if arn.kind == "log-group" else DESTINATIONS
    row = ctx.table(table).get((ctx.account, ctx.region, arn.name))
    return {} if row is None else row.tags
