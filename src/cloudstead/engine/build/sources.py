"""--cache-from: images that are here and whose layers count as results, by what their history says made them.

Their word is taken for it: who builds such an image can say anything of its layers (CVE-2024-24557). So only images that a build names, each time.
"""

from __future__ import annotations

from cloudstead.engine.build import keys
from cloudstead.engine.build.model import Result
from cloudstead.engine.build.work import Build
from cloudstead.engine.errors import NotFound
from cloudstead.engine.images import digests
from cloudstead.engine.images.api import Image


async def look_at(build: Build) -> None:
    """Take in what the images tell. One that is not here tells nothing, as in Docker."""
    for name in build.options.cache_from:
        try:
            image = build.engine.images.resolve(name)
        except NotFound:
            continue
        chains = await build.engine.images.layers_of(image.id)
        build.hold(*chains)
        build.told |= told(image)
        build.cache.know_blobs(dict(zip(chains, image.layers, strict=True)))


def told(image: Image) -> dict[str, Result]:
    """For each step with files, by the chain below and its line in the history: what came of it."""
    found: dict[str, Result] = {}
    chains = iter(digests.chain_ids(image.config.rootfs.diff_ids))
    diff_ids = iter(image.config.rootfs.diff_ids)
    parent = ""
    for entry in image.config.history:
        key = keys.history(parent, entry.created_by)
        if entry.empty_layer:
            found.setdefault(key, Result(key=key, created=entry.created, description=entry.created_by, layer=True))
            continue
        chain, diff_id = next(chains, ""), next(diff_ids, "")
        if not chain:
            break
        found[key] = Result(
            key=key, created=entry.created, description=entry.created_by, chain=chain, parent=parent, diff_id=diff_id, layer=True
        )
        parent = chain
    return found
