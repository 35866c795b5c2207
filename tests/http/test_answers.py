"""What the server makes of answers: framing, streams, files, upgrades."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from stack import Client, both_loops, descriptors, echo, get, post, run, serving, talking, until

from cloudstead.http.messages import FileRegion, HttpRequest, HttpResponse
from cloudstead.http.upgrade import RawStream


class Pieces:
    """A streamed body that remembers whether it was closed."""

    def __init__(self, *pieces: bytes, error: bool = False) -> None:
        self.pieces = list(pieces)
        self.error = error
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        if self.pieces:
            return self.pieces.pop(0)
        if self.error:
            raise RuntimeError("the source broke")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


async def no_descriptor_left(round_trip: Callable[[], Awaitable[None]]) -> None:
    """Once to open what an event loop opens at its first use, and once to see."""
    await round_trip()
    await asyncio.sleep(0.02)
    before = descriptors()
    await round_trip()
    await until(lambda: descriptors() <= before)


@both_loops
def test_a_stream_is_chunked_and_closed(loop: str) -> None:
    body = Pieces(b"one", b"", b"two" * 3000)

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, body=body) if request.path == "/stream" else HttpResponse(204)

    async def main() -> None:
        async with talking(handler) as client:
            _, headers, got = await client.ask(get("/stream"))
            assert headers["transfer-encoding"] == "chunked"
            assert "content-length" not in headers
            assert got == b"one" + b"two" * 3000
            assert body.closed
            assert (await client.ask(get("/other")))[0] == 204

    run(main(), loop)


def test_a_stream_with_a_length_is_sent_as_it_is() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("content-length", "6")], Pieces(b"one", b"two"))

    async def main() -> None:
        async with talking(handler) as client:
            for _ in range(2):
                _, headers, got = await client.ask(get())
                assert (headers["content-length"], got) == ("6", b"onetwo")
                assert "transfer-encoding" not in headers

    run(main())


@pytest.mark.parametrize("kind", ["too long", "too short", "fails"])
def test_a_stream_that_goes_wrong_cuts_the_connection(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    bodies = {"too long": Pieces(b"1234567"), "too short": Pieces(b"12"), "fails": Pieces(b"12", error=True)}
    body = bodies[kind]

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("Content-Length", "5")] if kind != "fails" else [], body)

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get())
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError, ValueError)):
                await client.answer()
            await until(lambda: body.closed)

    with caplog.at_level(logging.ERROR):
        run(main())
    assert "failed" in caplog.text


def test_an_http_1_0_stream_ends_with_the_connection() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, body=Pieces(b"one", b"two"))

    async def main() -> None:
        async with talking(handler) as client:
            _, headers, got = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert (got, headers["connection"]) == (b"onetwo", "close")
            assert "transfer-encoding" not in headers

    run(main())


def test_head_and_bodiless_statuses_have_no_body() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        match request.path:
            case "/stream":
                return HttpResponse(200, body=Pieces(b"12345"))
            case "/declared":
                return HttpResponse(200, [("Content-Length", "1234")])
            case "/file":
                return HttpResponse(200, body=FileRegion(os.open("/proc/self/exe", os.O_RDONLY), 0, 100))
            case path:
                return HttpResponse(int(path[1:]), [("ETag", "x")], b"12345")

    async def round_trip() -> None:
        async with talking(handler) as client:
            assert (await client.ask(get("/200", method="HEAD"), head=True))[1]["content-length"] == "5"
            assert (await client.ask(get("/stream", method="HEAD"), head=True))[1]["transfer-encoding"] == "chunked"
            assert (await client.ask(get("/declared", method="HEAD"), head=True))[1]["content-length"] == "1234"
            assert (await client.ask(get("/file", method="HEAD"), head=True))[1]["content-length"] == "100"
            for status in (204, 304):
                _, headers, _ = await client.ask(get(f"/{status}"))
                assert "content-length" not in headers
                assert "transfer-encoding" not in headers
                assert headers["etag"] == "x"
            assert (await client.ask(get("/200")))[2] == b"12345"

    run(no_descriptor_left(round_trip))


def test_headers_are_sent_as_given_and_ours_only_where_they_are_missing() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        fields = [
            ("x-Amz-ID", "1"),
            ("Set-Cookie", "a"),
            ("Set-Cookie", "b"),
            ("Server", "AmazonS3"),
            ("Date", "then"),
            ("X", "\xe9\u6f22"),
        ]
        return HttpResponse(299, [*fields, ("Transfer-Encoding", "gzip"), ("Connection", "close")], b"x")

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get())
            raw = await client.reader.read()
            head = raw.split(b"\r\n\r\n")[0].decode()
            assert head.startswith(
                "HTTP/1.1 299 \r\nx-Amz-ID: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nServer: AmazonS3\r\nDate: then\r\nX: é漢\r\n"
            )
            assert head.count("Server:") == head.count("Date:") == head.count("Connection: close") == 1
            assert "gzip" not in head

    run(main())


@pytest.mark.parametrize("header", [("X", "a\r\nEvil: 1"), ("X\nEvil", "1"), ("X", "\r"), ("Content-Length", "77")])
def test_a_header_that_would_break_the_answer_is_not_sent(header: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [header], b"x")

    async def main() -> None:
        async with talking(handler) as client:
            status, headers, _ = await client.ask(get())
            assert (status, headers["connection"]) == (500, "close")
            assert "evil" not in headers

    run(main())
    assert "cannot be sent" in caplog.text


@both_loops
def test_a_file_is_sent_from_its_descriptor(loop: str, tmp_path: Path) -> None:
    data = os.urandom(6_000_000)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, body=FileRegion(os.open(path, os.O_RDONLY), 1000, 5_000_000))

    async def round_trip() -> None:
        async with talking(handler) as client:
            client.send(get("/1") + get("/2"))
            for _ in range(2):
                _, headers, got = await client.answer()
                assert headers["content-length"] == "5000000"
                assert got == data[1000:5_001_000]

    run(no_descriptor_left(round_trip), loop)


def test_a_file_that_is_too_short_cuts_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, body=FileRegion(os.open(path, os.O_RDONLY), 0, 100))

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get())
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.answer()

    logging.disable(logging.ERROR)
    try:
        run(main())
    finally:
        logging.disable(logging.NOTSET)


@both_loops
@pytest.mark.parametrize("status", [101, 200])
def test_an_upgraded_connection_is_raw_both_ways_with_half_close(status: int, loop: str) -> None:
    heard: list[bytes] = []

    async def shell(stream: RawStream) -> None:
        while piece := await stream.read():
            heard.append(piece)
            await stream.write(piece.upper())
        await stream.write(b"bye")

    async def handler(request: HttpRequest) -> HttpResponse:
        assert await request.read() == b"{}"
        headers = (
            [("Connection", "Upgrade"), ("Upgrade", "tcp")] if status == 101 else [("Content-Type", "application/vnd.docker.raw-stream")]
        )
        return HttpResponse(status, headers, upgrade=shell)

    async def main() -> None:
        async with serving(handler) as (server, port):
            client = await Client.connect(port)
            asks = ["Connection: Upgrade", "Upgrade: tcp"] if status == 101 else []
            client.send(get("/attach", "Content-Length: 2", *asks, method="POST") + b"{}" + (b"early " if asks else b""))
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert b"Content-Length" not in head
            assert b"close" not in head.lower()
            client.send(b"hello \x00\xff\r\n\r\n" * 3)
            client.writer.write_eof()
            expected = (b"EARLY " if asks else b"") + b"HELLO \x00\xff\r\n\r\n" * 3 + b"bye"
            assert await client.reader.read() == expected
            await until(lambda: not server.connections)
            client.close()

    run(main(), loop)


def test_a_raw_stream_can_be_handed_to_another_protocol() -> None:
    class Other(asyncio.Protocol):
        def __init__(self, transport: asyncio.Transport, gone: asyncio.Event) -> None:
            self.transport = transport
            self.gone = gone

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"other:" + data)

        def connection_lost(self, exc: Exception | None) -> None:
            self.gone.set()

    async def take_over(stream: RawStream) -> None:
        gone = asyncio.Event()
        transport = stream.transport
        transport.set_protocol(Other(transport, gone))
        transport.write(b"first:" + stream.detach())
        await gone.wait()

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(101, [("Connection", "Upgrade"), ("Upgrade", "websocket")], upgrade=take_over)

    async def main() -> None:
        async with serving(handler) as (server, port):
            client = await Client.connect(port)
            client.send(get("/", "Connection: Upgrade", "Upgrade: websocket") + b"frame")
            await client.reader.readuntil(b"\r\n\r\n")
            assert await client.reader.readexactly(11) == b"first:frame"
            client.send(b"x")
            assert await client.reader.readexactly(7) == b"other:x"
            client.close()
            await until(lambda: not server.connections)

    run(main())


def test_an_answer_may_begin_before_the_request_has_ended() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        async def echoing() -> AsyncIterator[bytes]:
            async for piece in request.stream():
                yield piece.upper()

        return HttpResponse(200, body=echoing())

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
            await client.reader.readuntil(b"\r\n\r\n")
            for word in (b"one", b"two"):
                client.send(b"3\r\n" + word + b"\r\n")
                assert await client.reader.readexactly(8) == b"3\r\n" + word.upper() + b"\r\n"
            client.send(b"0\r\n\r\n")
            assert await client.reader.readexactly(5) == b"0\r\n\r\n"
            assert (await client.ask(get()))[2] == b""

    run(main())


def test_a_large_whole_body_arrives() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, body=b"x" * 3_000_000)

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get("/1") + get("/2"))
            assert len((await client.answer())[2]) == 3_000_000
            assert len((await client.answer())[2]) == 3_000_000

    run(main())


def test_a_unix_socket_serves_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "edge.sock"

    async def main() -> None:
        async with serving(echo) as (server, _):
            await server.listen_unix(path)
            assert path.stat().st_mode & 0o777 == 0o600
            client = await Client.connect(path)
            assert (await client.ask(post(b"x")))[0] == 200
            client.close()
            with pytest.raises(OSError, match="another process listens"):
                await server.listen_unix(path)
        assert not path.exists()
        path.touch()
        async with serving(echo) as (server, _):
            with pytest.raises(FileExistsError):
                await server.listen_unix(path)
        path.unlink()
        os.mknod(path, 0o140600)  # what a killed process leaves behind: a socket that nobody listens on
        async with serving(echo) as (server, _):
            await server.listen_unix(path)
            client = await Client.connect(path)
            assert (await client.ask(get()))[0] == 200
            client.close()

    run(main())
