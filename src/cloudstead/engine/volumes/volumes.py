"""Named volumes: folders that outlive containers, or file systems that are mounted when one needs them.

A row is written before its folder is made and deleted after the folder is gone, so whatever is cut off is finished by `sweep`. A container that
mounts a volume is noted as a use of it, from its creation to its removal; a volume that is used cannot be removed.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Container, Mapping
from typing import Any, Protocol

import msgspec

from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.messages import Command, R
from cloudstead.engine.volumes import commands
from cloudstead.engine.volumes.model import USES, VOLUMES, Use, Volume
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
NEEDED_WITH = {"o": ("type", "device"), "device": ("type",), "type": ("device",)}
ANONYMOUS = "com.docker.volume.anonymous"  # the label by which Docker's clients tell them


class Host(Protocol):
    """The engine host, as volumes need it."""

    @property
    def layout(self) -> Layout: ...

    async def call(self, command: Command[R]) -> R: ...


class Usage(msgspec.Struct, frozen=True):
    size: int  # bytes; -1: not known, it is mounted from elsewhere
    containers: int


class Pruned(msgspec.Struct, frozen=True):
    names: tuple[str, ...] = ()
    reclaimed: int = 0


class Volumes:
    """All volumes of this cloud. Without a host they are rows alone: nothing can mount them, and the first use with a host makes their folders."""

    def __init__(self, store: Store, clock: Clock, host: Host | None) -> None:
        self._store = store
        self._clock = clock
        self._host = host
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._strays: set[str] = set()  # containers with volumes and without a row, as the last sweep met them
        store.attach([VOLUMES, USES])
        self._rows = store.table(VOLUMES)
        self._uses = store.table(USES)

    async def start(self) -> None:
        """There is nothing to begin: the tables are there."""

    async def stop(self) -> None:
        """What is mounted stays: containers go on."""

    # finding

    def get(self, name: str) -> Volume:
        """Raises NotFound, in Docker's words."""
        row = self._rows.get((name,))
        if row is None or row.removing:
            raise NotFound(f"get {name}: no such volume")
        return row

    def find(self, name: str) -> Volume | None:
        row = self._rows.get((name,))
        return None if row is None or row.removing else row

    def all(self) -> list[Volume]:
        return [row for row in self._rows.scan() if not row.removing]

    def mountpoint(self, name: str) -> str:
        """Where its content lies on the host; empty without one."""
        return "" if self._host is None else str(self._host.layout.volumes / name / "_data")

    def users(self, name: str) -> list[str]:
        """The containers that have it."""
        return [use.container for use in self._uses.scan((name,))]

    # making and using

    async def create(self, name: str = "", *, labels: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None) -> Volume:
        """Make a volume, or find the one that has this name already: as in Docker its labels and options stay as they are then.

        Args:
            name: empty for an anonymous one, which gets 64 hexadecimal digits.
            options: of Docker's driver `local`: type, device and o, as mount(8) takes them.
        """
        anonymous = not name
        name = name or secrets.token_hex(32)
        check_name(name)
        options = dict(options or {})
        check_options(options)
        async with self._alone(name):
            row = self.find(name)
            if row is None:
                labels = {**(labels or {}), **({ANONYMOUS: ""} if anonymous else {})}
                row = Volume(name=name, created=self._clock.time(), labels=labels, options=options, anonymous=anonymous)
                with self._store.transaction() as tx:
                    row = tx.put(VOLUMES, row)
                await self._store.settled()
                await self._make_new(row)
        return row

    async def use(self, name: str, container: str) -> Volume:
        """Note that a container has it, and mount what it is made of. The same again mounts it again if need be: call it before each start.

        Raises:
            NotFound
            Failed, Unsupported: it cannot be mounted.
        """
        async with self._alone(name):
            row = self.get(name)
            await self._make(row)
            if row.options and self._host is not None:
                await self._host.call(commands.MountVolume(name=name))
            if (name, container) not in self._uses:
                with self._store.transaction() as tx:
                    tx.insert(USES, Use(volume=name, container=container))
        return row

    async def release(self, name: str, container: str) -> None:
        """The container is gone. A second time it does nothing."""
        async with self._alone(name):
            with self._store.transaction() as tx:
                gone = tx.delete(USES, (name, container))
            if gone is None or self.users(name):
                return
            row = self.find(name)
            if row is not None and row.options and self._host is not None:
                await self._host.call(commands.UnmountVolume(name=name))

    async def release_all(self, container: str) -> list[str]:
        """The container is gone; the names of the volumes that it had."""
        names = [use.volume for use in self._uses.scan((container,), index="by_container")]
        for name in names:
            await self.release(name, container)
        return names

    # removing

    async def remove(self, name: str) -> None:
        """With its content.

        Raises:
            NotFound
            Conflict: containers have it.
        """
        async with self._alone(name):
            self.get(name)
            if users := self.users(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            await self._remove(name)

    async def prune(self, *, anonymous_only: bool = True, keep: Callable[[Volume], bool] | None = None) -> Pruned:
        """Remove what no container has."""
        unused = [row for row in self.all() if not self.users(row.name) and (row.anonymous or not anonymous_only)]
        wanted = [row.name for row in unused if keep is None or not keep(row)]
        sizes = await self._measure(wanted)
        gone = []
        for name in wanted:
            try:
                await self.remove(name)
            except (Conflict, NotFound):  # somebody was quicker
                continue
            gone.append(name)
        return Pruned(tuple(gone), sum(max(0, sizes.get(name, 0)) for name in gone))

    async def usage(self) -> dict[str, Usage]:
        """How large each is, and how many containers have it."""
        sizes = await self._measure([row.name for row in self.all()])
        return {row.name: Usage(sizes.get(row.name, -1), len(self.users(row.name))) for row in self.all()}

    async def sweep(self) -> list[str]:
        """Finish what was cut off. Folders with content that no row owns are told, never deleted."""
        if self._host is None:
            return []
        told = []
        for row in [row for row in self._rows.scan() if row.removing]:
            async with self._alone(row.name):
                await self._remove(row.name)
            told.append(f"the volume {row.name}, whose removal was cut off")
        await self._host.call(commands.SweepVolumes(keep=tuple(row.name for row in self._rows.scan())))
        return told

    async def release_strays(self, containers: Container[str]) -> list[str]:
        """Uses by containers that are no more. One that is just being made may not have its row yet, so only what was met twice is released."""
        strays = {use.container for use in self._uses.scan() if use.container not in containers}
        gone = sorted(strays & self._strays)
        for container in gone:
            await self.release_all(container)
        self._strays = strays.difference(gone)
        return [f"the volumes of the container {container}, which is no more" for container in gone]

    async def _make(self, row: Volume) -> None:
        if self._host is None:
            return
        options = row.options
        await self._host.call(
            commands.MakeVolume(name=row.name, kind=options.get("type", ""), device=options.get("device", ""), options=options.get("o", ""))
        )

    async def _make_new(self, row: Volume) -> None:
        try:
            await self._make(row)
        except BaseException:
            with self._store.transaction() as tx:
                tx.delete(VOLUMES, (row.name,))
            raise

    async def _remove(self, name: str) -> None:
        row = self._rows.get((name,))
        if row is None:
            return
        with self._store.transaction() as tx:
            tx.update(VOLUMES, row, removing=True)
        if self._host is not None:
            await self._store.settled()
            await self._host.call(commands.DropVolume(name=name))
        with self._store.transaction() as tx:
            tx.delete(VOLUMES, (name,))
        await self._store.settled()

    async def _measure(self, names: list[str]) -> dict[str, int]:
        if self._host is None or not names:
            return {}
        return await self._host.call(commands.MeasureVolumes(names=tuple(names)))

    def _alone(self, name: str) -> _Turn:
        return _Turn(self._locks, name)


class _Turn:
    """One at a time for each name; a lock that nobody has or wants any more is forgotten."""

    def __init__(self, locks: dict[str, tuple[asyncio.Lock, int]], name: str) -> None:
        self._locks = locks
        self._name = name

    async def __aenter__(self) -> None:
        lock, wanted = self._locks.get(self._name) or (asyncio.Lock(), 0)
        self._locks[self._name] = (lock, wanted + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: Any) -> None:
        self._locks[self._name][0].release()
        self._leave()

    def _leave(self) -> None:
        lock, wanted = self._locks[self._name]
        if wanted > 1:
            self._locks[self._name] = (lock, wanted - 1)
        else:
            del self._locks[self._name]


def check_name(name: str) -> None:
    """Raises InvalidArgument, in Docker's words."""
    if len(name) == 1:
        raise InvalidArgument("volume name is too short, names should be at least two alphanumeric characters")
    if not NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if len(name) > 240:  # with ".removed-" it must still be a name of a file
        raise InvalidArgument("volume name is too long, this maximum allowed length is 240 characters")


def check_options(options: Mapping[str, str]) -> None:
    """Raises InvalidArgument, in Docker's words."""
    for name, value in options.items():
        if name not in NEEDED_WITH:
            raise InvalidArgument(f'invalid option: "{name}"')
        if "\0" in value or len(value) > 4000:
            raise InvalidArgument(f'invalid value of the option "{name}"')
        for other in NEEDED_WITH[name]:
            if not options.get(other):
                raise InvalidArgument(f'missing required option: "{other}"')
