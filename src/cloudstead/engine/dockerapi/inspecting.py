"""`docker inspect` of a container: all that is known of it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cloudstead.engine.dockerapi.answers import date, json_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.endpoints import describe_endpoint
from cloudstead.engine.dockerapi.executions import Execs
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.networks import DockerNetworks
from cloudstead.engine.dockerapi.registry import Containers, short
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.status import port_map
from cloudstead.engine.errors import NotFound
from cloudstead.engine.pods.states import ContainerStatus, PodStatus
from cloudstead.http.messages import HttpResponse

GRAPH_DRIVER = "overlay2"


@route("GET", "/containers/{name}/json")
async def inspect_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    described = describe(api, row)
    if request.flag("size"):
        from cloudstead.engine.dockerapi.listing import sizes_of  # which lists with what is here

        described["SizeRw"], described["SizeRootFs"] = await sizes_of(api, row)
    return json_answer(described)


def describe(api: DockerApi, row: DockerContainer) -> dict[str, Any]:
    containers = api.part(Containers)
    status, pod = containers.status(row), pod_of(api, row)
    return {
        "Id": row.id,
        "Created": date(row.created),
        "Path": row.path,
        "Args": row.args,
        "State": describe_state(containers.state(row), status),
        "Image": row.image_id,
        "ResolvConfPath": "",
        "HostnamePath": "",
        "HostsPath": "",
        "LogPath": "",
        "Name": f"/{row.name}",
        "RestartCount": row.restart_count,
        "Driver": GRAPH_DRIVER,
        "Platform": row.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": api.part(Execs).running_in(row.id) or None,
        "HostConfig": _host_config(api, row),
        "GraphDriver": {"Name": GRAPH_DRIVER, "Data": {"ID": row.id}},
        "Mounts": describe_mounts(row),
        "Config": row.config,
        "NetworkSettings": describe_network_settings(api, row, pod),
    }


def _host_config(api: DockerApi, row: DockerContainer) -> Any:
    if row.host_config.runtime or api.engine.host is None:
        return row.host_config
    return replace(row.host_config, runtime=api.engine.host.runtime)


def describe_state(state: str, status: ContainerStatus) -> dict[str, Any]:
    running = state in ("running", "paused", "restarting")
    described: dict[str, Any] = {
        "Status": state,
        "Running": running,
        "Paused": state == "paused",
        "Restarting": state == "restarting",
        "OOMKilled": status.oom_killed,
        "Dead": False,
        "Pid": status.pid,
        "ExitCode": 0 if state in ("running", "paused") else status.exit_code,
        "Error": status.error,
        "StartedAt": date(status.started),
        "FinishedAt": date(status.finished),
    }
    if status.health is not None:
        described["Health"] = {
            "Status": status.health.status,
            "FailingStreak": status.health.failing_streak,
            "Log": [
                {"Start": date(probe.start), "End": date(probe.end), "ExitCode": probe.exit_code, "Output": probe.output}
                for probe in status.health.log
            ],
        }
    return described


def describe_mounts(row: DockerContainer) -> list[dict[str, Any]]:
    found = []
    for point in row.mounts:
        described: dict[str, Any] = {"Type": point.type}
        if point.name:
            described["Name"] = point.name
        described.update(Source=point.source, Destination=point.destination)
        if point.driver:
            described["Driver"] = point.driver
        described.update(Mode=point.mode, RW=point.rw, Propagation=point.propagation)
        found.append(described)
    return found


def pod_of(api: DockerApi, row: DockerContainer) -> PodStatus | None:
    try:
        return api.engine.pods.inspect_pod(row.id)
    except NotFound:
        return None


def describe_networks(api: DockerApi, row: DockerContainer, pod: PodStatus | None) -> dict[str, dict[str, Any]]:
    """By name. One that is gone is left out."""
    networks = api.part(DockerNetworks)
    runs = pod is not None and any(container.state in ("running", "paused") for container in pod.containers)
    interfaces = {interface.network: interface for interface in pod.interfaces} if pod is not None and runs else {}
    found = {}
    for id, wanted in row.networks.items():
        network = networks.get(id)
        if network is None:
            continue
        described = describe_endpoint(network, row.id, wanted, interfaces.get(id))
        if not runs:
            described["EndpointID"] = ""
        if network.user_defined:
            described["Aliases"] = [*wanted.aliases, short(row.id)] if wanted.aliases else [short(row.id)]
            described["DNSNames"] = list(dict.fromkeys([row.name, *wanted.aliases, short(row.id)]))
        found[network.name] = described
    return found


def describe_network_settings(api: DockerApi, row: DockerContainer, pod: PodStatus | None) -> dict[str, Any]:
    networks = describe_networks(api, row, pod)
    bridge = networks.get("bridge", {})
    return {
        "Bridge": "",
        "SandboxID": row.id if any(each["EndpointID"] for each in networks.values()) else "",
        "SandboxKey": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": port_map(row, pod),
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": bridge.get("EndpointID", ""),
        "Gateway": bridge.get("Gateway", ""),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": bridge.get("IPAddress", ""),
        "IPPrefixLen": bridge.get("IPPrefixLen", 0),
        "IPv6Gateway": "",
        "MacAddress": bridge.get("MacAddress", ""),
        "Networks": networks,
    }
