"""WebSockets: what the peer may do, what it must not, and how a conversation ends.

The other end is `websockets`' own client where it behaves, and bytes made by hand where it does not.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from typing import Any

import pytest
from stack import QUICK, Client, asking, both_loops, descriptors, echo, resident, run, serving, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.websocket import Conversation, Refused, WebSocket, accept, accept_key, dial

MIB = 1 << 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = {
    "Host": "here",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


async def echoing(websocket: WebSocket) -> None:
    while (message := await websocket.receive()) is not None:
        await websocket.send(message)


class Place:
    """Where WebSockets are spoken; remembers how the conversations ended."""

    def __init__(self, conversation: Conversation = echoing, **options: Any) -> None:
        self.conversation = conversation
        self.options = options
        self.ended: list[tuple[int, str]] = []

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/plain":
            return await echo(request)
        return accept(request, self._talk, **self.options)

    async def _talk(self, websocket: WebSocket) -> None:
        try:
            await self.conversation(websocket)
        finally:
            self.ended.append((websocket.close_code, websocket.close_reason))


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, mask: bool = True, reserved: int = 0, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    marked = 0x80 if mask else 0
    if size < 126:
        head += bytes([marked | size])
    elif size < 1 << 16:
        head += bytes([marked | 126]) + struct.pack("!H", size)
    else:
        head += bytes([marked | 127]) + struct.pack("!Q", size)
    if not mask:
        return head + data
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


def goodbye(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


async def opened(port: int, **changed: str) -> Client:
    """A client of raw bytes, after the handshake."""
    client = await Client.connect(port)
    client.send(asked(**changed))
    status, headers, _ = await client.answer()
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of RFC 6455, 1.3
    return client


def asked(line: str = "GET /chat HTTP/1.1", **changed: str) -> bytes:
    fields = HANDSHAKE | {name.replace("_", "-"): value for name, value in changed.items()}
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items() if value), "", ""]).encode()


async def next_frame(client: Client) -> tuple[int, bytes]:
    first, second = await client.reader.readexactly(2)
    assert not second & 0x80  # a server does not mask
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await client.reader.readexactly(2 if size == 126 else 8), "big")
    return first & 0x0F, await client.reader.readexactly(size)


async def last_frame(client: Client) -> tuple[int, str]:
    """The code and reason of the close frame, after which there is nothing."""
    while True:
        opcode, data = await next_frame(client)
        if opcode == CLOSE:
            break
    assert await client.reader.read() == b""
    return (int.from_bytes(data[:2], "big") if data else 1005), data[2:].decode()


# ----------------------------------------------------------------------------------------------------------- who behaves


@both_loops
def test_what_a_client_says_comes_back(loop: str) -> None:
    async def main() -> None:
        place = Place()
        async with serving(place) as (_, port):
            async with connect(f"ws://127.0.0.1:{port}/chat", max_size=None) as client:
                for message in ("", "grüße 🦀", b"", b"\x00\xff", os.urandom(125), os.urandom(126), os.urandom(1 << 16), "x" * (MIB // 2)):
                    await client.send(message)
                    assert await client.recv() == message
                assert client.protocol.extensions == []  # it has offered permessage-deflate
            await until(lambda: place.ended == [(1000, "")])

    run(main(), loop)


def test_fragments_are_one_message() -> None:
    async def main() -> None:
        async with serving(Place()) as (_, port), connect(f"ws://127.0.0.1:{port}/") as client:
            await client.send(["one ", "", "twö", " three"])
            assert await client.recv() == "one twö three"
            await client.send([b"a" * 1000, b"", b"b"])
            assert await client.recv() == b"a" * 1000 + b"b"

    run(main())


def test_a_ping_is_answered_also_between_fragments_of_a_character() -> None:
    async def main() -> None:
        async with serving(Place()) as (_, port):
            client = await opened(port)
            client.send(frame(TEXT, b"\xf0\x9f", fin=False) + frame(PING, b"there?") + frame(CONT, b"\xa6", fin=False))
            assert await next_frame(client) == (PONG, b"there?")
            client.send(frame(PONG, b"unasked") + frame(CONT, b"\x80"))
            assert await next_frame(client) == (TEXT, "🦀".encode())
            client.send(goodbye(1000, b"bye"))
            assert await last_frame(client) == (1000, "bye")
            client.close()

    run(main())


def test_bytes_may_come_one_by_one_and_with_the_handshake() -> None:
    async def main() -> None:
        async with serving(Place()) as (_, port):
            client = await Client.connect(port)
            client.send(asked() + frame(TEXT, b"early"))
            assert (await client.answer())[0] == 101
            assert await next_frame(client) == (TEXT, b"early")
            for byte in frame(BINARY, b"slow"):
                client.send(bytes([byte]))
                await asyncio.sleep(0)
            assert await next_frame(client) == (BINARY, b"slow")
            client.close()

    run(main())


def test_our_own_client_speaks_to_our_server() -> None:
    async def main() -> None:
        place = Place(subprotocols=("v2", "v1"))
        async with serving(place) as (_, port), asking(port) as upstream:
            websocket = await dial(upstream, "/chat", [("Authorization", "me")], subprotocols=("v1", "v2"))
            assert websocket.subprotocol == "v2"
            for message in ("text", os.urandom(200_000)):
                await websocket.send(message)
                assert await websocket.receive() == message
            await websocket.ping(b"!")
            await websocket.close(4001, "done " + "ü" * 100)
            assert websocket.close_code == 4001
            assert await websocket.receive() is None
            with pytest.raises(ConnectionResetError):
                await websocket.send("more")
            await websocket.close()
            await until(lambda: [code for code, _ in place.ended] == [4001])
            with pytest.raises(Refused) as refused:
                await dial(upstream, "/plain")
            assert refused.value.status == 200

    run(main())


def test_the_server_may_say_goodbye_first() -> None:
    async def brief(websocket: WebSocket) -> None:
        await websocket.send("hello")
        await websocket.close(4000, "no time")

    async def main() -> None:
        async with serving(Place(brief)) as (_, port), connect(f"ws://127.0.0.1:{port}/") as client:
            assert await client.recv() == "hello"
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "no time")

    run(main())


def test_a_conversation_that_fails_closes_with_1011() -> None:
    async def failing(websocket: WebSocket) -> None:
        raise LookupError("a bug")

    async def main() -> None:
        async with serving(Place(failing)) as (_, port):
            client = await opened(port)
            assert await next_frame(client) == (CLOSE, struct.pack("!H", 1011))
            client.send(goodbye(1011))
            assert await client.reader.read() == b""
            client.close()

    run(main())


def test_a_server_that_stops_says_so_and_does_not_wait_long() -> None:
    async def main() -> None:
        async with serving(Place(), grace=20.0) as (server, port), connect(f"ws://127.0.0.1:{port}/") as client:
            await client.send("x")
            await client.recv()
            async with asyncio.timeout(10):
                await server.stop(20.0)
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001

    run(main())


# ----------------------------------------------------------------------------------------------------------- who does not


@pytest.mark.parametrize(
    ("line", "changed", "status"),
    [
        ("POST /chat HTTP/1.1", {"Content-Length": "0"}, 405),
        ("GET /chat HTTP/1.0", {}, 400),
        ("GET /chat HTTP/1.1", {"Upgrade": "h2c"}, 426),
        ("GET /chat HTTP/1.1", {"Connection": "keep-alive"}, 426),
        ("GET /chat HTTP/1.1", {"Upgrade": ""}, 426),
        ("GET /chat HTTP/1.1", {"Sec-WebSocket-Version": "8"}, 426),
        ("GET /chat HTTP/1.1", {"Sec-WebSocket-Key": ""}, 400),
        ("GET /chat HTTP/1.1", {"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
        ("GET /chat HTTP/1.1", {"Sec-WebSocket-Key": "not base64 at all!!!!!!!"}, 400),
        ("GET /chat HTTP/1.1", {"Sec-WebSocket-Key": "é" * 24}, 400),
    ],
)
def test_a_handshake_that_is_none_is_refused(line: str, changed: dict[str, str], status: int) -> None:
    async def main() -> None:
        async with serving(Place()) as (_, port):
            client = await Client.connect(port)
            client.send(asked(line, **changed))
            answered, headers, _ = await client.answer()
            assert answered == status
            assert headers.get("sec-websocket-version") == ("13" if status == 426 else None)
            client.close()

    run(main())


HOSTILE = {
    "not masked": (frame(TEXT, b"x", mask=False), 1002),
    "a reserved bit": (frame(TEXT, b"x", reserved=4), 1002),
    "compressed though nobody agreed": (frame(BINARY, b"x\x9c", reserved=1), 1002),
    "an unknown opcode": (frame(3, b"x"), 1002),
    "an unknown control opcode": (frame(11), 1002),
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a ping in fragments": (frame(PING, b"x", fin=False), 1002),
    "the middle of nothing": (frame(CONT, b"x"), 1002),
    "a message inside another": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "a close inside a message": (frame(TEXT, b"a", fin=False) + goodbye(1000), 1002),
    "half a close code": (frame(CLOSE, b"\x03"), 1002),
    "a close code that is reserved": (goodbye(1005), 1002),
    "a close code that is none": (goodbye(999), 1002),
    "a close reason that is no text": (goodbye(1000, b"\xff\xfe"), 1007),
    "text that is none": (frame(TEXT, b"caf\xe9"), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "half a character at the end": (frame(TEXT, b"\xf0\x9f\xa6"), 1007),
    "no text in the first fragment": (frame(TEXT, b"\xc0", fin=False), 1007),
    "no text in a later fragment": (frame(TEXT, b"\xf0\x9f", fin=False) + frame(CONT, b"\x41", fin=False), 1007),
    "a message too long": (frame(BINARY, b"", length=100_001), 1009),
    "a message too long to be true": (frame(BINARY, b"", length=(1 << 63) - 1), 1009),
    "fragments too long together": (frame(BINARY, b"x" * 60_000, fin=False) + frame(CONT, b"x" * 60_000), 1009),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_breach_of_the_protocol_ends_the_conversation(name: str) -> None:
    sent, code = HOSTILE[name]

    async def main() -> None:
        place = Place(largest=100_000)
        async with serving(place) as (_, port):
            client = await opened(port)
            client.send(sent + frame(PING, b"never heard") * 100)
            assert (await last_frame(client))[0] == code
            client.close()
            await until(lambda: len(place.ended) == 1)

    run(main())


def test_a_close_without_a_code_is_answered_without_one() -> None:
    async def main() -> None:
        place = Place()
        async with serving(place) as (_, port):
            client = await opened(port)
            client.send(frame(CLOSE) + frame(TEXT, b"after the end"))
            assert await last_frame(client) == (1005, "")
            client.close()
            await until(lambda: place.ended == [(1005, "")])

    run(main())


@both_loops
def test_a_client_that_vanishes_ends_the_conversation(loop: str) -> None:
    async def main() -> None:
        place = Place()
        async with serving(place) as (_, port):
            before = descriptors()
            for data in (b"", frame(TEXT, b"half", fin=False), frame(BINARY, b"", length=50)[:3]):
                client = await opened(port)
                client.send(data)
                await asyncio.sleep(0.02)
                client.close()
            await until(lambda: place.ended == [(1006, "")] * 3)
            await until(lambda: descriptors() <= before)

    run(main(), loop)


def test_a_client_that_does_not_read_is_waited_for_and_costs_no_memory() -> None:
    sent = 0

    async def pouring(websocket: WebSocket) -> None:
        nonlocal sent
        for _ in range(1000):
            await websocket.send(b"x" * 100_000)
            sent += 1

    async def main() -> None:
        async with serving(Place(pouring)) as (_, port):
            client = await opened(port)
            before = resident()
            while True:
                seen = sent
                await asyncio.sleep(0.2)
                if sent == seen:
                    break
            assert sent < 200
            assert resident() - before < 40 * MIB
            client.close()

    run(main())


def test_nobody_sends_faster_than_is_received() -> None:
    gate = asyncio.Event()
    heard = 0

    async def waiting(websocket: WebSocket) -> None:
        nonlocal heard
        await gate.wait()
        while await websocket.receive() is not None:
            heard += 1

    async def main() -> None:
        async with serving(Place(waiting)) as (_, port):
            client = await opened(port)
            piece = frame(BINARY, b"x" * 1000) * 100
            before, pushed = resident(), 0
            try:
                async with asyncio.timeout(0.5):
                    while pushed < 2000:
                        client.send(piece)
                        await client.writer.drain()
                        pushed += 1
            except TimeoutError:
                pass
            assert pushed < 500
            assert resident() - before < 40 * MIB
            gate.set()
            await until(lambda: heard >= pushed * 100)
            client.close()

    run(main())


def test_garbage_of_any_kind_ends_quietly() -> None:
    async def main() -> None:
        chance = random.Random(6455)
        place = Place(largest=10_000)
        async with serving(place, limits=QUICK) as (_, port):
            for _ in range(60):
                client = await opened(port)
                client.send(b"".join(mangled(chance) for _ in range(20)))
                client.writer.write_eof()
                async with asyncio.timeout(10):
                    await client.reader.read()
                client.close()
            await until(lambda: len(place.ended) == 60)

    run(main())


def mangled(chance: random.Random) -> bytes:
    data = bytearray(frame(chance.choice([TEXT, BINARY, PING, PONG]), chance.randbytes(chance.choice([0, 1, 5, 130]))))
    if chance.random() < 0.2:
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def test_the_key_is_answered_as_in_the_specification() -> None:
    assert accept_key(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
