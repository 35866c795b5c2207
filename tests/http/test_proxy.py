"""A proxy made of our server and our client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from stack import QUICK, Client, asking, both_loops, echo, get, post, resident, run, serving, until

from cloudstead.http.limits import Limits
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.server import Server
from cloudstead.http.upgrade import RawStream

MIB = 1 << 20


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
            while piece := await client.reader.read(MIB):
                got += len(piece)
                highest = max(highest, resident())
                if got == total:
                    break
            assert got == total
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
