"""Docker's taken-over connections: attach, exec, and logs, frame by frame."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from cloudstead.engine.dockerapi.detach import DetachKeys, keys_of
from cloudstead.engine.dockerapi.executions import Execs
from cloudstead.engine.dockerapi.frames import LARGEST, frames
from cloudstead.engine.dockerapi.logs import fixed_date
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods.simulated import Process
from docker_stage import Connection, Stage, staged, unframed

ALL = {"stream": 1, "stdin": 1, "stdout": 1, "stderr": 1}
ENDLESS = ("sleep", "1000")
STDIN = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}


def staged_test(test: Callable[[Stage], Awaitable[None]]) -> Callable[[], None]:
    async def play() -> None:
        async with asyncio.timeout(30), staged() as stage:
            await test(stage)

    def run() -> None:
        asyncio.run(play())

    run.__name__ = run.__qualname__ = test.__name__
    run.__doc__ = test.__doc__
    return run


async def until(condition: Callable[[], Any], within: float = 5.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.01)


async def executed(stage: Stage, id: str, *cmd: str, **body: Any) -> tuple[str, Connection]:
    made = await stage.post(f"/containers/{id}/exec", {"Cmd": list(cmd), "AttachStdout": True, "AttachStderr": True, **body}, 201)
    return made["Id"], await stage.hijack(f"/exec/{made['Id']}/start", body={"Detach": False, "Tty": body.get("Tty", False)})


# ------------------------------------------------------------------------------------------------------------ attach


@staged_test
async def test_docker_run_attaches_before_the_start_and_misses_nothing(stage: Stage) -> None:
    id = await stage.create("sh", "-c", "echo out; echo err >&2; exit 3")
    connection = await stage.hijack(f"/containers/{id}/attach", ALL)
    assert connection.status == 101
    assert connection.headers["content-type"] == "application/vnd.docker.raw-stream"
    assert (connection.headers["connection"], connection.headers["upgrade"]) == ("Upgrade", "tcp")
    await stage.post(f"/containers/{id}/start")
    assert await connection.frames() == {"stdout": b"out\n", "stderr": b"err\n"}
    await connection.close()


@staged_test
async def test_a_client_that_asks_for_no_upgrade_gets_200_and_the_connection_all_the_same(stage: Stage) -> None:
    id = await stage.create("cat", **STDIN)
    connection = await stage.hijack(f"/containers/{id}/attach", ALL, upgrade=False)
    assert connection.status == 200
    assert "transfer-encoding" not in connection.headers
    assert "content-length" not in connection.headers
    await stage.post(f"/containers/{id}/start")
    connection.send(b"over\n")
    connection.half_close()
    assert await connection.frames() == {"stdout": b"over\n", "stderr": b""}
    await connection.close()


@staged_test
async def test_half_close_is_end_of_file_and_output_goes_on(stage: Stage) -> None:
    async def late(process: Process) -> int:
        data = b""
        while piece := await process.read():
            data += piece
        await process.sleep(0.3)
        process.write(b"read " + data)
        return 4

    stage.machine.programs["late"] = late
    id = await stage.create("late", **STDIN)
    connection = await stage.hijack(f"/containers/{id}/attach", ALL)
    await stage.post(f"/containers/{id}/start")
    connection.send(b"one ")
    await asyncio.sleep(0.05)
    connection.send(b"two")
    connection.half_close()
    assert (await connection.frames())["stdout"] == b"read one two"
    assert (await stage.post(f"/containers/{id}/wait", expect=200))["StatusCode"] == 4
    await connection.close()


@staged_test
async def test_only_the_streams_that_were_asked_for_come(stage: Stage) -> None:
    id = await stage.create("sh", "-c", "echo out; echo err >&2")
    connection = await stage.hijack(f"/containers/{id}/attach", {"stream": 1, "stderr": 1})
    await stage.post(f"/containers/{id}/start")
    assert await connection.frames() == {"stdout": b"", "stderr": b"err\n"}
    await connection.close()


@staged_test
async def test_a_tty_is_raw_and_keys_detach(stage: Stage) -> None:
    id = await stage.create("cat", Tty=True, OpenStdin=True, HostConfig={"ConsoleSize": [24, 80]})
    connection = await stage.hijack(f"/containers/{id}/attach", ALL)
    await stage.post(f"/containers/{id}/start")
    assert stage.machine.containers[id].size == (24, 80)
    await stage.post(f"/containers/{id}/resize", expect=200, h=50, w=132)
    assert stage.machine.containers[id].size == (50, 132)
    connection.send(b"hello\n\x10")
    assert await connection.reader.readexactly(7) == b"hello\r\n"
    connection.send(b"\x11rest")
    assert await connection.rest() == b""
    assert (await stage.get(f"/containers/{id}/json"))["State"]["Running"]
    await connection.close()
    again = await stage.hijack(f"/containers/{id}/attach", {**ALL, "logs": 1, "detachKeys": "ctrl-x,y"})
    assert await again.reader.readexactly(7) == b"hello\r\n"
    again.send(b"\x10\x11more\n\x18y")
    assert await again.rest() == b"\x10\x11more\r\n"
    await again.close()
    assert await stage.message("POST", f"/containers/{id}/attach", 400, detachKeys="alt-x") == "Invalid detach keys (alt-x) provided"


@staged_test
async def test_the_end_of_input_ends_an_attachment_to_a_container_whose_input_stays_open(stage: Stage) -> None:
    id = await stage.run("cat", OpenStdin=True)
    connection = await stage.hijack(f"/containers/{id}/attach", ALL)
    connection.send(b"one\n")
    connection.half_close()
    assert (await connection.frames())["stdout"] == b"one\n"
    assert (await stage.get(f"/containers/{id}/json"))["State"]["Running"]
    await connection.close()


@staged_test
async def test_a_client_that_goes_away_is_noticed(stage: Stage) -> None:
    """Also when nothing is written: else its streams stay for as long as the container runs."""
    id = await stage.run(*ENDLESS)
    connection = await stage.hijack(f"/containers/{id}/attach", ALL)
    await until(lambda: len(stage.server.connections) == 1)
    connection.writer.transport.abort()
    await until(lambda: not stage.server.connections)
    listening = await stage.hijack(f"/containers/{id}/attach", {"stream": 1, "stdout": 1})
    listening.half_close()
    await asyncio.sleep(1.2)
    assert stage.server.connections, "closing one way is not going away"
    await listening.close()
    await until(lambda: not stage.server.connections)


@staged_test
async def test_attaching_is_refused_with_an_error_before_the_connection_is_taken_over(stage: Stage) -> None:
    assert await stage.message("POST", "/containers/nosuch/attach", 404, stream=1) == "No such container: nosuch"
    id = await stage.run(*ENDLESS)
    await stage.post(f"/containers/{id}/pause")
    assert "is paused, unpause the container before attach" in await stage.message("POST", f"/containers/{id}/attach", 409, stream=1)
    assert "WebSocket" in await stage.message("GET", f"/containers/{await stage.create('true')}/attach/ws", 501)


# -------------------------------------------------------------------------------------------------------------- exec


@staged_test
async def test_exec_runs_beside_and_its_exit_code_is_known_at_the_end(stage: Stage) -> None:
    id = await stage.run(*ENDLESS)
    exec_id, connection = await executed(stage, id, "sh", "-c", "echo $A; echo err >&2; exit 9", Env=["A=b"])
    assert connection.status == 101
    assert await connection.frames() == {"stdout": b"b\n", "stderr": b"err\n"}
    found = await stage.get(f"/exec/{exec_id}/json")
    assert (found["Running"], found["ExitCode"], found["ContainerID"], found["CanRemove"]) == (False, 9, id, True)
    assert found["ProcessConfig"] == {
        "tty": False,
        "entrypoint": "sh",
        "arguments": ["-c", "echo $A; echo err >&2; exit 9"],
        "privileged": False,
        "user": "",
    }
    assert "already run" in await stage.message("POST", f"/exec/{exec_id}/start", 409, {"Detach": True})
    await connection.close()


@staged_test
async def test_exec_takes_input_until_it_is_closed(stage: Stage) -> None:
    id = await stage.run(*ENDLESS)
    _, connection = await executed(stage, id, "cat", AttachStdin=True)
    connection.send(b"x" * 100_000)
    connection.half_close()
    assert (await connection.frames())["stdout"] == b"x" * 100_000
    await connection.close()


@staged_test
async def test_exec_detached_answers_a_plain_200_and_goes_on(stage: Stage) -> None:
    id = await stage.run(*ENDLESS)
    made = await stage.post(f"/containers/{id}/exec", {"Cmd": ["sh", "-c", "sleep 0.2; exit 6"]}, 201)
    before = await stage.get(f"/exec/{made['Id']}/json")
    assert (before["Running"], before["ExitCode"], before["Pid"]) == (False, None, 0)
    status, _, data = await stage.raw("POST", f"/exec/{made['Id']}/start", None, {"Detach": True})
    assert (status, data) == (200, b"")
    during = await stage.get(f"/exec/{made['Id']}/json")
    assert (during["Running"], during["ExitCode"]) == (True, None)
    assert during["Pid"] > 0
    assert (await stage.get(f"/containers/{id}/json"))["ExecIDs"] == [made["Id"]]
    execs = stage.api.part(Execs)
    await until(lambda: execs.find(made["Id"]).exit_code == 6)
    assert (await stage.get(f"/containers/{id}/json"))["ExecIDs"] is None


@staged_test
async def test_exec_with_a_tty_has_its_size_from_the_start(stage: Stage) -> None:
    async def sized(process: Process) -> int:
        await process.sleep(0.2)
        process.write(f"{process.size}".encode())
        return 0

    stage.machine.programs["sized"] = sized
    id = await stage.run(*ENDLESS)
    made = (await stage.post(f"/containers/{id}/exec", {"Cmd": ["sized"], "AttachStdout": True, "Tty": True}, 201))["Id"]
    await stage.post(f"/exec/{made}/resize", expect=200, h=10, w=20)
    connection = await stage.hijack(f"/exec/{made}/start", body={"Tty": True, "ConsoleSize": [30, 40]})
    await stage.post(f"/exec/{made}/resize", expect=200, h=50, w=60)
    assert await connection.rest() == b"(50, 60)"
    assert (await stage.ask("POST", f"/exec/{made}/resize", {"h": 1, "w": 1}))[0] == 404
    await connection.close()


@staged_test
async def test_what_cannot_be_executed_is_said_in_the_stream_with_127(stage: Stage) -> None:
    id = await stage.run(*ENDLESS)
    exec_id, connection = await executed(stage, id, "nosuch")
    assert connection.status == 101
    assert b"nosuch" in (await connection.frames())["stderr"]
    assert (await stage.get(f"/exec/{exec_id}/json"))["ExitCode"] == 127
    made = await stage.post(f"/containers/{id}/exec", {"Cmd": ["nosuch"]}, 201)
    assert "nosuch" in await stage.message("POST", f"/exec/{made['Id']}/start", 500, {"Detach": True})
    await connection.close()


@staged_test
async def test_exec_is_refused_where_it_makes_no_sense(stage: Stage) -> None:
    id = await stage.create("true")
    assert await stage.message("POST", f"/containers/{id}/exec", 409, {"Cmd": ["true"]}) == f"container {id} is not running"
    running = await stage.run(*ENDLESS)
    assert await stage.message("POST", f"/containers/{running}/exec", 400, {"Cmd": []}) == "No exec command specified"
    assert "absolute" in await stage.message("POST", f"/containers/{running}/exec", 400, {"Cmd": ["true"], "WorkingDir": "x"})
    assert "environment" in await stage.message("POST", f"/containers/{running}/exec", 400, {"Cmd": ["true"], "Env": ["=x"]})
    assert await stage.message("POST", "/exec/nosuch/start", 404, {}) == "No such exec instance: nosuch"
    made = await stage.post(f"/containers/{running}/exec", {"Cmd": ["true"]}, 201)
    await stage.post(f"/containers/{running}/kill")
    await stage.post(f"/containers/{running}/wait", expect=200)
    assert await stage.message("POST", f"/exec/{made['Id']}/start", 409, {}) == f"container {running} is not running"


@staged_test
async def test_the_memory_of_execs_is_bounded(stage: Stage) -> None:
    from cloudstead.engine.dockerapi import executions as execs

    id = await stage.run(*ENDLESS)
    part, row = stage.api.part(Execs), stage.api.part(execs.Containers).find(id)
    for _ in range(execs.KEPT + 50):
        part.create(row, execs.ExecCreate(cmd=["true"]))
    assert len(part._all) == execs.KEPT


# -------------------------------------------------------------------------------------------------------------- logs


async def logs(stage: Stage, id: str, **query: Any) -> dict[str, bytes]:
    status, headers, data = await stage.raw("GET", f"/containers/{id}/logs", {"stdout": 1, "stderr": 1, **query})
    assert (status, headers["content-type"]) == (200, "application/vnd.docker.raw-stream")
    return unframed(data)


@staged_test
async def test_logs_choose_streams_tail_and_times(stage: Stage) -> None:
    id, _ = await stage.ran("sh", "-c", "echo one; echo two >&2; sleep 0.3; echo three")
    assert await logs(stage, id) == {"stdout": b"one\nthree\n", "stderr": b"two\n"}
    assert await logs(stage, id, stdout=0) == {"stdout": b"", "stderr": b"two\n"}
    assert await logs(stage, id, tail=1) == {"stdout": b"three\n", "stderr": b""}
    assert await logs(stage, id, tail="all") == await logs(stage, id)
    assert await logs(stage, id, tail=0) == {"stdout": b"", "stderr": b""}
    stamped = (await logs(stage, id, timestamps=1))["stdout"].splitlines()
    assert all(re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (one|three)", line) for line in stamped)
    middle = time.time() - 0.15
    assert await logs(stage, id, since=f"{middle:.9f}") == {"stdout": b"three\n", "stderr": b""}
    assert (await logs(stage, id, until=f"{middle:.9f}"))["stdout"] == b"one\n"
    assert (await logs(stage, id, details=1))["stderr"] == b" two\n"
    assert await stage.message("GET", f"/containers/{id}/logs", 400) == "Bad parameters: you must choose at least one stream"
    assert (await stage.ask("GET", f"/containers/{id}/logs", {"stdout": 1, "tail": "x"}))[0] == 400


@staged_test
async def test_logs_of_a_tty_are_raw(stage: Stage) -> None:
    id, _ = await stage.ran("sh", "-c", "echo one", Tty=True)
    assert (await stage.raw("GET", f"/containers/{id}/logs", {"stdout": 1}))[2].replace(b"\r", b"") == b"one\n"


@staged_test
async def test_following_ends_with_the_container(stage: Stage) -> None:
    id = await stage.run("sh", "-c", "echo one; sleep 0.2; echo two")
    connection = await Connection.open(stage.path / "docker.sock")
    connection.send(f"GET /containers/{id}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    await connection.head()
    chunks = connection.chunks()
    assert unframed(await anext(chunks))["stdout"] == b"one\n"
    assert unframed(b"".join([chunk async for chunk in chunks]))["stdout"] == b"two\n"
    await connection.close()


@staged_test
async def test_whoever_follows_and_goes_away_leaves_nothing(stage: Stage) -> None:
    id = await stage.run(*ENDLESS)
    before = len(asyncio.all_tasks())
    for path in (f"/containers/{id}/logs?follow=1&stdout=1", "/events", f"/containers/{id}/stats"):
        connection = await Connection.open(stage.path / "docker.sock")
        connection.send(f"GET {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        await connection.head()
        await connection.close()
        for each in list(stage.server.connections):
            each.abort()  # the server does so by itself after some seconds: a client may have closed one way only
    await until(lambda: len(asyncio.all_tasks()) <= before and not stage.server.connections)
    assert stage.api.events.listeners == 0


@staged_test
async def test_what_is_not_logged_cannot_be_read(stage: Stage) -> None:
    id = await stage.run(*ENDLESS, HostConfig={"LogConfig": {"Type": "none"}})
    status, answer = await stage.ask("GET", f"/containers/{id}/logs", {"stdout": 1})
    assert (status, answer["message"]) == (501, "configured logging driver does not support reading")


# ------------------------------------------------------------------------------------------------------------- pieces


def test_frames_have_a_stream_and_a_length() -> None:
    assert frames("stdout", b"ab") == b"\x01\x00\x00\x00\x00\x00\x00\x02ab"
    assert frames("stderr", b"") == b"\x02\x00\x00\x00\x00\x00\x00\x00"
    large = frames("stdout", b"x" * (2 * LARGEST + 1))
    assert unframed(large)["stdout"] == b"x" * (2 * LARGEST + 1)
    assert len(large) == 2 * LARGEST + 1 + 3 * 8


@pytest.mark.parametrize(
    ("pieces", "passed", "over"),
    [
        ([b"ab\x10\x11cd"], b"ab", True),
        ([b"ab\x10", b"\x11"], b"ab", True),
        ([b"ab\x10", b"cd"], b"ab\x10cd", False),
        ([b"\x10", b"\x10", b"\x11"], b"\x10", True),
        ([b"\x11\x10"], b"\x11", False),
    ],
)
def test_detach_keys_are_found_across_pieces(pieces: list[bytes], passed: bytes, over: bool) -> None:
    keys, found, ended = DetachKeys(keys_of("")), b"", False
    for piece in pieces:
        data, ended = keys.take(piece)
        found += data
    assert (found, ended) == (passed, over)


def test_detach_keys_are_spelled_as_dockers() -> None:
    assert keys_of("ctrl-a,b,ctrl-[,ctrl-@") == b"\x01b\x1b\x00"
    for text in ("ctrl-", "ctrl-1", "ab", ",", "\u00e4"):
        with pytest.raises(InvalidArgument):
            keys_of(text)


def test_a_line_is_not_before_the_time_that_it_shows() -> None:
    for number in range(10_000):
        moment = 1_795_434_000 + number * 0.0123456789
        shown = fixed_date(moment)
        whole = datetime.fromisoformat(shown[:19] + "+00:00").timestamp()
        assert float(f"{whole:.0f}{shown[19:-1]}") <= moment
