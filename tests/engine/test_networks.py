"""Networks on a machine of their own: pods come and go, daemons crash, strays are swept."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from network_support import OUTSIDE_IP, Machine, needs_networks, refused, tell

from cloudstead.engine.errors import Conflict, Failed, InvalidArgument, NoSpace, NotFound, Unavailable
from cloudstead.engine.host.client import HostClient
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.network import host_namespaces, host_netlink
from cloudstead.engine.network.api import Attachment, NetworkSpec, PodNetwork, PortMapping, SecurityGroup, Subnet
from cloudstead.engine.network.networks import LocalNetworks
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.store import Store

pytestmark = needs_networks


def test_a_pod_gets_its_address_and_routes_and_gives_them_back(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/16")
        wanted = PodNetwork(attachments=(Attachment(network="net"),))
        interfaces, ports = await machine.networks.attach("one", wanted)
        (interface,) = interfaces
        assert ports == ()
        assert (interface.name, interface.ip, interface.prefix, interface.gateway) == ("eth0", "10.20.0.2", 16, "10.20.0.1")
        assert interface.mac == "02:42:0a:14:00:02"
        assert machine.routes("one") == {("0.0.0.0/0", "10.20.0.1"), ("10.20.0.0/16", "10.20.0.1"), ("10.20.0.1/32", "")}
        with machine.inside("one"):
            assert Path("/sys/class/net/eth0").name in {name for _, name in socket.if_nameindex()}
        assert machine.networks.interfaces("one") == interfaces
        assert machine.networks.who_has("net", "10.20.0.2") == "one"
        assert (await machine.networks.attach("one", wanted))[0] == interfaces
        assert await machine.pod("two") == "10.20.0.3"
        assert await machine.ping("one", "10.20.0.3")
        assert await machine.ping("two", "10.20.0.1")
        await machine.networks.detach("one")
        assert not await machine.ping("two", "10.20.0.2", within=0.2)
        assert machine.networks.who_has("net", "10.20.0.2") == ""
        assert machine.networks.interfaces("one") == ()
        assert not (machine.layout.netns / "one").exists()
        await machine.networks.detach("one")

    tell(tmp_path, story)


def test_what_was_asked_for_is_given_or_refused(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/29", mtu=1400)
        assert await machine.pod("a", ip="10.20.0.6", mac="02:00:00:00:00:AA") == "10.20.0.6"
        with machine.inside("a"):
            netlink = host_netlink.Netlink()
            netlink.close()
        assert machine.networks.interfaces("a")[0].mac == "02:00:00:00:00:aa"
        assert machine.settings("a", "net/ipv6/conf/eth0/disable_ipv6") == "1"
        assert machine.settings("a", "net/ipv4/ip_unprivileged_port_start") == "0"
        assert await refused(Conflict, machine.pod("b", ip="10.20.0.6")) == "Address already in use: 10.20.0.6"
        assert "no configured subnet contains" in await refused(InvalidArgument, machine.pod("b", ip="10.21.0.6"))
        assert "invalid MAC address" in await refused(InvalidArgument, machine.pod("b", mac="01:00:00:00:00:01"))
        assert await refused(NotFound, machine.pod("b", "nowhere")) == "network nowhere not found"
        assert "no name for a pod" in await refused(InvalidArgument, machine.pod("../b"))
        assert "has no subnet" in await refused(InvalidArgument, machine.pod("b", subnet="other"))
        twice = PodNetwork(attachments=(Attachment(network="net"), Attachment(network="net")))
        assert "twice" in await refused(InvalidArgument, machine.networks.attach("b", twice))
        for number in range(4):
            await machine.pod(f"p{number}")
        await refused(NoSpace, machine.pod("b"))
        await machine.networks.detach("p2")
        assert await machine.pod("b") == "10.20.0.4"
        assert sorted(path.name for path in machine.layout.netns.iterdir()) == ["R-0", "a", "b", "p0", "p1", "p3"]

    tell(tmp_path, story)


def test_pods_without_network_have_a_namespace_and_nothing_in_it(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        assert await machine.networks.attach("alone", PodNetwork(mode="none")) == ((), ())
        with machine.inside("alone"):
            assert [name for _, name in socket.if_nameindex() if name == "eth0"] == []
        await machine.serve("alone", 80, "127.0.0.1")
        assert await machine.ask("alone", "127.0.0.1", 80) == "alone sees 127.0.0.1"
        assert await machine.ask("alone", OUTSIDE_IP, 80) == "unreachable"
        for mode in ("host", "pod"):
            assert await machine.networks.attach("other", PodNetwork(mode=mode)) == ((), ())  # type: ignore[arg-type]
        assert not (machine.layout.netns / "other").exists()

    tell(tmp_path, story)


def test_networks_with_the_same_addresses_exist_side_by_side(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        for network in ("red", "blue"):
            await machine.network(network, "10.0.0.0/16")
            await machine.pod(f"{network}-server", network)
            await machine.pod(f"{network}-client", network)
            await machine.serve(f"{network}-server", 80)
        await machine.serve("outside", 80)
        for network in ("red", "blue"):
            assert await machine.ask(f"{network}-client", "10.0.0.2", 80) == f"{network}-server sees 10.0.0.3"
            assert await machine.ask(f"{network}-client", OUTSIDE_IP, 80) == "outside sees 203.0.113.1"
            assert machine.networks.who_has(network, "10.0.0.2") == f"{network}-server"
        both = PodNetwork(attachments=(Attachment(network="red"), Attachment(network="blue")))
        assert "have the same addresses" in await refused(Conflict, machine.networks.attach("both", both))

    tell(tmp_path, story)


def test_a_pod_in_several_networks_goes_out_by_the_first(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("one", "10.1.0.0/24", subnets=(Subnet(id="a", cidr="10.1.0.0/24"), Subnet(id="b", cidr="10.1.1.0/24")))
        await machine.network("two", "10.2.0.0/24")
        wanted = PodNetwork(attachments=(Attachment(network="one", subnet="b"), Attachment(network="two")))
        interfaces, _ = await machine.networks.attach("pod", wanted)
        assert [(i.name, i.ip) for i in interfaces] == [("eth0", "10.1.1.2"), ("eth1", "10.2.0.2")]
        routes = machine.routes("pod")
        assert {("0.0.0.0/0", "10.1.1.1"), ("10.1.0.0/24", "10.1.1.1"), ("10.2.0.0/24", "10.2.0.1")} <= routes
        await machine.pod("a", "one", subnet="a")
        await machine.pod("b", "two")
        await machine.serve("pod", 80)
        assert await machine.ask("a", "10.1.1.2", 80) == "pod sees 10.1.0.2"
        assert await machine.ask("b", "10.2.0.2", 80) == "pod sees 10.2.0.3"
        await machine.networks.disconnect("pod", "one")
        assert ("0.0.0.0/0", "10.2.0.1") in machine.routes("pod")
        assert await machine.ask("b", "10.2.0.2", 80) == "pod sees 10.2.0.3"
        assert await machine.ask("a", "10.1.1.2", 80, within=0.3) in ("unreachable", "silence")
        again = await machine.networks.connect("pod", PodNetwork(attachments=(Attachment(network="two"), Attachment(network="one"))), 1)
        assert (again.name, again.network, again.ip) == ("eth0", "one", "10.1.0.3")
        assert await machine.ask("a", "10.1.0.3", 80) == "pod sees 10.1.0.2"
        await machine.networks.disconnect("pod", "nowhere")
        assert [i.network for i in machine.networks.interfaces("pod")] == ["two", "one"]

    tell(tmp_path, story)


def test_the_host_reaches_networks_that_ask_for_it_and_comes_as_their_gateway(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("docker", "172.20.0.0/16", host_routes=True)
        await machine.network("vpc", "172.21.0.0/16")
        for network in ("docker", "vpc"):
            ip = await machine.pod(f"{network}-pod", network)
            await machine.serve(f"{network}-pod", 80)
            answers = {"docker": "docker-pod sees 172.20.0.1", "vpc": "unreachable"}
            assert await machine.ask("host", ip, 80) == answers[network]
        overlapping = NetworkSpec(id="x", owner="t", host_routes=True, subnets=(Subnet(id="s", cidr="172.20.5.0/24"),))
        assert await refused(Conflict, machine.networks.create(overlapping)) == "Pool overlaps with other one on this address space"
        lan = NetworkSpec(id="x", owner="t", host_routes=True, subnets=(Subnet(id="s", cidr="203.0.113.128/25"),))
        assert "this machine uses 203.0.113.0/24" in await refused(Conflict, machine.networks.create(lan))
        assert machine.networks.free_cidr("172.20.0.0/14") == "172.22.0.0/16"
        with pytest.raises(NoSpace):
            machine.networks.free_cidr("203.0.113.0/24", 24)

    tell(tmp_path, story)


def test_pods_reach_services_of_the_host_at_their_gateway(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/16")
        await machine.pod("pod")
        await machine.serve("host", 5000)
        await machine.serve("host", 5001, "127.0.0.1")
        assert await machine.ask("pod", "10.20.0.1", 5000) == "host sees 100.64.0.1"
        assert await machine.ask("pod", "203.0.113.1", 5000) == "host sees 100.64.0.1"
        assert await machine.ask("pod", "10.20.0.1", 5001) == "refused"

    tell(tmp_path, story)


def test_networks_are_listed_changed_and_removed_when_nobody_uses_them(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/24", owner="docker")
        assert "already exists" in await refused(Conflict, machine.network("net"))
        assert [spec.id for spec in machine.networks.all("docker")] == ["net"]
        assert machine.networks.all("ec2") == []
        await machine.pod("pod")
        assert "has active endpoints" in await refused(Conflict, machine.networks.remove("net"))
        old = machine.networks.get("net")
        more = NetworkSpec(id="net", owner="docker", name="net", subnets=(*old.subnets, Subnet(id="more", cidr="10.21.0.0/24")))
        await machine.networks.change(more)
        assert await machine.pod("second", subnet="more") == "10.21.0.2"
        assert await machine.ping("pod", "10.21.0.2")
        less = NetworkSpec(id="net", owner="docker", name="net", subnets=(Subnet(id="more", cidr="10.21.0.0/24"),))
        await refused(Conflict, machine.networks.change(less))
        assert await machine.ping("second", "10.20.0.2")
        await machine.networks.detach("pod")
        await machine.networks.change(less)
        assert ("10.20.0.0/24", "") not in machine.routes("R-0")
        await machine.networks.detach("second")
        await machine.networks.remove("net")
        await refused(NotFound, machine.networks.remove("net"))
        with pytest.raises(NotFound):
            machine.networks.get("net")
        assert machine.leftovers() == []

    tell(tmp_path, story)


def test_an_uplink_keeps_out_of_the_way_of_its_network_and_of_the_host(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("cgnat", "100.64.0.0/16")
        ip = await machine.pod("pod", "cgnat")
        await machine.serve("outside", 80)
        assert await machine.ask("pod", OUTSIDE_IP, 80) == "outside sees 203.0.113.1"
        assert machine.routes("R-0") >= {("0.0.0.0/0", "100.65.0.0"), (f"{ip}/32", "")}
        with machine.inside("host"):  # a VPN comes, as Tailscale with its address of the same block
            netlink = host_netlink.Netlink()
            netlink.do(host_netlink.add_address(netlink.index("lan"), "100.100.1.2", 32))
            netlink.close()
        await machine.network("later", "10.0.0.0/16")
        await machine.pod("other", "later")
        assert ("0.0.0.0/0", "198.18.0.0") in machine.routes("R-1")
        wider = NetworkSpec(id="later", owner="test", subnets=(Subnet(id="main", cidr="10.0.0.0/16"), Subnet(id="x", cidr="198.18.0.0/24")))
        await machine.networks.change(wider)
        assert ("0.0.0.0/0", "198.18.1.0") in machine.routes("R-1")
        assert await machine.ask("other", OUTSIDE_IP, 80) == "outside sees 203.0.113.1"

    tell(tmp_path, story)


def test_services_listen_at_link_local_addresses_and_know_who_asks(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", subnets=(Subnet(id="main", cidr="10.20.0.0/16", reserved=4),))
        ip = await machine.pod("pod")
        descriptor = await machine.networks.listen("net", "169.254.169.254", 80)
        served: list[str] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append(machine.networks.who_has("net", writer.get_extra_info("peername")[0]))
            writer.write(b"metadata")
            writer.close()

        server = await asyncio.start_server(answer, sock=socket.socket(fileno=descriptor))
        assert await machine.ask("pod", "169.254.169.254", 80) == "metadata"
        assert served == ["pod"]
        assert "cannot listen at 169.254.169.254:80/tcp" in await refused(Conflict, machine.networks.listen("net", "169.254.169.254", 80))
        assert "nothing can listen at 10.20.0.9" in await refused(InvalidArgument, machine.networks.listen("net", "10.20.0.9", 80))
        for address in ("10.20.0.1", "10.20.0.2", "169.254.170.2"):
            os.close(await machine.networks.listen("net", address, 8080, "udp"))
        server.close()
        await machine.networks.stop_listening("net", "169.254.169.254", 80)
        assert await machine.ask("pod", "169.254.169.254", 80) == "refused"
        await machine.serve("pod", 7000)
        with socket.socket(fileno=await machine.networks.dial("net", ip, 7000)) as sock:
            assert await asyncio.get_running_loop().sock_recv(sock, 100) == b"pod sees 10.20.0.1"
        assert await refused(Failed, machine.networks.dial("net", ip, 7001)) == f"dial tcp {ip}:7001: connection refused"
        assert "10.20.9.9:80" in await refused(Failed, machine.networks.dial("net", "10.20.9.9", 80))
        await refused(InvalidArgument, machine.networks.dial("net", ip, 0))
        await refused(NotFound, machine.networks.dial("nowhere", ip, 1))

    tell(tmp_path, story)


def test_a_pod_keeps_its_connections_when_daemon_and_host_are_killed(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/16", host_routes=True)
        await machine.networks.put_group(SecurityGroup(id="sg", network="net"))
        await machine.pod("client")
        ip = await machine.pod("server", ports=(PortMapping(container_port=80),))
        await machine.pod("guarded", security_groups=("sg",))
        before = {pod: machine.networks.interfaces(pod) for pod in ("client", "server", "guarded")}
        published = machine.networks._records.pod("server").ports
        listener = machine.socket("server")
        listener.bind(("0.0.0.0", 7000))
        listener.listen()
        loop = asyncio.get_running_loop()
        with machine.socket("client") as ours:
            await loop.sock_connect(ours, (ip, 7000))
            theirs, _ = await loop.sock_accept(listener)
            await machine.crash()
            await loop.sock_sendall(ours, b"still here")
            assert await loop.sock_recv(theirs, 100) == b"still here"
            await machine.serve("server", 80)
            assert await machine.ask("host", "127.0.0.1", published[0].host_port) == "server sees 10.20.0.1"
            await machine.boot()
            await loop.sock_sendall(theirs, b"and here")
            assert await loop.sock_recv(ours, 100) == b"and here"
            theirs.close()
        listener.close()
        assert {pod: machine.networks.interfaces(pod) for pod in before} == before
        assert await machine.networks.sweep() == []
        assert await machine.ask("outside", "203.0.113.1", published[0].host_port) == "server sees 203.0.113.2"
        assert await machine.ask("host", ip, 80) == "server sees 10.20.0.1"
        assert await machine.ask("client", machine.networks.interfaces("guarded")[0].ip, 80, within=0.2) == "silence"
        assert await machine.pod("new") == "10.20.0.5"
        assert await machine.ask("new", ip, 80) == "server sees 10.20.0.5"
        again = await machine.networks.attach("server", PodNetwork(attachments=(Attachment(network="net"),)))
        assert again[1][0].host_port == published[0].host_port

    tell(tmp_path, story)


def test_what_was_broken_meanwhile_is_repaired_at_the_start(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/16", host_routes=True)
        one, two = await machine.pod("one"), await machine.pod("two")
        await machine.serve("two", 80)
        await machine.crash()
        netlink = machine.netlink("R-0")
        netlink.do(host_netlink.delete_route(f"{two}/32"), host_netlink.delete_address(1, "10.20.0.1", 32))
        netlink.do(host_netlink.delete_route("10.20.0.0/16", kind=host_netlink.UNREACHABLE))
        netlink.do(host_netlink.delete_link(next(link.index for link in netlink.links() if link.alias == "one/eth0")))
        netlink.close()
        machine.nft("R-0", "delete table inet cloudstead")
        machine.nft("host", f"delete table inet cloudstead_{machine.layout.instance}")
        netlink = machine.netlink("host")
        netlink.do(host_netlink.delete_link(netlink.index(f"cs-{machine.layout.instance}-000")))
        netlink.close()
        await machine.boot()
        assert await machine.ask("one", two, 80) == f"two sees {one}"
        assert await machine.ask("host", two, 80) == "two sees 10.20.0.1"
        await machine.serve("outside", 80)
        assert await machine.ask("one", OUTSIDE_IP, 80) == "outside sees 203.0.113.1"
        assert ("10.20.0.0/16", "") in machine.routes("R-0")

    tell(tmp_path, story)


def test_after_a_reboot_pods_get_the_addresses_that_they_had(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/16")
        before = [await machine.pod("one"), await machine.pod("two")]
        await machine.crash()
        for path in machine.layout.netns.iterdir():
            host_namespaces.unbind(path)
        await machine.boot()
        assert list(machine.layout.netns.iterdir()) == []
        assert [await machine.pod("two"), await machine.pod("one")] == before[::-1]
        assert await machine.ping("one", before[1])

    tell(tmp_path, story)


def test_strays_are_swept_and_what_rows_own_stays(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.pod("kept")
        await machine.pod("lost", ports=(PortMapping(container_port=80, host_port=8080),))
        await machine.network("gone", "10.21.0.0/16")
        await machine.pod("lost-too", "gone")
        await machine.crash()
        rows = machine.backend.live
        for table, key in (("engine.attached_pods", b"lost"), ("engine.attached_pods", b"lost-too"), ("engine.networks", b"gone")):
            del rows[table][key + b"\0"]
        await machine.boot()
        said = await machine.networks.sweep()
        for name in ("lost", "lost-too", "R-1"):
            assert f"removed the network namespace {name}, which is nobody's" in said
        assert sorted(path.name for path in machine.layout.netns.iterdir()) == ["R-0", "kept"]
        assert await machine.networks.sweep() == []
        assert await machine.ping("kept", "10.20.0.1")
        assert await machine.pod("new", ports=(PortMapping(container_port=80, host_port=8080),)) == "10.20.0.3"

    tell(tmp_path, story)


def test_a_pod_that_is_gone_is_cut_off_although_something_holds_its_namespace(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        ip = await machine.pod("held")
        await machine.pod("other")
        with machine.socket("held", socket.SOCK_DGRAM) as sock:
            await machine.networks.detach("held")
            assert await machine.ask("other", ip, 80) == "unreachable"
            sock.sendto(b"hello", ("10.20.0.1", 53))
            assert await machine.networks.sweep() == []
            assert await machine.networks.sweep() == ["removed 1 links of pods that are gone, whose namespaces something still holds"]
            assert await machine.networks.sweep() == []
            with pytest.raises(OSError, match="unreachable"):
                sock.sendto(b"hello", ("10.20.0.1", 53))

    tell(tmp_path, story)


def test_a_host_that_is_gone_is_told_everything_when_it_is_back(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        one = await machine.pod("one", ports=(PortMapping(container_port=80, host_port=8080),))
        await machine.serve("one", 80)
        assert machine.host._process is not None
        machine.host._process.kill()
        await refused(Unavailable, machine.pod("two"))
        assert machine.networks.interfaces("two") == ()
        with machine.inside("host"):
            await machine.host.restart()
        await machine.networks.restore()
        assert await machine.pod("two") == "10.20.0.4"
        assert await machine.ask("two", one, 80) == "one sees 10.20.0.4"
        for ip in ("127.0.0.1", "::1"):
            assert (await machine.ask("host", ip, 8080)).startswith("one sees")
        assert await machine.ask_udp("two", "10.20.0.1", 53, data=bytes(11)) == "silence"

    tell(tmp_path, story)


def test_an_attachment_that_is_given_up_or_refused_leaves_nothing(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", "10.20.0.0/28")
        await machine.pod("first", ports=(PortMapping(container_port=80, host_port=8080),))
        for _ in range(3):
            await refused(
                Conflict, machine.pod("second", ports=(PortMapping(container_port=1), PortMapping(container_port=80, host_port=8080)))
            )
        for delay in (0.0, 0.0001, 0.0005, 0.001, 0.002):
            task = asyncio.ensure_future(machine.pod("third"))
            await asyncio.sleep(delay)
            task.cancel()
            try:
                await task
                await machine.networks.detach("third")
            except asyncio.CancelledError:
                pass
        await asyncio.sleep(0.05)
        assert await machine.networks.sweep() == []
        assert sorted(path.name for path in machine.layout.netns.iterdir()) == ["R-0", "first"]
        assert len([await machine.pod(f"p{number}") for number in range(12)]) == 12

    tell(tmp_path, story)


def test_namespaces_are_kept_ready_while_they_are_wanted(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        links = lambda: sum(link.name.startswith("v") for link in machine.netlink("R-0").links())  # noqa: E731
        for number in range(6):
            await machine.pod(f"p{number}")
        await asyncio.sleep(0.3)
        assert links() == 12
        await machine.networks.drain()
        for _ in range(100):
            if links() == 6:
                break
            await asyncio.sleep(0.02)
        assert links() == 6
        for number in range(6):
            await machine.networks.detach(f"p{number}")
        assert [path.name for path in machine.layout.netns.iterdir()] == ["R-0"]

    tell(tmp_path, story)


def test_a_hundred_pods_come_and_go_at_once(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        descriptors = len(os.listdir("/proc/self/fd"))
        assert machine.host._process is not None
        theirs = f"/proc/{machine.host._process.pid}/fd"
        found = await asyncio.gather(*(machine.pod(f"p{number}", ports=(PortMapping(container_port=80),)) for number in range(100)))
        assert len(set(found)) == 100
        assert await machine.ping("p0", found[99])
        await asyncio.gather(*(machine.networks.detach(f"p{number}") for number in range(100)))
        await machine.networks.drain()
        assert [path.name for path in machine.layout.netns.iterdir()] == ["R-0"]
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 8  # the name server's
        assert len(os.listdir(theirs)) < 30
        assert "10.20." not in machine.nft("R-0", "list map inet cloudstead ports")

    tell(tmp_path, story)


def test_without_a_host_what_is_known_is_told_and_the_rest_refused(tmp_path: Path) -> None:
    async def story() -> None:
        host = HostClient(Layout(tmp_path / "data"))
        host.why_not = "containers need root's rights"
        networks = LocalNetworks(Store.in_memory(), SystemClock(), host)
        await networks.start()
        await networks.create(NetworkSpec(id="net", owner="t", subnets=(Subnet(id="s", cidr="10.0.0.0/24"),)))
        assert [spec.id for spec in networks.all()] == ["net"]
        wanted = PodNetwork(attachments=(Attachment(network="net"),))
        assert await refused(Unavailable, networks.attach("pod", wanted)) == "containers need root's rights"
        assert networks.interfaces("pod") == ()
        await networks.remove("net")
        await networks.stop()

    asyncio.run(story())
