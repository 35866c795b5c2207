"""The driver interface: groups of containers that share a network, and what can be done with them.

    Driver (Protocol)
      pods         create_pod, connect, disconnect, inspect_pod, list_pods, remove_pod
      containers   create_container, start, signal, stop, pause, resume, update, wait, inspect, remove_container
      inside       execute, attach, logs, stats, processes, resize
      files        stat_path, get_archive, put_archive, changes, export
      telling      subscribe

Drivers: `oci` (conmon and an OCI runtime, here), `simulated` (virtual time, for tests). `tests/engine/test_driver_conformance.py` says what every driver does.

What a driver was given it keeps in the store (`pods/model.py`), so after a crash it knows what should be there, looks what is, and tells
the difference as events. Times are seconds since the epoch, sizes bytes, durations seconds, CPU nanoseconds where a name says so.
All methods raise the errors of `engine.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol, TypeAlias

import msgspec

State: TypeAlias = Literal["created", "running", "paused", "exited"]


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is wanted. Never changed; `update` and `connect` replace parts of it."""


# ---------------------------------------------------------------------------------------------------------------- limits


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


# ---------------------------------------------------------------------------------------------------------------- network


class PortMapping(Spec, frozen=True, kw_only=True):
    container_port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    host_ip: str = ""  # empty: all addresses
    host_port: int = 0  # 0: a free one, told by PodStatus.ports


class Attachment(Spec, frozen=True, kw_only=True):
    """One interface of a pod in a network."""

    network: str  # the network's id
    subnet: str = ""  # of the network; empty: its first
    ip: str = ""  # empty: the next free one
    mac: str = ""
    aliases: tuple[str, ...] = ()  # further names by which pods of the same network find it
    security_groups: tuple[str, ...] = ()  # ids; none: nothing is filtered


class PodNetwork(Spec, frozen=True, kw_only=True):
    mode: Literal["none", "host", "vpc", "pod"] = "vpc"
    pod: str = ""  # mode "pod": share the namespace of this one
    attachments: tuple[Attachment, ...] = ()  # mode "vpc": the first has the default route
    ports: tuple[PortMapping, ...] = ()
    dns: tuple[str, ...] = ()  # name servers instead of the network's own
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # "name:address" lines for /etc/hosts; the address "host-gateway" is the host's


class AttachedInterface(msgspec.Struct, frozen=True, kw_only=True):
    """What an attachment became."""

    network: str
    subnet: str
    name: str  # "eth0"
    ip: str
    prefix: int
    gateway: str
    mac: str


# ---------------------------------------------------------------------------------------------------------------- pods


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


# ---------------------------------------------------------------------------------------------------------------- what is


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a health check."""

    start: float
    end: float
    exit_code: int
    output: str  # at most 4096 characters


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: Literal["none", "starting", "healthy", "unhealthy"]
    failing_streak: int = 0
    log: tuple[Probe, ...] = ()  # the last five


class ContainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    pod: str
    state: State
    pid: int = 0  # on the host; 0 when it does not run
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""  # why it could not start
    created: float = 0.0
    started: float = 0.0  # 0: never
    finished: float = 0.0
    health: Health | None = None


class PodStatus(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    owner: str
    interfaces: tuple[AttachedInterface, ...] = ()  # empty until the first container was started, and again after the last ended
    ports: tuple[PortMapping, ...] = ()  # with the host's ports filled in
    containers: tuple[ContainerStatus, ...] = ()


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    code: int  # 128 + signal when a signal ended it
    oom_killed: bool = False
    finished: float = 0.0
    error: str = ""


class LogRecord(msgspec.Struct, frozen=True):
    time: float
    stream: Literal["stdout", "stderr"]
    data: bytes  # with its line end; without one, the line goes on in the next record of the stream


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    read: float
    cpu_total: int = 0  # nanoseconds of CPU since it started
    cpu_user: int = 0
    cpu_system: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0  # nanoseconds
    periods: int = 0
    host_cpu_total: int = 0  # nanoseconds of all processors, for percentages
    online_cpus: int = 1
    memory: int = 0  # bytes without the page cache that can be dropped
    memory_usage: int = 0  # bytes as the cgroup counts
    memory_peak: int = 0
    memory_limit: int = 0  # the machine's memory when there is none
    memory_stat: dict[str, int] = {}
    pids: int = 0
    pids_limit: int = 0
    networks: dict[str, dict[str, int]] = {}  # by interface: rx_bytes, rx_packets, rx_errors, rx_dropped, tx_…
    block_read: int = 0
    block_written: int = 0
    block_io: tuple[tuple[int, int, str, int], ...] = ()  # major, minor, "read" | "write", bytes


class Processes(msgspec.Struct, frozen=True):
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class PathStat(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    size: int
    mode: int  # st_mode
    mtime: float
    link_target: str = ""


class Change(msgspec.Struct, frozen=True):
    path: str
    kind: Literal["modified", "added", "deleted"]


EventKind: TypeAlias = Literal[
    "create", "start", "die", "oom", "stop", "kill", "pause", "unpause", "health", "update", "resize", "exec", "remove"
]


class PodEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a container; `status` is how it is afterwards (as it was last, for "remove")."""

    kind: EventKind
    time: float
    status: ContainerStatus
    attributes: dict[str, str] = {}  # "signal" of kill, "execID" and "exitCode" of exec …


