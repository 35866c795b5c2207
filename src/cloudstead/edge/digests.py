"""What an upload to S3 says of its own bytes, checked: Content-MD5 and x-amz-checksum-<algorithm>.

A body that is all there is checked at once, one that streams as it passes: the reader then fails where the body ends.
The checksums of aws-chunked bodies stand in their trailers: chunked.py checks those.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator

from cloudstead.edge import checksums
from cloudstead.edge.checksums import Checksum
from cloudstead.edge.sigv4_errors import ChecksumMismatch, DigestMalformed
from cloudstead.http.messages import HttpRequest

THREAD_FROM = 64 << 10  # bytes; sums over longer pieces are made on another thread

Claim = tuple[str, Checksum, str]  # what it is called in the error, the sum so far, the base64 that it must have


def claims(request: HttpRequest) -> list[Claim]:
    """What is said of this request's body; nothing where the headers speak of something else, as when parts become an object.

    Raises:
        DigestMalformed: Content-MD5 is no MD5.
    """
    index = request.headers.index()
    if request.method != "PUT" and not (request.method == "POST" and "delete" in request.query.replace("=", "&").split("&")):
        return []
    if index.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return []
    found: list[Claim] = []
    md5 = index.get("content-md5")
    if md5 is not None:
        if not _is_md5(md5):
            raise DigestMalformed()
        found.append(("Content-MD5", hashlib.md5(usedforsecurity=False), md5))
    for name, value in index.items():
        if name[:15] == "x-amz-checksum-" and (checksum := checksums.start(name[15:])) is not None:
            found.append((name[15:].upper(), checksum, value))
    return found


async def check(claimed: list[Claim], body: bytes) -> None:
    """
    Raises:
        ChecksumMismatch
    """
    await _update(claimed, body)
    _compare(claimed)


async def checked(claimed: list[Claim], source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces.

    Raises:
        ChecksumMismatch: at the end.
    """
    async for piece in source:
        await _update(claimed, piece)
        yield piece
    _compare(claimed)


async def _update(claimed: list[Claim], piece: bytes) -> None:
    for _, checksum, _ in claimed:
        if len(piece) < THREAD_FROM:
            checksum.update(piece)
        else:
            await asyncio.to_thread(checksum.update, piece)


def _compare(claimed: list[Claim]) -> None:
    for name, checksum, value in claimed:
        if checksums.encoded(checksum) == value.strip():
            continue
        if name == "Content-MD5":
            raise ChecksumMismatch("The Content-MD5 you specified did not match what we received.")
        raise ChecksumMismatch(f"The {name} you specified did not match the calculated checksum.")


def _is_md5(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
