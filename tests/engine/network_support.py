"""A machine to test networks on: a network namespace that plays the host (the engine host is started in it), and another that plays the world outside,
joined by a wire. Nothing of the real machine's network is touched, and any number of such machines can be at work at once.

    outside 203.0.113.2 ── lan 203.0.113.1 (the host) ── networks ── pods

Sockets are made inside a namespace and used by the test's own event loop, wherever they belong.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
import os
import shutil
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudstead.engine.errors import EngineError
from cloudstead.engine.host.client import HostClient, needs_root
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.network import host_namespaces, host_netlink, rules
from cloudstead.engine.network.api import Attachment, NetworkSpec, PodNetwork, PortMapping, Subnet
from cloudstead.engine.network.host_nftables import Nftables
from cloudstead.engine.network.networks import LocalNetworks
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.store import MemoryBackend, Store

HOST_IP, OUTSIDE_IP = "203.0.113.1", "203.0.113.2"


def why_no_networks() -> str:
    if reason := needs_root():
        return reason
    return "" if ctypes.util.find_library("nftables") else "needs libnftables"


needs_networks = pytest.mark.skipif(bool(why_no_networks()), reason=why_no_networks() or "there are networks")

Story = Callable[["Machine"], Awaitable[None]]


class Machine:
    """`await machine.boot()` makes it; a second `boot` after `crash` finds what the first left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(folder / "data")
        self.backend = MemoryBackend()
        self.host_ns = host_namespaces.make()
        self.outside_ns = host_namespaces.make()
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text("nameserver 127.0.0.1\n")
        self._wire()
        self._tasks: list[asyncio.Server | asyncio.DatagramTransport] = []
        self.networks: LocalNetworks
        self.host: HostClient
        self.store: Store

    def _wire(self) -> None:
        with self.inside("host"):
            wire = host_netlink.Netlink()
        with self.inside("outside"):
            far = host_netlink.Netlink()
        wire.do(host_netlink.veth("lan", "lan", mtu=1500, peer_namespace=self.outside_ns))
        for netlink, ip in ((wire, HOST_IP), (far, OUTSIDE_IP)):
            index = netlink.index("lan")
            netlink.do(host_netlink.set_link(1, up=True), host_netlink.add_address(index, ip, 24), host_netlink.set_link(index, up=True))
        wire.do(host_netlink.add_route("0.0.0.0/0", wire.index("lan"), via=OUTSIDE_IP))
        wire.close()
        far.close()

    async def boot(self, **options: str) -> None:
        self.store = Store.in_memory(self.backend, clock=SystemClock())
        self.host = HostClient(self.layout, options=options)
        with self.inside("host"):  # a child is born where its parent is
            await _at_once(self.host.start())
        self.networks = LocalNetworks(self.store, SystemClock(), self.host, resolv_conf=self.resolv_conf)
        await self.networks.start()

    async def crash(self) -> None:
        """Daemon and host are gone at once, as by SIGKILL."""
        assert self.host._process is not None
        self.host._process.kill()
        await self.networks.stop()
        await self.host.close()

    async def end(self) -> None:
        for one in self._tasks:
            one.close()
        try:
            for row in self.networks._records.pods():
                await self.networks.detach(row.pod)
            for spec in self.networks.all():
                await self.networks.remove(spec.id)
            await self.networks.sweep()
            left = self.leftovers()
        finally:
            await self.networks.stop()
            await self.host.close()
            for fd in (self.host_ns, self.outside_ns):
                os.close(fd)
            for file in self.layout.netns.glob("*"):
                host_namespaces.unbind(file)
            shutil.rmtree(self.layout.run, ignore_errors=True)
        assert left == []

    def leftovers(self) -> list[str]:
        """What is there beside what was there before."""
        found = [f"netns {path.name}" for path in self.layout.netns.iterdir()]
        with self.inside("host"):
            netlink = host_netlink.Netlink()
            own = {link.index: link.name for link in netlink.links() if link.name.startswith(rules.link_prefix(self.layout.instance))}
            found += [f"link {name}" for name in own.values()]
            found += [f"route {route.cidr}" for route in netlink.routes() if route.index in own]
            netlink.close()
        tables = self.nft("host", "list tables").splitlines()
        return found + [line for line in tables if self.layout.instance in line]

    # ------------------------------------------------------------------------------------------------------------ networks and pods

    async def network(self, id: str, cidr: str = "10.20.0.0/16", **options: Any) -> None:
        subnets = options.pop("subnets", (Subnet(id="main", cidr=cidr),))
        options = {"owner": "test", "name": id, **options}
        await self.networks.create(NetworkSpec(id=id, subnets=subnets, **options))

    async def pod(self, pod: str, network: str = "net", *, ports: tuple[PortMapping, ...] = (), **attachment: Any) -> str:
        """Its address."""
        names = attachment.pop("names", (pod,))
        wanted = PodNetwork(attachments=(Attachment(network=network, **attachment),), ports=ports)
        interfaces, self.published = await self.networks.attach(pod, wanted, names=names)
        return interfaces[0].ip

    # ------------------------------------------------------------------------------------------------------------ inside

    @contextlib.contextmanager
    def inside(self, where: str) -> Iterator[None]:
        """ "host", "outside", or the name of a pod or router. No awaiting."""
        if where in ("host", "outside"):
            with host_namespaces.inside(self.host_ns if where == "host" else self.outside_ns):
                yield
            return
        namespace = host_namespaces.open_bound(self.layout.netns / where)
        assert namespace is not None, f"{where} has no namespace"
        try:
            with host_namespaces.inside(namespace):
                yield
        finally:
            os.close(namespace)

    def netlink(self, where: str) -> host_netlink.Netlink:
        with self.inside(where):
            return host_netlink.Netlink()

    def routes(self, where: str) -> set[tuple[str, str]]:
        netlink = self.netlink(where)
        found = {(route.cidr, route.gateway) for route in netlink.routes()}
        netlink.close()
        return found

    def nft(self, where: str, commands: str) -> str:
        with self.inside(where):
            nftables = Nftables()
        with contextlib.closing(nftables):
            return nftables.run(commands)

    def settings(self, where: str, name: str) -> str:
        with self.inside(where):
            return Path("/proc/sys", name).read_text().strip()

    def socket(self, where: str, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
        with self.inside(where):
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        if kind != socket.SOCK_RAW and family != socket.AF_PACKET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return sock

    async def serve(self, where: str, port: int, ip: str = "0.0.0.0", greeting: str = "") -> None:
        """A server that says who it is and whom it sees."""
        sock = self.socket(where)
        sock.bind((ip, port))

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"{greeting or where} sees {writer.get_extra_info('peername')[0]}".encode())
            writer.close()

        self._tasks.append(await asyncio.start_server(accepted, sock=sock))

    async def serve_udp(self, where: str, port: int) -> None:
        sock = self.socket(where, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", port))
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Echo(where), sock=sock)
        self._tasks.append(transport)

    async def ask(self, where: str, ip: str, port: int, *, within: float = 1.0, source: str = "") -> str:
        """What a server says; "refused", "unreachable" or "silence"."""
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        loop = asyncio.get_running_loop()
        with self.socket(where, family=family) as sock:
            if source:
                sock.bind((source, 0))
            try:
                async with asyncio.timeout(within):
                    await loop.sock_connect(sock, (ip, port))
                    said = b""
                    while data := await loop.sock_recv(sock, 1000):
                        said += data
                    return said.decode()
            except TimeoutError:
                return "silence"
            except ConnectionRefusedError:
                return "refused"
            except OSError:
                return "unreachable"

    async def ask_udp(self, where: str, ip: str, port: int, *, within: float = 1.0, data: bytes = b"hello", source: int = 0) -> str:
        loop = asyncio.get_running_loop()
        with self.socket(where, socket.SOCK_DGRAM) as sock:
            sock.bind(("0.0.0.0", source))
            sock.connect((ip, port))
            try:
                async with asyncio.timeout(within):
                    await loop.sock_sendall(sock, data)
                    return (await loop.sock_recv(sock, 4000)).decode(errors="replace")
            except TimeoutError:
                return "silence"
            except OSError:
                return "refused"

    async def ping(self, where: str, ip: str, within: float = 1.0) -> bool:
        loop = asyncio.get_running_loop()
        with self.socket(where, socket.SOCK_RAW, protocol=socket.IPPROTO_ICMP) as sock:
            message = struct.pack(">BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, 1)
            message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(within):
                    await loop.sock_sendto(sock, message, (ip, 0))
                    while True:
                        answer = await loop.sock_recv(sock, 2000)
                        if answer[20] == 0 and answer[12:16] == socket.inet_aton(ip):
                            return True
        return False


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(f"{self._name} sees {address[0]}".encode(), address)


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(destination)
    )
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def udp(source_port: int, port: int, data: bytes) -> bytes:
    return struct.pack(">HHHH", source_port, port, 8 + len(data), 0) + data


def tell(tmp_path: Path, story: Story, **options: str) -> None:
    """Tell a story on a machine of its own, and see that nothing is left of it."""

    async def run() -> None:
        machine = Machine(tmp_path)
        await machine.boot(**options)
        try:
            await story(machine)
        finally:
            await machine.end()

    asyncio.run(run())


async def refused(kind: type[EngineError], waiting: Awaitable[Any]) -> str:
    with pytest.raises(kind) as caught:
        await waiting
    return caught.value.message


async def _at_once(waiting: Awaitable[None]) -> None:
    """`HostClient.start` awaits nothing, so the namespace stays entered throughout."""
    await waiting
