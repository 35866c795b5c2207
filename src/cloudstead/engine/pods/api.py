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
from typing import Literal, Protocol

from cloudstead.engine.network.api import Attachment
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec, PodSpec, Resources
from cloudstead.engine.pods.states import ContainerStatus, Exit, LogRecord, PodEvent, PodStatus, Processes, Stats
from cloudstead.engine.snapshots.api import Change, PathStat


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
