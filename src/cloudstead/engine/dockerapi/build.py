"""`docker build`, by the classic builder's protocol: a tar comes, lines of JSON go."""

from __future__ import annotations

import asyncio

from cloudstead.engine.build.api import BuildContext, BuildEvent, Building, Built, Output, Pulling, StepFailed
from cloudstead.engine.dockerapi.answers import json_answer, no_content
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.build_options import BUILDKIT, read_options
from cloudstead.engine.dockerapi.parameters import duration
from cloudstead.engine.dockerapi.progress import Feed, answer_with, error_line, line_of
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import InvalidArgument, NotFound, Unavailable, Unsupported
from cloudstead.http.messages import HttpResponse


class Builds:
    """Those that run and were given an id by their client, so that it can cancel them."""

    def __init__(self, api: DockerApi) -> None:
        self.running: dict[str, asyncio.Task[object]] = {}


def builder_of(api: DockerApi) -> Building:
    if api.builder is None:
        raise Unavailable("there is no builder here")
    builder: Building = api.builder
    return builder


@route("POST", "/build")
async def build(api: DockerApi, request: DockerRequest) -> HttpResponse:
    options, builder = read_options(api, request), builder_of(api)
    remote, name = request.text("remote"), request.text("buildid")
    context = BuildContext(remote=remote) if remote else BuildContext(tar=request.http.stream())

    async def work(feed: Feed) -> None:
        running = api.part(Builds).running
        task = asyncio.current_task()
        if name and task is not None:
            running[name] = task
        try:
            await builder.build(context, options, lambda event: feed.send(line(event)))
        except StepFailed as error:
            feed.tell(error_line(error, error.exit_code))
        except asyncio.CancelledError:
            feed.tell({"errorDetail": {"message": "context canceled"}, "error": "context canceled"})
            raise
        finally:
            running.pop(name, None)

    return await answer_with(work, request=request.http)


def line(event: BuildEvent) -> dict[str, object]:
    """What happened, as Docker's clients read it."""
    match event:
        case Output(text, "stderr"):
            return {"stream": f"\x1b[91m{text}\x1b[0m"}
        case Output(text):
            return {"stream": text}
        case Pulling(progress):
            return line_of(progress)
        case Built(id):
            return {"aux": {"ID": id}}


@route("POST", "/build/cancel")
async def cancel_build(api: DockerApi, request: DockerRequest) -> HttpResponse:
    task = api.part(Builds).running.get(request.text("id"))
    if task is None:
        raise NotFound(f"no build has the ID {request.text('id')!r}" if request.text("id") else "build ID not provided")
    task.cancel()
    return no_content()


@route("POST", "/build/prune")
async def prune_builds(api: DockerApi, request: DockerRequest) -> HttpResponse:
    filters = request.filters("until", "unused-for")
    unused = 0.0
    for text in (*filters.all("until"), *filters.all("unused-for")):
        found = duration(text)
        if found is None:
            raise InvalidArgument(f"{text[:100]!r} is no duration; write it as in 24h or 90m")
        unused = max(unused, found)
    keep = request.number("keep-storage")
    if keep < 0:
        raise InvalidArgument("keep-storage is in bytes, and not below zero")
    pruned = await builder_of(api).prune(all=request.flag("all"), unused_for=unused, keep_bytes=keep)
    api.events.tell("builder", "prune", "", {"reclaimed": str(pruned.reclaimed)})
    return json_answer({"CachesDeleted": list(pruned.records) or None, "SpaceReclaimed": pruned.reclaimed})


@route("POST", "/session")
@route("POST", "/grpc")
async def buildkit(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """What BuildKit's clients open first."""
    raise Unsupported(BUILDKIT)
