"""The routes of `docker exec`."""

from __future__ import annotations

from typing import Any

from cloudstead.engine.dockerapi.answers import json_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.detach import DetachKeys, keys_of
from cloudstead.engine.dockerapi.executions import Exec, ExecCreate, Execs, ExecStart
from cloudstead.engine.dockerapi.frames import frames
from cloudstead.engine.dockerapi.lifecycle import console_size, running
from cloudstead.engine.dockerapi.merging import check_env
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.relay import Ways, hijacked, relay
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, NotFound
from cloudstead.http.messages import HttpResponse
from cloudstead.http.upgrade import RawStream


@route("POST", "/containers/{name}/exec")
async def create_exec(api: DockerApi, request: DockerRequest) -> HttpResponse:
    wanted = await request.json(ExecCreate)
    row = running(api, request["name"])
    if not wanted.cmd:
        raise InvalidArgument("No exec command specified")
    if api.part(Containers).state(row) == "paused":
        raise Conflict(f"Container {row.id} is paused, unpause the container before exec")
    if wanted.working_dir and not wanted.working_dir.startswith("/"):
        raise InvalidArgument(f"the working directory '{wanted.working_dir[:200]}' is invalid, it needs to be an absolute path")
    check_env(wanted.env or [])
    check_console(wanted.console_size)
    keys_of(wanted.detach_keys)
    return json_answer({"Id": api.part(Execs).create(row, wanted).id}, 201)


def check_console(size: list[int] | None) -> None:
    if size and (len(size) != 2 or not all(0 <= each <= 65535 for each in size)):
        raise InvalidArgument("invalid ConsoleSize: it is height and width")


@route("POST", "/exec/{id}/start")
async def start_exec(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """Detached: 200 when it runs. Otherwise the connection is taken over first, and what goes wrong then is said in it, and by the exit code.

    As in Docker the process starts when the head of the answer is out: docker-py loses what comes together with the head. And the output is in
    frames unless this very request says Tty, whether the process has a terminal or not.
    """
    wanted = await request.json(ExecStart, needed=False)
    check_console(wanted.console_size)
    execs = api.part(Execs)
    each = execs.find(request["id"])
    if wanted.console_size:
        each.size = tuple(wanted.console_size)
    execs.claim(each)
    if wanted.detach:
        execution = await execs.start(each)
        await execution.streams.close()
        return HttpResponse(200)

    async def talk(raw: RawStream) -> None:
        try:
            await _talk(execs, each, raw, framed=not wanted.tty)
        except ConnectionError:
            return

    return hijacked(request, None, talk)


async def _talk(execs: Execs, each: Exec, raw: RawStream, *, framed: bool) -> None:
    tty = each.wanted.tty
    try:
        execution = await execs.start(each)
    except EngineError as error:
        data = f"{error.message}\r\n".encode()
        await raw.write(frames("stderr", data) if framed else data)
        return
    ways = Ways(
        stdin=each.wanted.attach_stdin,
        stdout=each.wanted.attach_stdout,
        stderr=each.wanted.attach_stderr,
        framed=framed,
        closes_input=not tty,
        detach=DetachKeys(keys_of(each.wanted.detach_keys)) if tty else None,
    )
    try:
        if await relay(raw, execution.streams, ways) and each.exit_code is None:
            each.exit_code = await execution.wait()  # the client asks for it as soon as the connection ends
    finally:
        await execution.streams.close()


@route("POST", "/exec/{id}/resize")
async def resize_exec(api: DockerApi, request: DockerRequest) -> HttpResponse:
    each = api.part(Execs).find(request["id"])
    rows, columns = console_size(request)
    if each.execution is None:
        if each.started:
            raise Conflict(f"exec process {each.id} is not running")
        each.size = (rows, columns)
    elif not each.running:
        raise NotFound(f"exec process {each.id} has ended")
    else:
        await each.execution.resize(rows, columns)
    return HttpResponse(200)


@route("GET", "/exec/{id}/json")
async def inspect_exec(api: DockerApi, request: DockerRequest) -> HttpResponse:
    return json_answer(describe(api.part(Execs).find(request["id"])))


def describe(each: Exec) -> dict[str, Any]:
    wanted = each.wanted
    command = wanted.cmd or [""]
    return {
        "ID": each.id,
        "Running": each.running,
        "ExitCode": each.exit_code,
        "ProcessConfig": {
            "tty": wanted.tty,
            "entrypoint": command[0],
            "arguments": command[1:],
            "privileged": wanted.privileged,
            "user": wanted.user,
        },
        "OpenStdin": wanted.attach_stdin,
        "OpenStderr": wanted.attach_stderr,
        "OpenStdout": wanted.attach_stdout,
        "CanRemove": not each.running and each.started,
        "ContainerID": each.container,
        "DetachKeys": wanted.detach_keys,
        "Pid": each.execution.pid if each.execution is not None else 0,
    }


async def stop(api: DockerApi) -> None:
    await api.part(Execs).stop()
