"""`docker save`: one tar that is an OCI layout and has what `docker load` of any age reads.

oci-layout, index.json       OCI image-spec, image-layout.md; the names as annotations
manifest.json, repositories  Docker's own, pointing at the same blobs
blobs/sha256/<hex>           manifests, configurations, layers as they are kept
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images import digests, manifests, media_types, tar_writer
from cloudstead.engine.images.model import ImageRow
from cloudstead.engine.images.references import Reference, try_parse
from cloudstead.engine.images.room import Room
from cloudstead.engine.tar.writer import END

NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(slots=True)
class _Saved:
    row: ImageRow
    names: list[Reference] = field(default_factory=list)


async def save(room: Room, names: tuple[str, ...]) -> AsyncIterator[bytes]:
    chosen = choose(room, names)
    blobs: dict[str, int] = {}
    for saved in chosen:
        row = saved.row
        for digest, size in _blobs_of(room, row):
            blobs.setdefault(digest, size)
    with room.content.lease(*blobs):
        yield tar_writer.folder("blobs/")
        for algorithm in sorted({digest.partition(":")[0] for digest in blobs}):
            yield tar_writer.folder(f"blobs/{algorithm}/")
        for digest, size in blobs.items():
            async for piece in tar_writer.streamed(blob_name(digest), size, room.content.stream(digest)):
                yield piece
        for name, document in _documents(chosen):
            yield tar_writer.file(name, msgspec.json.encode(document))
        yield END
    for saved in chosen:
        room.records.tell("save", saved.row.id)


def choose(room: Room, names: tuple[str, ...]) -> list[_Saved]:
    """Each image once, with the names it was asked for by; a bare repository stands for all its tags.

    Raises:
        NotFound, InvalidArgument
    """
    if not names:
        raise InvalidArgument("no image to save was named")
    found: dict[str, _Saved] = {}

    def note(row: ImageRow, reference: Reference | None) -> None:
        saved = found.setdefault(row.id, _Saved(row))
        if reference is not None and reference.tag and reference not in saved.names:
            saved.names.append(reference)

    for name in names:
        reference = try_parse(name)
        if reference is not None and not reference.tag and not reference.digest and _note_tags(room, reference, note):
            continue
        row = room.records.find(name)
        named = reference is not None and room.records.named(reference) is not None and not reference.digest
        note(row, reference.with_default_tag() if reference is not None and named else None)
    return list(found.values())


def _note_tags(room: Room, repository: Reference, note: Any) -> bool:
    any_found = False
    for kept in room.records.targets():
        reference = try_parse(kept.name)
        if reference is not None and reference.name == repository.name and reference.tag:
            note(room.records.require(kept.image), reference)
            any_found = True
    return any_found


def _blobs_of(room: Room, row: ImageRow) -> list[tuple[str, int]]:
    wanted = [row.manifest.digest, row.id, *(layer.digest for layer in row.layers)]
    found = []
    for digest in wanted:
        size = room.content.size(digest)
        if size is None:
            raise InvalidArgument(f"image {digests.short(row.id)} cannot be saved: its blob {digest} is not here")
        found.append((digest, size))
    return found


def _documents(chosen: list[_Saved]) -> list[tuple[str, Any]]:
    index: list[dict[str, Any]] = []
    old: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for saved in chosen:
        row = saved.row
        target = replace(row.manifest, platform=manifests.platform_of(row.config), annotations={})
        for reference in saved.names:
            noted = replace(target, annotations={NAME: reference.full, REF_NAME: reference.tag})
            index.append(manifests.encode_descriptor(noted))
            last = row.layers[-1].digest if row.layers else row.id
            repositories.setdefault(reference.familiar_name, {})[reference.tag] = digests.split(last)[1]
        if not saved.names:
            index.append(manifests.encode_descriptor(target))
        old.append(
            {
                "Config": blob_name(row.id),
                "RepoTags": [each.familiar for each in saved.names] or None,
                "Layers": [blob_name(layer.digest) for layer in row.layers],
            }
        )
    return [
        ("index.json", {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": index}),
        ("manifest.json", old),
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ("repositories", repositories),
    ]


def blob_name(digest: str) -> str:
    return "blobs/" + "/".join(digests.split(digest))
