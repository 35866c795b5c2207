"""All of an index: the manifests below it, as deep as they go, and what these speak of. Most indexes are here in part only: a pull takes one platform."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudstead.engine.errors import EngineError
from cloudstead.engine.images import manifests, media_types
from cloudstead.engine.images.api import Descriptor
from cloudstead.engine.images.content import ContentStore, Lease
from cloudstead.engine.images.manifests import Manifest

MAX_MANIFESTS = 1000


@dataclass(slots=True)
class Whole:
    manifests: list[tuple[Descriptor, bytes]] = field(default_factory=list)  # each behind those that it speaks of: the index is the last
    blobs: dict[str, Descriptor] = field(default_factory=dict)  # configurations and layers


async def find(content: ContentStore, index: Descriptor, lease: Lease) -> Whole | None:
    """None: something of it is not here. What is found is in the lease."""
    found = Whole()
    try:
        return found if await _add(content, index, lease, found, manifests.MAX_DEPTH) else None
    except EngineError:  # damaged, or more than anybody would take
        return None


async def _add(content: ContentStore, descriptor: Descriptor, lease: Lease, found: Whole, depth: int) -> bool:
    if any(descriptor.digest == known.digest for known, _ in found.manifests):
        return True
    lease.add(descriptor.digest)
    if depth < 0 or len(found.manifests) >= MAX_MANIFESTS or not content.has(descriptor.digest):
        return False
    data = await content.read(descriptor.digest)
    parsed = manifests.parse(data, descriptor.media_type)
    if isinstance(parsed, Manifest):
        for blob in (parsed.config, *parsed.layers):
            lease.add(blob.digest)
            if media_types.is_foreign(blob.media_type):
                continue
            if not content.has(blob.digest):
                return False
            found.blobs[blob.digest] = blob
    else:
        for child in parsed.manifests:
            if not await _add(content, child, lease, found, depth - 1):
                return False
    found.manifests.append((Descriptor(parsed.media_type, descriptor.digest, len(data)), data))
    return True
