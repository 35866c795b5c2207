"""Strays: what a crash, a lost store or a cut-off command left behind, known by this instance's names."""

from __future__ import annotations

import contextlib

from cloudstead.engine.errors import EngineError
from cloudstead.engine.network import host_namespaces
from cloudstead.engine.network.host_fabric import ROUTER_PREFIX, Fabric
from cloudstead.engine.network.reservations import key_of


def sweep(fabric: Fabric, slots: set[int], pods: set[str]) -> list[str]:
    """Remove what belongs to no network and no pod of these; a sentence for each."""
    said = _namespaces(fabric, slots, pods)
    for slot, name in fabric.uplinks.slots().items():
        if slot not in slots:
            fabric.uplinks.remove(slot)
            said.append(f"removed the link {name}, which is no network's")
    for router in fabric.routers.values():
        said += router.remove_links({key for key in router.links if key[0] not in pods})
        said += router.remove_nameless()
    said += fabric.reservations.keep_only({key_of(port) for port in fabric.ports.values()})
    if not fabric.routers and fabric.uplinks.has_table():
        fabric.uplinks.table({}, ())
        said.append("removed the nftables table of networks that are gone")
    return said


def _namespaces(fabric: Fabric, slots: set[int], pods: set[str]) -> list[str]:
    said = []
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(fabric.layout.netns.iterdir()):
            router = path.name.startswith(ROUTER_PREFIX)
            slot = int(path.name[len(ROUTER_PREFIX) :]) if router and path.name[len(ROUTER_PREFIX) :].isdecimal() else -1
            if path.name in pods or slot in slots:
                continue
            try:
                if slot in fabric.routers:
                    fabric.remove(slot)
                else:
                    host_namespaces.unbind(path)
                said.append(f"removed the network namespace {path.name}, which is nobody's")
            except (OSError, EngineError) as error:
                said.append(f"the network namespace {path.name} cannot be removed: {error}")
    return said
