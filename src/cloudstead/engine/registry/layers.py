"""Layers as AWS's APIs have them: looked for by digest, and sent in parts, each with the bytes that it is of.

ECR and ECR Public do the same and refuse in the same words; their APIs have structures of their own. The uploads are those of the registry protocol
(`Uploads`). Two things are known here that the protocol does not ask for: every part but the last has at least five MiB, and there are so many parts
at most. A part that is too small is only known as such when another one follows it, and is told at the end, as AWS does. What is remembered for that
is in memory: after a restart nothing is told, and nothing is wrong with the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from cloudstead.engine.errors import EngineError, InvalidArgument, NoSpace
from cloudstead.engine.images import digests
from cloudstead.engine.registry.errors import (
    DigestInvalid,
    NameUnknown,
    RangeInvalid,
    RegistryError,
    SizeInvalid,
    TooManyRequests,
    UploadBusy,
    UploadUnknown,
)
from cloudstead.engine.registry.model import IMAGES, ImageRow, Repository
from cloudstead.engine.registry.uploads import Uploads, one_digest

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog

PART_SIZE: Final = 10 << 20  # what InitiateLayerUpload asks for; the model of UploadLayerPart takes twice as much
SMALLEST: Final = 5 << 20
MOST_IMAGES: Final = 1000  # that are looked at for one that is active
_REMEMBERED: Final = 10_000  # uploads

Code: TypeAlias = Literal["MissingLayerDigest", "InvalidLayerDigest"]


# looked for


class Known(NamedTuple):
    """What a repository has of a digest, for BatchCheckLayerAvailability."""

    availability: Literal["AVAILABLE", "UNAVAILABLE", "ARCHIVED"]
    size: int | None = None
    media_type: str | None = None  # as an image calls it; before there is one, nobody knows


class NoDigest(NamedTuple):
    code: Code
    reason: str


def look_up(catalog: Catalog, place: Repository, digest: str) -> Known | NoDigest:
    """Whether a layer need not be uploaded. One that is here stays for the image that is being pushed."""
    if not digest:
        return NoDigest("MissingLayerDigest", "Layer digest is missing")
    try:
        digests.require(digest)
    except InvalidArgument:
        return NoDigest("InvalidLayerDigest", f"Invalid layer digest '{digest}'")
    blob = catalog.blob(place, digest)
    if blob is None:
        return Known("UNAVAILABLE")
    catalog.claim(blob)
    images = images_with(catalog, place, digest)
    archived = bool(images) and not any(image.status == "ACTIVE" for image in images)
    media_type = next((each.media_type for image in images for each in image.blobs if each.digest == digest), None)
    return Known("ARCHIVED" if archived else "AVAILABLE", blob.size, media_type)


def images_with(catalog: Catalog, place: Repository, digest: str) -> list[ImageRow]:
    """Those of a repository that speak of a blob."""
    return catalog.store.table(IMAGES).scan((*place, digest), index="by_blob", limit=MOST_IMAGES)


# sent in parts


class PartInvalid(SizeInvalid):
    """It does not go on where the upload stands, or is not as long as it says; `size` is what has been taken so far."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size

    @property
    def last_byte(self) -> int | None:
        return self.size - 1 if self.size else None


class PartTooSmall(SizeInvalid):
    """One of the parts that came before the last."""


class TooManyParts(TooManyRequests):
    pass


class UploadEmpty(RegistryError):
    oci_code = "BLOB_UPLOAD_INVALID"


class LayerInvalid(DigestInvalid):
    """What came is not what its digest says."""


class LayerExists(RegistryError):
    """The repository has it already."""

    oci_code = "BLOB_UPLOAD_INVALID"


@dataclass(slots=True)
class _Sent:
    """Of one upload."""

    parts: int = 0
    small: int = 0  # where its first part that is too small ends; 0: there is none


