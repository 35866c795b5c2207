"""Containers join and leave networks."""

from __future__ import annotations

from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.endpoints import EndpointSettings
from cloudstead.engine.dockerapi.errors import DockerError
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.network_model import DockerNetwork
from cloudstead.engine.dockerapi.networking import place
from cloudstead.engine.dockerapi.networks import DockerNetworks
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.shapes import Shape
from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound
from cloudstead.http.messages import HttpResponse


class NetworkConnect(Shape, frozen=True, kw_only=True):
    container: str = ""
    endpoint_config: EndpointSettings | None = None


class NetworkDisconnect(Shape, frozen=True, kw_only=True):
    container: str = ""
    force: bool = False  # also from what is half gone; here nothing is ever half gone


@route("POST", "/networks/{id}/connect")
async def connect(api: DockerApi, request: DockerRequest) -> HttpResponse:
    body = await request.json(NetworkConnect)
    network = api.part(DockerNetworks).find(request["id"])
    containers = api.part(Containers)
    row = containers.find(_named(body.container))
    _check_mode(row, network)
    if network.id in row.networks:
        if containers.runs(row):
            raise DockerError(403, f"endpoint with name {row.name} already exists in network {network.name}")
        return HttpResponse(200)
    _check_others(api, row, network)
    wanted = body.endpoint_config or EndpointSettings()
    try:
        await api.engine.pods.connect(row.id, place(network, wanted, row.id, row.name))
    except Conflict as error:
        raise DockerError(403, error.message) from None
    containers.change(row.id, networks={**row.networks, network.id: wanted})
    _tell(api, network, "connect", row)
    return HttpResponse(200)


@route("POST", "/networks/{id}/disconnect")
async def disconnect(api: DockerApi, request: DockerRequest) -> HttpResponse:
    body = await request.json(NetworkDisconnect)
    network = api.part(DockerNetworks).find(request["id"])
    containers = api.part(Containers)
    row = containers.find(_named(body.container))
    if network.driver == "host" and row.host_config.network_mode == "host":
        raise InvalidArgument("cannot disconnect container from host network - container was created in host network mode")
    if network.id not in row.networks:
        raise DockerError(500, f"container {row.id} is not connected to network {network.name}")
    try:
        await api.engine.pods.disconnect(row.id, network.id)
    except NotFound:
        if not body.force:
            raise
    containers.change(row.id, networks={id: wanted for id, wanted in row.networks.items() if id != network.id})
    _tell(api, network, "disconnect", row)
    return HttpResponse(200)


def _named(container: str) -> str:
    if not container:
        raise InvalidArgument("no container is named")
    return container


def _check_mode(row: DockerContainer, network: DockerNetwork) -> None:
    """What shares a namespace with others has no network of its own to add."""
    mode = row.host_config.network_mode
    if mode != "host" and network.driver == "host":
        raise InvalidArgument("cannot connect container to host network - container must be created in host network mode")
    if mode == "host" or mode.startswith("container:"):
        raise InvalidArgument("container sharing network namespace with another container or host cannot be connected to any other network")


def _check_others(api: DockerApi, row: DockerContainer, network: DockerNetwork) -> None:
    networks = api.part(DockerNetworks)
    drivers = {found.driver for id in row.networks if (found := networks.get(id)) is not None}
    if drivers and "null" in drivers | {network.driver}:
        raise InvalidArgument("container cannot be connected to multiple networks with one of the networks in private (none) mode")


def _tell(api: DockerApi, network: DockerNetwork, action: str, row: DockerContainer) -> None:
    attributes = {"container": row.id, "name": network.name, "type": network.driver}
    api.events.tell("network", action, network.id, attributes)
