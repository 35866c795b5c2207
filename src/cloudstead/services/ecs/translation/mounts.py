"""Volumes of a task as the engine's, and what of them a container sees.

host with a sourcePath      that folder of the machine, made when it is missing
host without one            a volume of the task, gone with it
docker, scope task          the same, with its driver options
docker, scope shared        the machine's volume of that name; made when it is missing, if autoprovision says so
EFS, configured at launch   what was supplied for it
a VOLUME of the image       a volume of the container, gone with the task
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from msgspec.structs import replace

from cloudstead.engine.pods.specs import Mount
from cloudstead.services.ecs.definition import ContainerDefinition, Definition, Tmpfs, Volume
from cloudstead.services.ecs.translation.limits import MIB
from cloudstead.services.ecs.translation.supplies import Supplies, Unsupported

LONGEST = 200


class NeededVolume(NamedTuple):
    name: str  # the engine's
    owned: bool  # by the task: it goes with it
    create: bool  # when it is missing
    driver: str = "local"
    options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def needed(definition: Definition, supplies: Supplies) -> tuple[NeededVolume, ...]:
    """The volumes that must be there before the task's containers."""
    found = [volume for each in definition.volumes or () if (volume := _needed(each, supplies)) is not None]
    for each in definition.container_definitions:
        found += [NeededVolume(mount.source, owned=True, create=True) for mount in _of_image(supplies, each)]
    return tuple(dict.fromkeys(found))


def of(definition: Definition, supplies: Supplies, each: ContainerDefinition) -> tuple[Mount, ...]:
    """The mounts of a container; one path is mounted once, and what the container itself says comes first."""
    found: dict[str, Mount] = {}
    for mount in (*_own(definition, supplies, each), *_of_others(definition, supplies, each), *_of_image(supplies, each)):
        found.setdefault(mount.target, mount)
    return tuple(found.values())


def _own(definition: Definition, supplies: Supplies, each: ContainerDefinition) -> list[Mount]:
    volumes = {volume.name: volume for volume in definition.volumes or ()}
    found = [_tmpfs(tmpfs) for tmpfs in each.linux.tmpfs or ()]
    for point in each.mount_points or ():
        mount = _volume(volumes[point.source_volume], supplies)
        found.append(replace(mount, target=point.container_path or "", read_only=bool(point.read_only)))
    return found


def _of_others(definition: Definition, supplies: Supplies, each: ContainerDefinition) -> list[Mount]:
    """What volumesFrom names; what another one has from a third counts too, and a memory of one's own never."""
    found = []
    for source in each.volumes_from or ():
        other = definition.container(source.source_container or "")
        for mount in of(definition, supplies, other) if other is not None else ():
            if mount.type != "tmpfs":
                found.append(replace(mount, read_only=mount.read_only or bool(source.read_only)))
    return found


def _of_image(supplies: Supplies, each: ContainerDefinition) -> list[Mount]:
    taken = {point.container_path for point in each.mount_points or ()} | {tmpfs.container_path for tmpfs in each.linux.tmpfs or ()}
    paths = supplies.images[each.called].volumes
    return [
        Mount(type="volume", target=path, source=_of_task(supplies, f"{each.called}-{number}"))
        for number, path in enumerate(paths)
        if path not in taken
    ]


def _volume(volume: Volume, supplies: Supplies) -> Mount:
    """Where a volume is; the target comes with the mount point."""
    if volume.host is not None and volume.host.source_path is not None:
        return Mount(type="bind", target="", source=volume.host.source_path, create_source=True, propagation="rslave")
    return Mount(type="volume", target="", source=_name(volume, supplies))


def _name(volume: Volume, supplies: Supplies) -> str:
    docker = volume.docker_volume_configuration
    if docker is not None and docker.scope == "shared":
        return volume.name or ""
    if volume.efs_volume_configuration is not None or volume.configured_at_launch:
        if volume.name not in supplies.volumes:
            raise Unsupported(f"The volume '{volume.name}' is of a kind that is not supported by Cloudstead yet.")
        return supplies.volumes[volume.name]
    return _of_task(supplies, volume.name or "")


def _of_task(supplies: Supplies, name: str) -> str:
    """The name of a volume that is the task's own; within what the engine takes."""
    return f"ecs-{supplies.task_id}-{name if len(name) <= LONGEST else hashlib.sha256(name.encode()).hexdigest()}"


def _needed(volume: Volume, supplies: Supplies) -> NeededVolume | None:
    if volume.host is not None and volume.host.source_path is not None:
        return None
    name = _name(volume, supplies)
    docker = volume.docker_volume_configuration
    if docker is None:
        supplied = volume.name in supplies.volumes
        return NeededVolume(name, owned=not supplied, create=not supplied)
    shared = docker.scope == "shared"
    return NeededVolume(
        name,
        owned=not shared,
        create=not shared or bool(docker.autoprovision),
        driver=docker.driver or "local",
        options=tuple((docker.driver_opts or {}).items()),
        labels=tuple((docker.labels or {}).items()),
    )


def _tmpfs(tmpfs: Tmpfs) -> Mount:
    mode, options = 0o1777, []
    for option in tmpfs.mount_options or ():
        digits = option.removeprefix("mode=")
        if option != digits and digits.isascii() and digits.isdigit() and not set(digits) & set("89"):
            mode = int(digits, 8) & 0o7777
        elif option != "defaults":
            options.append(option)
    return Mount(
        type="tmpfs",
        target=tmpfs.container_path,
        tmpfs_size=tmpfs.size * MIB,
        tmpfs_mode=mode,
        read_only="ro" in options,
        options=tuple(option for option in options if option not in ("ro", "rw")),
    )