# ---------------------------------------------------------------------------------------------------------------- streams


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


class Streams(Protocol):
    """Both ways between a client and a process."""

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        """The next output; None at its end. All of a tty is stdout."""
        ...

    async def write(self, data: bytes) -> None:
        """Input, held back while the process does not take it. Without effect when it does not listen any more."""
        ...

    async def close_input(self) -> None:
        """No more input: the process reads end of file (unless it keeps stdin open for others)."""
        ...

    async def close(self) -> None:
        """Let go. The process goes on."""
        ...


class Execution(Protocol):
    """A process that `execute` started."""

    id: str
    streams: Streams

    @property
    def pid(self) -> int: ...

    @property
    def exit_code(self) -> int | None: ...

    async def wait(self) -> int:
        """Its exit code: 126 and 127 as a shell when it could not be started."""
        ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def signal(self, name: str) -> None: ...


class Driver(Protocol):
    """How containers are run."""

    name: str

    async def start_driver(self) -> None:
        """Find again what runs, tell what ended meanwhile, begin to sweep."""

    async def stop_driver(self) -> None:
        """Containers go on."""

    async def sweep(self) -> list[str]:
        """Remove what no row owns, tell rows whose container is gone; a sentence for each."""

    # pods

    async def create_pod(self, spec: PodSpec) -> None:
        """Keep it; nothing of the kernel's is made before its first container starts. Conflict: the id is taken."""

    async def connect(self, pod: str, attachment: Attachment) -> None: ...

    async def disconnect(self, pod: str, network: str) -> None: ...

    def inspect_pod(self, pod: str) -> PodStatus: ...

    def list_pods(self, owner: str = "") -> list[PodStatus]: ...

    async def remove_pod(self, pod: str, *, force: bool = False) -> None:
        """With its containers. Conflict: one of them runs and `force` is not set. A second time it does nothing."""

    # containers

    async def create_container(self, pod: str, spec: ContainerSpec) -> None: ...

    async def start(self, container: str) -> None:
        """Returns when its process runs. Failed: it could not be started; `status.error` says why and the exit code is 126, 127 or 128.
        A running one is left as it is. An exited one starts anew on the same root file system."""

    async def signal(self, container: str, signal: str) -> None:
        """Conflict: it does not run."""

    async def stop(self, container: str, *, within: float | None = None, signal: str = "") -> None:
        """Signal, wait `within` seconds (None: its stop_timeout; negative: for ever), SIGKILL, wait. Returns when it has ended; at once when it does not run."""

    async def pause(self, container: str) -> None: ...

    async def resume(self, container: str) -> None: ...

    async def update(self, container: str, resources: Resources) -> None:
        """New limits, at once. Fields that are 0 stay as they are."""

    async def wait(self, container: str) -> Exit:
        """Returns when it does not run. One that was never started is waited for."""

    def inspect(self, container: str) -> ContainerStatus: ...

    async def remove_container(self, container: str, *, force: bool = False) -> None: ...

    # inside

    async def execute(self, container: str, spec: ExecSpec) -> Execution:
        """Conflict: it does not run, or is paused."""

    async def attach(self, container: str) -> Streams:
        """To its own streams. Before its start: nothing that it writes is missed."""

    def logs(
        self, container: str, *, follow: bool = False, since: float = 0.0, until: float = 0.0, tail: int | None = None
    ) -> AsyncIterator[LogRecord]:
        """Ends when all was read; with `follow`, when the container has ended too."""

    async def stats(self, container: str) -> Stats: ...

    async def processes(self, container: str, ps_arguments: str = "") -> Processes: ...

    async def resize(self, container: str, rows: int, columns: int) -> None: ...

    # files, of containers that run and that do not

    async def stat_path(self, container: str, path: str) -> PathStat: ...

    def get_archive(self, container: str, path: str) -> AsyncIterator[bytes]:
        """A tar of the file or folder, whose top entry is its base name."""

    async def put_archive(
        self, container: str, path: str, tar: AsyncIterator[bytes], *, no_overwrite_dir_non_dir: bool = False, copy_uid_gid: bool = False
    ) -> None:
        """Unpack a tar (plain, gzip, bzip2, xz or zstd) into a folder."""

    async def changes(self, container: str) -> list[Change]: ...

    def export(self, container: str) -> AsyncIterator[bytes]:
        """A tar of the whole root file system, without mounts."""

    def subscribe(self, callback: Callable[[PodEvent], None]) -> Callable[[], None]:
        """Call back with each event, in order, until the returned function is called."""