class Parts:
    """Of all repositories of a catalog. Raises what `Uploads` does, too. An id is an id in upper case as well."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._uploads = Uploads(catalog)
        self._sent: dict[str, _Sent] = {}

    def begin(self, place: Repository) -> str:
        """A new upload; its id."""
        return self._uploads.begin(place)

    async def append(self, place: Repository, upload: str, first: int, last: int, data: bytes, *, most: int) -> int:
        """Returns the size of the upload then.

        Args:
            most: so many parts an upload may have.

        Raises:
            PartInvalid, TooManyParts
        """
        upload = upload.lower()
        size = self._uploads.size(place, upload)
        if not data or len(data) != last - first + 1:
            raise PartInvalid(f"Layer part of {len(data)} bytes is not the bytes from {first} to {last}", size)
        sent = self._sent.get(upload, _Sent())
        if sent.parts >= most:
            raise TooManyParts(f"The maximum number of layer parts of {most} has been reached")
        try:
            # One task at a time writes to an upload; of two that come at once, the offset refuses the later one.
            size = await self._uploads.append(place, upload, data, offset=first)
        except RangeInvalid:
            size = self._uploads.size(place, upload)
            raise PartInvalid(f"Layer part begins with byte {first}, which is not consecutive to the last one received", size) from None
        sent.parts += 1
        if len(data) < SMALLEST and not sent.small:
            sent.small = size
        self._remember(upload, sent)
        return size

    def _remember(self, upload: str, sent: _Sent) -> None:
        if upload not in self._sent and len(self._sent) >= _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        self._sent[upload] = sent

    async def complete(self, place: Repository, upload: str, given: Sequence[str]) -> str:
        """Make it a layer of its repository; its digest.

        Args:
            given: the digest that it must have. Of several, in whatever spelling, all must be the same.

        Raises:
            UploadEmpty, PartTooSmall, LayerExists, LayerInvalid; DigestInvalid: what is given is no digest.
        """
        upload = upload.lower()
        digest = one_digest(tuple(each.lower() for each in given))
        size = self._uploads.size(place, upload)
        if not size:
            raise UploadEmpty("the upload has no parts")
        if 0 < self._sent.get(upload, _Sent()).small < size:
            raise PartTooSmall("a part that is not the last has less than 5 MiB")
        if self._catalog.blob(place, digest) is not None:
            await self._uploads.cancel(place, upload)
            self._sent.pop(upload, None)
            raise LayerExists("the repository has this layer")
        try:
            await self._uploads.complete(place, upload, digest)
        except DigestInvalid as error:
            self._sent.pop(upload, None)
            raise LayerInvalid(error.message) from None
        self._sent.pop(upload, None)
        return digest


def sentence(error: EngineError, *, account: str, name: str, upload: str, digest: str = "") -> str:
    """What AWS says when it refuses a part or the end of an upload."""
    where = f"in the repository with name '{name}' in registry with id '{account}'"
    match error:
        case UploadUnknown():
            return f"Upload with id '{upload}' could not be found for the repository with name '{name}' in the registry with id '{account}'"
        case PartInvalid():
            return (
                f"Invalid layer part upload for upload with id '{upload}' in the repository with name '{name}' "
                f"in the registry with id '{account}'"
            )
        case UploadEmpty():
            return f"The upload with id '{upload}' {where} cannot be completed because it does not have any parts"
        case PartTooSmall():
            return "All layer parts except the last part should be at least 5MB"
        case LayerExists():
            return f"The layer with digest '{digest}' already exists {where}"
        case LayerInvalid():
            return f"The digest of the layer uploaded with id '{upload}' {where} does not match the digest '{digest}'"
        case DigestInvalid():
            return f"Invalid parameter at 'layerDigests' failed to satisfy constraint: '{error.message}'"
        case UploadBusy():
            return f"Upload with id '{upload}' is being written to by another request"
        case NameUnknown():
            return f"The repository with name '{name}' does not exist in the registry with id '{account}'"
        case NoSpace():
            return "There is no space left on the device."
        case _:
            return error.message
