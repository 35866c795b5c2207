"""The rows that EventBridge keeps.

    account
    └── region
        ├── buses/<name>                    description, policy, tags; `default` is there without a row    EventBus
        │   └── rules/<name>                pattern or schedule, state                                     Rule
        │       ├── firing                  when a scheduled rule fires next                               Firing
        │       └── targets/<id>            where matching events go, and in what form                     Target
        │           └── deliveries/<id>     an event on its way to the target                              Delivery
        ├── archives/<name>                 keeps matching events of a bus                                 Archive
        │   ├── count                       how much it holds                                              ArchiveCount
        │   └── events/<time>/<id>          in the store's archive, not in memory                          ArchivedEvent
        ├── replays/<name>                  sends archived events again                                    Replay
        ├── connections/<name>              how to log in at an HTTP endpoint                              Connection
        └── api-destinations/<name>         an HTTP endpoint                                               ApiDestination

Times are seconds since the epoch. An event is kept as its JSON, as targets get it.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from cloudstead.kernel import quotas
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import Key, Row, Table

DEFAULT_BUS = "default"
ReplayState: TypeAlias = Literal["STARTING", "RUNNING", "CANCELLING", "COMPLETED", "CANCELLED", "FAILED"]


class EventBus(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    created: float
    modified: float
    description: str | None = None
    policy: str | None = None  # a policy document
    dead_letter: str | None = None  # the ARN of a queue
    log: tuple[str | None, str | None] | None = None  # level and detail as they were given; nothing is logged yet
    tags: dict[str, str] = {}

    def arn(self) -> str:
        return f"arn:aws:events:{self.region}:{self.account}:event-bus/{self.name}"


class Rule(Row, frozen=True, kw_only=True):
    account: str
    region: str
    bus: str
    name: str
    created_by: str  # the account
    state: str = "ENABLED"
    enabled_at: float  # since when it is enabled or has its schedule: rates count from here
    pattern: str | None = None
    schedule: str | None = None
    description: str | None = None
    role: str | None = None
    tags: dict[str, str] = {}

    @property
    def enabled(self) -> bool:
        return self.state != "DISABLED"

    def arn(self) -> str:
        bus = "" if self.bus == DEFAULT_BUS else f"{self.bus}/"
        return f"arn:aws:events:{self.region}:{self.account}:rule/{bus}{self.name}"


class Firing(Row, frozen=True, kw_only=True):
    """The next moment at which a scheduled rule fires."""

    account: str
    region: str
    bus: str
    rule: str
    at: float
    rule_version: int  # of the rule for which it was worked out; another one has another schedule


class Target(Row, frozen=True, kw_only=True):
    account: str
    region: str
    bus: str
    rule: str
    id: str
    arn: str
    role: str | None = None
    input: str | None = None
    input_path: str | None = None
    input_paths: dict[str, str] | None = None  # of the input transformer
    input_template: str | None = None
    max_attempts: int | None = None
    max_age: int | None = None  # seconds
    dead_letter: str | None = None  # the ARN of a queue
    parameters: dict[str, Any] = {}  # those of its kind, by the model's names: {"SqsParameters": {"MessageGroupId": "a"}}
    retry_policy: bool = False  # whether one was given, for telling it again


class Delivery(Row, frozen=True, kw_only=True):
    """One event for one target."""

    account: str
    region: str
    bus: str
    rule: str
    target: str
    id: str
    event: bytes
    accepted: float
    due: float  # when to try (again)
    attempts: int = 0
    hops: int = 0  # how many buses have passed it on
    error: tuple[str, str] | None = None  # code and sentence of the last attempt


class Archive(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    uid: str  # never used again: events of a deleted archive are not those of a new one of its name
    bus: str
    created: float
    description: str | None = None
    pattern: str | None = None
    retention_days: int = 0  # 0: for ever

    def arn(self) -> str:
        return f"arn:aws:events:{self.region}:{self.account}:archive/{self.name}"

    def bus_arn(self) -> str:
        return f"arn:aws:events:{self.region}:{self.account}:event-bus/{self.bus}"


class ArchiveCount(Row, frozen=True, kw_only=True):
    uid: str
    events: int = 0
    size: int = 0  # bytes


class ArchivedEvent(Row, frozen=True, kw_only=True):
    uid: str
    time: float  # of the event
    id: str
    event: bytes


class Replay(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    archive: str  # ARN
    uid: str  # the archive's
    bus: str
    begin: float
    end: float
    started: float
    state: ReplayState = "STARTING"
    reason: str | None = None
    description: str | None = None
    filters: tuple[str, ...] = ()  # ARNs of the only rules that get the events
    position: Key = ()  # of the last event that was sent
    last_replayed: float | None = None  # the time of that event
    ended: float | None = None

    def arn(self) -> str:
        return f"arn:aws:events:{self.region}:{self.account}:replay/{self.name}"


class Connection(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    uid: str
    secret_uid: str
    authorization: str  # BASIC, OAUTH_CLIENT_CREDENTIALS, API_KEY
    parameters: dict[str, Any]  # with the secrets, by the names of CreateConnectionAuthRequestParameters
    state: str
    created: float
    modified: float
    authorized: float | None = None
    reason: str | None = None
    description: str | None = None

    def arn(self) -> str:
        return f"arn:aws:events:{self.region}:{self.account}:connection/{self.name}/{self.uid}"

    def secret_arn(self) -> str:
        return f"arn:aws:secretsmanager:{self.region}:{self.account}:secret:events!connection/{self.name}/{self.secret_uid}"


class ApiDestination(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    uid: str
    connection: str  # ARN
    endpoint: str
    method: str
    created: float
    modified: float
    description: str | None = None
    rate_limit: int = 300  # calls a second

    def arn(self) -> str:
        return f"arn:aws:events:{self.region}:{self.account}:api-destination/{self.name}/{self.uid}"


def target_key(row: Target) -> Key:
    return (row.account, row.region, row.bus, row.rule, row.id)


def rule_key(row: Rule) -> Key:
    return (row.account, row.region, row.bus, row.name)


def archived_key(row: ArchivedEvent) -> Key:
    return (row.uid, moment(row.time), row.id)


def moment(seconds: float) -> str:
    """A time as text that sorts, in milliseconds; what is before 1970 counts as 1970."""
    return f"{max(0, int(seconds * 1000)):015d}"


BUSES = Table("events.buses", EventBus, key=lambda row: (row.account, row.region, row.name))
RULES = Table(
    "events.rules",
    Rule,
    key=rule_key,
    indexes={"scheduled": lambda row: (row.account, row.name) if row.schedule is not None else None},
)
FIRINGS = Table("events.firings", Firing, key=lambda row: (row.account, row.region, row.bus, row.rule))
TARGETS = Table("events.targets", Target, key=target_key, indexes={"by_arn": lambda row: (row.account, row.region, row.bus, row.arn)})
DELIVERIES = Table(
    "events.deliveries",
    Delivery,
    key=lambda row: (row.account, row.region, row.bus, row.rule, row.target, row.id),
    indexes={"by_due": lambda row: (row.account, row.region, row.bus, row.rule, row.target, row.due)},
)
ARCHIVES = Table(
    "events.archives",
    Archive,
    key=lambda row: (row.account, row.region, row.name),
    indexes={"by_uid": lambda row: (row.uid,)},
    unique=("by_uid",),
)
ARCHIVE_COUNTS = Table("events.archive_counts", ArchiveCount, key=lambda row: (row.uid,))
ARCHIVED = Table("events.archived", ArchivedEvent, key=archived_key)
REPLAYS = Table("events.replays", Replay, key=lambda row: (row.account, row.region, row.name))
CONNECTIONS = Table("events.connections", Connection, key=lambda row: (row.account, row.region, row.name))
API_DESTINATIONS = Table("events.api_destinations", ApiDestination, key=lambda row: (row.account, row.region, row.name))

TABLES = (
    BUSES,
    RULES,
    FIRINGS,
    TARGETS,
    DELIVERIES,
    ARCHIVES,
    ARCHIVE_COUNTS,
    ARCHIVED,
    REPLAYS,
    CONNECTIONS,
    API_DESTINATIONS,
)

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
quotas.declare(
    Quota("events", "buses", "Event buses", 100),
    Quota("events", "rules", "Number of rules per event bus", 300),
    Quota("events", "targets", "Targets per rule", 5, adjustable=False),
    Quota("events", "archives", "Archives", 100),
    Quota("events", "replays", "Concurrent replays", 10),
    Quota("events", "connections", "Connections", 3000),
    Quota("events", "api_destinations", "API destinations", 3000),
)
