"""What the daemon asks of the host about containers, and what the host tells of them.

One run of a container, as the host sees it:

    CreateContainer ──▶ (created) ──StartContainer──▶ (running) ──▶ ContainerExited ──CleanUpContainer──▶ (nothing of the kernel's left)
                                                                                       │
          CreateContainer again: the next run, on the same root file system  ◀─────────┴────▶ RemoveContainer

`CreateContainer` with `start` does both steps in one call, with `attach` it also gives the attach socket, connected before anything runs.
A container keeps its files (log, exit code, what it wrote) until RemoveContainer; CleanUpContainer takes what the kernel holds: cgroups, mounts, the
runtime's state. All of it survives the daemon and the host: `ListContainers` tells what is there.

What goes wrong at the start is Failed, with the sentence that Docker would say; `failures.exit_code_of(message)` tells 126, 127 and 128 apart.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from cloudstead.engine.host.messages import Command, Event, HexId, Name
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, Mount, Resources
from cloudstead.engine.pods.states import Processes, Stats
from cloudstead.engine.snapshots.api import View
from cloudstead.engine.spec import Spec

Signal = Annotated[int, msgspec.Meta(ge=0, le=64)]
"""A number; 0 only asks whether it runs."""
Columns = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class NetworkNamespace(Spec, frozen=True, kw_only=True):
    """Which one a container lives in.

    `new`: one of its own with nothing but a loopback. `host`: the machine's. `named`: that of `layout.netns / name`, which the network room made.
    `container`: that of the running container whose id is `name` (the second one of a pod without network).
    """

    kind: Literal["new", "host", "named", "container"] = "new"
    name: str = ""


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """What CreateContainer made."""

    pid: int  # of the container's first process, on the host
    monitor: int  # conmon's
    created: float
    started: float = 0.0  # 0: it was not asked to start


class FoundContainer(msgspec.Struct, frozen=True, kw_only=True):
    """A container of which something is on disk or in the kernel."""

    id: str
    pod: str
    state: Literal["created", "running", "paused", "exited", "incomplete"]  # incomplete: CreateContainer was cut off
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    created: float = 0.0  # of its last run
    started: float = 0.0
    finished: float = 0.0
    cleaned: bool = False  # nothing of the kernel's is left


class ExecStarted(msgspec.Struct, frozen=True, kw_only=True):
    pid: int


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What this host can do with containers, for `docker info` and `cloudstead doctor`."""

    cgroup_version: Literal[1, 2]  # which one has the controllers: hybrid counts as 1
    controllers: tuple[str, ...]
    runtime: str  # the default one's name
    runtimes: dict[str, str]  # names that may be asked for, and their paths
    runtime_version: str
    monitor_version: str
    init: str  # path of the static init for `init`; empty: there is none
    swap_limit: bool
    user_namespaces: bool  # with id-mapped mounts
    seccomp: bool
    no_cgroups: str = ""  # why there are none at all
    lacks: tuple[str, ...] = ()  # sentences: what does not hold here, and why


# ---------------------------------------------------------------------------------------------------------------- life


class CreateContainer(Command[Created], frozen=True, kw_only=True):
    """Make a container ready: its root file system mounted, its bundle written, its first process made and waiting.

    Gives the attach socket (see AttachContainer) when `attach` is set. Conflict: it is there and runs. A stopped one is cleaned up first, and begins
    its next run. Whatever fails, nothing but the container's folder is left.
    """

    answers: ClassVar[type[Created]] = Created

    pod: Name
    spec: ContainerSpec
    network: NetworkNamespace = NetworkNamespace()
    pod_resources: Resources = Resources()  # of the outer cgroup
    share_pids: bool = False  # one PID namespace for the containers of this pod
    hostname: str = ""  # empty: the first 12 digits of the id
    domainname: str = ""
    hosts: str | None = None  # /etc/hosts; None: the image's own
    resolv_conf: str | None = None  # /etc/resolv.conf; None: the image's own
    sysctls: dict[str, str] = {}
    start: bool = False
    attach: bool = False


class StartContainer(Command[float], frozen=True, kw_only=True):
    """Let the first process of a created container go. Answers when that was. Conflict: it is not created."""

    answers: ClassVar[type[float]] = float

    id: HexId


class CleanUpContainer(Command[None], frozen=True, kw_only=True):
    """Take everything of the kernel's from a container that ended: runtime's state, cgroup, mounts. A second time it does nothing.

    One that was created and never started is ended. Conflict: it runs.
    """

    id: HexId


class RemoveContainer(Command[None], frozen=True, kw_only=True):
    """Clean up (after SIGKILL, if it runs) and delete its log, bundle and exit file. A second time it does nothing.

    What it wrote stays: that is the snapshots room's (`Snapshots.remove(id)`).
    """

    id: HexId


class ListContainers(Command[list[FoundContainer]], frozen=True, kw_only=True):
    """All of this instance, or those that are named. Those that run are watched from now on: their end is told."""

    only: tuple[HexId, ...] = ()
    answers: ClassVar[type[list[FoundContainer]]] = list[FoundContainer]


class SweepContainers(Command[list[str]], frozen=True, kw_only=True):
    """Remove containers, cgroups, mounts and pods that are not named. Answers a sentence for each. Nothing that is being made now is touched."""

    answers: ClassVar[type[list[str]]] = list[str]

    containers: tuple[str, ...]
    pods: tuple[str, ...]


