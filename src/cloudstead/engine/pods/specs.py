"""What a driver is told to run: pods, containers, and what is executed inside them. A value that means "as usual" is the default of its field."""

from __future__ import annotations

from typing import Literal

from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.spec import Spec


class ThrottleDevice(Spec, frozen=True, kw_only=True):
    path: str  # a block device of the host
    rate: int  # bytes or operations a second


class Resources(Spec, frozen=True, kw_only=True):
    """Limits. 0 means none; names are those of the kernel and Docker. For a pod they hold for all its containers together."""

    memory: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0  # memory and swap together; -1 unlimited; 0: twice the memory where the kernel counts swap
    memory_swappiness: int | None = None
    cpu_shares: int = 0  # relative weight, 1024 is one
    cpu_quota: int = 0  # microseconds in each period
    cpu_period: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0  # -1 unlimited
    oom_kill_disable: bool = False
    blkio_weight: int = 0
    blkio_read_bps: tuple[ThrottleDevice, ...] = ()
    blkio_write_bps: tuple[ThrottleDevice, ...] = ()
    blkio_read_iops: tuple[ThrottleDevice, ...] = ()
    blkio_write_iops: tuple[ThrottleDevice, ...] = ()


class Ulimit(Spec, frozen=True, kw_only=True):
    name: str  # as in setrlimit(2) without RLIMIT_, lower case: "nofile"
    soft: int
    hard: int


class PodSpec(Spec, frozen=True, kw_only=True):
    id: str  # names the pod for ever: [a-z0-9][a-z0-9_.-]*
    owner: str  # who looks after it: "docker", "ecs", "build"
    network: PodNetwork = PodNetwork()
    hostname: str = ""
    domainname: str = ""
    resources: Resources = Resources()  # of the outer cgroup
    share_pids: bool = False  # one PID namespace for its containers
    sysctls: dict[str, str] = {}


class Mount(Spec, frozen=True, kw_only=True):
    """`bind`: source is a path of the host. `volume`: source is a volume's name; an empty one is filled with what the image has there, unless
    `no_copy`. `tmpfs`: no source. `content`: a file of the given bytes that only memory holds, for secrets."""

    type: Literal["bind", "volume", "tmpfs", "content"]
    target: str
    source: str = ""
    read_only: bool = False
    propagation: Literal["", "private", "rprivate", "shared", "rshared", "slave", "rslave"] = ""
    recursive: bool = True
    no_copy: bool = False
    subpath: str = ""  # of a volume
    create_source: bool = False  # bind: make a missing source as a folder (`-v`), instead of refusing (`--mount`)
    tmpfs_size: int = 0
    tmpfs_mode: int = 0o1777
    options: tuple[str, ...] = ()  # further ones of a tmpfs: "noexec"
    content: bytes = b""
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class Device(Spec, frozen=True, kw_only=True):
    path: str
    container_path: str = ""
    permissions: str = "rwm"


class HealthCheck(Spec, frozen=True, kw_only=True):
    test: tuple[str, ...]  # ("CMD", …), ("CMD-SHELL", "…") or ("NONE",)
    interval: float = 30.0
    timeout: float = 30.0
    start_period: float = 0.0
    start_interval: float = 5.0
    retries: int = 3


class LogSpec(Spec, frozen=True, kw_only=True):
    driver: Literal["file", "none"] = "file"
    max_size: int = 0  # bytes of one file; 0: unlimited
    max_files: int = 1


class ContainerSpec(Spec, frozen=True, kw_only=True):
    id: str  # 64 hexadecimal digits
    name: str = "main"  # within the pod
    layers: tuple[str, ...]  # chain ids of the root file system, the lowest first; `Images.layers_of(image)` gives them, unpacked
    args: tuple[str, ...]
    env: tuple[str, ...] = ()  # "NAME=value"
    cwd: str = "/"
    user: str = ""  # user[:group], names or numbers, looked up inside
    groups: tuple[str, ...] = ()  # supplementary
    tty: bool = False
    stdin: bool = False  # keep it open
    stdin_once: bool = False  # close it when the first who attached goes
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    device_rules: tuple[str, ...] = ()  # "c 10:* rwm"
    resources: Resources = Resources()
    ulimits: tuple[Ulimit, ...] = ()
    shm_size: int = 64 << 20
    oom_score_adj: int = 0
    privileged: bool = False
    cap_add: tuple[str, ...] = ()  # without CAP_; "ALL"
    cap_drop: tuple[str, ...] = ()
    seccomp: str = ""  # empty: the default profile; "unconfined"; or a profile in Docker's JSON
    no_new_privileges: bool = False
    masked_paths: tuple[str, ...] | None = None  # None: the default ones
    readonly_paths: tuple[str, ...] | None = None
    read_only: bool = False  # the root file system
    userns: Literal["", "host", "private"] = ""  # empty: as the host's configuration says
    pid_mode: str = ""  # "", "host", "container:<id>"
    ipc_mode: str = ""  # "", "none", "private", "shareable", "host", "container:<id>"
    uts_mode: str = ""  # "", "host"
    cgroupns_mode: str = ""  # "", "host", "private"
    init: bool = False
    stop_signal: str = "SIGTERM"
    stop_timeout: float = 10.0
    health: HealthCheck | None = None
    log: LogSpec = LogSpec()
    runtime: str = ""  # empty: the host's default; else a name from its configuration
    storage_size: int = 0  # bytes that it may write; 0: unlimited
    labels: dict[str, str] = {}


class ExecSpec(Spec, frozen=True, kw_only=True):
    args: tuple[str, ...]
    env: tuple[str, ...] = ()  # beside the container's
    cwd: str = ""  # empty: the container's
    user: str = ""
    tty: bool = False
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    privileged: bool = False
    size: tuple[int, int] = (0, 0)  # rows, columns of the tty
