"""The channel between daemon and engine host, spoken to by somebody who keeps no rule. Nothing piles up in the host, and nothing of it is mistaken."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.host import channel
from cloudstead.engine.host.channel import HEAD, MOST_DESCRIPTORS, Channel
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.host.commands import TearDown
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.server import Host

encode = msgspec.msgpack.encode


def frame(payload: bytes, descriptors: int = 0) -> bytes:
    return HEAD.pack(len(payload), descriptors) + payload


def call(number: int, command: object) -> bytes:
    return frame(encode(["call", number, command]))


class Ear:
    """One end that notes what it hears."""

    def __init__(self, sock: socket.socket, **options: bool) -> None:
        self.heard: list[bytes] = []
        self.lost = False
        self.channel = Channel(sock, self._received, self._lost, **options)

    def _received(self, payload: bytes, descriptors: list[int]) -> None:
        self.heard.append(payload)
        channel.close_all(descriptors)

    def _lost(self) -> None:
        self.lost = True


def between(test: Callable[[socket.socket, Ear], Awaitable[None]], **options: bool) -> None:
    async def run() -> None:
        before = len(os.listdir("/proc/self/fd"))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        ear = Ear(theirs, **options)
        with ours:
            await test(ours, ear)
        ear.channel.close()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(run())


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("announced", [0, 2])
def test_descriptors_that_no_frame_announces_end_the_conversation(announced: int) -> None:
    async def test(ours: socket.socket, ear: Ear) -> None:
        socket.send_fds(ours, [frame(b"x" * 10, announced)], [ours.fileno()] * (announced + 3))
        await until(lambda: ear.lost)

    between(test)


def test_descriptors_do_not_pile_up_behind_a_frame_that_never_ends() -> None:
    async def test(ours: socket.socket, ear: Ear) -> None:
        socket.send_fds(ours, [HEAD.pack(1 << 20, MOST_DESCRIPTORS)], [ours.fileno()] * MOST_DESCRIPTORS)
        await asyncio.sleep(0.05)
        assert not ear.lost
        socket.send_fds(ours, [b"x"], [ours.fileno()])
        await until(lambda: ear.lost)

    between(test)


def test_who_does_not_read_is_not_listened_to_until_he_reads() -> None:
    async def test(ours: socket.socket, ear: Ear) -> None:
        left = 0
        while ear.channel._unsent <= channel.UNSENT:
            ear.channel.send(b"x" * (1 << 20))
            left += HEAD.size + (1 << 20)
        ours.send(frame(b"one") + frame(b"two"))
        await asyncio.sleep(0.1)
        assert ear.heard == []
        loop = asyncio.get_running_loop()
        while left > 0:
            left -= len(await loop.sock_recv(ours, 1 << 20))
        await until(lambda: ear.heard == [b"one", b"two"])

    between(test, patient=True)


def test_who_never_reads_is_given_up() -> None:
    async def test(ours: socket.socket, ear: Ear) -> None:
        big = b"x" * channel.LONGEST
        for _ in range(4):
            if not ear.lost:
                ear.channel.send(big)
        assert ear.lost

    between(test, patient=True)


@pytest.mark.parametrize(
    "said",
    [
        frame(b""),
        frame(b"\xc1"),
        frame(encode(["call", 1])),
        frame(encode(5)),
        frame(encode(["call", 1, {"type": "TearDown"}]).replace(b"call", b"\xff\xff\xff\xff")),
        HEAD.pack(channel.LONGEST + 1, 0),
        HEAD.pack(1, MOST_DESCRIPTORS + 1) + b"x",
        frame(b"x", 1),
    ],
)
def test_garbage_ends_the_conversation_and_nothing_else(said: bytes, tmp_path: object) -> None:
    async def test() -> None:
        host = Host(Layout(tmp_path))  # type: ignore[arg-type]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            serving = asyncio.ensure_future(host.serve(theirs))
            await asyncio.sleep(0)
            ours.send(said)
            async with asyncio.timeout(5):
                await serving
        host.close()

    asyncio.run(test())


def test_commands_that_cannot_be_read_are_refused_and_the_next_is_heard(tmp_path: object) -> None:
    strange = [None, [], {}, {"type": 1}, {"type": "Nope"}, {"type": "TearDown", "more": 1}, {"typ": "x"}, {"type": "x" * 100_000}]

    async def test() -> None:
        host = Host(Layout(tmp_path))  # type: ignore[arg-type]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ears = Ear(ours)
        serving = asyncio.ensure_future(host.serve(theirs))
        await asyncio.sleep(0)
        for number, command in enumerate(strange):
            ears.channel.send(encode(["call", number, command]))
        ears.channel.send(encode(["cancel", 10**15]))
        ears.channel.send(b"\x93\xa4call\x63\x81\xa4type\xa1\xff")  # a name that is no UTF-8
        await until(lambda: len(ears.heard) == len(strange) + 1)
        answers = [msgspec.msgpack.decode(each) for each in ears.heard]
        assert {answer[0] for answer in answers} == {"refusal"}
        assert {answer[2] for answer in answers} == {"InvalidArgument", "Unsupported"}
        assert not ears.lost
        ears.channel.close()
        await serving

    asyncio.run(test())


def test_two_calls_of_one_number_end_the_conversation(tmp_path: object) -> None:
    async def test() -> None:
        host = Host(Layout(tmp_path))  # type: ignore[arg-type]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            serving = asyncio.ensure_future(host.serve(theirs))
            await asyncio.sleep(0)
            ours.send(call(7, {"type": "Nope"}) * 2)
            async with asyncio.timeout(5):
                await serving

    asyncio.run(test())


def test_what_is_longer_than_a_frame_is_refused_with_a_sentence(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LONGEST", 10)

    async def test() -> None:
        client = HostClient(Layout(tmp_path))  # type: ignore[arg-type]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            client.join(ours)
            with pytest.raises(InvalidArgument, match="too large"):
                await client.call(TearDown())
            await client.close()

    asyncio.run(test())
