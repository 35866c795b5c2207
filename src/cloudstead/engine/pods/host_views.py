"""The mounts of a container that does not run, for whoever looks at its files: `docker cp` shows what is in its volumes then too."""

from __future__ import annotations

from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.server import Host
from cloudstead.engine.pods import commands
from cloudstead.engine.pods.host_mounts import Sources
from cloudstead.engine.pods.host_state import files_of
from cloudstead.engine.pods.oci_mounts import target_of
from cloudstead.engine.pods.specs import ContainerSpec, Mount
from cloudstead.engine.snapshots.api import View
from cloudstead.engine.snapshots.host_mounts import borrowed, shelf_of


@handles(commands.FindViews)
async def find_views(host: Host, command: commands.FindViews, descriptors: list[int]) -> tuple[View, ...]:
    """Empty volumes are filled from the image first, as at a start: what is copied into one must not keep the image's files out of it."""
    mounts = tuple(sorted(filter(_lasts, command.mounts), key=lambda mount: target_of(mount).count("/")))
    with borrowed(host, command.id):
        spec = ContainerSpec(id=command.id, layers=(), args=(), mounts=mounts)
        sources = Sources(host, spec, files_of(host, command.id), shelf_of(host).writable(command.id) / "rootfs")
        found = await sources.find()
    return tuple(View(source=path, target=target_of(mount), read_only=mount.read_only) for mount, path in found)


def _lasts(mount: Mount) -> bool:
    """Whether it is there without its container. A part of a volume is not shown: another container could put a link in its place between the look
    and the mount."""
    return mount.type == "bind" or (mount.type == "volume" and not mount.subpath)
