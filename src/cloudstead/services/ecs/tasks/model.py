"""The rows of tasks. Times are seconds since the epoch, 0 when it has not happened."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from cloudstead.kernel.store import Row, Table
from cloudstead.services.ecs.definition import Part
from cloudstead.services.ecs.overriding import Overrides

Status: TypeAlias = Literal["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]
StopCode: TypeAlias = Literal[
    "TaskFailedToStart", "EssentialContainerExited", "UserInitiated", "ServiceSchedulerInitiated", "SpotInterruption", "TerminationNotice"
]
KEPT: Final = 3600.0  # seconds for which a stopped task is told


class TaskContainer(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One container of a task: its names, and what was last seen of it."""

    name: str
    image: str
    id: str  # the engine's, and AWS's runtimeId
    arn_id: str  # the last part of its ARN
    endpoint_id: str  # in the address at which it is told of itself; a secret
    cpu: int = 0
    memory: int | None = None
    memory_reservation: int | None = None
    digest: str = ""
    image_id: str = ""
    status: Literal["PENDING", "RUNNING", "STOPPED"] = "PENDING"
    exit_code: int | None = None
    reason: str = ""
    health: Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"] = "UNKNOWN"
    started: float = 0.0
    finished: float = 0.0
    restarts: int = 0


class TaskInterface(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The network interface of a task in awsvpc mode."""

    attachment: str  # AWS's id of the attachment
    subnet: str
    groups: tuple[str, ...] = ()
    id: str = ""  # eni-…; empty until it is made
    vpc: str = ""
    mac: str = ""
    ip: str = ""
    private_name: str = ""


class Task(Row, frozen=True, kw_only=True):
    account: str
    region: str
    cluster: str  # its name
    id: str
    family: str
    revision: int
    group: str
    started_by: str = ""
    launch_type: Literal["FARGATE", "EC2", "EXTERNAL"] = "FARGATE"
    capacity_provider: str = ""
    platform_version: str = ""
    execute_command: bool = False
    overrides: Overrides = Overrides()
    tags: dict[str, str] = {}
    zone: str = ""
    interface: TaskInterface | None = None
    credentials_id: str = ""  # in the address of its role's credentials; a secret
    cpu: str = ""
    memory: str = ""

    desired: Literal["RUNNING", "STOPPED"] = "RUNNING"
    status: Status = "PROVISIONING"
    containers: tuple[TaskContainer, ...]
    stop_code: StopCode | None = None
    stopped_reason: str = ""
    created: float
    connected: float = 0.0
    pull_started: float = 0.0
    pull_stopped: float = 0.0
    started: float = 0.0
    stopping: float = 0.0
    execution_stopped: float = 0.0
    stopped: float = 0.0

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.account, self.region, self.cluster, self.id)

    @property
    def pod(self) -> str:
        """The engine's pod."""
        return f"ecs-{self.id}"

    def arn(self) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}:task/{self.cluster}/{self.id}"

    def cluster_arn(self) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}:cluster/{self.cluster}"

    def definition_arn(self) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}:task-definition/{self.family}:{self.revision}"

    def container_arn(self, container: TaskContainer) -> str:
        return f"arn:aws:ecs:{self.region}:{self.account}:container/{self.cluster}/{self.id}/{container.arn_id}"

    def container(self, name: str) -> TaskContainer | None:
        return next((each for each in self.containers if each.name == name), None)


class LogPosition(Row, frozen=True, kw_only=True):
    """How far the output of a container has been delivered."""

    container: str  # the engine's id
    time: float  # of the last record
    count: int  # records of that time


TASKS = Table(
    "ecs.tasks",
    Task,
    key=lambda row: row.key,
    indexes={
        "by_id": lambda row: (row.id,),
        "by_definition": lambda row: (row.account, row.region, row.family, str(row.revision)),
    },
    unique=("by_id",),
)
LOG_POSITIONS = Table("ecs.log_positions", LogPosition, key=lambda row: (row.container,))
