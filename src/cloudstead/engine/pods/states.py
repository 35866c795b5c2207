"""How pods and containers are, and what is told of them. Times are seconds since the epoch, sizes bytes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from cloudstead.engine.network.api import AttachedInterface, PortMapping

State: TypeAlias = Literal["created", "running", "paused", "exited"]


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
    block_io: tuple[tuple[int, int, str, int], ...] = ()  # major, minor, "read" | "write", bytes


class Processes(msgspec.Struct, frozen=True):
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


EventKind: TypeAlias = Literal[
    "create", "start", "die", "oom", "stop", "kill", "pause", "unpause", "health", "update", "resize", "exec", "remove"
]


class PodEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a container; `status` is how it is afterwards (as it was last, for "remove")."""

    kind: EventKind
    time: float
    status: ContainerStatus
    attributes: dict[str, str] = {}  # "signal" of kill, "execID" and "exitCode" of exec …
