"""Where files come from: the context, another stage or image, a URL, the Dockerfile itself. What is wanted of each becomes one plan."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable

import msgspec

from cloudstead.engine.build import bases, context, copying, fetching, globs, planning
from cloudstead.engine.build.copying import Item, Plan, Selection
from cloudstead.engine.build.instructions import Copy
from cloudstead.engine.build.lines import Heredoc
from cloudstead.engine.build.spool import Spool
from cloudstead.engine.build.steps import Step
from cloudstead.engine.build.tree import Entry, Tree
from cloudstead.engine.errors import InvalidArgument, NotFound, Unsupported
from cloudstead.engine.snapshots.api import Snapshots
from cloudstead.engine.threads import in_thread

INLINE_MODE = 0o644
MOST_LINKS = 40


async def stack_of(step: Step, name: str) -> tuple[str, ...]:
    """The layers of what `from` names: a stage that came before, or an image."""
    build = step.build
    number = planning.find_stage(build.plan.dockerfile, name, before=step.stage)
    if number is not None:
        return (await build.stage(number, step.channel)).chains
    if name.lower() == bases.SCRATCH:
        return ()
    image = await bases.find(build, name, build.platform if build.options.platform else None, step.channel)
    chains = await build.engine.images.layers_of(image.id)
    build.hold(*chains)
    return chains


async def gather(step: Step, command: Copy, chains: tuple[str, ...] | None = None) -> Plan:
    """What COPY or ADD takes.

    Args:
        chains: of `--from`.

    Raises:
        InvalidArgument, NotFound, Unsupported: with the sentences of Docker's builder.
    """
    plan = Plan()
    _check(command)
    local = tuple(source for source in command.sources if not fetching.is_url(source))
    if chains is not None:
        await _from_stack(step, plan, command, chains)
    elif local:
        wanted = Selection(patterns=local, parents=command.parents, excludes=command.excludes)
        await _from_context(step, plan, command, wanted)
    for source in command.sources:
        if fetching.is_url(source):
            await _from_url(step, plan, command, source)
    if command.files:
        await _inline(step, plan, command.files)
    if not plan.sources:
        raise InvalidArgument(f"{'ADD' if command.add else 'COPY'} failed: no source files were specified")
    await in_thread(copying.finish, plan)
    return plan


def _check(command: Copy) -> None:
    for source in command.sources:
        if fetching.is_git(source):
            raise Unsupported(f"{source}: git repositories are not fetched")
        if fetching.is_url(source) and not command.add:
            raise InvalidArgument("source can't be a URL for COPY")
    if command.checksum and (len(command.sources) != 1 or not fetching.is_url(command.sources[0])):
        raise InvalidArgument(
            "checksum can't be specified for multiple sources" if len(command.sources) > 1 else "checksum requires HTTP(S) or Git sources"
        )


# ---------------------------------------------------------------------------------------------------------------- the context


async def _from_context(step: Step, plan: Plan, command: Copy, wanted: Selection) -> None:
    if not (command.add if command.unpack is None else command.unpack):
        await in_thread(copying.select, plan, step.build.tree, wanted)
        return
    files: list[tuple[Entry, str]] = []

    def put_aside(entry: Entry, name: str) -> bool:
        files.append((entry, name))
        return True

    await in_thread(lambda: copying.select(plan, step.build.tree, wanted, instead=put_aside))
    for entry, name in files:
        await _taken_apart(step, plan, step.build.tree, entry, name)


async def _taken_apart(step: Step, plan: Plan, tree: Tree, entry: Entry, name: str) -> None:
    """A file as it is, or what is in it if it is an archive. Those keep their owners."""
    inner = await context.archive_in(tree, entry, step.build.spool_folder, owned=True)
    if inner is None:
        plan.base = name
        plan.items.append(Item(name, entry, tree))
        return
    step.build.exits.callback(inner.close)
    plan.is_folder = True
    plan.items += [Item(one.path, one, inner) for one in inner.below("")]


# ---------------------------------------------------------------------------------------------------------------- stages and images


async def _from_stack(step: Step, plan: Plan, command: Copy, chains: tuple[str, ...]) -> None:
    async with step.build.writable(chains) as key:
        for source in command.sources:
            pivot, found, rest = source.partition("/./") if command.parents else (source, "", "")
            if command.parents:
                tree, _ = await tree_at(step, key, pivot if found else "/")
                await in_thread(_select, plan, tree, (rest if found else source,), command)
            elif globs.has_wildcards(source):
                await _matching(step, plan, command, key, source)
            else:
                await _literal(step, plan, command, key, globs.unescaped(source))


def _select(plan: Plan, tree: Tree, patterns: tuple[str, ...], command: Copy) -> None:
    wanted = Selection(patterns=patterns, parents=command.parents, excludes=command.excludes)
    copying.select(plan, tree, wanted, what="stage")


async def _literal(step: Step, plan: Plan, command: Copy, key: str, path: str) -> None:
    tree, name = await tree_at(step, key, path)
    before = len(plan.items)
    await in_thread(_select, plan, tree, (copying.escaped(name) or ".",), command)
    wanted = posixpath.basename(posixpath.normpath(path))
    if name and name != wanted and len(plan.items) > before:  # a link was asked for: it is its name that counts
        plan.items[-1] = Item(wanted, plan.items[-1].entry, tree)
        plan.base = wanted


async def _matching(step: Step, plan: Plan, command: Copy, key: str, pattern: str) -> None:
    """Names are looked up below the folder that comes before the first wildcard; what they lead to, in the whole root file system."""
    parts = posixpath.normpath("/" + pattern).lstrip("/").split("/")
    fixed = next(n for n, part in enumerate(parts) if globs.has_wildcards(part))
    folder = "/" + globs.unescaped("/".join(parts[:fixed]))
    try:
        tree, _ = await tree_at(step, key, folder)
    except (NotFound, InvalidArgument):
        return
    for path in await in_thread(copying.matching, tree, "/".join(parts[fixed:])):
        entry = tree.get(path)
        if entry is None or entry.kind == "symlink":
            await _literal(step, plan, command, key, posixpath.join(folder, path))
        else:
            await in_thread(_select, plan, tree, (copying.escaped(path),), command)


async def tree_at(step: Step, key: str, path: str) -> tuple[Tree, str]:
    """What lies at a path of a root file system, links followed: a folder as the root of the tree (then the name is empty), or one file under its name."""
    snapshots = step.build.engine.snapshots
    path, folder = await _followed(snapshots, key, posixpath.normpath("/" + path))
    spool = Spool(step.build.spool_folder)
    step.build.exits.callback(spool.close)
    at = (path.rstrip("/") + "/.") if folder else path
    await spool.fill(snapshots.archive(key, at), limit=context.LARGEST, what=path)
    return await Tree.of(spool, owned=True), "" if folder else posixpath.basename(path)


async def _followed(snapshots: Snapshots, key: str, path: str) -> tuple[str, bool]:
    shown = path
    for _ in range(MOST_LINKS):
        try:
            found = await snapshots.stat(key, path)
        except NotFound:
            raise InvalidArgument(f"COPY failed: stat {shown.lstrip('/')}: file does not exist") from None
        if not stat.S_ISLNK(found.mode):
            return path, stat.S_ISDIR(found.mode)
        path = found.link_target
    raise InvalidArgument(f"{shown}: too many levels of symbolic links")


# ---------------------------------------------------------------------------------------------------------------- elsewhere


async def _from_url(step: Step, plan: Plan, command: Copy, source: str) -> None:
    build = step.build
    await step.channel.say(f"Downloading {source}\n")
    tree = await fetching.fetch(build.transport, source, build.spool_folder, limit=context.LARGEST, checksum=command.checksum)
    build.exits.callback(tree.close)
    (entry,) = tree.below("")
    plan.sources += 1
    if command.unpack:
        await _taken_apart(step, plan, tree, entry, entry.path)
    else:
        plan.base = entry.path
        plan.items.append(Item(entry.path, entry, tree))


async def _inline(step: Step, plan: Plan, files: Iterable[Heredoc]) -> None:
    spool = Spool(step.build.spool_folder)
    step.build.exits.callback(spool.close)
    for file in files:
        data = file.text.encode(errors="surrogateescape")
        name = posixpath.basename(file.name)
        entry = Entry(path=name, kind="file", mode=INLINE_MODE, size=len(data), offset=spool.size)
        await in_thread(spool.write, data)
        plan.sources += 1
        plan.base = name
        plan.items.append(Item(name, entry, Tree(spool)))


def described(command: Copy) -> list[object]:
    """Everything of an instruction that decides what it takes from another stage."""
    files = [(file.name, file.text) for file in command.files]
    return [command.sources, command.parents, command.excludes, msgspec.to_builtins(files)]
