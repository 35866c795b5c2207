"""What a pod cannot do: be somebody else, reach what it must not, or be reached."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path

import pytest
from network_support import HOST_IP, OUTSIDE_IP, Machine, ip_packet, needs_networks, refused, tell, udp

from cloudstead.engine.errors import Conflict, NotFound
from cloudstead.engine.network import host_namespaces, host_netlink
from cloudstead.engine.network.api import PortMapping, Rule, SecurityGroup, Subnet
from cloudstead.engine.network.host_router import ROUTER_MAC

pytestmark = needs_networks
ANYWHERE = ("0.0.0.0/0",)
NOBODY = ("silence", "unreachable")


def group(id: str, *rules: Rule, network: str = "net") -> SecurityGroup:
    return SecurityGroup(id=id, network=network, rules=rules)


def allow(direction: str, protocol: str = "-1", port: int = -1, *, cidrs: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> Rule:
    return Rule(direction=direction, protocol=protocol, from_port=port, to_port=port, cidrs=cidrs, groups=groups)  # type: ignore[arg-type]


async def heard(sock: socket.socket, within: float = 0.3) -> bytes | None:
    try:
        async with asyncio.timeout(within):
            return await asyncio.get_running_loop().sock_recv(sock, 4000)
    except TimeoutError:
        return None


def send_frame(machine: Machine, pod: str, packet: bytes, *, mac: str = "", kind: int = 0x0800) -> None:
    """What CAP_NET_RAW allows: any bytes at all on the wire."""
    with machine.socket(pod, socket.SOCK_RAW, socket.AF_PACKET) as sock:
        sock.bind(("eth0", 0))
        own = host_netlink.mac_bytes(mac or machine.networks.interfaces(pod)[0].mac)
        sock.send(host_netlink.mac_bytes(ROUTER_MAC) + own + struct.pack(">H", kind) + packet)


def test_networks_do_not_reach_one_another(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("one", "172.20.0.0/16", host_routes=True)
        await machine.network("two", "172.21.0.0/16", host_routes=True)
        one, two = await machine.pod("one", "one"), await machine.pod("two", "two", ports=(PortMapping(container_port=80, host_port=8080),))
        for pod in ("one", "two"):
            await machine.serve(pod, 80)
        assert await machine.ask("one", two, 80, within=0.3) in NOBODY
        assert await machine.ask("two", one, 80, within=0.3) in NOBODY
        assert not await machine.ping("one", two, within=0.2)
        for uplink in ("100.64.0.1", "100.64.0.3"):  # the routers themselves, where published ports come in
            assert await machine.ask("one", uplink, 8080, within=0.3) in (*NOBODY, "refused")
        assert await machine.ask("one", HOST_IP, 8080) == "two sees 172.21.0.1"
        assert await machine.ask("host", two, 80) == "two sees 172.21.0.1"

    tell(tmp_path, story)


def test_the_outside_reaches_published_ports_and_nothing_else(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "172.20.0.0/16", host_routes=True)
        ip = await machine.pod("pod", ports=(PortMapping(container_port=80, host_ip="127.0.0.1", host_port=8080),))
        await machine.serve("pod", 80)
        await machine.serve("host", 5000, "127.0.0.1")
        netlink = machine.netlink("outside")
        for cidr in ("172.20.0.0/16", "100.64.0.0/10"):  # a neighbour on the host's wire who knows the way
            netlink.do(host_netlink.add_route(cidr, netlink.index("lan"), via=HOST_IP))
        netlink.close()
        assert await machine.ask("outside", ip, 80, within=0.3) == "silence"
        assert await machine.ask("outside", "100.64.0.1", 8080, within=0.3) == "silence"
        assert await machine.ask("outside", HOST_IP, 8080) == "refused"
        assert await machine.ask("host", "127.0.0.1", 8080) == "pod sees 172.20.0.1"
        assert await machine.ask("pod", "172.20.0.1", 5000) == "refused"

    tell(tmp_path, story)


def test_the_hosts_loopback_is_out_of_reach(tmp_path: Path) -> None:
    """Although the kernel is told to route 127.0.0.0/8 over uplinks, for published ports (CVE-2020-8558)."""

    async def story(machine: Machine) -> None:
        await machine.network("net")
        ip = await machine.pod("pod")
        with machine.socket("host", socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 5000))
            send_frame(machine, "pod", ip_packet(ip, "127.0.0.1", 17, udp(1000, 5000, b"hello")))
            assert await heard(sock) is None
            netlink = machine.netlink("R-0")  # even if a router were to let it out
            netlink.do(host_netlink.add_route("127.0.0.1/32", netlink.index("up"), via="100.64.0.0"))
            netlink.close()
            with machine.socket("R-0", socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"up\0")
                raw.sendto(ip_packet("100.64.0.1", "127.0.0.1", 17, udp(1000, 5000, b"hello")), ("127.0.0.1", 0))
            assert await heard(sock) is None

    tell(tmp_path, story)


def test_a_pod_cannot_send_with_anothers_address(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        own, other, target = [await machine.pod(pod) for pod in ("thief", "victim", "target")]
        with machine.socket("target", socket.SOCK_DGRAM) as sock, machine.socket("host", socket.SOCK_DGRAM) as at_host:
            sock.bind(("0.0.0.0", 5000))
            at_host.bind(("0.0.0.0", 5000))
            send_frame(machine, "thief", ip_packet(own, target, 17, udp(1000, 5000, b"mine")))
            assert await heard(sock) == b"mine"
            for source in (other, "10.20.0.1", "169.254.169.254", "127.0.0.1", "100.64.0.0", "100.64.0.1", "8.8.8.8", "0.0.0.0", target):
                send_frame(machine, "thief", ip_packet(source, target, 17, udp(1000, 5000, b"stolen")))
                send_frame(machine, "thief", ip_packet(source, HOST_IP, 17, udp(1000, 5000, b"stolen")))
            assert await heard(sock) is None
            assert await heard(at_host, 0.05) is None
            netlink = machine.netlink("thief")  # with CAP_NET_ADMIN: take the address itself
            netlink.do(host_netlink.add_address(netlink.index("eth0"), other, 32))
            netlink.close()
            with machine.socket("thief", socket.SOCK_DGRAM) as mine:
                mine.bind((other, 0))
                mine.sendto(b"stolen", (target, 5000))
            assert await heard(sock) is None

    tell(tmp_path, story)


def test_arp_changes_nothing(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        own, other, third = [await machine.pod(pod) for pod in ("thief", "victim", "third")]
        await machine.serve("victim", 80)
        mac = machine.networks.interfaces("thief")[0].mac
        for claimed in (other, "10.20.0.1", "169.254.169.254"):
            for operation, target in ((1, claimed), (2, "10.20.0.1"), (1, "10.20.0.1")):  # gratuitous, an answer to nobody, a question
                arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + host_netlink.mac_bytes(mac) + socket.inet_aton(claimed)
                send_frame(machine, "thief", arp + bytes(6) + socket.inet_aton(target), kind=0x0806)
        with machine.socket("thief", socket.SOCK_RAW, socket.AF_PACKET) as sniffer:
            sniffer.bind(("eth0", 0x0800))
            assert await machine.ask("third", other, 80) == f"victim sees {third}"
            assert await heard(sniffer) is None
        assert own != other

    tell(tmp_path, story)


def test_a_changed_hardware_address_harms_only_its_pod(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        for pod in ("thief", "victim", "third"):
            await machine.pod(pod)
        victim = machine.networks.interfaces("victim")[0]
        await machine.serve("victim", 80)
        netlink = machine.netlink("thief")
        netlink.do(host_netlink.set_link(netlink.index("eth0"), mac=victim.mac))
        netlink.close()
        assert await machine.ask("third", victim.ip, 80) == "victim sees 10.20.0.4"
        assert await machine.ask("thief", victim.ip, 80, within=0.3) == "silence"

    tell(tmp_path, story)


def test_metadata_cannot_be_spoofed(tmp_path: Path) -> None:
    """Who asks is told by its address; and nobody but the service answers at it."""

    async def story(machine: Machine) -> None:
        await machine.network("net")
        own, other = await machine.pod("thief"), await machine.pod("victim")
        service = socket.socket(fileno=await machine.networks.listen("net", "169.254.169.254", 8000, "udp"))
        service.setblocking(False)
        send_frame(machine, "thief", ip_packet(own, "169.254.169.254", 17, udp(1000, 8000, b"ask")))
        assert await heard(service) == b"ask"
        send_frame(machine, "thief", ip_packet(other, "169.254.169.254", 17, udp(1000, 8000, b"ask")))
        assert await heard(service) is None
        with machine.socket("victim", socket.SOCK_DGRAM) as sock:  # a forged answer
            sock.bind(("0.0.0.0", 1000))
            send_frame(machine, "thief", ip_packet("169.254.169.254", other, 17, udp(8000, 1000, b"forged")))
            assert await heard(sock) is None
        netlink = machine.netlink("thief")
        netlink.do(host_netlink.add_address(netlink.index("eth0"), "169.254.169.254", 32))
        netlink.close()
        with machine.socket("victim", socket.SOCK_DGRAM) as sock:
            sock.sendto(b"real", ("169.254.169.254", 8000))
        assert await heard(service) == b"real"
        service.close()

    tell(tmp_path, story)


def test_the_metadata_of_the_machine_itself_is_not_for_pods(tmp_path: Path) -> None:
    """On a virtual machine of a cloud it is at the address at which ours would be, and hands out the machine's credentials."""

    async def story(machine: Machine) -> None:
        netlink = machine.netlink("host")
        netlink.do(host_netlink.add_address(netlink.index("lan"), "169.254.169.254", 32))
        netlink.close()
        await machine.serve("host", 80, "169.254.169.254")
        await machine.network("net")
        await machine.pod("pod")
        assert (await machine.ask("host", "169.254.169.254", 80)).startswith("host")
        assert await machine.ask("pod", "169.254.169.254", 80) == "unreachable"

    tell(tmp_path, story)


