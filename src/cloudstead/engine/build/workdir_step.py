"""WORKDIR: makes the folder when it is not there, for the image's user."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.engine.build import configs, keys, tars
from cloudstead.engine.build.instructions import Workdir
from cloudstead.engine.build.owners import owner_of
from cloudstead.engine.build.placing import FOLDER_MODE, look_up
from cloudstead.engine.build.spool import once
from cloudstead.engine.build.states import State
from cloudstead.engine.build.steps import Step
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.snapshots.api import Unpacked
from cloudstead.engine.tar.reader import FOLDER
from cloudstead.engine.tar.writer import END


async def run(step: Step, command: Workdir) -> State:
    state = step.state
    path = configs.working_dir(state.config.config, command.path)
    config = replace(state.config.config, working_dir=path)
    created_by = configs.created_by(state.config.config, f" WORKDIR {path}")
    if path == "/":
        return await step.noted(created_by, config)
    user = state.config.config.user
    return await step.layer(keys.folder(state.parent, path=path, owner=user), created_by, lambda: _make(step, path, user), config=config)


async def _make(step: Step, path: str, user: str) -> Unpacked | None:
    async with step.build.writable(step.state.chains) as key:
        snapshots = step.build.engine.snapshots
        place = await look_up(snapshots, key, path, verb="make a folder in")
        if place.is_folder:
            return None
        if place.is_file:
            raise InvalidArgument(f"cannot make the folder {path}: it is a file")
        uid, gid = await owner_of(snapshots, key, user) if user else (0, 0)
        now = int(step.build.engine.clock.time())
        names = ["/".join(place.missing[: n + 1]) for n in range(len(place.missing))]
        headers = [tars.header(name, kind=FOLDER, mode=FOLDER_MODE, uid=uid, gid=gid, mtime=now) for name in names]
        await snapshots.unarchive(key, place.anchor, once(b"".join(headers) + END), no_overwrite_dir_non_dir=True)
        return await snapshots.keep(key, step.state.parent)
