"""Networks: list, create, inspect, remove, prune. What containers do with them: connections.py."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

from msgspec.structs import replace

from cloudstead.engine.dockerapi.answers import date, json_answer, no_content
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.endpoints import endpoint_id
from cloudstead.engine.dockerapi.errors import DockerError
from cloudstead.engine.dockerapi.filters import Filters
from cloudstead.engine.dockerapi.network_model import NETWORKS, DockerNetwork
from cloudstead.engine.dockerapi.network_specs import IS_DEFAULT, NetworkCreate, first_address, row_of, spec_of
from cloudstead.engine.dockerapi.parameters import moment
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, NoSpace, NotFound
from cloudstead.engine.network.api import AttachedInterface
from cloudstead.http.messages import HttpResponse

log = logging.getLogger(__name__)

DEFAULT_POOL = ("172.17.0.0/16", 16)  # Docker's own for the default bridge
POOLS = (("172.18.0.0/15", 16), ("172.20.0.0/14", 16), ("172.24.0.0/14", 16), ("172.28.0.0/14", 16), ("192.168.0.0/16", 20))  # Docker's too
TRIES = 8  # somebody else on this machine may take the addresses that were just found free


class DockerNetworks:
    """All networks of the Docker API: `api.part(DockerNetworks)`."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self._store = api.engine.store
        self._store.attach([NETWORKS])
        self._rows = self._store.table(NETWORKS)
        self._making = asyncio.Lock()

    def all(self) -> list[DockerNetwork]:
        return sorted(self._rows.scan(), key=lambda row: row.name)

    def get(self, id: str) -> DockerNetwork | None:
        """By its whole id, as attachments name it."""
        return self._rows.get((id,))

    def find(self, term: str) -> DockerNetwork:
        """By id, name, or the beginning of an id; "default" is the bridge.

        Raises:
            NotFound, InvalidArgument: in Docker's words.
        """
        row = self._rows.get((term,)) or self._rows.find("by_name", ("bridge" if term == "default" else term,))
        if row is not None:
            return row
        begun = [row for row in self._rows.scan() if term and row.id.startswith(term)]
        if len(begun) > 1:
            raise InvalidArgument(f"network {term} is ambiguous ({len(begun)} matches found based on ID prefix)")
        if not begun:
            raise NotFound(f"network {term} not found")
        return begun[0]

    def attached(self, network: DockerNetwork) -> dict[str, AttachedInterface | None]:
        """The containers that run in it, by id."""
        found: dict[str, AttachedInterface | None] = {}
        for pod in self._api.engine.pods.list_pods("docker"):
            for interface in pod.interfaces:
                if interface.network == network.id:
                    found.update({container.id: interface for container in pod.containers})
        return found

    async def make_predefined(self) -> None:
        """bridge, host and none, when they are not there yet."""
        async with self._making:
            now = self._api.engine.clock.time()
            for name, driver in (("host", "host"), ("none", "null")):
                if self._rows.find("by_name", (name,)) is None:
                    with self._store.transaction() as tx:
                        tx.insert(NETWORKS, DockerNetwork(id=secrets.token_hex(32), name=name, driver=driver, created=now, predefined=True))  # type: ignore[arg-type]
            if self._rows.find("by_name", ("bridge",)) is None:
                row = DockerNetwork(id=secrets.token_hex(32), name="bridge", created=now, predefined=True, options={IS_DEFAULT: "true"})
                await self._place(row, (DEFAULT_POOL, *POOLS))
            await self._store.settled()

    async def create(self, create: NetworkCreate) -> DockerNetwork:
        """Raises Conflict when the name is taken, DockerError 403 when the addresses are."""
        row = row_of(create, secrets.token_hex(32), self._api.engine.clock.time())
        async with self._making:
            if self._rows.find("by_name", (row.name,)) is not None:
                raise Conflict(f"network with name {row.name} already exists")
            row = await self._place(row, POOLS)
            await self._store.settled()
        self._tell(row, "create")
        return row

    async def remove(self, row: DockerNetwork) -> None:
        if row.predefined:
            raise DockerError(403, f"{row.name} is a pre-defined network and cannot be removed")
        async with self._making:
            if self.attached(row):
                raise DockerError(403, f"error while removing network: network {row.name} id {row.id} has active endpoints")
            try:
                await self._api.engine.networks.remove(row.id)
            except Conflict as error:
                raise DockerError(
                    403, f"error while removing network: network {row.name} id {row.id} has active endpoints ({error.message})"
                ) from None
            except NotFound:
                log.warning("the network %s had no engine network", row.name)
            with self._store.transaction() as tx:
                tx.delete(NETWORKS, (row.id,))
            await self._store.settled()
        self._tell(row, "destroy")

    def _tell(self, row: DockerNetwork, action: str) -> None:
        self._api.events.tell("network", action, row.id, {"name": row.name, "type": row.driver})

    async def _place(self, row: DockerNetwork, pools: tuple[tuple[str, int], ...]) -> DockerNetwork:
        """Give it addresses, unless it asked for some, and make it."""
        networks, chosen = self._api.engine.networks, bool(row.cidr)
        for _ in range(TRIES):
            cidr = row.cidr or self._free(pools)
            placed = replace(row, cidr=cidr, gateway=row.gateway or first_address(cidr))
            try:
                await networks.create(spec_of(placed))
            except Conflict as error:
                if chosen:
                    raise DockerError(
                        403, f"invalid pool request: Pool overlaps with other one on this address space ({error.message})"
                    ) from None
                continue
            with self._store.transaction() as tx:
                return tx.insert(NETWORKS, placed)
        raise InvalidArgument("all predefined address pools have been fully subnetted")

    def _free(self, pools: tuple[tuple[str, int], ...]) -> str:
        for pool, prefix in pools:
            try:
                return self._api.engine.networks.free_cidr(pool, prefix)
            except NoSpace:
                continue
        raise InvalidArgument("all predefined address pools have been fully subnetted")


