"""Mounts: Docker's five ways to ask for one, to the engine's.

VolumesFrom   those of another container       any of the others takes the place of one at the same path
Binds         "/host:/path:ro", "name:/path", "/path"
Mounts        the long form
Tmpfs         "/path": "size=64m,exec"
Volumes       of the configuration and the image: an anonymous volume wherever nothing else is
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from cloudstead.engine.dockerapi import shapes
from cloudstead.engine.dockerapi.model import MountPoint
from cloudstead.engine.dockerapi.sizes import size_of
from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.pods.specs import Mount
from cloudstead.engine.volumes.volumes import NAME, Volumes

PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
NO_EFFECT = frozenset(
    {"z", "Z", "cached", "delegated", "consistent", "default"}
)  # SELinux labels and macOS: no effect on this host, as in Docker
TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
TMPFS_FLAGS = frozenset(
    {"exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "atime", "noatime", "diratime", "nodiratime",
     "relatime", "norelatime", "strictatime", "mand", "nomand", "iversion", "noiversion"}
)  # fmt: skip
TMPFS_VALUES = re.compile(r"(uid|gid|nr_inodes|nr_blocks|mpol)=[A-Za-z0-9:,=-]{1,60}")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One mount, and the volume that has to be made for it."""

    mount: Mount
    point: MountPoint | None  # None: inspect does not show it (Tmpfs)
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


def plan(config: shapes.ContainerConfig, host: shapes.HostConfig, inherited: Iterable[MountPoint] = ()) -> list[Wanted]:
    """All mounts of a container. `inherited` are those of VolumesFrom.

    Raises:
        InvalidArgument, Unsupported
    """
    chosen: dict[str, Wanted] = {}
    own = [bound(text) for text in host.binds or ()]
    own += [requested(each) for each in host.mounts or ()]
    own += [temporary(path, options) for path, options in (host.tmpfs or {}).items()]
    for each in own:
        if each.mount.target in chosen:
            raise InvalidArgument(f"Duplicate mount point: {each.mount.target}")
        chosen[each.mount.target] = each
    for point in inherited:
        chosen.setdefault(point.destination, _again(point))
    for path in config.volumes or {}:
        target = _target(path, path)
        chosen.setdefault(target, _volume("", target))
    return list(chosen.values())


async def make_volumes(volumes: Volumes, wanted: list[Wanted]) -> list[Wanted]:
    """The same with every volume made, and named."""
    made = []
    for each in wanted:
        if each.mount.type == "volume":
            volume = await volumes.create(each.mount.source, labels=each.labels, options=each.options)
            assert each.point is not None
            point = replace(each.point, name=volume.name, source=volumes.mountpoint(volume.name))
            each = replace(each, mount=replace(each.mount, source=volume.name), point=point)
        made.append(each)
    return made


