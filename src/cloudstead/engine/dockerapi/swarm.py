"""Swarm mode, which there is none of: clients are told so as by a Docker that is in no swarm, and what would make one is refused.

A client that looks for services or secrets (compose, docker-py) takes 503 for "no swarm here" and goes on without; "page not found" stops it.
"""

from __future__ import annotations

from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import Unavailable, Unsupported
from cloudstead.http.messages import HttpResponse

NO_MANAGER = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'
KINDS = ("services", "tasks", "nodes", "secrets", "configs")


async def no_manager(api: DockerApi, request: DockerRequest) -> HttpResponse:
    raise Unavailable(NO_MANAGER)


for _kind in KINDS:
    for _pattern in (f"/{_kind}", f"/{_kind}/{{id}}"):
        route("GET", _pattern)(no_manager)
    route("POST", f"/{_kind}/create")(no_manager)
    route("POST", f"/{_kind}/{{id}}/update")(no_manager)
    route("DELETE", f"/{_kind}/{{id}}")(no_manager)
    route("GET", f"/{_kind}/{{id}}/logs")(no_manager)
for _method, _pattern in (("GET", "/swarm"), ("GET", "/swarm/unlockkey"), ("POST", "/swarm/update"), ("POST", "/swarm/unlock")):
    route(_method, _pattern)(no_manager)


@route("POST", "/swarm/leave")
async def leave(api: DockerApi, request: DockerRequest) -> HttpResponse:
    raise Unavailable("This node is not part of a swarm")


@route("POST", "/swarm/init")
@route("POST", "/swarm/join")
async def make(api: DockerApi, request: DockerRequest) -> HttpResponse:
    raise Unsupported("swarm mode is not supported: this is one engine; ECS runs services on it")
