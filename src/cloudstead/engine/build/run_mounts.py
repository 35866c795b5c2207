"""What RUN --mount brings in: other stages' files, folders that stay from build to build, secrets.

`bind` of a whole root file system is that file system, mounted; of a part of it or of the context, a copy of it: a path inside a root file system means
something else on the host, where the runtime would look it up, and a link in it could name any file of the host. What a command writes into a
bind is gone after it.
"""

from __future__ import annotations

import posixpath
from contextlib import AsyncExitStack

import msgspec

from cloudstead.engine.build import copying, gathering, tars
from cloudstead.engine.build.copying import Item, Plan
from cloudstead.engine.build.instructions import Copy
from cloudstead.engine.build.mounts import RunMount
from cloudstead.engine.build.placing import Destination, members, tar_of
from cloudstead.engine.build.spool import Spool, once
from cloudstead.engine.build.steps import Step
from cloudstead.engine.build.tree import Entry, Tree
from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.pods.specs import Mount
from cloudstead.engine.snapshots.api import Snapshots
from cloudstead.engine.tar.reader import FOLDER
from cloudstead.engine.tar.writer import END
from cloudstead.engine.threads import in_thread

FILE = "file"  # the name of the one file that a bind mounts
CACHE = "cache"  # the folder that a cache mounts
SCRIPT_MODE = 0o755
SECRET_MODE = 0o400
CACHE_MODE = 0o755


async def is_there(snapshots: Snapshots, key: str, path: str) -> bool:
    try:
        await snapshots.stat(key, path)
    except NotFound:
        return False
    return True


class Source(msgspec.Struct, kw_only=True):
    """What a mount shows. Neither: nothing (an empty folder)."""

    chains: tuple[str, ...] | None = None  # the whole of a stack
    plan: Plan | None = None


class Prepared:
    """The mounts of one RUN: told apart for its key, mounted when it comes to it."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._wanted: list[tuple[RunMount, str, Source]] = []
        self.described: list[object] = []
        self.env: dict[str, str] = {}  # of secrets

    def add(self, mount: RunMount, target: str, source: Source) -> None:
        self._wanted.append((mount, target, source))
        from_what = source.chains[-1:] if source.chains is not None else (source.plan.digest if source.plan else "")
        content = "" if mount.kind == "cache" else from_what
        self.described.append(
            (mount.kind, target, mount.read_only, mount.id, mount.env, mount.size, mount.mode, mount.uid, mount.gid, content)
        )

    async def add_script(self, target: str, text: str) -> None:
        """A program of the Dockerfile's own. In a file of a writable, as what only memory holds cannot be executed."""
        data = text.encode(errors="surrogateescape")
        spool = Spool(self._step.build.spool_folder)
        self._step.build.exits.callback(spool.close)
        await in_thread(spool.write, data)
        entry = Entry(path=FILE, kind="file", mode=SCRIPT_MODE, size=len(data))
        plan = Plan(items=[Item(FILE, entry, Tree.of_one(spool, entry))], base=FILE, sources=1)
        await in_thread(copying.finish, plan)
        self.add(RunMount(kind="bind", target=target, read_only=True), target, Source(plan=plan))

    async def mount(self, stack: AsyncExitStack) -> list[Mount]:
        """Make them; they go with the stack."""
        return [await self._one(stack, *wanted) for wanted in self._wanted if wanted[1]]

    async def _one(self, stack: AsyncExitStack, mount: RunMount, target: str, source: Source) -> Mount:
        if mount.kind == "tmpfs":
            return Mount(type="tmpfs", target=target, tmpfs_size=mount.size, options=("exec",), read_only=mount.read_only)
        if mount.kind == "secret":
            return Mount(
                type="content",
                target=target,
                content=self._step.build.options.secrets[mount.id],
                mode=SECRET_MODE if mount.mode is None else mount.mode,
                uid=mount.uid or 0,
                gid=mount.gid or 0,
                read_only=True,
            )
        if mount.kind == "cache":
            path = await stack.enter_async_context(
                self._step.build.cache_mounts.use(mount, lambda key: self._fill_cache(key, mount, source))
            )
            return Mount(type="bind", source=f"{path}/{CACHE}", target=target, read_only=mount.read_only)
        chains = source.chains or ()
        key = await stack.enter_async_context(self._step.build.writable(chains))
        path = await self._step.build.engine.snapshots.mount(key, chains, skeleton=False)
        if source.plan is not None:
            path += await self._fill(key, source.plan)
        return Mount(type="bind", source=path, target=target, read_only=mount.read_only)

    async def _fill(self, key: str, plan: Plan, folder: str = "/") -> str:
        """Put the files there. What comes behind the writable's path."""
        place = Destination(folder, (), True) if plan.is_folder else Destination(folder, (FILE,))
        now = int(self._step.build.engine.clock.time())
        await self._step.build.engine.snapshots.unarchive(key, folder, tar_of(members(plan, place, None, None, is_folder=False), now))
        return "" if plan.is_folder else f"/{FILE}"

    async def _fill_cache(self, key: str, mount: RunMount, source: Source) -> None:
        """A new cache has what `from` shows, or is empty; its folder belongs to whom the mount says."""
        mode = CACHE_MODE if mount.mode is None else mount.mode
        header = tars.header(CACHE, kind=FOLDER, mode=mode, uid=mount.uid or 0, gid=mount.gid or 0)
        await self._step.build.engine.snapshots.unarchive(key, "/", once(header + END))
        if source.plan is not None:
            await self._fill(key, source.plan, f"/{CACHE}")


async def prepare(step: Step, mounts: list[RunMount], working_dir: str) -> Prepared:
    """Look at what the mounts of a RUN show.

    Raises:
        InvalidArgument: a secret is missing, a source is not there.
    """
    prepared = Prepared(step)
    for mount in mounts:
        target = posixpath.normpath(posixpath.join("/", working_dir or "/", mount.target)) if mount.target else ""
        if target == "/":
            raise InvalidArgument(f'invalid mount target "{mount.target}"')
        if mount.kind == "secret":
            if _secret(step, mount, prepared):
                prepared.add(mount, target, Source())
            continue
        prepared.add(mount, target, await _source(step, mount))
    return prepared


def _secret(step: Step, mount: RunMount, prepared: Prepared) -> bool:
    content = step.build.options.secrets.get(mount.id)
    if content is None:
        if mount.required:
            raise InvalidArgument(f"secret {mount.id}: not found")
        return False
    if mount.env is not None:
        try:
            prepared.env[mount.env] = content.decode()
        except UnicodeDecodeError:
            raise InvalidArgument(f"secret {mount.id}: no text, so it cannot be an environment variable") from None
    return True


async def _source(step: Step, mount: RunMount) -> Source:
    if mount.kind == "tmpfs" or (mount.kind == "cache" and not mount.stage):
        return Source()
    source = posixpath.normpath("/" + mount.source)
    chains = await gathering.stack_of(step, mount.stage) if mount.stage else None
    if chains is not None and source == "/" and mount.kind == "bind":
        return Source(chains=chains)
    wanted = Copy(sources=(copying.escaped(source.lstrip("/")) or ".",), dest="/", original="", line=0)
    return Source(plan=await gathering.gather(step, wanted, chains))
