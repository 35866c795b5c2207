"""Layers that come by AWS's API: in parts, each with the bytes that it is of, at least five MiB but the last.

A part that is too small is only known as such when another one follows it, and is told at the end, as AWS does. What is remembered for that is in
memory: after a restart nothing is told, and nothing is wrong with the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloudstead.engine.registry.errors import DigestInvalid, RegistryError, SizeInvalid
from cloudstead.engine.registry.model import Repository
from cloudstead.engine.registry.uploads import Uploads, one_digest

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog

PART_SIZE = 10 << 20  # what InitiateLayerUpload asks for
SMALLEST = 5 << 20
_REMEMBERED = 10_000  # uploads


class PartInvalid(SizeInvalid):
    """It does not go on where the upload stands, or is not as long as it says; `size` is what has been taken so far."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class PartTooSmall(SizeInvalid):
    """One of the parts that came before the last."""


class UploadEmpty(RegistryError):
    oci_code = "BLOB_UPLOAD_INVALID"


class LayerInvalid(DigestInvalid):
    """What came is not what its digest says."""


class LayerExists(RegistryError):
    """The repository has it already."""

    oci_code = "BLOB_UPLOAD_INVALID"


class Parts:
    """Of all repositories of a catalog. Raises what `Uploads` does, too."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._uploads = Uploads(catalog)
        self._small: dict[str, int] = {}  # upload -> where its first part that is too small ends

    def begin(self, place: Repository) -> str:
        """A new upload; its id."""
        return self._uploads.begin(place)

    async def append(self, place: Repository, upload: str, first: int, last: int, data: bytes) -> int:
        """Returns the size of the upload then.

        Raises:
            PartInvalid
        """
        # One task at a time writes to an upload; of two that come at once, the offset refuses the later one.
        size = self._uploads.size(place, upload)
        if not data or len(data) != last - first + 1:
            raise PartInvalid(f"Layer part of {len(data)} bytes is not the bytes from {first} to {last}", size)
        if first != size:
            raise PartInvalid(f"Layer part begins with byte {first}, which is not consecutive to the last one received", size)
        size = await self._uploads.append(place, upload, data, offset=first)
        if len(data) < SMALLEST and upload not in self._small:
            while len(self._small) >= _REMEMBERED:
                del self._small[next(iter(self._small))]
            self._small[upload] = size
        return size

    async def complete(self, place: Repository, upload: str, digests: Sequence[str]) -> str:
        """Make it a layer of its repository; its digest.

        Raises:
            UploadEmpty, PartTooSmall, LayerExists, LayerInvalid; DigestInvalid: what is given is no digest.
        """
        size = self._uploads.size(place, upload)
        if not size:
            raise UploadEmpty("the upload has no parts")
        if self._small.get(upload, size) < size:
            raise PartTooSmall("a part that is not the last has less than 5 MiB")
        digest = one_digest(tuple(digests))
        if self._catalog.blob(place, digest) is not None:
            await self._uploads.cancel(place, upload)
            self._small.pop(upload, None)
            raise LayerExists("the repository has this layer")
        try:
            await self._uploads.complete(place, upload, digest)
        except DigestInvalid as error:
            self._small.pop(upload, None)
            raise LayerInvalid(error.message) from None
        self._small.pop(upload, None)
        return digest
