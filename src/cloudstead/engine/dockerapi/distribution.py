"""What a registry has of an image, without pulling it."""

from __future__ import annotations

from cloudstead.engine.dockerapi.answers import json_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.credentials import from_request
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.http.messages import HttpResponse


@route("GET", "/distribution/{name}/json")
async def inspect_distribution(api: DockerApi, request: DockerRequest) -> HttpResponse:
    descriptor, platforms = await api.engine.images.inspect_remote(request["name"], credentials=from_request(request.http))
    return json_answer({"Descriptor": descriptor, "Platforms": platforms})
