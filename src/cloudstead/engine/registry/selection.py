"""What a pair of digest and tag stands for in a repository, and AWS's words for one that stands for nothing.

ECR and ECR Public name images in the same way and refuse in the same words; their APIs have structures of their own.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.model import ImageRow, Repository

TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,299}")
DIGEST = re.compile(r"[a-zA-Z0-9\-_+.]+:[a-fA-F0-9]+")

_MOST_SEEN = 10_000  # images that are looked at for one size: indexes may speak of others without end, and of each as often as they like

Code: TypeAlias = Literal[
    "InvalidImageDigest", "InvalidImageTag", "ImageTagDoesNotMatchDigest", "ImageNotFound", "MissingDigestAndTag", "ImageReferencedByManifestList"
]  # fmt: skip


class Found(NamedTuple):
    """An image, and the tag by which it was asked for; empty: by its digest."""

    image: ImageRow
    tag: str


class NotFound(NamedTuple):
    code: Code
    reason: str

    @property
    def invalid(self) -> bool:
        """The request is wrong in itself, whatever there is."""
        return self.code in ("MissingDigestAndTag", "InvalidImageDigest", "InvalidImageTag")

    @property
    def constraint(self) -> str:
        """What an operation on one image says that the request does not keep to."""
        return self.reason.removeprefix("Invalid request parameters: ")


def look_up(catalog: Catalog, place: Repository, digest: str | None, tag: str | None) -> Found | NotFound:
    if not digest and not tag:
        return NotFound("MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null")
    if digest and not DIGEST.fullmatch(digest):
        rule = "image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"
        return NotFound("InvalidImageDigest", f"Invalid request parameters: {rule}")
    if tag and not TAG.fullmatch(tag):
        return NotFound("InvalidImageTag", f"Invalid request parameters: image tag should satisfy the regex '{TAG.pattern}'")
    image = catalog.image(place, digest) if digest else catalog.resolve(place, tag or "")
    standing = catalog.tag(place, tag) if tag else None
    if image is None or (tag and standing is None):
        return NotFound("ImageNotFound", "Requested image not found")
    if standing is not None and standing.digest != image.digest:
        return NotFound("ImageTagDoesNotMatchDigest", "Requested image tag does not match the requested image digest")
    return Found(image, tag or "")


def shown(digest: str | None, tag: str | None) -> str:
    """As AWS's sentences have it."""
    return f"{{imageDigest:'{digest or 'null'}', imageTag:'{tag or 'null'}'}}"


def size_of(catalog: Catalog, image: ImageRow) -> int:
    """imageSizeInBytes: of its layers as they are stored; of an index, those of its largest image."""
    largest, seen, open_ = 0, {image.digest}, [image]
    while open_:
        one = open_.pop()
        if not one.is_index:
            largest = max(largest, sum(layer.size for layer in one.layers))
        for child in one.children:
            if child.digest in seen or len(seen) == _MOST_SEEN:
                continue
            seen.add(child.digest)
            found = catalog.image(image.place, child.digest)
            if found is not None:
                open_.append(found)
    return largest
