"""Blobs on their way into a repository: begun, sent in parts, completed or cancelled. The protocol and the services' own APIs use the same ones.

An upload is a file of the content store and nothing else: there is no row to write when it begins, and a restart finds it where it was. Its id is a
UUID; the file is named after its repository too, so an id that somebody learns is worth nothing in another repository. One task writes to it at a time.

What a client that vanishes has sent stays, to be gone on with at the size that `size` tells; the content store drops what nobody goes on with.
"""

from __future__ import annotations

import functools
import hashlib
import re
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeAlias

from cloudstead.engine.errors import Conflict, InvalidArgument
from cloudstead.engine.images import digests
from cloudstead.engine.images.ingest import DigestMismatch, Ingest
from cloudstead.engine.registry.errors import DigestInvalid, RangeInvalid, UploadBusy, UploadUnknown
from cloudstead.engine.registry.model import Repository

if TYPE_CHECKING:
    from cloudstead.engine.registry.catalog import Catalog

Data: TypeAlias = bytes | AsyncIterator[bytes] | AsyncIterator[list[bytes]]

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ALGORITHMS_KEPT = 1000


class Uploads:
    """Of all repositories of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._content = catalog.content
        self._algorithms: dict[str, str] = {}  # of uploads that said one; a forgotten one is hashed once more at its end

    def begin(self, place: Repository, algorithm: str = "sha256") -> str:
        """A new upload; its id."""
        upload = str(uuid.uuid4())
        key = _key(place, upload)
        self._content.begin_upload(key)
        if algorithm != "sha256":
            if len(self._algorithms) >= _ALGORITHMS_KEPT:
                self._algorithms.clear()
            self._algorithms[key] = algorithm
        return upload

    def size(self, place: Repository, upload: str) -> int:
        """How many bytes of it are here. Raises UploadUnknown."""
        size = self._content.upload_size(self._known(place, upload))
        if size is None:
            raise _unknown(upload)
        return size

    async def append(self, place: Repository, upload: str, data: Data, *, offset: int | None = None) -> int:
        """Add to its end; returns its size then.

        Args:
            offset: where the data belongs; None: wherever the upload stands.

        Raises:
            UploadUnknown; RangeInvalid: it stands elsewhere; UploadBusy: somebody else is writing to it; NoSpace; whatever `data` raises. What came
            before stays.
        """
        ingest = await self._open(place, upload, "")
        try:
            await _write(ingest, data, offset)
            await ingest.written()
        finally:
            await ingest.pause()
        return ingest.offset

    async def complete(self, place: Repository, upload: str, *given: str, data: Data = b"", offset: int | None = None) -> tuple[str, int]:
        """Make it a blob of its repository; digest and size.

        Args:
            given: the digest that the whole must have. Of several, all must be the same one.
            data: what is still to be added, as with `append`.

        Raises:
            DigestInvalid: the content has another digest, and the upload is gone; or none is given that could be one, and it is left as it was.
            And as `append`.
        """
        digest = one_digest(given)
        ingest = await self._open(place, upload, digests.split(digest)[0])
        try:
            await _write(ingest, data, offset)
            with self._content.lease(digest):
                await _commit(ingest, digest)
                self._algorithms.pop(ingest.key, None)
                await self._catalog.link(place, (digest, ingest.offset))
        finally:
            await ingest.pause()
        return digest, ingest.offset

    async def whole(self, place: Repository, digest: str, data: Data) -> int:
        """A blob in one go, without an upload that could be gone on with; its size. Raises as `complete`."""
        one_digest((digest,))
        with self._content.lease(digest):
            async with self._content.ingest(algorithm=digests.split(digest)[0]) as ingest:
                await _write(ingest, data, None)
                await _commit(ingest, digest)
            await self._catalog.link(place, (digest, ingest.offset))
        return ingest.offset

    async def adopt(self, place: Repository, digest: str, size: int) -> None:
        """A blob that the content store has already, and that whoever pushes it holds; raises BlobUnknown when it has not."""
        await self._catalog.link(place, (digest, size))

    async def cancel(self, place: Repository, upload: str) -> None:
        """Nothing of it stays. Raises UploadUnknown, UploadBusy."""
        ingest = await self._open(place, upload, "")
        self._algorithms.pop(ingest.key, None)
        await ingest.discard()

    def _known(self, place: Repository, upload: str) -> str:
        """Its key. Raises UploadUnknown: it cannot be an id."""
        if not _ID.fullmatch(upload):
            raise _unknown(upload)
        return _key(place, upload)

    async def _open(self, place: Repository, upload: str, algorithm: str) -> Ingest:
        key = self._known(place, upload)
        if self._content.upload_size(key) is None:
            raise _unknown(upload)
        try:
            # Nothing waits between the look above and its being taken in here: it cannot end meanwhile.
            return await self._content.open_ingest(key, algorithm=self._algorithms.get(key) or algorithm or "sha256")
        except Conflict:
            raise UploadBusy("blob upload invalid: another request is writing to this upload") from None


async def _write(ingest: Ingest, data: Data, offset: int | None) -> None:
    if offset is not None and offset != ingest.offset:
        raise RangeInvalid(f"blob upload invalid: the next byte is {ingest.offset}, not {offset}", detail={"offset": ingest.offset})
    if isinstance(data, bytes):
        if data:
            await ingest.write(data)
        return
    async for piece in data:
        await (ingest.write_all(piece) if isinstance(piece, list) else ingest.write(piece))


async def _commit(ingest: Ingest, digest: str) -> None:
    try:
        await ingest.commit(digest)
    except DigestMismatch as error:
        await ingest.discard()
        raise DigestInvalid(f"provided digest did not match uploaded content: {error.message}", detail={"digest": digest}) from None


def one_digest(given: tuple[str, ...]) -> str:
    """The digest that all of them are. Raises DigestInvalid."""
    if not given or any(each != given[0] for each in given):
        raise DigestInvalid("one digest must be given" if not given else "the digests given are not the same")
    try:
        return digests.require(given[0])
    except InvalidArgument as error:
        raise DigestInvalid(f"{error.message}: {given[0][:160]!r}") from None


def _unknown(upload: str) -> UploadUnknown:
    return UploadUnknown("blob upload unknown to registry", detail={"upload": upload[:64]})


def _key(place: Repository, upload: str) -> str:
    return f"{_prefix(place)}-{upload}"


@functools.lru_cache(1024)
def _prefix(place: Repository) -> str:
    return hashlib.sha256("\0".join(place).encode()).hexdigest()[:16]
