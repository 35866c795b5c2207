"""Uploads to S3 whose bytes are not those that their headers describe."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib

import pytest

from cloudstead.edge.sigv4_errors import ChecksumMismatch, DigestMalformed
from cloudstead.edge.verified import as_described
from cloudstead.http.messages import Headers, HttpRequest

DATA = b"a body of some length" * 10_000
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
CRC32 = base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
SHA256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
RIGHT = [("Content-MD5", MD5), ("x-amz-checksum-crc32", CRC32), ("x-amz-checksum-sha256", SHA256)]


def upload(*headers: tuple[str, str], method: str = "PUT", target: str = "/bucket/key", body: bytes = DATA) -> HttpRequest:
    return HttpRequest.of(method, target, headers, body)


def taken(request: HttpRequest, *, streams: bool) -> bytes:
    """What the reader behind the edge gets."""

    async def take() -> bytes:
        described = await as_described(request, None if streams else await request.read())
        return await described.read()

    return asyncio.run(take())


@pytest.mark.parametrize("streams", [False, True])
def test_a_body_that_is_as_described_passes_unchanged(streams: bool) -> None:
    assert taken(upload(*RIGHT), streams=streams) == DATA


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_a_body_that_is_not_as_described_is_refused(name: str, value: str, streams: bool) -> None:
    called = "Content-MD5" if name == "Content-MD5" else name[15:].upper()
    with pytest.raises(ChecksumMismatch, match=f"The {called} you specified did not match"):
        taken(upload((name, value), body=DATA + b"."), streams=streams)


class InPieces:
    """A body that comes in three pieces."""

    def __init__(self) -> None:
        self.trailers: list[tuple[str, str]] = []
        self._pieces = [DATA[:1000], DATA[1000:2000], DATA[2000:]]

    async def next(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


@pytest.mark.parametrize(("crc32", "seen"), [(CRC32, 3), ("AAAAAA==", 2)])
def test_who_reads_a_stream_does_not_get_all_of_a_body_that_is_refused(crc32: str, seen: int) -> None:
    request = HttpRequest("PUT", "/bucket/key", Headers([("x-amz-checksum-crc32", crc32)]), InPieces(), content_length=len(DATA))
    pieces: list[bytes] = []

    async def read() -> None:
        async for piece in (await as_described(request, None)).stream():
            pieces.append(piece)

    if seen == 3:
        asyncio.run(read())
    else:
        with pytest.raises(ChecksumMismatch):
            asyncio.run(read())
    assert pieces == [DATA[:1000], DATA[1000:2000], DATA[2000:]][:seen]


@pytest.mark.parametrize("md5", ["", "no base64!", "c2hvcnQ="])
def test_a_content_md5_that_is_none_is_refused(md5: str) -> None:
    with pytest.raises(DigestMalformed):
        taken(upload(("Content-MD5", md5)), streams=False)


def test_the_checksum_of_an_object_made_of_parts_is_not_the_checksum_of_the_list_of_parts() -> None:
    request = upload(("x-amz-checksum-crc32", "AAAAAA=="), method="POST", target="/bucket/key?uploadId=1", body=b"<xml/>")
    assert taken(request, streams=False) == b"<xml/>"
    with pytest.raises(ChecksumMismatch):
        taken(upload(("x-amz-checksum-crc32", "AAAAAA=="), method="POST", target="/bucket?delete"), streams=False)