class UpdatePod(Command[None], frozen=True, kw_only=True):
    """New limits of a pod's outer cgroup, if there is one; fields that are 0 stay as they are."""

    pod: Name
    resources: Resources


class RemovePod(Command[None], frozen=True, kw_only=True):
    """The outer cgroup and what holds shared namespaces. Conflict: a container runs in it. A second time it does nothing."""

    pod: Name


# ---------------------------------------------------------------------------------------------------------------- while it runs


class SignalContainer(Command[None], frozen=True, kw_only=True):
    """Send a signal to its first process. Conflict: it does not run."""

    id: HexId
    signal: Signal


class PauseContainer(Command[None], frozen=True, kw_only=True):
    """Freeze it; answers when all its processes stand still. Conflict: it does not run, or is paused."""

    id: HexId


class ResumeContainer(Command[None], frozen=True, kw_only=True):
    """Conflict: it is not paused."""

    id: HexId


class UpdateContainer(Command[None], frozen=True, kw_only=True):
    """New limits, at once; fields that are 0 stay as they are. The next CreateContainer must bring them along in its spec.

    Nothing is done for one that does not run, but senseless values are refused all the same.
    """

    id: HexId
    resources: Resources


class WriteNetworkFiles(Command[None], frozen=True, kw_only=True):
    """New content of /etc/hosts and /etc/resolv.conf inside; None: as it is."""

    id: HexId
    hosts: str | None = None
    resolv_conf: str | None = None


class ResizeContainer(Command[None], frozen=True, kw_only=True):
    """The size of its terminal. Conflict: it does not run. Without effect when it has none."""

    id: HexId
    rows: Columns
    columns: Columns


class AttachContainer(Command[None], frozen=True, kw_only=True):
    """Gives one descriptor: a connected SOCK_SEQPACKET socket of conmon's.

    Each packet that comes is a stream (one byte: 2 stdout, 3 stderr) and up to 8192 bytes of output; of a tty all is 2. What is sent is input, at most 8192 bytes a
    packet; `shutdown(SHUT_WR)` closes stdin, unless the container keeps it open for others. End of file: the container has ended.
    """

    id: HexId


class OpenLog(Command[int], frozen=True, kw_only=True):
    """Gives descriptors of the log's files for reading, the oldest first; none when the driver is "none" or nothing was ever run.

    Answers how many. Lines are conmon's k8s-file: `2026-01-02T03:04:05.678901234Z stdout F text`, with P for a line that goes on in the next one of the
    stream. A reader at the end of the last file waits for more, until `LogRotated` tells that the file goes on under a new descriptor.
    """

    answers: ClassVar[type[int]] = int

    id: HexId


class ReadStats(Command[Stats], frozen=True, kw_only=True):
    """Counters and limits, now. Conflict: it does not run."""

    answers: ClassVar[type[Stats]] = Stats

    id: HexId


class ListProcesses(Command[Processes], frozen=True, kw_only=True):
    """What runs inside, as ps(1) of the host says. InvalidArgument: `ps` does not take the arguments, or they show no PID."""

    answers: ClassVar[type[Processes]] = Processes

    id: HexId
    ps_arguments: str = "-ef"


class DescribeHost(Command[HostFacts], frozen=True, kw_only=True):
    answers: ClassVar[type[HostFacts]] = HostFacts


# ---------------------------------------------------------------------------------------------------------------- inside


class ExecContainer(Command[ExecStarted], frozen=True, kw_only=True):
    """Run one more process in a running container; answers when it runs, and `ExecExited` follows.

    Gives descriptors: with `tty` the terminal's master (read, write, TIOCSWINSZ; closing it hangs up), else a pipe's end for each of stdin, stdout, stderr that
    the spec asks for, in this order. Failed: it could not be started (126, 127: see failures). Conflict: the container does not run, or is paused.
    """

    answers: ClassVar[type[ExecStarted]] = ExecStarted

    container: HexId
    exec: HexId  # names it in SignalExec and ExecExited
    spec: ExecSpec


class SignalExec(Command[None], frozen=True, kw_only=True):
    """Conflict: it has ended."""

    exec: HexId
    signal: Signal


# ---------------------------------------------------------------------------------------------------------------- telling


class ContainerExited(Event, frozen=True, kw_only=True):
    """A run has ended and its log is complete. Told once, to whoever is there; ListContainers has it too."""

    id: str
    pid: int  # which run's
    exit_code: int
    oom_killed: bool
    finished: float


class ContainerOom(Event, frozen=True, kw_only=True):
    """The kernel killed a process of it that wanted too much memory; the container may go on."""

    id: str


class ExecExited(Event, frozen=True, kw_only=True):
    container: str
    exec: str
    exit_code: int


class LogRotated(Event, frozen=True, kw_only=True):
    """The log's newest file is another one from now on; the one before is complete."""

    id: str


class FindViews(Command[tuple[View, ...]], frozen=True, kw_only=True):
    """What of these mounts a container has while it does not run, in the order in which they are to be mounted."""

    answers = tuple[View, ...]
    id: HexId
    mounts: Annotated[tuple[Mount, ...], msgspec.Meta(max_length=1000)]