def bound(text: str) -> Wanted:
    """An entry of Binds."""
    source, target, words = _split(text)
    mode = ",".join(words)
    target = _target(target, text)
    read_only, no_copy, propagation = False, False, ""
    for word in words:
        if word in PROPAGATION:
            propagation = word
        elif word == "nocopy":
            no_copy = True
        elif word in ("ro", "rw"):
            read_only = word == "ro"
        elif word not in NO_EFFECT:
            raise InvalidArgument(f"invalid mode: {mode}")
    if source.startswith("/"):
        if no_copy:
            raise InvalidArgument(f"invalid volume specification: '{text}': nocopy is for volumes")
        return _bind(posixpath.normpath(source), target, read_only, propagation, mode=mode, create=True)
    if source and not NAME.fullmatch(source):
        raise InvalidArgument(
            f'create {source}: "{source}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if propagation:
        raise InvalidArgument(f"invalid mode: {mode}")
    return _volume(source, target, read_only=read_only, no_copy=no_copy, mode=mode or "z")


def _split(text: str) -> tuple[str, str, list[str]]:
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return "", parts[0], []
    return parts[0], parts[1], parts[2].split(",") if len(parts) == 3 else []


def requested(wanted: shapes.MountRequest) -> Wanted:
    """An entry of Mounts."""
    kind = wanted.type

    def invalid(why: str) -> InvalidArgument:
        return InvalidArgument(f'invalid mount config for type "{kind}": {why}')

    if kind not in ("bind", "volume", "tmpfs"):
        raise InvalidArgument(f'mount type unknown: "{kind}"')
    if not wanted.target:
        raise invalid("field Target must not be empty")
    if wanted.consistency not in ("", *NO_EFFECT):
        raise invalid(f"invalid consistency {wanted.consistency}")
    for other, options in (("bind", wanted.bind_options), ("volume", wanted.volume_options), ("tmpfs", wanted.tmpfs_options)):
        if options is not None and other != kind:
            raise invalid(f"field {other.capitalize()}Options must not be specified")
    target = _target(wanted.target, wanted.target)
    if kind == "bind":
        return _requested_bind(wanted, target, invalid("field Source must not be empty"))
    if kind == "volume":
        return _requested_volume(wanted, target)
    if wanted.source:
        raise invalid("field Source must not be specified")
    return _requested_tmpfs(wanted, target)


def _requested_bind(wanted: shapes.MountRequest, target: str, empty: InvalidArgument) -> Wanted:
    options = wanted.bind_options or shapes.BindOptions()
    if not wanted.source:
        raise empty
    if not wanted.source.startswith("/"):
        raise InvalidArgument(f"invalid mount config for type \"bind\": invalid mount path: '{wanted.source}' mount path must be absolute")
    if options.propagation and options.propagation not in PROPAGATION:
        raise InvalidArgument(f'invalid mount config for type "bind": invalid propagation mode: {options.propagation}')
    if options.read_only_non_recursive or options.read_only_force_recursive:
        raise Unsupported("BindOptions.ReadOnlyNonRecursive and ReadOnlyForceRecursive are not supported: they are of API 1.44")
    return _bind(
        posixpath.normpath(wanted.source),
        target,
        wanted.read_only,
        options.propagation,
        recursive=not options.non_recursive,
        create=options.create_mountpoint,
    )


def _requested_volume(wanted: shapes.MountRequest, target: str) -> Wanted:
    options = wanted.volume_options or shapes.VolumeOptions()
    driver = options.driver_config or shapes.DriverConfig()
    check_driver(driver.name)
    each = _volume(wanted.source, target, read_only=wanted.read_only, no_copy=options.no_copy, subpath=options.subpath, mode="z")
    return replace(each, labels=options.labels or {}, options=driver.options or {})


def _requested_tmpfs(wanted: shapes.MountRequest, target: str) -> Wanted:
    options = wanted.tmpfs_options or shapes.TmpfsOptions()
    if options.size_bytes < 0 or not 0 <= options.mode <= 0o7777:
        raise InvalidArgument('invalid mount config for type "tmpfs": invalid size or mode')
    words = ["=".join(pair) for pair in options.options or ()]
    mount = _tmpfs_mount(target, words, read_only=wanted.read_only)
    mount = replace(mount, tmpfs_size=options.size_bytes, tmpfs_mode=options.mode or 0o1777)
    return Wanted(mount=mount, point=MountPoint(type="tmpfs", destination=target, rw=not wanted.read_only))


def temporary(path: str, options: str) -> Wanted:
    """An entry of Tmpfs."""
    return Wanted(mount=_tmpfs_mount(_target(path, path), [word for word in options.split(",") if word]), point=None)


def _tmpfs_mount(target: str, words: list[str], *, read_only: bool = False) -> Mount:
    size, mode = 0, 0o1777
    flags = dict.fromkeys(TMPFS_DEFAULTS)
    for word in words:
        name, _, value = word.partition("=")
        if name == "size" and not value.endswith("%"):
            size = size_of(value)
        elif name == "mode" and re.fullmatch(r"[0-7]{1,5}", value):
            mode = int(value, 8)
        elif word in ("ro", "rw"):
            read_only = word == "ro"
        elif word in TMPFS_FLAGS:
            flags.pop(word.removeprefix("no") if word.startswith("no") else f"no{word}", None)
            flags[word] = None
        elif TMPFS_VALUES.fullmatch(word):
            flags[word] = None
        elif word not in PROPAGATION:
            raise InvalidArgument(f'invalid tmpfs option "{word[:100]}"')
    return Mount(type="tmpfs", target=target, read_only=read_only, tmpfs_size=size, tmpfs_mode=mode, options=tuple(flags))


def check_driver(name: str) -> None:
    if name not in ("", "local"):
        raise Unsupported(f'plugin "{name}" not found: the only driver of volumes is "local"')


def _bind(source: str, target: str, read_only: bool, propagation: str, *, mode: str = "", recursive: bool = True, create: bool) -> Wanted:
    mount = Mount(
        type="bind",
        source=source,
        target=target,
        read_only=read_only,
        propagation=propagation,  # type: ignore[arg-type]
        recursive=recursive,
        create_source=create,
    )
    point = MountPoint(type="bind", source=source, destination=target, mode=mode, rw=not read_only, propagation=propagation or "rprivate")
    return Wanted(mount=mount, point=point)


def _volume(name: str, target: str, *, read_only: bool = False, no_copy: bool = False, subpath: str = "", mode: str = "") -> Wanted:
    mount = Mount(type="volume", source=name, target=target, read_only=read_only, no_copy=no_copy, subpath=subpath)
    point = MountPoint(type="volume", name=name, destination=target, driver="local", mode=mode, rw=not read_only, anonymous=not name)
    return Wanted(mount=mount, point=point)


def _again(point: MountPoint) -> Wanted:
    if point.type == "bind":
        return _bind(point.source, point.destination, not point.rw, point.propagation, mode=point.mode, create=True)
    return _volume(point.name, point.destination, read_only=not point.rw, no_copy=True, mode=point.mode)


def _target(path: str, shown: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid volume specification: '{shown}': invalid mount path: '{path}' mount path must be absolute")
    if "\0" in path or len(path) > 4096:
        raise InvalidArgument("invalid mount path")
    target = posixpath.normpath(path)
    target = "/" + target.lstrip("/")
    if target == "/":
        raise InvalidArgument(f"invalid volume specification: '{shown}': invalid specification: destination can't be '/'")
    return target
