"""Our own HTTP client: the pool, streams both ways, answers of every shape, servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from stack import QUICK, asking, both_loops, echo, run, serving, until

from cloudstead.http.limits import Limits
from cloudstead.http.messages import BodyBroken, HttpRequest, HttpResponse
from cloudstead.http.server import Server
from cloudstead.http.tls import Authority, Certificates
from cloudstead.http.upstream import Lost, NotSent, Upstream


@contextlib.asynccontextmanager
async def speaking(script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """A server that does as it likes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await script(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@both_loops
def test_connections_are_kept_and_used_again(loop: str) -> None:
    async def main() -> None:
        async with serving(echo) as (server, port), asking(port) as upstream:
            for number in range(20):
                response = await upstream.send("POST", f"/{number}", [("X", "y")], b"x" * number)
                assert response.status == 200
                assert await response.read() == f"POST /{number} {number} ".encode() + b"x" * number
            assert len(server.connections) == 1
            answers = await asyncio.gather(*[upstream.send("GET", "/") for _ in range(5)])
            assert [await answer.read() for answer in answers] == [b"GET / 0 "] * 5
            assert len(upstream._idle) == 5

    run(main(), loop)


def test_idle_connections_close_after_a_while() -> None:
    async def main() -> None:
        async with serving(echo) as (server, port), asking(port, idle_timeout=0.1) as upstream:
            await (await upstream.send("GET", "/")).read()
            await until(lambda: not server.connections)
            assert upstream._sweep is None or not upstream._idle

    run(main())


def test_a_connection_that_the_server_has_closed_is_replaced() -> None:
    async def main() -> None:
        async with serving(echo, limits=Limits(idle_timeout=0.05, sweep_interval=0.02)) as (_, port), asking(port) as upstream:
            for _ in range(3):
                assert (await (await upstream.send("GET", "/")).read()) == b"GET / 0 "
                await asyncio.sleep(0.15)

    run(main())


def test_a_repeatable_request_is_sent_again_when_its_kept_connection_was_closing() -> None:
    served = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        served += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")  # takes the second request and closes without a word

    async def main() -> None:
        async with speaking(once) as port, asking(port) as upstream:
            for _ in range(3):
                assert await (await upstream.send("GET", "/")).read() == b"ok"
            assert served == 3
            with pytest.raises(Lost):
                await upstream.send("POST", "/", body=b"only once")

    run(main())


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        for address in (("127.0.0.1", 1), tmp_path / "none"):
            with pytest.raises(NotSent):
                await Upstream(address).send("GET", "/")

    run(main())


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)
@pytest.mark.parametrize("drip", [False, True])
def test_answers_of_every_framing(wire: bytes, body: bytes, drip: bool) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(wire), 1 if drip else len(wire)):
            writer.write(wire[at : at + (1 if drip else len(wire))])
            await asyncio.sleep(0)

    async def main() -> None:
        async with speaking(script) as port, asking(port) as upstream:
            response = await upstream.send("GET", "/")
            assert response.headers.get("link") is None
            assert await response.read() == body
            assert response.trailers.get("x-t") == ("1" if b"X-T" in wire else None)

    run(main())


@pytest.mark.parametrize(
    "wire",
    [
        b"", b"NONSENSE\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400_000,
    ],
)  # fmt: skip
def test_a_broken_answer_is_lost(wire: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(wire)
        await writer.drain()

    async def main() -> None:
        async with speaking(script) as port, asking(port) as upstream:
            with pytest.raises(Lost):
                await (await upstream.send("GET", "/")).read()

    run(main())


def test_head_has_no_body_and_the_connection_goes_on() -> None:
    async def main() -> None:
        async with serving(echo) as (server, port), asking(port) as upstream:
            for _ in range(3):
                response = await upstream.send("HEAD", "/")
                assert response.headers.get("content-length") == "9"
                assert await response.read() == b""
            assert len(server.connections) == 1

    run(main())


def test_an_answer_that_comes_before_the_upload_has_ended() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(403, body=b"no")

    ended: list[bool] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
                await asyncio.sleep(0.001)
        finally:
            ended.append(True)

    async def main() -> None:
        async with serving(handler) as (_, port), asking(port) as upstream:
            response = await upstream.send("PUT", "/", body=endless())
            assert (response.status, await response.read()) == (403, b"no")
            await until(lambda: ended == [True])
            assert not upstream._idle

    run(main())


def test_an_answer_that_is_given_up_closes_its_connection() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 100_000

        return HttpResponse(200, body=body())

    async def main() -> None:
        async with serving(handler) as (server, port), asking(port) as upstream:
            response = await upstream.send("GET", "/")
            await anext(response)
            await response.aclose()
            await until(lambda: not server.connections)

    run(main())


def test_a_caller_that_goes_away_closes_its_connection() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(60)
        return HttpResponse()

    async def main() -> None:
        async with serving(handler) as (server, port), asking(port) as upstream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(upstream.send("GET", "/"), 0.1)
            await until(lambda: not server.connections)

    run(main())


def test_a_body_whose_source_fails_tells_the_caller() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise BodyBroken("the client left")

    async def main() -> None:
        async with serving(echo) as (_, port), asking(port) as upstream:
            with pytest.raises(BodyBroken):
                await upstream.send("PUT", "/", body=broken())

    run(main())


def test_a_line_break_in_a_header_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="line break"):
            await Upstream(("127.0.0.1", 1)).send("GET", "/", [("X", "a\r\nEvil: 1")])

    run(main())


def test_tls_and_unix_sockets(tmp_path: Path) -> None:
    import ssl

    async def main() -> None:
        server = Server(echo, limits=QUICK)
        port = await server.listen_tcp("127.0.0.1", tls=Certificates(Authority.open(tmp_path)).server_context())
        await server.listen_unix(tmp_path / "socket")
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        async with asking(port, tls=context, server_name="localhost") as upstream:
            assert await (await upstream.send("POST", "/x", body=b"hi")).read() == b"POST /x 2 hi"
        async with asking(tmp_path / "socket") as upstream:
            assert await (await upstream.send("POST", "/x", body=b"hi")).read() == b"POST /x 2 hi"
        await server.stop()

    run(main())
