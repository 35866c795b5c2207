"""aws-chunked bodies: AWS's documented examples, what botocore sends, and every way to tamper with them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import io
import zlib
from collections.abc import AsyncIterator, Iterator

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum, Sha256Checksum
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.edge import checksums, chunked
from cloudstead.edge.sigv4 import parse_authorization, signing_key, verify
from cloudstead.edge.sigv4_claims import Signature
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
from cloudstead.kernel.errors import AuthenticationError, BadSignature

# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and .../sigv4-streaming-trailers.html: 65 KiB of "a", 2013-05-24T00:00:00Z
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = 1369353600.0
DATA = b"a" * 66560
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
CHUNKS = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
TRAILER_CHUNKS = (
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)
TRAILER_SIGNATURE = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"


def documented_request(seed: str, mode: str) -> HttpRequest:
    signed = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer"
    if mode == chunked.SIGNED:
        signed = signed.removesuffix(";x-amz-trailer").replace(";host", ";content-length;host")
    headers = [
        ("Host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("Authorization", f"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},Signature={seed}"),
        ("x-amz-content-sha256", mode),
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ]  # fmt: skip
    headers.append(("Content-Length", "66824") if mode == chunked.SIGNED else ("x-amz-trailer", "x-amz-checksum-crc32c"))
    return HttpRequest.of("PUT", "/examplebucket/chunkObject.txt", headers)


def documented_body(signatures: tuple[str, ...], tail: str = "") -> bytes:
    first, second, last = signatures
    return b"".join(
        [
            f"10000;chunk-signature={first}\r\n".encode(), DATA[:65536], b"\r\n",
            f"400;chunk-signature={second}\r\n".encode(), DATA[65536:], b"\r\n",
            f"0;chunk-signature={last}\r\n".encode(), tail.encode(), b"\r\n",
        ]
    )  # fmt: skip


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


class Pieces:
    """A body that comes in pieces of one size."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = pieces(data, size)
        self.trailers: list[tuple[str, str]] = []

    async def next(self) -> bytes:
        return next(self._pieces, b"")


def read(request: HttpRequest, body: bytes, size: int = 1000) -> tuple[bytes, Headers]:
    """What an upload that arrives in pieces of `size` decodes to."""

    async def run() -> tuple[bytes, Headers]:
        signature = parse_authorization(request)
        assert signature is not None
        assert signature.streaming
        request.body = Pieces(body, size)
        decoded = chunked.decode(request, signature, SECRET)
        return b"".join([piece async for piece in decoded]), decoded.trailers

    return asyncio.run(run())


@pytest.mark.parametrize("size", [1, 7, 1000, 65536, 1 << 20])
def test_the_documented_signed_upload(size: int) -> None:
    request = documented_request(SEED, chunked.SIGNED)
    signature = parse_authorization(request)
    assert signature is not None
    verify(request, signature, SECRET, None, NOW)
    assert read(request, documented_body(CHUNKS), size) == (DATA, Headers())


@pytest.mark.parametrize("size", [1, 7, 1000, 65536, 1 << 20])
def test_the_documented_upload_with_a_signed_trailer(size: int) -> None:
    request = documented_request(TRAILER_SEED, chunked.SIGNED_TRAILER)
    signature = parse_authorization(request)
    assert signature is not None
    verify(request, signature, SECRET, None, NOW)
    body = documented_body(TRAILER_CHUNKS, f"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n")
    assert read(request, body, size) == (DATA, Headers([("x-amz-checksum-crc32c", "sOO8/Q==")]))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_changed_chunk_signature_is_refused(which: int) -> None:
    signatures = list(CHUNKS)
    signatures[which] = signatures[which][::-1]
    with pytest.raises(BadSignature):
        read(documented_request(SEED, chunked.SIGNED), documented_body(tuple(signatures)))


@pytest.mark.parametrize("at", [100, 65000, 65900])
def test_changed_data_is_refused_and_its_chunk_is_never_complete(at: int) -> None:
    body = bytearray(documented_body(CHUNKS))
    body[at] = ord("b")
    with pytest.raises(BadSignature):
        read(documented_request(SEED, chunked.SIGNED), bytes(body), 1 << 20)


def test_another_seed_or_secret_is_refused() -> None:
    with pytest.raises(BadSignature):
        read(documented_request(SEED[::-1], chunked.SIGNED), documented_body(CHUNKS))


