"""The rows that ECS keeps.

    account
    └── region
        ├── clusters/<name>                        settings, configuration, capacity providers, tags                 Cluster
        │   ├── services/<name>                    what is wanted
        │   │   ├── deployments/<id>               a revision on its way in or out, how far it is
        │   │   ├── revisions/<id>                 task definition and configuration as they were deployed
        │   │   ├── task-sets/<id>                 parts of a service that an external deployer makes
        │   │   └── events                         the last hundred sentences
        │   ├── tasks/<id>                         what is wanted, what is, its containers, attachments, overrides, tags
        │   └── container-instances/<id>           a machine: its resources, status, agent
        │       └── attributes/<name>              capabilities, and what users say of it
        ├── capacity-providers/<name>              of an Auto Scaling group; FARGATE and FARGATE_SPOT are there without rows   CapacityProvider
        ├── families/<name>                        the last revision's number, which is never given again            Family
        │   └── task-definitions/<revision>        `definition.py`, as registered, and its status                    TaskDefinition
        └── account-settings/<principal>/<name>    the principal is "" for the account's default                     AccountSetting

What names a class is declared below. The rest comes with what runs containers: clusters count their tasks, services and instances in the rows of these
(`counting.py`), and a task definition that is to go stays while one of them names it (`references.py`).

Times are seconds since the epoch. A cluster, a capacity provider and a revision that were deleted stay as INACTIVE rows, as AWS shows them.
"""

from __future__ import annotations

from typing import Literal

from cloudstead.kernel import quotas
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import Row, Table
from cloudstead.services.ecs.definition import Definition, Part

DEFAULT_CLUSTER = "default"
FARGATE = ("FARGATE", "FARGATE_SPOT")  # the capacity providers that are always there


class StrategyItem(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One capacity provider of a strategy, and how many tasks go to it."""

    capacity_provider: str
    weight: int = 0
    base: int = 0


class ExecuteCommandLog(Part, frozen=True, kw_only=True, omit_defaults=True):
    cloud_watch_log_group_name: str | None = None
    cloud_watch_encryption_enabled: bool | None = None
    s3_bucket_name: str | None = None
    s3_encryption_enabled: bool | None = None
    s3_key_prefix: str | None = None


class ExecuteCommand(Part, frozen=True, kw_only=True, omit_defaults=True):
    """Where the output of ECS Exec's sessions goes."""

    kms_key_id: str | None = None
    logging: Literal["NONE", "DEFAULT", "OVERRIDE"] | None = None
    log_configuration: ExecuteCommandLog | None = None


class ClusterConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    execute_command_configuration: ExecuteCommand | None = None


class Cluster(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    status: Literal["ACTIVE", "INACTIVE"] = "ACTIVE"
    created: float
    deleted: float | None = None
    container_insights: str  # "enabled", "disabled" or "enhanced"
    configuration: ClusterConfiguration | None = None
    capacity_providers: tuple[str, ...] = ()
    strategy: tuple[StrategyItem, ...] = ()  # the default one
    namespace: str | None = None  # of Service Connect: the ARN of a namespace of Cloud Map
    tags: dict[str, str] = {}

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.account, self.region, self.name)

    @property
    def active(self) -> bool:
        return self.status == "ACTIVE"

    def arn(self) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}:cluster/{self.name}"


class ManagedScaling(Part, frozen=True, kw_only=True, omit_defaults=True):
    status: Literal["ENABLED", "DISABLED"] = "DISABLED"
    target_capacity: int = 100  # percent
    minimum_scaling_step_size: int = 1
    maximum_scaling_step_size: int = 10_000
    instance_warmup_period: int = 300  # seconds


class CapacityProvider(Row, frozen=True, kw_only=True):
    """One of an Auto Scaling group."""

    account: str
    region: str
    name: str
    status: Literal["ACTIVE", "INACTIVE"] = "ACTIVE"
    update_status: str | None = None
    created: float
    deleted: float | None = None
    group: str  # the ARN of the Auto Scaling group
    scaling: ManagedScaling = ManagedScaling()
    termination_protection: Literal["ENABLED", "DISABLED"] = "DISABLED"
    draining: Literal["ENABLED", "DISABLED"] = "ENABLED"
    tags: dict[str, str] = {}

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.account, self.region, self.name)

    def arn(self) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}:capacity-provider/{self.name}"


class Family(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    last: int = 0  # the highest revision there ever was


class TaskDefinition(Row, frozen=True, kw_only=True):
    account: str
    region: str
    family: str
    revision: int
    status: Literal["ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS"] = "ACTIVE"
    definition: Definition
    compatibilities: tuple[str, ...]  # the launch types for which it is right
    requires_attributes: tuple[str, ...]  # what a container instance must be able to do
    registered: float
    registered_by: str  # ARN
    deregistered: float | None = None
    delete_requested: float | None = None
    tags: dict[str, str] = {}

    @property
    def key(self) -> tuple[str, str, str, str]:
        return task_definition_key(self.account, self.region, self.family, self.revision)

    def arn(self) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}:task-definition/{self.family}:{self.revision}"


class AccountSetting(Row, frozen=True, kw_only=True):
    account: str
    region: str
    principal: str  # an ARN; empty: what holds for everyone who has none of his own
    name: str
    value: str


def task_definition_key(account: str, region: str, family: str, revision: int) -> tuple[str, str, str, str]:
    return (account, region, family, f"{revision:010d}")


CLUSTERS = Table("ecs.clusters", Cluster, key=lambda row: row.key)
CAPACITY_PROVIDERS = Table("ecs.capacity_providers", CapacityProvider, key=lambda row: row.key)
FAMILIES = Table("ecs.families", Family, key=lambda row: (row.account, row.region, row.name))
TASK_DEFINITIONS = Table(
    "ecs.task_definitions",
    TaskDefinition,
    key=lambda row: row.key,
    indexes={"by_status": lambda row: (row.account, row.region, row.status, row.family, row.revision)},
)
ACCOUNT_SETTINGS = Table("ecs.account_settings", AccountSetting, key=lambda row: (row.account, row.region, row.principal, row.name))


# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
quotas.declare(
    Quota("ecs", "clusters", "Clusters per account", 10_000, aws_code="L-21C621EB"),
    Quota("ecs", "capacity_providers", "Capacity providers per cluster", 20),
    Quota("ecs", "revisions", "Revisions per task definition family", 1_000_000, adjustable=False),
)
