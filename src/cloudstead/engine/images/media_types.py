"""Media types of manifests, configurations and layers: OCI image-spec, media-types.md, and Docker's own that came before."""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
OLD = frozenset({SCHEMA1, SCHEMA1_SIGNED})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)

LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"

LAYERS = frozenset(
    name + suffix
    for name, suffixes in (
        (LAYER, ("", "+gzip", "+zstd")),
        (_OCI_FOREIGN, ("", "+gzip", "+zstd")),
        (_DOCKER_LAYER, ("", ".gzip", ".zstd")),
        (_DOCKER_FOREIGN, ("", ".gzip")),
    )
    for suffix in suffixes
)
BY_COMPRESSION = {"": LAYER, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}


def is_foreign(media_type: str) -> bool:
    """A layer that its maker does not let others distribute: fetched from its URLs, never pushed."""
    return media_type.startswith((_OCI_FOREIGN, _DOCKER_FOREIGN))
