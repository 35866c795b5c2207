"""What a task definition says, as rows keep it: AWS's members under their names in Python.

It is what was registered with AWS's defaults filled in (`defaults.py`), already found to be right (`validation`), so whoever reads a row need not doubt it.
`None` is what was not said. A list that was given empty stays empty: clients get back what they sent.

    Definition
    ├── containers: container_definitions       ContainerDefinition
    │   ├── port_mappings, mount_points, volumes_from, environment, environment_files, secrets, …
    │   ├── linux_parameters                    capabilities, devices, tmpfs, init
    │   ├── log_configuration, health_check, restart_policy, depends_on, …
    │   └── …
    ├── volumes                                 Volume: of the host, Docker's, EFS, or configured at launch
    └── of the task: network mode, cpu, memory, roles, platform, …

Nothing here knows the engine: `translation.py` makes its specs from this.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Condition: TypeAlias = Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]
NetworkMode: TypeAlias = Literal["bridge", "host", "awsvpc", "none"]
Switch: TypeAlias = Literal["ENABLED", "DISABLED"]


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A structure within a row."""


class KeyValuePair(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str | None = None
    value: str | None = None


class Secret(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    value_from: str  # the name or ARN of a parameter, or the ARN of a secret with `:json-key:version-stage:version-id`


class RepositoryCredentials(Part, frozen=True, kw_only=True, omit_defaults=True):
    credentials_parameter: str  # the ARN of a secret


class PortMapping(Part, frozen=True, kw_only=True, omit_defaults=True):
    container_port: int | None = None
    host_port: int | None = None  # 0 with bridge: a free one
    protocol: Literal["tcp", "udp"] | None = None
    name: str | None = None
    app_protocol: Literal["http", "http2", "grpc"] | None = None
    container_port_range: str | None = None  # "8000-8010", instead of container_port


class ContainerRestartPolicy(Part, frozen=True, kw_only=True, omit_defaults=True):
    enabled: bool
    ignored_exit_codes: tuple[int, ...] | None = None
    restart_attempt_period: int | None = None  # seconds


class EnvironmentFile(Part, frozen=True, kw_only=True, omit_defaults=True):
    value: str  # the ARN of an object
    type: Literal["s3"]


class MountPoint(Part, frozen=True, kw_only=True, omit_defaults=True):
    source_volume: str | None = None
    container_path: str | None = None
    read_only: bool | None = None


class VolumeFrom(Part, frozen=True, kw_only=True, omit_defaults=True):
    source_container: str | None = None
    read_only: bool | None = None


class KernelCapabilities(Part, frozen=True, kw_only=True, omit_defaults=True):
    add: tuple[str, ...] | None = None
    drop: tuple[str, ...] | None = None


class Device(Part, frozen=True, kw_only=True, omit_defaults=True):
    host_path: str
    container_path: str | None = None
    permissions: tuple[Literal["read", "write", "mknod"], ...] | None = None


class Tmpfs(Part, frozen=True, kw_only=True, omit_defaults=True):
    container_path: str
    size: int  # MiB
    mount_options: tuple[str, ...] | None = None


class LinuxParameters(Part, frozen=True, kw_only=True, omit_defaults=True):
    capabilities: KernelCapabilities | None = None
    devices: tuple[Device, ...] | None = None
    init_process_enabled: bool | None = None
    shared_memory_size: int | None = None  # MiB
    tmpfs: tuple[Tmpfs, ...] | None = None
    max_swap: int | None = None  # MiB
    swappiness: int | None = None


class ContainerDependency(Part, frozen=True, kw_only=True, omit_defaults=True):
    container_name: str
    condition: Condition


class HostEntry(Part, frozen=True, kw_only=True, omit_defaults=True):
    hostname: str
    ip_address: str


class Ulimit(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    soft_limit: int
    hard_limit: int


class LogConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    log_driver: str
    options: dict[str, str] | None = None
    secret_options: tuple[Secret, ...] | None = None


class HealthCheck(Part, frozen=True, kw_only=True, omit_defaults=True):
    command: tuple[str, ...]
    interval: int | None = None  # seconds, as the other two
    timeout: int | None = None
    retries: int | None = None
    start_period: int | None = None


class SystemControl(Part, frozen=True, kw_only=True, omit_defaults=True):
    namespace: str | None = None
    value: str | None = None


class NvidiaMpsAllocation(Part, frozen=True, kw_only=True, omit_defaults=True):
    memory: int
    max_compute_percent: int | None = None


class SharingStrategy(Part, frozen=True, kw_only=True, omit_defaults=True):
    nvidia_mps: NvidiaMpsAllocation | None = None


class ResourceRequirement(Part, frozen=True, kw_only=True, omit_defaults=True):
    value: str | None = None
    type: Literal["GPU", "InferenceAccelerator", "NeuronDevice"]
    sharing_strategy: SharingStrategy | None = None


class FirelensConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    type: Literal["fluentd", "fluentbit"]
    options: dict[str, str] | None = None


class ContainerDefinition(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str | None = None
    image: str | None = None
    repository_credentials: RepositoryCredentials | None = None
    cpu: int | None = None  # shares, 1024 to a vCPU
    memory: int | None = None  # MiB, a hard limit
    memory_reservation: int | None = None  # MiB
    links: tuple[str, ...] | None = None
    port_mappings: tuple[PortMapping, ...] | None = None
    essential: bool | None = None
    restart_policy: ContainerRestartPolicy | None = None
    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: tuple[KeyValuePair, ...] | None = None
    environment_files: tuple[EnvironmentFile, ...] | None = None
    mount_points: tuple[MountPoint, ...] | None = None
    volumes_from: tuple[VolumeFrom, ...] | None = None
    linux_parameters: LinuxParameters | None = None
    secrets: tuple[Secret, ...] | None = None
    depends_on: tuple[ContainerDependency, ...] | None = None
    start_timeout: int | None = None  # seconds
    stop_timeout: int | None = None  # seconds
    version_consistency: Literal["enabled", "disabled"] | None = None
    hostname: str | None = None
    user: str | None = None
    working_directory: str | None = None
    disable_networking: bool | None = None
    privileged: bool | None = None
    readonly_root_filesystem: bool | None = None
    dns_servers: tuple[str, ...] | None = None
    dns_search_domains: tuple[str, ...] | None = None
    extra_hosts: tuple[HostEntry, ...] | None = None
    docker_security_options: tuple[str, ...] | None = None
    interactive: bool | None = None
    pseudo_terminal: bool | None = None
    docker_labels: dict[str, str] | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    log_configuration: LogConfiguration | None = None
    health_check: HealthCheck | None = None
    system_controls: tuple[SystemControl, ...] | None = None
    resource_requirements: tuple[ResourceRequirement, ...] | None = None
    firelens_configuration: FirelensConfiguration | None = None
    credential_specs: tuple[str, ...] | None = None

    @property
    def called(self) -> str:
        """Its name, which every container of a row has."""
        return self.name or ""

    @property
    def linux(self) -> LinuxParameters:
        return self.linux_parameters or LinuxParameters()


class HostVolumeProperties(Part, frozen=True, kw_only=True, omit_defaults=True):
    source_path: str | None = None  # None: a folder of the task's own


class DockerVolumeConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    scope: Literal["task", "shared"] | None = None
    autoprovision: bool | None = None
    driver: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class EFSAuthorizationConfig(Part, frozen=True, kw_only=True, omit_defaults=True):
    access_point_id: str | None = None
    iam: Switch | None = None


class EFSVolumeConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    file_system_id: str
    root_directory: str | None = None
    transit_encryption: Switch | None = None
    transit_encryption_port: int | None = None
    authorization_config: EFSAuthorizationConfig | None = None


class S3FilesVolumeConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    file_system_arn: str
    root_directory: str | None = None
    transit_encryption_port: int | None = None
    access_point_arn: str | None = None


class FSxWindowsFileServerAuthorizationConfig(Part, frozen=True, kw_only=True, omit_defaults=True):
    credentials_parameter: str
    domain: str


class FSxWindowsFileServerVolumeConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    file_system_id: str
    root_directory: str
    authorization_config: FSxWindowsFileServerAuthorizationConfig


class Volume(Part, frozen=True, kw_only=True, omit_defaults=True):
    name: str | None = None
    host: HostVolumeProperties | None = None
    docker_volume_configuration: DockerVolumeConfiguration | None = None
    efs_volume_configuration: EFSVolumeConfiguration | None = None
    s3files_volume_configuration: S3FilesVolumeConfiguration | None = None
    fsx_windows_file_server_volume_configuration: FSxWindowsFileServerVolumeConfiguration | None = None
    configured_at_launch: bool | None = None


class TaskDefinitionPlacementConstraint(Part, frozen=True, kw_only=True, omit_defaults=True):
    type: Literal["memberOf"] | None = None
    expression: str | None = None


class ProxyConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    type: Literal["APPMESH"] | None = None
    container_name: str
    properties: tuple[KeyValuePair, ...] | None = None


class InferenceAccelerator(Part, frozen=True, kw_only=True, omit_defaults=True):
    device_name: str
    device_type: str


class EphemeralStorage(Part, frozen=True, kw_only=True, omit_defaults=True):
    size_in_gi_b: int


class RuntimePlatform(Part, frozen=True, kw_only=True, omit_defaults=True):
    cpu_architecture: Literal["X86_64", "ARM64"] | None = None
    operating_system_family: str | None = None


class TrustedExecutionConfiguration(Part, frozen=True, kw_only=True, omit_defaults=True):
    isolation_mode: str
    attestation_policy: str | None = None


class Definition(Part, frozen=True, kw_only=True, omit_defaults=True):
    """One revision, apart from what AWS adds (number, status, times)."""

    family: str
    task_role_arn: str | None = None
    execution_role_arn: str | None = None
    network_mode: NetworkMode | None = None
    container_definitions: tuple[ContainerDefinition, ...]
    volumes: tuple[Volume, ...] | None = None
    placement_constraints: tuple[TaskDefinitionPlacementConstraint, ...] | None = None
    requires_compatibilities: tuple[str, ...] | None = None
    cpu: str | None = None  # units, a number once it is a row's
    memory: str | None = None  # MiB, likewise
    pid_mode: Literal["host", "task"] | None = None
    ipc_mode: Literal["host", "task", "none"] | None = None
    proxy_configuration: ProxyConfiguration | None = None
    inference_accelerators: tuple[InferenceAccelerator, ...] | None = None
    ephemeral_storage: EphemeralStorage | None = None
    runtime_platform: RuntimePlatform | None = None
    enable_fault_injection: bool | None = None
    trusted_execution_configuration: TrustedExecutionConfiguration | None = None

    @property
    def mode(self) -> str:
        """The network mode that counts: Linux has `bridge` where none is said."""
        return self.network_mode or "bridge"

    @property
    def windows(self) -> bool:
        platform = self.runtime_platform
        return platform is not None and (platform.operating_system_family or "LINUX") != "LINUX"

    def container(self, name: str) -> ContainerDefinition | None:
        return next((each for each in self.container_definitions if each.name == name), None)
