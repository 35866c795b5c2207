"""What is not needed any more goes: mark and sweep, and at once what an image leaves behind that was just deleted.

Needed is what rows name (manifests, indexes, configurations, layers, and the chains that these unpack to), what other rooms' roots name or their holders
know, and what is leased or claimed. Marking and removing a blob are one turn of the event loop, and whoever writes a row has leased what it names before he looked
whether it is here; so nothing goes that is about to be named. The sweep spares besides what is younger than `GRACE`: after a restart nobody
remembers leases. A snapshot has no age; the sweep removes one that it has seen without need for that long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from cloudstead.engine.errors import Conflict, NotFound, Unavailable, Unsupported
from cloudstead.engine.images import digests
from cloudstead.engine.images.room import Room

GRACE = 600.0
UPLOADS_KEPT = 24 * 3600.0  # an upload that nobody goes on with
AT_ONCE = 1000  # blobs between two turns of the loop


def needed(room: Room) -> set[str]:
    """Digests of blobs and chains."""
    found: set[str] = set()
    for row in room.records.rows():
        found.update((row.id, row.manifest.digest, *(layer.digest for layer in row.layers)))
        found.update(digests.chain_ids(row.config.rootfs.diff_ids))
        if row.index:
            found.add(row.index)
    for named in room.records.targets():
        found.add(named.target.digest)
    for roots in room.roots:
        found.update(roots())
    return found


async def sweep(room: Room, unneeded_since: dict[str, float], grace: float = GRACE) -> tuple[int, list[str]]:
    """Bytes won, and a sentence for each thing that went.

    Args:
        unneeded_since: chains and when (of the clock) they were first seen without need; kept from sweep to sweep.
    """
    told: list[str] = []
    room.content.prepare()
    old = await room.content.old_blobs(time.time() - grace)  # ages are those of files: by the machine's clock
    marked = needed(room)
    candidates = [digest for digest in old if digest not in marked]
    await room.records.store.settled()  # what is not needed now may be named by rows on the disk still, which a crash would bring back
    marked = needed(room)
    for start in range(0, len(candidates), AT_ONCE):
        marked = needed(room) if start else marked  # the loop went on meanwhile
        for digest in candidates[start : start + AT_ONCE]:
            if digest not in marked and not room.holds(digest) and room.content.remove(digest) is not None:
                told.append(f"removed blob {digest}, which nothing refers to")
        await asyncio.sleep(0)
    for key in await room.content.drop_old_uploads(time.time() - UPLOADS_KEPT):
        told.append(f"removed upload {key}, which nobody went on with")
    won = await room.content.empty_trash()
    async with room.removing:
        chains = _old_chains(room, await _present(room), unneeded_since, grace)
        for chain in chains:
            bytes_won = await _remove_chain(room, chain) if chain not in needed(room) else None
            if bytes_won is not None:
                unneeded_since.pop(chain, None)
                told.append(f"removed the snapshot of {chain}, which nothing refers to")
                won += bytes_won
    return won, told


async def _present(room: Room) -> Iterable[str]:
    """All chains; none where there is no engine host, which alone knows them: blobs are collected there too, for the registry's sake."""
    try:
        return await room.snapshots.list_snapshots()
    except (Unsupported, Unavailable):
        return ()


def _old_chains(room: Room, chains: Iterable[str], unneeded_since: dict[str, float], grace: float) -> list[str]:
    marked, now = needed(room), room.clock.monotonic()
    present = set(chains)
    for chain in list(unneeded_since):
        if chain not in present or chain in marked:
            del unneeded_since[chain]
    return [chain for chain in present if chain not in marked and now - unneeded_since.setdefault(chain, now) >= grace]


async def release(room: Room, candidates: Iterable[str], chains: Iterable[str] = ()) -> tuple[int, list[str]]:
    """Remove these of what rows have let go of for certain (`Room.let_go`); bytes won, and the chains that went, the highest first."""
    marked = needed(room)
    for digest in candidates:
        if digest not in marked and not room.holds(digest):
            room.content.remove(digest)
    won = await room.content.empty_trash()
    gone: list[str] = []
    async with room.removing:
        generation = -1
        for chain in reversed(list(chains)):
            if generation != room.records.generation:  # rows were written while the chain before was being removed
                marked, generation = needed(room), room.records.generation
            if chain in marked:
                continue
            bytes_won = await _remove_chain(room, chain)
            if bytes_won is not None:
                gone.append(chain)
                won += bytes_won
    return won, gone


async def _remove_chain(room: Room, chain: str) -> int | None:
    """None when it stays: it is leased, a container is mounted over it, or the engine host is not there; then the sweep takes it some time."""
    if room.content.held(chain):
        return None
    try:
        return await room.snapshots.remove_snapshot(chain)
    except (Conflict, NotFound, Unsupported, Unavailable):
        return None
