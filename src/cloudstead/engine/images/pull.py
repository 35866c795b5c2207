"""Pulling: manifest, configuration, layers; each layer is unpacked as soon as it and those below it are here, while others still come.

What Docker's client shows is told on the way, with its words. Rows are written at the very end; a pull that fails leaves no image, and its
downloads for the next try.
"""

from __future__ import annotations

import asyncio

from cloudstead.engine.errors import EngineError, InvalidArgument, NotFound, Unauthorized
from cloudstead.engine.images import digests, manifests
from cloudstead.engine.images.api import Credentials, Descriptor, Image, Platform, Progress, Tell
from cloudstead.engine.images.content import Lease
from cloudstead.engine.images.fetching import fetch
from cloudstead.engine.images.manifests import Index, Manifest
from cloudstead.engine.images.model import ImageRow
from cloudstead.engine.images.records import mismatch, new_row
from cloudstead.engine.images.references import Reference, parse
from cloudstead.engine.images.registry_client import RegistryClient, RegistryFault, not_found
from cloudstead.engine.images.room import Room, Unpacking
from cloudstead.engine.images.tasks import together

NOTHING: Tell = lambda progress: None  # noqa: E731


async def pull(room: Room, text: str, platform: Platform | None, credentials: Credentials | None, tell: Tell | None) -> Image:
    tell = NOTHING if tell is None else tell
    reference = parse(text).with_default_tag()
    client = RegistryClient(room.transport, reference.domain, credentials, room.clock)
    tell(Progress(f"Pulling from {reference.path}", reference.target))
    with room.content.lease() as lease:
        found = await resolve(room, client, reference, platform)
        try:
            row = await _pull_manifest(room, client, reference, found, lease, tell)
        except Unauthorized as error:  # who may read manifests may still not have layers
            raise _no_access(reference, error) from error
        await room.content.settle()
        names = [(reference, found.target)]
        if not reference.digest:
            names.append((reference.with_digest(found.target.digest), found.target))
        changed = room.records.keep(row, names)
        await room.records.store.settled()
    if platform is not None and (warning := mismatch(row, platform, reference.familiar)):
        tell(Progress(f"WARNING: {warning}"))
    tell(Progress(f"Digest: {found.target.digest}"))
    shown = reference.familiar
    tell(Progress(f"Status: Downloaded newer image for {shown}" if changed else f"Status: Image is up to date for {shown}"))
    room.records.tell("pull", row.id, shown)
    return room.records.image(room.records.require(row.id))


class Resolved:
    """What a reference led to: the bytes of what it names (`target`) and of the manifest for the platform."""

    def __init__(self, target: Descriptor, blobs: list[tuple[Descriptor, bytes]], manifest: Manifest) -> None:
        self.target = target
        self.blobs = blobs  # indexes, if any, and last the manifest
        self.manifest = manifest

    @property
    def index(self) -> str:
        return self.target.digest if len(self.blobs) > 1 else ""


async def resolve(room: Room, client: RegistryClient, reference: Reference, platform: Platform | None) -> Resolved:
    """Ask the registry what a reference names, through indexes to a manifest."""
    blobs: list[tuple[Descriptor, bytes]] = []
    asked = reference
    for _ in range(manifests.MAX_DEPTH):
        data, media_type = await get_manifest(client, asked)
        found = manifests.parse(data, media_type)
        blobs.append((manifests.describe(data, found.media_type), data))
        if asked.digest:  # perhaps by another algorithm than ours
            blobs[-1] = Descriptor(found.media_type, asked.digest, len(data)), data
        if isinstance(found, Manifest):
            return Resolved(blobs[0][0], blobs, manifests.require_image(found))
        asked = reference.with_digest(manifests.choose(found, platform or manifests.host_platform()).digest)
    raise NotFound(f"{reference.familiar} leads through more than {manifests.MAX_DEPTH} indexes")


async def get_manifest(client: RegistryClient, reference: Reference) -> tuple[bytes, str]:
    """Raises NotFound with Docker's sentences."""
    try:
        return await client.manifest(reference)
    except RegistryFault as error:
        if "NAME_UNKNOWN" in error.codes:
            raise _no_repository(reference, error) from error
        if not_found(error):
            raise NotFound(f"manifest for {reference.familiar} not found: {error.message}") from error
        raise
    except Unauthorized as error:
        raise _no_access(reference, error) from error


