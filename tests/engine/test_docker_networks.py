"""Docker's networks over HTTP; containers are simulated and networks are rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cloudstead.engine.errors import NoSpace
from cloudstead.engine.network.api import NetworkSpec
from cloudstead.kernel.store import MemoryBackend
from docker_stage import Stage, staged


def play(story: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        async with staged() as stage:
            await story(stage)

    asyncio.run(run())


def filtered(**filters: list[str]) -> str:
    return json.dumps({name: dict.fromkeys(values, True) for name, values in filters.items()})


async def made(s: Stage, name: str = "net1", **body: Any) -> dict[str, Any]:
    await s.post("/networks/create", {"Name": name, **body}, 201)
    found: dict[str, Any] = await s.get(f"/networks/{name}")
    return found


def spec(s: Stage, name: str) -> NetworkSpec:
    return next(spec for spec in s.networks.specs.values() if spec.name == name)


# ------------------------------------------------------------------------------------------------------------------ predefined


def test_bridge_host_and_none_are_there_from_the_start_and_stay_the_same() -> None:
    async def story(s: Stage) -> None:
        before = {row["Name"]: row for row in await s.get("/networks")}
        assert {name: row["Driver"] for name, row in before.items()} == {"bridge": "bridge", "host": "host", "none": "null"}
        assert before["bridge"]["IPAM"] == {
            "Driver": "default",
            "Options": None,
            "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}],
        }
        assert before["host"]["IPAM"]["Config"] == []
        await s.restart()
        assert {row["Name"]: row for row in await s.get("/networks")} == before

    play(story)


@pytest.mark.parametrize("name", ["bridge", "host", "none"])
def test_the_predefined_ones_can_neither_be_made_nor_removed(name: str) -> None:
    async def story(s: Stage) -> None:
        assert await s.message("DELETE", f"/networks/{name}", 403) == f"{name} is a pre-defined network and cannot be removed"
        assert (
            await s.message("POST", "/networks/create", 403, {"Name": name}) == f"operation is not permitted on predefined {name} network "
        )

    play(story)


def test_the_default_bridge_takes_other_addresses_when_its_own_are_in_use() -> None:
    async def run() -> None:
        async with staged() as s:
            await s.close()
            s.backend = MemoryBackend()
            s.networks.specs.clear()
            real = s.networks.free_cidr

            def free(pool: str = "172.16.0.0/12", prefix: int = 16) -> str:
                if pool == "172.17.0.0/16":
                    raise NoSpace("in use")
                return real(pool, prefix)

            s.networks.free_cidr = free  # type: ignore[method-assign]
            await s.open()
            bridge = await s.get("/networks/bridge")
            assert bridge["IPAM"]["Config"][0]["Subnet"] == "172.18.0.0/16"

    asyncio.run(run())


# ------------------------------------------------------------------------------------------------------------------ making


def test_a_network_is_told_as_docker_tells_it() -> None:
    async def story(s: Stage) -> None:
        ipam = {"Driver": "default", "Config": [{"Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25", "Gateway": "10.9.0.254"}]}
        row = await made(s, Driver="bridge", IPAM=ipam, Internal=True, Attachable=True, Labels={"a": "b"}, CheckDuplicate=True)
        assert len(row.pop("Id")) == 64
        assert row.pop("Created").endswith("Z")
        assert row == {
            "Name": "net1",
            "Scope": "local",
            "Driver": "bridge",
            "EnableIPv6": False,
            "IPAM": {**ipam, "Options": {}},
            "Internal": True,
            "Attachable": True,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": {},
            "Options": {},
            "Labels": {"a": "b"},
        }

    play(story)


def test_options_reach_the_engine() -> None:
    async def story(s: Stage) -> None:
        options = {
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
            "com.docker.network.driver.mtu": "1400",
        }
        await made(s, Options=options, Internal=True)
        found = spec(s, "net1")
        assert (found.members_talk, found.masquerade, found.mtu, found.internal, found.names) == (False, False, 1400, True, True)
        assert found.subnets[0].nat is False
        bridge = spec(s, "bridge")
        assert (bridge.members_talk, bridge.masquerade, bridge.mtu, bridge.internal, bridge.names) == (True, True, 1500, False, False)

    play(story)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"Name": ""}, 400, "name is empty"),
        ({"Name": "x", "Driver": "overlay"}, 403, "This node is not a swarm manager"),
        ({"Name": "x", "Driver": "macvlan"}, 501, "macvlan is not supported"),
        ({"Name": "x", "Driver": "weave"}, 404, 'plugin "weave" not found'),
        ({"Name": "x", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
        ({"Name": "x", "EnableIPv6": True}, 501, "IPv6"),
        ({"Name": "x", "Scope": "swarm"}, 400, "swarm"),
        ({"Name": "x", "Ingress": True}, 501, "swarms"),
        ({"Name": "x", "ConfigOnly": True}, 501, "configuration"),
        ({"Name": "x", "ConfigFrom": {"Network": "y"}}, 501, "configuration"),
        ({"Name": "x", "IPAM": {"Driver": "dhcp"}}, 404, "could not resolve driver dhcp"),
        ({"Name": "x", "IPAM": {"Options": {"a": "b"}}}, 501, "option a of IPAM"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.0/33"}]}}, 400, "invalid subnet"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.1/24"}]}}, 400, "it should be 10.0.0.0/24"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "fd00::/64"}]}}, 501, "IPv6"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.1.1"}]}}, 400, "doesn't contain it"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "IPRange": "10.0.0.0/16"}]}}, 400, "not inside"),
        ({"Name": "x", "IPAM": {"Config": [{"Gateway": "10.0.0.1"}]}}, 400, "needs a subnet"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "AuxiliaryAddresses": {"a": "10.0.0.9"}}]}}, 501, "auxiliary"),
        ({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}, {"Subnet": "10.1.0.0/24"}]}}, 501, "one subnet"),
        ({"Name": "x", "Options": {"com.docker.network.bridge.name": "br9"}}, 501, "com.docker.network.bridge.name is not supported"),
        ({"Name": "x", "Options": {"com.docker.network.driver.mtu": "many"}}, 400, "no MTU"),
        ({"Name": "x", "Options": {"com.docker.network.bridge.enable_icc": "perhaps"}}, 400, "no boolean"),
        ({"Name": "x", "Weight": 3}, 400, "Weight is not supported"),
    ],
)
def test_what_cannot_be_is_refused_by_name(body: dict[str, Any], status: int, message: str) -> None:
    async def story(s: Stage) -> None:
        assert message in await s.message("POST", "/networks/create", status, body)
        assert len(await s.get("/networks")) == 3
        assert len(s.networks.specs) == 1

    play(story)


def test_a_name_is_taken_once_and_addresses_too() -> None:
    async def story(s: Stage) -> None:
        await made(s, IPAM={"Config": [{"Subnet": "10.9.0.0/24"}]})
        assert await s.message("POST", "/networks/create", 409, {"Name": "net1"}) == "network with name net1 already exists"
        body = {"Name": "net2", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}
        assert "Pool overlaps with other one on this address space" in await s.message("POST", "/networks/create", 403, body)
        assert [row["Name"] for row in await s.get("/networks")] == ["bridge", "host", "net1", "none"]

    play(story)


def test_many_at_once_get_names_and_addresses_of_their_own() -> None:
    async def story(s: Stage) -> None:
        answers = await asyncio.gather(*(s.ask("POST", "/networks/create", None, {"Name": f"n{n % 10}"}) for n in range(20)))
        assert sorted(status for status, _ in answers) == [201] * 10 + [409] * 10
        subnets = [row["IPAM"]["Config"][0]["Subnet"] for row in await s.get("/networks") if row["Driver"] == "bridge"]
        assert len(set(subnets)) == 11

    play(story)


# ------------------------------------------------------------------------------------------------------------------ finding


def test_a_network_is_found_by_name_id_and_the_beginning_of_its_id() -> None:
    async def story(s: Stage) -> None:
        id = (await made(s))["Id"]
        for term in ("net1", id, id[:12]):
            assert (await s.get(f"/networks/{term}"))["Id"] == id
        assert await s.message("GET", "/networks/nowhere", 404) == "network nowhere not found"
        assert await s.message("GET", "/networks/net1", 404, scope="swarm") == "network net1 not found"
        assert (await s.get("/networks/net1", verbose="true"))["Services"] == {}

    play(story)


def test_filters_choose_among_networks() -> None:
    async def story(s: Stage) -> None:
        await made(s, "red", Labels={"colour": "red"})
        blue = await made(s, "blue", Labels={"colour": "blue"})
        await s.run("sleep", "1000", HostConfig={"NetworkMode": "red"})

        async def names(**filters: list[str]) -> list[str]:
            return [row["Name"] for row in await s.get("/networks", filters=filtered(**filters))]

        assert await names(name=["re"]) == ["red"]
        assert await names(id=[blue["Id"][:10]]) == ["blue"]
        assert await names(label=["colour"]) == ["blue", "red"]
        assert await names(label=["colour=red"]) == ["red"]
        assert await names(driver=["null"]) == ["none"]
        assert await names(type=["custom"]) == ["blue", "red"]
        assert await names(type=["builtin"]) == ["bridge", "host", "none"]
        assert await names(scope=["swarm"]) == []
        assert await names(dangling=["true"]) == ["blue"]
        assert "invalid filter" in await s.message("GET", "/networks", 400, filters=filtered(type=["odd"]))

    play(story)


# ------------------------------------------------------------------------------------------------------------------ containers


def test_who_runs_in_a_network_is_told_and_keeps_it() -> None:
    async def story(s: Stage) -> None:
        network = await made(s)
        id = await s.run("sleep", "1000", name="web", HostConfig={"NetworkMode": "net1"})
        inside = (await s.get("/networks/net1"))["Containers"]
        assert list(inside) == [id]
        endpoint = (await s.get(f"/containers/{id}/json"))["NetworkSettings"]["Networks"]["net1"]
        assert inside[id]["Name"] == "web"
        assert inside[id]["EndpointID"] == endpoint["EndpointID"]
        assert inside[id]["IPv4Address"] == f"{endpoint['IPAddress']}/{endpoint['IPPrefixLen']}"
        assert next(row for row in await s.get("/networks") if row["Name"] == "net1")["Containers"] == {}
        message = await s.message("DELETE", "/networks/net1", 403)
        assert message == f"error while removing network: network net1 id {network['Id']} has active endpoints"
        await s.post(f"/containers/{id}/kill")
        await s.post(f"/containers/{id}/wait", expect=200)
        assert (await s.get("/networks/net1"))["Containers"] == {}
        assert (await s.ask("DELETE", "/networks/net1"))[0] == 204
        assert await s.message("GET", "/networks/net1", 404) == "network net1 not found"

    play(story)


def test_a_container_joins_and_leaves_a_network() -> None:
    async def story(s: Stage) -> None:
        network = await made(s, IPAM={"Config": [{"Subnet": "10.9.0.0/24"}]})
        id = await s.run("sleep", "1000", name="web")
        config = {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.9.0.77"}}
        assert await s.ask("POST", "/networks/net1/connect", None, {"Container": "web", "EndpointConfig": config}) == (200, None)
        networks = (await s.get("/containers/web/json"))["NetworkSettings"]["Networks"]
        assert sorted(networks) == ["bridge", "net1"]
        assert (networks["net1"]["IPAMConfig"], networks["net1"]["NetworkID"]) == ({"IPv4Address": "10.9.0.77"}, network["Id"])
        assert "db" in networks["net1"]["Aliases"]
        message = await s.message("POST", "/networks/net1/connect", 403, {"Container": "web"})
        assert message == "endpoint with name web already exists in network net1"
        assert await s.ask("POST", "/networks/net1/disconnect", None, {"Container": "web", "Force": False}) == (200, None)
        assert sorted((await s.get("/containers/web/json"))["NetworkSettings"]["Networks"]) == ["bridge"]
        message = await s.message("POST", "/networks/net1/disconnect", 500, {"Container": "web"})
        assert message == f"container {id} is not connected to network net1"
        told = [
            (event.action, event.actor.attributes["container"])
            for event in s.api.events.since(0)
            if event.actor.id == network["Id"] and "container" in event.actor.attributes
        ]
        assert told == [("connect", id), ("disconnect", id)]

    play(story)


def test_a_container_that_does_not_run_joins_when_it_starts() -> None:
    async def story(s: Stage) -> None:
        await made(s)
        id = await s.create("sleep", "1000", name="web")
        for _ in range(2):  # a second time changes nothing
            assert (await s.ask("POST", "/networks/net1/connect", None, {"Container": "web"}))[0] == 200
        assert (await s.get("/networks/net1"))["Containers"] == {}
        await s.post(f"/containers/{id}/start")
        assert list((await s.get("/networks/net1"))["Containers"]) == [id]

    play(story)


@pytest.mark.parametrize(
    ("mode", "network", "body", "status", "message"),
    [
        ("bridge", "host", {}, 400, "cannot connect container to host network"),
        ("host", "net1", {}, 400, "sharing network namespace with another container or host"),
        ("none", "net1", {}, 400, "private (none) mode"),
        ("bridge", "net1", {"IPAMConfig": {"IPv4Address": "10.10.0.1"}}, 400, "no configured subnet"),
        ("bridge", "net1", {"IPAMConfig": {"IPv4Address": "ten"}}, 400, "invalid IPv4 address: ten"),
        ("bridge", "net1", {"IPAMConfig": {"IPv6Address": "fd00::1"}}, 501, "IPv6"),
        ("bridge", "net1", {"IPAMConfig": {"LinkLocalIPs": ["169.254.1.1"]}}, 501, "link-local"),
        ("bridge", "net1", {"Links": ["other:db"]}, 501, "links"),
        ("bridge", "net1", {"DriverOpts": {"a": "b"}}, 501, "endpoint option a"),
        ("bridge", "net1", {"MacAddress": "zz"}, 400, "invalid MAC address: zz"),
        ("bridge", "nowhere", {}, 404, "network nowhere not found"),
    ],
)
def test_connections_that_cannot_be_are_refused(mode: str, network: str, body: dict[str, Any], status: int, message: str) -> None:
    async def story(s: Stage) -> None:
        await made(s, IPAM={"Config": [{"Subnet": "10.9.0.0/24"}]})
        await s.create("true", name="web", HostConfig={"NetworkMode": mode})
        before = (await s.get("/containers/web/json"))["NetworkSettings"]["Networks"]
        said = await s.message("POST", f"/networks/{network}/connect", status, {"Container": "web", "EndpointConfig": body})
        assert message in said
        assert (await s.get("/containers/web/json"))["NetworkSettings"]["Networks"] == before

    play(story)


def test_connecting_nobody_is_refused() -> None:
    async def story(s: Stage) -> None:
        assert await s.message("POST", "/networks/bridge/connect", 404, {"Container": "ghost"}) == "No such container: ghost"
        assert await s.message("POST", "/networks/bridge/connect", 400, {}) == "no container is named"

    play(story)


def test_pruning_removes_what_nobody_runs_in() -> None:
    async def story(s: Stage) -> None:
        await made(s, "used")
        await made(s, "labelled", Labels={"keep": "1"})
        await made(s, "gone")
        await s.run("sleep", "1000", HostConfig={"NetworkMode": "used"})
        assert await s.post("/networks/prune", expect=200, filters=filtered(until=["10m"])) == {"NetworksDeleted": None}
        assert await s.post("/networks/prune", expect=200, filters=filtered(**{"label!": ["keep"]})) == {"NetworksDeleted": ["gone"]}
        assert await s.post("/networks/prune", expect=200) == {"NetworksDeleted": ["labelled"]}
        assert [row["Name"] for row in await s.get("/networks")] == ["bridge", "host", "none", "used"]

    play(story)
