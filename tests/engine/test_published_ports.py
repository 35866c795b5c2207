"""Ports of the host that lead to pods."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from network_support import HOST_IP, OUTSIDE_IP, Machine, needs_networks, refused, tell

from cloudstead.engine.errors import Conflict, Failed, InvalidArgument, Unsupported
from cloudstead.engine.network.api import Attachment, PodNetwork, PortMapping, Subnet

pytestmark = needs_networks


def ports(*wanted: tuple[str, int, int] | tuple[str, int, int, str]) -> tuple[PortMapping, ...]:
    """(host's address, host's port, pod's port, perhaps "udp")"""
    return tuple(PortMapping(host_ip=w[0], host_port=w[1], container_port=w[2], protocol=w[3] if len(w) > 3 else "tcp") for w in wanted)  # type: ignore[arg-type,misc]


def test_a_published_port_is_reached_from_everywhere(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/16")
        await machine.network("other", "10.20.0.0/16")
        await machine.pod("web", ports=ports(("", 8080, 80)))
        assert machine.published == ports(("", 8080, 80))
        await machine.pod("neighbour")
        await machine.pod("stranger", "other")
        await machine.serve("web", 80)
        seen = {
            ("outside", HOST_IP): OUTSIDE_IP,
            ("host", "127.0.0.1"): "10.20.0.1",
            ("host", "127.8.8.8"): "10.20.0.1",
            ("host", HOST_IP): HOST_IP,
            ("host", "::1"): "10.20.0.1",
            ("neighbour", HOST_IP): "10.20.0.1",
            ("neighbour", "10.20.0.1"): "10.20.0.1",
            ("web", HOST_IP): "10.20.0.1",
            ("stranger", HOST_IP): "10.20.0.1",
            ("stranger", "10.20.0.1"): "10.20.0.1",
        }
        for (where, ip), source in seen.items():
            assert await machine.ask(where, ip, 8080) == f"web sees {source}", (where, ip)
        await machine.networks.detach("web")
        assert await machine.ask("outside", HOST_IP, 8080) == "refused"
        assert await machine.ask("host", "127.0.0.1", 8080) == "refused"
        assert await machine.ask("host", "::1", 8080) == "refused"

    tell(tmp_path, story)


def test_an_address_of_the_host_limits_who_gets_there(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.pod("one", ports=ports(("127.0.0.1", 8080, 80), (HOST_IP, 8080, 81)))
        await machine.pod("two", ports=ports(("127.0.0.2", 8080, 80), ("::1", 9090, 80)))
        for pod in ("one", "two"):
            await machine.serve(pod, 80)
        await machine.serve("one", 81, greeting="public")
        assert (await machine.ask("host", "127.0.0.1", 8080)).startswith("one")
        assert (await machine.ask("host", "127.0.0.2", 8080)).startswith("two")
        assert await machine.ask("host", "127.0.0.3", 8080) == "refused"
        assert (await machine.ask("outside", HOST_IP, 8080)).startswith("public")
        assert (await machine.ask("host", "::1", 9090)).startswith("two")
        assert await machine.ask("host", "127.0.0.1", 9090) == "refused"
        assert await machine.ask("outside", HOST_IP, 9090) == "refused"
        assert await machine.ask("one", "127.0.0.2", 8080) == "refused"

    tell(tmp_path, story)


def test_a_port_is_one_pods_and_the_refusal_is_dockers(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.pod("one", ports=ports(("", 8080, 80)))
        taken = "Bind for 0.0.0.0:8080 failed: port is already allocated"
        assert await refused(Conflict, machine.pod("two", ports=ports(("", 8080, 80)))) == taken
        assert await refused(Conflict, machine.pod("two", ports=ports(("0.0.0.0", 8080, 80)))) == taken
        assert "Bind for 127.0.0.1:8080 failed" in await refused(Conflict, machine.pod("two", ports=ports(("127.0.0.1", 8080, 80))))
        assert "already allocated" in await refused(Conflict, machine.pod("two", ports=ports(("", 8081, 80), ("", 8081, 81))))
        await machine.pod("two", ports=ports(("", 8080, 80, "udp"), ("", 8081, 80)))
        with machine.socket("host") as sock, pytest.raises(OSError, match="Address already in use"):
            sock.bind(("127.0.0.1", 8080))
        with machine.socket("host", family=socket.AF_INET6) as sock, pytest.raises(OSError, match="Address already in use"):
            sock.bind(("::", 8080))
        with machine.socket("host") as sock:
            sock.bind(("0.0.0.0", 9000))
            sock.listen()
            assert await refused(Conflict, machine.pod("three", ports=ports(("", 9000, 80)))) == taken.replace("8080", "9000")
        await machine.networks.detach("one")
        await machine.pod("three", ports=ports(("", 8080, 80)))

    tell(tmp_path, story)


def test_what_cannot_be_published_is_refused_with_a_reason(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        assert "cannot assign requested address" in (await refused(Failed, machine.pod("p", ports=ports(("203.0.113.9", 80, 80))))).lower()
        assert "by IPv6 only tcp" in await refused(Unsupported, machine.pod("p", ports=ports(("::1", 80, 80, "udp"))))
        assert "invalid IP address" in await refused(InvalidArgument, machine.pod("p", ports=ports(("localhost", 80, 80))))
        assert "invalid port" in await refused(InvalidArgument, machine.pod("p", ports=ports(("", 70000, 80))))
        assert "invalid port" in await refused(InvalidArgument, machine.pod("p", ports=ports(("", 80, 0))))
        assert await machine.networks.sweep() == []

    tell(tmp_path, story)


def test_a_port_may_be_left_to_us(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        with machine.socket("host") as sock:
            sock.bind(("127.0.0.1", 32769))
            sock.listen()
            await machine.pod("web", ports=ports(("", 0, 80), ("127.0.0.1", 0, 81), ("", 0, 82, "udp")))
            assert [port.host_port for port in machine.published] == [32768, 32770, 32771]
        await machine.serve("web", 81)
        assert (await machine.ask("host", "127.0.0.1", 32770)).startswith("web")

    tell(tmp_path, story)


def test_udp_is_published_and_finds_the_pod_that_comes_next(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        for number in range(3):
            pod = f"dns{number}"
            await machine.pod(pod, ports=ports(("", 5353, 53, "udp")))
            await machine.serve_udp(pod, 53)
            for where, ip in (("outside", HOST_IP), ("host", "127.0.0.1"), ("host", HOST_IP), (pod, HOST_IP)):
                said = await machine.ask_udp(
                    where, ip, 5353, source=40000
                )  # one port of the client's: one flow, as long as it is remembered
                assert said.startswith(f"{pod} sees"), (where, ip)
            await machine.networks.detach(pod)

    tell(tmp_path, story)


def test_an_internal_network_publishes_nothing(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("inside", "10.1.0.0/24", internal=True)
        await machine.network("outside-too", "10.2.0.0/24")
        await machine.pod("hidden", "inside", ports=ports(("", 8080, 80)))
        assert machine.published == ()
        both = PodNetwork(attachments=(Attachment(network="inside"), Attachment(network="outside-too")), ports=ports(("", 8080, 80)))
        _, published = await machine.networks.attach("both", both)
        assert published == ports(("", 8080, 80))
        await machine.serve("both", 80)
        assert await machine.ask("outside", HOST_IP, 8080) == f"both sees {OUTSIDE_IP}"

    tell(tmp_path, story)


def test_ports_stay_with_a_pod_that_changes_its_networks(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("one", "10.1.0.0/24")
        await machine.network("two", "10.2.0.0/24")
        both = PodNetwork(attachments=(Attachment(network="one"), Attachment(network="two")), ports=ports(("", 8080, 80)))
        await machine.networks.attach("pod", both)
        await machine.serve("pod", 80)
        assert await machine.ask("outside", HOST_IP, 8080) == f"pod sees {OUTSIDE_IP}"
        await machine.networks.disconnect("pod", "one")
        assert await machine.ask("outside", HOST_IP, 8080) == f"pod sees {OUTSIDE_IP}"
        await machine.networks.disconnect("pod", "two")
        assert await machine.ask("outside", HOST_IP, 8080) == "refused"

    tell(tmp_path, story)


def test_security_groups_hold_for_published_ports(tmp_path: Path) -> None:
    from cloudstead.engine.network.api import Rule, SecurityGroup

    async def story(machine: Machine) -> None:
        await machine.network("net", subnets=(Subnet(id="main", cidr="10.20.0.0/16"),))
        allow = Rule(direction="ingress", protocol="tcp", from_port=80, to_port=80, cidrs=(f"{OUTSIDE_IP}/32",))
        await machine.networks.put_group(SecurityGroup(id="sg", network="net", rules=(allow,)))
        await machine.pod("web", ports=ports(("", 8080, 80), ("", 8081, 81)), security_groups=("sg",))
        for port in (80, 81):
            await machine.serve("web", port)
        assert await machine.ask("outside", HOST_IP, 8080) == f"web sees {OUTSIDE_IP}"
        assert await machine.ask("outside", HOST_IP, 8081, within=0.3) == "silence"
        assert await machine.ask("host", HOST_IP, 8080, within=0.3) == "silence"

    tell(tmp_path, story)


def test_connections_by_ipv6_carry_much_both_ways_and_end_as_they_should(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.pod("echo", ports=ports(("", 8080, 80)))
        sock = machine.socket("echo")
        sock.bind(("0.0.0.0", 80))

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.read())[::-1])  # answers only after the end of what it is told
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, sock=sock, limit=1 << 24)
        data = os.urandom(3_000_000)
        client = machine.socket("host", family=socket.AF_INET6)
        await asyncio.get_running_loop().sock_connect(client, ("::1", 8080))
        reader, writer = await asyncio.open_connection(sock=client)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data[::-1]
        writer.close()
        server.close()

    tell(tmp_path, story)


def test_other_peoples_firewalls_that_drop_what_is_forwarded_let_ours_through(tmp_path: Path) -> None:
    """As Docker and ufw set the policy of FORWARD."""
    import shutil
    import subprocess

    if shutil.which("iptables-nft") is None:
        pytest.skip("needs iptables")

    async def story(machine: Machine) -> None:
        def iptables(*arguments: str) -> str:
            with machine.inside("host"):
                return subprocess.run(["iptables-nft", *arguments], check=True, capture_output=True, text=True).stdout

        await machine.network("net")
        await machine.pod("web", ports=ports(("", 8080, 80)))
        await machine.serve("web", 80)
        await machine.serve("outside", 80)
        iptables("-P", "FORWARD", "DROP")
        assert await machine.ask("web", OUTSIDE_IP, 80, within=0.3) == "silence"
        said = await machine.networks.sweep()
        assert len(said) == 2
        assert await machine.ask("web", OUTSIDE_IP, 80) == f"outside sees {HOST_IP}"
        assert await machine.ask("outside", HOST_IP, 8080) == f"web sees {OUTSIDE_IP}"
        assert await machine.networks.sweep() == []
        assert iptables("-S", "FORWARD").count("cloudstead") == 2
        await machine.networks.detach("web")
        await machine.networks.remove("net")
        assert iptables("-S", "FORWARD").count("cloudstead") == 0

    tell(tmp_path, story)
