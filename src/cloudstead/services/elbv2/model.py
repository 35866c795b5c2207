"""The rows that Elastic Load Balancing keeps.

    account
    └── region
        ├── load-balancers/<arn>            zones, security groups, attributes, the address of its own      LoadBalancer
        │   └── listeners/<arn>             port, protocol, certificates, what the default rule does        Listener
        │       └── rules/<arn>             priority, conditions, actions                                   Rule
        └── target-groups/<arn>             protocol, health check, attributes                              TargetGroup
            └── targets/<id>:<port>         registered, or leaving until a moment                           Target

How targets do is not kept: it is found out anew when the daemon starts, see `health`. Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from cloudstead.kernel import quotas
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import Key, Row, Table

Kind: TypeAlias = Literal["application", "network"]
DOMAIN = "elb.localhost"
HTTP = frozenset(("HTTP", "HTTPS"))


class Resource(Row, frozen=True, kw_only=True):
    """What has an ARN and bears tags."""

    account: str
    region: str
    arn: str
    tags: dict[str, str] = {}

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.account, self.region, self.arn)


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet in which a load balancer is."""

    zone: str
    subnet: str
    allocation: str = ""
    private_ip: str = ""


class LoadBalancer(Resource, frozen=True, kw_only=True):
    name: str
    id: str  # sixteen digits, the last part of its ARN
    kind: Kind
    scheme: str
    vpc: str
    zones: tuple[Zone, ...]
    created: float
    address: str  # of the loopback network; its listeners are there
    security_groups: tuple[str, ...] = ()
    ip_address_type: str = "ipv4"
    state: str = "provisioning"
    reason: str = ""  # what keeps a listener from listening
    private_link_rules: str | None = None  # whether security groups hold for PrivateLink too
    attributes: dict[str, str] = {}  # those that differ from the defaults

    @property
    def dns_name(self) -> str:
        prefix = "internal-" if self.scheme == "internal" and self.kind == "application" else ""
        return f"{prefix}{self.name}-{self.id}.{self.region}.{DOMAIN}".lower()

    @property
    def path(self) -> str:
        """The end of its ARN, which its listeners' begin with."""
        return f"{'app' if self.kind == 'application' else 'net'}/{self.name}/{self.id}"


class WeightedGroup(msgspec.Struct, frozen=True, kw_only=True):
    arn: str
    weight: int = 1


class Forward(msgspec.Struct, frozen=True, kw_only=True, tag="forward"):
    groups: tuple[WeightedGroup, ...]
    sticky: bool = False
    sticky_seconds: int | None = None
    order: int | None = None


class Redirect(msgspec.Struct, frozen=True, kw_only=True, tag="redirect"):
    status: str  # HTTP_301, HTTP_302
    protocol: str = "#{protocol}"
    port: str = "#{port}"
    host: str = "#{host}"
    path: str = "/#{path}"
    query: str = "#{query}"
    order: int | None = None


class FixedResponse(msgspec.Struct, frozen=True, kw_only=True, tag="fixed-response"):
    status: str
    content_type: str | None = None
    body: str | None = None
    order: int | None = None