def test_there_is_no_ipv6_to_get_around_by(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.pod("one")
        await machine.pod("two")
        assert machine.settings("R-0", "net/ipv6/conf/default/disable_ipv6") == "1"
        for pod in ("one", "two"):  # a pod with CAP_NET_ADMIN switches it on for itself
            with machine.inside(pod):
                host_namespaces.write_settings({"net/ipv6/conf/eth0/disable_ipv6": "0"})
        with machine.socket("two", socket.SOCK_RAW, socket.AF_PACKET) as sniffer:
            sniffer.bind(("eth0", 0x86DD))
            packet = struct.pack(">IHBB", 6 << 28, 8, 59, 64) + socket.inet_pton(10, "fe80::1") + socket.inet_pton(10, "ff02::1") + bytes(8)
            send_frame(machine, "one", packet, kind=0x86DD)
            assert [data for data in [await heard(sniffer)] if data and data[8:24] == socket.inet_pton(10, "fe80::1")] == []
        assert await machine.ask("one", "::1", 1) == "refused"  # its own loopback has it

    tell(tmp_path, story)


def test_internal_networks_have_no_way_out_nor_in(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", internal=True)
        one, two = await machine.pod("one"), await machine.pod("two")
        await machine.serve("two", 80)
        for where in ("outside", "host"):
            await machine.serve(where, 5000)
        assert await machine.ask("one", two, 80) == f"two sees {one}"
        assert await machine.ask("one", OUTSIDE_IP, 5000) == "unreachable"
        assert await machine.ask("one", HOST_IP, 5000) == "unreachable"
        assert await machine.ask("one", "10.20.0.1", 5000) == "refused"
        netlink = machine.netlink("one")  # its own default route does not help it
        netlink.do(host_netlink.add_route("0.0.0.0/0", netlink.index("eth0"), via="10.20.0.1"))
        netlink.close()
        assert await machine.ask("one", OUTSIDE_IP, 5000, within=0.3) == "silence"
        assert await machine.ask("one", "100.64.0.0", 5000, within=0.3) == "silence"
        os.close(await machine.networks.listen("net", "169.254.170.2", 80))
        assert ("169.254.0.0/16", "10.20.0.1") in machine.routes("one")

    tell(tmp_path, story)


def test_subnets_without_nat_stay_within_their_network(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network(
            "net", subnets=(Subnet(id="public", cidr="10.20.0.0/24"), Subnet(id="private", cidr="10.20.1.0/24", nat=False))
        )
        await machine.pod("public", subnet="public")
        await machine.pod("private", subnet="private")
        await machine.serve("public", 80)
        await machine.serve("outside", 80)
        assert await machine.ask("private", "10.20.0.2", 80) == "public sees 10.20.1.2"
        assert await machine.ask("public", OUTSIDE_IP, 80) == f"outside sees {HOST_IP}"
        assert await machine.ask("private", OUTSIDE_IP, 80, within=0.3) == "silence"

    tell(tmp_path, story)


def test_members_talk_only_where_they_may(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", members_talk=False)
        await machine.pod("one", ports=(PortMapping(container_port=80, host_port=8080),))
        two = await machine.pod("two")
        for where in ("one", "two", "outside"):
            await machine.serve(where, 80)
        assert await machine.ask("one", two, 80, within=0.3) == "silence"
        assert await machine.ask("one", OUTSIDE_IP, 80) == f"outside sees {HOST_IP}"
        assert (await machine.ask("outside", HOST_IP, 8080)).startswith("one")

    tell(tmp_path, story)


def test_without_masquerade_pods_show_their_own_addresses(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "172.20.0.0/16", masquerade=False, host_routes=True)
        ip = await machine.pod("pod")
        netlink = machine.netlink("outside")
        netlink.do(host_netlink.add_route("172.20.0.0/16", netlink.index("lan"), via=HOST_IP))
        netlink.close()
        await machine.serve("outside", 80)
        assert await machine.ask("pod", OUTSIDE_IP, 80) == f"outside sees {ip}"

    tell(tmp_path, story)


def test_an_address_that_nobody_has_is_unreachable_at_once(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.pod("pod")
        assert await machine.ask("pod", "10.20.7.7", 80) == "unreachable"

    tell(tmp_path, story)


# ---------------------------------------------------------------------------------------------------------------- security groups


def test_a_security_group_lets_in_what_its_rules_name(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.networks.put_group(group("web", allow("ingress", "tcp", 80, cidrs=ANYWHERE)))
        web = await machine.pod("web", security_groups=("web",))
        await machine.pod("client")
        for port in (80, 81):
            await machine.serve("web", port)
        assert await machine.ask("client", web, 80) == "web sees 10.20.0.3"
        assert await machine.ask("client", web, 81, within=0.3) == "silence"
        assert not await machine.ping("client", web, within=0.2)
        assert await machine.ask("web", "10.20.0.3", 80, within=0.3) == "silence"  # nothing says that it may send
        await machine.networks.put_group(
            group(
                "web",
                allow("ingress", "tcp", 81, cidrs=("10.20.0.3/32",)),
                allow("ingress", "icmp", cidrs=ANYWHERE),
                allow("egress", cidrs=ANYWHERE),
            )
        )
        assert await machine.ask("client", web, 80, within=0.3) == "silence"
        assert await machine.ask("client", web, 81) == "web sees 10.20.0.3"
        assert await machine.ping("client", web)
        assert await machine.ask("web", "10.20.0.3", 80) == "refused"
        assert await machine.ask_udp("web", "10.20.0.1", 53, data=bytes(11), within=0.1) == "silence"

    tell(tmp_path, story)


def test_a_rule_names_the_members_of_a_group(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        everything = allow("egress", cidrs=ANYWHERE)
        await machine.networks.put_group(group("db", allow("ingress", "tcp", 5432, groups=("app",)), everything))
        await machine.networks.put_group(group("app", allow("ingress", groups=("app",)), everything))
        db = await machine.pod("db", security_groups=("db",))
        await machine.pod("app1", security_groups=("app",))
        await machine.pod("other")
        await machine.serve("db", 5432)
        assert await machine.ask("app1", db, 5432) == "db sees 10.20.0.3"
        assert await machine.ask("other", db, 5432, within=0.3) == "silence"
        app2 = await machine.pod("app2", security_groups=("app",))
        assert (await machine.ask("app2", db, 5432)).startswith("db")
        assert await machine.ask("app1", app2, 1) == "refused"
        await machine.networks.set_groups("app2", "net", ())
        assert await machine.ask("app2", db, 5432, within=0.3) == "silence"
        await machine.networks.set_groups("other", "net", ("app",))
        assert (await machine.ask("other", db, 5432)).startswith("db")
        await machine.networks.detach("other")
        assert await machine.pod("heir", ip="10.20.0.4") == "10.20.0.4"  # an address takes no membership along
        assert await machine.ask("heir", db, 5432, within=0.3) == "silence"

    tell(tmp_path, story)


def test_what_is_connected_stays_so_when_a_rule_goes(tmp_path: Path) -> None:
    """As on EC2, where connections are tracked; a new one is refused at once."""

    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.networks.put_group(group("sg", allow("ingress", "tcp", 80, cidrs=ANYWHERE)))
        ip = await machine.pod("server", security_groups=("sg",))
        await machine.pod("client")
        listener = machine.socket("server")
        listener.bind(("0.0.0.0", 80))
        listener.listen()
        loop = asyncio.get_running_loop()
        with machine.socket("client") as ours, listener:
            await loop.sock_connect(ours, (ip, 80))
            theirs, _ = await loop.sock_accept(listener)
            with theirs:
                await machine.networks.put_group(group("sg"))
                assert await machine.ask("client", ip, 80, within=0.2) == "silence"
                await loop.sock_sendall(ours, b"on")
                assert await loop.sock_recv(theirs, 10) == b"on"

    tell(tmp_path, story)


def test_groups_are_removed_when_nobody_is_in_them(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await refused(NotFound, machine.pod("pod", security_groups=("sg",)))
        await refused(NotFound, machine.networks.put_group(group("sg", network="nowhere")))
        await machine.networks.put_group(group("sg", allow("ingress", groups=("other",))))
        await machine.networks.put_group(group("other"))
        await machine.pod("pod", security_groups=("sg",))
        assert "in use by pod" in await refused(Conflict, machine.networks.remove_group("net", "sg"))
        await machine.networks.remove_group("net", "other")
        await refused(NotFound, machine.networks.remove_group("net", "other"))
        await refused(NotFound, machine.networks.set_groups("pod", "net", ("other",)))
        await refused(NotFound, machine.networks.set_groups("pod", "elsewhere", ()))
        await machine.networks.set_groups("pod", "net", ())
        await machine.networks.remove_group("net", "sg")
        await refused(NotFound, machine.networks.set_groups("ghost", "net", ()))
        assert "m_sg" not in machine.nft("R-0", "list table inet cloudstead")

    tell(tmp_path, story)


@pytest.mark.parametrize("protocol", ["udp", "17"])
def test_protocols_have_names_and_numbers(tmp_path: Path, protocol: str) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.networks.put_group(group("sg", allow("ingress", protocol, 53, cidrs=ANYWHERE)))
        ip = await machine.pod("server", security_groups=("sg",))
        await machine.pod("client")
        for port in (53, 54):
            await machine.serve_udp("server", port)
        assert await machine.ask_udp("client", ip, 53) == "server sees 10.20.0.3"
        assert await machine.ask_udp("client", ip, 54, within=0.2) == "silence"

    tell(tmp_path, story)


def test_two_clouds_on_one_machine_keep_apart(tmp_path: Path) -> None:
    async def story(first: Machine) -> None:
        (tmp_path / "second").mkdir()
        second = Machine(tmp_path / "second")
        os.dup2(first.host_ns, second.host_ns)  # the same host
        await second.boot()
        try:
            for machine in (first, second):
                await machine.network("net", "10.20.0.0/16")
                await machine.pod("server", ports=(PortMapping(container_port=80),))
                await machine.serve("server", 80)
                await machine.pod("client")
            await first.serve("outside", 80)
            port = second.networks._records.pod("server").ports[0].host_port
            assert port == first.networks._records.pod("server").ports[0].host_port + 1
            for machine in (first, second):
                assert await machine.ask("client", OUTSIDE_IP, 80) == f"outside sees {HOST_IP}"
                assert (await machine.ask("client", HOST_IP, port)).startswith("server")
            assert await first.ask("client", "100.64.0.3", port, within=0.3) in (*NOBODY, "refused")
            await first.networks.sweep()
            assert (await first.ask("outside", HOST_IP, port)).startswith("server")
        finally:
            await second.end()
        assert (await first.ask("client", HOST_IP, port - 1)).startswith("server")

    tell(tmp_path, story)