def test_chunks_in_another_order_are_refused() -> None:
    last, body = CHUNKS[2], documented_body(CHUNKS)
    cut = body.index(b"400;")
    swapped = (
        body[cut : body.index(b"0;chunk-signature=" + last.encode())]
        + body[:cut]
        + body[body.index(b"0;chunk-signature=" + last.encode()) :]
    )
    with pytest.raises(BadSignature):
        read(documented_request(SEED, chunked.SIGNED), swapped)


def test_a_changed_trailer_or_its_signature_is_refused() -> None:
    request = documented_request(TRAILER_SEED, chunked.SIGNED_TRAILER)
    for checksum, signature in (("sOO8/A==", TRAILER_SIGNATURE), ("sOO8/Q==", TRAILER_SIGNATURE[::-1])):
        with pytest.raises(BadSignature):
            read(request, documented_body(TRAILER_CHUNKS, f"x-amz-checksum-crc32c:{checksum}\r\nx-amz-trailer-signature:{signature}\r\n"))
    with pytest.raises(BadSignature):
        read(request, documented_body(TRAILER_CHUNKS, "x-amz-checksum-crc32c:sOO8/Q==\r\n"))
    with pytest.raises(TrailerMalformed):
        read(request, documented_body(TRAILER_CHUNKS))


def test_a_truncated_upload_is_refused_wherever_it_ends() -> None:
    body = documented_body(CHUNKS)
    for end in (0, 3, 86, 87, 5000, 65536 + 87, 65536 + 89, len(body) - 90, len(body) - 5):
        with pytest.raises((ChunkMalformed, BadSignature)):
            read(documented_request(SEED, chunked.SIGNED), body[:end])


def unsigned_request(length: int, trailer: str = "x-amz-checksum-crc32", mode: str = chunked.UNSIGNED_TRAILER) -> HttpRequest:
    authorization = "AWS4-HMAC-SHA256 Credential=a/20130524/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=" + "0" * 64
    headers = [("x-amz-date", "20130524T000000Z"), ("Authorization", authorization), ("x-amz-content-sha256", mode)]
    headers += [("x-amz-trailer", trailer)] if trailer else []
    return HttpRequest.of("PUT", "/b/k", [*headers, ("x-amz-decoded-content-length", str(length))])


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000), chunk=st.integers(1, 1000), size=st.integers(1, 700), sha=st.booleans())
def test_what_botocore_sends_over_tls_decodes(data: bytes, chunk: int, size: int, sha: bool) -> None:
    name = "x-amz-checksum-sha256" if sha else "x-amz-checksum-crc32"
    make = Sha256Checksum if sha else Crc32Checksum
    body = AwsChunkedWrapper(io.BytesIO(data), checksum_cls=make, checksum_name=name, chunk_size=chunk).read()
    decoded, trailers = read(unsigned_request(len(data), name), body, size)
    assert decoded == data
    assert trailers.get(name) is not None
    with pytest.raises((ChecksumMismatch, ChunkMalformed)):
        read(unsigned_request(len(data), name), body.replace(b":", b":A", 1), size)


def sign_chunks(parts: list[bytes], seed: str, *, trailer: str = "") -> bytes:
    """A body signed as the documents say, independently of the code under test."""
    key, previous, out = signing_key(SECRET, "20130524", "us-east-1", "s3"), seed, b""
    stamp = "20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
    empty = hashlib.sha256().hexdigest()
    for part in [*parts, b""]:
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{stamp}{previous}\n{empty}\n{hashlib.sha256(part).hexdigest()}"
        previous = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        out += f"{len(part):x};chunk-signature={previous}\r\n".encode() + part + (b"\r\n" if part else b"")
    if trailer:
        text = f"AWS4-HMAC-SHA256-TRAILER\n{stamp}{previous}\n{hashlib.sha256((trailer + chr(10)).encode()).hexdigest()}"
        out += f"{trailer}\r\nx-amz-trailer-signature:{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}\r\n".encode()
    return out + b"\r\n"


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.binary(min_size=1, max_size=500), max_size=6), size=st.integers(1, 700), flip=st.integers(0, 10_000))
def test_any_signed_upload_decodes_and_any_flipped_bit_is_refused(parts: list[bytes], size: int, flip: int) -> None:
    data = b"".join(parts)
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    request = unsigned_request(len(data), mode=chunked.SIGNED_TRAILER)
    body = sign_chunks(parts, "0" * 64, trailer=f"x-amz-checksum-crc32:{crc}")
    assert read(request, body, size)[0] == data
    tampered = bytearray(body)
    at = flip % len(body)
    tampered[at] ^= 1
    with contextlib.suppress(AuthenticationError):
        # It passes where the case of a hexadecimal digit or of a name changed, or a blank line: nothing that counts.
        assert read(request, bytes(tampered), size)[0] == data


