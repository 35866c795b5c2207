"""Sessions of ECS Exec with shells in real containers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from session_client import Faults, SessionClient

from cloudstead.engine.engine import Engine
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.specs import ContainerSpec, PodSpec
from cloudstead.http.server import Server
from cloudstead.kernel.clock import SystemClock
from cloudstead.services.ecs.sessions.limits import Limits
from cloudstead.services.ecs.sessions.page import Opened, Sessions, command_in
from cloudstead.services.ecs.sessions.session import Session
from engine_support import busybox_layers, container_id, running_engine, why_no_engine

pytestmark = pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "containers run")

CLOCK = SystemClock()


class Ground:
    """A container, and sessions into it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.container = container_id()
        self.port = 0
        self.sessions = Sessions(CLOCK, lambda: f"http://127.0.0.1:{self.port}", limits=Limits(goodbye_within=20.0))
        self.ended: list[Session] = []

    def open(self, command: str, **options: Any) -> Opened:
        start = command_in(self.engine.pods, self.container, command, **options)
        return self.sessions.open_session(start, command=command, ended=self.ended.append, **options)

    async def processes(self) -> list[str]:
        told = await self.engine.pods.processes(self.container)
        return [" ".join(row) for row in told.rows]

    async def until_runs(self, process: str, runs: bool = True) -> None:
        async with asyncio.timeout(15):
            while any(process in each and "sh -c" not in each for each in await self.processes()) != runs:
                await CLOCK.sleep(0.05)


@contextlib.asynccontextmanager
async def ground(folder: Path) -> AsyncIterator[Ground]:
    async with running_engine(folder) as engine:
        one = Ground(engine)
        await engine.pods.create_pod(PodSpec(id="task", owner="test", network=PodNetwork(mode="none")))
        spec = ContainerSpec(
            id=one.container,
            layers=await busybox_layers(engine),
            args=("sleep", "1000"),
            env=("PATH=/bin", "TERM=dumb"),
            user="nobody",
            init=False,
        )
        await engine.pods.create_container("task", spec)
        await engine.pods.start(one.container)
        server = Server(one.sessions.answer)
        one.port = await server.listen_tcp("127.0.0.1")
        try:
            yield one
        finally:
            await one.sessions.stop()
            await server.stop(1.0)
            await engine.pods.remove_pod("task", force=True)


def test_a_shell_in_a_container(tmp_path: Path) -> None:
    async def main() -> None:
        async with ground(tmp_path / "data") as g, SessionClient(g.open("/bin/sh")) as client:
            await client.complete.wait()
            await client.resize(41, 97)
            await client.type(b"echo I am $(id -u), $TERM, $((6 * 7)); stty size\r")
            await client.shows(b"I am 0, xterm-256color, 42\r\n")
            await client.shows(b"41 97\r\n")
            await client.resize(50, 120)
            await client.type(b"stty size\r")
            await client.shows(b"50 120\r\n")
            await client.type(b"sleep 777\r")
            await g.until_runs("sleep 777")
            await client.type(b"\x03")
            await client.type(b"echo interrupted: $?\r")
            await client.shows(b"interrupted: 130\r\n")
            await client.type(b"exit 5\r")
            await client.over.wait()
            assert client.closed["Output"] == ""
            await client.until(lambda: [session.exit_code for session in g.ended] == [5])

    asyncio.run(main())


def test_megabytes_of_output_also_when_messages_are_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with ground(tmp_path / "data") as g:
            command = "sh -c 'stty raw; yes 0123456789abcde | head -c 4194304'"
            async with SessionClient(g.open(command)) as client:
                await client.over.wait()
                assert client.output == b"0123456789abcde\n" * (4194304 // 16)
            faults = Faults(1, lose=0.005, double=0.1, reorder=0.1)
            async with SessionClient(g.open(command.replace("4194304", "524288")), faults=faults) as client:
                await client.over.wait()
                assert client.output == b"0123456789abcde\n" * (524288 // 16)

    asyncio.run(main())


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with ground(tmp_path / "data") as g, SessionClient(g.open("/bin/bash -c true")) as client:
            await client.over.wait()
            assert "Unable to start command: Failed to start pty: " in client.closed["Output"]
            assert "/bin/bash" in client.closed["Output"]

    asyncio.run(main())


def test_a_command_without_a_terminal(tmp_path: Path) -> None:
    async def main() -> None:
        async with ground(tmp_path / "data") as g:
            opened = g.open("sh -c 'echo out; echo err >&2; test -t 0 || echo no terminal; exec sleep 888'", interactive=False)
            async with SessionClient(opened) as client:
                await client.shows(b"no terminal\n")
                assert b"out\n" in client.output
                assert b"err\n" in client.output
                await g.until_runs("sleep 888")
                await client.type(b"\x03")
                await client.over.wait()
            await client.until(lambda: [session.exit_code for session in g.ended] == [130])

    asyncio.run(main())


def test_a_session_that_ends_takes_its_processes_along(tmp_path: Path) -> None:
    async def main() -> None:
        async with ground(tmp_path / "data") as g:
            async with SessionClient(g.open("sh")) as client:
                await client.complete.wait()
                await client.type(b"sleep 999\r")
                await g.until_runs("sleep 999")
                await client.terminate()
                await client.over.wait()
            await g.until_runs("sleep 999", False)
            assert any("sleep 1000" in each for each in await g.processes())

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------------- the plugin itself


class Plugin:
    """AWS's own, in a terminal, as the AWS CLI starts it."""

    def __init__(self, opened: Opened) -> None:
        self.output = b""
        session = {"SessionId": opened.session_id, "StreamUrl": opened.stream_url, "TokenValue": opened.token_value}
        arguments = [json.dumps(session), "us-east-1", "StartSession", "", json.dumps({"Target": "ecs:c_t_r"}), "http://127.0.0.1:1"]
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
        self.process = subprocess.Popen(
            ["session-manager-plugin", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        os.set_blocking(self._terminal, False)

    def type(self, data: bytes) -> None:
        os.write(self._terminal, data)

    async def shows(self, text: bytes) -> None:
        async with asyncio.timeout(20):
            while text not in self.output:
                with contextlib.suppress(OSError):  # nothing yet, or nothing any more
                    self.output += os.read(self._terminal, 65536)
                await CLOCK.sleep(0.01)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)


@pytest.mark.skipif(shutil.which("session-manager-plugin") is None, reason="session-manager-plugin is not installed")
def test_the_plugin_of_aws_itself(tmp_path: Path) -> None:
    async def main() -> None:
        async with ground(tmp_path / "data") as g:
            plugin = Plugin(g.open("/bin/sh"))
            try:
                await plugin.shows(b"# ")
                plugin.type(b"echo sum $((6 * 7)); stty size\r")
                await plugin.shows(b"sum 42")
                await plugin.shows(b"33 111")
                plugin.type(b"yes 0123456789 | head -n 50000; echo e''nd\r")
                await plugin.shows(b"\nend")
                assert plugin.output.count(b"0123456789\r") == 50000
                plugin.type(b"exit 4\r")
                await plugin.shows(b"Exiting session with sessionId")
            finally:
                plugin.close()
            plugin = Plugin(g.open("/bin/bash"))
            try:
                await plugin.shows(b"Unable to start command: Failed to start pty")
            finally:
                plugin.close()

    asyncio.run(main())
