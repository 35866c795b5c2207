"""What the parts of this room share."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloudstead.engine.errors import Failed
from cloudstead.engine.images import digests
from cloudstead.engine.images.api import Descriptor, Progress, Tell
from cloudstead.engine.images.tasks import KeyedLocks

if TYPE_CHECKING:
    from cloudstead.engine.images.content import ContentStore, Lease
    from cloudstead.engine.images.records import Records
    from cloudstead.engine.images.transport import Transport
    from cloudstead.engine.snapshots.api import Snapshots
    from cloudstead.kernel.clock import Clock

DOWNLOADS = 3  # layers at once, of all pulls: Docker's max-concurrent-downloads
UPLOADS = 5  # its max-concurrent-uploads

Roots = Callable[[], Iterable[str]]
Holder = Callable[[str], bool]


@dataclass(slots=True)
class Room:
    content: ContentStore
    records: Records
    snapshots: Snapshots
    clock: Clock
    transport: Transport
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DOWNLOADS))
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS))
    removing: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while blobs and snapshots are taken away
    fetching: KeyedLocks = field(default_factory=KeyedLocks)  # by digest: two pulls need the same layer
    roots: list[Roots] = field(default_factory=list)
    holders: list[Holder] = field(default_factory=list)
    leaving: Counter[str] = field(default_factory=Counter)  # blobs whose rows were deleted, which a crash could bring back

    def holds(self, digest: str) -> bool:
        """Whether another room's rows speak of a blob, of which there are too many to name, or rows did that are on the disk still."""
        return digest in self.leaving or any(holds(digest) for holds in self.holders)

    async def let_go(self, digests: Iterable[str]) -> None:
        """Rows that spoke of these blobs were deleted in the turn of the loop that calls this: keep the blobs until that is durable, or was undone.

        Raises:
            Unavailable: it was undone.
        """
        mine = Counter(digests)
        self.leaving += mine
        store = self.records.store
        settled = asyncio.ensure_future(store.settled(store.failures))
        settled.add_done_callback(lambda _: self._gone(mine, settled))
        await asyncio.shield(settled)

    def _gone(self, digests: Counter[str], settled: asyncio.Future[None]) -> None:
        if not settled.cancelled():
            settled.exception()  # seen, though whoever waited may not be there any more
        self.leaving -= digests


class Unpacking:
    """The layers of one image, unpacked one after the other, while later ones may still be on their way.

    Leases come first: from the time that the chains are leased none of them is removed, and `begin` waits for a removal that is under way.
    """

    def __init__(self, room: Room, lease: Lease, diff_ids: tuple[str, ...], tell: Tell | None = None) -> None:
        self._room = room
        self._diff_ids = diff_ids
        self._tell: Tell = (lambda progress: None) if tell is None else tell
        self.chains = digests.chain_ids(diff_ids)
        self._known: dict[str, int] = {}
        self.sizes: list[int] = []
        lease.add(*self.chains)

    async def begin(self) -> None:
        async with self._room.removing:
            pass
        self._known = await self._room.snapshots.list_snapshots() if self.chains else {}

    def has(self, number: int) -> bool:
        return self.chains[number] in self._known

    async def add(self, number: int, layer: Descriptor) -> None:
        """The next one; its blob is here."""
        chain = self.chains[number]
        if number != len(self.sizes):
            raise Failed("layers were unpacked out of order")
        if chain in self._known:
            self.sizes.append(self._known[chain])
            return
        self._tell(Progress("Extracting", digests.short(layer.digest), 0, layer.size))
        descriptor = self._room.content.open(layer.digest)
        try:
            parent = self.chains[number - 1] if number else ""
            unpacked = await self._room.snapshots.unpack(
                descriptor, media_type=layer.media_type, parent=parent, diff_id=self._diff_ids[number]
            )
        finally:
            os.close(descriptor)
        self._tell(Progress("Extracting", digests.short(layer.digest), layer.size, layer.size))
        self.sizes.append(unpacked.size)