def _no_repository(reference: Reference, error: EngineError) -> NotFound:
    return NotFound(f"repository {reference.familiar_name} not found: {error.message}")


def _no_access(reference: Reference, error: EngineError) -> NotFound:
    """A registry does not tell who may not read what is not there; neither does Docker."""
    name = reference.familiar_name
    return NotFound(f"pull access denied for {name}, repository does not exist or may require 'docker login': {error.message}")


async def _pull_manifest(room: Room, client: RegistryClient, reference: Reference, found: Resolved, lease: Lease, tell: Tell) -> ImageRow:
    manifest = found.manifest
    lease.add(manifest.config.digest, *(layer.digest for layer in manifest.layers), *(blob.digest for blob, _ in found.blobs))
    if manifest.config.size > manifests.CONFIG_LIMIT:
        raise InvalidArgument(f"the configuration of {reference.familiar} is larger than {manifests.CONFIG_LIMIT} bytes")
    for blob, data in found.blobs:
        await room.content.put(data, blob.digest)
    if client.is_own:  # all of it is here: who may have the manifest may not have the layers
        for part in (manifest.config, *manifest.layers):
            if not part.urls:
                await client.check_blob(reference, part.digest)
    await fetch(room, client, reference, manifest.config, NOTHING)
    config = manifests.parse_config(await room.content.read(manifest.config.digest, manifests.CONFIG_LIMIT))
    manifests.check_system(config)
    manifests.check_layers(config, manifest.layers)
    unpacking = Unpacking(room, lease, config.rootfs.diff_ids, tell)
    await unpacking.begin()
    await _layers(room, client, reference, manifest, unpacking, tell)
    descriptor = found.blobs[-1][0]
    sizes = tuple(unpacking.sizes)
    return new_row(manifest.config.digest, descriptor, config, manifest.layers, sizes, room.clock.time(), index=found.index)


async def _layers(room: Room, client: RegistryClient, reference: Reference, manifest: Manifest, unpacking: Unpacking, tell: Tell) -> None:
    """Download all, three at a time, and unpack them in order."""
    here: list[asyncio.Event] = [asyncio.Event() for _ in manifest.layers]
    for number, layer in enumerate(manifest.layers):
        whole = unpacking.has(number) and room.content.has(layer.digest)
        tell(Progress("Already exists" if whole else "Pulling fs layer", digests.short(layer.digest)))

    async def download(number: int) -> None:
        layer = manifest.layers[number]
        if not room.content.refresh(layer.digest):
            if room.downloads.locked():
                tell(Progress("Waiting", digests.short(layer.digest)))
            await fetch(room, client, reference, layer, tell)
        here[number].set()

    async def unpack() -> None:
        for number, layer in enumerate(manifest.layers):
            await here[number].wait()
            known = unpacking.has(number)
            await unpacking.add(number, layer)
            if not known:
                tell(Progress("Pull complete", digests.short(layer.digest)))

    await together(unpack(), *(download(number) for number in range(len(manifest.layers))))


async def inspect_remote(room: Room, text: str, credentials: Credentials | None) -> tuple[Descriptor, tuple[Platform, ...]]:
    """What a registry has under a name, and for which platforms."""
    reference = parse(text).with_default_tag()
    client = RegistryClient(room.transport, reference.domain, credentials, room.clock)
    data, media_type = await get_manifest(client, reference)
    found = manifests.parse(data, media_type)
    target = manifests.describe(data, found.media_type)
    if isinstance(found, Index):
        return target, tuple(each.platform for each in found.manifests if each.platform is not None)
    if found.config.size > manifests.CONFIG_LIMIT:
        return target, ()
    with room.content.lease(found.config.digest):
        await fetch(room, client, reference, found.config, NOTHING)
        config = manifests.parse_config(await room.content.read(found.config.digest, manifests.CONFIG_LIMIT))
    return target, (manifests.platform_of(config),)


async def remote_tags(room: Room, text: str, credentials: Credentials | None) -> tuple[str, ...]:
    reference = parse(text)
    client = RegistryClient(room.transport, reference.domain, credentials, room.clock)
    try:
        return await client.tags(reference)
    except RegistryFault as error:
        if not_found(error):
            raise _no_repository(reference, error) from error
        raise
    except Unauthorized as error:
        raise _no_access(reference, error) from error
