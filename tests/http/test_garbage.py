"""Garbage on the socket: whatever comes, no hang, no 5xx, and nothing left of it."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Iterator

import pytest
from stack import Client, descriptors, get, post, run, serving, until

from cloudstead.http.limits import Limits
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.server import Server
from cloudstead.kernel.errors import CommonError

LIMITS = Limits(idle_timeout=2, head_timeout=0.5, body_timeout=0.5, half_closed_timeout=0.5, linger_timeout=0.2, sweep_interval=0.05)
AT_ONCE = 40

VALID = [
    get("/a?b=c", "Accept: */*", "X-Amz-Date: 20150830T123600Z"),
    post(b'{"a": 1}', "/", "Content-Type: application/x-amz-json-1.1", "X-Amz-Target: Logs_20140328.DescribeLogGroups"),
    get("/b/k", "Transfer-Encoding: chunked", "Trailer: x", method="PUT") + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nx: y\r\n\r\n",
    get("/", "Content-Length: 5", "Expect: 100-continue", method="PUT") + b"hello",
    get("/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x"),
    get("/exec", "Connection: Upgrade", "Upgrade: tcp", "Content-Length: 2", method="POST") + b"{}",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 3,
    get("http://a.b/c", method="HEAD") + get("/1") + post(b"x" * 100, "/2"),
    get("*", method="OPTIONS"),
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
]
INTERESTING = [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"\t", b"\xff", b"0\r\n\r\n", b"HTTP/1.1", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"9" * 30, b"\x80", b"%", b";"]  # fmt: skip


def random_bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice([0, 1, 2, 10, 100, 1000, 70_000]))


def truncated(chance: random.Random) -> bytes:
    wire = chance.choice(VALID)
    return wire[: chance.randrange(len(wire) + 1)]


def mutated(chance: random.Random) -> bytes:
    wire = bytearray(b"".join(chance.choices(VALID, k=chance.choice([1, 1, 2, 5]))))
    for _ in range(chance.choice([1, 1, 2, 4, 10])):
        at = chance.randrange(len(wire) + 1)
        match chance.randrange(5):
            case 0:
                wire[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del wire[at : at + chance.choice([1, 2, 10])]
            case 2:
                wire[at:at] = chance.choice(INTERESTING)
            case 3:
                wire[at:at] = wire[at : at + chance.choice([5, 30])]
            case 4:
                lines = wire.split(b"\r\n")
                chance.shuffle(lines)
                wire = bytearray(b"\r\n".join(lines))
    return bytes(wire)


def lines(chance: random.Random) -> bytes:
    parts = [
        *INTERESTING,
        b"GET",
        b"POST",
        b"/",
        b"Host: a",
        b"Connection: close",
        b"Connection: upgrade",
        b"Upgrade: x",
        b"Expect: 100-continue",
    ]
    return b"".join(chance.choices(parts, k=chance.randrange(60)))


async def handler(request: HttpRequest) -> HttpResponse:
    """As the dispatcher does: reads, and answers the errors of reading."""
    try:
        body = await request.read(limit=1 << 16)
    except CommonError as error:
        return HttpResponse(error.status)
    return HttpResponse(200, body=body)


async def throw_at(port: int, wire: bytes, chance: random.Random | None = None) -> bytes:
    """Send a stream, by chance in some pieces and ending one way or another; everything that the server said."""
    client = await Client.connect(port)
    cuts = sorted(chance.randrange(len(wire) + 1) for _ in range(chance.choice([0, 0, 1, 3]))) if chance is not None else []
    said = b""
    try:
        for begin, end in itertools.pairwise([0, *cuts, len(wire)]):
            client.send(wire[begin:end])
            await asyncio.sleep(0)
        match chance.randrange(8) if chance is not None else None:
            case 0:
                client.reset()
            case 1:
                pass  # leaves it to the server's time limits
            case _:
                client.writer.write_eof()
        async with asyncio.timeout(10):  # longer than any limit above: beyond it, it hangs
            said = await client.reader.read()
    except ConnectionError:
        pass
    finally:
        client.close()
    return said


@pytest.mark.parametrize("kind", [random_bytes, truncated, mutated, lines])
def test_garbage_hangs_nothing_breaks_nothing_and_leaves_nothing(kind: object) -> None:
    chance = random.Random(f"garbage {kind.__name__}")  # type: ignore[attr-defined]

    async def some(port: int, wires: Iterator[bytes]) -> None:
        for wire in wires:
            said = await throw_at(port, wire, chance)
            for status in re.findall(rb"HTTP/1.1 (\d\d\d)", said):
                assert int(status) < 500, (wire, said)

    async def main() -> None:
        async with serving(handler, limits=LIMITS) as (server, port):
            await some(port, iter([b""]))
            before = descriptors()
            wires = iter([kind(chance) for _ in range(1000)])  # type: ignore[operator]
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(some(port, wires))
            await until(lambda: not server.connections)
            await until(lambda: descriptors() <= before)
            client = await Client.connect(port)
            assert (await client.ask(get()))[0] == 200  # and it still serves
            client.close()

    run(main(), limit=120)


LENGTHS = ["Content-Length: {n}", "content-length:{n}", "Content-Length: 0{n}", "Content-Length: {n}\r\nContent-Length: 0", "Content-Length: +{n}", "Content-Length: {n}, {n}", "Content-Length : {n}", "Content-Length: {n}\x0b"]  # fmt: skip
CODINGS = [
    "Transfer-Encoding: chunked", "transfer-encoding:chunked", "Transfer-Encoding:\tchunked", "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity, chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "X: y\r\n Transfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "Transfer-Encoding\x00: chunked", "Transfer-Encoding: \x0bchunked",
    "Transfer_Encoding: chunked", "Transfer-Encoding: CHUNKED", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chunked;q=1",
]  # fmt: skip
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def test_no_request_can_be_smuggled_behind_two_framings() -> None:
    """Where a length and a coding meet, either both readings are the same or the request is refused."""
    seen: list[str] = []

    async def noting(request: HttpRequest) -> HttpResponse:
        seen.append(request.path)
        return await handler(request)

    async def attempt(port: int, length: str, coding: str) -> None:
        for first, second in ((length, coding), (coding, length)):
            # By its length the hidden request is body; by its chunks it is a request of its own.
            body = b"0\r\n\r\n" + HIDDEN
            wire = get("/outer", first.format(n=len(body)), second.format(n=len(body)), method="POST") + body
            said = await throw_at(port, wire)
            assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 200")), said

    async def main() -> None:
        async with serving(noting, limits=LIMITS) as (_, port):
            for length, coding in itertools.product(LENGTHS, CODINGS):
                if "Transfer_Encoding" not in coding:  # an ordinary header: only the length counts
                    await attempt(port, length, coding)

    run(main(), limit=120)
    assert "/smuggled" not in seen


@pytest.mark.parametrize("size", [b"0x5", b"5 ", b" 5", b"+5", b"5\n", b"\r\n5", b"5;\x00", b"1" * 17, b"", b"5\r5"])
def test_a_chunk_size_is_hexadecimal_and_nothing_else(size: bytes) -> None:
    async def main() -> None:
        async with serving(handler, limits=LIMITS) as (server, port):
            wire = get("/", "Transfer-Encoding: chunked", method="POST") + size + b"\r\nhello\r\n0\r\n\r\n"
            said = await throw_at(port, wire)
            assert said.startswith(b"HTTP/1.1 400 ")
            await until(lambda: not server.connections)

    run(main())


def test_a_thousand_slow_clients_cost_no_timer_each() -> None:
    async def main() -> None:
        async with serving(handler, limits=LIMITS) as (server, port):
            clients = [await Client.connect(port) for _ in range(300)]
            for client in clients:
                client.send(b"GET / HT")
            await until(lambda: len(server.connections) == 300)
            assert timers(server) <= 1
            assert all([(await client.answer())[0] == 408 for client in clients])
            for client in clients:
                client.close()

    def timers(server: Server) -> int:
        scheduled = getattr(server.loop, "_timers", None) or getattr(server.loop, "_scheduled", ())
        return len(scheduled) - 1  # the test's own limit

    run(main())
