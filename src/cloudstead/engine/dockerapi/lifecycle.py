"""What containers do: start, stop, restart, kill, pause, unpause, wait, resize."""

from __future__ import annotations

import asyncio
import contextlib

from cloudstead.engine.dockerapi.answers import Awaited, json_line, no_content, stream_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.errors import NotModified
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.supervision import Condition, Life, Outcome
from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, Unsupported
from cloudstead.engine.pods.signals import SIGKILL, number_of
from cloudstead.http.messages import HttpResponse

CONDITIONS: dict[str, Condition] = {"": "not-running", "not-running": "not-running", "next-exit": "next-exit", "removed": "removed"}
KILLED_WITHIN = 10.0  # seconds; what the kernel holds longer (a disk that does not answer) is not waited for


@route("POST", "/containers/{name}/start")
async def start_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    if (request.http.content_length or 0) > 7:
        raise InvalidArgument("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
    if request.text("checkpoint") or request.text("checkpoint-dir"):
        raise Unsupported("checkpoints are not supported")
    life, containers = api.part(Life), api.part(Containers)
    if row.id in containers.removing:
        raise Conflict("container is marked for removal and cannot be started")
    if life.alive(row):
        if containers.status(row).state == "paused":
            raise Conflict("cannot start a paused container, try unpause instead")
        raise NotModified
    await life.start_container(row)
    return no_content()


@route("POST", "/containers/{name}/stop")
async def stop_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    within, signal = _timeout(request), _signal(request)
    if not api.part(Life).alive(row):
        raise NotModified
    await api.part(Life).stop_container(row, within, signal)
    return no_content()


@route("POST", "/containers/{name}/restart")
async def restart_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    await api.part(Life).restart_container(row, _timeout(request), _signal(request))
    return no_content()


def _timeout(request: DockerRequest) -> float | None:
    """Seconds before SIGKILL; negative: never. None: as the container says."""
    return float(request.number("t")) if request.text("t") else None


def _signal(request: DockerRequest) -> str:
    signal = request.text("signal")
    if signal:
        number_of(signal)
    return signal


@route("POST", "/containers/{name}/kill")
async def kill_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """After SIGKILL the end is waited for, as Docker does: who is answered may remove the container."""
    containers, life = api.part(Containers), api.part(Life)
    row = containers.find(request["name"])
    signal = request.text("signal") or "SIGKILL"
    number = number_of(signal)
    ends = number in (SIGKILL, number_of(row.config.stop_signal or "SIGTERM"))
    if ends and not row.stopped:
        containers.change(row.id, stopped=True)
    if row.id in containers.restarting:
        if ends:
            life.cancel_restart(row)
        return no_content()
    if not containers.runs(row):
        raise Conflict(f"cannot kill container: {request['name']}: container {row.id} is not running")
    await api.engine.pods.signal(row.id, signal)
    if number == SIGKILL:
        with contextlib.suppress(TimeoutError):
            async with api.engine.clock.timeout(KILLED_WITHIN):
                await life.wait(row, "not-running")
    return no_content()


@route("POST", "/containers/{name}/pause")
async def pause_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = running(api, request["name"])
    await api.engine.pods.pause(row.id)
    return no_content()


@route("POST", "/containers/{name}/unpause")
async def unpause_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    await api.engine.pods.resume(row.id)
    return no_content()


@route("POST", "/containers/{name}/resize")
async def resize_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = running(api, request["name"])
    rows, columns = console_size(request)
    await api.engine.pods.resize(row.id, rows, columns)
    return HttpResponse(200)


def console_size(request: DockerRequest) -> tuple[int, int]:
    rows, columns = request.number("h"), request.number("w")
    if not (0 <= rows <= 65535 and 0 <= columns <= 65535):
        raise InvalidArgument(f"invalid resize height or width: {rows} x {columns}")
    return rows, columns


def running(api: DockerApi, name: str) -> DockerContainer:
    """A container that runs (or is paused).

    Raises:
        NotFound
        Conflict: it does not, or is about to be started again.
    """
    containers = api.part(Containers)
    row = containers.find(name)
    if row.id in containers.restarting:
        raise Conflict(f"Container {row.id} is restarting, wait until the container is running")
    if not containers.runs(row):
        raise Conflict(f"container {row.id} is not running")
    return row


@route("POST", "/containers/{name}/wait")
async def wait_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """The head goes out at once, for `docker run` starts the container only when it has come; the answer follows when there is one."""
    row = api.part(Containers).find(request["name"])
    condition = CONDITIONS.get(request.text("condition"))
    if condition is None:
        raise InvalidArgument(f'invalid condition: "{request.text("condition")[:100]}"')
    # Waiting begins here, not when the body is asked for: the client may start the container as soon as it has the head.
    waiting = asyncio.ensure_future(api.part(Life).wait(row, condition))
    await asyncio.sleep(0)
    return stream_answer(Awaited(waiting, _outcome))


def _outcome(waiting: asyncio.Future[Outcome]) -> bytes:
    try:
        outcome = waiting.result()
    except (EngineError, asyncio.CancelledError) as error:
        return json_line({"StatusCode": 125, "Error": {"Message": str(error) or "the daemon is stopping"}})
    return json_line({"StatusCode": outcome.code, "Error": {"Message": outcome.error} if outcome.error else None})
