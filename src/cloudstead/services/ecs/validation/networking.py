"""What a network mode allows, and ports.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#network_mode
"""

from __future__ import annotations

import ipaddress
import re
from itertools import pairwise
from typing import NamedTuple

from cloudstead.services.ecs.checks import refused
from cloudstead.services.ecs.definition import ContainerDefinition, Definition, PortMapping

MOST_RANGES = 100
_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}")
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})", re.ASCII)
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?", re.ASCII)


def check(definition: Definition) -> None:
    for each in definition.container_definitions:
        _by_mode(definition.mode, each)
        _names(each)
    _ports(definition)


def _by_mode(mode: str, each: ContainerDefinition) -> None:
    if each.links and mode != "bridge":
        refused(f"Links are not supported when networkMode={mode}.")
    if mode != "awsvpc":
        if mode == "none" and each.port_mappings:
            refused("Port mappings are not supported when networkMode=none.")
        return
    for given, sentence in (
        (each.hostname, "hostname is"),
        (each.dns_servers, "DNS servers are"),
        (each.dns_search_domains, "DNS search domains are"),
        (each.extra_hosts, "Extra hosts are"),
        (each.disable_networking, "Disable Networking is"),
    ):
        if given:
            refused(f"{sentence} not supported on container when networkMode=awsvpc.")


def _names(each: ContainerDefinition) -> None:
    if each.hostname and not _HOSTNAME.fullmatch(each.hostname):
        refused(f"Invalid hostname for container '{each.name}'.")
    for host in each.extra_hosts or ():
        if not _HOSTNAME.fullmatch(host.hostname) or not _is_address(host.ip_address):
            refused(f"Invalid extra host for container '{each.name}'. A hostname and an IP address must be specified.")
    for server in each.dns_servers or ():
        if not _is_address(server):
            refused(f"Invalid DNS server for container '{each.name}'. An IP address must be specified.")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# ── ports ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Span(NamedTuple):
    place: str  # a container's name, or "" where all share one network
    protocol: str
    first: int
    last: int


def _ports(definition: Definition) -> None:
    names: set[str] = set()
    spans: list[_Span] = []
    outside: set[tuple[str, int]] = set()
    shared = definition.mode in ("awsvpc", "host")
    for each in definition.container_definitions:
        mappings = each.port_mappings or ()
        if sum(mapping.container_port_range is not None for mapping in mappings) > MOST_RANGES:
            refused(f"A container can have at most {MOST_RANGES} container port ranges.")
        for mapping in mappings:
            _name(mapping, names)
            protocol = mapping.protocol or "tcp"
            ranged = mapping.container_port_range is not None
            first, last = _range(definition, mapping) if ranged else _single(definition, mapping)
            if shared or ranged:  # with bridge one port of a container may have several on the host
                spans.append(_Span("" if shared else each.called, protocol, first, last))
            if mapping.host_port and (protocol, mapping.host_port) in outside and not shared:
                refused(f"The host port {mapping.host_port} is used multiple times in task.")
            outside.add((protocol, mapping.host_port or 0))
    _refuse_overlaps(spans)


def _refuse_overlaps(spans: list[_Span]) -> None:
    spans.sort()
    for before, after in pairwise(spans):
        if before[:2] == after[:2] and after.first <= before.last:
            refused(f"The container port {after.first} is used multiple times in task.")


def _name(mapping: PortMapping, names: set[str]) -> None:
    if mapping.app_protocol is not None and mapping.protocol == "udp":
        refused("The appProtocol setting is not supported with the udp protocol.")
    if mapping.name is None:
        return
    if not _NAME.fullmatch(mapping.name):
        refused(f"Invalid port mapping name: {mapping.name}.")
    if mapping.name in names:
        refused(f"The port mapping name {mapping.name} is already used.")
    names.add(mapping.name)


def _single(definition: Definition, mapping: PortMapping) -> tuple[int, int]:
    port, host = mapping.container_port, mapping.host_port
    if port is None or not 1 <= port <= 65535:
        refused("Invalid 'containerPort' setting. The container port must be between 1 and 65535.")
    if host is not None and not 0 <= host <= 65535:
        refused("Invalid 'hostPort' setting. The host port must be between 0 and 65535.")
    if host not in (None, port) and definition.mode in ("awsvpc", "host"):
        refused(f"When networkMode={definition.mode}, the host ports and container ports in port mappings must match.")
    return port, port


def _range(definition: Definition, mapping: PortMapping) -> tuple[int, int]:
    text = mapping.container_port_range or ""
    if mapping.container_port is not None or mapping.host_port is not None:
        refused("Invalid port mapping: cannot specify both single port and port range.")
    if definition.mode not in ("bridge", "awsvpc"):
        refused(f"Container port ranges are not supported when networkMode={definition.mode}.")
    found = _RANGE.fullmatch(text)
    if found is None or not 1 <= int(found[1]) < int(found[2]) <= 65535:
        refused(f"Invalid 'containerPortRange' setting: {text}.")
    return int(found[1]), int(found[2])
