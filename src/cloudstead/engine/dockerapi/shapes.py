"""What clients send to make containers, as Docker's API 1.41 spells it, with the few fields of later versions that today's clients send anyway.

The same structs are kept in the rows and told back by inspect, so what a client reads is what it wrote.
"""

from __future__ import annotations

import msgspec
from msgspec import field

from cloudstead.engine.dockerapi.endpoints import EndpointSettings


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A JSON object of the API."""


class HealthConfig(Shape, frozen=True, kw_only=True, omit_defaults=True):
    """Durations in nanoseconds; 0 means: as the image says, or the default."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0  # API 1.44
    retries: int = 0


class ContainerConfig(Shape, frozen=True, kw_only=True):
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, str]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class PortBinding(Shape, frozen=True, kw_only=True):
    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(Shape, frozen=True, kw_only=True):
    name: str = ""
    maximum_retry_count: int = 0


class LogConfig(Shape, frozen=True, kw_only=True):
    type: str = ""
    config: dict[str, str] | None = None


class ThrottleDevice(Shape, frozen=True, kw_only=True):
    path: str = ""
    rate: int = 0


class WeightDevice(Shape, frozen=True, kw_only=True):
    path: str = ""
    weight: int = 0


class DeviceMapping(Shape, frozen=True, kw_only=True):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Shape, frozen=True, kw_only=True):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = field(name="DeviceIDs", default=None)
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Ulimit(Shape, frozen=True, kw_only=True):
    name: str = ""
    soft: int = 0
    hard: int = 0


class BindOptions(Shape, frozen=True, kw_only=True, omit_defaults=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False  # API 1.42
    read_only_non_recursive: bool = False  # API 1.44
    read_only_force_recursive: bool = False  # API 1.44


class DriverConfig(Shape, frozen=True, kw_only=True, omit_defaults=True):
    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(Shape, frozen=True, kw_only=True, omit_defaults=True):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    subpath: str = ""  # API 1.45
    driver_config: DriverConfig | None = None


class TmpfsOptions(Shape, frozen=True, kw_only=True, omit_defaults=True):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None  # API 1.46


class MountRequest(Shape, frozen=True, kw_only=True, omit_defaults=True):
    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class Limits(Shape, frozen=True, kw_only=True):
    """`Resources` of the specification: what `docker update` may change too."""

    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(name="BlkioDeviceReadIOps", default=None)
    blkio_device_write_iops: list[ThrottleDevice] | None = field(name="BlkioDeviceWriteIOps", default=None)
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = field(name="KernelMemoryTCP", default=0)
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    init: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = field(name="IOMaximumIOps", default=0)
    io_maximum_bandwidth: int = field(name="IOMaximumBandwidth", default=0)


class HostConfig(Limits, frozen=True, kw_only=True):
    binds: list[str] | None = None
    container_id_file: str = field(name="ContainerIDFile", default="")
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    mounts: list[MountRequest] | None = None
    console_size: list[int] | None = None
    cap_add: list[str] | str | None = None
    cap_drop: list[str] | str | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = field(name="UTSMode", default="")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None


class NetworkingConfig(Shape, frozen=True, kw_only=True):
    endpoints_config: dict[str, EndpointSettings] | None = None


class CreateRequest(ContainerConfig, frozen=True, kw_only=True):
    """The body of /containers/create."""

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()
    runtime: str = ""  # docker-py puts it here; HostConfig's counts where there are both


class UpdateRequest(Limits, frozen=True, kw_only=True):
    """The body of /containers/{id}/update."""

    restart_policy: RestartPolicy | None = None
