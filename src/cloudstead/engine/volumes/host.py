"""The host's side of volumes.

    <data>/engine/volumes/<name>/_data           the volume, or where it is mounted
    <data>/engine/volumes/<name>/mount.json      what is mounted there: type, device, options
    <data>/engine/volumes/.removed-<name>        a removal that was begun

What is mounted survives this process, and nothing else of it does, so a volume is looked up in the kernel each time.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import msgspec

from cloudstead.engine.errors import Failed, NotFound
from cloudstead.engine.host.handlers import handles
from cloudstead.engine.host.server import Host
from cloudstead.engine.volumes import commands
from cloudstead.engine.volumes.mounting import mount, unmount

REMOVED = ".removed-"
SLOW = ("nfs", "nfs4", "cifs", "smb3")  # a server answers, or does not


class Source(msgspec.Struct):
    """The content of mount.json."""

    type: str
    device: str
    options: str


def volume_path(host: Host, name: str) -> Path:
    """The folder of a volume's content, mounted if it is made of something. For the container runtime's side of the host.

    Never waits for a network: what comes over one must have been mounted by `Volumes.use` before.

    Raises:
        NotFound: there is no such volume.
        Failed, Unsupported: what it is made of cannot be mounted.
    """
    folder = host.layout.volumes / name
    content = folder / "_data"
    if not content.is_dir():
        raise NotFound(f"get {name}: no such volume")
    source = _source(folder)
    if source is not None and not os.path.ismount(content):
        if source.type in SLOW:
            raise Failed(f"the volume {name} is not mounted: its server was not asked, or does not answer")
        mount(source.type, source.device, str(content), source.options)
    return content


@handles(commands.MakeVolume)
async def make_volume(host: Host, command: commands.MakeVolume, descriptors: list[int]) -> None:
    folder = host.layout.volumes / command.name
    folder.mkdir(mode=0o700, exist_ok=True)
    if command.kind:
        source = Source(command.kind, command.device, command.options)
        partial = folder / ".mount.json"
        partial.write_bytes(msgspec.json.encode(source))
        partial.replace(folder / "mount.json")
    content = folder / "_data"
    if not content.exists():
        content.mkdir()
        content.chmod(0o755)


@handles(commands.MountVolume)
async def mount_volume(host: Host, command: commands.MountVolume, descriptors: list[int]) -> None:
    folder = host.layout.volumes / command.name
    source = _source(folder)
    if source is not None and source.type in SLOW and not _mounted(folder):
        await host.fork(_mount_from_server, source, str(folder / "_data"))
    else:
        volume_path(host, command.name)


@handles(commands.UnmountVolume)
async def unmount_volume(host: Host, command: commands.UnmountVolume, descriptors: list[int]) -> None:
    folder = host.layout.volumes / command.name
    if _source(folder) is not None:
        unmount(str(folder / "_data"))


@handles(commands.DropVolume)
async def drop_volume(host: Host, command: commands.DropVolume, descriptors: list[int]) -> None:
    folder = host.layout.volumes / command.name
    if not folder.exists():
        return
    unmount(str(folder / "_data"))
    if _mounted(folder):
        raise Failed(f"the volume {command.name} cannot be unmounted")  # what is mounted there must not be deleted
    removed = host.layout.volumes / f"{REMOVED}{command.name}"
    if removed.exists():
        await host.fork(_delete, str(removed))
    folder.rename(removed)
    await host.fork(_delete, str(removed))


@handles(commands.MeasureVolumes)
async def measure_volumes(host: Host, command: commands.MeasureVolumes, descriptors: list[int]) -> dict[str, int]:
    folders = {name: host.layout.volumes / name for name in command.names}
    return await host.fork(_measure, {name: str(folder / "_data") for name, folder in folders.items() if _source(folder) is None})


@handles(commands.SweepVolumes)
async def sweep_volumes(host: Host, command: commands.SweepVolumes, descriptors: list[int]) -> list[str]:
    keep, strays = set(command.keep), []
    for folder in sorted(host.layout.volumes.iterdir()):
        if folder.name.startswith(REMOVED):
            await host.fork(_delete, str(folder))
        elif folder.name not in keep and not _remove_empty(folder):
            strays.append(folder.name)
    return strays


def _delete(folder: str) -> None:
    """In a child. Who removes a volume and who sweeps may be about the same one at once."""

    def failed(function: object, path: str, why: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(why[1], FileNotFoundError):
            raise why[1]

    shutil.rmtree(folder, onerror=failed)


def _remove_empty(folder: Path) -> bool:
    unmount(str(folder / "_data"))
    try:
        (folder / "_data").rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _mounted(folder: Path) -> bool:
    return os.path.ismount(folder / "_data")


def _source(folder: Path) -> Source | None:
    try:
        return msgspec.json.decode((folder / "mount.json").read_bytes(), type=Source)
    except FileNotFoundError:
        return None


def _mount_from_server(source: Source, target: str) -> None:
    """In a child. The kernel wants the server's address as a number: nfs(5), "The kernel's NFS client does not resolve names"."""
    options = [_resolved(option) for option in source.options.split(",")]
    mount(source.type, source.device, target, ",".join(options))


def _resolved(option: str) -> str:
    name, _, value = option.partition("=")
    if name != "addr":
        return option
    try:
        return f"addr={socket.getaddrinfo(value, None)[0][4][0]}"
    except socket.gaierror as error:
        raise Failed(f"error resolving passed in network volume address: {value}: {error.strerror}") from None


def _measure(folders: dict[str, str]) -> dict[str, int]:
    """In a child: sizes as `du` counts, but the length of files instead of their blocks, which is what Docker shows."""
    sizes = {}
    for name, folder in folders.items():
        if os.path.isdir(folder):
            sizes[name] = _size(folder)
    return sizes


def _size(folder: str) -> int:
    total, seen = 0, set()
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                stat = entry.stat(follow_symlinks=False)
                if stat.st_nlink > 1:
                    if (stat.st_dev, stat.st_ino) in seen:
                        continue
                    seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_size
    return total
