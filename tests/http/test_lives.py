"""How connections live and end: time limits, clients that go away, draining, memory."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator

import pytest
from stack import QUICK, Client, both_loops, descriptors, echo, get, post, resident, run, serving, talking, until

from cloudstead.http.limits import Limits
from cloudstead.http.messages import BodyBroken, HttpRequest, HttpResponse
from cloudstead.kernel.errors import Throttled

MIB = 1 << 20


class Watched:
    """A handler that waits, and notes how it ended."""

    def __init__(self) -> None:
        self.started = 0
        self.ended: list[str] = []
        self.gate = asyncio.Event()

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.started += 1
        try:
            await self.gate.wait()
            self.ended.append("answered")
            return HttpResponse(200, body=b"done")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise


@both_loops
@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_goes_away_cancels_the_handler(how: str, loop: str) -> None:
    async def main() -> None:
        handler = Watched()
        async with serving(handler) as (server, port):
            client = await Client.connect(port)
            client.send(get())
            await until(lambda: handler.started == 1)
            if how == "reset":
                client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.reset()
            else:
                client.close()  # looks like a half-close at first: noticed when the grace for those is over
            await until(lambda: handler.ended == ["cancelled"])
            await until(lambda: not server.connections)

    run(main(), loop)


@both_loops
def test_a_client_that_has_closed_its_side_gets_its_answer(loop: str) -> None:
    async def main() -> None:
        handler = Watched()
        async with talking(handler) as client:
            client.send(get())
            client.writer.write_eof()
            await asyncio.sleep(0.1)
            handler.gate.set()
            assert (await client.answer())[2] == b"done"
            assert await client.at_end()

    run(main(), loop)


def test_a_client_that_goes_away_ends_a_stream() -> None:
    closed: list[bool] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        async def forever() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1000
                    await asyncio.sleep(0.001)
            finally:
                closed.append(True)

        return HttpResponse(200, body=forever())

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get())
            await client.reader.readuntil(b"\r\n\r\n")
            client.reset()
            await until(lambda: closed == [True])

    run(main())


def test_an_upload_that_breaks_off_is_told_to_the_reader_or_cancels_it() -> None:
    ended: list[str] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            async for _ in request.stream():
                pass
        except BodyBroken:
            ended.append("told")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return HttpResponse(400)

    async def main() -> None:
        async with serving(handler) as (_, port):
            for _ in range(2):
                client = await Client.connect(port)
                client.send(get("/", "Content-Length: 1000", method="PUT") + b"x")
                await asyncio.sleep(0.05)
                client.reset()
            await until(lambda: len(ended) == 2)

    run(main())


def test_idle_connections_close() -> None:
    async def main() -> None:
        async with talking(echo, limits=Limits(idle_timeout=0.2, sweep_interval=0.05)) as client:
            await client.ask(get())
            begin = time.monotonic()
            assert await client.at_end()
            assert 0.15 < time.monotonic() - begin < 5

    run(main())


def test_a_head_that_drips_in_is_given_up_with_408() -> None:
    async def main() -> None:
        async with talking(echo) as client:
            begin = time.monotonic()

            async def drip() -> None:
                for byte in get("/", "X: " + "x" * 1000):
                    client.send(bytes([byte]))
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip())
            status, headers, _ = await client.answer()
            dripping.cancel()
            assert (status, headers["connection"]) == (408, "close")
            assert time.monotonic() - begin < 8

    run(main())


def test_empty_lines_do_not_keep_a_connection() -> None:
    async def main() -> None:
        async with talking(echo, limits=Limits(idle_timeout=0.3, sweep_interval=0.05, linger_timeout=0.1)) as client:

            async def drip() -> None:
                while True:
                    client.send(b"\r\n")
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip())
            await asyncio.wait_for(client.at_end(), 2)
            dripping.cancel()

    run(main())


def test_a_body_that_stops_coming_is_given_up() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            return await echo(request)
        except BodyBroken as error:
            return HttpResponse(error.status, body=error.message.encode())

    async def main() -> None:
        async with talking(handler) as client:
            status, headers, body = await client.ask(get("/", "Content-Length: 5", method="POST") + b"12")
            assert (status, headers["connection"]) == (400, "close")
            assert b"in time" in body

    run(main())


def test_a_handler_may_take_longer_than_any_limit_on_the_client() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        async for _ in request.stream():
            await asyncio.sleep(0.6)
        return HttpResponse(200)

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get("/", "Content-Length: 4", method="POST") + b"12")
            await asyncio.sleep(0.7)
            assert (await client.ask(b"34"))[0] == 200

    run(main())


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, body=b"x" * 50_000_000)

    async def main() -> None:
        async with serving(handler) as (server, port):
            client = await Client.connect(port)
            client.writer.transport.pause_reading()
            client.send(get())
            await until(lambda: len(server.connections) == 1)
            await until(lambda: not server.connections)
            client.close()

    run(main())


@both_loops
def test_draining_finishes_what_runs_and_says_so(loop: str) -> None:
    async def main() -> None:
        handler = Watched()
        async with serving(handler, grace=5) as (server, port):
            busy, idle = await Client.connect(port), await Client.connect(port)
            busy.send(get("/1") + get("/2"))
            await until(lambda: handler.started == 1 and len(server.connections) == 2)
            stopping = asyncio.create_task(server.stop(grace=5))
            assert await idle.at_end()
            await asyncio.sleep(0.05)
            assert not stopping.done()
            with pytest.raises(OSError):
                await Client.connect(port)
            handler.gate.set()
            _, headers, body = await busy.answer()
            assert (body, headers["connection"]) == (b"done", "close")
            assert await busy.at_end()
            await stopping
            busy.close()
            idle.close()
        assert handler.started == 1

    run(main(), loop)


def test_draining_has_a_limit() -> None:
    async def main() -> None:
        handler = Watched()
        async with serving(handler, grace=0.1) as (server, port):
            client = await Client.connect(port)
            client.send(get())
            await until(lambda: handler.started == 1)
            begin = time.monotonic()
            await server.stop(grace=0.2)
            assert time.monotonic() - begin < 6
            assert handler.ended == ["cancelled"]
            client.close()

    run(main())


def test_who_does_not_want_to_wait_for_running_requests_need_not() -> None:
    async def main() -> None:
        handler = Watched()
        async with serving(handler) as (server, port):
            client = await Client.connect(port)
            client.send(get())
            await until(lambda: handler.started == 1)
            begin = time.monotonic()
            stopping = asyncio.create_task(server.stop(grace=30))
            await asyncio.sleep(0.1)
            assert not stopping.done()
            server.hasten()
            await stopping
            assert time.monotonic() - begin < 5
            assert handler.ended == ["cancelled"]
            client.close()

    run(main())


def test_more_connections_than_allowed_are_dropped_while_all_are_busy() -> None:
    async def main() -> None:
        handler = Watched()
        async with serving(handler, limits=Limits(connections=2)) as (server, port):
            clients = [await Client.connect(port) for _ in range(2)]
            for client in clients:
                client.send(get())
            await until(lambda: handler.started == 2)
            third = await Client.connect(port)
            assert await third.at_end()
            handler.gate.set()
            for client in clients:
                assert (await client.answer())[0] == 200
            for client in (*clients, third):
                client.close()
            await until(lambda: not server.connections)

    run(main())


def test_what_all_requests_hold_of_long_bodies_is_limited() -> None:
    """Four clients with 300 KiB each where there is room for two and a bit: who comes too late is told, and the room is there again afterwards."""

    async def handler(request: HttpRequest) -> HttpResponse:
        try:
            return HttpResponse(200, body=b"%d" % len(await request.read()))
        except Throttled:
            return HttpResponse(400, body=b"throttled")

    async def main() -> None:
        async with serving(handler, limits=Limits(bodies=700 << 10)) as (server, port):
            clients = [await Client.connect(port) for _ in range(4)]
            for client in clients:
                client.send(post(b"x" * (300 << 10))[:-1])
            await until(lambda: server.kept > 400 << 10)
            for client in clients:
                client.send(b"x")
            answers = sorted([(await client.answer())[2] for client in clients])
            assert b"throttled" in answers
            assert b"%d" % (300 << 10) in answers
            await until(lambda: server.kept == 0)
            for client in clients:
                client.close()
            last = await Client.connect(port)
            assert (await last.ask(post(b"x" * (300 << 10))))[0] == 200
            last.close()

    run(main())


def test_the_oldest_idle_connection_makes_room_for_a_new_one() -> None:
    async def main() -> None:
        async with serving(echo, limits=Limits(connections=3)) as (server, port):
            first, second, slow = [await Client.connect(port) for _ in range(3)]
            await until(lambda: len(server.connections) == 3)
            assert (await first.ask(get()))[0] == 200
            slow.send(b"GET / HT")
            fourth = await Client.connect(port)
            assert (await fourth.ask(get()))[0] == 200
            assert await first.at_end()
            assert (await second.ask(get()))[0] == 200
            for client in (first, second, slow, fourth):
                client.close()
            await until(lambda: not server.connections)

    run(main())


def test_nothing_is_left_of_connections_that_are_gone() -> None:
    async def main() -> None:
        async with serving(echo) as (server, port):
            before = descriptors()
            for number in range(300):
                client = await Client.connect(port)
                client.send(post(b"x" * 10)[: number % 70])
                if number % 2:
                    await asyncio.sleep(0)
                client.reset()
            await until(lambda: not server.connections)
            await until(lambda: descriptors() <= before)

    run(main())


@both_loops
def test_a_long_upload_takes_no_memory(loop: str) -> None:
    """256 MiB against a handler that is slower than the client."""
    total, taken = 256 * MIB, 0

    async def handler(request: HttpRequest) -> HttpResponse:
        nonlocal taken
        async for piece in request.stream():
            taken += len(piece)
            await asyncio.sleep(0)
        return HttpResponse(200, body=b"%d" % taken)

    async def main() -> None:
        async with talking(handler) as client:
            client.send(get("/", f"Content-Length: {total}", method="PUT"))
            block, before, highest = bytes(MIB), resident(), 0
            for _ in range(total // MIB):
                client.send(block)
                await client.writer.drain()
                highest = max(highest, resident())
            assert (await client.answer())[2] == b"%d" % total
            assert highest - before < 24 * MIB

    run(main(), loop)


def test_an_upload_that_is_not_taken_is_held_back() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def handler(request: HttpRequest) -> HttpResponse:
            await gate.wait()
            total = 0
            async for piece in request.stream():
                total += len(piece)
            return HttpResponse(200, body=b"%d" % total)

        async with talking(handler) as client:
            before = resident()
            client.send(get("/", f"Content-Length: {64 * MIB}", method="PUT"))
            sent = 0
            try:
                while sent < 64 * MIB:
                    client.send(bytes(MIB))
                    await asyncio.wait_for(client.writer.drain(), 0.3)
                    sent += MIB
            except TimeoutError:
                sent += MIB
            assert sent < 32 * MIB
            assert resident() - before < 24 * MIB
            gate.set()
            client.send(bytes(64 * MIB - sent))
            assert (await client.answer())[2] == b"%d" % (64 * MIB)

    run(main())


@both_loops
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_long_download_takes_no_memory(framing: str, loop: str) -> None:
    """256 MiB to a client that is slower than the handler."""
    total, made = 256 * MIB, 0

    async def handler(request: HttpRequest) -> HttpResponse:
        async def body() -> AsyncIterator[bytes]:
            nonlocal made
            block = bytes(MIB)
            while made < total:
                made += MIB
                yield block

        return HttpResponse(200, [("Content-Length", str(total))] if framing == "length" else [], body())

    async def main() -> None:
        async with talking(handler, limits=Limits()) as client:
            before, highest, got = resident(), 0, 0
            client.send(get("/", "Connection: close"))
            await asyncio.sleep(0.2)
            assert made < 32 * MIB
            while data := await client.reader.read(MIB):
                got += len(data)
                highest = max(highest, resident())
            assert got >= total
            assert highest - before < 24 * MIB

    run(main(), loop)


def test_a_small_request_costs_no_task_but_the_handlers() -> None:
    made: list[object] = []

    async def handler(request: HttpRequest) -> HttpResponse:
        await request.read()
        return HttpResponse()

    async def main() -> None:
        async with talking(handler, limits=QUICK) as client:
            await client.ask(post(b"warm"))
            asyncio.get_running_loop().set_task_factory(
                lambda loop, coro, **more: made.append(coro) or asyncio.Task(coro, loop=loop, **more)
            )  # type: ignore[func-returns-value, arg-type]
            for _ in range(10):
                await client.ask(post(b"x" * 100))
            asyncio.get_running_loop().set_task_factory(None)

    run(main())
    assert len(made) == 10
