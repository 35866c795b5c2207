"""Images made here: layers from tars, images from layers, commit and import."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from msgspec.structs import replace

from cloudstead.engine.compression import GzipWriter, decompressed
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images import manifests, media_types
from cloudstead.engine.images.api import Descriptor, ExecConfig, HistoryEntry, Image, ImageConfig, Platform, RootFs
from cloudstead.engine.images.content import Lease
from cloudstead.engine.images.records import new_row, rfc3339, tagged_reference
from cloudstead.engine.images.room import Room, Unpacking
from cloudstead.engine.threads import in_thread

BATCH = 1 << 20
TAR_BLOCK = 512


class _Layer:
    """Hashes a layer's tar, and compresses it or not; a megabyte a turn of a thread."""

    def __init__(self, compress: bool) -> None:
        self._hash = hashlib.sha256()
        self._writer = GzipWriter() if compress else None

    def feed(self, pieces: list[bytes]) -> bytes:
        data = b"".join(pieces)
        self._hash.update(data)
        return self._writer.feed(data) if self._writer is not None else data

    def finish(self) -> bytes:
        return self._writer.finish() if self._writer is not None else b""

    @property
    def diff_id(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


async def add_layer(room: Room, diff: AsyncIterator[bytes], *, compress: bool, lease: Lease | None = None) -> tuple[Descriptor, str]:
    """Keep a tar; its descriptor and diff_id. What is given is hashed as it is: it is not looked at before it is unpacked."""
    layer = _Layer(compress)
    async with room.content.ingest() as ingest:
        async for pieces in _batches(diff):
            await ingest.write(await in_thread(layer.feed, pieces))
        await ingest.write(layer.finish())
        size = ingest.offset
        digest = await ingest.commit()
        if lease is not None:
            lease.add(digest)
        else:
            room.content.claim(digest)
    return Descriptor(media_types.LAYER_GZIP if compress else media_types.LAYER, digest, size), layer.diff_id


async def _batches(stream: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    pieces: list[bytes] = []
    size = 0
    async for piece in stream:
        pieces.append(piece)
        size += len(piece)
        if size >= BATCH:
            yield pieces
            pieces, size = [], 0
    if pieces:
        yield pieces


async def put_image(room: Room, config: ImageConfig, layers: tuple[Descriptor, ...], references: tuple[str, ...], parent: str) -> Image:
    names = [tagged_reference(each) for each in references]
    if parent:
        room.records.require(parent)
    manifests.check_layers(config, layers)
    data = manifests.encode_config(config)
    with room.content.lease(*(layer.digest for layer in layers)) as lease:
        for layer in layers:
            if room.content.size(layer.digest) != layer.size:
                raise InvalidArgument(f"layer {layer.digest} is not here")
        described = manifests.describe(data, media_types.OCI_CONFIG)
        manifest = manifests.encode_manifest(described, layers)
        target = manifests.describe(manifest, media_types.OCI_MANIFEST)
        lease.add(described.digest, target.digest)
        unpacking = Unpacking(room, lease, config.rootfs.diff_ids)
        await unpacking.begin()
        for number, layer in enumerate(layers):
            await unpacking.add(number, layer)
        await room.content.put(data)
        await room.content.put(manifest)
        await room.content.settle()
        row = new_row(described.digest, target, config, layers, tuple(unpacking.sizes), room.clock.time(), parent=parent)
        room.records.keep(row, [(each, target) for each in names])
        await room.records.store.settled()
        room.content.unclaim(*(layer.digest for layer in layers))
    for each in names:
        room.records.tell("tag", row.id, each.familiar)
    return room.records.image(room.records.require(row.id))


async def commit(
    room: Room, base: str, diff: AsyncIterator[bytes] | None, config: ImageConfig, references: tuple[str, ...], *, compress: bool = True
) -> Image:
    """One more layer on `base` (an id, or "" for nothing)."""
    for each in references:
        tagged_reference(each)
    below = room.records.require(base) if base else None
    with room.content.lease() as lease:
        layers = below.layers if below is not None else ()
        diff_ids = below.config.rootfs.diff_ids if below is not None else ()
        lease.add(*(layer.digest for layer in layers))
        if diff is not None:
            layer, diff_id = await add_layer(room, diff, compress=compress, lease=lease)
            layers, diff_ids = (*layers, layer), (*diff_ids, diff_id)
        created = config.created or rfc3339(room.clock.time())
        last = config.history[-1] if config.history else HistoryEntry(created=created, author=config.author)
        last = replace(last, created=last.created or created, empty_layer=diff is None)
        made = replace(
            config,
            created=created,
            rootfs=RootFs(diff_ids),
            history=(*(below.config.history if below is not None else ()), last),
        )
        if below is not None:
            made = replace(made, os=below.config.os, architecture=below.config.architecture, variant=below.config.variant)
        return await put_image(room, made, layers, references, base)


async def import_tar(
    room: Room, tar: AsyncIterator[bytes], reference: str, changes: ExecConfig | None, message: str, platform: Platform | None
) -> Image:
    """An image of one layer, from the tar of a root file system, plain or compressed."""
    if reference:
        tagged_reference(reference)
    on = platform or manifests.host_platform()
    now = rfc3339(room.clock.time())
    config = ImageConfig(
        architecture=on.architecture,
        os=on.os,
        variant=on.variant,
        created=now,
        config=changes or ExecConfig(),
        history=(HistoryEntry(created=now, comment=message),),
    )
    image = await commit(room, "", _checked(decompressed(tar)), config, (reference,) if reference else ())
    room.records.tell("import", image.id, reference)
    return image


async def _checked(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Refuses at its first block what is no tar, before it is kept. Raises InvalidArgument."""
    head = b""
    async for piece in stream:
        if len(head) < TAR_BLOCK:
            head += piece
            if len(head) < TAR_BLOCK:
                continue
            piece = head
            if head[:TAR_BLOCK] != bytes(TAR_BLOCK) and head[257:262] != b"ustar" and not _sum_holds(head[:TAR_BLOCK]):
                raise InvalidArgument("the archive is damaged, or it is no tar")
        yield piece
    if len(head) < TAR_BLOCK:
        raise InvalidArgument("the archive ends too early")


def _sum_holds(block: bytes) -> bool:
    """Of a header before ustar."""
    text = block[148:156].strip(b"\0 ")
    return bool(text) and not text.strip(b"01234567") and int(text, 8) == sum(block[:148]) + 8 * 32 + sum(block[156:])
