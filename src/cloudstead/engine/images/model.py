"""The rows that images keep.

    engine.references/<full name>     "docker.io/library/debian:12" or "…@sha256:…" -> image        ReferenceRow
    engine.images/<id>                manifest, configuration, layers, sizes                        ImageRow

A row is written when every blob it speaks of is on disk and every layer is unpacked; it goes before they do.
"""

from __future__ import annotations

from cloudstead.engine.images.api import Descriptor, ImageConfig
from cloudstead.kernel.store import Row, Table


class ReferenceRow(Row, frozen=True, kw_only=True):
    name: str  # in full, with tag or digest
    image: str
    target: Descriptor  # what the name stands for: a manifest, or the index that it was found in
    tagged: float


class ImageRow(Row, frozen=True, kw_only=True):
    id: str
    manifest: Descriptor
    index: str = ""  # digest of the index it came from; kept, so that it can be asked for again
    config: ImageConfig
    layers: tuple[Descriptor, ...]
    sizes: tuple[int, ...]  # of the layers, unpacked
    created: float
    parent: str = ""
    added: float


REFERENCES = Table("engine.references", ReferenceRow, key=lambda row: (row.name,), indexes={"by_image": lambda row: (row.image, row.name)})
IMAGES = Table("engine.images", ImageRow, key=lambda row: (row.id,), indexes={"by_parent": lambda row: (row.parent, row.id)})
TABLES = (REFERENCES, IMAGES)
