"""aws-chunked bodies: chunks that each carry a signature, and trailers with a checksum of the whole.

    <hex size>[;chunk-signature=<hex>]\\r\\n<data>\\r\\n … 0[;chunk-signature=<hex>]\\r\\n[<name>:<value>\\r\\n …][x-amz-trailer-signature:<hex>\\r\\n]\\r\\n

Each chunk's signature covers the one before it, the first the request's own ("seed"). Bytes are handed on as they come, in flat memory, with the
last piece of every chunk held until the chunk's signature is right. So whoever stores them must not count them as stored before the iteration has
ended without an exception: what fails last is the length, the trailers' signature and the checksum.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and .../sigv4-streaming-trailers.html
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from typing import Final

from cloudstead.edge import checksums
from cloudstead.edge.sigv4 import EMPTY_SHA256, S3_MISMATCH, Signature, signing_key
from cloudstead.edge.sigv4_errors import (
    ChecksumMismatch,
    ChunkMalformed,
    ContentHashMismatch,
    MissingDecodedLength,
    PayloadHashInvalid,
    TrailerMalformed,
    UnsupportedSignature,
)
from cloudstead.http.messages import Headers, HttpRequest
from cloudstead.kernel.errors import BadSignature

SIGNED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

LINE_LIMIT: Final = 1024  # bytes of a chunk's header
TRAILER_LIMIT: Final = 16 << 10  # bytes of all trailers
THREAD_FROM: Final = 128 << 10  # bytes; sums over longer pieces are made on another thread
SLOW_THREAD_FROM: Final = 2 << 10  # the same for the checksums that are made in Python

_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")


class ChunkedBody:
    """The decoded bytes of an aws-chunked body: iterate once. `trailers` is complete when the iteration has ended."""

    def __init__(
        self,
        source: AsyncIterator[bytes],
        *,
        signature: Signature,
        key: bytes,
        length: int,
        checksum: str = "",
        declared: tuple[str, ...] = (),
    ) -> None:
        """
        Args:
            source: the body as it came.
            key: the signing key; not used for unsigned payloads.
            length: x-amz-decoded-content-length.
            checksum: the algorithm of the checksum among the trailers, if there is one.
            declared: the names in x-amz-trailer, in lower case.
        """
        self._reader = _Reader(source)
        self._signature = signature
        self._key = key
        self._signed = signature.payload != UNSIGNED_TRAILER
        self._previous = signature.signature
        self._checksum_name = checksum
        self._checksum = checksums.start(checksum)
        self._declared = declared
        self.length = length
        self.trailers = Headers()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader, total = self._reader, 0
        while True:
            size, claimed = self._header(await reader.line())
            total += size
            if total > self.length:
                raise ChunkMalformed("The body is longer than x-amz-decoded-content-length says.")
            digest, held, left = hashlib.sha256(), b"", size
            while left:
                if held:
                    yield held
                held = await reader.some(left)
                left -= len(held)
                await self._sum(digest, held)
            if self._signed:
                self._check_chunk(claimed, digest.hexdigest())
            if not size:
                break
            if await reader.line():
                raise ChunkMalformed("A chunk is longer than its size.")
            yield held
        self._check_trailers(await reader.rest())
        if total != self.length:
            raise ChunkMalformed("The body is shorter than x-amz-decoded-content-length says.")

    def _header(self, line: bytes) -> tuple[int, str]:
        match = _CHUNK.fullmatch(line)
        if match is None or (match[2] is None) is self._signed:
            raise ChunkMalformed("A chunk's header cannot be read.")
        return int(match[1], 16), (match[2] or b"").decode()

    async def _sum(self, digest: checksums.Checksum, piece: bytes) -> None:
        slow = isinstance(self._checksum, checksums.TableCrc)
        if len(piece) < (SLOW_THREAD_FROM if slow else THREAD_FROM):
            self._add(digest, piece)
        else:
            await asyncio.to_thread(self._add, digest, piece)

    def _add(self, digest: checksums.Checksum, piece: bytes) -> None:
        if self._signed:
            digest.update(piece)
        if self._checksum is not None:
            self._checksum.update(piece)

    def _check_chunk(self, claimed: str, digest: str) -> None:
        self._check("AWS4-HMAC-SHA256-PAYLOAD", f"{EMPTY_SHA256}\n{digest}", claimed)
        self._previous = claimed

    def _check(self, kind: str, hashes: str, claimed: str) -> None:
        signature = self._signature
        text = f"{kind}\n{signature.timestamp}\n{signature.scope}\n{self._previous}\n{hashes}"
        expected = hmac.digest(self._key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), claimed.encode("utf-8", "replace")):
            raise BadSignature(S3_MISMATCH)

    def _check_trailers(self, data: bytes) -> None:
        fields: dict[str, str] = {}
        for line in data.split(b"\n"):
            line = line.rstrip(b"\r")
            if not line:
                continue
            name, colon, value = line.decode("latin-1").partition(":")
            name = name.lower()
            if not colon or name in fields:
                raise TrailerMalformed()
            fields[name] = value.strip(" \t")
        claimed = fields.pop("x-amz-trailer-signature", None)
        if tuple(fields) != self._declared and sorted(fields) != sorted(self._declared):
            raise TrailerMalformed()
        if self._signature.payload == SIGNED_TRAILER:
            canonical = "".join([f"{name}:{value}\n" for name, value in fields.items()])
            self._check("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(canonical.encode("latin-1")).hexdigest(), claimed or "")
        elif claimed is not None:
            raise TrailerMalformed()
        if self._checksum is not None and checksums.encoded(self._checksum) != fields[f"x-amz-checksum-{self._checksum_name}"]:
            raise ChecksumMismatch(f"The {self._checksum_name.upper()} you specified did not match the calculated checksum.")
        self.trailers = Headers(fields.items())


class _Reader:
    """Lines and counted bytes from a stream of pieces."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._piece = b""
        self._at = 0

    async def _more(self) -> bool:
        """Whether another piece came; there is none left over when this is called."""
        self._piece, self._at = b"", 0
        async for piece in self._source:
            if piece:
                self._piece = piece
                return True
        return False

    async def line(self) -> bytes:
        """Up to the next CRLF, without it."""
        line = b""
        while not line.endswith(b"\n"):
            if self._at >= len(self._piece) and not await self._more():
                raise ChunkMalformed()
            end = self._piece.find(b"\n", self._at, self._at + LINE_LIMIT) + 1
            found = self._piece[self._at : end or self._at + LINE_LIMIT]
            self._at += len(found)
            line += found
            if len(line) > LINE_LIMIT:
                raise ChunkMalformed("A chunk's header is too long.")
        if not line.endswith(b"\r\n"):
            raise ChunkMalformed("A chunk's header does not end in CRLF.")
        return line[:-2]

    async def some(self, most: int) -> bytes:
        """Between one and `most` bytes."""
        if self._at >= len(self._piece) and not await self._more():
            raise ChunkMalformed()
        found = self._piece[self._at : self._at + most]
        self._at += len(found)
        return found

    async def rest(self) -> bytes:
        """All that is left."""
        found = self._piece[self._at :]
        while len(found) <= TRAILER_LIMIT and await self._more():
            found += self._piece
        if len(found) > TRAILER_LIMIT:
            raise TrailerMalformed()
        return found


