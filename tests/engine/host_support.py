"""Containers to test the engine host with: a host of its own for a module, busybox unpacked once, and a look at all that must not be left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cloudstead.engine.host.client import HostClient
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.pods import cgroups, commands
from cloudstead.engine.pods.specs import ContainerSpec, ExecSpec
from cloudstead.engine.snapshots import commands as snapshot_commands
from engine_support import busybox_tar

T = TypeVar("T")
WITHIN = 30.0


class Stage:
    """A host, one root file system, and the loop that speaks to it."""

    def __init__(self, data: Path) -> None:
        self.layout = Layout(data)
        self.runner = asyncio.Runner()
        self.told: list[Any] = []
        self.known: set[str] = set()
        self.chain = ""
        self.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def start(self, **options: Any) -> None:
        self.host = HostClient(self.layout, **options)
        for kind in (commands.ContainerExited, commands.ContainerOom, commands.ExecExited, commands.LogRotated):
            self.host.on(kind, self.told.append)
        self.run(self.host.start())
        self.run(self._unpack())

    async def _unpack(self) -> None:
        blob = os.memfd_create("busybox")
        try:
            os.write(blob, busybox_tar())
            os.lseek(blob, 0, os.SEEK_SET)
            self.chain = (await self.host.call(snapshot_commands.UnpackLayer(parent="", diff_id=""), [blob])).chain_id
        finally:
            os.close(blob)

    def close(self) -> None:
        """All containers removed, the host ended, nothing left of it."""
        for found in self.run(self.host.call(commands.ListContainers())):
            self.known.add(found.id)
        for container in list(self.known):
            self.remove(container)
        said = self.run(self.host.call(commands.SweepContainers(containers=(), pods=())))
        assert said == [], said
        self.run(self.host.call(snapshot_commands.SweepSnapshots()))  # of hosts that were killed
        self.run(self.host.close())
        self.runner.close()
        self.assert_nothing_left()
        shutil.rmtree(self.layout.run, ignore_errors=True)

    def assert_nothing_left(self) -> None:
        """No mount, cgroup or process of this instance."""
        assert str(self.layout.data) not in Path("/proc/self/mounts").read_text()
        assert str(self.layout.run / "content") not in Path("/proc/self/mounts").read_text()
        assert not cgroups.exists(cgroups.tree(), self.layout.cgroup)
        assert processes_naming(str(self.layout.data)) == []

    @property
    def host_pid(self) -> int:
        assert self.host._process is not None
        return self.host._process.pid

    # containers

    def call(self, command: Any) -> Any:
        return self.run(self.host.call(command))

    def create(
        self,
        *args: str,
        pod: str = "pod",
        start: bool = True,
        attach: bool = False,
        id: str = "",
        of_pod: dict[str, Any] | None = None,
        **spec: Any,
    ) -> str:
        """A container; started unless it is not to be."""
        id = id or os.urandom(32).hex()
        self.known.add(id)
        wanted = ContainerSpec(id=id, layers=(self.chain,), args=args, **{"env": ("PATH=/bin",), **spec})
        command = commands.CreateContainer(pod=pod, spec=wanted, start=start, attach=attach, **(of_pod or {}))
        self.created, self.descriptors = self.run(self.host.call_with_descriptors(command))
        return id

    def wait(self, container: str) -> commands.ContainerExited:
        """The end of its run; each is told once."""
        found = self.until(commands.ContainerExited, id=container)
        self.told.remove(found)
        return found

    def until(self, kind: type[T], **fields: Any) -> T:
        async def come() -> T:
            async with asyncio.timeout(WITHIN):
                while True:
                    for event in self.told:
                        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
                            return event
                    await asyncio.sleep(0.005)

        return self.run(come())

    def log(self, container: str) -> str:
        """What it wrote, without times and streams."""
        return "".join(text + ("\n" if full == "F" else "") for _, _, full, text in self.log_lines(container))

    def log_lines(self, container: str) -> list[Sequence[str]]:
        _, descriptors = self.run(self.host.call_with_descriptors(commands.OpenLog(id=container)))
        lines: list[Sequence[str]] = []
        for fd in descriptors:
            with open(fd) as file:
                lines += [line.split(" ", 3) for line in file.read().splitlines()]
        return lines

    def output(self, *args: str, code: int = 0, **options: Any) -> str:
        """Of a container that runs to its end."""
        container = self.create(*args, **options)
        ended = self.wait(container)
        text = self.log(container)
        assert ended.exit_code == code, text
        self.remove(container)
        return text

    def shell(self, script: str, **options: Any) -> str:
        return self.output("sh", "-c", script, **options)

    def remove(self, container: str) -> None:
        self.call(commands.RemoveContainer(id=container))
        self.call(snapshot_commands.RemoveWritable(key=container))
        self.known.discard(container)
        self.told[:] = [event for event in self.told if getattr(event, "id", "") != container]

    def execute(self, container: str, *args: str, stdin: bytes | None = None, **spec: Any) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command inside."""
        name = os.urandom(16).hex()
        wanted = ExecSpec(args=args, stdin=stdin is not None, **spec)
        _, descriptors = self.run(self.host.call_with_descriptors(commands.ExecContainer(container=container, exec=name, spec=wanted)))
        if stdin is not None:
            fd = descriptors.pop(0)
            os.write(fd, stdin)
            os.close(fd)
        ended = self.until(commands.ExecExited, exec=name)
        out, err = (_rest(fd) for fd in descriptors)
        return ended.exit_code, out, err

    def found(self, container: str) -> commands.FoundContainer | None:
        return next((found for found in self.call(commands.ListContainers()) if found.id == container), None)


def _rest(fd: int) -> str:
    with open(fd, "rb") as file:
        return file.read().decode()


def processes_naming(text: str) -> list[str]:
    """Command lines that have it."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line and "pytest" not in line:
                found.append(line)
    return found
