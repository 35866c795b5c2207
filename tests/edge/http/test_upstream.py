"""Our own HTTP client: the pool, streams both ways, answers of every shape, servers that misbehave; and a proxy made of both halves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from stack import QUICK, Client, both_loops, echo, get, post, resident, run, serving, until

from cloudstead.edge.http.limits import Limits
from cloudstead.edge.http.messages import BodyBroken, HttpRequest, HttpResponse
from cloudstead.edge.http.server import Server
from cloudstead.edge.http.tls import Authority, Certificates
from cloudstead.edge.http.upgrade import RawStream
from cloudstead.edge.http.upstream import Lost, NotSent, Upstream

MIB = 1 << 20


@contextlib.asynccontextmanager
async def asking(port: int | Path, **options: object) -> AsyncIterator[Upstream]:
    upstream = Upstream(port if isinstance(port, Path) else ("127.0.0.1", port), **options)  # type: ignore[arg-type]
    try:
        yield upstream
    finally:
        await upstream.close()
        assert not upstream._all


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


@contextlib.asynccontextmanager
async def proxying(
    handler: Callable[[HttpRequest], Awaitable[HttpResponse]], limits: Limits = QUICK
) -> AsyncIterator[tuple[Client, Server]]:
    """A client, a proxy made of our server and our client, and a server behind."""
    async with (
        serving(handler, limits=limits) as (behind, port),
        asking(port) as upstream,
        serving(upstream.forward, limits=limits) as (_, front),
    ):
        client = await Client.connect(front)
        try:
            yield client, behind
        finally:
            client.close()


@both_loops
def test_a_proxy_passes_everything_on(loop: str) -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        body = await request.read()
        headers = [("X-Case", "a"), ("x-case", "b"), ("Seen", ",".join(name for name, _ in request.headers)), ("Connection", "close")]
        return HttpResponse(201, headers, f"{request.method} {request.target} ".encode() + body)

    async def main() -> None:
        async with proxying(handler) as (client, _):
            for number in range(3):
                client.send(post(b"x" * 300_000 * number, "//a/../%2F?q=%20", "X-One: 1", "x-one: 2", "Keep-Alive: 5", "TE: trailers"))
                raw = await client.reader.readuntil(b"\r\n\r\n")
                assert raw.startswith(b"HTTP/1.1 201 Created\r\nX-Case: a\r\nx-case: b\r\nSeen: Host,X-One,x-one,Content-Length\r\n")
                length = int(raw.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
                body = await client.reader.readexactly(length)
                assert body == b"POST //a/../%2F?q=%20 " + b"x" * 300_000 * number
            assert (await client.ask(get("/", method="HEAD"), head=True))[1]["content-length"] == "7"
            assert (await client.ask(get("/", "Transfer-Encoding: chunked", method="PUT") + b"2\r\nhi\r\n0\r\n\r\n"))[2] == b"PUT / hi"

    run(main(), loop)


@both_loops
def test_many_clients_of_a_proxy_share_few_connections(loop: str) -> None:
    async def main() -> None:
        async with serving(echo) as (_, port), asking(port, max_idle=4) as upstream, serving(upstream.forward) as (_, front):

            async def one(name: int) -> None:
                client = await Client.connect(front)
                for number in range(60):
                    body = b"%d" % (name * number)
                    assert (await client.ask(post(body)))[2] == b"POST / %d %b" % (len(body), body)
                client.close()

            await asyncio.gather(*[one(name) for name in range(12)])
            assert len(upstream._idle) <= 4

    run(main(), loop)


def test_a_caller_that_gives_up_late_harms_nobody_else() -> None:
    """Cancelled in the very turn in which its answer was complete and its connection went to another."""

    async def main() -> None:
        async with serving(echo) as (_, port), asking(port) as upstream:
            for delay in range(40):
                asked = [asyncio.create_task(upstream.send("GET", f"/{number}")) for number in range(4)]
                for _ in range(delay % 8):
                    await asyncio.sleep(0)
                await asyncio.sleep(delay / 40_000)
                asked[0].cancel()
                asked[2].cancel()
                for task in (asked[1], asked[3]):
                    assert (await (await task).read()).startswith(b"GET /")

    run(main())


def test_a_proxy_takes_no_memory_either_way() -> None:
    """128 MiB up and down at once, through the proxy."""
    total = 128 * MIB

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("Content-Length", str(total))], request.stream())

    async def main() -> None:
        async with proxying(handler, Limits()) as (client, _):
            before, highest, got = resident(), 0, 0

            async def upload() -> None:
                client.send(get("/", f"Content-Length: {total}", method="PUT"))
                for _ in range(total // MIB):
                    client.send(bytes(MIB))
                    await client.writer.drain()

            uploading = asyncio.create_task(upload())
            await client.reader.readuntil(b"\r\n\r\n")
            while got < total:
                got += len(await client.reader.read(MIB))
                highest = max(highest, resident())
            await uploading
            assert highest - before < 32 * MIB

    run(main())


def test_a_client_of_a_proxy_that_goes_away_ends_it_all() -> None:
    ended: list[str] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("handler")
        return HttpResponse()

    async def main() -> None:
        async with proxying(handler) as (client, behind):
            client.send(get())
            await until(lambda: len(behind.connections) == 1)
            client.reset()
            await until(lambda: ended == ["handler"])
            await until(lambda: not behind.connections)

    run(main())


def test_an_upgrade_goes_through_a_proxy() -> None:
    async def shout(stream: RawStream) -> None:
        while piece := await stream.read():
            await stream.write(piece.upper())
        await stream.write(b"bye")

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(101, [("Connection", "Upgrade"), ("Upgrade", "tcp")], upgrade=shout)

    async def main() -> None:
        async with proxying(handler) as (client, behind):
            client.send(get("/", "Connection: Upgrade", "Upgrade: tcp", method="POST"))
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"Upgrade: tcp" in head
            client.send(b"hello")
            assert await client.reader.readexactly(5) == b"HELLO"
            client.writer.write_eof()
            assert await client.reader.read() == b"bye"
            await until(lambda: not behind.connections)

    run(main())