def decode(request: HttpRequest, signature: Signature, secret: str) -> ChunkedBody:
    """The body of a request whose own signature has been verified and is `signature.streaming`.

    Raises:
        UnsupportedSignature, MissingDecodedLength, TrailerMalformed, PayloadHashInvalid: before a byte is read.
    """
    mode = signature.payload
    if "ECDSA" in mode:
        raise UnsupportedSignature(f"Cloudstead does not verify SigV4a signatures. Please use {SIGNED}.")
    if mode not in (SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER):
        raise PayloadHashInvalid(f"x-amz-content-sha256 must be UNSIGNED-PAYLOAD, {SIGNED}, or a valid sha256 value.")
    length = request.headers.get("x-amz-decoded-content-length") or ""
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise MissingDecodedLength()
    declared: tuple[str, ...] = ()
    if mode != SIGNED:
        values = ",".join(request.headers.get_all("x-amz-trailer"))
        declared = tuple(name for part in values.split(",") if (name := part.strip().lower()))
    checksum = ""
    for name in declared:
        if name.startswith("x-amz-checksum-"):
            if checksum or name[15:] not in checksums.ALGORITHMS:
                raise TrailerMalformed(f"The value specified in the x-amz-trailer header is not supported: {name}")
            checksum = name[15:]
    key = signing_key(secret, signature.date, signature.region, signature.service)
    return ChunkedBody(request.stream(), signature=signature, key=key, length=int(length), checksum=checksum, declared=declared)


async def checked(source: AsyncIterator[bytes], sha256: str) -> AsyncIterator[bytes]:
    """A body that is hashed while it passes.

    Raises:
        ContentHashMismatch: at its end.
    """
    digest = hashlib.sha256()
    async for piece in source:
        if len(piece) < THREAD_FROM:
            digest.update(piece)
        else:
            await asyncio.to_thread(digest.update, piece)
        yield piece
    if not hmac.compare_digest(digest.hexdigest().encode(), sha256.encode()):
        raise ContentHashMismatch()
