"""Manifests in the other format, for a client that does not understand the stored one: Docker's schema 2 and OCI's say the same in other words.

As on AWS only what is asked for by tag is converted: whoever names a digest wants these bytes. Indexes are not, because the digests in them are those of
manifests as they are stored; nor are images with layers or a configuration for which the other format has no media type.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-manifest-formats.html
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from cloudstead.engine.images.media_types import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    OCI_CONFIG,
    OCI_MANIFEST,
)

_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_TO_OCI = {
    DOCKER_CONFIG: OCI_CONFIG,
    _DOCKER_LAYER: LAYER,
    f"{_DOCKER_LAYER}.gzip": LAYER_GZIP,
    f"{_DOCKER_LAYER}.zstd": LAYER_ZSTD,
}
_TO_DOCKER = {oci: docker for docker, oci in _TO_OCI.items()}
_OTHER = {OCI_MANIFEST: (DOCKER_MANIFEST, _TO_DOCKER), DOCKER_MANIFEST: (OCI_MANIFEST, _TO_OCI)}


def converted(manifest: bytes, media_type: str, accepted: Collection[str]) -> tuple[bytes, str] | None:
    """The manifest and its media type in the other format; None: it is not accepted either, or cannot say the same."""
    wanted, names = _OTHER.get(media_type, ("", {}))
    if wanted not in accepted:
        return None
    document: dict[str, Any] = msgspec.json.decode(manifest)
    if document.get("subject") is not None or document.get("artifactType") is not None:
        return None  # Docker's format has neither
    document["mediaType"] = wanted
    for each in (document["config"], *(document.get("layers") or ())):
        name = names.get(each["mediaType"])
        if name is None:
            return None
        each["mediaType"] = name
    return msgspec.json.encode(document), wanted
