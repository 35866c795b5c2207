"""`docker exec`: processes beside a container's own. Kept in memory: they end with their container, and nobody asks for one after a restart."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import field

from cloudstead.engine.dockerapi.lifecycle import running
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.shapes import Shape
from cloudstead.engine.errors import Conflict, Failed, NotFound
from cloudstead.engine.pods.api import Execution
from cloudstead.engine.pods.failures import exit_code_of
from cloudstead.engine.pods.specs import ExecSpec

if TYPE_CHECKING:
    from cloudstead.engine.dockerapi.api import DockerApi

log = logging.getLogger(__name__)

KEPT = 2000  # of those that have ended, for whoever still asks for their exit code


class ExecCreate(Shape, frozen=True, kw_only=True):
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    console_size: list[int] | None = None  # API 1.42
    detach_keys: str = ""
    tty: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    privileged: bool = False
    user: str = ""
    working_dir: str = ""
    container: str = ""  # docker-py repeats here what stands in the path
    detach: bool = False  # clients repeat here what they say at the start


class ExecStart(Shape, frozen=True, kw_only=True):
    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = field(default=None)


class Exec:
    """One of them."""

    def __init__(self, id: str, container: str, wanted: ExecCreate) -> None:
        self.id = id
        self.container = container
        self.wanted = wanted
        self.started = False
        self.size = tuple(wanted.console_size or ())
        self.execution: Execution | None = None
        self.exit_code: int | None = None

    @property
    def running(self) -> bool:
        return self.execution is not None and self.exit_code is None


class Execs:
    """All of them: `api.part(Execs)`."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self._all: OrderedDict[str, Exec] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def create(self, row: DockerContainer, wanted: ExecCreate) -> Exec:
        made = Exec(secrets.token_hex(32), row.id, wanted)
        self._all[made.id] = made
        self._forget_some()
        self._tell(made, "exec_create", command=True)
        return made

    def find(self, id: str) -> Exec:
        found = self._all.get(id)
        if found is None:
            raise NotFound(f"No such exec instance: {id}")
        return found

    def running_in(self, container: str) -> list[str]:
        return [each.id for each in self._all.values() if each.container == container and each.running]

    def claim(self, each: Exec) -> None:
        """For the one who starts it.

        Raises:
            Conflict: somebody has, or its container does not run.
        """
        if each.started:
            raise Conflict(f"Error: Exec command {each.id} has already run")
        running(self._api, each.container)
        each.started = True

    async def start(self, each: Exec) -> Execution:
        """Raises Failed when it cannot be started; `exit_code` says 126 or 127."""
        wanted = each.wanted
        spec = ExecSpec(
            args=tuple(wanted.cmd or ()),
            env=tuple(line for line in wanted.env or () if "=" in line),
            cwd=wanted.working_dir,
            user=wanted.user,
            tty=wanted.tty,
            stdin=wanted.attach_stdin,
            stdout=wanted.attach_stdout,
            stderr=wanted.attach_stderr,
            privileged=wanted.privileged,
            size=(each.size[0], each.size[1]) if len(each.size) == 2 else (0, 0),
        )
        self._tell(each, "exec_start", command=True)
        try:
            each.execution = await self._api.engine.pods.execute(each.container, spec)
        except Failed as error:
            each.exit_code = exit_code_of(error.message)
            raise
        except BaseException:
            each.exit_code = 128
            raise
        task = asyncio.ensure_future(self._follow(each, each.execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return each.execution

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _follow(self, each: Exec, execution: Execution) -> None:
        each.exit_code = await execution.wait()
        self._tell(each, "exec_die", exit_code=each.exit_code)

    def _tell(self, each: Exec, action: str, *, command: bool = False, exit_code: int | None = None) -> None:
        row = self._api.part(Containers).by_id(each.container)
        if row is not None:
            told = f"{action}: {' '.join(each.wanted.cmd or ())}" if command else action
            ended = {} if exit_code is None else {"exitCode": str(exit_code)}
            self._api.part(Containers).tell(row, told, {"execID": each.id, **ended})

    def _forget_some(self) -> None:
        """The oldest that have ended, or whose container is gone."""
        containers = self._api.part(Containers)
        while len(self._all) > KEPT:
            old = next((each for each in self._all.values() if not each.running or containers.by_id(each.container) is None), None)
            if old is None:
                return
            del self._all[old.id]
