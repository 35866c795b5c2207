"""Root file systems: layers unpacked once, by chain id, and what is mounted from them.

A chain id names a stack of layers (OCI image-spec, config.md, "Layer ChainID"); the snapshot of a chain id is the unpacked top layer alone, and
overlayfs puts the stack together. A *writable* is what one container writes: upper and work folder, mounted over a stack, known by the container's id.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec


def chain_of(parent: str, diff_id: str) -> str:
    """The chain id of a layer over a parent. OCI image-spec, config.md, "Layer ChainID"."""
    return "sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest() if parent else diff_id


class Unpacked(msgspec.Struct, frozen=True):
    chain_id: str
    diff_id: str  # of what came out: sha256 of the uncompressed tar
    size: int  # bytes of files
    entries: int


class Change(msgspec.Struct, frozen=True):
    path: str
    kind: Literal["modified", "added", "deleted"]


class PathStat(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    size: int
    mode: int  # st_mode
    mtime: float
    link_target: str = ""


class View(msgspec.Struct, frozen=True):
    """A mount of a container that does not run, for the time of one call."""

    source: str  # a path of the host
    target: str  # in the container
    read_only: bool = False


class Snapshots(Protocol):
    """In the daemon; the work is done by the host. Errors: NotPermitted for a hostile layer, NoSpace, NotFound."""

    async def has(self, chain_id: str) -> bool: ...

    async def unpack(self, blob: int, *, media_type: str, parent: str, diff_id: str = "") -> Unpacked:
        """Unpack a layer (a descriptor of its blob, from the start) over the chain `parent` ("" for the first).

        With `diff_id` what comes out is checked against it. Two at once for the same chain: one does it. InvalidArgument: not what diff_id says.
        """
        ...

    async def mount(self, key: str, layers: tuple[str, ...], *, size: int = 0, skeleton: bool = True) -> str:
        """A writable over a stack, mounted; made when there is none. Returns where (a path of the host's).

        `skeleton` puts a layer between that holds what the runtime mounts on (/proc, /dev/pts, /etc/hosts …), as Docker's init layer does: so that
        these places are in no diff. It is seen by who reads the whole; without it there is the stack alone (COPY --from).
        """
        ...

    async def unmount(self, key: str) -> None:
        """What was written stays."""
        ...

    async def remove(self, key: str) -> None:
        """Unmount and delete. A second time it does nothing."""
        ...

    async def keep(self, key: str, parent: str, *, stubs: tuple[str, ...] = ()) -> Unpacked:
        """Make what a writable holds the snapshot of a new chain over `parent`, with its layer's diff_id, without copying; the writable is gone.

        For the builder: a RUN step's result becomes the next one's base at once. `layer_of(chain id)` gives its tar later.

        `stubs` are places that only mounting on them has made (of RUN --mount): taken away where they are empty, in this order.
        """
        ...

    def layer_of(self, chain_id: str) -> AsyncIterator[bytes]:
        """The layer of a chain as an uncompressed tar, the same bytes each time (names sorted, no names of users, whiteouts as in image-spec, layer.md)."""
        ...

    def diff(self, key: str) -> AsyncIterator[bytes]:
        """What a writable changed, as an uncompressed layer tar."""
        ...

    async def changes(self, key: str) -> list[Change]: ...

    async def usage(self, key: str) -> int:
        """Bytes written by a container."""
        ...

    # Paths inside a root file system; links are followed inside it, never out of it. A writable that is not mounted is mounted for the time.
    # With `pid`, a process of the running container, they are looked up as that process sees them: volumes, binds and tmpfs included.
    # With `mounts`, those of a container that does not run are seen too, as `docker cp` shows its volumes then; in the order in which they are given.

    async def stat(self, key: str, path: str, *, pid: int = 0, mounts: tuple[View, ...] = ()) -> PathStat:
        """As lstat(2), but a trailing slash follows a link. `link_target` is where a link leads, inside."""
        ...

    def archive(self, key: str, path: str, *, pid: int = 0, mounts: tuple[View, ...] = ()) -> AsyncIterator[bytes]:
        """A tar of a file or folder under its base name, as `docker cp` wants it: "/a/b" gives "b" and "b/…", "/a/b/." gives "./" and "./…"."""
        ...

    def export(self, key: str) -> AsyncIterator[bytes]:
        """A tar of the whole root file system, names relative to it, without mounts."""
        ...

    async def unarchive(
        self,
        key: str,
        path: str,
        tar: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        owner: tuple[int, int] | None = None,
        pid: int = 0,
        mounts: tuple[View, ...] = (),
    ) -> None:
        """Unpack a tar (plain, gzip, bzip2, xz or zstd) into a folder that is there. `owner` replaces what the tar says."""
        ...

    async def list_snapshots(self) -> dict[str, int]:
        """Chain ids and their sizes."""
        ...

    async def remove_snapshot(self, chain_id: str) -> int:
        """Bytes won. Conflict: a writable or another chain lies over it (remove the highest first)."""
        ...

    async def list_writables(self) -> tuple[str, ...]:
        """Keys of all there are: what of them nobody knows, its owner removes."""
        ...

    async def sweep(self) -> list[str]:
        """Remove what a crash left half-made or half-removed. A sentence for each thing."""
        ...
