"""`docker load`: an OCI layout or Docker's archive, old or new, compressed or not, from a stream that is read once.

The stream may bring its table of contents last, so every file in it becomes a blob at once, under its own digest, and what is not one after all is
left to the collection. Of what is small enough to be a document, the last of each name is remembered; links (old archives share layers by them) are
followed at the end, by name, a few steps. Names in the archive are only ever compared, never opened.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator

import msgspec

from cloudstead.engine.compression import HEAD, decompressed, detect
from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.images import digests, manifests, media_types
from cloudstead.engine.images.api import Descriptor, Image, Progress, Tell
from cloudstead.engine.images.collection import release
from cloudstead.engine.images.content import SMALL, Lease
from cloudstead.engine.images.manifests import Index, Manifest
from cloudstead.engine.images.records import new_row
from cloudstead.engine.images.references import Reference, try_parse
from cloudstead.engine.images.room import Room, Unpacking
from cloudstead.engine.images.saving import NAME, REF_NAME
from cloudstead.engine.images.tar_reader import Member, members

MAX_LINKS = 10
MAX_IMAGES = 1000
TELL_BYTES = 1 << 20


class _Entry(msgspec.Struct):
    digest: str
    size: int
    compression: str


class _ArchiveImage(msgspec.Struct, rename="pascal"):
    """One of manifest.json."""

    config: str
    repo_tags: list[str] = []
    layers: list[str] = []


class Found(msgspec.Struct):
    """An image that the archive speaks of, by digests of blobs that are here."""

    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    names: list[Reference]
    made: bytes = b""  # the manifest, where the archive has none


class Archive:
    """What was read of one archive."""

    def __init__(self, room: Room, lease: Lease, tell: Tell) -> None:
        self._room = room
        self._lease = lease
        self._tell = tell
        self._entries: dict[str, _Entry] = {}
        self._links: dict[str, str] = {}

    async def read(self, tar: AsyncIterator[bytes]) -> None:
        async for member in members(decompressed(tar)):
            name = _plain(member.name)
            if member.kind == "file":
                self._links.pop(name, None)
                self._entries[name] = await self._keep(member)
            elif member.kind in ("symlink", "hardlink"):
                inside = member.kind == "hardlink" or member.link.startswith("/")
                target = member.link if inside else posixpath.join(posixpath.dirname(name), member.link)
                self._entries.pop(name, None)
                self._links[name] = _plain(target)

    async def _keep(self, member: Member) -> _Entry:
        head, told, at = b"", 0, 0
        shown = digests.short(posixpath.basename(member.name))
        async with self._room.content.ingest(limit=member.size) as ingest:
            async for piece in member.data():
                head = head or piece[:HEAD]
                await ingest.write(piece)
                at += len(piece)
                if at - told >= TELL_BYTES:
                    told = at
                    self._tell(Progress("Loading layer", shown, at, member.size))
            digest = await ingest.commit()
            self._lease.add(digest)
        if told:
            self._tell(Progress("Loading layer", shown, member.size, member.size))
        return _Entry(digest, member.size, detect(head))

    def entry(self, name: str) -> _Entry | None:
        """Of a path, through links."""
        name = _plain(name)
        for _ in range(MAX_LINKS):
            if name in self._entries:
                return self._entries[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    async def document(self, name: str) -> bytes | None:
        found = self.entry(name)
        return None if found is None else await self._room.content.read(found.digest, SMALL)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return self._room.content.size(descriptor.digest) == descriptor.size

    # what is in it

    async def images(self) -> list[Found]:
        """
        Raises:
            InvalidArgument: it is no archive of images, or is not complete.
        """
        old = await self._docker_images()
        index = await self.document("index.json")
        if index is not None:
            parsed = manifests.parse(index, media_types.OCI_INDEX)
            if isinstance(parsed, Index) and parsed.manifests:
                found = await self._layout_images(parsed)
                return _with_names(found, old)
        if not old:
            raise InvalidArgument("the archive has neither manifest.json nor index.json: it holds no image")
        return old

    async def _docker_images(self) -> list[Found]:
        data = await self.document("manifest.json")
        if data is None:
            return []
        try:
            listed = msgspec.convert(manifests.without_nulls(msgspec.json.decode(data)), list[_ArchiveImage])
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"manifest.json in the archive cannot be understood: {error}") from error
        if len(listed) > MAX_IMAGES:
            raise InvalidArgument(f"the archive has more than {MAX_IMAGES} images")
        return [self._docker_image(each) for each in listed]

    def _docker_image(self, image: _ArchiveImage) -> Found:
        if len(image.layers) > manifests.MAX_LAYERS:
            raise InvalidArgument(f"the image has {len(image.layers)} layers; more than {manifests.MAX_LAYERS} are refused")
        config = self._require(image.config)
        layers = []
        for name in image.layers:
            layer = self._require(name)
            media_type = media_types.BY_COMPRESSION.get(layer.compression)
            if media_type is None:
                raise InvalidArgument(f"layers compressed with {layer.compression} are not supported")
            layers.append(Descriptor(media_type, layer.digest, layer.size))
        names = [reference.with_default_tag() for each in image.repo_tags if (reference := try_parse(each)) is not None]
        described = Descriptor(media_types.OCI_CONFIG, config.digest, config.size)
        made = manifests.encode_manifest(described, tuple(layers))
        return Found(manifests.describe(made, media_types.OCI_MANIFEST), described, tuple(layers), names, made)

    def _require(self, name: str) -> _Entry:
        found = self.entry(name)
        if found is None:
            raise InvalidArgument(f"the archive lacks {name}, of which its manifest speaks")
        return found

    async def _layout_images(self, index: Index) -> list[Found]:
        found: dict[str, Found] = {}
        if len(index.manifests) > MAX_IMAGES:
            raise InvalidArgument(f"the archive has more than {MAX_IMAGES} images")
        for descriptor in index.manifests:
            image = await self._layout_image(descriptor, 0)
            if image is not None:
                known = found.setdefault(image.manifest.digest, image)
                known.names.extend(each for each in _names(descriptor.annotations) if each not in known.names)
        return list(found.values())

    async def _layout_image(self, descriptor: Descriptor, depth: int) -> Found | None:
        """Through indexes; None for what is no image of this platform (attestations, other platforms of which there are no blobs)."""
        if not self.has_blob(descriptor):
            raise InvalidArgument(f"the archive lacks {descriptor.digest}, of which its index speaks")
        parsed = manifests.parse(await self._room.content.read(descriptor.digest), descriptor.media_type)
        if isinstance(parsed, Manifest):
            manifests.require_image(parsed)
            for each in (parsed.config, *parsed.layers):
                if not self.has_blob(each):
                    raise InvalidArgument(f"the archive lacks {each.digest}, of which its manifest speaks")
            return Found(descriptor, parsed.config, parsed.layers, [])
        if depth >= manifests.MAX_DEPTH:
            raise InvalidArgument(f"the archive has more than {manifests.MAX_DEPTH} indexes in each other")
        present = Index(parsed.media_type, tuple(each for each in parsed.manifests if self.has_blob(each)))
        try:
            chosen = manifests.choose(present, manifests.host_platform())
        except NotFound:
            others = [each for each in present.manifests if each.platform is not None and each.platform.os != "unknown"]
            if not others:
                raise
            chosen = others[0]
        return await self._layout_image(chosen, depth + 1)


async def load(room: Room, tar: AsyncIterator[bytes], tell: Tell) -> tuple[str, ...]:
    kept: set[str] = set()
    try:
        with room.content.lease() as lease:
            try:
                return await _load(room, tar, lease, tell)
            finally:
                kept = set(lease.digests)
    finally:
        # The archive's documents, what belonged to other platforms, and everything when it failed.
        await release(room, kept)


async def _load(room: Room, tar: AsyncIterator[bytes], lease: Lease, tell: Tell) -> tuple[str, ...]:
    archive = Archive(room, lease, tell)
    await archive.read(tar)
    loaded: list[str] = []
    for found in await archive.images():
        image = await _keep(room, lease, found, tell)
        names = [each.familiar for each in found.names] or [image.id]
        loaded.extend(names)
        for name in names:
            room.records.tell("load", image.id, name)
    return tuple(dict.fromkeys(loaded))


async def _keep(room: Room, lease: Lease, found: Found, tell: Tell) -> Image:
    config = manifests.parse_config(await room.content.read(found.config.digest, manifests.CONFIG_LIMIT))
    manifests.check_layers(config, found.layers)
    unpacking = Unpacking(room, lease, config.rootfs.diff_ids, tell)
    await unpacking.begin()
    for number, layer in enumerate(found.layers):
        await unpacking.add(number, layer)
    if found.made:
        lease.add(found.manifest.digest)
        await room.content.put(found.made)
    await room.content.settle()
    manifest = msgspec.structs.replace(found.manifest, annotations={}, platform=None)
    row = new_row(found.config.digest, manifest, config, found.layers, tuple(unpacking.sizes), room.clock.time())
    room.records.keep(row, [(each, manifest) for each in found.names])
    await room.records.store.settled()
    return room.records.image(room.records.require(row.id))


def _with_names(found: list[Found], old: list[Found]) -> list[Found]:
    """Names that only manifest.json has."""
    by_config = {each.config.digest: each for each in found}
    for each in old:
        known = by_config.get(each.config.digest)
        if known is not None:
            known.names.extend(name for name in each.names if name not in known.names)
    return found


def _names(annotations: dict[str, str]) -> list[Reference]:
    """A full name; `ref.name` is often only a tag, which names nothing."""
    text = annotations.get(NAME) or annotations.get(REF_NAME, "")
    if NAME not in annotations and not (":" in text or "/" in text):
        return []
    reference = try_parse(text)
    return [] if reference is None or reference.digest else [reference.with_default_tag()]


def _plain(name: str) -> str:
    """Without "./" and the like; what leads out of the archive is a name like any other, and names nothing."""
    return posixpath.normpath(name.lstrip("/")) if name else ""
