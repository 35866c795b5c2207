"""Volumes: list, create, inspect, remove, prune."""

from __future__ import annotations

from typing import Any

from cloudstead.engine.dockerapi.answers import json_answer, no_content
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.filters import Filters
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.shapes import Shape
from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound
from cloudstead.engine.volumes.model import Volume
from cloudstead.http.messages import HttpResponse
from cloudstead.kernel.dates import iso8601

ALL_BEFORE = (1, 42)  # since this version pruning leaves named volumes alone, unless it is told `all`


class VolumeCreate(Shape, frozen=True, kw_only=True):
    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None


def describe_volume(api: DockerApi, row: Volume) -> dict[str, Any]:
    return {
        "CreatedAt": iso8601(row.created),
        "Driver": "local",
        "Labels": row.labels or None,
        "Mountpoint": api.engine.volumes.mountpoint(row.name),
        "Name": row.name,
        "Options": row.options or None,
        "Scope": "local",
    }


def users(api: DockerApi, name: str) -> list[str]:
    """Ids of the containers that have it, also of those that were never started."""
    docker = [row.id for row in api.part(Containers).of_volume(name)]
    return list(dict.fromkeys([*docker, *api.engine.volumes.users(name)]))


@route("GET", "/volumes")
async def list_volumes(api: DockerApi, request: DockerRequest) -> HttpResponse:
    filters = request.filters("dangling", "driver", "label", "name")
    rows = [row for row in api.engine.volumes.all() if _wanted(api, row, filters)]
    return json_answer({"Volumes": [describe_volume(api, row) for row in rows], "Warnings": None})


def _wanted(api: DockerApi, row: Volume, filters: Filters) -> bool:
    if "dangling" in filters and filters.flag("dangling", False) == bool(users(api, row.name)):
        return False
    return filters.one_of("driver", "local") and filters.labels(row.labels) and filters.matches("name", row.name)


@route("POST", "/volumes/create")
async def create_volume(api: DockerApi, request: DockerRequest) -> HttpResponse:
    body = await request.json(VolumeCreate)
    if body.driver not in ("", "local"):
        raise NotFound(f'create {body.name}: error looking up volume plugin {body.driver}: plugin "{body.driver}" not found')
    known = bool(body.name) and api.engine.volumes.find(body.name) is not None
    row = await api.engine.volumes.create(body.name, labels=body.labels, options=body.driver_opts)
    if not known:
        tell(api, row.name, "create")
    return json_answer(describe_volume(api, row), 201)


@route("GET", "/volumes/{name}")
async def inspect_volume(api: DockerApi, request: DockerRequest) -> HttpResponse:
    return json_answer(describe_volume(api, api.engine.volumes.get(request["name"])))


@route("DELETE", "/volumes/{name}")
async def remove_volume(api: DockerApi, request: DockerRequest) -> HttpResponse:
    name, force = request["name"], request.flag("force")
    try:
        api.engine.volumes.get(name)
        if having := users(api, name):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(having)}]")
        await api.engine.volumes.remove(name)
    except NotFound:
        if not force:
            raise
    else:
        tell(api, name, "destroy")
    return no_content()


@route("POST", "/volumes/prune")
async def prune_volumes(api: DockerApi, request: DockerRequest) -> HttpResponse:
    filters = request.filters("all", "label", "label!")
    if "all" in filters and request.version < ALL_BEFORE:
        raise InvalidArgument("invalid filter 'all'")
    everything = request.version < ALL_BEFORE or filters.flag("all", False)

    def keep(row: Volume) -> bool:
        return bool(users(api, row.name)) or not filters.labels(row.labels) or not filters.lacks_labels(row.labels)

    pruned = await api.engine.volumes.prune(anonymous_only=not everything, keep=keep)
    for name in pruned.names:
        tell(api, name, "destroy")
    api.events.tell("volume", "prune", "", {"reclaimed": str(pruned.reclaimed)})
    return json_answer({"VolumesDeleted": list(pruned.names) or None, "SpaceReclaimed": pruned.reclaimed})


def tell(api: DockerApi, name: str, action: str) -> None:
    api.events.tell("volume", action, name, {"driver": "local"})
