"""`docker attach`, and the second connection of `docker run`: to the streams of a container."""

from __future__ import annotations

import asyncio

from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.detach import DetachKeys, keys_of
from cloudstead.engine.dockerapi.logs import Wanted, lines
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.relay import HEAD_START, Ways, hijacked, relay
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import Conflict, Unsupported
from cloudstead.engine.pods.api import Streams
from cloudstead.http.messages import HttpResponse
from cloudstead.http.upgrade import RawStream


@route("POST", "/containers/{name}/attach")
async def attach_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """The streams are taken before the answer, for the client starts the container when it has that."""
    row = _attachable(api, request["name"])
    keys = keys_of(request.text("detachKeys"))
    ways = Ways(
        stdin=request.flag("stdin") and row.config.open_stdin,
        stdout=request.flag("stdout"),
        stderr=request.flag("stderr"),
        framed=not row.tty,
        closes_input=row.config.stdin_once and not row.tty,
        detach=DetachKeys(keys) if row.tty else None,
    )
    streams = await api.engine.pods.attach(row.id) if request.flag("stream") else None
    with_logs = request.flag("logs")
    api.part(Containers).tell(row, "attach")

    async def talk(raw: RawStream) -> None:
        await asyncio.sleep(HEAD_START)
        try:
            if with_logs:
                await _send_logs(api, row, ways, raw)
            if streams is not None:
                await _talk(api, row, ways, raw, streams)
        except ConnectionError:
            return

    return hijacked(request, streams, talk)


def _attachable(api: DockerApi, name: str) -> DockerContainer:
    containers = api.part(Containers)
    row = containers.find(name)
    if row.id in containers.restarting:
        raise Conflict(f"container {name} is restarting, wait until the container is running")
    if containers.state(row) == "paused":
        raise Conflict(f"container {name} is paused, unpause the container before attach")
    return row


async def _send_logs(api: DockerApi, row: DockerContainer, ways: Ways, raw: RawStream) -> None:
    async for line in lines(api, row, Wanted(stdout=ways.stdout, stderr=ways.stderr)):
        await raw.write(line)


async def _talk(api: DockerApi, row: DockerContainer, ways: Ways, raw: RawStream, streams: Streams) -> None:
    await relay(raw, streams, ways, detached=lambda: api.part(Containers).tell(row, "detach"))


@route("GET", "/containers/{name}/attach/ws")
async def attach_by_websocket(api: DockerApi, request: DockerRequest) -> HttpResponse:
    _attachable(api, request["name"])
    raise Unsupported("attaching by WebSocket is not supported; POST to /containers/{id}/attach")
