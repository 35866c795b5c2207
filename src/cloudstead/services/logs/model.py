"""The rows that CloudWatch Logs keeps.

    account
    └── region
        ├── groups/<name>                            class, retention, tags                            LogGroup
        │   ├── streams/<name>                                                                         LogStream
        │   ├── subscription-filters/<name>          where matching events are delivered               SubscriptionFilter
        │   │   └── cursor                           up to which event they were                       Cursor
        │   └── metric-filters/<name>                what matching events are counted as               MetricFilter
        ├── destinations/<name>                      a name for a stream of another account            Destination
        ├── resource-policies/<name>                 which services may write                          ResourcePolicy
        └── query-definitions/<id>                   saved queries                                     QueryDefinition

Log events are no rows: they lie in the archive (archive.py), under the `uid` of their group and stream, which is never used again. So a group that
is deleted and made again is empty, and no name reaches the file system. First and last event and the bytes of a stream are known
to the archive's index too; accepting events writes no row.
Times are milliseconds since the epoch, as everywhere in this service.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from cloudstead.kernel import quotas
from cloudstead.kernel.ids import hex_digits
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import Row, Table

GroupClass: TypeAlias = Literal["STANDARD", "INFREQUENT_ACCESS"]


class LogGroup(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    uid: int  # 63 bits
    created: int
    log_group_class: GroupClass = "STANDARD"
    retention_in_days: int | None = None
    deletion_protection: bool = False
    tags: dict[str, str] = {}

    def arn(self) -> str:
        return f"arn:aws:logs:{self.region}:{self.account}:log-group:{self.name}"


class LogStream(Row, frozen=True, kw_only=True):
    account: str
    region: str
    group: str
    name: str
    uid: int  # 63 bits
    group_uid: int
    created: int


class SubscriptionFilter(Row, frozen=True, kw_only=True):
    account: str
    region: str
    group: str
    name: str
    pattern: str
    destination: str  # ARN
    created: int
    role: str = ""  # ARN
    distribution: Literal["Random", "ByLogStream"] = "ByLogStream"


class Cursor(Row, frozen=True, kw_only=True):
    """A subscription filter has delivered what was accepted up to here; written now and then, so that a restart delivers some events again."""

    account: str
    region: str
    group: str
    name: str
    seq: int


class Transformation(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric filter makes of a matching event."""

    name: str
    namespace: str
    value: str  # a number, or a field: "$.latency", "$bytes"
    default: float | None = None
    dimensions: dict[str, str] = {}
    unit: str = ""


class MetricFilter(Row, frozen=True, kw_only=True):
    account: str
    region: str
    group: str
    name: str
    pattern: str
    transformation: Transformation
    created: int


class Destination(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    target: str  # ARN
    role: str  # ARN
    created: int
    policy: str | None = None
    tags: dict[str, str] = {}

    def arn(self) -> str:
        return f"arn:aws:logs:{self.region}:{self.account}:destination:{self.name}"


class ResourcePolicy(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    document: str
    updated: int


class QueryDefinition(Row, frozen=True, kw_only=True):
    account: str
    region: str
    id: str
    name: str
    query: str
    modified: int
    groups: tuple[str, ...] = ()


GROUPS = Table(
    "logs.groups",
    LogGroup,
    key=lambda row: (row.account, row.region, row.name),
    indexes={
        "by_uid": lambda row: (row.uid,),
        "with_retention": lambda row: None if row.retention_in_days is None else (row.account, row.name),
    },
    unique=("by_uid",),
)
STREAMS = Table(
    "logs.streams",
    LogStream,
    key=lambda row: (row.account, row.region, row.group, row.name),
    indexes={"by_uid": lambda row: (row.uid,)},
    unique=("by_uid",),
)
SUBSCRIPTIONS = Table("logs.subscription_filters", SubscriptionFilter, key=lambda row: (row.account, row.region, row.group, row.name))
CURSORS = Table("logs.cursors", Cursor, key=lambda row: (row.account, row.region, row.group, row.name))
METRIC_FILTERS = Table("logs.metric_filters", MetricFilter, key=lambda row: (row.account, row.region, row.group, row.name))
DESTINATIONS = Table("logs.destinations", Destination, key=lambda row: (row.account, row.region, row.name))
RESOURCE_POLICIES = Table("logs.resource_policies", ResourcePolicy, key=lambda row: (row.account, row.region, row.name))
QUERY_DEFINITIONS = Table("logs.query_definitions", QueryDefinition, key=lambda row: (row.account, row.region, row.id))

TABLES = (GROUPS, STREAMS, SUBSCRIPTIONS, CURSORS, METRIC_FILTERS, DESTINATIONS, RESOURCE_POLICIES, QUERY_DEFINITIONS)

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
quotas.declare(
    Quota("logs", "groups", "Log groups", 1_000_000, aws_code="L-D2832119"),
    Quota("logs", "metric_filters", "Metrics filters per log group", 100, adjustable=False),
    Quota("logs", "subscription_filters", "Subscription filters per log group", 2, adjustable=False),
    Quota("logs", "resource_policies", "Resource policies per Region", 10, adjustable=False),
    Quota("logs", "query_definitions", "Saved queries", 1000, adjustable=False),
)


def new_uid() -> int:
    return int(hex_digits(16), 16) >> 1