@pytest.mark.parametrize("length", [9, 11])
def test_a_wrong_decoded_length_is_refused(length: int) -> None:
    with pytest.raises(ChunkMalformed):
        read(unsigned_request(length, trailer=""), b"a\r\n0123456789\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "body",
    [
        b"xyz\r\n0123456789\r\n0\r\n\r\n",
        b"-a\r\n0123456789\r\n0\r\n\r\n",
        b"a\n0123456789\r\n0\r\n\r\n",
        b"9\r\n0123456789\r\n0\r\n\r\n",
        b"a;chunk-signature=" + b"0" * 64 + b"\r\n0123456789\r\n0\r\n\r\n",
        b"a" * 5000,
        b"ffffffffffffffff\r\n0123456789\r\n0\r\n\r\n",
        b"a\r\n0123456789\r\n0\r\n" + b"x-a:b\r\n" * 5000,
        b"a\r\n0123456789\r\n0\r\nnonsense\r\n\r\n",
    ],
)
def test_bad_framing_is_refused(body: bytes) -> None:
    with pytest.raises((ChunkMalformed, TrailerMalformed)):
        read(unsigned_request(10, trailer=""), body)


def test_trailers_must_be_those_announced() -> None:
    body = b"a\r\n0123456789\r\n0\r\nx-amz-meta:1\r\n\r\n"
    assert read(unsigned_request(10, trailer="X-Amz-Meta"), body)[1] == Headers([("x-amz-meta", "1")])
    for announced in ("", "x-amz-other", "x-amz-meta,x-amz-other"):
        with pytest.raises(TrailerMalformed):
            read(unsigned_request(10, trailer=announced), body)


def test_what_cannot_be_decoded_is_said_before_a_byte_is_read() -> None:
    with pytest.raises(UnsupportedSignature):
        read(unsigned_request(1, mode="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), b"")
    with pytest.raises(PayloadHashInvalid):
        read(unsigned_request(1, mode="STREAMING-SOMETHING"), b"")
    with pytest.raises(TrailerMalformed):
        read(unsigned_request(1, trailer="x-amz-checksum-md4"), b"")
    request = unsigned_request(1)
    with pytest.raises(MissingDecodedLength):
        read(HttpRequest.of("PUT", "/", [pair for pair in request.headers if "decoded" not in pair[0]]), b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888"),
        ("sha1", hashlib.sha1(b"123456789").hexdigest()), ("sha256", hashlib.sha256(b"123456789").hexdigest()),
    ],
)  # fmt: skip
def test_the_checksums_give_their_check_values(name: str, value: str) -> None:
    """https://reveng.sourceforge.io/crc-catalogue/all.htm"""
    checksum = checksums.start(name)
    assert checksum is not None
    for piece in (b"1234", b"", b"56789"):
        checksum.update(piece)
    assert checksum.digest().hex() == value


def test_a_long_body_is_decoded_with_the_sums_made_elsewhere() -> None:
    data = bytes(range(256)) * 4096
    body = (
        f"{len(data):x}\r\n".encode()
        + data
        + b"\r\n0\r\nx-amz-checksum-sha256:"
        + base64.b64encode(hashlib.sha256(data).digest())
        + b"\r\n\r\n"
    )
    assert read(unsigned_request(len(data), "x-amz-checksum-sha256"), body, 300_000)[0] == data


def test_a_body_is_checked_against_its_declared_hash_while_it_passes() -> None:
    async def run(expected: str) -> bytes:
        async def source() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two" * 100_000

        return b"".join([piece async for piece in chunked.checked(source(), expected)])

    right = hashlib.sha256(b"one" + b"two" * 100_000).hexdigest()
    assert len(asyncio.run(run(right))) == 300_003
    with pytest.raises(ContentHashMismatch):
        asyncio.run(run(right[::-1]))


def test_signatures_say_when_a_body_is_streamed() -> None:
    signature = parse_authorization(unsigned_request(1))
    assert isinstance(signature, Signature)
    assert (signature.streaming, signature.needs_body, signature.covers_body) == (True, False, False)
