"""From networks to nftables' words: read here, and loaded into a kernel where there may be one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_support import needs_networks

from cloudstead.engine.errors import Conflict, InvalidArgument
from cloudstead.engine.network import commands, host_namespaces, rules, specs
from cloudstead.engine.network.api import NetworkSpec, Rule, SecurityGroup, Subnet
from cloudstead.engine.network.commands import (
    GroupSetup,
    InterfaceSetup,
    Listening,
    Member,
    NetworkSetup,
    PortSetup,
    RuleSetup,
    SubnetSetup,
)
from cloudstead.engine.network.host_nftables import Nftables, NftRefused
from cloudstead.engine.network.rules import Uplink, rule_lines

UPLINK = Uplink("100.64.0.0", "100.64.0.1")


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        (RuleSetup(direction="ingress", protocol=6, low=80, high=80, cidrs=("0.0.0.0/0",)), ["meta l4proto 6 th dport 80 accept"]),
        (
            RuleSetup(direction="ingress", protocol=17, low=1000, high=2000, cidrs=("10.0.0.0/8",)),
            ["ip saddr { 10.0.0.0/8 } meta l4proto 17 th dport 1000-2000 accept"],
        ),
        (RuleSetup(direction="egress", protocol=-1, cidrs=("10.0.0.0/8",)), ["ip daddr { 10.0.0.0/8 } accept"]),
        (RuleSetup(direction="egress", protocol=-1, groups=("sg-1",)), ["ip daddr @m_sg-1 accept"]),
        (RuleSetup(direction="ingress", protocol=1, low=8, high=0, cidrs=("0.0.0.0/0",)), ["icmp type 8 icmp code 0 accept"]),
        (RuleSetup(direction="ingress", protocol=1, cidrs=("0.0.0.0/0",)), ["meta l4proto 1 accept"]),
        (RuleSetup(direction="ingress", protocol=47, cidrs=("0.0.0.0/0",)), ["meta l4proto 47 accept"]),
        (RuleSetup(direction="ingress", protocol=6, cidrs=("0.0.0.0/0",)), ["meta l4proto 6 accept"]),
        (RuleSetup(direction="ingress", protocol=6), []),
        (
            RuleSetup(direction="ingress", protocol=-1, cidrs=("10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"), groups=("a", "b")),
            ["ip saddr @m_a accept", "ip saddr @m_b accept", "ip saddr { 10.0.0.0/7 } accept"],
        ),
    ],
)
def test_a_rule_accepts_what_it_names(rule: RuleSetup, lines: list[str]) -> None:
    assert rule_lines(rule) == lines


def test_rules_are_checked_with_a_sentence() -> None:
    def message(**fields: object) -> str:
        with pytest.raises(InvalidArgument) as caught:
            specs.group_setup(SecurityGroup(id="sg", network="n", rules=(Rule(direction="ingress", **fields),)))  # type: ignore[arg-type]
        return caught.value.message

    assert message(protocol="tpc") == "'tpc' is no protocol: tcp, udp, icmp, a number, or -1 for all"
    assert message(protocol="tcp", from_port=90, to_port=80) == "the ports 90 to 80 are no range"
    assert message(protocol="udp", from_port=0, to_port=65536) == "the ports 0 to 65536 are not between 0 and 65535"
    assert message(protocol="icmp", from_port=300) == "ICMP has no type 300 with the code -1"
    assert message(cidrs=("10.0.0.0/33",)) == "CIDR block 10.0.0.0/33 is malformed"
    assert message(groups=("a b",)) == "'a b' is no id for a security group"


def test_addresses_of_ipv6_match_nothing_and_are_no_mistake() -> None:
    group = SecurityGroup(id="sg", network="n", rules=(Rule(direction="egress", cidrs=("::/0",)),))
    assert rule_lines(specs.group_setup(group).rules[0]) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id": "../x"}, "'../x' is no id for a network"),
        ({"mtu": 100}, "an MTU of 100 cannot be had: it must be between 576 and 65535"),
        ({"subnets": ()}, "a network needs a subnet"),
        ({"subnets": (Subnet(id="a", cidr="10.0.0.0/24"), Subnet(id="a", cidr="10.0.1.0/24"))}, "two subnets have one id"),
        (
            {"subnets": (Subnet(id="a", cidr="10.0.0.0/16"), Subnet(id="b", cidr="10.0.1.0/24"))},
            "the subnet 10.0.1.0/24 overlaps with another one of the network",
        ),
        ({"subnets": (Subnet(id="a", cidr="10.0.0.1/16"),)}, "invalid subnet '10.0.0.1/16': 10.0.0.1/16 has host bits set"),
        ({"subnets": (Subnet(id="a", cidr="fd00::/64"),)}, "invalid subnet 'fd00::/64': it must be of IPv4, written like 10.0.0.0/16"),
        ({"subnets": (Subnet(id="a", cidr="10.0.0.0/30"),)}, "invalid subnet 10.0.0.0/30: the prefix must have 8 to 29 bits"),
        ({"subnets": (Subnet(id="a", cidr="127.3.0.0/16"),)}, "invalid subnet 127.3.0.0/16: these addresses have another meaning"),
        ({"subnets": (Subnet(id="a", cidr="10.0.0.0/24", gateway="10.0.1.1"),)}, "no matching subnet for gateway 10.0.1.1"),
        ({"subnets": (Subnet(id="a", cidr="10.0.0.0/24", gateway="10.0.0.0"),)}, "the gateway 10.0.0.0 is not an address for a host"),
        ({"subnets": (Subnet(id="a", cidr="10.0.0.0/24", range="10.0.1.0/25"),)}, "no matching subnet for range 10.0.1.0/25"),
        ({"subnets": (Subnet(id="a", cidr="10.0.0.0/29", reserved=8),)}, "8 addresses cannot be reserved in 10.0.0.0/29"),
    ],
)
def test_a_network_that_makes_no_sense_is_refused(changes: dict[str, object], sentence: str) -> None:
    spec = {"id": "n", "owner": "test", "subnets": (Subnet(id="a", cidr="10.0.0.0/24"),), **changes}
    with pytest.raises(InvalidArgument) as caught:
        specs.check_network(NetworkSpec(**spec))  # type: ignore[arg-type]
    assert caught.value.message == sentence


def test_what_pods_use_cannot_be_changed() -> None:
    old = NetworkSpec(id="n", owner="test", subnets=(Subnet(id="a", cidr="10.0.0.0/24"), Subnet(id="b", cidr="10.0.1.0/24")))
    specs.check_change(old, NetworkSpec(id="n", owner="test", subnets=(old.subnets[0],)), {"a"})
    with pytest.raises(Conflict, match=r"the subnet 10\.0\.0\.0/24 is in use"):
        specs.check_change(old, NetworkSpec(id="n", owner="test", subnets=(old.subnets[1],)), {"a"})
    with pytest.raises(Conflict, match="MTU"):
        specs.check_change(old, msgspec.structs.replace(old, mtu=9000), {"a"})


HOSTILE = ["x }; flush ruleset; #", "a\nflush ruleset", "10.0.0.1\n", "", "-", "a" * 300, '"', "$(id)", "10.0.0.1; drop", "eth0\n", "é"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", [commands.Ip, commands.Cidr, commands.Mac, commands.Group, commands.Pod, commands.InterfaceName])
def test_nothing_but_names_and_addresses_comes_into_a_rule(kind: type[str], text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(text), type=kind)


def test_the_hosts_address_of_a_port_is_one_or_is_refused() -> None:
    assert specs.host_address("") == ""
    assert specs.host_address("[::1]") == "::1"
    assert specs.host_address("127.0.0.1") == "127.0.0.1"
    with pytest.raises(InvalidArgument, match="invalid IP address: localhost"):
        specs.host_address("localhost")


def test_names_of_links_fit_and_are_told_apart() -> None:
    names = {rules.link_name("12345678", slot) for slot in (0, 1, 35, 36, 1295, 1296, 36**3 - 1)}
    assert len(names) == 7
    assert max(map(len, names)) == 15
    assert "cs-12345678-00z" in names


octet = st.integers(0, 255)
addresses = st.builds(lambda a, b: f"10.0.{a}.{b}", octet, st.integers(2, 254))
group_ids = st.sampled_from(["sg-0", "web", "a.b_c", "drop", "accept", "0"])
cidrs = st.builds(lambda a, bits: str(specs.IPv4Network((f"{a}.0.0.0", bits), strict=False)), st.integers(1, 223), st.integers(0, 32))
ports_low_high = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted)
api_rules = st.builds(
    lambda direction, protocol, span, found, groups: Rule(
        direction=direction,
        protocol=protocol,
        from_port=min(span[0], 255) if protocol == "icmp" else span[0],
        to_port=min(span[1], 255) if protocol == "icmp" else span[1],
        cidrs=tuple(found),
        groups=tuple(groups),
    ),
    st.sampled_from(["ingress", "egress"]),
    st.sampled_from(["tcp", "udp", "icmp", "-1", "47", "132", "0", "255"]),
    ports_low_high,
    st.lists(cidrs, max_size=4),
    st.lists(group_ids, max_size=3, unique=True),
)
groups = st.builds(lambda id, found: SecurityGroup(id=id, network="n", rules=tuple(found)), group_ids, st.lists(api_rules, max_size=4))


@st.composite
def networks(draw: st.DrawFn) -> NetworkSetup:
    found = {group.id: specs.group_setup(group) for group in draw(st.lists(groups, max_size=4))}
    ips = draw(st.lists(addresses, max_size=4, unique=True))
    members = [
        Member(
            pod="p",
            interface=interface(ip, tuple(draw(st.lists(st.sampled_from(sorted(found)), max_size=2, unique=True))) if found else ()),
        )
        for ip in ips
    ]
    numbers = draw(st.lists(st.integers(1, 65535), max_size=3, unique=True))
    return NetworkSetup(
        slot=0,
        subnets=(
            SubnetSetup(cidr="10.0.0.0/17", gateway="10.0.0.1"),
            SubnetSetup(cidr="10.0.128.0/17", gateway="10.0.128.1", nat=draw(st.booleans())),
        ),
        internal=draw(st.booleans()),
        host_routes=draw(st.booleans()),
        members_talk=draw(st.booleans()),
        masquerade=draw(st.booleans()),
        groups=tuple(found.values()),
        members=tuple(members),
        ports=tuple(port(number, draw(st.sampled_from(["", "127.0.0.1"]))) for number in numbers),
        listening=(Listening(ip="10.0.0.1", port=53, protocol="udp"),) if draw(st.booleans()) else (),
    )


def interface(ip: str, in_groups: tuple[str, ...] = ()) -> InterfaceSetup:
    return InterfaceSetup(slot=0, name="eth0", ip=ip, prefix=17, gateway="10.0.0.1", mac="02:42:00:00:00:01", groups=in_groups)


def port(number: int, host_ip: str = "", protocol: commands.Protocol = "tcp") -> PortSetup:
    return PortSetup(slot=0, ip="10.0.0.2", container_port=80, host_ip=host_ip, host_port=number, inner_port=number, protocol=protocol)


@pytest.fixture(scope="module")
def nftables() -> Iterator[Nftables]:
    namespace = host_namespaces.make()
    with host_namespaces.inside(namespace):
        found = Nftables()
    os.close(namespace)
    yield found
    found.close()


@needs_networks
@given(network=networks())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_kernel_takes_the_table_of_any_network(nftables: Nftables, network: NetworkSetup) -> None:
    nftables.run(rules.router_table(network, UPLINK))
    nftables.run(rules.host_table("12345678", {0: UPLINK}, network.ports))
    everyone = [group.id for group in network.groups]
    for group in network.groups:
        nftables.run(rules.group_change(group, everyone))
    for member in network.members:
        nftables.run(rules.leave_groups(member.interface) or "list tables")
        nftables.run(rules.change_groups(member.interface.ip, (), member.interface.groups) or "list tables")
    if network.ports:
        nftables.run(rules.unpublish("12345678", network.ports))
        nftables.run(rules.close_ports(network.ports))
        nftables.run(rules.publish("12345678", network.ports, UPLINK))
        nftables.run(rules.open_ports(network.ports))
    after = nftables.run(f"list table {rules.TABLE}")
    nftables.run(rules.router_table(network, UPLINK))
    assert sorted(after.split()) == sorted(nftables.run(f"list table {rules.TABLE}").split())


@needs_networks
def test_a_transaction_with_a_mistake_changes_nothing(nftables: Nftables) -> None:
    nftables.run("add table inet kept\nadd set inet kept s { type ipv4_addr; }")
    with pytest.raises(NftRefused):
        nftables.run("add element inet kept s { 10.0.0.1 }\nadd element inet kept nothing { 10.0.0.2 }")
    assert "10.0.0.1" not in nftables.run("list set inet kept s")
    assert not nftables.run_if_there("delete element inet kept s { 10.0.0.9 }")
    nftables.run("delete table inet kept")


@needs_networks
def test_a_group_that_changes_is_as_if_it_had_been_so_from_the_start(nftables: Nftables) -> None:
    before = GroupSetup(id="sg-1", rules=(RuleSetup(direction="ingress", protocol=6, low=22, cidrs=("0.0.0.0/0",)),))
    after = GroupSetup(id="sg-1", rules=(RuleSetup(direction="egress", protocol=-1, groups=("sg-2",)),))
    setup = NetworkSetup(slot=0, subnets=(SubnetSetup(cidr="10.0.0.0/17", gateway="10.0.0.1"),), groups=(before,))
    nftables.run(rules.router_table(setup, UPLINK))
    nftables.run(rules.group_change(after, ["sg-1"]))
    changed = nftables.run(f"list table {rules.TABLE}")
    nftables.run(rules.router_table(msgspec.structs.replace(setup, groups=(after,)), UPLINK))
    assert sorted(changed.split()) == sorted(nftables.run(f"list table {rules.TABLE}").split())
