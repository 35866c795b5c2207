"""A blob from a registry into the content store: resumed when it breaks off, at once or by a later pull."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from cloudstead.engine.errors import Conflict, EngineError, Failed, Unavailable
from cloudstead.engine.images import digests, media_types
from cloudstead.engine.images.api import Descriptor, Progress, Tell
from cloudstead.engine.images.ingest import DigestMismatch, Ingest
from cloudstead.engine.images.references import Reference
from cloudstead.engine.images.registry_client import RegistryClient, RegistryFault, not_found
from cloudstead.engine.images.room import Room

ATTEMPTS = 5  # without a byte gained: Docker's max-download-attempts
WAIT_SECONDS = 0.5  # before the second attempt; doubled each time
TELL_BYTES = 512 << 10


class Recipient(NamedTuple):
    """Whoever blobs are fetched for, when there are others whose blobs are none of its business.

    What others have here, be it a part of a blob, is not given to it: or naming a digest would do to be given what they keep to themselves.
    """

    name: str
    has: Callable[[str], bool]


async def fetch(
    room: Room, client: RegistryClient, reference: Reference, blob: Descriptor, tell: Tell, recipient: Recipient | None = None
) -> None:
    """Have it here. Its caller has leased it.

    Args:
        recipient: must have it already, or the registry must send it. None: the owner of this machine, whose all of it is.

    Raises:
        InvalidArgument: what came is not what the digest says. NotFound, Unavailable …
    """
    async with room.fetching.hold(blob.digest):
        if (recipient is None or recipient.has(blob.digest)) and room.content.refresh(blob.digest):
            return
        if client.is_own and room.content.refresh(blob.digest):
            await client.check_blob(reference, blob.digest)
            return
        async with room.downloads:
            await _download(room, client, reference, blob, tell, _key(blob.digest, recipient))


def _key(digest: str, recipient: Recipient | None) -> str:
    """Under which a pull that was given up leaves what it has, to be gone on with."""
    algorithm, digits = digests.split(digest)
    whose = "" if recipient is None else "-" + digests.of(recipient.name.encode())[-16:]
    return f"pull-{algorithm}-{digits[:64]}{whose}"


async def _download(room: Room, client: RegistryClient, reference: Reference, blob: Descriptor, tell: Tell, key: str) -> None:
    algorithm = digests.split(blob.digest)[0]
    async with room.content.ingest(key, algorithm=algorithm, limit=blob.size) as ingest:
        if ingest.offset > blob.size:
            await ingest.discard()
            raise Conflict(f"what is left of an earlier download of {blob.digest} is too long; it was removed, try again")
        resumed = ingest.offset > 0
        await _receive(room, client, reference, blob, ingest, tell)
        short = digests.short(blob.digest)
        tell(Progress("Verifying Checksum", short))
        try:
            await ingest.commit(blob.digest, blob.size)
        except DigestMismatch as error:
            await ingest.discard()
            if resumed:  # what was there before may have been the damaged part
                return await _download(room, client, reference, blob, tell, key)
            raise Failed(f"filesystem layer verification failed for digest {blob.digest}: {error.message}") from error
        return tell(Progress("Download complete", short))


async def _receive(room: Room, client: RegistryClient, reference: Reference, blob: Descriptor, ingest: Ingest, tell: Tell) -> None:
    failures = 0
    while ingest.offset < blob.size or blob.size == 0:
        before = ingest.offset
        try:
            stream, start = await _open(client, reference, blob, ingest.offset)
            async with contextlib.aclosing(stream):  # type: ignore[type-var]
                await _copy(stream, start, blob, ingest, tell)
            if ingest.offset < blob.size:
                raise Unavailable(f"the registry sent {ingest.offset} of {blob.size} bytes")
            return
        except Unavailable:
            failures = failures + 1 if ingest.offset == before else 1
            if failures >= ATTEMPTS:
                raise
            tell(Progress("Retrying", digests.short(blob.digest)))
            await room.clock.sleep(WAIT_SECONDS * 2 ** (failures - 1))


async def _copy(stream: AsyncIterator[bytes], start: int, blob: Descriptor, ingest: Ingest, tell: Tell) -> None:
    """Write what comes. A registry that cannot begin in the middle begins at the start: what is here already is passed over."""
    at, told = start, ingest.offset
    short = digests.short(blob.digest)
    tell(Progress("Downloading", short, ingest.offset, blob.size))
    async for piece in stream:
        new = piece[max(0, ingest.offset - at) :]
        at += len(piece)
        if at > blob.size:
            raise Failed(f"the registry sent more than the {blob.size} bytes of {blob.digest}")
        if new:
            await ingest.write(new)
        if ingest.offset - told >= TELL_BYTES:
            told = ingest.offset
            tell(Progress("Downloading", short, told, blob.size))


async def _open(client: RegistryClient, reference: Reference, blob: Descriptor, start: int) -> tuple[AsyncIterator[bytes], int]:
    """From the registry; a foreign layer also from its URLs."""
    try:
        return await client.blob(reference, blob.digest, start)
    except EngineError as error:
        if not (media_types.is_foreign(blob.media_type) and blob.urls and not_found(error)):
            if isinstance(error, RegistryFault) and error.status == 416:
                raise Failed(f"the registry's blob {blob.digest} is shorter than its manifest says") from error
            raise
    failure: EngineError | None = None
    for url in blob.urls:
        try:
            return await client.foreign_blob(url, start)
        except EngineError as error:
            failure = error
    assert failure is not None
    raise failure
