"""Pushing: layers first, several at a time, then the configuration, then the manifest, as it is kept here: byte for byte.

A name may stand for an index. Where all that it speaks of is here, for each platform, the index is pushed with all of it; else the manifest of the
image alone, as Docker does.
"""

from __future__ import annotations

from cloudstead.engine.errors import InvalidArgument, NotFound, Unavailable
from cloudstead.engine.images import digests, media_types
from cloudstead.engine.images.api import Credentials, Descriptor, Progress, Tell
from cloudstead.engine.images.fetching import ATTEMPTS, WAIT_SECONDS
from cloudstead.engine.images.model import ImageRow
from cloudstead.engine.images.pull import NOTHING
from cloudstead.engine.images.references import Reference, parse
from cloudstead.engine.images.registry_client import RegistryClient, push_scope
from cloudstead.engine.images.room import Room
from cloudstead.engine.images.tasks import together
from cloudstead.engine.images.upload import Upload
from cloudstead.engine.images.whole import Whole
from cloudstead.engine.images.whole import find as find_whole


async def push(room: Room, text: str, credentials: Credentials | None, tell: Tell | None) -> Descriptor:
    tell = NOTHING if tell is None else tell
    reference = parse(text).with_default_tag()
    if reference.digest:
        raise InvalidArgument("cannot push a digest reference")
    named = room.records.named(reference)
    row = room.records.by_id(named.image) if named is not None else None
    if row is None:
        raise NotFound(f"tag does not exist: {reference.familiar}")
    client = RegistryClient(room.transport, reference.domain, credentials, room.clock)
    tell(Progress(f"The push refers to repository [{reference.name}]"))
    with room.content.lease(row.id, row.manifest.digest, *(layer.digest for layer in row.layers)) as lease:
        target = named.target if named is not None else row.manifest
        whole = await find_whole(room.content, target, lease) if target.media_type in media_types.INDEXES else None
        await _push_layers(room, client, reference, row, whole, tell)
        await _push_config(room, client, reference, row)
        for manifest, data in whole.manifests[:-1] if whole is not None else ():
            await _put_manifest(room, client, reference.with_digest(manifest.digest), manifest, data)
        pushed = row.manifest if whole is None else whole.manifests[-1][0]
        await _put_manifest(room, client, reference, pushed, await room.content.read(pushed.digest))
    tell(Progress(f"{reference.tag}: digest: {pushed.digest} size: {pushed.size}"))
    room.records.name(reference.with_digest(pushed.digest), row.id, pushed)
    await room.records.store.settled()
    room.records.tell("push", row.id, reference.familiar)
    return pushed


async def _push_layers(room: Room, client: RegistryClient, reference: Reference, row: ImageRow, whole: Whole | None, tell: Tell) -> None:
    sources = mount_sources(room, reference)
    wanted: dict[str, tuple[Descriptor, str]] = {}  # a layer may be in an image twice
    for layer, diff_id in zip(row.layers, row.config.rootfs.diff_ids, strict=True):
        if not media_types.is_foreign(layer.media_type):
            wanted.setdefault(layer.digest, (layer, digests.short(diff_id)))
    for blob in whole.blobs.values() if whole is not None else ():
        if blob.digest != row.id:
            wanted.setdefault(blob.digest, (blob, digests.short(blob.digest)))
    for _, shown in wanted.values():
        tell(Progress("Preparing", shown))

    async def send(layer: Descriptor, shown: str) -> None:
        if room.uploads.locked():
            tell(Progress("Waiting", shown))
        tell(Progress(await Upload(room, client, reference, layer, shown, tell).run(sources.get(layer.digest, "")), shown))

    await together(*(send(layer, shown) for layer, shown in wanted.values()))


async def _push_config(room: Room, client: RegistryClient, reference: Reference, row: ImageRow) -> None:
    size = room.content.size(row.id)
    if size is None:
        raise NotFound(f"the configuration of {reference.familiar} is not here any more")
    await Upload(room, client, reference, Descriptor("", row.id, size), digests.short(row.id), NOTHING).run()


async def _put_manifest(room: Room, client: RegistryClient, reference: Reference, manifest: Descriptor, data: bytes) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = await client.request(
                "PUT",
                f"/v2/{reference.path}/manifests/{reference.target}",
                scopes=push_scope(reference),
                headers=[("Content-Type", manifest.media_type)],
                body=data,
            )
            await client.accept(answer, 200, 201, 202)
        except Unavailable:
            if attempt == ATTEMPTS:
                raise
            await room.clock.sleep(WAIT_SECONDS * 2 ** (attempt - 1))
        else:
            await answer.response.aclose()
            return


def mount_sources(room: Room, reference: Reference) -> dict[str, str]:
    """For each layer, another repository of the same registry that should have it: images known here under a name there, by digest."""
    found: dict[str, str] = {}
    for named in room.records.targets():
        other = parse(named.name)
        if other.domain != reference.domain or other.path == reference.path or not other.digest:
            continue
        row = room.records.by_id(named.image)
        for layer in row.layers if row is not None else ():
            found.setdefault(layer.digest, other.path)
    return found
