"""COPY and ADD."""

from __future__ import annotations

import posixpath

from cloudstead.engine.build import configs, gathering, keys, modes
from cloudstead.engine.build.copying import Plan
from cloudstead.engine.build.instructions import Copy
from cloudstead.engine.build.owners import owner_of
from cloudstead.engine.build.placing import look_up, members, tar_of
from cloudstead.engine.build.states import State
from cloudstead.engine.build.steps import USING_CACHE, Step
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.snapshots.api import Unpacked


async def run(step: Step, command: Copy) -> State:
    """The state with what was copied. A step whose stage has not changed is found without looking at a file of it."""
    state, config = step.state, step.state.config.config
    change = modes.parse(command.chmod) if command.chmod else None
    dest, is_folder = _destination(config.working_dir, command.dest)
    if len(command.sources) + len(command.files) > 1 and not is_folder:
        raise InvalidArgument(
            f"When using {_name(command)} with more than one source file, the destination must be a directory and end with a /"
        )
    chains = await gathering.stack_of(step, command.stage) if command.stage else None
    short = ""
    if chains is not None and all(not source.startswith("http") for source in command.sources):
        text = [*gathering.described(command), is_folder]
        source = chains[-1] if chains else ""
        short = keys.copy_from(state.parent, source=source, text=text, dest=dest, owner=command.chown, chmod=command.chmod)
        found = None if step.build.options.no_cache else await step.build.cache.find(short)
        if found is not None:
            await step.channel.say(USING_CACHE)
            return await step.with_layer(found, found.description)
    plan = await gathering.gather(step, command, chains)
    if plan.sources > 1 and not is_folder:
        raise InvalidArgument(
            f"When using {_name(command)} with more than one source file, the destination must be a directory and end with a /"
        )
    created_by = configs.created_by(config, f"{_name(command)} {plan.kind}:{plan.digest} in {dest} ")
    key = keys.copy(state.parent, digest=plan.digest, dest=dest, owner=command.chown, chmod=command.chmod, is_folder=is_folder)
    result = await step.result(key, created_by, lambda: _make(step, plan, dest, command.chown, change, is_folder))
    if short and result.key == key:
        step.build.cache.copy(short, result)
    return await step.with_layer(result, created_by)


async def _make(step: Step, plan: Plan, dest: str, chown: str, change: modes.Change | None, is_folder: bool) -> Unpacked | None:
    build = step.build
    snapshots = build.engine.snapshots
    async with build.writable(step.state.chains) as key:
        owner = await owner_of(snapshots, key, chown) if chown else None
        place = await look_up(snapshots, key, dest)
        found = members(plan, place, owner, change, is_folder=is_folder)
        await snapshots.unarchive(key, place.anchor, tar_of(found, int(build.engine.clock.time())), no_overwrite_dir_non_dir=True)
        return await snapshots.keep(key, step.state.parent)


def _destination(working_dir: str, dest: str) -> tuple[str, bool]:
    """The path, and whether it can only be a folder."""
    is_folder = dest in ("", ".", "..") or dest.endswith(("/", "/.", "/.."))
    path = posixpath.normpath(posixpath.join("/", working_dir or "/", dest))
    return "/" + path.lstrip("/"), is_folder


def _name(command: Copy) -> str:
    return "ADD" if command.add else "COPY"
