"""Questions that no network answers go to the host's name servers, or to those that a pod was given.

Each question has a socket of its own with a random port and a random id (RFC 5452), so a stranger who wants to slip in an answer must guess both,
and the kernel lets nobody but the server that was asked answer it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cloudstead.engine.errors import EngineError
from cloudstead.kernel.clock import Clock

TIMEOUT = 2.0  # seconds for one server; each is asked twice
TRIES = 2
READ_AGAIN = 5.0  # seconds after which the file is looked at again
_random = random.SystemRandom()

Dialer = Callable[[str], Awaitable[socket.socket]]
"""Opens a connected udp socket to port 53 of a server; for servers that only a network reaches."""


class Forwarder:
    def __init__(self, clock: Clock, resolv_conf: Path = Path("/etc/resolv.conf")) -> None:
        self._clock = clock
        self._path = resolv_conf
        self._servers: list[str] = []
        self._read_at = float("-inf")

    async def ask(self, message: bytes, servers: Sequence[str] = (), dial: Dialer | None = None, *, stream: bool = False) -> bytes | None:
        """The answer of the first server that gives one; None: no server did. Blocks nobody, and takes at most a few seconds."""
        for _ in range(TRIES):
            for server in servers or self.servers():
                with contextlib.suppress(OSError, TimeoutError, EngineError, asyncio.IncompleteReadError):
                    async with self._clock.timeout(TIMEOUT):
                        if stream and dial is None:
                            return await _by_stream(message, server)
                        return await _by_datagram(message, server, dial)
        return None

    def servers(self) -> list[str]:
        now = self._clock.monotonic()
        if now - self._read_at > READ_AGAIN:
            self._read_at = now
            with contextlib.suppress(OSError):
                self._servers = name_servers(self._path.read_text(errors="replace"))
        return self._servers


def name_servers(resolv_conf: str) -> list[str]:
    """At most three, as resolv.conf(5) has it; the machine itself when there are none."""
    lines = [line.split() for line in resolv_conf.splitlines()]
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"][:3] or ["127.0.0.1"]


async def _by_datagram(message: bytes, server: str, dial: Dialer | None) -> bytes:
    loop = asyncio.get_running_loop()
    sock = await dial(server) if dial is not None else _connected(server)
    with sock:
        number = _random.randrange(1 << 16)
        await loop.sock_sendall(sock, struct.pack(">H", number) + message[2:])
        while True:
            answer = await loop.sock_recv(sock, 65535)
            if _answers(answer, number, message):
                return message[:2] + answer[2:]


def _connected(server: str) -> socket.socket:
    address = server.partition("%")[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.connect(socket.getaddrinfo(server, 53, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4])
    except BaseException:
        sock.close()
        raise
    return sock


async def _by_stream(message: bytes, server: str) -> bytes:
    reader, writer = await asyncio.open_connection(server, 53)
    try:
        number = os.urandom(2)
        writer.write(struct.pack(">H", len(message)) + number + message[2:])
        while True:
            size = struct.unpack(">H", await reader.readexactly(2))[0]
            answer = await reader.readexactly(size)
            if _answers(answer, int.from_bytes(number), message):
                return message[:2] + answer[2:]
    finally:
        writer.close()


def _answers(answer: bytes, number: int, message: bytes) -> bool:
    """Whether it is an answer to this question: the id, the response bit, and the question as it was asked (some servers leave it out of an error)."""
    if len(answer) < 12 or struct.unpack_from(">H", answer)[0] != number or not answer[2] & 0x80:
        return False
    end = message.index(b"\0", 12) + 5  # a query that was parsed: no compression before the end of its name
    return answer[4:6] == b"\0\0" or answer[12:end].lower() == message[12:end].lower()
