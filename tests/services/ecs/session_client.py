"""A client of sessions that does what Session Manager's plugin does, its habits included.

It was written from the plugin's behaviour and shares no code with the server: the message layout is spelled out once more. Habits: output that comes
before the shell is ready is neither acknowledged nor kept; a message that it has had already is not acknowledged again; of what it sent, the oldest
unacknowledged message is repeated. `faults` may lose, double and reorder messages on their way, in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import struct
import time
import uuid
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cloudstead.services.ecs.sessions.page import Opened

OUTPUT, SIZE, HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE, FLAG = 1, 3, 5, 6, 7, 10


def pack(kind: str, payload: bytes, *, payload_type: int = 0, sequence: int = 0, flags: int = 0, id: uuid.UUID | None = None) -> bytes:
    number = (id or uuid.uuid4()).int
    data = struct.pack(">I", 116)
    data += kind.encode() + b" " * (32 - len(kind))
    data += struct.pack(">IQqQ", 1, int(time.time() * 1000), sequence, flags)
    data += struct.pack(">QQ", number & ((1 << 64) - 1), number >> 64)  # the least significant half first
    data += hashlib.sha256(payload).digest()
    return data + struct.pack(">II", payload_type, len(payload)) + payload


class Received:
    def __init__(self, data: bytes) -> None:
        (length,) = struct.unpack(">I", data[:4])
        assert length == 116
        self.kind = data[4:36].decode().rstrip(" \0")
        schema, created, self.sequence, self.flags = struct.unpack(">IQqQ", data[36:64])
        assert schema == 1
        assert abs(created / 1000 - time.time()) < 3600
        low, high = struct.unpack(">QQ", data[64:80])
        self.id = uuid.UUID(int=high << 64 | low)
        self.payload_type, size = struct.unpack(">II", data[112:120])
        self.payload = data[120:]
        assert size == len(self.payload)
        assert hashlib.sha256(self.payload).digest() == data[80:112]

    def json(self) -> Any:
        return json.loads(self.payload)


class Faults:
    """What happens to messages on their way. Acknowledgements are not lost: the plugin sends none twice, for nothing loses them over a WebSocket."""

    def __init__(self, seed: int, *, lose: float = 0.0, double: float = 0.0, reorder: float = 0.0) -> None:
        self._chance = random.Random(seed)
        self._lose, self._double, self._reorder = lose, double, reorder
        self._held: list[bytes] = []

    def through(self, data: bytes) -> list[bytes]:
        """What comes out when this goes in."""
        chance = self._chance.random
        if b"stream_data" in data[4:36] and chance() < self._lose:
            return []
        out = [data, data] if chance() < self._double else [data]
        if chance() < self._reorder:
            self._held += out
            return []
        return out + self.late()

    def late(self) -> list[bytes]:
        """What was held back: a message is late, never lost, because no other follows it."""
        held, self._held = self._held, []
        return held


class SessionClient:
    """`async with SessionClient(opened) as client:`"""

    def __init__(self, opened: Opened, *, token: str | None = None, deaf_for: int = 0, faults: Faults | None = None) -> None:
        self.opened = opened
        self.token = opened.token_value if token is None else token
        self.deaf_for = deaf_for  # messages of output that come before the shell is ready
        self.incoming = faults
        self.outgoing = faults and Faults(7, lose=faults._lose, double=faults._double, reorder=faults._reorder)
        self.output = bytearray()
        self.pieces: list[int] = []
        self.session_type: Any = None
        self.complete = asyncio.Event()
        self.closed: Any = None  # the content of channel_closed
        self.over = asyncio.Event()
        self.acknowledges = True
        self.agrees = True
        self.close_code = 0
        self.repeated = 0  # messages that came again
        self._expected = 0
        self._early: dict[int, Received] = {}
        self._sequence = 0
        self.unacknowledged: dict[int, bytes] = {}
        self._socket: ClientConnection
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> SessionClient:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def connect(self, token: str | None = None) -> None:
        self.over.clear()
        self._socket = await connect(self.opened.stream_url, max_size=None, open_timeout=5)
        opening = {
            "MessageSchemaVersion": "1.0",
            "RequestId": str(uuid.uuid4()),
            "TokenValue": self.token if token is None else token,
            "ClientId": str(uuid.uuid4()),
            "ClientVersion": "1.2.707.0",
        }
        await self._socket.send(json.dumps(opening))
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._repeat())]

    async def disconnect(self, *, rudely: bool = False) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if rudely:
            self._socket.transport.abort()
        else:
            await self._socket.close()

    # -- what a user does

    async def type(self, data: bytes) -> None:
        await self.say(OUTPUT, b"\r" if data == b"\n" else data)

    async def resize(self, rows: int, cols: int) -> None:
        await self.say(SIZE, json.dumps({"cols": cols, "rows": rows}).encode())

    async def terminate(self) -> None:
        await self.say(FLAG, struct.pack(">I", 2))

    async def until(self, true: Callable[[], object], within: float = 20.0) -> None:
        async with asyncio.timeout(within):
            while not true():
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.05)

    async def shows(self, text: bytes, within: float = 20.0) -> None:
        try:
            await self.until(lambda: text in self.output, within)
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in {bytes(self.output[-2000:])!r}") from None

    # -- the channel

    async def say(self, payload_type: int, payload: bytes) -> None:
        data = pack("input_stream_data", payload, payload_type=payload_type, sequence=self._sequence)
        self.unacknowledged[self._sequence] = data
        self._sequence += 1
        await self.send(data)

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionClosed):
            for each in [data] if self.outgoing is None else self.outgoing.through(data):
                await self._socket.send(each)

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for late in self.outgoing.late() if self.outgoing is not None else []:
                await self._socket.send(late)
            if self.unacknowledged:
                await self.send(next(iter(self.unacknowledged.values())))

    async def _listen(self) -> None:
        try:
            async for data in self._socket:
                assert isinstance(data, bytes)
                for each in [data] if self.incoming is None else self.incoming.through(data):
                    await self._hear(Received(each))
        except ConnectionClosed:
            pass
        self.close_code = self._socket.protocol.close_code or 0
        self.over.set()
        self._news.set()

    async def _hear(self, message: Received) -> None:
        if message.kind == "acknowledge":
            content = message.json()
            assert content["AcknowledgedMessageType"] == "input_stream_data"
            assert content["IsSequentialMessage"] is True
            self.unacknowledged.pop(content["AcknowledgedMessageSequenceNumber"], None)
        elif message.kind == "channel_closed":
            self.closed = message.json()
        elif message.kind == "output_stream_data":
            await self._in_order(message)
        self._news.set()

    async def _in_order(self, message: Received) -> None:
        assert (message.flags == 1) == (message.sequence == 0)
        if message.sequence < self._expected:
            self.repeated += 1
        elif message.sequence > self._expected:
            self._early[message.sequence] = message
            await self._acknowledge(message)
        else:
            if message.payload_type == OUTPUT and self.deaf_for:
                self.deaf_for -= 1
                return
            await self._acknowledge(message)
            await self._use(message)
            while (following := self._early.pop(self._expected, None)) is not None:
                await self._use(following)

    async def _acknowledge(self, message: Received) -> None:
        if self.acknowledges:
            content = {
                "AcknowledgedMessageType": message.kind,
                "AcknowledgedMessageId": str(message.id),
                "AcknowledgedMessageSequenceNumber": message.sequence,
                "IsSequentialMessage": True,
            }
            await self.send(pack("acknowledge", json.dumps(content).encode(), flags=3))

    async def _use(self, message: Received) -> None:
        self._expected += 1
        if message.payload_type == HANDSHAKE_REQUEST:
            await self._respond(message)
        elif message.payload_type == HANDSHAKE_COMPLETE:
            assert message.json()["HandshakeTimeToComplete"] >= 0
            self.complete.set()
        else:
            assert message.payload_type == OUTPUT
            self.output += message.payload
            self.pieces.append(len(message.payload))

    async def _respond(self, message: Received) -> None:
        request = message.json()
        assert request["AgentVersion"]
        done: list[dict[str, Any]] = []
        for action in request["RequestedClientActions"]:
            assert action["ActionType"] == "SessionType"
            self.session_type = action["ActionParameters"]
            status = {"ActionStatus": 1} if self.agrees else {"ActionStatus": 2, "Error": "Unknown session type"}
            done.append({"ActionType": "SessionType", "ActionResult": None, "Error": "", **status})
        response = {"ClientVersion": "1.2.707.0", "ProcessedClientActions": done, "Errors": None}
        await self.say(HANDSHAKE_RESPONSE, json.dumps(response).encode())
