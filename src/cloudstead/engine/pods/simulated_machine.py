"""The world of the simulated driver: a machine whose containers outlive the daemon, and go wrong when they are told to.

    machine = SimulatedMachine(clock, seed=7, faults=Faults(start_fails=0.05, dies=0.1))
    machine.programs["web"] = Program(prints=("listening",))

In a `kernel.simulation` it is made by `SimulatedMachine.of(sim)`; then its actions are also points of the simulation's faults ("pods.start" …).
All chance comes from the seed. The machine tells the driver that listens last; what it tells a dead daemon nobody hears.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cloudstead.engine.errors import Conflict, Failed, NotFound, Unavailable
from cloudstead.engine.host.messages import Event
from cloudstead.engine.pods.commands import FoundContainer
from cloudstead.engine.pods.simulated_container import SimulatedContainer
from cloudstead.engine.pods.simulated_programs import Process, Program, Run, running
from cloudstead.engine.pods.simulated_shell import COMMANDS
from cloudstead.engine.pods.specs import ContainerSpec, PodSpec
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.simulation import InjectedFault

if TYPE_CHECKING:
    from cloudstead.kernel.simulation import Simulation

T = TypeVar("T")


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong by itself. Probabilities are of each start."""

    start_fails: float = 0.0
    slow_start: float = 0.0
    slow_seconds: tuple[float, float] = (1.0, 60.0)
    dies: float = 0.0  # a container that runs is killed some time
    dies_within: tuple[float, float] = (1.0, 3600.0)
    host_dies_every: float = 0.0  # seconds, on average; 0: never. Containers go on, commands are refused
    host_down: tuple[float, float] = (0.5, 10.0)
    power_fails_every: float = 0.0  # seconds, on average; 0: never. All containers are gone
    power_down: tuple[float, float] = (10.0, 300.0)


NO_FAULTS = Faults()