async def start(api: DockerApi) -> None:
    try:
        await api.part(DockerNetworks).make_predefined()
    except EngineError as error:  # no host, no free addresses: containers without a network can still run
        log.warning("the default network could not be made: %s", error.message)


def describe(api: DockerApi, row: DockerNetwork, *, containers: bool) -> dict[str, Any]:
    """As `docker network inspect` shows it; without its containers in a list."""
    inside = api.part(DockerNetworks).attached(row) if containers else {}
    config = {"Subnet": row.cidr, "IPRange": row.range, "Gateway": row.gateway}
    return {
        "Name": row.name,
        "Id": row.id,
        "Created": date(row.created),
        "Scope": "local",
        "Driver": row.driver,
        "EnableIPv6": False,
        "IPAM": {
            "Driver": "default",
            "Options": None if row.predefined else {},
            "Config": [{name: value for name, value in config.items() if value}] if row.cidr else [],
        },
        "Internal": row.internal,
        "Attachable": row.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {id: _inside(api, row, id, interface) for id, interface in inside.items()},
        "Options": row.options,
        "Labels": row.labels,
    }


def _inside(api: DockerApi, row: DockerNetwork, container: str, interface: AttachedInterface | None) -> dict[str, str]:
    known = api.part(Containers).by_id(container)
    return {
        "Name": known.name if known else container,
        "EndpointID": endpoint_id(row.id, container),
        "MacAddress": interface.mac if interface else "",
        "IPv4Address": f"{interface.ip}/{interface.prefix}" if interface else "",
        "IPv6Address": "",
    }


@route("GET", "/networks")
async def list_networks(api: DockerApi, request: DockerRequest) -> HttpResponse:
    filters = request.filters("dangling", "driver", "id", "label", "name", "scope", "type")
    part = api.part(DockerNetworks)
    return json_answer([describe(api, row, containers=False) for row in part.all() if _wanted(part, row, filters)])


def _wanted(part: DockerNetworks, row: DockerNetwork, filters: Filters) -> bool:
    kinds = filters.all("type")
    for kind in kinds:
        if kind not in ("builtin", "custom"):
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
    if "dangling" in filters:
        dangling = not row.predefined and not part.attached(row)
        if filters.flag("dangling", False) != dangling:
            return False
    return (
        filters.one_of("driver", row.driver)
        and filters.one_of("scope", "local")
        and filters.begins("id", row.id)
        and filters.labels(row.labels)
        and filters.matches("name", row.name)
        and (not kinds or ("builtin" if row.predefined else "custom") in kinds)
    )


@route("POST", "/networks/create")
async def create_network(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = await api.part(DockerNetworks).create(await request.json(NetworkCreate))
    return json_answer({"Id": row.id, "Warning": ""}, 201)


@route("GET", "/networks/{id}")
async def inspect_network(api: DockerApi, request: DockerRequest) -> HttpResponse:
    scope = request.text("scope")
    if scope not in ("", "local", "swarm", "global"):
        raise InvalidArgument(f"invalid scope {scope}")
    row = api.part(DockerNetworks).find(request["id"])
    if scope in ("swarm", "global"):
        raise NotFound(f"network {request['id']} not found")
    answer = describe(api, row, containers=True)
    if request.flag("verbose"):
        answer["Services"] = {}  # of swarms
    return json_answer(answer)


@route("DELETE", "/networks/{id}")
async def delete_network(api: DockerApi, request: DockerRequest) -> HttpResponse:
    part = api.part(DockerNetworks)
    await part.remove(part.find(request["id"]))
    return no_content()


@route("POST", "/networks/prune")
async def prune_networks(api: DockerApi, request: DockerRequest) -> HttpResponse:
    filters = request.filters("label", "label!", "until")
    part, now, gone = api.part(DockerNetworks), api.engine.clock.time(), []
    until = min((moment("until", text, now) for text in filters.all("until")), default=now + 1)
    for row in part.all():
        if row.predefined or row.created >= until or not filters.labels(row.labels) or not filters.lacks_labels(row.labels):
            continue
        try:
            await part.remove(row)
        except DockerError:  # containers run in it
            continue
        gone.append(row.name)
    api.events.tell("network", "prune", "", {"reclaimed": "0"})
    return json_answer({"NetworksDeleted": gone or None})
