"""Sessions of ECS Exec, between a client that behaves as Session Manager's plugin and a process that is none."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest
import session_client as plugin
from session_client import Faults, SessionClient
from websockets.exceptions import InvalidStatus

from cloudstead.engine.errors import Failed
from cloudstead.engine.pods.api import Execution
from cloudstead.http.limits import Limits as HttpLimits
from cloudstead.http.server import Server
from cloudstead.kernel.clock import SystemClock, VirtualClock
from cloudstead.kernel.context import Cloud
from cloudstead.services.ecs.sessions import messages
from cloudstead.services.ecs.sessions.channel import PRESUMED_AFTER, WINDOW, Channel
from cloudstead.services.ecs.sessions.limits import Limits
from cloudstead.services.ecs.sessions.messages import Acknowledge, BadMessage, Message
from cloudstead.services.ecs.sessions.page import Opened, Sessions, stream_url
from cloudstead.services.ecs.sessions.session import Session
from support import CloudThread

MIB = 1 << 20


class FakeStreams:
    def __init__(self) -> None:
        self.output: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=4)
        self.input = bytearray()
        self.open = asyncio.Event()  # the process reads
        self.open.set()
        self.closed = False

    async def read(self) -> tuple[Literal["stdout", "stderr"], bytes] | None:
        data = await self.output.get()
        return None if data is None else ("stdout", data)

    async def write(self, data: bytes) -> None:
        await self.open.wait()
        self.input += data

    async def close_input(self) -> None:
        raise AssertionError("a terminal has no end of input")

    async def close(self) -> None:
        self.closed = True


class FakeExecution:
    """A process that the test plays."""

    id = "exec"
    pid = 1

    def __init__(self) -> None:
        self.streams = FakeStreams()
        self.exit_code: int | None = None
        self.signals: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.deathless = False
        self._over = asyncio.Event()

    def exit(self, code: int = 0) -> None:
        self.exit_code = code
        self.streams.output._maxsize = 0  # type: ignore[attr-defined]
        self.streams.output.put_nowait(None)
        self._over.set()

    async def wait(self) -> int:
        await self._over.wait()
        assert self.exit_code is not None
        return self.exit_code

    async def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    async def signal(self, name: str) -> None:
        self.signals.append(name)
        if name == "SIGKILL" or (name == "SIGHUP" and not self.deathless):
            self.exit(129)

    async def writes(self, data: bytes) -> None:
        await self.streams.output.put(data)


class Ground:
    """Sessions behind a server."""

    def __init__(self, limits: Limits) -> None:
        self.sessions = Sessions(SystemClock(), lambda: f"http://127.0.0.1:{self.port}", limits=limits)
        self.server: Server
        self.port = 0
        self.executions: list[FakeExecution] = []
        self.ended: list[Session] = []
        self.heard = bytearray()
        self.refuses = ""

    async def start(self) -> Execution:
        if self.refuses:
            raise Failed(self.refuses)
        self.executions.append(FakeExecution())
        return self.executions[-1]  # type: ignore[return-value]

    @property
    def process(self) -> FakeExecution:
        return self.executions[-1]

    def open(self, command: str = "/bin/sh", **options: Any) -> Opened:
        return self.sessions.open_session(self.start, command=command, heard=self.heard.extend, ended=self.ended.append, **options)


@contextlib.asynccontextmanager
async def ground(**limits: float) -> AsyncIterator[Ground]:
    one = Ground(Limits(**({"hang_up_within": 0.2, "output_after_exit": 0.2, "goodbye_within": 0.5} | limits)))
    one.server = Server(one.sessions.answer, limits=HttpLimits(sweep_interval=0.05))
    one.port = await one.server.listen_tcp("127.0.0.1")
    try:
        yield one
    finally:
        await one.sessions.stop()
        await one.server.stop(1.0)
        assert len(one.sessions) == 0
        assert all(each.streams.closed and each.exit_code is not None for each in one.executions)


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await main
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded())


async def started(g: Ground, client: SessionClient) -> FakeExecution:
    await client.complete.wait()
    await client.until(lambda: g.executions)
    return g.process


# ----------------------------------------------------------------------------------------------------------- conversations


def test_a_command_is_typed_at_and_answers_and_ends() -> None:
    async def main() -> None:
        async with ground() as g:
            opened = g.open("/bin/sh -l")
            assert opened.stream_url == f"ws://127.0.0.1:{g.port}/_cloudstead/session/{opened.session_id}?role=publish_subscribe"
            async with SessionClient(opened) as client:
                process = await started(g, client)
                assert client.session_type["SessionType"] == "InteractiveCommands"
                assert client.session_type["Properties"]["linux"]["commands"] == "/bin/sh -l"
                await client.resize(50, 132)
                await client.type(b"ls\r")
                await client.type(b"\x03")
                await client.until(lambda: process.streams.input == b"ls\r\x03")
                assert process.sizes == [(50, 132)]
                await process.writes(b"file\r\n$ ")
                await client.shows(b"file\r\n$ ")
                process.exit(3)
                await client.over.wait()
                assert client.closed["SessionId"] == opened.session_id
                assert client.closed["Output"] == ""
                assert client.close_code == 1000
            await client.until(lambda: [session.exit_code for session in g.ended] == [3])
            assert g.heard == b"file\r\n$ "
            assert process.signals == []

    run(main())


def test_what_was_written_last_is_delivered_in_small_pieces() -> None:
    async def main() -> None:
        async with ground() as g, SessionClient(g.open()) as client:
            process = await started(g, client)
            process.streams.output._maxsize = 0  # type: ignore[attr-defined]
            said = random.Random(5).randbytes(3 * MIB)
            await process.writes(said)
            process.exit()
            await client.over.wait()
            assert client.output == said
            assert max(client.pieces) == 1024
            assert client.closed is not None

    run(main())


def test_output_that_comes_before_the_client_is_ready_is_repeated() -> None:
    async def main() -> None:
        async with ground() as g, SessionClient(g.open(), deaf_for=2) as client:
            process = await started(g, client)
            for word in (b"one ", b"two ", b"three"):
                await process.writes(word)
            await client.shows(b"one two three")
            assert client.output == b"one two three"

    run(main())


@pytest.mark.parametrize("seed", range(3))
def test_messages_that_are_lost_doubled_and_reordered_arrive_once_and_in_order(seed: int) -> None:
    async def main() -> None:
        async with ground(goodbye_within=10) as g:
            client = SessionClient(g.open(), faults=Faults(seed, lose=0.02, double=0.2, reorder=0.2))
            async with client:
                process = await started(g, client)
                said = random.Random(seed).randbytes(60_000)
                typed = b"".join(b"line %d\r" % number for number in range(100))
                process.streams.output._maxsize = 0  # type: ignore[attr-defined]
                await process.writes(said)
                for at in range(0, len(typed), 20):
                    await client.type(typed[at : at + 20])
                await client.until(lambda: len(process.streams.input) >= len(typed), 30)
                await client.until(lambda: len(client.output) >= len(said), 30)
                assert process.streams.input == typed
                assert client.output == said
                process.exit()
                await client.over.wait()

    run(main())


def test_a_client_that_reads_slowly_holds_the_process_back() -> None:
    async def main() -> None:
        async with ground() as g, SessionClient(g.open()) as client:
            process = await started(g, client)
            client.acknowledges = False
            written = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while True:
                        await process.writes(b"x" * 10_240)
                        written += 10
            assert WINDOW - 20 < written < WINDOW + 100

    run(main())


def test_a_process_that_does_not_read_holds_the_client_back_and_loses_nothing() -> None:
    async def main() -> None:
        async with ground() as g, SessionClient(g.open()) as client:
            process = await started(g, client)
            process.streams.open.clear()
            typed = b"".join(b"%06d" % number for number in range(350_000))
            for at in range(0, len(typed), 1024):
                await client.type(typed[at : at + 1024])
            await asyncio.sleep(0.3)
            assert len(client.unacknowledged) > 50
            await process.writes(b"still here")  # the other way goes on
            await client.shows(b"still here")
            process.streams.open.set()
            for _ in range(len(client.unacknowledged) + 1):  # the plugin repeats one in 100 ms, this one is in a hurry
                for data in list(client.unacknowledged.values()):
                    await client.send(data)
                await asyncio.sleep(0.05)
                if not client.unacknowledged:
                    break
            await client.until(lambda: len(process.streams.input) == len(typed))
            assert process.streams.input == typed

    run(main())


def test_a_pause_holds_output_until_the_client_goes_on() -> None:
    async def main() -> None:
        async with ground() as g, SessionClient(g.open()) as client:
            process = await started(g, client)
            await client.send(plugin.pack("pause_publication", b""))
            await client.type(b"")  # does not pause: whoever speaks listens
            await client.send(plugin.pack("pause_publication", b""))
            await asyncio.sleep(0.1)
            await process.writes(b"later")
            await asyncio.sleep(0.4)
            assert client.output == b""
            await client.send(plugin.pack("start_publication", b""))
            await client.shows(b"later")

    run(main())


def test_without_a_terminal_a_control_character_is_a_signal() -> None:
    async def main() -> None:
        async with ground() as g, SessionClient(g.open(interactive=False)) as client:
            process = await started(g, client)
            assert client.session_type["SessionType"] == "NonInteractiveCommands"
            await client.type(b"typed\x03")
            await client.resize(1, 1)
            await client.type(b"\x1c")
            await client.until(lambda: process.signals == ["SIGINT", "SIGQUIT"])
            assert process.streams.input == b""
            assert process.sizes == []

    run(main())


# ----------------------------------------------------------------------------------------------------------------- ends


def test_a_command_that_cannot_be_started_says_why() -> None:
    async def main() -> None:
        async with ground() as g:
            g.refuses = 'exec: "/bin/bash": no such file or directory'
            async with SessionClient(g.open("/bin/bash")) as client:
                await client.over.wait()
                assert client.closed["Output"].startswith("\n----------ERROR-------\nUnable to start command: Failed to start pty: ")
                assert "no such file" in client.closed["Output"]

    run(main())


def test_the_client_may_terminate_the_session() -> None:
    async def main() -> None:
        async with ground() as g:
            async with SessionClient(g.open()) as client:
                process = await started(g, client)
                process.deathless = True
                await client.terminate()
                await client.over.wait()
                assert client.closed is not None
            assert process.signals == ["SIGHUP", "SIGKILL"]
            assert process.streams.closed

    run(main())


def test_a_session_is_terminated_from_elsewhere() -> None:
    async def main() -> None:
        async with ground() as g:
            opened = g.open()
            async with SessionClient(opened) as client:
                process = await started(g, client)
                assert await g.sessions.terminate(opened.session_id)
                await client.over.wait()
            assert process.signals == ["SIGHUP"]
            assert not await g.sessions.terminate(opened.session_id)
            assert g.sessions.resume(opened.session_id) is None

    run(main())


@pytest.mark.parametrize(
    ("limits", "output"),
    [
        ({"idle": 0.3}, "Your session timed out due to inactivity."),
        ({"acknowledge_within": 0.3}, "The client does not answer."),
        ({"handshake_within": 0.3}, "Handshake timed out. Please ensure that you have the latest version of the session manager plugin."),
    ],
)
def test_a_client_that_does_not_go_on_is_left(limits: dict[str, float], output: str) -> None:
    async def main() -> None:
        async with ground(**limits) as g:
            client = SessionClient(g.open())
            client.acknowledges = "acknowledge_within" not in limits
            if "handshake_within" in limits:
                client.say = _nothing  # type: ignore[method-assign]
            async with client:
                await client.over.wait()
                assert client.closed["Output"] == output

    run(main())


async def _nothing(payload_type: int, payload: bytes) -> None:
    pass


def test_activity_keeps_a_session_open() -> None:
    async def main() -> None:
        async with ground(idle=0.6) as g, SessionClient(g.open()) as client:
            process = await started(g, client)
            for number in range(8):
                await asyncio.sleep(0.2)
                await (client.type(b"x") if number % 2 else process.writes(b"y"))
            assert client.closed is None
            await client.over.wait()

    run(main())


def test_nobody_who_comes_leaves_no_session_and_starts_no_process() -> None:
    async def main() -> None:
        async with ground(connect_within=0.1) as g:
            opened = g.open()
            await asyncio.sleep(0.4)
            assert len(g.sessions) == 0
            assert g.executions == []
            assert [session.id for session in g.ended] == [opened.session_id]

    run(main())


def test_a_client_that_refuses_the_session_type_gets_no_process() -> None:
    async def main() -> None:
        async with ground() as g:
            client = SessionClient(g.open())
            client.agrees = False
            async with client:
                await client.over.wait()
                assert "SessionType failed on client with status 2" in client.closed["Output"]
            assert g.executions == []

    run(main())


def test_output_of_what_the_process_left_behind_is_not_awaited_for_ever() -> None:
    async def main() -> None:
        async with ground(output_after_exit=0.2) as g, SessionClient(g.open()) as client:
            process = await started(g, client)
            await process.writes(b"last words")
            process.exit_code = 0
            process._over.set()  # and its terminal stays open
            await client.over.wait()
            assert client.output == b"last words"

    run(main())


def test_a_server_that_stops_ends_its_sessions() -> None:
    async def main() -> None:
        async with ground() as g, SessionClient(g.open()) as client:
            process = await started(g, client)
            await g.server.stop(10.0)
            await client.over.wait()
            assert client.closed["Output"] == "Cloudstead is stopping."
            assert process.signals == ["SIGHUP"]

    run(main())


# ----------------------------------------------------------------------------------------------------- tokens, reconnecting


@pytest.mark.parametrize("token", ["", "wrong", "é", None])
def test_without_the_token_nobody_gets_in(token: str | None) -> None:
    async def main() -> None:
        async with ground(token_lasts=0.0 if token is None else 100.0) as g:
            opened = g.open()
            async with SessionClient(opened, token=token) as client:
                await client.over.wait()
                assert client.close_code == 1008
            assert g.executions == []
            if token is not None:
                async with SessionClient(opened) as client:  # it did no harm to who has it
                    await started(g, client)

    run(main())


def test_a_token_is_for_one_session() -> None:
    async def main() -> None:
        async with ground() as g:
            mine, other = g.open(), g.open()
            assert mine.token_value != other.token_value
            async with SessionClient(mine, token=other.token_value) as client:
                await client.over.wait()
                assert client.close_code == 1008

    run(main())


@pytest.mark.parametrize("first", ["not json", "{}", '{"TokenValue": 5}', b"\x00" * 120])
def test_a_first_frame_that_is_no_token_ends_it(first: str | bytes) -> None:
    async def main() -> None:
        async with ground() as g:
            async with plugin.connect(g.open().stream_url) as socket:
                await socket.send(first)
                with contextlib.suppress(plugin.ConnectionClosed):
                    await socket.recv()
                assert socket.protocol.close_code == 1008
            async with plugin.connect(g.open().stream_url) as socket:
                await socket.close()

    run(main())


def test_who_says_nothing_is_sent_away() -> None:
    async def main() -> None:
        async with ground(token_within=0.1) as g, plugin.connect(g.open().stream_url) as socket:
            with contextlib.suppress(plugin.ConnectionClosed):
                await socket.recv()
            assert socket.protocol.close_code == 1008

    run(main())


def test_a_session_that_does_not_exist_is_not_found() -> None:
    async def main() -> None:
        async with ground() as g:
            with pytest.raises(InvalidStatus) as refused:
                await plugin.connect(stream_url(f"http://127.0.0.1:{g.port}", "ecs-execute-command-none"))
            assert refused.value.response.status_code == 404

    run(main())


def test_after_a_lost_connection_nothing_is_missing_and_nothing_comes_twice() -> None:
    async def main() -> None:
        async with ground() as g:
            opened = g.open()
            client = SessionClient(opened)
            async with client:
                process = await started(g, client)
                await process.writes(b"before ")
                await client.shows(b"before ")
                for word in (b"one ", b"two ", b"three "):
                    await client.disconnect(rudely=True)
                    await client.type(b"typed " + word)
                    await process.writes(b"meanwhile " + word)
                    resumed = g.sessions.resume(opened.session_id)
                    assert resumed is not None
                    assert resumed.stream_url == opened.stream_url
                    await client.connect(resumed.token_value)
                    await client.shows(b"meanwhile " + word)
                await client.until(lambda: process.streams.input == b"typed one typed two typed three ")
                assert client.output == b"before meanwhile one meanwhile two meanwhile three "
                process.exit()
                await client.over.wait()
            assert len(g.executions) == 1

    run(main())


def test_what_the_client_had_before_the_loss_is_not_repeated_for_ever() -> None:
    async def main() -> None:
        async with ground(acknowledge_within=30, goodbye_within=30) as g:
            opened = g.open()
            client = SessionClient(opened)
            async with client:
                process = await started(g, client)
                client.acknowledges = False  # its acknowledgement is lost with the connection
                await process.writes(b"had it")
                await client.shows(b"had it")
                await client.disconnect(rudely=True)
                client.acknowledges = True
                await client.connect()
                process.exit()
                await client.over.wait()
                assert client.output == b"had it"
                assert PRESUMED_AFTER <= client.repeated <= PRESUMED_AFTER + 2

    run(main())


def test_a_client_that_does_not_come_back_ends_the_session() -> None:
    async def main() -> None:
        async with ground(resume_within=0.3) as g:
            async with SessionClient(g.open()) as client:
                process = await started(g, client)
                await client.disconnect(rudely=True)
                await client.until(lambda: g.ended)
            assert process.signals == ["SIGHUP"]

    run(main())


def test_a_second_connection_takes_over() -> None:
    async def main() -> None:
        async with ground() as g:
            opened = g.open()
            async with SessionClient(opened) as client:
                process = await started(g, client)
                first = client._socket
                listening = client._tasks
                await client.connect()
                await client.type(b"me")
                await client.until(lambda: process.streams.input == b"me")
                await first.wait_closed()
                await asyncio.wait(listening[:1])
                listening[1].cancel()

    run(main())


# -------------------------------------------------------------------------------------------------------------- messages


def test_a_message_survives_the_wire_in_the_layout_of_the_plugin() -> None:
    message = Message(type=messages.OUTPUT, payload=b"hello", payload_type=1, sequence=7, flags=1, created=1_700_000_000_000)
    data = messages.encode(message)
    assert messages.decode(data) == message
    assert data[:4] == b"\0\0\0\x74"
    assert data[4:36] == b"output_stream_data" + b" " * 14
    assert data[64:72] == message.id.bytes[8:]
    assert data[72:80] == message.id.bytes[:8]
    assert data[116:] == b"\0\0\0\x05hello"
    ours = plugin.pack("input_stream_data", b"\xff", payload_type=3, sequence=2, id=message.id)
    read = messages.decode(ours)
    assert (read.type, read.payload, read.payload_type, read.sequence, read.id) == (messages.INPUT, b"\xff", 3, 2, message.id)


def test_a_message_of_the_client_on_npm_is_understood() -> None:
    """ssm-session 1.0.6, whose types stand behind zeros, and whose digests are half of one in hexadecimal."""
    data = bytes.fromhex(
        "00000074" + b"input_stream_data".rjust(32, b"\0").hex() + "00000001000001a208cec0850000000000000001" + "00" * 8
        + "acf4cd63cbae73fa52a4daad434d48e3" + hashlib.sha256(b"x").hexdigest()[:32].encode().hex() + "0000000100000001" + "78"
    )  # fmt: skip
    message = messages.decode(data)
    assert (message.type, message.sequence, message.payload_type, message.payload) == (messages.INPUT, 1, 1, b"x")


def test_what_is_no_message_is_refused() -> None:
    sound = plugin.pack("input_stream_data", b"payload")
    for bad in (b"", sound[:119], sound[:-1], sound + b"x", b"\0\0\0\x70" + sound[4:], sound[:-1] + b"D", b"\xff" * 500):
        with pytest.raises(BadMessage):
            messages.decode(bad)


def test_hostile_messages_do_no_harm() -> None:
    async def main() -> None:
        async with ground() as g, SessionClient(g.open()) as client:
            process = await started(g, client)
            stream = {"payload_type": 1}
            for bad in (
                b"",
                b"\xff" * 200,
                plugin.pack("no_such_type", b"x"),
                plugin.pack("input_stream_data", b"x", sequence=-5, **stream),
                plugin.pack("input_stream_data", b"x", sequence=1 << 62, **stream),
                plugin.pack("acknowledge", b"not json"),
                plugin.pack("acknowledge", b'{"AcknowledgedMessageSequenceNumber": "x"}'),
                plugin.pack("acknowledge", b"\xff\xfe"),
            ):
                await client.send(bad)
            for payload_type, payload in (
                (3, b"{}"),
                (3, b'{"cols": -1, "rows": 99999999}'),
                (3, b"\xff"),
                (6, b"[]"),
                (10, b""),
                (10, b"\xff" * 100),
                (99, b"?"),
            ):
                await client.say(payload_type, payload)
            await client.type(b"well")
            await client.until(lambda: process.streams.input == b"well")
            assert process.sizes == []
            assert not client.unacknowledged

    run(main())


def test_the_round_trip_sets_when_a_message_is_repeated() -> None:
    clock = VirtualClock()
    channel = Channel(messages.OUTPUT, clock)
    for number in range(30):
        channel.send(1, b"x")
        clock.advance(0.05)
        assert channel.acknowledged(_ack(number))
    assert not channel.acknowledged(_ack(3))
    channel.send(1, b"y")
    due = channel.due()
    assert due is not None
    assert 0.05 < due - clock.monotonic() < 0.15
    assert channel.repeat() == b""
    clock.advance(1.0)
    assert messages.decode(channel.repeat()).payload == b"y"
    assert channel.repeat() == b""


def _ack(number: int) -> Acknowledge:
    return Acknowledge(acknowledged_message_type="", acknowledged_message_id="", acknowledged_message_sequence_number=number)


# ------------------------------------------------------------------------------------------------------------ the daemon


def test_a_daemon_serves_sessions_and_ends_them_when_it_stops(tmp_path: Path) -> None:
    execution: list[FakeExecution] = []

    async def start() -> Execution:
        execution.append(FakeExecution())
        return execution[-1]  # type: ignore[return-value]

    async def open_one(cloud: Cloud) -> Opened:
        return Sessions.of(cloud).open_session(start, command="sh")

    async def talk(opened: Opened, stop: threading.Event) -> SessionClient:
        async with SessionClient(opened) as client:
            await client.complete.wait()
            await client.until(lambda: execution)
            await client.type(b"hello")
            await client.until(lambda: execution[0].streams.input == b"hello")
            stop.set()
            await client.over.wait()
        return client

    with ThreadPoolExecutor(1) as clients:
        typed = threading.Event()
        with CloudThread(tmp_path) as thread:
            for path in ("", "x", "x/y"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(f"{thread.endpoint}/_cloudstead/session/{path}")
            opened = thread.do(open_one, thread.running.cloud)
            assert opened.stream_url.startswith(thread.endpoint.replace("http", "ws") + "/_cloudstead/session/ecs-execute-command-")
            with pytest.raises(urllib.error.HTTPError, match="426"):
                urllib.request.urlopen(opened.stream_url.replace("ws", "http", 1))
            client = clients.submit(asyncio.run, talk(opened, typed))
            assert typed.wait(20)
            thread.do(open_one, thread.running.cloud)  # to which nobody comes
        assert client.result(20).closed["Output"] == "Cloudstead is stopping."
    assert execution[0].signals == ["SIGHUP"]
