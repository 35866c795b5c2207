"""The ARNs of CloudWatch Logs, for what operations declare.

What IAM is asked for a log group is not the ARN that DescribeLogGroups shows: it is the group's ARN followed by `:log-stream:` and the stream, which is
empty where no stream is meant. That is why policies name `log-group:name:*`. Only tagging asks for the bare ARN.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.services.logs.model import DESTINATIONS, GROUPS, RESOURCE_POLICIES

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


def destination_tags(ctx: Context, request: Any) -> Mapping[str, str]:
    row = ctx.table(DESTINATIONS).get((ctx.account, ctx.region, request.destination_name))
    return {} if row is None else row.tags


def account_policies(ctx: Context, request: Any) -> str | None:
    """The account's resource policies as one document; None when there are none."""
    documents = tuple(row.document for row in ctx.table(RESOURCE_POLICIES).scan((ctx.account, ctx.region)))
    return _joined(documents) if documents else None


@lru_cache(256)
def _joined(documents: tuple[str, ...]) -> str:
    statements: list[Any] = []
    for document in documents:
        found = json.loads(document)["Statement"]
        statements += found if isinstance(found, list) else [found]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def destination_policy(ctx: Context, request: Any) -> str | None:
    """The policy of the logical destination that a subscription filter is to deliver to."""
    try:
        arn = Arn.parse(request.destination_arn)
    except ValueError:
        return None
    row = ctx.table(DESTINATIONS).get((arn.account, arn.region, arn.name)) if arn.service == "logs" else None
    return None if row is None else row.policy


def tags_of_tagged(ctx: Context, request: Any) -> Mapping[str, str]:
    try:
        arn = Arn.parse(request.resource_arn.removesuffix(":*"))
    except ValueError:
        return {}
    table = GROUPS if arn.kind == "log-group" else DESTINATIONS
    row = ctx.table(table).get((ctx.account, ctx.region, arn.name))
    return {} if row is None else row.tags