class SimulatedMachine:
    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        faults: Faults = NO_FAULTS,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]] = asyncio.ensure_future,
        act: Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]] | None = None,
    ) -> None:
        self.clock = clock
        self.faults = faults
        self.programs: dict[str, Program | Run] = {}
        self.containers: dict[str, SimulatedContainer] = {}
        self.spawn = spawn
        self.starts = 0  # of containers, ever
        self._act = act
        self._random = Random(f"{seed} machine")
        self._pids = 1000
        self._listener: tuple[Callable[[Event], None], Callable[[], None], contextvars.Context] | None = None
        self._away_until = 0.0
        self._disasters = False

    @classmethod
    def of(cls, sim: Simulation, *, faults: Faults = NO_FAULTS) -> SimulatedMachine:
        """The machine of a simulation's world."""
        return cls(sim.clock, seed=sim.seed, faults=faults, spawn=sim.spawn, act=sim.act)

    # for scenarios

    def host_dies(self, down: float) -> None:
        """The engine host is gone for so many seconds. Containers go on."""
        self._away_until = max(self._away_until, self.clock.time() + down)
        if self._listener is not None:
            _, lost, context = self._listener
            asyncio.get_running_loop().call_soon(lost, context=context)

    def power_fails(self, down: float) -> None:
        """All containers are gone, and the machine is for so many seconds. What they wrote stays."""
        for container in self.containers.values():
            container.vanish()
        self.host_dies(down)

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self.faults = NO_FAULTS

    # for the driver

    def listen(self, tell: Callable[[Event], None], lost: Callable[[], None]) -> None:
        """Have events told, in the context of the caller, so that a dead daemon is told nothing."""
        self._listener = (tell, lost, contextvars.copy_context())
        if not self._disasters:
            self._disasters = True
            for mean, down, happens in (
                (self.faults.host_dies_every, self.faults.host_down, self.host_dies),
                (self.faults.power_fails_every, self.faults.power_down, self.power_fails),
            ):
                if mean:
                    self.spawn(self._again(mean, down, happens))

    def deaf(self) -> None:
        self._listener = None

    def tell(self, event: Event) -> None:
        if self._listener is not None:
            tell, _, context = self._listener
            asyncio.get_running_loop().call_soon(tell, event, context=context)

    @property
    def there(self) -> bool:
        return self.clock.time() >= self._away_until

    async def back(self) -> None:
        """When the host answers again."""
        while not self.there:
            await self.clock.sleep(self._away_until - self.clock.time())

    async def do(self, point: str, action: Callable[[], Awaitable[T]]) -> T:
        """A command of the host.

        Raises:
            Unavailable: it does not answer, or its answer was lost.
        """
        if not self.there:
            raise Unavailable("the engine host has ended")
        if self._act is None:
            return await action()
        try:
            result: T = await self._act(f"pods.{point}", action)
        except InjectedFault as error:
            raise Unavailable(str(error)) from None
        return result

    def require(self, id: str) -> SimulatedContainer:
        found = self.containers.get(id)
        if found is None or found.main is None:
            raise Conflict(f"container {id} is not running")
        return found

    def container(self, spec: ContainerSpec, pod: PodSpec) -> SimulatedContainer:
        """A container, made when there is none."""
        found = self.containers.get(spec.id)
        if found is None:
            found = self.containers[spec.id] = SimulatedContainer(self, spec, pod)
        found.spec, found.pod = spec, pod
        return found

    def known(self, id: str) -> SimulatedContainer:
        found = self.containers.get(id)
        if found is None:
            raise NotFound(f"there is no container {id}")
        return found

    async def run(self, container: SimulatedContainer) -> tuple[int, float]:
        """Begin a run."""
        faults, random = self.faults, self._random
        fails, slow, dies = random.random() < faults.start_fails, random.random() < faults.slow_start, random.random() < faults.dies
        program = self.find(container, container.spec.args)
        described = self.description(container, container.spec.args)
        if described is not None and described.start_seconds:
            await self.clock.sleep(described.start_seconds)
        if slow:
            await self.clock.sleep(random.uniform(*faults.slow_seconds))
        if fails:
            raise Failed("failed to create task for container: the simulation wanted it to fail: unknown")
        if described is not None and described.start_error:
            raise Failed(described.start_error)
        if program is None:
            raise Failed(not_found(container.spec.args[0]))
        self.starts += 1
        process = container.begin(program)
        if dies:
            self.spawn(self._dies(container, process, random.uniform(*faults.dies_within)))
        return process.pid, container.started

    def list(self) -> list[FoundContainer]:
        return [container.found() for container in self.containers.values()]

    def pid(self) -> int:
        self._pids += 1
        return self._pids

    # programs

    def description(self, container: SimulatedContainer, args: tuple[str, ...]) -> Program | None:
        found = self._look_up(container, args)
        return found if isinstance(found, Program) else None

    def find(self, container: SimulatedContainer, args: tuple[str, ...]) -> Run | None:
        """What a command line runs."""
        found = self._look_up(container, args)
        if isinstance(found, Program):
            program = found
            return lambda process: running(program, process)
        if found is not None:
            return found
        command = COMMANDS.get(args[0].rpartition("/")[2])
        if command is None:
            return None
        builtin = command
        return lambda process: builtin(process, list(args[1:]))

    def _look_up(self, container: SimulatedContainer, args: tuple[str, ...]) -> Program | Run | None:
        line = " ".join(args)
        inner = args[2] if args[:2] in (("/bin/sh", "-c"), ("sh", "-c")) and len(args) == 3 else line
        if container.main is not None and container.main.args != args:
            own = self._look_up(container, container.main.args)
            if isinstance(own, Program):
                for name in (line, inner):
                    if name in own.execs:
                        return own.execs[name]
            image = ""
        else:
            image = container.spec.layers[-1] if container.spec.layers else ""
        for name in (line, inner, args[0], image):
            if name in self.programs:
                return self.programs[name]
        return None

    # disasters

    async def _again(self, mean: float, down: tuple[float, float], happens: Callable[[float], None]) -> None:
        while True:
            await self.clock.sleep(self._random.expovariate(1 / mean))
            if self.faults == NO_FAULTS:
                return
            happens(self._random.uniform(*down))

    async def _dies(self, container: SimulatedContainer, process: Process, after: float) -> None:
        await self.clock.sleep(after)
        if self.faults != NO_FAULTS:
            container.ended(process, 137)


def not_found(command: str) -> str:
    """What Docker says."""
    return (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container "
        f'process: exec: "{command}": executable file not found in $PATH: unknown'
    )
