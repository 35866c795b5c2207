"""The host's side of networks: what each command does."""

from __future__ import annotations

import os

from cloudstead.engine.errors import EngineError, Failed
from cloudstead.engine.host.handlers import With, handles
from cloudstead.engine.host.server import Host
from cloudstead.engine.network import commands, host_firewall, host_sweep, rules
from cloudstead.engine.network.host_fabric import Fabric
from cloudstead.engine.network.host_stock import Stock

PART = "network"


def fabric(host: Host) -> Fabric:
    """Made when the first command comes."""
    part: Fabric | None = host.parts.get(PART)
    if part is None:
        part = host.parts[PART] = Fabric(host.layout, host.options.get("uplinks", ""))
        stock = host.parts[PART + ".stock"] = Stock(part)
        host.closing.append(part.close)
        host.closing.append(stock.close)
    return part


@handles(commands.RestoreNetworks)
async def restore_networks(host: Host, command: commands.RestoreNetworks, descriptors: list[int]) -> commands.Restored:
    part = fabric(host)
    said = part.restore(command.networks)
    said += await _firewall(host, part)
    return commands.Restored(said=tuple(said), in_use=tuple(part.uplinks.in_use()), made=tuple(part.routers))


@handles(commands.HostCidrs)
async def host_cidrs(host: Host, command: commands.HostCidrs, descriptors: list[int]) -> tuple[str, ...]:
    return tuple(fabric(host).uplinks.in_use())


@handles(commands.ConfigureNetwork)
async def configure_network(host: Host, command: commands.ConfigureNetwork, descriptors: list[int]) -> tuple[str, ...]:
    part = fabric(host)
    first = not part.routers
    said = part.configure(command.network)
    if first:
        said += await _firewall(host, part)
    return tuple(said)


@handles(commands.FilterNetwork)
async def filter_network(host: Host, command: commands.FilterNetwork, descriptors: list[int]) -> None:
    fabric(host).filter(command.network)


@handles(commands.FilterGroup)
async def filter_group(host: Host, command: commands.FilterGroup, descriptors: list[int]) -> None:
    if router := fabric(host).routers.get(command.slot):
        router.nftables.run(rules.group_change(command.group, command.all))


@handles(commands.RemoveNetwork)
async def remove_network(host: Host, command: commands.RemoveNetwork, descriptors: list[int]) -> None:
    part = fabric(host)
    part.remove(command.slot)
    if not part.routers:
        await host_firewall.close_forwarding(host, part.uplinks.nftables)


@handles(commands.AttachPod)
async def attach_pod(host: Host, command: commands.AttachPod, descriptors: list[int]) -> tuple[commands.PortSetup, ...]:
    return fabric(host).attach(command.pod, command.interfaces, command.ports)


@handles(commands.ConnectPod)
async def connect_pod(host: Host, command: commands.ConnectPod, descriptors: list[int]) -> None:
    fabric(host).connect(command.pod, command.interface)


@handles(commands.DisconnectPod)
async def disconnect_pod(host: Host, command: commands.DisconnectPod, descriptors: list[int]) -> None:
    fabric(host).disconnect(command.pod, command.interface, command.ports, command.staying)


@handles(commands.DetachPod)
async def detach_pod(host: Host, command: commands.DetachPod, descriptors: list[int]) -> None:
    fabric(host).detach(command.pod, command.interfaces, command.ports)


@handles(commands.SetMembership)
async def set_membership(host: Host, command: commands.SetMembership, descriptors: list[int]) -> None:
    fabric(host).router(command.slot).nftables.run(rules.change_groups(command.ip, command.before, command.after))


@handles(commands.Listen)
async def listen(host: Host, command: commands.Listen, descriptors: list[int]) -> With[None]:
    sockets = fabric(host).listen(command.slot, command.sockets)
    return With(None, [sock.detach() for sock in sockets])


@handles(commands.StopListening)
async def stop_listening(host: Host, command: commands.StopListening, descriptors: list[int]) -> None:
    fabric(host).stop_listening(command.slot, command.socket)


@handles(commands.Dial)
async def dial(host: Host, command: commands.Dial, descriptors: list[int]) -> With[None]:
    try:
        sock = fabric(host).router(command.slot).dial(command.ip, command.port, command.protocol)
    except OSError as error:
        raise Failed(f"dial {command.protocol} {command.ip}:{command.port}: {error.strerror}") from None
    return With(None, [sock.detach()])


@handles(commands.ListenSix)
async def listen_six(host: Host, command: commands.ListenSix, descriptors: list[int]) -> With[None]:
    found = fabric(host).reservations.six(command.host_ip, command.host_port)
    return With(None, [] if found is None else [os.dup(found)])


@handles(commands.SweepNetworks)
async def sweep_networks(host: Host, command: commands.SweepNetworks, descriptors: list[int]) -> tuple[str, ...]:
    part = fabric(host)
    said = host_sweep.sweep(part, set(command.slots), set(command.pods))
    return (*said, *await _firewall(host, part))


@handles(commands.Drain)
async def drain(host: Host, command: commands.Drain, descriptors: list[int]) -> None:
    for router in fabric(host).routers.values():
        router.drain()


async def _firewall(host: Host, part: Fabric) -> list[str]:
    """A firewall that cannot be asked is no reason to have no networks."""
    try:
        return await (
            host_firewall.open_forwarding(host, part.uplinks.nftables)
            if part.routers
            else host_firewall.close_forwarding(host, part.uplinks.nftables)
        )
    except EngineError as error:
        return [f"the host's firewall was left as it is: {error}"]
