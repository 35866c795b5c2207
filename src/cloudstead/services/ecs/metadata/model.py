"""Tasks and their containers as the metadata endpoint describes them. Times are seconds since the epoch, 0 when it has not happened."""

from __future__ import annotations

import msgspec


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """Of a task in awsvpc mode; of a bridged container the first two fields alone."""

    ipv4_addresses: tuple[str, ...] = ()
    ipv6_addresses: tuple[str, ...] = ()
    attachment_index: int | None = None
    mac_address: str = ""
    ipv4_subnet_cidr_block: str = ""
    ipv6_subnet_cidr_block: str = ""
    domain_name_servers: tuple[str, ...] = ()
    domain_name_search_list: tuple[str, ...] = ()
    private_dns_name: str = ""
    subnet_gateway_ipv4_address: str = ""  # with the prefix: "10.0.2.1/24"
    subnet_gateway_ipv6_address: str = ""


class Port(msgspec.Struct, frozen=True, kw_only=True):
    container_port: int
    protocol: str = "tcp"
    host_port: int = 0
    host_ip: str = ""


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    docker_name: str = ""
    source: str = ""
    destination: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: str  # HEALTHY, UNHEALTHY, UNKNOWN
    since: float = 0.0
    exit_code: int = 0
    output: str = ""


class ContainerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    endpoint_id: str  # what stands in this container's ECS_CONTAINER_METADATA_URI
    docker_id: str
    name: str
    docker_name: str
    image: str
    image_id: str
    arn: str
    labels: dict[str, str] = {}
    desired_status: str = "RUNNING"
    known_status: str = "RUNNING"
    exit_code: int | None = None
    cpu: float = 0  # units
    memory: int = 0  # MiB
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    type: str = "NORMAL"
    network_mode: str = "awsvpc"
    interfaces: tuple[Interface, ...] = ()  # in awsvpc mode the task's
    health: Health | None = None
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    log_driver: str = ""
    log_options: dict[str, str] = {}
    snapshotter: str = ""
    restart_count: int | None = None  # of a container with a restart policy


class TaskMetadata(msgspec.Struct, frozen=True, kw_only=True):
    account: str
    region: str
    cluster: str  # EC2: its name; Fargate: its ARN
    arn: str
    family: str
    revision: str
    desired_status: str = "RUNNING"
    known_status: str = "RUNNING"
    containers: tuple[ContainerMetadata, ...] = ()
    cpu: float = 0  # vCPUs; 0: no limit
    memory: int = 0  # MiB
    pull_started_at: float = 0.0
    pull_stopped_at: float = 0.0
    execution_stopped_at: float = 0.0
    availability_zone: str = ""
    launch_type: str = ""
    service_name: str = ""
    vpc_id: str = ""  # of the container instance, on EC2
    group: str = ""
    tags: dict[str, str] = {}
    container_instance_tags: dict[str, str] = {}
    ephemeral_storage_utilized: int = 0  # MiB
    ephemeral_storage_reserved: int = 0  # MiB; 0 where it is not told (EC2)
    clock_error_bound: float | None = None  # milliseconds; Fargate
    fault_injection_enabled: bool = False
    credentials_id: str = ""  # what stands in AWS_CONTAINER_CREDENTIALS_RELATIVE_URI; empty without a task role
    role_arn: str = ""

    @property
    def id(self) -> str:
        return self.arn.rpartition("/")[2]