Action: TypeAlias = Forward | Redirect | FixedResponse


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of a rule. Of a query string the values are pairs; an empty key means any."""

    field: str
    values: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    header: str = ""


class Listener(Resource, frozen=True, kw_only=True):
    load_balancer: str
    port: int
    protocol: str
    action: Action
    default_rule: str  # the ARN of the rule that this is
    certificates: tuple[str, ...] = ()  # the first is the default one
    names: tuple[str, ...] = ()  # of hosts, for which the certificates are
    ssl_policy: str | None = None
    alpn: tuple[str, ...] = ()
    attributes: dict[str, str] = {}


class Rule(Resource, frozen=True, kw_only=True):
    listener: str
    priority: int
    conditions: tuple[Condition, ...]
    action: Action


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    protocol: str
    port: str = "traffic-port"
    path: str | None = None
    interval: int = 30
    timeout: int = 5
    healthy: int = 5
    unhealthy: int = 2
    matcher: str | None = None
    enabled: bool = True


class TargetGroup(Resource, frozen=True, kw_only=True):
    name: str
    target_type: str
    protocol: str
    port: int
    vpc: str
    check: HealthCheck
    created: float
    protocol_version: str | None = None
    ip_address_type: str = "ipv4"
    attributes: dict[str, str] = {}


class Target(Row, frozen=True, kw_only=True):
    account: str
    region: str
    group: str
    id: str  # an address, an instance, a load balancer's ARN
    port: int
    ip: str = ""  # of an instance
    zone: str = ""  # as it was registered
    registered: float
    leaves: float | None = None  # it drains until then

    @property
    def key(self) -> Key:
        return target_key(self)


def arn_key(row: Resource) -> Key:
    return row.key


def target_key(row: Target) -> Key:
    return (row.account, row.region, row.group, row.id, f"{row.port:05d}")


def groups_of(action: Action) -> tuple[str, ...]:
    """The target groups that an action leads to."""
    return tuple(one.arn for one in action.groups) if isinstance(action, Forward) else ()


LOAD_BALANCERS = Table(
    "elbv2.load_balancers",
    LoadBalancer,
    key=arn_key,
    indexes={
        "by_name": lambda row: (row.account, row.region, row.name),
        "by_address": lambda row: (row.address,),
        "by_host": lambda row: (row.dns_name,),
        "by_subnet": lambda row: [(row.account, row.region, one.subnet) for one in row.zones],
    },
    unique=("by_name", "by_address", "by_host"),
)
LISTENERS = Table(
    "elbv2.listeners",
    Listener,
    key=arn_key,
    indexes={
        "by_port": lambda row: (row.account, row.region, row.load_balancer, row.port, "UDP" if row.protocol == "UDP" else "TCP"),
        "by_group": lambda row: [(row.account, row.region, group) for group in groups_of(row.action)],
        "on_port": lambda row: (row.port,),
        "by_default_rule": lambda row: (row.account, row.region, row.default_rule),
    },
    unique=("by_port",),
)
RULES = Table(
    "elbv2.rules",
    Rule,
    key=arn_key,
    indexes={
        "by_priority": lambda row: (row.account, row.region, row.listener, row.priority),
        "by_group": lambda row: [(row.account, row.region, group) for group in groups_of(row.action)],
    },
)
TARGET_GROUPS = Table(
    "elbv2.target_groups",
    TargetGroup,
    key=arn_key,
    indexes={"by_name": lambda row: (row.account, row.region, row.name)},
    unique=("by_name",),
)
TARGETS = Table("elbv2.targets", Target, key=target_key, indexes={"by_id": lambda row: (row.account, row.region, row.id)})

TABLES = (LOAD_BALANCERS, LISTENERS, RULES, TARGET_GROUPS, TARGETS)

# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
quotas.declare(
    Quota("elbv2", "application-load-balancers", "Application Load Balancers per Region", 50, aws_code="L-53DA6B97"),
    Quota("elbv2", "network-load-balancers", "Network Load Balancers per Region", 50, aws_code="L-69A177A2"),
    Quota("elbv2", "target-groups", "Target Groups per Region", 3000, aws_code="L-B22855CB"),
    Quota("elbv2", "listeners-per-application-load-balancer", "Listeners per Application Load Balancer", 50, aws_code="L-B6DF7632"),
    Quota("elbv2", "listeners-per-network-load-balancer", "Listeners per Network Load Balancer", 50, aws_code="L-57A373D6"),
    Quota("elbv2", "rules-per-application-load-balancer", "Rules per Application Load Balancer", 100, aws_code="L-EFAA4C1C"),
    Quota("elbv2", "targets-per-target-group", "Targets per Target Group per Region", 1000, aws_code="L-A0D0B863"),
    Quota("elbv2", "certificates", "Certificates per Application Load Balancer", 25, aws_code="L-9365D1C7"),
    Quota("elbv2", "condition-values-per-alb-rule", "Condition Values per Rule", 5, adjustable=False),
    Quota("elbv2", "condition-wildcards-per-alb-rule", "Condition Wildcards per Rule", 6, adjustable=False),
    Quota("elbv2", "target-groups-per-action-on-application-load-balancer", "Target Groups per Action", 5, adjustable=False),
)
