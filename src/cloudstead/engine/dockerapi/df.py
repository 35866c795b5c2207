"""How much room everything takes."""

from __future__ import annotations

from typing import Any

from cloudstead.engine.build.api import CacheRecord
from cloudstead.engine.dockerapi.answers import date, json_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.images import UNTAGGED, summary
from cloudstead.engine.dockerapi.listing import sizes_of
from cloudstead.engine.dockerapi.listing import summary as container_summary
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.volumes import describe_volume, users
from cloudstead.engine.errors import InvalidArgument
from cloudstead.http.messages import HttpResponse

TYPES = ("container", "image", "volume", "build-cache")


@route("GET", "/system/df")
async def disk_usage(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """With `type` (API 1.42) only what is named is counted."""
    wanted = request.parameters.all("type") or list(TYPES)
    for kind in wanted:
        if kind not in TYPES:
            raise InvalidArgument(f"unknown object type: {kind}")
    answer: dict[str, Any] = {"LayersSize": 0, "Images": [], "Containers": [], "Volumes": [], "BuildCache": []}
    if "image" in wanted:
        answer["LayersSize"], answer["Images"] = await _images(api)
    if "container" in wanted:
        answer["Containers"] = await _containers(api)
    if "volume" in wanted:
        answer["Volumes"] = await _volumes(api)
    if "build-cache" in wanted and api.builder is not None:
        answer["BuildCache"] = [_record(record) for record in await api.builder.records()]
    return json_answer(answer)


async def _images(api: DockerApi) -> tuple[int, list[dict[str, Any]]]:
    size, shared = await api.engine.images.disk_usage()
    containers, told = api.part(Containers), []
    for image in api.engine.images.all():
        one = summary(image, shared=shared.get(image.id, 0), containers=len(containers.of_image(image.id)))
        told.append(one if image.tags or image.digests else {**one, **UNTAGGED})
    return size, told


async def _containers(api: DockerApi) -> list[dict[str, Any]]:
    told = []
    for row in api.part(Containers).all():
        own, whole = await sizes_of(api, row)
        told.append({**container_summary(api, row), "SizeRw": own, "SizeRootFs": whole})
    return told


async def _volumes(api: DockerApi) -> list[dict[str, Any]]:
    usage, told = await api.engine.volumes.usage(), []
    for row in api.engine.volumes.all():
        size = usage[row.name].size if row.name in usage else -1
        told.append({**describe_volume(api, row), "UsageData": {"RefCount": len(users(api, row.name)), "Size": size}})
    return told


def _record(record: CacheRecord) -> dict[str, Any]:
    return {
        "ID": record.id,
        "Parent": "",
        "Type": record.kind,
        "Description": record.description,
        "InUse": record.in_use,
        "Shared": record.shared,
        "Size": record.size,
        "CreatedAt": date(record.created),
        "LastUsedAt": date(record.last_used) if record.last_used else None,
        "UsageCount": record.used,
    }
