"""From networks to nftables. Pure: text in nft(8)'s language comes out, every piece of which was checked by the types of `commands.py`.

A router's namespace has one table, `inet cloudstead`:

    raw        what carries an address that is not its sender's is dropped (and all IPv6)
    dstnat     published ports, coming from the host; the gateway's own address, which stands for the host
    srcnat     pods leave with the uplink's address; the host comes to pods as their gateway
    input      pods reach what listens at gateways and link-local addresses; the outside reaches nothing
    outbound   what pods in security groups may send
    inbound    what leaves and what comes; what pods in security groups may receive

Two chains of one hook are passed one after the other, and `accept` ends only the chain it is in. So egress and ingress rules need not know of each
other: a packet must please both. Groups are sets of addresses (`m_<group>`), so a rule that names a group holds for whoever is in it, and a pod that comes
or goes is an element more or less.

The host's namespace has `inet cloudstead_<instance>`: published ports, masquerading of the uplinks, and the wall between networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import NamedTuple

from cloudstead.engine.network.commands import GroupSetup, InterfaceSetup, NetworkSetup, PortSetup, RuleSetup

TABLE = "inet cloudstead"
UPLINK = "up"
ANY_HOST_IP = ("", "0.0.0.0")
ICMP = 1
_ICMP_KINDS = "icmp type"


class Uplink(NamedTuple):
    """Of one router: the address at the host's end and the one at the router's."""

    host: str
    router: str


def router_table(network: NetworkSetup, uplink: Uplink) -> str:
    """The whole table, in the place of what was there."""
    chains = [
        _chain("raw", "filter hook prerouting priority -300; policy accept;", _raw()),
        _chain("dstnat", "nat hook prerouting priority -100; policy accept;", _dstnat(network, uplink)),
        _chain("srcnat", "nat hook postrouting priority 100; policy accept;", _srcnat(network, uplink)),
        _chain("input", "filter hook input priority 0; policy drop;", _input(uplink)),
        _chain("outbound", "filter hook forward priority -10; policy accept;", _outbound()),
        _chain("inbound", "filter hook forward priority 0; policy accept;", _inbound(network, uplink)),
    ]
    return f"add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n{_sets(network)}{_groups(network)}{''.join(chains)}}}\n"


def _sets(network: NetworkSetup) -> str:
    guarded = [m.interface.ip for m in network.members if m.interface.groups]
    listening = [f"{one.ip} . {one.protocol} . {one.port}" for one in network.listening]
    return (
        "  set askers { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s; }\n"
        + _set("guarded", "ipv4_addr", guarded)
        + _set("listening", "ipv4_addr . inet_proto . inet_service", listening)
        + _map("ports", "inet_proto . inet_service : ipv4_addr . inet_service", map(inner_element, network.ports))
        + "".join(_set(f"m_{group}", "ipv4_addr", members) for group, members in _members(network).items())
    )


def _members(network: NetworkSetup) -> dict[str, list[str]]:
    """By group: those that are there, and those that are only spoken of."""
    found: dict[str, list[str]] = {}
    for group in network.groups:
        found.setdefault(group.id, [])
        for rule in group.rules:
            for other in rule.groups:
                found.setdefault(other, [])
    for member in network.members:
        for name in member.interface.groups:
            found.setdefault(name, []).append(member.interface.ip)
    return found


def _groups(network: NetworkSetup) -> str:
    own = "".join(_chain(name, "", lines) for group in network.groups for name, lines in _group(group).items())
    return own + "".join(_chain(name, "", lines) for name, lines in _choice([group.id for group in network.groups]).items())


def _choice(groups: Sequence[str]) -> dict[str, list[str]]:
    """The chains that pods in groups pass: to those of each group, and no further."""
    return {
        "leaving": [*(f"ip saddr @m_{group} jump leave_{group}" for group in groups), "drop"],
        "entering": [*(f"ip daddr @m_{group} jump enter_{group}" for group in groups), "drop"],
    }


def _group(group: GroupSetup) -> dict[str, list[str]]:
    return {
        f"leave_{group.id}": [line for rule in group.rules if rule.direction == "egress" for line in rule_lines(rule)],
        f"enter_{group.id}": [line for rule in group.rules if rule.direction == "ingress" for line in rule_lines(rule)],
    }


def group_change(group: GroupSetup, everyone: Sequence[str]) -> str:
    """One group is new, or its rules are: its chains and the choice among all groups are written anew, sets stay."""
    spoken_of = sorted({group.id, *(other for rule in group.rules for other in rule.groups)})
    lines = [f"add set {TABLE} m_{name} {{ type ipv4_addr; }}" for name in spoken_of]
    for chain, rules in {**_group(group), **_choice(everyone)}.items():
        lines += [f"add chain {TABLE} {chain}", f"flush chain {TABLE} {chain}"]
        lines += [f"add rule {TABLE} {chain} {rule}" for rule in rules]
    return "\n".join(lines)


def rule_lines(rule: RuleSetup) -> list[str]:
    """What accepts as this rule says: a line for its addresses and one for each group. None where it can match nothing."""
    side = "ip saddr" if rule.direction == "ingress" else "ip daddr"
    what = _traffic(rule)
    lines = [f"{side} @m_{group} {what}accept" for group in rule.groups]
    if rule.cidrs:
        networks = list(collapse_addresses(IPv4Network(cidr, strict=False) for cidr in rule.cidrs))
        anywhere = networks[0].prefixlen == 0
        lines.append(f"{what}accept" if anywhere else f"{side} {{ {', '.join(map(str, networks))} }} {what}accept")
    return lines


def _traffic(rule: RuleSetup) -> str:
    if rule.protocol < 0:
        return ""
    if rule.protocol == ICMP:
        kind = f"{_ICMP_KINDS} {rule.low} " if rule.low >= 0 else ""
        code = f"icmp code {rule.high} " if rule.low >= 0 and rule.high >= 0 else ""
        return (kind + code) or "meta l4proto 1 "
    if rule.low < 0:
        return f"meta l4proto {rule.protocol} "
    ports = str(rule.low) if rule.high in (rule.low, -1) else f"{rule.low}-{rule.high}"
    return f"meta l4proto {rule.protocol} th dport {ports} "


def _raw() -> list[str]:
    return [
        "meta nfproto ipv6 drop",
        'iifname "lo" accept',
        "fib saddr . iif oif missing drop",  # the way back to the source does not lead where it came from
    ]


def _dstnat(network: NetworkSetup, uplink: Uplink) -> list[str]:
    gateways = ", ".join(sorted({subnet.gateway for subnet in network.subnets}))
    # The host finds published ports at the gateway too: where clients run in a container themselves (testcontainers) they look there.
    here = ", ".join(filter(None, (uplink.router, gateways)))
    lines = [f'iifname "{UPLINK}" ip daddr {{ {here} }} dnat ip to meta l4proto . th dport map @ports']
    if not network.internal:
        lines.append(
            f'iifname != "{UPLINK}" meta l4proto {{ tcp, udp }} ip daddr {{ {gateways} }} '
            f"ip daddr . meta l4proto . th dport != @listening dnat ip to {uplink.host}"
        )
    return lines


def _srcnat(network: NetworkSetup, uplink: Uplink) -> list[str]:
    lines = [f"ip saddr {uplink.host} ip daddr {subnet.cidr} snat ip to {subnet.gateway}" for subnet in network.subnets]
    if network.masquerade:
        lines.append(f'oifname "{UPLINK}" masquerade')
    else:
        lines.append(f'oifname "{UPLINK}" ip daddr {uplink.host} masquerade')
    return lines


def _input(uplink: Uplink) -> list[str]:
    return [
        # The daemon answers questions in one thread for everybody, so nobody asks without measure.
        "udp dport 53 update @askers { ip saddr limit rate over 1000/second burst 500 packets } drop",
        "ct state established,related accept",
        'iifname "lo" accept',
        f'iifname "{UPLINK}" drop',
        f"ip daddr != {uplink.router} accept",
    ]


def _outbound() -> list[str]:
    return ["ct state established,related accept", "ip saddr @guarded jump leaving"]


def _inbound(network: NetworkSetup, uplink: Uplink) -> list[str]:
    lines = ["ct state established,related accept", "ct state invalid drop", f'iifname "{UPLINK}" oifname "{UPLINK}" drop']
    if network.internal:
        lines.append(f'oifname "{UPLINK}" drop')
        if not network.host_routes:
            lines.append(f'iifname "{UPLINK}" drop')
    else:
        lines += [
            f'oifname "{UPLINK}" ip saddr {subnet.cidr} ip daddr != {uplink.host} drop' for subnet in network.subnets if not subnet.nat
        ]
    if not network.members_talk:
        lines.append(f'iifname != "{UPLINK}" oifname != "{UPLINK}" drop')
    return [*lines, "ip daddr @guarded jump entering"]


# ---------------------------------------------------------------------------------------------------------------- small changes


def join_groups(interface: InterfaceSetup) -> str:
    """A pod has come. A group of which nothing is known yet lets nothing through."""
    return _membership(interface.ip, (), interface.groups)


def leave_groups(interface: InterfaceSetup) -> str:
    return _membership(interface.ip, interface.groups, ())


def change_groups(ip: str, before: Sequence[str], after: Sequence[str]) -> str:
    return _membership(ip, before, after)


def _membership(ip: str, before: Sequence[str], after: Sequence[str]) -> str:
    # An element is added before it is deleted, because deleting one that is not there would undo the whole transaction.
    lines = [f"add set {TABLE} m_{group} {{ type ipv4_addr; }}" for group in sorted({*before, *after})]
    gone = [f"m_{group}" for group in before if group not in after]
    if before and not after:
        gone.append("guarded")
    for name in gone:
        lines += [f"add element {TABLE} {name} {{ {ip} }}", f"delete element {TABLE} {name} {{ {ip} }}"]
    if after:
        lines.append(f"add element {TABLE} guarded {{ {ip} }}")
    lines += [f"add element {TABLE} m_{group} {{ {ip} }}" for group in after]
    return "\n".join(lines)


def open_ports(ports: Iterable[PortSetup]) -> str:
    return "\n".join(f"add element {TABLE} ports {{ {inner_element(port)} }}" for port in ports)


def close_ports(ports: Iterable[PortSetup]) -> str:
    return "\n".join(f"delete element {TABLE} ports {{ {port.protocol} . {port.inner_port} }}" for port in ports)


def inner_element(port: PortSetup) -> str:
    return f"{port.protocol} . {port.inner_port} : {port.ip} . {port.container_port}"


# ---------------------------------------------------------------------------------------------------------------- the host


def host_table(instance: str, uplinks: dict[int, Uplink], ports: Iterable[PortSetup]) -> str:
    """The whole table of one instance."""
    table, own = f"inet {host_table_name(instance)}", f'"{link_prefix(instance)}*"'
    everyone = '"cs-*"'  # other instances' too
    known = [port for port in ports if port.slot in uplinks]
    translate = [
        "fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @addressed",
        "fib daddr type local dnat ip to meta l4proto . th dport map @ports",
    ]
    guard = [f"iifname {own} ip daddr 127.0.0.0/8 drop", f"iifname {own} fib saddr . iif oif missing drop"]
    wall = [
        f"iifname {own} oifname {everyone} ct status dnat accept",
        f"iifname {own} oifname {everyone} drop",
        f"oifname {own} ct state established,related accept",
        f"oifname {own} ct status dnat accept",
        f"oifname {own} drop",
    ]
    hide = [
        f"oifname {own} ip saddr 127.0.0.0/8 masquerade",
        f"oifname {own} ip saddr @uplinks masquerade",
        f"ip saddr @uplinks oifname != {everyone} masquerade",
    ]
    addressed = [outer_element(port, uplinks[port.slot]) for port in known if port.host_ip not in ANY_HOST_IP]
    everywhere = [outer_element(port, uplinks[port.slot]) for port in known if port.host_ip in ANY_HOST_IP]
    return (
        f"add table {table}\ndelete table {table}\ntable {table} {{\n"
        + _set("uplinks", "ipv4_addr", [uplink.router for uplink in uplinks.values()])
        + _map("addressed", "inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service", addressed)
        + _map("ports", "inet_proto . inet_service : ipv4_addr . inet_service", everywhere)
        + _chain("raw", "filter hook prerouting priority -300; policy accept;", guard)
        + _chain("prerouting", "nat hook prerouting priority -100; policy accept;", translate)
        + _chain("output", "nat hook output priority -100; policy accept;", translate)
        + _chain("forward", "filter hook forward priority 0; policy accept;", wall)
        + _chain("postrouting", "nat hook postrouting priority 100; policy accept;", hide)
        + "}\n"
    )


def publish(instance: str, ports: Iterable[PortSetup], uplink: Uplink) -> str:
    table = f"inet {host_table_name(instance)}"
    return "\n".join(f"add element {table} {_outer_map(port)} {{ {outer_element(port, uplink)} }}" for port in ports)


def unpublish(instance: str, ports: Iterable[PortSetup]) -> str:
    table = f"inet {host_table_name(instance)}"
    return "\n".join(f"delete element {table} {_outer_map(port)} {{ {_outer_key(port)} }}" for port in ports)


def outer_element(port: PortSetup, uplink: Uplink) -> str:
    return f"{_outer_key(port)} : {uplink.router} . {port.inner_port}"


def _outer_key(port: PortSetup) -> str:
    if port.host_ip in ANY_HOST_IP:
        return f"{port.protocol} . {port.host_port}"
    return f"{port.protocol} . {port.host_ip} . {port.host_port}"


def _outer_map(port: PortSetup) -> str:
    return "ports" if port.host_ip in ANY_HOST_IP else "addressed"


def host_table_name(instance: str) -> str:
    return f"cloudstead_{instance}"


def link_prefix(instance: str) -> str:
    """With the slot in base 36 it fills the 15 letters that a link's name may have."""
    return f"cs-{instance}-"


def link_name(instance: str, slot: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return link_prefix(instance) + digits[slot // 1296] + digits[slot // 36 % 36] + digits[slot % 36]


def _set(name: str, kind: str, elements: Sequence[str]) -> str:
    return f"  set {name} {{ type {kind};{_elements(elements)} }}\n"


def _map(name: str, kind: str, elements: Iterable[str]) -> str:
    return f"  map {name} {{ type {kind};{_elements(list(elements))} }}\n"


def _elements(elements: Sequence[str]) -> str:
    return f" elements = {{ {', '.join(elements)} }};" if elements else ""


def _chain(name: str, kind: str, lines: Iterable[str]) -> str:
    head = f" type {kind}" if kind else ""
    return f"  chain {name} {{{head}\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"


def inside(uplink: Uplink, cidr: str) -> bool:
    """Whether an end of the uplink has an address of a network's."""
    network = IPv4Network(cidr)
    return any(IPv4Address(ip) in network for ip in uplink)
