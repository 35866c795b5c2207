"""Root file systems: layers unpacked once, by chain id, and what is mounted from them.

A chain id names a stack of layers (OCI image-spec, config.md, "Layer ChainID"); the snapshot of a chain id is the unpacked top layer alone, and
overlayfs puts the stack together. A *writable* is what one container writes: upper and work folder, mounted over a stack, known by the container's id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from cloudstead.engine.pods.api import Change, PathStat


class Unpacked(msgspec.Struct, frozen=True):
    chain_id: str
    diff_id: str  # of what came out: sha256 of the uncompressed tar
    size: int  # bytes of files
    entries: int


class Snapshots(Protocol):
    """In the daemon; the work is done by the host. Errors: NotPermitted for a hostile layer, NoSpace, NotFound."""

    async def has(self, chain_id: str) -> bool: ...

    async def unpack(self, blob: int, *, media_type: str, parent: str, diff_id: str = "") -> Unpacked:
        """Unpack a layer (a descriptor of its blob, from the start) over the chain `parent` ("" for the first).

        With `diff_id` what comes out is checked against it. Two at once for the same chain: one does it. InvalidArgument: not what diff_id says.
        """
        ...

    async def mount(self, key: str, layers: tuple[str, ...], *, size: int = 0) -> str:
        """A writable over a stack, mounted; made when there is none. Returns where (a path of the host's)."""
        ...

    async def unmount(self, key: str) -> None:
        """What was written stays."""
        ...

    async def remove(self, key: str) -> None:
        """Unmount and delete. A second time it does nothing."""
        ...

    async def keep(self, key: str, parent: str) -> Unpacked:
        """Make what a writable holds the snapshot of a new chain over `parent`, with its layer's diff_id, without copying; the writable is gone.

        For the builder: a RUN step's result becomes the next one's base at once. `layer_of(chain id)` gives its tar later.
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

    # paths inside a root file system; links are followed inside it, never out of it. `merged` of a container that is not mounted is mounted for the time.

    async def stat(self, key: str, path: str) -> PathStat: ...

    def archive(self, key: str, path: str) -> AsyncIterator[bytes]: ...

    async def unarchive(
        self,
        key: str,
        path: str,
        tar: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        owner: tuple[int, int] | None = None,
    ) -> None: ...

    async def list_snapshots(self) -> dict[str, int]:
        """Chain ids and their sizes."""
        ...

    async def remove_snapshot(self, chain_id: str) -> int:
        """Bytes won. Conflict: a container is mounted over it."""
        ...
